"""The ways to authenticate that Auth knows: what a person types in, and what the vendor is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable

    from cordboard.core.schema import JsonSchema
    from cordboard.core.secrets import Secret

ACCESS_TOKEN: Final = "access_token"  # noqa: S105 - the name of a field
REFRESH_TOKEN: Final = "refresh_token"  # noqa: S105 - the name of a field
ROLE_ARN: Final = "role_arn"
EXTERNAL_ID: Final = "external_id"
ACCESS_KEY_ID: Final = "access_key_id"
SECRET_ACCESS_KEY: Final = "secret_access_key"  # noqa: S105 - the name of a field
TOKEN_SECRET: Final = "token_secret"  # noqa: S105 - the name of a field
CLIENT_ID: Final = "client_id"
CLIENT_SECRET: Final = "client_secret"  # noqa: S105 - the name of a field
_PLACE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.-]*)\}")
# The end of the host is a variable.
_CHOSEN: Final = re.compile(r"[a-z]+://[^/?]*\}(?::[0-9]+)?(?:[/?]|$)")
# A person has to consent at the vendor's page.
INTERACTIVE: Final = frozenset({"oauth2", "device", "oauth1"})
# The vendor, or a key of ours, gives a token for what a person typed in, again and again.
GRANTING: Final = frozenset({"client_credentials", "jwt_bearer", "signed_jwt", "session", "aws_role"})
# Tokens that RFC 7009 can revoke.
REVOCABLE: Final = frozenset({"oauth2", "device", "client_credentials", "jwt_bearer"})


@dataclass(frozen=True)
class Field:
    """A value that a person types in."""

    name: str
    title: str
    secret: bool = True
    optional: bool = False
    """It may be left out."""
    empty: bool = False
    """It may be empty, and has to be said to be."""
    lines: bool = False
    """It has several lines, as a PEM file has."""
    colon: bool = True
    """Whether a colon may stand in it."""
    schema: JsonSchema | None = None
    """What values it may have."""


@dataclass(frozen=True)
class TokenResponse:
    """Where a token endpoint's answer holds what; JSON Pointers (RFC 6901)."""

    access_token: str = "/access_token"  # noqa: S105 - a pointer
    refresh_token: str = "/refresh_token"  # noqa: S105 - a pointer
    expires_in: str = "/expires_in"
    refresh_expires_in: str = "/refresh_token_expires_in"
    scope: str = "/scope"
    token_type: str = "/token_type"  # noqa: S105 - a pointer
    configuration: Mapping[str, str] = field(default_factory=dict)
    """Variables that the answer gives values for."""


@dataclass(frozen=True)
class OAuth:
    """Where and how an integration does OAuth 2."""

    authorization_url: str
    token_url: str
    revocation_url: str
    scopes: frozenset[str]
    default_scopes: tuple[str, ...]
    authentication: str
    """How our client shows its secret: `basic`, `post`, `private_key_jwt` or `none`."""
    issuer: str
    refresh_url: str = ""
    """Empty: the token URL."""
    device_url: str = ""
    authorization_parameters: Mapping[str, str] = field(default_factory=dict)
    token_parameters: Mapping[str, str] = field(default_factory=dict)
    scope_separator: str = " "
    pkce: bool = True
    token_types: frozenset[str] = frozenset({"bearer"})
    response: TokenResponse = field(default_factory=TokenResponse)
    default_seconds: int | None = None
    """How long an access token lives where the vendor does not say."""
    idle_seconds: int | None = None
    """How long a refresh token lives unused, where the definition knows it."""
    grace_seconds: int | None = None
    """How long a refresh token that was used still works, where it does."""


@dataclass(frozen=True)
class OAuth1:
    """Where and how an integration does OAuth 1.0a (RFC 5849)."""

    request_token_url: str
    authorization_url: str
    access_token_url: str
    signature_method: str = "HMAC-SHA1"
    realm: str = ""


