"""The vendor as a web application, and serving it."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from cordboard.sandbox.api import Api
from cordboard.sandbox.control import Control
from cordboard.sandbox.door import Door
from cordboard.sandbox.intake import MAX_BODY_BYTES, Intake
from cordboard.sandbox.oauth import OAuth
from cordboard.sandbox.oauth1 import OAuth1
from cordboard.sandbox.sessions import Sessions
from cordboard.sandbox.settings import Settings
from cordboard.sandbox.vendor import Vendor

_BACKLOG = 1024
_GRACE_SECONDS = 1.0


def application(vendor: Vendor) -> web.Application:
    """Returns the application of the vendor; raises ValueError when its document and its API do not match."""
    app = web.Application(middlewares=[Door(vendor).pass_through], client_max_size=MAX_BODY_BYTES)
    acts = Api(vendor).acts()
    for operation in vendor.document.operations():
        if operation.operation_id not in acts:
            raise ValueError(f"no act for the operation {operation.operation_id}")
        intake = Intake(vendor, operation, acts.pop(operation.operation_id))
        app.router.add_route(operation.method, operation.path, intake.take)
    if acts:
        raise ValueError(f"the document has no operation {min(acts)}")
    app.add_routes(OAuth(vendor).routes())
    app.add_routes(OAuth1(vendor).routes())
    app.add_routes(Sessions(vendor).routes())
    app.add_routes(Control(vendor).routes())

    async def as_yaml(_request: web.Request) -> web.Response:
        return web.Response(body=vendor.document.yaml, content_type="application/yaml")

    async def as_json(_request: web.Request) -> web.Response:
        return web.Response(body=vendor.document.json, content_type="application/json")

    app.add_routes([web.get("/openapi.yaml", as_yaml), web.get("/openapi.json", as_json)])
    return app


@asynccontextmanager
async def serving(
    settings: Settings | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    public_url: str | None = None,
    clock: Callable[[], float] = time.time,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Vendor]:
    """Serves a vendor inside the block, on a free port when `port` is 0; raises OSError when it cannot listen.

    `public_url` is how clients reach it, when that is not the address it listens on. With `tls`, it listens on a second
    port as well, where who brings a certificate that `tls` trusts needs no other credential.
    """
    listener = socket.create_server((host, port), backlog=_BACKLOG)
    guarded = socket.create_server((host, 0), backlog=_BACKLOG)
    bound: int = listener.getsockname()[1]
    url = (public_url or f"http://{host}:{bound}").rstrip("/")
    vendor = Vendor(settings or Settings(), url=url, port=bound, clock=clock)
    runner = web.AppRunner(application(vendor), access_log=None, shutdown_timeout=_GRACE_SECONDS)
    try:
        await runner.setup()
        await web.SockSite(runner, listener).start()
        if tls is not None:
            await web.SockSite(runner, guarded, ssl_context=tls).start()
            vendor.tls_url = f"https://localhost:{guarded.getsockname()[1]}"
        yield vendor
    finally:
        await vendor.hooks.close()
        await runner.cleanup()
        listener.close()
        guarded.close()
