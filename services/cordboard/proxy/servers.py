"""Where an API is for one connection: its server's URL with the variables filled in, and the hosts it may reach."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.egress import check_url, host_key
from cordboard.core.errors import EgressDenied, StateConflict

# The value of a variable that a connection gives. It can neither end the part of the URL that it stands in nor begin
# another: no slash, colon, at sign, question mark, number sign, percent or backslash.
_VALUE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?")
_VARIABLE: Final = re.compile(r"\{([^{}]+)\}")
# Which key of a connection's configuration chooses one of several servers: by its URL as the definition has it.
CHOICE: Final = "server"
_KEPT: Final = 1024


@dataclass(frozen=True, slots=True)
class Place:
    """Where the requests of one connection go."""

    base: str
    """The server's URL without a slash at the end."""
    template: str
    """The same with its variables' names: what may be shown."""
    hosts: frozenset[str]
    """The hosts that a credential may go to, each with its port unless that is 443."""


class Servers:
    """The servers of one definition."""

    def __init__(self, definition: pb.Definition) -> None:
        """Takes the definition; nothing is checked before a connection's values are known."""
        self._name = f"integrations/{definition.slug}/versions/{definition.version}"
        self._servers = tuple(definition.servers)
        self._allowed = tuple(definition.allowed_hosts)
        self._places: dict[tuple[str, tuple[tuple[str, str], ...]], Place] = {}

    def place(self, configuration: Mapping[str, str], server_url: str = "") -> Place:
        """Returns where a connection of this configuration goes; `server_url` replaces the definition's server.

        Raises StateConflict naming what the configuration lacks, and EgressDenied for a URL that cannot be sent to.
        """
        key = (server_url, tuple(sorted(configuration.items())) if configuration else ())
        found = self._places.get(key)
        if found is None:
            found = self._work_out(configuration, server_url)
            if len(self._places) >= _KEPT:
                self._places.clear()
            self._places[key] = found
        return found

    def _work_out(self, configuration: Mapping[str, str], server_url: str) -> Place:
        variables = {variable.name: variable for server in self._servers for variable in server.variables}
        template = server_url or self._chosen(configuration)
        base = self._filled(template, variables, configuration).rstrip("/")
        url = check_url(base)
        if self._allowed:
            hosts = {
                _normal(self._filled(host, variables, configuration))
                for host in self._allowed
                if self._fillable(host, variables, configuration)
            }
        else:
            hosts = {host_key(url)}
            for server in self._servers:
                if self._fillable(server.url, variables, configuration):
                    hosts |= _host_of(self._filled(server.url, variables, configuration))
        if host_key(url) not in hosts:
            raise EgressDenied(host_key(url))
        return Place(base, template.rstrip("/"), frozenset(hosts))

    def _chosen(self, configuration: Mapping[str, str]) -> str:
        if not self._servers:
            raise StateConflict(self._name, "no_server", "the definition names no server")
        wanted = configuration.get(CHOICE)
        if wanted is None:
            return self._servers[0].url
        for server in self._servers:
            if server.url == wanted:
                return server.url
        raise StateConflict(self._name, "configuration", "the connection chooses a server that the definition has not")

    def _filled(
        self, template: str, variables: Mapping[str, pb.ServerVariable], configuration: Mapping[str, str]
    ) -> str:
        def value(match: re.Match[str]) -> str:
            name = match[1]
            variable = variables.get(name, pb.ServerVariable())
            given = configuration.get(name, "")
            if not given:
                if not variable.default_value:
                    raise StateConflict(
                        self._name, "configuration", f"the connection has no value for the server variable {name!r}"
                    )
                return variable.default_value
            allowed = variable.allowed_values
            if (allowed and given not in allowed) or not (allowed or _VALUE.fullmatch(given)):
                raise StateConflict(
                    self._name, "configuration", f"the connection's value for the server variable {name!r} is not valid"
                )
            return given

        return _VARIABLE.sub(value, template)

    @staticmethod
    def _fillable(template: str, variables: Mapping[str, pb.ServerVariable], configuration: Mapping[str, str]) -> bool:
        names: Iterable[str] = _VARIABLE.findall(template)
        return all(configuration.get(name) or (name in variables and variables[name].default_value) for name in names)


def _normal(host: str) -> str:
    return host.lower().removesuffix(":443")


def _host_of(url: str) -> set[str]:
    try:
        return {host_key(check_url(url.rstrip("/")))}
    except EgressDenied:
        return set()
