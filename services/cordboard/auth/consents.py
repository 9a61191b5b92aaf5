"""A person's consent at a vendor's page, by OAuth 2 and by OAuth 1: how it begins, and what it gives."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cordboard.auth import oauth1
from cordboard.auth.credentials import Material
from cordboard.auth.oauth import Client, Granted, authorization_url, error_code, new_secret
from cordboard.auth.oauth1 import TokenPair
from cordboard.auth.schemes import ACCESS_TOKEN, TOKEN_SECRET
from cordboard.core.errors import OAuthFailed
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from cordboard.auth.connect import Vendors
    from cordboard.auth.connect_session import Return
    from cordboard.auth.schemes import Scheme


class Consents:
    """Sends people out to vendors, and asks the vendors for what they have allowed."""

    def __init__(self, vendors: Vendors, *, redirect_uri: str) -> None:
        """Takes the ways to ask vendors, and the redirect URI that each of them must know."""
        self._vendors = vendors
        self._redirect_uri = redirect_uri

    async def begun(
        self, scheme: Scheme, client: Client, state: Secret[str], scopes: tuple[str, ...]
    ) -> tuple[str, Secret[str]]:
        """Returns the URL to send the person to, and what has to be kept for the way back; raises OAuthFailed."""
        if scheme.active.kind == "oauth1":
            return await self._begun_oauth1(scheme, client, state)
        return self._begun_oauth2(scheme, client, state, scopes)

    async def ended(
        self, scheme: Scheme, client: Client, kept: Secret[str], back: Return, inputs: Mapping[str, Secret[str]]
    ) -> tuple[Material, Granted | None]:
        """Returns the credential that a way back gives, and what the vendor said with it; raises OAuthFailed."""
        if scheme.active.kind == "oauth1":
            pair, key = await self._paired(scheme, client, kept, back), scheme.active.key
            return Material({**inputs, key(ACCESS_TOKEN): pair.token, key(TOKEN_SECRET): pair.secret}), None
        granted = await self._exchanged(scheme, client, kept, back)
        return Material.of(scheme, granted, inputs), granted

    def _begun_oauth2(
        self, scheme: Scheme, client: Client, state: Secret[str], scopes: tuple[str, ...]
    ) -> tuple[str, Secret[str]]:
        if scheme.oauth is None:
            raise OAuthFailed("unsupported")
        verifier = new_secret()
        url = authorization_url(
            scheme.oauth,
            client,
            redirect_uri=self._redirect_uri,
            state=state,
            verifier=verifier if scheme.oauth.pkce else None,
            scopes=scopes,
        )
        return url, verifier

    async def _begun_oauth1(self, scheme: Scheme, client: Client, state: Secret[str]) -> tuple[str, Secret[str]]:
        told = scheme.active.oauth1
        if told is None:
            raise OAuthFailed("unsupported")
        # OAuth 1 has no state of its own: it travels in the callback, which the vendor keeps with the request token.
        callback = f"{self._redirect_uri}?state={state.reveal()}"
        pair = await self._vendors.oauth1.request_token(told, client, callback)
        kept = json.dumps([pair.token.reveal(), pair.secret.reveal()])
        return oauth1.authorization_url(told, pair), Secret(kept)

    async def _exchanged(self, scheme: Scheme, client: Client, kept: Secret[str], back: Return) -> Granted:
        if scheme.oauth is None:
            raise OAuthFailed("unsupported")
        # Before anything else is believed: a code from another server must not reach this one (RFC 9207 section 2.4).
        if scheme.oauth.issuer and back.issuer != scheme.oauth.issuer:
            raise OAuthFailed("issuer")
        if back.error:
            raise OAuthFailed(error_code(back.error))
        if not back.code.reveal():
            raise OAuthFailed("code_missing")
        return await self._vendors.endpoints.exchange(
            scheme.oauth,
            client,
            code=back.code.reveal(),
            verifier=kept if scheme.oauth.pkce else None,
            redirect_uri=self._redirect_uri,
        )

    async def _paired(self, scheme: Scheme, client: Client, kept: Secret[str], back: Return) -> TokenPair:
        token, secret = json.loads(kept.reveal())
        if scheme.active.oauth1 is None:
            raise OAuthFailed("unsupported")
        if not back.verifier.reveal():
            raise OAuthFailed(error_code(back.error or "access_denied"))
        # A verifier of another request token would bind another person's account.
        if not secrets.compare_digest(back.token.encode(), token.encode()):
            raise OAuthFailed("request_token")
        pair = TokenPair(Secret(token), Secret(secret))
        return await self._vendors.oauth1.access_token(scheme.active.oauth1, client, pair, back.verifier.reveal())
