"""Where an API is for one connection: its server's URL with the variables filled in, and the hosts it may reach."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.egress import check_url, host_key
from cordboard.core.errors import EgressDenied, StateConflict
from cordboard.core.variables import placed
from cordboard.planning import styles
from cordboard.planning.variables import Values, refusal

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
        self._allowed = tuple(definition.allowed_hosts)
        # A secret never stands in a URL's host.
        self._config = {one.name: _as_variable(one) for one in definition.config_variables if not one.secret}
        own = {variable.name: variable for server in self._servers for variable in server.variables}
        self._all: Variables = {**self._config, **own}
        self._places: dict[tuple[str, str, tuple[tuple[str, str], ...]], Place] = {}

    def place(self, configuration: Mapping[str, str], server_url: str = "", server_id: str = "") -> Place:
        """Returns where a connection of this configuration goes.

        `server_id` names the server, and `server_url` replaces it; both empty: the first that the configuration is for.
        Raises StateConflict naming what the configuration lacks, and EgressDenied for a URL that cannot be sent to.
        """
        key = (server_url, server_id, tuple(sorted(configuration.items())) if configuration else ())
        found = self._places.get(key)
        if found is None:
            found = self._work_out(configuration, server_url, server_id)
            if len(self._places) >= _KEPT:
                self._places.clear()
            self._places[key] = found
        return found

    def choice(self, variable: str, values: Values) -> str:
        """Returns the id of the server that a config variable chooses, empty where it has no value.

        Raises StateConflict where no server has that id.
        """
        chosen = values.of(variable) if variable else None
        if chosen is None:
            return ""
        if not any(server.id == chosen for server in self._servers):
            raise refusal(self._name, variable, "names no server of the definition")
        return str(chosen)

    def _work_out(self, configuration: Mapping[str, str], server_url: str, server_id: str) -> Place:
        template, variables = (server_url, self._all) if server_url else self._chosen(configuration, server_id)
        base = self._filled(template, variables, configuration).rstrip("/")
        url = check_url(base)
        if self._allowed:
            hosts = {
                _normal(self._filled(host, self._all, configuration))
                for host in self._allowed
                if _fillable(host, self._all, configuration)
            }
        else:
            hosts = {host_key(url)}
            for server in self._servers:
                own = self._known(server)
                if _fillable(server.url, own, configuration):
                    hosts |= self._host_of(server.url, own, configuration)
        if host_key(url) not in hosts:
            raise EgressDenied(host_key(url))
        return Place(base, template.rstrip("/"), frozenset(hosts))

    def _chosen(self, configuration: Mapping[str, str], server_id: str) -> tuple[str, Variables]:
        """Returns the server of the id; without one that for which the connection gives most, or else the first."""
        able = [server for server in self._servers if server.id == server_id] if server_id else self._servers
        if not able:
            raise StateConflict(self._name, "no_server", "the definition names no server")
        ready = [server for server in able if _fillable(server.url, self._known(server), configuration)]
        server = max(
            ready or able[:1],
            key=lambda one: sum(name in configuration for name in set(_VARIABLE.findall(one.url))),
        )
        return server.url, self._known(server)

    def _known(self, server: pb.Server) -> Variables:
        return {**self._config, **{variable.name: variable for variable in server.variables}}

    def _host_of(self, template: str, variables: Variables, configuration: Mapping[str, str]) -> set[str]:
        try:
            return {host_key(check_url(self._filled(template, variables, configuration).rstrip("/")))}
        except (EgressDenied, StateConflict):
            # It is not the server that is asked for, and with such a value it cannot be.
            return set()

    def _filled(self, template: str, variables: Variables, configuration: Mapping[str, str]) -> str:
        def value(match: re.Match[str]) -> str:
            name = match[1]
            variable = variables.get(name, pb.ServerVariable())
            given = configuration.get(name, "") or variable.default_value
            if not given:
                raise self._refusal(name, "has no value")
            if given == variable.default_value and name not in self._config:
                return given
            if variable.allowed_values:
                written = given if given in variable.allowed_values else ""
            else:
                written = placed(given, name, template)
            if not written:
                raise self._refusal(name, "has a value that cannot stand in a server's URL")
            return written

        return _VARIABLE.sub(value, template)

    def _refusal(self, name: str, problem: str) -> StateConflict:
        if name in self._config:
            return refusal(self._name, name, problem)
        text = f"the server variable {name!r} {problem}: connect again with another"
        return StateConflict(self._name, "configuration", text, variable=name)


def _as_variable(told: pb.ConfigVariable) -> pb.ServerVariable:
    default = styles.text(orjson.loads(told.default_value_json)) if told.default_value_json else ""
    return pb.ServerVariable(name=told.name, default_value=default)


def _fillable(template: str, variables: Variables, configuration: Mapping[str, str]) -> bool:
    return all(
        configuration.get(name) or (name in variables and variables[name].default_value)
        for name in _VARIABLE.findall(template)
    )


def _normal(host: str) -> str:
    return host.lower().removesuffix(":443")
