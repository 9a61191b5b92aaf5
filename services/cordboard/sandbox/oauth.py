"""The authorization server over HTTP: metadata (RFC 8414), consent page, token and revocation (RFC 7009) endpoints."""

from __future__ import annotations

import base64
import importlib.resources
from collections.abc import Mapping
from html import escape
from string import Template
from urllib.parse import parse_qsl, unquote_plus, urlencode

from aiohttp import web

from cordboard.sandbox.answers import encode
from cordboard.sandbox.grants import AGENTS, DEVICE_SECONDS, Client, Issued, OAuthRefusal, UntrustedRedirect, Wish
from cordboard.sandbox.vendor import Vendor

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_PAGE_HEADERS = {
    **_NO_STORE,
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
_CLIENT_AUTHENTICATION = ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
JWT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class OAuth:
    """Answers the OAuth requests of one vendor."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        page = importlib.resources.files("cordboard.sandbox").joinpath("consent.html").read_text(encoding="utf-8")
        self._page = Template(page)

    def routes(self) -> list[web.RouteDef]:
        """Returns the routes of the authorization server."""
        return [
            web.get("/.well-known/oauth-authorization-server", self.metadata),
            web.get("/oauth/authorize", self.authorize),
            web.post("/oauth/authorize", self.decide),
            web.post("/oauth/token", self.token),
            web.post("/oauth/revoke", self.revoke),
            web.post("/oauth/device_authorization", self.device),
            web.get("/oauth/device", self.ask_code),
            web.post("/oauth/device", self.take_code),
        ]

    async def metadata(self, _request: web.Request) -> web.Response:
        """Answers what this authorization server is and can do (RFC 8414)."""
        issuer = self._vendor.url
        return _json(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/oauth/authorize",
                "token_endpoint": f"{issuer}/oauth/token",
                "revocation_endpoint": f"{issuer}/oauth/revoke",
                "scopes_supported": [*self._vendor.document.scopes],
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "device_authorization_endpoint": f"{issuer}/oauth/device_authorization",
                "grant_types_supported": [
                    "authorization_code",
                    "refresh_token",
                    "client_credentials",
                    DEVICE_GRANT,
                    JWT_GRANT,
                ],
                "token_endpoint_auth_methods_supported": _CLIENT_AUTHENTICATION,
                "revocation_endpoint_auth_methods_supported": _CLIENT_AUTHENTICATION,
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
                "service_documentation": f"{issuer}/openapi.yaml",
            }
        )

    async def authorize(self, request: web.Request) -> web.Response:
        """Shows the consent page, or tells the client by redirect why it cannot."""
        grants = self._vendor.grants
        try:
            values, repeated = _once([*request.query.items()])
            if repeated & {"client_id", "redirect_uri"}:
                raise UntrustedRedirect("client_id and redirect_uri must be given once only")
            redirect_uri = values.get("redirect_uri", "")
            client = grants.trusted(values.get("client_id"), redirect_uri)
        except UntrustedRedirect as refusal:
            return _refusal_page(refusal)
        state = values.get("state")
        try:
            if repeated:
                raise OAuthRefusal("invalid_request", f"{min(repeated)} must be given once only")
            if "response_type" not in values:
                raise OAuthRefusal("invalid_request", "response_type is required")
            if values["response_type"] != "code":
                raise OAuthRefusal("unsupported_response_type", "response_type must be code")
            wish_id, wish = grants.ask(
                client,
                redirect_uri,
                state=state,
                scope=values.get("scope"),
                challenge=values.get("code_challenge"),
                method=values.get("code_challenge_method"),
            )
        except OAuthRefusal as refusal:
            return self._back(redirect_uri, state, _error(refusal))
        return self._consent(wish_id, wish)

    async def decide(self, request: web.Request) -> web.Response:
        """Takes the person's answer from the consent page, and sends the browser back to the client."""
        try:
            values, _ = _once(await _form(request))
            wish = self._vendor.grants.answered(values.get("request", ""))
        except (UntrustedRedirect, OAuthRefusal) as refusal:
            return _refusal_page(refusal)
        if values.get("decision") != "approve":
            denied = OAuthRefusal("access_denied", "the person did not allow it")
            return self._back(wish.redirect_uri, wish.state, _error(denied))
        agent = next((each for each in AGENTS if each.id == values.get("agent")), AGENTS[0])
        return self._back(wish.redirect_uri, wish.state, {"code": self._vendor.grants.allow(wish, agent)})

    async def token(self, request: web.Request) -> web.Response:
        """Gives tokens for an authorization code or a refresh token."""
        try:
            values = await self._parameters(request)
            if values.get("grant_type") == JWT_GRANT:
                return _json(_token_answer(self._asserted(values)))
            client = self._client(request, values)
            return _json(_token_answer(self._issue(client, values)))
        except OAuthRefusal as refusal:
            return _json(_error(refusal), refusal)

    async def device(self, request: web.Request) -> web.Response:
        """Gives a device its codes (RFC 8628 section 3.1)."""
        try:
            values = await self._parameters(request)
            device = self._vendor.grants.wait(self._client(request, values), scope=values.get("scope"))
        except OAuthRefusal as refusal:
            return _json(_error(refusal), refusal)
        page = f"{self._vendor.url}/oauth/device"
        return _json(
            {
                "device_code": device.code,
                "user_code": device.user_code,
                "verification_uri": page,
                "verification_uri_complete": f"{page}?user_code={device.user_code}",
                "expires_in": DEVICE_SECONDS,
                "interval": int(device.interval),
            }
        )

    async def ask_code(self, request: web.Request) -> web.Response:
        """Shows the page where a person types a device's code in."""
        code = escape(request.query.get("user_code", ""))
        text = (
            "<!doctype html><title>Acme Desk</title><h1>Allow a device</h1>"
            f'<form method="post" action="/oauth/device"><input name="user_code" value="{code}">'
            '<button name="decision" value="approve">Allow</button>'
            '<button name="decision" value="deny">Deny</button></form>'
        )
        return web.Response(text=text, content_type="text/html", headers=_PAGE_HEADERS)

    async def take_code(self, request: web.Request) -> web.Response:
        """Takes the person's answer for a device."""
        try:
            values, _ = _once(await _form(request))
            allowed = values.get("decision") == "approve"
            self._vendor.grants.decide(values.get("user_code", ""), AGENTS[0] if allowed else None)
        except (UntrustedRedirect, OAuthRefusal) as refusal:
            return _refusal_page(refusal)
        text = f"<!doctype html><title>Acme Desk</title><h1>{'Allowed' if allowed else 'Denied'}</h1>"
        return web.Response(text=text, content_type="text/html", headers=_PAGE_HEADERS)

    async def revoke(self, request: web.Request) -> web.Response:
        """Revokes a token (RFC 7009)."""
        try:
            values = await self._parameters(request)
            client = self._client(request, values)
            self._vendor.grants.revoke(client, _required(values, "token"))
        except OAuthRefusal as refusal:
            return _json(_error(refusal), refusal)
        return web.Response(status=200, headers=_NO_STORE)

    def _issue(self, client: Client, values: Mapping[str, str]) -> Issued:
        grants = self._vendor.grants
        match _required(values, "grant_type"):
            case "authorization_code":
                return grants.exchange(
                    client,
                    _required(values, "code"),
                    redirect_uri=values.get("redirect_uri"),
                    verifier=values.get("code_verifier"),
                )
            case "refresh_token":
                return grants.refresh(client, _required(values, "refresh_token"), scope=values.get("scope"))
            case "client_credentials":
                if client.secret is None and "client_assertion" not in values:
                    raise OAuthRefusal("unauthorized_client", "a public client has no credentials to show")
                return grants.give(client, scope=values.get("scope"))
            case grant if grant == DEVICE_GRANT:
                return grants.poll(client, _required(values, "device_code"))
            case _:
                raise OAuthRefusal("unsupported_grant_type", "grant_type is none that this server knows")

    def _asserted(self, values: Mapping[str, str]) -> Issued:
        issuer = self._vendor.access.asserted(_required(values, "assertion"), self._audiences)
        client = self._vendor.grants.client(issuer) or Client(issuer, None, (), issuer)
        return self._vendor.grants.give(client, scope=values.get("scope"))

    @property
    def _audiences(self) -> list[str]:
        return [self._vendor.url, f"{self._vendor.url}/oauth/token"]

    async def _parameters(self, request: web.Request) -> dict[str, str]:
        values, repeated = _once(await _form(request))
        if repeated:
            raise OAuthRefusal("invalid_request", f"{min(repeated)} must be given once only")
        return values

    def _client(self, request: web.Request, values: Mapping[str, str]) -> Client:
        header = request.headers.get("Authorization")
        if header is None and "client_assertion" in values:
            if values.get("client_assertion_type") != JWT_ASSERTION:
                raise OAuthRefusal("invalid_client", "client_assertion_type is not one that this server knows")
            client = self._vendor.grants.client(
                self._vendor.access.asserted(values["client_assertion"], self._audiences)
            )
            if client is None or values.get("client_id", client.client_id) != client.client_id:
                raise OAuthRefusal("invalid_client", "the client could not be authenticated")
            return client
        if header is None:
            return self._vendor.grants.authenticate(_required(values, "client_id"), values.get("client_secret"))
        if "client_secret" in values:
            raise OAuthRefusal("invalid_request", "the client must authenticate in one way only")
        client_id, secret = _basic(header)
        if values.get("client_id", client_id) != client_id:
            raise OAuthRefusal("invalid_request", "client_id is not the one of the Authorization header")
        return self._vendor.grants.authenticate(client_id, secret)

    def _consent(self, wish_id: str, wish: Wish) -> web.Response:
        scopes = self._vendor.document.scopes
        text = self._page.substitute(
            client=escape(wish.client.name),
            scopes="\n".join(f"<li>{escape(scopes[each])}</li>" for each in wish.scopes),
            agents="\n".join(
                f'<option value="{each.id}">{escape(each.name)} ({escape(each.email)})</option>' for each in AGENTS
            ),
            request=escape(wish_id),
        )
        return web.Response(text=text, content_type="text/html", headers=_PAGE_HEADERS)

    def _back(self, redirect_uri: str, state: str | None, values: Mapping[str, str]) -> web.Response:
        """Returns the redirect to the client, with `state` as it came and `iss` (RFC 9207)."""
        told = {**values, **({} if state is None else {"state": state}), "iss": self._vendor.url}
        location = f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{urlencode(told)}"
        return web.Response(status=302, headers={**_PAGE_HEADERS, "Location": location})


def _once(pairs: list[tuple[str, str]]) -> tuple[dict[str, str], set[str]]:
    """Returns the parameters that have a value (RFC 6749 §3.1: an empty one is left out), and the repeated ones."""
    values: dict[str, str] = {}
    repeated: set[str] = set()
    for name, value in pairs:
        if name in values:
            repeated.add(name)
        if value:
            values[name] = value
    return values, repeated


async def _form(request: web.Request) -> list[tuple[str, str]]:
    if request.content_type != "application/x-www-form-urlencoded":
        raise OAuthRefusal("invalid_request", "the body must be application/x-www-form-urlencoded")
    try:
        text = (await request.read()).decode("utf-8")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        raise OAuthRefusal("invalid_request", "the body cannot be read") from None


def _basic(header: str) -> tuple[str, str]:
    """Returns the id and secret of a Basic header, which are form-encoded inside it (RFC 6749 §2.3.1)."""
    scheme, _, encoded = header.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError(scheme)
        client_id, _, secret = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except ValueError:
        raise OAuthRefusal("invalid_client", "the Authorization header must be Basic") from None
    return unquote_plus(client_id), unquote_plus(secret)


def _required(values: Mapping[str, str], name: str) -> str:
    if name not in values:
        raise OAuthRefusal("invalid_request", f"{name} is required")
    return values[name]


def _token_answer(issued: Issued) -> dict[str, str | int]:
    refresh = {} if issued.refresh_token is None else {"refresh_token": issued.refresh_token}
    return {
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "expires_in": issued.expires_in,
        **refresh,
        "scope": " ".join(issued.scopes),
    }


def _error(refusal: OAuthRefusal) -> dict[str, str]:
    return {"error": refusal.reason, "error_description": refusal.description}


def _json(value: object, refusal: OAuthRefusal | None = None) -> web.Response:
    headers = dict(_NO_STORE)
    if refusal is None:
        status = 200
    elif refusal.reason == "invalid_client":
        status = 401
        headers["WWW-Authenticate"] = 'Basic realm="Acme Desk", charset="UTF-8"'
    else:
        status = 400
    return web.Response(status=status, body=encode(value), content_type="application/json", headers=headers)


def _refusal_page(refusal: UntrustedRedirect | OAuthRefusal) -> web.Response:
    text = f"<!doctype html><title>Acme Desk</title><h1>This cannot be done</h1><p>{escape(str(refusal))}</p>"
    return web.Response(status=400, text=text, content_type="text/html", headers=_PAGE_HEADERS)
