"""What Auth needs to know of integrations: how they authenticate. It comes from the Catalog."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc
import orjson

from cordboard.auth.declared import schemes_of
from cordboard.auth.schemes import Part, Scheme
from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.catalog.v1.catalog_service_pb2 import GetDefinitionVersionRequest
from cordboard.core.errors import DependencyUnavailable, NotFound, Violation
from cordboard.core.schema import JsonSchema
from cordboard.core.variables import misfit, placed, schema_of

if TYPE_CHECKING:
    from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceAsyncStub
    from cordboard.core.times import Clock

# How old an answer of the Catalog may be while the Catalog can be asked.
FRESH_SECONDS: Final = 1.0
ASK_SECONDS: Final = 5.0
LONGEST_VARIABLE: Final = 4096
# The scheme of a definition that names none.
NO_AUTH: Final = "none"
_PLACE: Final = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Variable:
    """A value that differs between accounts: a part of a server's URL, or what the definition asks for beside."""

    name: str
    default: str
    allowed: frozenset[str]
    secret: bool = False
    optional: bool = False
    urls: tuple[str, ...] = ()
    """Of the servers in whose address it stands."""
    schema: JsonSchema | None = None
    title: str = ""
    description: str = ""


@dataclass(frozen=True)
class Definition:
    """How one integration authenticates, and what it asks for beside."""

    integration: str
    title: str
    schemes: Mapping[str, Scheme]
    servers: tuple[tuple[Variable, ...], ...]
    variables: tuple[Variable, ...] = ()
    """What it asks for beside the servers' own variables."""
    check_action: str = ""

    def scheme(self, scheme_id: str) -> Scheme:
        """Returns a scheme; the first one where none is named; raises NotFound."""
        found = self.schemes.get(scheme_id) if scheme_id else next(iter(self.schemes.values()))
        if found is None:
            raise NotFound(f"integrations/{self.integration}/authSchemes/{scheme_id}")
        return found

    def wrong_configuration(
        self, values: Mapping[str, str], secrets: Mapping[str, str], elsewhere: Collection[str] = ()
    ) -> list[Violation]:
        """Checks a connection's values: every one is known and fits, and none that is needed is missing.

        `elsewhere` are the variables that have a value already, or will get one when the vendor answers.
        """
        fields = ("configuration", "secret_configuration")
        wrong = self.wrong_values(values, secrets, fields)
        missing = [
            [variable.name for variable in server if not variable.default and variable.name not in values]
            for server in self.servers
        ]
        if missing and all(missing):
            wrong += [Violation(f"configuration.{name}", "is required", "REQUIRED") for name in missing[0]]
        told = {*elsewhere, *(name for given in (values, secrets) for name, value in given.items() if value)}
        text = "is required: give it here, or set it for the workspace"
        return wrong + [
            Violation(f"{fields[variable.secret]}.{variable.name}", text, "REQUIRED")
            for variable in self.required
            if variable.name not in told
        ]

    def wrong_values(
        self,
        values: Mapping[str, str],
        secrets: Mapping[str, str],
        fields: tuple[str, str] = ("values", "secret_values"),
    ) -> list[Violation]:
        """Checks values: every one is of a variable, belongs where it is, and fits; an empty one is none."""
        known = {variable.name: variable for server in self.servers for variable in server}
        known |= {variable.name: variable for variable in self.variables}
        return [
            Violation(f"{place}.{name[:64]}", problem)
            for place, given, secret in ((fields[0], values, False), (fields[1], secrets, True))
            for name, value in given.items()
            if (problem := _problem(known.get(name), value, secret=secret))
        ]

    @property
    def required(self) -> list[Variable]:
        """Returns the config variables that somebody has to set."""
        return [variable for variable in self.variables if not (variable.optional or variable.default)]

    def asked(self, known: Collection[str]) -> list[Variable]:
        """Returns the variables that a person can give values for, without those that have one already."""
        servers = [variable for variable in next(iter(self.servers), ()) if not variable.default]
        found = {variable.name: variable for variable in (*servers, *self.variables)}
        return [variable for name, variable in found.items() if name not in known]

    @property
    def defaults(self) -> dict[str, str]:
        """Returns the values of the config variables that nobody has set."""
        return {variable.name: variable.default for variable in self.variables if variable.default}


def _problem(variable: Variable | None, value: str, *, secret: bool) -> str:
    if variable is None:
        return "is no variable of the integration"
    if variable.secret and not secret:
        return "is a secret and belongs among the secret values"
    if variable.allowed and value not in variable.allowed:
        return f"must be one of {', '.join(sorted(variable.allowed))}"
    if variable.urls and not variable.secret:
        fitting = all(placed(value, variable.name, url) for url in variable.urls)
        problem = "" if fitting else "must be letters, digits, dots, underscores and hyphens, or a host"
    else:
        fitting = len(value) <= LONGEST_VARIABLE and value.isprintable()
        problem = "" if fitting else f"must be at most {LONGEST_VARIABLE} printable characters"
    return problem or (misfit(value, variable.schema) if value else "")


class Definitions:
    """Asks the Catalog, and remembers: when the Catalog is away, what was known last is served."""

    def __init__(self, catalog: Callable[[], CatalogServiceAsyncStub], clock: Clock) -> None:
        """Takes what gives a stub for use now."""
        self._catalog = catalog
        self._clock = clock
        self._known: dict[str, tuple[float, Definition]] = {}

    async def definition(self, integration: str) -> Definition:
        """Returns an integration's active definition; raises NotFound and DependencyUnavailable."""
        known = self._known.get(integration)
        if known is not None and self._clock.monotonic() < known[0]:
            return known[1]
        request = GetDefinitionVersionRequest(name=f"integrations/{integration}/versions/active")
        try:
            version = await self._catalog().GetDefinitionVersion(request, timeout=ASK_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                self._known.pop(integration, None)
                raise NotFound(f"integrations/{integration}") from None
            if known is not None:
                return known[1]
            raise DependencyUnavailable("catalog") from None
        found = _read(integration, version.definition)
        self._known[integration] = (self._clock.monotonic() + FRESH_SECONDS, found)
        return found


def _read(integration: str, definition: pb.Definition) -> Definition:
    urls = [server.url for server in definition.servers]
    schemes = schemes_of(definition.auth_schemes) or {NO_AUTH: Scheme(NO_AUTH, "none", (Part("", "none"),))}
    servers = tuple(
        tuple(
            Variable(
                variable.name,
                variable.default_value,
                frozenset(variable.allowed_values),
                urls=(server.url,),
                description=variable.description,
            )
            for variable in server.variables
        )
        for server in definition.servers
    )
    return Definition(
        integration,
        definition.title or integration,
        schemes,
        servers,
        tuple(_variable(variable, urls) for variable in definition.config_variables),
        check_action=definition.check_action,
    )


def _variable(told: pb.ConfigVariable, urls: Collection[str]) -> Variable:
    return Variable(
        told.name,
        _as_text(told.default_value_json),
        frozenset(),
        told.secret,
        not told.required,
        urls=tuple(url for url in urls if told.name in _PLACE.findall(url)),
        schema=schema_of(told.schema_json),
        title=told.title,
        description=told.description,
    )


def _as_text(value_json: str) -> str:
    value = orjson.loads(value_json) if value_json else ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
