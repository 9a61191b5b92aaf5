"""Our side of OpenID Connect Core 1.0: discovery, the authorization request, and a strict reading of ID tokens."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus, urlencode

import aiohttp
import jwt

from cordboard.core.egress import ResponseTooLarge, check_url, read_limited
from cordboard.core.errors import DependencyUnavailable, EgressDenied, OAuthFailed

if TYPE_CHECKING:
    from cordboard.core.secrets import Secret

PROVIDER: Final = "sign-in provider"
ALGORITHMS: Final = ("RS256", "PS256", "ES256")
MAX_ANSWER_BYTES: Final = 256 * 1024
DISCOVERY_SECONDS: Final = 3600.0
KEYS_SECONDS: Final = 300.0
# With unknown key ids a provider's mistake would make us ask for every sign-in.
KEYS_AGAIN_SECONDS: Final = 10.0
LEEWAY: Final = 30
OLDEST_SECONDS: Final = 600
_SUBJECT: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


@dataclass(frozen=True)
class Registration:
    """What we are at a provider."""

    issuer: str
    client_id: str
    secret: Secret[str] | None
    redirect_uri: str
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    groups_claim: str = "groups"


@dataclass(frozen=True)
class Person:
    """Who a provider says somebody is."""

    subject: str
    email: str
    """Empty unless the provider has verified it."""
    groups: frozenset[str]


class OpenIdProvider:
    """One provider, found by discovery."""

    def __init__(self, session: aiohttp.ClientSession, registration: Registration, *, plain_http: bool) -> None:
        """`plain_http` lets it be a provider without TLS, on a network that was opened on purpose."""
        self._session = session
        self._registration = registration
        self._plain_http = plain_http
        self._metadata: tuple[float, dict[str, Any]] = (0.0, {})
        self._keys: tuple[float, dict[str | None, jwt.PyJWK]] = (0.0, {})

    async def authorization_url(self, state: str, nonce: str, verifier: str) -> str:
        """Returns where to send a person; raises DependencyUnavailable."""
        endpoint = self._endpoint(await self._discovered(), "authorization_endpoint")
        query = {
            "response_type": "code",
            "client_id": self._registration.client_id,
            "redirect_uri": self._registration.redirect_uri,
            "scope": " ".join(self._registration.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge(verifier),
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def person(self, code: str, nonce: str, verifier: str, iss: str) -> Person:
        """Exchanges a code and returns who came; raises OAuthFailed and DependencyUnavailable."""
        metadata = await self._discovered()
        # RFC 9207: an answer of another provider must not be taken to this one.
        required = metadata.get("authorization_response_iss_parameter_supported") is True
        if (iss or required) and iss != self._registration.issuer:
            raise OAuthFailed("issuer_mismatch")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._registration.redirect_uri,
            "code_verifier": verifier,
        }
        headers, secret = {"accept": "application/json"}, self._registration.secret
        if secret is None:
            form["client_id"] = self._registration.client_id
        else:
            pair = f"{quote_plus(self._registration.client_id)}:{quote_plus(secret.reveal())}"
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        status, answer = await self._asked("POST", self._endpoint(metadata, "token_endpoint"), headers, form)
        if status != 200:
            raise OAuthFailed("the provider did not take the code")
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise OAuthFailed("the provider gave no ID token")
        return self._read(await self._claims(token, metadata), nonce)

    async def _claims(self, token: str, metadata: dict[str, Any]) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS or "crit" in header:
                raise OAuthFailed("the ID token is signed in a way that is not accepted")
            key = await self._key(header.get("kid"), metadata)
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[header["alg"]],
                audience=self._registration.client_id,
                issuer=self._registration.issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise OAuthFailed("the ID token is not valid") from None
        return claims

    def _read(self, claims: Mapping[str, Any], nonce: str) -> Person:
        client = self._registration.client_id
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        # OpenID Connect Core 3.1.3.7, points 3 to 5: a token for several is ours only where it says that we asked.
        if claims.get("azp", None if several else client) != client:
            raise OAuthFailed("the ID token is for somebody else")
        if claims.get("nonce") != nonce:
            raise OAuthFailed("the ID token belongs to another sign-in")
        if claims["iat"] < time.time() - OLDEST_SECONDS:
            raise OAuthFailed("the ID token is old")
        subject = claims["sub"]
        if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
            raise OAuthFailed("the ID token names nobody")
        email = claims.get("email")
        verified = claims.get("email_verified") is True and isinstance(email, str) and _SUBJECT.fullmatch(email)
        groups = claims.get(self._registration.groups_claim)
        listed = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
        return Person(
            subject,
            str(email).lower() if verified else "",
            frozenset(group for group in listed if isinstance(group, str)),
        )

    async def _key(self, kid: Any, metadata: dict[str, Any]) -> jwt.PyJWK:
        read, keys = self._keys
        age = time.monotonic() - read
        if not read or age > KEYS_SECONDS or (kid not in keys and age > KEYS_AGAIN_SECONDS):
            _, answer = await self._asked("GET", self._endpoint(metadata, "jwks_uri"))
            keys = {}
            for entry in answer.get("keys") or ():
                # A symmetric key in a public document is no key.
                if isinstance(entry, dict) and entry.get("kty") in ("RSA", "EC") and entry.get("use", "sig") == "sig":
                    # One that cannot be read, or is of a kind that we do not know, does not spoil the others.
                    with suppress(jwt.PyJWTError, ValueError, TypeError, KeyError, NotImplementedError):
                        keys[entry.get("kid")] = jwt.PyJWK(entry)
            self._keys = time.monotonic(), keys
        if kid is None and len(keys) == 1:
            return next(iter(keys.values()))
        if kid not in keys:
            raise OAuthFailed("the ID token is signed by an unknown key")
        return keys[kid]

    async def _discovered(self) -> dict[str, Any]:
        read, metadata = self._metadata
        if not read or time.monotonic() - read > DISCOVERY_SECONDS:
            url = f"{self._registration.issuer.rstrip('/')}/.well-known/openid-configuration"
            status, metadata = await self._asked("GET", url)
            # Discovery 1.0, section 4.3: otherwise one provider could speak for another.
            if status != 200 or metadata.get("issuer") != self._registration.issuer:
                raise DependencyUnavailable(PROVIDER)
            self._metadata = time.monotonic(), metadata
        return metadata

    def _endpoint(self, metadata: Mapping[str, Any], name: str) -> str:
        found = metadata.get(name)
        allowed = ("https://", "http://") if self._plain_http else ("https://",)
        if not isinstance(found, str) or not found.startswith(allowed):
            raise DependencyUnavailable(PROVIDER)
        return found

    async def _asked(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        if not url.startswith("https://") and not self._plain_http:
            raise DependencyUnavailable(PROVIDER)
        try:
            async with self._session.request(
                method, check_url(url), headers=headers, data=form, allow_redirects=False
            ) as answer:
                found = json.loads((await read_limited(answer, MAX_ANSWER_BYTES)).decode())
                status = answer.status
        except (aiohttp.ClientError, ResponseTooLarge, EgressDenied, OSError, TimeoutError):
            raise DependencyUnavailable(PROVIDER) from None
        except (ValueError, RecursionError):
            raise OAuthFailed("the provider answered what is no JSON") from None
        if not isinstance(found, dict):
            raise OAuthFailed("the provider answered what is no object")
        return status, found


def challenge(verifier: str) -> str:
    """Returns the S256 challenge of a PKCE verifier (RFC 7636 section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
