"""Where an API is for one connection: its server's URL with the variables filled in, and the hosts it may reach."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.egress import check_url, host_key
from cordboard.core.errors import EgressDenied, StateConflict

# The value of a variable that a connection gives. It can neither end the part of the URL that it stands in nor begin
# another: no slash, colon, at sign, question mark, number sign, percent or backslash.
_VALUE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?")
_VARIABLE: Final = re.compile(r"\{([^{}]+)\}")
_KEPT: Final = 1024

Variables = Mapping[str, pb.ServerVariable]


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
        self._variables = {variable.name: variable for server in self._servers for variable in server.variables}
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
        template, variables = (server_url, self._variables) if server_url else self._chosen(configuration)
        base = self._filled(template, variables, configuration).rstrip("/")
        url = check_url(base)
        if self._allowed:
            hosts = {
                _normal(self._filled(host, self._variables, configuration))
                for host in self._allowed
                if _fillable(host, self._variables, configuration)
            }
        else:
            hosts = {host_key(url)}
            for server in self._servers:
                own = _by_name(server)
                if _fillable(server.url, own, configuration):
                    hosts |= _host_of(self._filled(server.url, own, configuration))
        if host_key(url) not in hosts:
            raise EgressDenied(host_key(url))
        return Place(base, template.rstrip("/"), frozenset(hosts))

    def _chosen(self, configuration: Mapping[str, str]) -> tuple[str, Variables]:
        """Returns the server for which the connection gives most: the first one unless its values are another's."""
        if not self._servers:
            raise StateConflict(self._name, "no_server", "the definition names no server")
        ready = [server for server in self._servers if _fillable(server.url, _by_name(server), configuration)]
        server = max(
            ready or self._servers[:1],
            key=lambda one: sum(variable.name in configuration for variable in one.variables),
        )
        return server.url, _by_name(server)

    def _filled(self, template: str, variables: Variables, configuration: Mapping[str, str]) -> str:
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


def _by_name(server: pb.Server) -> Variables:
    return {variable.name: variable for variable in server.variables}


def _fillable(template: str, variables: Variables, configuration: Mapping[str, str]) -> bool:
    return all(
        configuration.get(name) or (name in variables and variables[name].default_value)
        for name in _VARIABLE.findall(template)
    )


def _normal(host: str) -> str:
    return host.lower().removesuffix(":443")


def _host_of(url: str) -> set[str]:
    try:
        return {host_key(check_url(url.rstrip("/")))}
    except EgressDenied:
        return set()
