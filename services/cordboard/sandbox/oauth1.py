"""The vendor's older door: OAuth 1.0a (RFC 5849), three legs, judged by oauthlib."""

from __future__ import annotations

import secrets
from html import escape
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from aiohttp import web
from oauthlib.oauth1 import RequestValidator, ResourceEndpoint, WebApplicationServer
from oauthlib.oauth1.rfc5849.errors import OAuth1Error

from cordboard.sandbox.grants import AGENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from cordboard.sandbox.signatures import Evidence
    from cordboard.sandbox.vendor import Vendor

_NO_STORE: Final = {"Cache-Control": "no-store"}
_FORM: Final = "application/x-www-form-urlencoded"


class Register(RequestValidator):
    """The clients and tokens of OAuth 1; what oauthlib asks about them."""

    client_key_length = nonce_length = request_token_length = access_token_length = verifier_length = (6, 80)
    enforce_ssl = False
    dummy_client = dummy_request_token = dummy_access_token = "nobody-at-all"  # noqa: S105 - stands for none
    allowed_signature_methods = ("HMAC-SHA1", "HMAC-SHA256")

    def __init__(self, clock: Callable[[], float], key: str, secret: str, callbacks: tuple[str, ...]) -> None:
        """Takes the one client that is registered."""
        super().__init__()
        self._clock = clock
        self._client = (key, secret)
        self._callbacks = callbacks
        self._seen: set[tuple[str, ...]] = set()
        self.requests: dict[str, dict[str, Any]] = {}
        self.access: dict[str, str] = {}

    @property
    def safe_characters(self) -> set[str]:
        """Returns what may stand in keys and tokens."""
        return set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")

    def get_client_secret(self, _client_key: str, _request: Any) -> str:
        """Returns the secret that proves the client; of an unknown one, a constant."""
        return self._client[1]

    def get_request_token_secret(self, _client_key: str, token: str, _request: Any) -> str:
        """Returns the secret of a request token."""
        return str(self.requests.get(token, {}).get("secret", "nothing"))

    def get_access_token_secret(self, _client_key: str, token: str, _request: Any) -> str:
        """Returns the secret of an access token."""
        return self.access.get(token, "nothing")

    def get_realms(self, _token: str, _request: Any) -> list[str]:
        """Returns no realm: there is one desk."""
        return []

    def get_default_realms(self, _client_key: str, _request: Any) -> list[str]:
        """Returns no realm: there is one desk."""
        return []

    def get_redirect_uri(self, token: str, _request: Any) -> str:
        """Returns where the browser goes when the person has decided."""
        return str(self.requests[token]["callback"])

    def validate_client_key(self, client_key: str, _request: Any) -> bool:
        """Tells whether the client is registered."""
        return client_key == self._client[0]

    def validate_request_token(self, _client_key: str, token: str, _request: Any) -> bool:
        """Tells whether the request token is known."""
        return token in self.requests

    def validate_access_token(self, _client_key: str, token: str, _request: Any) -> bool:
        """Tells whether the access token is known."""
        return token in self.access

    def validate_timestamp_and_nonce(
        self,
        client_key: str,
        timestamp: Any,
        nonce: str,
        _request: Any,
        request_token: str | None = None,
        access_token: str | None = None,
    ) -> bool:
        """Tells whether the request is of now, and comes for the first time."""
        mark = (client_key, timestamp, nonce, request_token or "", access_token or "")
        if abs(int(timestamp) - self._clock()) > 300 or mark in self._seen:
            return False
        self._seen.add(mark)
        return True

    def validate_redirect_uri(self, _client_key: str, redirect_uri: str, _request: Any) -> bool:
        """Tells whether the callback is, without the client's own query, one of the client's."""
        return redirect_uri.partition("?")[0] in self._callbacks

    def validate_requested_realms(self, _client_key: str, _realms: Any, _request: Any) -> bool:
        """Allows every realm: there is one desk."""
        return True

    def validate_realms(
        self, _client_key: str, _token: str, _request: Any, uri: str | None = None, realms: Any = None
    ) -> bool:
        """Allows every realm: there is one desk."""
        return uri is not None or realms is None

    def validate_verifier(self, _client_key: str, token: str, verifier: str, _request: Any) -> bool:
        """Tells whether the verifier is the one that the person's browser was sent back with."""
        known = self.requests.get(token, {}).get("verifier")
        return known is not None and secrets.compare_digest(str(known), verifier)

    def verify_request_token(self, token: str, _request: Any) -> bool:
        """Tells whether a person can decide about the token."""
        return token in self.requests

    def verify_realms(self, _token: str, _realms: Any, _request: Any) -> bool:
        """Allows every realm: there is one desk."""
        return True

    def invalidate_request_token(self, _client_key: str, token: str, _request: Any) -> None:
        """Ends a request token: it was exchanged."""
        self.requests.pop(token, None)

    def save_request_token(self, token: Any, request: Any) -> None:
        """Keeps a request token."""
        self.requests[token["oauth_token"]] = {"secret": token["oauth_token_secret"], "callback": request.redirect_uri}

    def save_verifier(self, token: str, verifier: dict[str, str], _request: Any) -> None:
        """Keeps what the browser is sent back with."""
        self.requests[token]["verifier"] = verifier["oauth_verifier"]

    def save_access_token(self, token: Any, _request: Any) -> None:
        """Keeps an access token."""
        self.access[token["oauth_token"]] = token["oauth_token_secret"]


