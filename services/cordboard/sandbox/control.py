"""The switches under `/_sandbox`: faults, limits, credentials and counts. They are no part of the vendor's API."""

from __future__ import annotations

import secrets
import ssl
from dataclasses import asdict
from typing import Any

from aiohttp import web

from cordboard.sandbox.answers import Answer
from cordboard.sandbox.door import CONTROL_PATH
from cordboard.sandbox.faults import Fault
from cordboard.sandbox.grants import Client
from cordboard.sandbox.intake import json_body, response
from cordboard.sandbox.refusals import Invalid, Violation
from cordboard.sandbox.schema import Schema
from cordboard.sandbox.traffic import KEPT
from cordboard.sandbox.vendor import Vendor

_TEXT = {"type": "string", "minLength": 1, "maxLength": 2000}
_SECONDS = {"type": "integer", "minimum": 1, "maximum": 10**9}


def _schema(properties: dict[str, Any], *required: str) -> Schema:
    source = {"type": "object", "additionalProperties": False, "properties": properties, "required": list(required)}
    return Schema(source, {})


class Control:
    """Answers the control requests of one vendor."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        scopes = {"type": ["array", "null"], "items": {"type": "string", "enum": list(vendor.document.scopes)}}
        self._fault = _schema(
            {
                "latency_ms": {"type": "integer", "minimum": 0, "maximum": 600_000},
                "error_rate": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
                "status": {"type": ["integer", "null"], "minimum": 400, "maximum": 599},
                "retry_after": {"type": ["integer", "null"], "minimum": 0, "maximum": 86_400},
                "cut_connections": {"type": "boolean"},
                "after_work": {"type": "boolean"},
                "times": {"type": ["integer", "null"], "minimum": 1},
                "path": {"type": "string", "pattern": "^/.*$"},
                "method": {"type": ["string", "null"], "pattern": "^[A-Z]+$"},
                "expire_tokens": {"type": "boolean"},
                "revoke_grants": {"type": "boolean"},
            }
        )
        url = {**_TEXT, "pattern": "^https?://.*$"}
        self._hook = _schema({"url": url, "secret": _TEXT, "ca": {"type": "string"}}, "url")
        self._settings = _schema(
            {
                "access_token_seconds": _SECONDS,
                "rate_limit": {"type": "integer", "minimum": 0},
                "rate_window_seconds": _SECONDS,
                "session_seconds": _SECONDS,
                "app_key_required": {"type": "boolean"},
                "pkce_required": {"type": "boolean"},
            }
        )
        self._client = _schema(
            {
                "client_id": _TEXT,
                "client_secret": _TEXT,
                "public": {"type": "boolean"},
                "redirect_uris": {"type": "array", "items": _TEXT},
                "name": _TEXT,
            },
            "client_id",
            "redirect_uris",
        )
        self._trusted = _schema({"issuer": _TEXT, "public_key": {**_TEXT, "maxLength": 8000}}, "issuer", "public_key")
        self._key = _schema({"name": _TEXT, "scopes": scopes})

    def routes(self) -> list[web.RouteDef]:
        """Returns the routes of the control API."""
        return [
            web.get(f"{CONTROL_PATH}/health", self.health),
            web.get(f"{CONTROL_PATH}/faults", self.faults),
            web.put(f"{CONTROL_PATH}/faults", self.put_fault),
            web.delete(f"{CONTROL_PATH}/faults", self.clear_fault),
            web.get(f"{CONTROL_PATH}/settings", self.settings),
            web.patch(f"{CONTROL_PATH}/settings", self.change_settings),
            web.get(f"{CONTROL_PATH}/credentials", self.credentials),
            web.post(f"{CONTROL_PATH}/clients", self.register_client),
            web.post(f"{CONTROL_PATH}/api-keys", self.add_key),
            web.delete(f"{CONTROL_PATH}/api-keys/{{key_id}}", self.drop_key),
            web.post(f"{CONTROL_PATH}/trusted-keys", self.trust_key),
            web.get(f"{CONTROL_PATH}/stats", self.stats),
            web.delete(f"{CONTROL_PATH}/stats", self.clear_stats),
            web.post(f"{CONTROL_PATH}/hooks", self.add_hook),
            web.get(f"{CONTROL_PATH}/hooks", self.hooks),
            web.delete(f"{CONTROL_PATH}/hooks", self.drop_hooks),
            web.post(f"{CONTROL_PATH}/reset", self.reset),
        ]

    async def health(self, _request: web.Request) -> web.Response:
        """Answers that the vendor is there."""
        return response(Answer.of({"status": "ok"}))

    async def faults(self, _request: web.Request) -> web.Response:
        """Answers the fault in place, with how often it will still strike; null when there is none."""
        faults = self._vendor.faults
        told = None if faults.fault is None else {**asdict(faults.fault), "remaining": faults.remaining}
        return response(Answer.of({"fault": told}))

    async def put_fault(self, request: web.Request) -> web.Response:
        """Puts a fault in place of the one before; `expire_tokens` and `revoke_grants` strike at once."""
        body = await json_body(request, self._fault)
        if body.pop("expire_tokens", False):
            self._vendor.grants.expire_access()
        if body.pop("revoke_grants", False):
            self._vendor.grants.revoke_all()
        self._vendor.faults.put(Fault(**body) if body else None)
        return await self.faults(request)

    async def clear_fault(self, _request: web.Request) -> web.Response:
        """Ends the fault."""
        self._vendor.faults.clear()
        return response(Answer(204))

    async def settings(self, _request: web.Request) -> web.Response:
        """Answers the settings that can be changed while running."""
        settings = self._vendor.settings
        return response(Answer.of({name: getattr(settings, name) for name in sorted(self._settings.names)}))

    async def change_settings(self, request: web.Request) -> web.Response:
        """Changes settings; windows of the rate limit begin anew."""
        self._vendor.change(await json_body(request, self._settings))
        return await self.settings(request)

    async def credentials(self, _request: web.Request) -> web.Response:
        """Answers the credentials with which the vendor was started."""
        settings = self._vendor.settings
        client = self._vendor.grants.client(settings.client_id)
        return response(
            Answer.of(
                {
                    "client_id": settings.client_id,
                    "client_secret": None if client is None else client.secret,
                    "redirect_uris": [] if client is None else client.redirect_uris,
                    "api_key": settings.api_key,
                    "basic_user": settings.basic_user,
                    "basic_password": settings.basic_password,
                    "app_key": settings.app_key,
                    "aws_access_key": settings.aws_access_key,
                    "aws_secret_key": settings.aws_secret_key,
                    "oauth1_key": settings.oauth1_key,
                    "oauth1_secret": settings.oauth1_secret,
                },
                headers={"Cache-Control": "no-store"},
            )
        )

    async def register_client(self, request: web.Request) -> web.Response:
        """Registers an OAuth client, or replaces the one with its id, whose secret stays unless another is given."""
        body = await json_body(request, self._client)
        for index, uri in enumerate(body["redirect_uris"]):
            if "://" not in uri or "#" in uri:
                raise Invalid(Violation(f"redirect_uris[{index}]", "must be an absolute URI without a fragment"))
        known = self._vendor.grants.client(body["client_id"])
        secret = body.get("client_secret") or (known and known.secret) or secrets.token_urlsafe(24)
        if body.get("public"):
            secret = None
        name = body.get("name") or (known.name if known is not None else body["client_id"])
        client = Client(body["client_id"], secret, tuple(body["redirect_uris"]), name)
        self._vendor.grants.register(client)
        return response(
            Answer.of(
                {
                    "client_id": client.client_id,
                    "client_secret": client.secret,
                    "redirect_uris": client.redirect_uris,
                    "name": client.name,
                },
                status=201 if known is None else 200,
            )
        )

    async def add_key(self, request: web.Request) -> web.Response:
        """Mints an API key, with all scopes or with those that are named."""
        body = await json_body(request, self._key) if request.can_read_body else {}
        added = self._vendor.access.add_key(name=body.get("name", "Minted key"), scopes=body.get("scopes"))
        return response(Answer.of({"id": added.id, "api_key": added.key}, status=201))

    async def drop_key(self, request: web.Request) -> web.Response:
        """Ends an API key."""
        self._vendor.access.drop_key(request.match_info["key_id"])
        return response(Answer(204))

    async def trust_key(self, request: web.Request) -> web.Response:
        """Takes the public key whose JWTs speak for an issuer."""
        body = await json_body(request, self._trusted)
        self._vendor.access.trust(body["issuer"], body["public_key"])
        return response(Answer(204))

    async def stats(self, request: web.Request) -> web.Response:
        """Answers the counts, and the last requests (`?last=`, 50 when not given), oldest first."""
        text = request.query.get("last", "50")
        if not text.isascii() or not text.isdigit() or int(text[:6]) > KEPT:
            raise Invalid(Violation("last", f"must be a number from 0 to {KEPT}"))
        return response(Answer.of(self._vendor.stats(last=int(text))))

    async def clear_stats(self, _request: web.Request) -> web.Response:
        """Sets the counts of requests to zero."""
        self._vendor.forget_traffic()
        return response(Answer(204))

    async def add_hook(self, request: web.Request) -> web.Response:
        """Sends the desk's events to a URL from now on, signed; `ca` are the certificates to trust there, as PEM."""
        body = await json_body(request, self._hook)
        try:
            tls = ssl.create_default_context(cadata=body["ca"]) if "ca" in body else None
        except ssl.SSLError:
            raise Invalid(Violation("ca", "must be certificates in PEM")) from None
        secret = body.get("secret") or secrets.token_urlsafe(24)
        self._vendor.hooks.add(body["url"], secret, tls)
        return response(Answer.of({"url": body["url"], "secret": secret}, status=201))

    async def hooks(self, _request: web.Request) -> web.Response:
        """Answers the addresses of hooks, with how many events each has had, and how many attempts that took."""
        told = [{"url": hook.url, "sent": hook.sent, "attempts": hook.attempts} for hook in self._vendor.hooks.added]
        return response(Answer.of({"hooks": told}))

    async def drop_hooks(self, _request: web.Request) -> web.Response:
        """Sends nothing any more."""
        await self._vendor.hooks.close()
        return response(Answer(204))

    async def reset(self, _request: web.Request) -> web.Response:
        """Makes the vendor as it was when it started."""
        await self._vendor.hooks.close()
        self._vendor.reset()
        return response(Answer(204))
