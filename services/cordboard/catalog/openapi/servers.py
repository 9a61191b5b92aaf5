"""Where an API is: the servers of a document become base URLs with variables, wrong ones are repaired or reported."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

from cordboard.catalog.openapi.source import join, mapping, sequence, text
from cordboard.catalog.syntax import host_of, named_host, placeholders, url_problem
from cordboard.catalog.v1.definition_pb2 import Server, ServerVariable

if TYPE_CHECKING:
    from cordboard.catalog.openapi.report import Report

MAX_SERVERS: Final = 20
MAX_DESCRIPTION: Final = 1000
# The variable of a server whose host the document does not give.
HOST_VARIABLE: Final = "host"

_SCHEME_VARIABLE: Final = re.compile(r"\{([^{}]+)\}(?=://)")
_LEADING_VARIABLE: Final = re.compile(r"\{([^{}]+)\}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", re.ASCII)
_VALUE: Final = re.compile(r"[A-Za-z0-9._~:/@+-]{1,255}", re.ASCII)
_BARE_HOST: Final = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::\d+)?(?:/.*)?", re.ASCII)
_SECRET: Final = re.compile(r"token|secret|password|api.?key", re.IGNORECASE)


class Servers:
    """The base URLs of one document."""

    def __init__(self, report: Report, source_uri: str, server_url: str) -> None:
        """Takes where findings go, where the document came from, and a base URL that replaces all others."""
        self._report = report
        self._source_uri = source_uri
        self._override = server_url.rstrip("/")
        self.servers: list[Server] = []
        self._others: list[str] = []

    def settle(self, root: dict[str, Any]) -> None:
        """Finds the servers of the definition."""
        if self._override:
            self.servers = [Server(url=self._override)]
            return
        declared = sequence(root.get("servers"))
        self.servers = self._read(declared, "/servers")[:MAX_SERVERS]
        if not self.servers and not declared:
            self.servers = self._from_paths(mapping(root.get("paths")))
        if not self.servers:
            self.servers = [self._unknown(declared)]

    def own(self, holders: list[tuple[Any, str]]) -> str:
        """Returns the base URL of one operation, or an empty text where the definition's servers hold.

        `holders` are the `servers` of the operation and of its path, with their pointers; the first that has any holds.
        """
        if self._override:
            return ""
        for declared, pointer in holders:
            if not sequence(declared):
                continue
            found = self._read(sequence(declared), pointer)
            if any(server.url == known.url for server in found for known in self.servers):
                return ""
            for server in found:
                url = self._filled(server)
                if url and not url_problem(url):
                    return "" if url == self.servers[0].url else self._allow(url)
            self._report.repair(pointer, "none of these servers can be used as it is; the document's own are used")
        return ""

    def _allow(self, url: str) -> str:
        host = host_of(url)
        if host not in self._others and host not in map(named_host, (server.url for server in self.servers)):
            self._others.append(host)
        return url

    def hosts(self) -> list[str]:
        """Returns the allowed hosts to write down: none when the servers' own hosts are all there are."""
        own = [named_host(server.url) for server in self.servers]
        return list(dict.fromkeys([*own, *self._others])) if self._others else []

    def _from_paths(self, paths: dict[str, Any]) -> list[Server]:
        """Returns the servers that stand beside the paths, the most frequent ones first."""
        seen: dict[str, tuple[int, Server]] = {}
        for path, item in paths.items():
            for server in self._read(sequence(mapping(item).get("servers")), join("/paths", path, "servers")):
                times, known = seen.get(server.url, (0, server))
                seen[server.url] = (times + 1, known)
        return [server for _, server in sorted(seen.values(), key=lambda one: -one[0])][:MAX_SERVERS]

    def _read(self, declared: list[Any], pointer: str) -> list[Server]:
        found: list[Server] = []
        for index, one in enumerate(declared):
            for server in self._server(mapping(one), join(pointer, index)):
                if all(server.url != known.url for known in found):
                    found.append(server)
        return found

    def _server(self, declared: dict[str, Any], pointer: str) -> list[Server]:
        variables = mapping(declared.get("variables"))
        description = text(declared.get("description"))[:MAX_DESCRIPTION]
        servers = []
        for url in self._spelled(text(declared.get("url")), variables, pointer):
            absolute = self._absolute(url, pointer)
            if not absolute:
                continue
            server = Server(url=absolute, description=description)
            for name in dict.fromkeys(placeholders(absolute)):
                server.variables.append(self._variable(name, mapping(variables.get(name)), pointer))
            problem = url_problem(server.url, placeholders_allowed=True)
            if problem:
                self._report.loss(pointer, f"the server {server.url[:150]!r} {problem}")
            else:
                servers.append(server)
        return servers

    def _spelled(self, url: str, variables: dict[str, Any], pointer: str) -> list[str]:
        """Returns the URL with variables that stand for its beginning filled in; several where they have choices."""
        scheme = _SCHEME_VARIABLE.match(url)
        if scheme is not None:
            variable = mapping(variables.get(scheme[1]))
            allowed = [text(value) for value in sequence(variable.get("enum"))]
            chosen = "https" if not allowed or "https" in allowed else allowed[0]
            self._report.repair(pointer, f"{{{scheme[1]}}} stands for the scheme; {chosen!r} is used")
            return [chosen + url[scheme.end() :]]
        leading = _LEADING_VARIABLE.match(url)
        if leading is None:
            return [url]
        variable = mapping(variables.get(leading[1]))
        given = [text(variable.get("default")), *(text(value) for value in sequence(variable.get("enum")))]
        whole = [value.rstrip("/") for value in dict.fromkeys(given) if "://" in value]
        if whole:
            self._report.repair(pointer, f"{{{leading[1]}}} stands for a whole URL; its values are used")
            return [value + url[leading.end() :] for value in whole]
        self._report.repair(pointer, "the server has no scheme; https is used")
        return [f"https://{url}"]

    def _absolute(self, url: str, pointer: str) -> str:
        # White space and fragments have no place in a base URL, and what stands after `?` is no path.
        bare = re.split(r"[?#\s]", url, maxsplit=1)[0].rstrip("/")
        if bare != url.rstrip("/"):
            self._report.repair(pointer, f"a base URL has no query, fragment or space: {bare[:150]!r} is used")
        if bare.startswith("//"):
            bare = f"https:{bare}"
        elif _BARE_HOST.fullmatch(bare):
            self._report.repair(pointer, "the server has no scheme; https is used")
            bare = f"https://{bare}"
        lowered = bare[:8].lower()
        if lowered.startswith(("http://", "https://")):
            return lowered.partition(":")[0] + bare[bare.index(":") :]
        if ":" in bare.partition("/")[0]:
            self._report.loss(pointer, f"the server {bare[:150]!r} is not reached by http")
            return ""
        if self._source_uri:
            resolved = str(urljoin(self._source_uri, bare or "/")).rstrip("/")
            self._report.repair(
                pointer, f"the server is relative; {resolved[:150]!r} follows from where the document is"
            )
            return resolved
        return ""

    def _variable(self, name: str, declared: dict[str, Any], pointer: str) -> ServerVariable:
        variable = ServerVariable(name=name, description=text(declared.get("description"))[:MAX_DESCRIPTION])
        allowed = [_plain(value) for value in sequence(declared.get("enum"))]
        variable.allowed_values.extend(dict.fromkeys(value for value in allowed if _VALUE.fullmatch(value)))
        default = _plain(declared.get("default")).strip("/")
        if _SECRET.search(name) and default:
            self._report.repair(pointer, f"{{{name}}} is a credential; its example value is left out")
            default = ""
        if default and not _VALUE.fullmatch(default):
            self._report.repair(pointer, f"the default of {{{name}}} cannot stand in a URL; it was left out")
            default = ""
        if default and variable.allowed_values and default not in variable.allowed_values:
            self._report.repair(pointer, f"the default of {{{name}}} is not one of its values; it was left out")
            default = ""
        variable.default_value = default
        return variable

    def _filled(self, server: Server) -> str:
        """Returns the URL with the variables' defaults, or an empty text when one has none."""
        url = server.url
        known = {variable.name: variable.default_value for one in self.servers for variable in one.variables}
        for variable in server.variables:
            value = variable.default_value or known.get(variable.name, "")
            if not value:
                return ""
            url = url.replace(f"{{{variable.name}}}", value)
        return url.rstrip("/")

    def _unknown(self, declared: list[Any]) -> Server:
        """Returns a server whose host each connection gives."""
        path = ""
        for one in declared:
            candidate = re.split(r"[?#\s]", text(mapping(one).get("url")), maxsplit=1)[0].rstrip("/")
            if candidate.startswith("/") and not url_problem(f"https://host{candidate}"):
                path = candidate
                break
        if not declared and self._source_uri:
            resolved = urljoin(self._source_uri, "/").rstrip("/")
            if not url_problem(resolved):
                self._report.repair(
                    "/servers", f"no server is given; {resolved[:150]!r} follows from where it came from"
                )
                return Server(url=resolved)
        self._report.repair("/servers", "no server is given with a host: each connection has to name it")
        description = "The host of the API, such as api.example.com"
        return Server(
            url=f"https://{{{HOST_VARIABLE}}}{path}",
            variables=[ServerVariable(name=HOST_VARIABLE, description=description)],
        )


def _plain(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return text(value)
