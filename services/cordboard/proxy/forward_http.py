"""Plain HTTP behind Envoy: Forward, `/proxy/{connection}/{path}`, any method, both bodies streaming; and webhooks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web
from google.protobuf import json_format
from opentelemetry.trace import SpanKind

from cordboard.common.v1 import error_reason_pb2 as reasons
from cordboard.core import telemetry
from cordboard.core.errors import AccessDenied, CordboardError, Fault, NotFound, TokenInvalid
from cordboard.core.identity import Identity, peer_path
from cordboard.core.layers import ADDRESS, API_KEY, FORWARDED_CERTIFICATE, forwarded_certificate
from cordboard.core.status import code_of, packed
from cordboard.proxy.events.door import WEBHOOKS, Door
from cordboard.proxy.forwarding import BUFFER_BYTES, Forwarding, Reply, Wanted
from cordboard.proxy.messages import LONGEST_STREAM

if TYPE_CHECKING:
    from cordboard.core.caller import Caller

logger = logging.getLogger(__name__)

PREFIX: Final = "/proxy/"
HEALTH: Final = "/healthz"
METHOD: Final = "cordboard.proxy.v1.ForwardService/Forward"
# Tells an error of the mesh from one of the vendor.
ERROR_HEADER: Final = "x-cordboard-error"
ROLES: Final = frozenset({"member", "workspace-admin", "operator"})
GATEWAY: Final = "envoy"
LOOK_EVERY: Final = 1.0
# Envoy asks after the health twice a second, and lets go of its connections when it hears of an end.
NOTICED_WITHIN: Final = 2.5
# Who is in the mesh and says nothing, or says it slowly, keeps no connection: Envoy lets go of an idle one after 30 s.
HANDSHAKE_SECONDS: Final = 5.0
IDLE_SECONDS: Final = 75.0
# Answers up to this size are gathered; larger ones, and those of an unknown size, stream.
SMALL_BYTES: Final = 16 * 1024
# As Envoy's transcoder has them (google/rpc/code.proto), by the number of the code.
_STATUS: Final = {
    1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 13: 500,
    14: 503, 15: 500, 16: 401,
}  # fmt: skip

# Who comes with a token or an API key, from an address, with the thumbprint of a certificate.
Authenticate = Callable[[str, str, Callable[[], str]], "Awaitable[Caller]"]


class ForwardServer:
    """Serves it, to Envoy alone."""

    def __init__(
        self,
        forwarding: Forwarding,
        door: Door,
        authenticate: Authenticate,
        identity: Identity,
        directory: Path,
        trust_domain: str,
        *,
        serving: Callable[[], bool],
        grace: float,
    ) -> None:
        """Takes what forwards, takes webhooks and knows callers, and the identity to show: `directory` holds it.

        `serving` says whether the process may have requests: its port is open before that and after. `grace` is how
        many seconds requests that are under way may take to end.
        """
        self._forwarding = forwarding
        self._door = door
        self._authenticate = authenticate
        self._identity = identity
        self._directory = directory
        self._trust_domain = trust_domain
        self._serving = serving
        self._grace = grace
        self._ending = False
        self._runner: web.AppRunner | None = None
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_3
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self._version = ""
        self.port = 0

    async def start(self, address: str) -> None:
        """Begins to listen on HOST:PORT; `port` is then the real one."""
        self._load()
        application = web.Application()
        application.router.add_get(HEALTH, self._tell_health)
        application.router.add_route("*", f"{WEBHOOKS}{{token}}", self._take)
        application.router.add_route("*", "/{path:.*}", self._answer)
        application.on_response_prepare.append(self._before_an_answer)
        runner = web.AppRunner(
            application,
            access_log=None,
            handler_cancellation=True,
            auto_decompress=False,
            read_bufsize=BUFFER_BYTES,
            keepalive_timeout=IDLE_SECONDS,
            shutdown_timeout=max(0.0, self._grace - NOTICED_WITHIN),
        )
        await runner.setup()
        host, _, port = address.rpartition(":")
        await _Site(runner, host, int(port), self._tls).start()
        self.port = runner.addresses[0][1]
        self._runner = runner

    async def run(self) -> None:
        """Follows the identity's rotation, for ever: the next handshakes show the new certificate."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                self._load()
            except (OSError, ssl.SSLError) as error:
                logger.warning("the new certificate cannot be used", extra={"problem": type(error).__name__})

    async def drain(self) -> None:
        """Lets what is under way end, for the time of grace, and stops.

        A connection that is closed first may have a request on its way. So Envoy hears that it has to go elsewhere, and
        whatever comes until it has let go is answered as ever.
        """
        runner, self._ending = self._runner, True
        if runner is None or runner.server is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(NOTICED_WITHIN, self._grace)):
                # Nobody tells when the last one goes.
                while runner.server.connections:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        await runner.cleanup()

    def _load(self) -> None:
        version = self._identity.current().version
        if version != self._version:
            self._tls.load_verify_locations(cadata=self._identity.current().ca.decode())
            self._tls.load_cert_chain(self._directory / "tls.crt", self._directory / "tls.key")
            self._version = version

    async def _tell_health(self, request: web.Request) -> web.StreamResponse:
        try:
            self._ensure_gateway(request)
        except AccessDenied as error:
            return _refused(request, None, error)
        return web.Response(status=200 if self._serving() and not self._ending else 503)

    async def _before_an_answer(self, _: web.Request, response: web.StreamResponse) -> None:
        # What the vendor did not say is not said for it.
        response.headers.popall("Server", None)
        if self._ending:
            response.force_close()
            response.headers["Connection"] = "close"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        context = telemetry.remote_context(dict(request.headers))
        with telemetry.tracer().start_as_current_span(
            METHOD,
            context=context,
            kind=SpanKind.SERVER,
            attributes={"http.request.method": request.method},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            response: web.StreamResponse | None = None
            try:
                wanted = _wanted(request, await self._caller(request))
                body = request.content.iter_any() if request.body_exists else None
                async with self._forwarding.forward(wanted, body) as reply:
                    if _is_small(request, reply):
                        # In one piece with its headers: each piece is a record of TLS and a call of the system.
                        whole = b"".join([chunk async for chunk in reply.chunks])
                        return web.Response(status=reply.status, headers=reply.headers, body=whole)
                    response = web.StreamResponse(status=reply.status, headers=reply.headers)
                    await response.prepare(request)
                    async for chunk in reply.chunks:
                        await response.write(chunk)
                await response.write_eof()
            except CordboardError as error:
                telemetry.mark_failed(span, error)
                return _refused(request, response, error)
            except ConnectionError:
                # Envoy went away: nobody reads an answer.
                return response or web.Response(status=499)
            except Exception as error:
                logger.error("a request could not be forwarded", exc_info=error)
                return _refused(request, response, Fault())
            return response

    async def _take(self, request: web.Request) -> web.StreamResponse:
        try:
            self._ensure_gateway(request)
        except AccessDenied as error:
            return _refused(request, None, error)
        return await self._door.answer(request)

    def _ensure_gateway(self, request: web.Request) -> None:
        transport = request.transport
        certificate = transport.get_extra_info("peercert") if transport is not None else None
        names = [name.encode() for kind, name in (certificate or {}).get("subjectAltName", ()) if kind == "URI"]
        if peer_path(names, self._trust_domain) != GATEWAY:
            raise AccessDenied(METHOD)

    async def _caller(self, request: web.Request) -> Caller:
        self._ensure_gateway(request)
        shown = partial(forwarded_certificate, request.headers.getall(FORWARDED_CERTIFICATE, []))
        caller = await self._authenticate(_credential(request), request.headers.get(ADDRESS, ""), shown)
        if not caller.roles & ROLES:
            raise AccessDenied(METHOD)
        return caller


class _Site(web.BaseSite):
    """A port whose handshakes have a limit: aiohttp's own site has none to set."""

    def __init__(self, runner: web.AppRunner, host: str, port: int, tls: ssl.SSLContext) -> None:
        super().__init__(runner, ssl_context=tls)
        self._host = host
        self._port = port

    @property
    def name(self) -> str:
        return f"https://{self._host}:{self._port}"

    async def start(self) -> None:
        await super().start()
        server = self._runner.server
        if server is None:
            raise RuntimeError("the runner was not set up")
        self._server = await asyncio.get_running_loop().create_server(
            server,
            self._host,
            self._port,
            ssl=self._ssl_context,
            backlog=self._backlog,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
        )


def _credential(request: web.Request) -> str:
    found = [(name, value) for name in ("authorization", API_KEY) for value in request.headers.getall(name, [])]
    if not found:
        raise TokenInvalid("missing")
    name, value = found[0]
    kind = "bearer"
    if name == "authorization":
        kind, _, value = value.partition(" ")
    # Of two, each gate could look at another one.
    if len(found) > 1 or kind.lower() != "bearer" or not value:
        raise TokenInvalid("malformed")
    return value


def _wanted(request: web.Request, caller: Caller) -> Wanted:
    path = request.raw_path
    connection, slash, rest = path.removeprefix(PREFIX).partition("/")
    connection, mark, query = connection.partition("?")
    name = f"workspaces/{caller.workspace}/connections/{connection}"
    if not path.startswith(PREFIX) or not connection or not caller.workspace:
        # The path names a connection and no workspace: it is the token's own.
        raise NotFound(path.partition("?")[0][:200])
    return Wanted(
        workspace=caller.workspace,
        connection=name,
        method=request.method,
        path=f"/{rest}" if slash else f"/{mark}{query}",
        host="",
        headers=[(each.decode("latin-1"), value.decode("utf-8", "replace")) for each, value in request.raw_headers],
        caller=caller,
        remaining=LONGEST_STREAM,
    )


def _is_small(request: web.Request, reply: Reply) -> bool:
    """Tells whether an answer has a body, and one so small that it need not stream."""
    length = next((value for name, value in reply.headers if name.lower() == "content-length"), "")
    bodiless = request.method == "HEAD" or reply.status in (204, 304)
    return not bodiless and length.isdecimal() and 0 < int(length) <= SMALL_BYTES


def _refused(request: web.Request, response: web.StreamResponse | None, error: CordboardError) -> web.StreamResponse:
    if response is not None and response.prepared:
        # The status is gone out: to break the connection off is the one way left to say that this is not all.
        if request.transport is not None:
            request.transport.abort()
        return response
    reason = reasons.ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_")
    headers = {ERROR_HEADER: reason}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    text = json_format.MessageToJson(packed(error), indent=None)
    status = _STATUS[code_of(error).value[0]]
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)
