"""A client that calls the vendor, with everything an OAuth flow needs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp

from cordboard import sandbox

REDIRECT_URI = "https://app.example/callback"
VERIFIER = "v" * 50
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")


# Parameters of a form or a query; None leaves one out.
Form = Mapping[str, str | None]
Back = dict[str, str]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Reply:
    """An answer of the vendor, read to its end."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    json: Any = field(default=None)


class Client:
    """Calls the vendor, with its API key unless other headers are given."""

    def __init__(self, session: aiohttp.ClientSession, vendor: sandbox.Vendor) -> None:
        self.session = session
        self.vendor = vendor

    async def call(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Reply:
        """Returns the answer; `path` may be a whole URL."""
        url = path if "://" in path else self.vendor.url + path
        sent = {"X-Api-Key": self.vendor.settings.api_key} if headers is None else headers
        async with self.session.request(method, url, headers=sent, allow_redirects=False, **more) as answer:
            content = await answer.read()
            value = await answer.json() if answer.content_type == "application/json" else None
            return Reply(answer.status, answer.headers, content, value)

    async def get(self, path: str, **more: Any) -> Reply:
        return await self.call("GET", path, **more)

    async def post(self, path: str, json: Any = None, **more: Any) -> Reply:
        return await self.call("POST", path, json=json, **more)

    async def break_vendor(self, **fault: Any) -> None:
        """Puts a fault in place."""
        assert (await self.call("PUT", "/_sandbox/faults", json=fault)).status == 200

    def authorize_url(self, **changes: str | None) -> str:
        """Returns a good authorization URL, with changes; None leaves a parameter out."""
        values: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.vendor.settings.client_id,
            "redirect_uri": REDIRECT_URI,
            "scope": "tickets:read tickets:write",
            "state": "st&te",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        kept = {name: value for name, value in {**values, **changes}.items() if value is not None}
        return f"{self.vendor.url}/oauth/authorize?{urlencode(kept)}"

    async def redirect(
        self, changes: Form | None = None, *, decision: str = "approve", agent: str | None = None
    ) -> Back:
        """Consents, and returns the parameters with which the browser comes back."""
        url = self.authorize_url(**(changes or {}))
        location = await sandbox.consent(self.session, url, decision=decision, agent=agent)
        assert location.startswith((changes or {}).get("redirect_uri") or REDIRECT_URI)
        return dict(parse_qsl(urlsplit(location).query))

    async def code(self, **changes: str | None) -> str:
        """Consents, and returns the authorization code."""
        return (await self.redirect(changes))["code"]

    async def token(self, changes: Form, *, headers: Mapping[str, str] | None = None) -> Reply:
        """Sends a token request of the preregistered client; None leaves a parameter out."""
        values: dict[str, str | None] = {
            "client_id": self.vendor.settings.client_id,
            "client_secret": self.vendor.settings.client_secret,
            **changes,
        }
        data = {name: value for name, value in values.items() if value is not None}
        return await self.call("POST", "/oauth/token", headers=headers or {}, data=data)

    async def exchange(self, code: str, /, **changes: str | None) -> Reply:
        """Sends a good token request for the code, with changes."""
        good = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT_URI,
            "code_verifier": VERIFIER,
        }
        return await self.token({**good, **changes})

    async def refresh(self, token: str, /, **changes: str | None) -> Reply:
        """Sends a good token request for the refresh token, with changes."""
        return await self.token({"grant_type": "refresh_token", "refresh_token": token, **changes})

    async def tokens(self) -> dict[str, Any]:
        """Goes through the whole flow, and returns the token answer."""
        answer = await self.exchange(await self.code())
        assert answer.status == 200
        tokens: dict[str, Any] = answer.json
        return tokens


def bearer(token: str) -> dict[str, str]:
    """Returns the headers of a request with this access token."""
    return {"Authorization": f"Bearer {token}"}
