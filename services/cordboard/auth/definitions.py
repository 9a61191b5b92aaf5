"""What Auth needs to know of integrations: how they authenticate. It comes from the Catalog."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.catalog.v1.catalog_service_pb2 import GetDefinitionVersionRequest
from cordboard.core.errors import DependencyUnavailable, NotFound, Violation

if TYPE_CHECKING:
    from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceAsyncStub
    from cordboard.core.times import Clock

# How old an answer of the Catalog may be while the Catalog can be asked.
FRESH_SECONDS: Final = 1.0
ASK_SECONDS: Final = 5.0
# The scheme of a definition that names none.
NO_AUTH: Final = "none"
_HOST_SAFE: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?")


@dataclass(frozen=True)
class OAuth:
    """Where and how an integration does OAuth 2."""

    authorization_url: str
    token_url: str
    revocation_url: str
    scopes: frozenset[str]
    default_scopes: tuple[str, ...]
    authentication: str
    """How our client shows its secret: `basic`, `post` or `none`."""
    issuer: str


@dataclass(frozen=True)
class Scheme:
    """One way to authenticate."""

    id: str
    kind: str
    """`oauth2`, `api_key`, `basic`, `bearer` or `none`."""
    oauth: OAuth | None = None


@dataclass(frozen=True)
class Variable:
    """A part of a server's URL that differs between accounts."""

    name: str
    default: str
    allowed: frozenset[str]


@dataclass(frozen=True)
class Definition:
    """How one integration authenticates, and what it asks for beside."""

    integration: str
    title: str
    schemes: Mapping[str, Scheme]
    servers: tuple[tuple[Variable, ...], ...]

    def scheme(self, scheme_id: str) -> Scheme:
        """Returns a scheme; the first one where none is named; raises NotFound."""
        found = self.schemes.get(scheme_id) if scheme_id else next(iter(self.schemes.values()))
        if found is None:
            raise NotFound(f"integrations/{self.integration}/authSchemes/{scheme_id}")
        return found

    def wrong_configuration(self, values: Mapping[str, str]) -> list[Violation]:
        """Checks values for the servers' variables: every one is known, and some server has all that it needs."""
        known = {variable.name: variable for server in self.servers for variable in server}
        wrong = [
            Violation(f"configuration.{name}", problem)
            for name, value in values.items()
            if (problem := _problem(known.get(name), value))
        ]
        missing = [
            [variable.name for variable in server if not variable.default and variable.name not in values]
            for server in self.servers
        ]
        if missing and all(missing):
            wrong += [Violation(f"configuration.{name}", "is required", "REQUIRED") for name in missing[0]]
        return wrong


def _problem(variable: Variable | None, value: str) -> str:
    if variable is None:
        return "is no variable of the integration's servers"
    if variable.allowed and value not in variable.allowed:
        return f"must be one of {', '.join(sorted(variable.allowed))}"
    return "" if _HOST_SAFE.fullmatch(value) else "must be letters, digits, dots, underscores and hyphens"


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
    schemes = [_scheme(scheme) for scheme in definition.auth_schemes] or [Scheme(NO_AUTH, "none")]
    servers = tuple(
        tuple(
            Variable(variable.name, variable.default_value, frozenset(variable.allowed_values))
            for variable in server.variables
        )
        for server in definition.servers
    )
    return Definition(integration, definition.title or integration, {scheme.id: scheme for scheme in schemes}, servers)


_AUTHENTICATION: Final[Mapping[int, str]] = {
    pb.CLIENT_AUTHENTICATION_UNSPECIFIED: "basic",
    pb.CLIENT_AUTHENTICATION_BASIC: "basic",
    pb.CLIENT_AUTHENTICATION_POST: "post",
    pb.CLIENT_AUTHENTICATION_NONE: "none",
}


def _scheme(scheme: pb.AuthScheme) -> Scheme:
    kind = scheme.WhichOneof("kind") or "none"
    if kind != "oauth2":
        return Scheme(scheme.id, kind)
    told = scheme.oauth2
    oauth = OAuth(
        authorization_url=told.authorization_url,
        token_url=told.token_url,
        revocation_url=told.revocation_url,
        scopes=frozenset(scope.name for scope in told.scopes),
        default_scopes=tuple(told.default_scopes),
        authentication=_AUTHENTICATION[told.client_authentication],
        issuer=told.issuer,
    )
    return Scheme(scheme.id, kind, oauth)
