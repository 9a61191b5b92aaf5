"""The client's side of OAuth 1.0a (RFC 5849): a request token, the person's consent, an access token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode

import aiohttp
from oauthlib.oauth1 import SIGNATURE_HMAC_SHA1, SIGNATURE_HMAC_SHA256, SIGNATURE_PLAINTEXT, SIGNATURE_RSA_SHA1
from oauthlib.oauth1 import Client as Signer
from opentelemetry.trace import SpanKind

from cordboard.auth.oauth import EXCHANGE_SECONDS, MAX_ANSWER_BYTES, is_token
from cordboard.core.egress import ResponseTooLarge, check_url, read_limited
from cordboard.core.errors import EgressDenied, OAuthFailed
from cordboard.core.secrets import Secret
from cordboard.core.telemetry import mark_answered, mark_asked, span

if TYPE_CHECKING:
    from cordboard.auth.oauth import Client
    from cordboard.auth.schemes import OAuth1

SIGNATURES: Final = {
    "HMAC-SHA1": SIGNATURE_HMAC_SHA1,
    "HMAC-SHA256": SIGNATURE_HMAC_SHA256,
    "RSA-SHA1": SIGNATURE_RSA_SHA1,
    "PLAINTEXT": SIGNATURE_PLAINTEXT,
}


@dataclass(frozen=True)
class TokenPair:
    """A token with its secret."""

    token: Secret[str]
    secret: Secret[str]


class OAuth1Endpoints:
    """Asks vendors for OAuth 1 tokens, through the guarded way out."""

    def __init__(self, session: aiohttp.ClientSession, *, plain_http: bool) -> None:
        """Takes a session of `Egress`; `plain_http` allows http, for vendors inside a private network."""
        self._session = session
        self._schemes = ("https", "http") if plain_http else ("https",)

    async def request_token(self, oauth: OAuth1, client: Client, callback: str) -> TokenPair:
        """Returns a request token (RFC 5849 section 2.1); raises OAuthFailed."""
        found = await self._ask("oauth1 request token", oauth.request_token_url, oauth, client, callback=callback)
        # Section 2.1: a server that does not say so does not know the callback, and anybody could pick up the verifier.
        if found.get("oauth_callback_confirmed") != "true":
            raise OAuthFailed("callback_unconfirmed")
        return _pair(found)

    async def access_token(self, oauth: OAuth1, client: Client, request: TokenPair, verifier: str) -> TokenPair:
        """Returns the access token for a request token that a person allowed (section 2.3); raises OAuthFailed."""
        found = await self._ask(
            "oauth1 access token", oauth.access_token_url, oauth, client, request=request, verifier=verifier
        )
        return _pair(found)

    async def _ask(
        self,
        name: str,
        url: str,
        oauth: OAuth1,
        client: Client,
        *,
        callback: str | None = None,
        request: TokenPair | None = None,
        verifier: str | None = None,
    ) -> dict[str, str]:
        secret = "" if client.secret is None else client.secret.reveal()
        rsa = oauth.signature_method.startswith("RSA")
        signer = Signer(
            client.id,
            client_secret=None if rsa else secret,
            rsa_key=secret if rsa else None,
            resource_owner_key=None if request is None else request.token.reveal(),
            resource_owner_secret=None if request is None else request.secret.reveal(),
            callback_uri=callback,
            verifier=verifier,
            signature_method=SIGNATURES[oauth.signature_method],
        )
        try:
            target = check_url(url)
            if target.scheme not in self._schemes:
                raise OAuthFailed("insecure_endpoint")
            _, headers, _ = signer.sign(url, http_method="POST")
            with span(name, SpanKind.CLIENT) as asked:
                mark_asked(asked, "POST", target.host, target.port)
                async with self._session.post(
                    target,
                    headers=headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=EXCHANGE_SECONDS, sock_connect=3.0),
                ) as response:
                    mark_answered(asked, response.status)
                    body = await read_limited(response, MAX_ANSWER_BYTES)
                    status = response.status
        except EgressDenied:
            raise OAuthFailed("egress_denied") from None
        except ResponseTooLarge:
            raise OAuthFailed("answer_too_large") from None
        except TimeoutError:
            raise OAuthFailed("timeout") from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise OAuthFailed("unreachable") from None
        if status != 200:
            raise OAuthFailed(f"http_{status}")
        return _form(body)


def authorization_url(oauth: OAuth1, request: TokenPair) -> str:
    """Returns the URL to send the person to (RFC 5849 section 2.2)."""
    separator = "&" if "?" in oauth.authorization_url else "?"
    return f"{oauth.authorization_url}{separator}{urlencode({'oauth_token': request.token.reveal()})}"


def _form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode("utf-8"), strict_parsing=True, max_num_fields=50)
    except ValueError:
        raise OAuthFailed("answer_unreadable") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise OAuthFailed("answer_invalid")
    return found


def _pair(found: dict[str, str]) -> TokenPair:
    token, secret = found.get("oauth_token", ""), found.get("oauth_token_secret", "")
    if not is_token(token) or (secret and not is_token(secret)):
        raise OAuthFailed("answer_invalid")
    return TokenPair(Secret(token), Secret(secret))