@dataclass(frozen=True)
class Assertion:
    """How a JWT is made of what a person typed in; `{name}` stands for a value."""

    algorithm: str = "RS256"
    issuer: str = ""
    subject: str = ""
    audience: str = ""
    key: str = "private_key"
    """The field that holds the key."""
    key_id: str = ""
    seconds: int = 300
    claims: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Login:
    """A request that gives a token for what a person typed in; `{name}` stands for a value."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, str] = field(default_factory=dict)
    encoding: str = "json"
    """`json` or `form`."""
    token: str = "/token"  # noqa: S105 - a pointer
    """Where the answer holds the token: a JSON Pointer, `header:Name` or `cookie:name`."""
    expires_in: str = ""
    """Where the answer holds how many seconds it lives; empty: it does not say."""
    seconds: int | None = None
    """How long it lives, where the definition knows it."""


@dataclass(frozen=True)
class Role:
    """An AWS role whose sessions sign; `{name}` stands for a value."""

    arn: str
    region: str
    endpoint: str = ""
    """Empty: that of AWS in the region."""
    seconds: int = 3600


@dataclass(frozen=True)
class Part:
    """One credential of a scheme. A combination has several, each with an id; any other scheme one, without."""

    id: str
    kind: str
    fields: tuple[Field, ...] = ()
    oauth: OAuth | None = None
    oauth1: OAuth1 | None = None
    assertion: Assertion | None = None
    login: Login | None = None
    role: Role | None = None

    def key(self, name: str) -> str:
        """Returns the name under which a value of this part is kept beside those of the others."""
        return f"{self.id}.{name}" if self.id else name

    @property
    def renewable(self) -> bool:
        """Tells whether what was typed in gives a new token whenever the old one ends."""
        return self.kind in GRANTING


@dataclass(frozen=True)
class Scheme:
    """One way to authenticate."""

    id: str
    kind: str
    """The kind of its part, or `all_of`."""
    parts: tuple[Part, ...]

    @property
    def active(self) -> Part:
        """Returns the part for which somebody has to be asked: the vendor, or a person there; else the first."""
        asking = (part for part in self.parts if part.kind in INTERACTIVE or part.kind in GRANTING)
        return next(asking, self.parts[0])

    @property
    def oauth(self) -> OAuth | None:
        """Returns the OAuth 2 of the part that has one."""
        return next((part.oauth for part in self.parts if part.oauth is not None), None)

    @property
    def interactive(self) -> bool:
        """Tells whether a person has to consent at the vendor's page."""
        return self.active.kind in INTERACTIVE

    @property
    def fields(self) -> dict[str, Field]:
        """Returns what a person types in, by the names of the form."""
        return {part.key(each.name): each for part in self.parts for each in part.fields}

    def filled(self, values: Mapping[str, Secret[str]]) -> Scheme:
        """Returns the scheme with each `{name}` of its URLs and parameters replaced by its value."""
        return replace(self, parts=tuple(_filled(part, values) for part in self.parts))

    @property
    def unfilled(self) -> list[str]:
        """Returns the names that still stand in URLs, for which there was no value."""
        urls = [url for part in self.parts for url in _urls(part)]
        return sorted({name for url in urls for name in _PLACE.findall(url)})

    @property
    def host_is_chosen(self) -> bool:
        """Tells whether the values decide where a client's secret goes, and not only below which host of the vendor."""
        urls = [part.oauth.token_url for part in self.parts if part.oauth is not None]
        urls += [part.oauth1.access_token_url for part in self.parts if part.oauth1 is not None]
        return any(_CHOSEN.match(url) for url in urls)

    def of(self, part: Part, values: Mapping[str, Secret[str]]) -> dict[str, Secret[str]]:
        """Returns the values of one part, by the names they have in it."""
        prefix = f"{part.id}." if part.id else ""
        return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def filled(template: str, values: Mapping[str, Secret[str]], escape: Callable[[str], str] = str) -> str:
    """Returns a template with each `{name}` replaced by its value, once: a value's own braces stay."""
    return _PLACE.sub(lambda found: escape(values[found[1]].reveal()) if found[1] in values else found[0], template)


def filled_url(template: str, values: Mapping[str, Secret[str]]) -> str:
    """Returns a URL with each `{name}` replaced by its value, which cannot reach beyond its place."""
    return filled(template, values, lambda text: quote(text, safe=""))


def _urls(part: Part) -> list[str]:
    found: list[str] = []
    if part.oauth is not None:
        one = part.oauth
        found += [one.authorization_url, one.token_url, one.refresh_url, one.revocation_url, one.device_url]
    if part.oauth1 is not None:
        found += [part.oauth1.request_token_url, part.oauth1.authorization_url, part.oauth1.access_token_url]
    return found


def _filled(part: Part, values: Mapping[str, Secret[str]]) -> Part:
    oauth, one = part.oauth, part.oauth1
    if oauth is not None:
        oauth = replace(
            oauth,
            authorization_url=filled_url(oauth.authorization_url, values),
            token_url=filled_url(oauth.token_url, values),
            refresh_url=filled_url(oauth.refresh_url, values),
            revocation_url=filled_url(oauth.revocation_url, values),
            device_url=filled_url(oauth.device_url, values),
            issuer=filled_url(oauth.issuer, values),
            authorization_parameters={k: filled(v, values) for k, v in oauth.authorization_parameters.items()},
            token_parameters={k: filled(v, values) for k, v in oauth.token_parameters.items()},
        )
    if one is not None:
        one = replace(
            one,
            request_token_url=filled_url(one.request_token_url, values),
            authorization_url=filled_url(one.authorization_url, values),
            access_token_url=filled_url(one.access_token_url, values),
        )
    return replace(part, oauth=oauth, oauth1=one)
