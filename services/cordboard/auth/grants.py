"""Getting tokens for a part of a scheme where no person is needed: the first one, and each that follows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cordboard.auth.assertions import Claims, KeyInvalid, signed
from cordboard.auth.oauth import Client, Granted, Refused
from cordboard.auth.roles import own_key
from cordboard.auth.schemes import CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, filled
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from cordboard.auth.logins import Logins
    from cordboard.auth.oauth import TokenEndpoints
    from cordboard.auth.roles import Roles
    from cordboard.auth.schemes import Assertion, Part

Values = Mapping[str, Secret[str]]


class Grants:
    """Asks for tokens in whatever way a part says."""

    def __init__(self, endpoints: TokenEndpoints, logins: Logins, roles: Roles) -> None:
        """Takes the ways to the vendors."""
        self._endpoints = endpoints
        self._logins = logins
        self._roles = roles

    async def renewed(
        self, part: Part, held: Values, client: Client | None, scopes: tuple[str, ...]
    ) -> Granted | Refused:
        """Returns what came of the secrets that are held: a refresh token, or what was typed in; it raises nothing."""
        token = held.get(REFRESH_TOKEN)
        if token is None:
            return await self.granted(part, held, client, scopes)
        own = own_client(held) or client
        if part.oauth is None or own is None:
            return Refused("client_unset")
        return await self._endpoints.refresh(part.oauth, own, token)

    async def granted(
        self, part: Part, values: Values, client: Client | None, scopes: tuple[str, ...]
    ) -> Granted | Refused:
        """Returns what came of the values that a person typed in; it raises nothing."""
        own = own_client(values) or client
        if part.kind == "client_credentials" and part.oauth is not None:
            return (
                Refused("client_unset")
                if own is None
                else await self._endpoints.client_credentials(part.oauth, own, scopes)
            )
        if part.kind == "jwt_bearer" and part.oauth is not None and part.assertion is not None:
            assertion = _signed(part.assertion, values, part.oauth.token_url, scopes)
            if isinstance(assertion, Refused):
                return assertion
            return await self._endpoints.assertion(part.oauth, own, assertion, ())
        if part.kind == "signed_jwt" and part.assertion is not None:
            token = _signed(part.assertion, values, "", scopes)
            return token if isinstance(token, Refused) else Granted(token, None, part.assertion.seconds, None)
        if part.kind == "session" and part.login is not None:
            return await self._logins.log_in(part.login, values)
        if part.kind == "aws_role" and part.role is not None:
            key = own_key(values) or client
            return Refused("client_unset") if key is None else await self._roles.assume(part.role, values, key)
        return Refused("unsupported")


def own_client(values: Values) -> Client | None:
    """Returns the client that belongs to the connection itself, where a person typed one in."""
    client_id, secret = values.get(CLIENT_ID), values.get(CLIENT_SECRET)
    return None if client_id is None else Client(client_id.reveal(), secret)


def _signed(told: Assertion, values: Values, audience: str, scopes: tuple[str, ...]) -> Secret[str] | Refused:
    key = values.get(told.key)
    if key is None:
        return Refused("key_missing")
    extra: dict[str, object] = {name: filled(text, values) for name, text in told.claims.items()}
    if scopes:
        extra["scope"] = " ".join(scopes)
    claims = Claims(
        issuer=filled(told.issuer, values),
        subject=filled(told.subject, values),
        audience=filled(told.audience, values) or audience,
        seconds=told.seconds,
        extra=extra,
    )
    try:
        return signed(claims, key, algorithm=told.algorithm, key_id=filled(told.key_id, values))
    except KeyInvalid:
        return Refused("key_invalid", over=True)