class OAuth1:
    """Answers the OAuth 1 requests of one vendor."""

    def __init__(self, vendor: Vendor) -> None:
        """Takes the vendor whose register is asked at each request: a reset makes a new one."""
        self._vendor = vendor

    def routes(self) -> list[web.RouteDef]:
        """Returns the routes of the three legs."""
        return [
            web.post("/oauth1/request_token", self.request_token),
            web.get("/oauth1/authorize", self.authorize),
            web.post("/oauth1/authorize", self.decide),
            web.post("/oauth1/access_token", self.access_token),
        ]

    async def request_token(self, request: web.Request) -> web.Response:
        """Gives a request token (RFC 5849 section 2.1)."""
        server = WebApplicationServer(self._vendor.register)
        return _answer(server.create_request_token_response(*await _parts(request)))

    async def access_token(self, request: web.Request) -> web.Response:
        """Gives an access token (RFC 5849 section 2.3)."""
        server = WebApplicationServer(self._vendor.register)
        return _answer(server.create_access_token_response(*await _parts(request)))

    async def authorize(self, request: web.Request) -> web.Response:
        """Shows the consent page (RFC 5849 section 2.2)."""
        token = request.query.get("oauth_token", "")
        if token not in self._vendor.register.requests:
            return web.Response(status=400, text="this request is not known", headers=_NO_STORE)
        text = (
            "<!doctype html><title>Acme Desk</title><h1>Allow access?</h1>"
            f'<form method="post" action="/oauth1/authorize"><input type="hidden" name="request" '
            f'value="{escape(token)}"><button name="decision" value="approve">Allow</button>'
            '<button name="decision" value="deny">Deny</button></form>'
        )
        return web.Response(text=text, content_type="text/html", headers=_NO_STORE)

    async def decide(self, request: web.Request) -> web.Response:
        """Takes the person's answer, and sends the browser back to the client."""
        values = await request.post()
        token = str(values.get("request", ""))
        known = self._vendor.register.requests.get(token)
        if known is None:
            return web.Response(status=400, text="this request is not known", headers=_NO_STORE)
        told = {"oauth_token": token}
        if values.get("decision") == "approve":
            known["verifier"] = told["oauth_verifier"] = secrets.token_urlsafe(12)
            self._vendor.grants.tally.grants += 1
        else:
            told |= {"denied": token}
        callback = known["callback"]
        location = f"{callback}{'&' if '?' in callback else '?'}{urlencode(told)}"
        return web.Response(status=302, headers={**_NO_STORE, "Location": location})


def signed_by(register: Register, evidence: Evidence) -> str | None:
    """Returns the id of the agent in whose name a signed request of the API comes, or None when it proves nothing."""
    headers = {"Authorization": evidence.headers["Authorization"]}
    body = None
    if evidence.headers.get("Content-Type", "").partition(";")[0] == _FORM:
        headers["Content-Type"], body = _FORM, evidence.body.decode("utf-8", "replace")
    try:
        valid, _ = ResourceEndpoint(register).validate_protected_resource_request(
            evidence.url, evidence.method, body, headers, []
        )
    except (OAuth1Error, ValueError):
        return None
    return AGENTS[0].id if valid else None


async def _parts(request: web.Request) -> tuple[str, str, str, dict[str, str]]:
    body = (await request.read()).decode("utf-8", "replace")
    headers = {name: request.headers[name] for name in ("Authorization", "Content-Type") if name in request.headers}
    return f"{request.scheme}://{request.host}{request.raw_path}", request.method, body, headers


def _answer(answered: tuple[dict[str, str], str | None, int]) -> web.Response:
    headers, body, status = answered
    return web.Response(status=status, text=body or "", headers={**headers, **_NO_STORE})
