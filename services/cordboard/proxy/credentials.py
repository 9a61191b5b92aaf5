"""Puts a connection's credential into a request: last of all, so that nothing planned can reach or replace it."""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote, unquote_plus

from yarl import URL

from cordboard.auth.v1 import credential_service_pb2 as auth_pb
from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core import sigv4
from cordboard.core.errors import CordboardError, ReconnectRequired, StateConflict
from cordboard.core.secrets import Secret
from cordboard.core.times import Clock, SystemClock
from cordboard.planning.plan import Outbound
from cordboard.proxy.signing import oauth1
from cordboard.proxy.signing.certificates import ClientCertificate
from cordboard.proxy.signing.digest import DigestUser

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_NAME: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.-]*)\}")
_BEARER: Final = pb.ApiKey(placement=pb.PLACEMENT_HEADER, name="Authorization", prefix="Bearer ")
# What these sign has to be whole, with the other parts of a combination in it.
_SIGNING: Final = frozenset({"oauth1", "aws_sigv4"})
_VALUES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("basic", "digest"), "basic"),
    "oauth1": "oauth1",
    "aws_sigv4": "aws",
    "mtls": "certificate",
}
_JSON: Final = "application/json"
_MULTIPART: Final = re.compile(r"multipart/form-data\s*;.*?boundary=(?:\"([^\"]+)\"|([^\s;]+))", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ready(Outbound):
    """A request with its credential, and what the sender has to show beside it."""

    user: DigestUser | None = field(default=None, repr=False)
    """Who answers a challenge (RFC 7616)."""
    certificate: ClientCertificate | None = field(default=None, repr=False)
    """What to show when the connection is made."""


class Credential:
    """The secret of a connection, with the values that its vendor wants beside it."""

    def __init__(self, connection: str, lease: auth_pb.LeaseCredentialResponse, clock: Clock | None = None) -> None:
        """Takes the connection's name and what Auth leased; `clock` dates signatures."""
        self._connection = connection
        self._generation = lease.generation
        self._clock = clock or SystemClock()
        self._parts: Secret[tuple[auth_pb.CredentialPart, ...]] = Secret(tuple(lease.parts) or (_only(lease),))
        self._values: Secret[dict[str, str]] = Secret({**lease.connection.configuration, **lease.secret_variables})

    @property
    def empty(self) -> bool:
        """Tells whether there is nothing to show, and so nothing that the vendor could refuse."""
        return all(part.WhichOneof("value") in (None, "none") for part in self._parts.reveal())

    def login(self) -> tuple[str, Secret[str]]:
        """Returns user name and password; raises StateConflict where the credential is of another kind."""
        part = self._parts.reveal()[0]
        if part.WhichOneof("value") != "basic":
            raise self._unlike()
        return self._clean(part.basic.username), Secret(self._clean(part.basic.password))

    def place(
        self,
        request: Outbound,
        scheme: pb.AuthScheme,
        schemes: Mapping[str, pb.AuthScheme] | None = None,
        defaults: Mapping[str, str] | None = None,
    ) -> Ready:
        """Returns the request with the credential in it, signed where the scheme signs: as it is, it has to be sent.

        `schemes` are the definition's, by id, for a scheme that combines several; `defaults` are what config variables
        are that nobody has set. Raises ReconnectRequired where the credential cannot stand in a request, StateConflict
        where it is of another kind than the scheme, or the request has no place for it.
        """
        ready = Ready(request.method, request.template, request.url, dict(request.headers), request.body)
        parts = self._parts.reveal()
        unset = defaults or {}
        if scheme.WhichOneof("kind") != "all_of":
            return self._with(ready, scheme, parts[0], unset)
        by_id = {part.auth_scheme: part for part in parts}
        known = [one for name in scheme.all_of.auth_schemes if (one := (schemes or {}).get(name)) is not None]
        if len(known) != len(scheme.all_of.auth_schemes) or any(one.id not in by_id for one in known):
            raise self._unlike()
        for one in sorted(known, key=lambda each: each.WhichOneof("kind") in _SIGNING):
            if one.WhichOneof("kind") == "all_of":
                raise self._unlike()
            ready = self._with(ready, one, by_id[one.id], unset)
        return ready

    def _with(
        self, request: Ready, scheme: pb.AuthScheme, part: auth_pb.CredentialPart, unset: Mapping[str, str]
    ) -> Ready:
        kind = scheme.WhichOneof("kind")
        if kind in (None, "none"):
            return request
        if part.WhichOneof("value") != _VALUES.get(kind, "token"):
            raise self._unlike()
        match kind:
            case "api_key":
                return self._with_key(request, scheme.api_key, part.token)
            case "signed_jwt" if scheme.signed_jwt.HasField("placement"):
                return self._with_key(request, scheme.signed_jwt.placement, part.token)
            case "session" if scheme.session.HasField("placement"):
                return self._with_key(request, scheme.session.placement, part.token)
            case "bearer" if scheme.bearer.prefix:
                return self._with_header(request, "Authorization", f"{scheme.bearer.prefix.strip()} {part.token}")
            case "basic":
                return self._with_basic(request, scheme.basic, part, unset)
            case "digest":
                user = DigestUser(self._clean(part.basic.username), Secret(self._clean(part.basic.password)))
                return replace(request, user=user, headers=_without(request.headers, "Authorization"))
            case "oauth1":
                return self._with_oauth1(request, scheme.oauth1, part.oauth1)
            case "aws_sigv4":
                return self._with_aws(request, scheme.aws_sigv4, part, unset)
            case "mtls":
                return self._with_certificate(request, part)
            case _:
                return self._with_key(request, _BEARER, part.token)

    def _with_basic(
        self, request: Ready, basic: pb.Basic, part: auth_pb.CredentialPart, unset: Mapping[str, str]
    ) -> Ready:
        username = self._filled(basic.username, part, unset) if basic.username else part.basic.username
        password = self._filled(basic.password, part, unset) if basic.password else part.basic.password
        pair = f"{self._clean(username)}:{self._clean(password)}"
        if ":" in username or pair == ":":
            # RFC 7617 section 2: the vendor would read a part of the name as the password.
            raise ReconnectRequired(self._connection, "malformed")
        return self._with_header(request, "Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")

    def _with_oauth1(self, request: Ready, scheme: pb.OAuth1, told: auth_pb.OAuth1Credential) -> Ready:
        keys = oauth1.OAuth1Keys(told.consumer_key, Secret(told.consumer_secret), told.token, Secret(told.token_secret))
        form = request.body if _media_type(request) == oauth1.FORM else None
        try:
            value = oauth1.authorization(keys, scheme, request.method, request.url, form)
        except ValueError:
            raise ReconnectRequired(self._connection, "malformed") from None
        return self._with_header(request, "Authorization", value)

    def _with_aws(
        self, request: Ready, scheme: pb.AwsSigV4, part: auth_pb.CredentialPart, unset: Mapping[str, str]
    ) -> Ready:
        told = part.aws
        keys = sigv4.AwsKeys(
            self._clean(told.access_key_id),
            Secret(told.secret_access_key),
            Secret(self._clean(told.session_token)),
        )
        scope = sigv4.Scope(scheme.service, self._clean(self._filled(scheme.region, part, unset)))
        url = URL(request.url, encoded=True)
        headers = sigv4.signed(keys, scope, request.method, url, request.headers, request.body, self._clock.now())
        return replace(request, headers=headers)

    def _with_certificate(self, request: Ready, part: auth_pb.CredentialPart) -> Ready:
        if not request.url.lower().startswith("https://"):
            raise StateConflict(self._connection, "auth_scheme", "a client certificate can be shown over https only")
        told = part.certificate
        certificate = ClientCertificate(
            self._connection,
            self._generation,
            part.auth_scheme,
            Secret(told.certificate_chain),
            Secret(told.private_key),
        )
        return replace(request, certificate=certificate)

    def _with_key(self, request: Ready, key: pb.ApiKey, secret: str) -> Ready:
        value = key.prefix + self._clean(secret)
        match key.placement:
            case pb.PLACEMENT_HEADER:
                return self._with_header(request, key.name, value)
            case pb.PLACEMENT_QUERY:
                path, _, query = request.url.partition("?")
                return replace(request, url=f"{path}?{_joined(query, key.name, value)}")
            case pb.PLACEMENT_COOKIE:
                pairs = request.headers.get("Cookie", "").split("; ")
                kept = [pair for pair in pairs if pair and pair.partition("=")[0] != key.name]
                return self._with_header(request, "Cookie", "; ".join([*kept, f"{key.name}={quote(value, safe='')}"]))
            case pb.PLACEMENT_PATH:
                if value in ("", ".", ".."):
                    raise ReconnectRequired(self._connection, "malformed")
                path, mark, query = request.url.partition("?")
                return replace(request, url=f"{path.replace(f'{{{key.name}}}', quote(value, safe=''))}{mark}{query}")
            case _:
                return self._in_body(request, key.name, value)

    def _in_body(self, request: Ready, name: str, value: str) -> Ready:
        media_type, body = _media_type(request), request.body
        if body is None and request.method not in ("GET", "HEAD"):
            headers = {**_without(request.headers, "Content-Type"), "Content-Type": _JSON}
            return replace(request, headers=headers, body=_dumped({name: value}))
        if body is not None and media_type == oauth1.FORM:
            return replace(request, body=_joined(body.decode(), name, value).encode())
        if body is not None and (media_type == _JSON or media_type.endswith("+json")):
            document = json.loads(body)
            if isinstance(document, dict):
                return replace(request, body=_dumped({**document, name: value}))
        boundary = _MULTIPART.match(request.headers.get("Content-Type", ""))
        if body is not None and boundary is not None:
            label = quote(name, safe=" !#$&+-.^_`|~[]")
            first = (
                f'--{boundary[1] or boundary[2]}\r\nContent-Disposition: form-data; name="{label}"\r\n\r\n{value}\r\n'
            )
            return replace(request, body=first.encode() + body)
        raise StateConflict(self._connection, "auth_scheme", "the request has no body that could hold the credential")

    def _with_header(self, request: Ready, name: str, value: str) -> Ready:
        return replace(request, headers={**_without(request.headers, name), name: self._clean(value)})

    def _filled(self, template: str, part: auth_pb.CredentialPart, unset: Mapping[str, str]) -> str:
        """Returns a template with each `{name}` replaced by its value, once: a value's own braces stay."""
        values = {**unset, **self._values.reveal(), **part.fields}

        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name not in values:
                text = f"the connection has no value for {name!r}"
                raise StateConflict(self._connection, "configuration", text, variable=name)
            return values[match[1]]

        return _NAME.sub(value, template)

    def _clean(self, text: str) -> str:
        if _CONTROL.search(text):
            raise ReconnectRequired(self._connection, "malformed")
        return text

    def _unlike(self) -> CordboardError:
        return StateConflict(self._connection, "auth_scheme", "the credential is of another kind than its auth scheme")


def new_nonce() -> str:
    """Returns a text that nobody can guess, and that was never used before."""
    return secrets.token_hex(16)


def _only(lease: auth_pb.LeaseCredentialResponse) -> auth_pb.CredentialPart:
    kind = lease.WhichOneof("credential") or "none"
    scheme = lease.connection.auth_scheme
    if kind == "basic":
        return auth_pb.CredentialPart(auth_scheme=scheme, basic=lease.basic)
    if kind in ("api_key", "access_token"):
        return auth_pb.CredentialPart(auth_scheme=scheme, token=getattr(lease, kind))
    return auth_pb.CredentialPart(auth_scheme=scheme, none=auth_pb.NoCredential())


def _without(headers: Mapping[str, str], name: str) -> dict[str, str]:
    return {known: text for known, text in headers.items() if known.lower() != name.lower()}


def _joined(pairs: str, name: str, value: str) -> str:
    """Returns a query or a form with this pair in the place of whatever has its name."""
    kept = [pair for pair in pairs.split("&") if pair and unquote_plus(pair.partition("=")[0]) != name]
    return "&".join([*kept, f"{quote(name, safe='')}={quote(value, safe='')}"])


def _media_type(request: Outbound) -> str:
    told = next((text for name, text in request.headers.items() if name.lower() == "content-type"), "")
    return told.partition(";")[0].strip().lower()


def _dumped(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
