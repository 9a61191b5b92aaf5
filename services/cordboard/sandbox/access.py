"""Who is calling: OAuth access tokens, API keys and passwords."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cordboard.sandbox.grants import AGENTS, Grants
from cordboard.sandbox.refusals import Malformed, NotFound, Unauthenticated

_CHALLENGE = 'Bearer realm="Acme Desk"'


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, and what the credential allows."""

    id: str
    name: str
    email: str | None
    authenticated_by: Literal["oauth2", "api_key", "basic"]
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key as it is given out, once."""

    id: str
    key: str = field(repr=False)


class Access:
    """Knows the credentials of the desk."""

    def __init__(self, grants: Grants, *, scopes: Iterable[str], api_key: str, user: str, password: str) -> None:
        self._grants = grants
        self._every_scope = frozenset(scopes)
        self._keys: dict[str, Caller] = {}
        self._key_ids: dict[str, str] = {}
        self._user, self._password = user, password
        self.add_key(name="Demo key", key=api_key)

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

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """Returns whose credential the headers carry; raises Unauthenticated, or Malformed when there are two."""
        authorization, key = headers.get("Authorization"), headers.get("X-Api-Key")
        if authorization is None and key is None:
            raise Unauthenticated("a credential is required", headers={"WWW-Authenticate": _CHALLENGE})
        if authorization is None:
            return self._by_key(key or "")
        if key is not None:
            raise Malformed("bring one credential, not an Authorization and an X-Api-Key header")
        scheme, _, rest = authorization.partition(" ")
        match scheme.lower():
            case "bearer":
                return self._by_token(rest.strip())
            case "basic":
                return self._by_password(rest.strip())
            case _:
                text = "the Authorization header must be Bearer or Basic"
                raise Unauthenticated(text, headers={"WWW-Authenticate": _CHALLENGE})

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
            challenge = 'Basic realm="Acme Desk", charset="UTF-8"'
            raise Unauthenticated("the user name or password is wrong", headers={"WWW-Authenticate": challenge})
        agent = AGENTS[0]
        return Caller(agent.id, agent.name, agent.email, "basic", self._every_scope)
