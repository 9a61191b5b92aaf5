"""Who is calling: tokens, keys, passwords, digests, signatures, sessions and certificates."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import jwt

from cordboard.sandbox.grants import AGENTS, Grants, OAuthRefusal
from cordboard.sandbox.oauth1 import Register, signed_by
from cordboard.sandbox.refusals import Malformed, NotFound, Unauthenticated
from cordboard.sandbox.settings import Settings
from cordboard.sandbox.signatures import Digest, Evidence, SigV4, fields

_CHALLENGE = 'Bearer realm="Acme Desk"'
# Where a key may stand: two headers, a parameter of the query, and a cookie.
KEY_PARAMETER = "api_key"
KEY_COOKIE = "acme_key"
Means = Literal["oauth2", "api_key", "basic", "digest", "oauth1", "aws_sigv4", "session", "jwt", "mtls"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, and what the credential allows."""

    id: str
    name: str
    email: str | None
    authenticated_by: Means
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as it is given out, once."""

    id: str
    key: str = field(repr=False)


class Access:
    """Knows the credentials of the desk."""

    def __init__(
        self,
        grants: Grants,
        register: Register,
        settings: Settings,
        clock: Callable[[], float],
        *,
        scopes: Iterable[str],
        url: str,
    ) -> None:
        self._grants = grants
        self._register = register
        self.settings = settings
        self._clock = clock
        self._url = url
        self._every_scope = frozenset(scopes)
        self._keys: dict[str, Caller] = {}
        self._key_ids: dict[str, str] = {}
        self._user, self._password = settings.basic_user, settings.basic_password
        self._digest = Digest(clock, self._user, self._password)
        self._sigv4 = SigV4(clock, settings.aws_access_key, settings.aws_secret_key)
        self._sessions: dict[str, float] = {}
        self._trusted: dict[str, str] = {}
        self.add_key(name="Demo key", key=settings.api_key)

    def add_key(self, *, name: str, key: str | None = None, scopes: Iterable[str] | None = None) -> ApiKey:
        """Adds an API key (a new one when none is given) with these scopes, or with all, and returns it."""
        added = ApiKey(f"key_{len(self._key_ids) + 1:08d}", key or f"acme_key_{secrets.token_urlsafe(24)}")
        allowed = self._every_scope if scopes is None else frozenset(scopes)
        self._keys[added.key] = Caller(added.id, name, None, "api_key", allowed)
        self._key_ids[added.id] = added.key
        return added

    def drop_key(self, key_id: str) -> None:
        """Ends an API key; raises NotFound."""
        key = self._key_ids.get(key_id)
        if key is None or self._keys.pop(key, None) is None:
            raise NotFound("api key", key_id)

    def trust(self, issuer: str, public_key: str) -> None:
        """Takes the public key (PEM) whose JWTs speak for `issuer`."""
        self._trusted[issuer] = public_key

    def asserted(self, token: str, audiences: Iterable[str]) -> str:
        """Returns the issuer of a JWT that one of the trusted keys has signed; raises OAuthRefusal."""
        try:
            issuer = str(jwt.decode(token, options={"verify_signature": False}).get("iss"))
            claims = jwt.decode(
                token,
                self._trusted.get(issuer, ""),
                algorithms=["RS256", "ES256"],
                audience=list(audiences),
                issuer=issuer,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.PyJWTError, ValueError):
            raise OAuthRefusal("invalid_grant", "the assertion is not valid") from None
        return str(claims["iss"])

    def log_in(self, user: str, password: str) -> str:
        """Returns the token of a new session; raises Unauthenticated."""
        if not hmac.compare_digest(f"{user}:{password}".encode(), f"{self._user}:{self._password}".encode()):
            raise Unauthenticated("the user name or password is wrong")
        token = f"acme_se_{secrets.token_urlsafe(24)}"
        self._sessions[token] = self._clock() + self.settings.session_seconds
        return token

    def end_sessions(self) -> None:
        """Ends every session, as a restart of the vendor would."""
        self._sessions.clear()

    def caller(self, evidence: Evidence) -> Caller:
        """Returns whose credential a request carries; raises Unauthenticated, or Malformed when there are two."""
        headers = evidence.headers
        if self.settings.app_key_required and headers.get("X-App-Key") != self.settings.app_key:
            raise Unauthenticated("the key of the application is missing or wrong")
        authorization, session = headers.get("Authorization"), headers.get("X-Session-Token")
        keys = (headers.get("X-Api-Key"), evidence.query.get(KEY_PARAMETER), evidence.cookies.get(KEY_COOKIE))
        brought = [each for each in (authorization, session, *keys) if each is not None]
        if len(brought) > 1:
            raise Malformed("bring one credential, not an Authorization and an X-Api-Key header")
        if not brought and evidence.certificate:
            return self._agent("mtls")
        if not brought:
            told = f"{_CHALLENGE}, {self._digest.challenge()}"
            raise Unauthenticated("a credential is required", headers={"WWW-Authenticate": told})
        if session is not None:
            return self._by_session(session)
        if authorization is None:
            return self._by_key(brought[0])
        return self._by_authorization(authorization, evidence)

    def challenge(self) -> str:
        """Returns a challenge for a digest."""
        return self._digest.challenge()

    def _by_authorization(self, authorization: str, evidence: Evidence) -> Caller:
        scheme, _, rest = authorization.partition(" ")
        match scheme.lower():
            case "bearer" if rest.count(".") == 2:
                return self._by_jwt(rest.strip())
            case "bearer":
                return self._by_token(rest.strip())
            case "basic":
                return self._by_password(rest.strip())
            case "digest":
                if not self._digest.proves(evidence, fields(rest)):
                    challenge = self._digest.challenge(stale=True)
                    raise Unauthenticated("the digest is wrong", headers={"WWW-Authenticate": challenge})
                return self._agent("digest")
            case "oauth":
                if signed_by(self._register, evidence) is None:
                    raise Unauthenticated("the signature is wrong", headers={"WWW-Authenticate": "OAuth"})
                return self._agent("oauth1")
            case "aws4-hmac-sha256":
                if not self._sigv4.proves(evidence, fields(rest)):
                    raise Unauthenticated("the signature is wrong", headers={"WWW-Authenticate": _CHALLENGE})
                return self._agent("aws_sigv4")
            case _:
                text = "the Authorization header must be Bearer or Basic"
                raise Unauthenticated(text, headers={"WWW-Authenticate": _CHALLENGE})

    def _by_jwt(self, token: str) -> Caller:
        try:
            self.asserted(token, [self._url])
        except OAuthRefusal:
            text = "the token is not valid"
            raise Unauthenticated(text, headers={"WWW-Authenticate": _CHALLENGE}) from None
        return self._agent("jwt")

    def _by_session(self, token: str) -> Caller:
        if self._sessions.get(token, 0.0) <= self._clock():
            raise Unauthenticated("the session is not there (any more)", headers={"WWW-Authenticate": _CHALLENGE})
        return self._agent("session")

    def _agent(self, means: Means) -> Caller:
        agent = AGENTS[0]
        return Caller(agent.id, agent.name, agent.email, means, self._every_scope)

    def _by_token(self, token: str) -> Caller:
        found = self._grants.access(token)
        if found is None:
            text = "the access token is not valid or has expired"
            challenge = f'{_CHALLENGE}, error="invalid_token", error_description="{text}"'
            raise Unauthenticated(text, headers={"WWW-Authenticate": challenge})
        agent = found.grant.agent
        return Caller(agent.id, agent.name, agent.email, "oauth2", frozenset(found.scopes))

    def _by_key(self, key: str) -> Caller:
        found = self._keys.get(key)
        if found is None:
            raise Unauthenticated("the API key is not valid", headers={"WWW-Authenticate": _CHALLENGE})
        return found

    def _by_password(self, encoded: str) -> Caller:
        try:
            given = base64.b64decode(encoded, validate=True)
        except ValueError:
            given = b""
        if not hmac.compare_digest(given, f"{self._user}:{self._password}".encode()):
            challenge = f'Basic realm="Acme Desk", charset="UTF-8", {self._digest.challenge()}'
            raise Unauthenticated("the user name or password is wrong", headers={"WWW-Authenticate": challenge})
        return self._agent("basic")
