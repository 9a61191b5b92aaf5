"""An integration vendor with a proxy, in two shapes: it keeps the key of an account, and asks the vendor itself."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from cordboard.catalog.document import read
from cordboard.catalog.v1 import definition_pb2 as pb
from tests.fixtures.sites import listening

FOLDER = Path(__file__).parents[3] / "integrations" / "gateways"
KEY = "the-gateways-own-key"
ACCOUNT = "account-42"
NAMED = "desk-at-the-gateway"


@dataclass
class StandInGateway:
    """A gateway that speaks both shapes."""

    vendor: str
    vendor_key: str
    url: str = ""
    seen: list[dict[str, Any]] = field(default_factory=list)
    change: dict[str, Any] = field(default_factory=dict)
    """What it puts over an answer that is a JSON object."""

    async def by_header(self, request: web.Request) -> web.Response:
        """Answers below /proxy/."""
        self._note(request)
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return _failed(401, {"error": {"code": "unknown_account"}})
        if (request.headers.get("Provider-Config-Key"), request.headers.get("Connection-Id")) != (NAMED, ACCOUNT):
            return _failed(400, {"error": {"code": "unknown_connection"}})
        assert request.headers["Base-Url-Override"] == self.vendor
        prefix = "nango-proxy-"
        told = {name[len(prefix) :]: text for name, text in request.headers.items() if name.lower().startswith(prefix)}
        return await self._passed(request, told)

    async def by_path(self, request: web.Request) -> web.Response:
        """Answers below the path of a project."""
        self._note(request)
        if request.headers.get("Authorization") != f"Bearer {KEY}" or request.match_info["project"] != "p-1":
            return _failed(401, {"code": "unauthorized"})
        if request.match_info["integration"] != NAMED or request.headers.get("X-Paragon-Credential") != ACCOUNT:
            return _failed(400, {"code": "credential_not_found"})
        own = {"authorization", "host", "x-paragon-credential", "x-paragon-use-raw-response", "content-length"}
        return await self._passed(request, {n: text for n, text in request.headers.items() if n.lower() not in own})

    def _note(self, request: web.Request) -> None:
        self.seen.append({"path": request.path_qs, "headers": dict(request.headers)})

    async def _passed(self, request: web.Request, headers: dict[str, str]) -> web.Response:
        path = request.match_info["path"] + (f"?{request.query_string}" if request.query_string else "")
        body = await request.read()
        kind = request.headers.get("Content-Type")
        sent = {**headers, "X-Api-Key": self.vendor_key, **({"Content-Type": kind} if kind else {})}
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, f"{self.vendor}/{path}", headers=sent, data=body) as answer,
        ):
            content = await answer.read()
            if self.change and answer.content_type == "application/json":
                found = await answer.json()
                return web.json_response({**found, **self.change}, status=answer.status)
            links = {"Link": answer.headers["Link"]} if "Link" in answer.headers else {}
            return web.Response(status=answer.status, body=content, content_type=answer.content_type, headers=links)


def _failed(status: int, body: dict[str, Any]) -> web.Response:
    return web.json_response(body, status=status)


@contextlib.asynccontextmanager
async def a_gateway(vendor: str, vendor_key: str) -> AsyncIterator[StandInGateway]:
    """Serves a gateway in front of a vendor inside the block."""
    gateway = StandInGateway(vendor, vendor_key)
    app = web.Application()
    app.router.add_route("*", "/proxy/{path:.*}", gateway.by_header)
    app.router.add_route("*", "/projects/{project}/sdk/proxy/{integration}/{path:.*}", gateway.by_path)
    async with listening(app) as gateway.url:
        yield gateway


def shipped(shape: str, url: str) -> pb.Definition:
    """Returns the shipped definition of a shape of gateway, standing at this URL, with a key in place of a signer."""
    definition = read((FOLDER / f"{shape}.yaml").read_text()).definition
    del definition.servers[:]
    definition.servers.add(url=url)
    del definition.auth_schemes[:]
    definition.auth_schemes.add(id="key", bearer=pb.Bearer())
    return definition
