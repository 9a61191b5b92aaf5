"""Passes requests through to vendors as they are: adds the credential, and reads no body.

A request goes once. What the vendor answers is the caller's to read: errors, redirects, compressed bytes. Both bodies
stream: a slow reader slows the writer down, and no more than a few chunks are ever in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from opentelemetry.trace import SpanKind
from yarl import URL

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core import telemetry
from cordboard.core.caller import Caller
from cordboard.core.egress import check_url, host_key
from cordboard.core.errors import (
    CordboardError,
    DeadlineExceeded,
    InvalidFields,
    NotFound,
    StateConflict,
    VendorUnreachable,
    Violation,
)
from cordboard.planning.plan import METHODS, Outbound
from cordboard.planning.servers import Place
from cordboard.proxy.backends.hub import HUB, Subject
from cordboard.proxy.backends.route import Kind
from cordboard.proxy.calls import Call, Order
from cordboard.proxy.connections import Lease
from cordboard.proxy.credentials import Ready
from cordboard.proxy.definitions import Definition
from cordboard.proxy.guard import Guard, Way
from cordboard.proxy.pipeline import Pipeline
from cordboard.proxy.quotas.bucket import draw
from cordboard.proxy.sender import TIMEOUT, trace_headers
from cordboard.proxy.signing.certificates import Certificates
from cordboard.proxy.stages import AUTHORISE, GUARD, PLAN, SEND
from cordboard.proxy.v1 import forward_service_pb2 as hub_pb

ACTION: Final = "forward"
# Of one body in memory before its sender is slowed down: what the event loop reads at once.
BUFFER_BYTES: Final = 256 * 1024
# A signature over the body needs all of it; larger ones cannot be forwarded with such a credential.
MAX_SIGNED_BYTES: Final = 8 * 1024 * 1024
# Between two parts of an answer, in seconds.
READ_SECONDS: Final = 300.0
_TELLING_WAIT: Final = 1.0
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_PATH: Final = re.compile(r"/[!$%&'()*+,\-./0-9:;=@A-Z_a-z~\[\]|]*(?:\?[!$%&'()*+,\-./0-9:;=?@A-Z_a-z~\[\]|]*)?")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]{0,8192}")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
# Of the connection and not of the message (RFC 9110 section 7.6.1), and the old ones that act like them.
_HOP_BY_HOP: Final = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade", "http2-settings",
    }
)  # fmt: skip
# What says who calls the mesh, and where a call is in it, is not the vendor's to see.
_OURS: Final = frozenset(
    {
        "host", "authorization", "x-api-key", "expect", "forwarded", "via", "traceparent", "tracestate", "baggage",
        "x-request-id", "x-real-ip",
    }
)  # fmt: skip
_OUR_PREFIXES: Final = ("x-forwarded-", "x-envoy-", "grpc-", "x-cordboard-")
_ALWAYS_SENT: Final = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request to forward, but for its body."""

    workspace: str
    connection: str
    method: str
    path: str = field(repr=False)
    host: str
    headers: Headers = field(repr=False)
    caller: Caller
    remaining: float


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it begins."""

    status: int
    headers: Headers = field(repr=False)
    chunks: AsyncIterator[bytes] = field(repr=False)
    call: Call


@dataclass(frozen=True, slots=True)
class _Aim:
    definition: Definition
    scheme: pb.AuthScheme
    place: Place
    lease: Lease


@dataclass(frozen=True, slots=True)
class _Sending:
    aim: _Aim
    request: Ready
    url: URL
    headers: Headers
    upload: _Upload | None


class Forwarding:
    """Forwards requests."""

    def __init__(self, pipeline: Pipeline, session: aiohttp.ClientSession, guard: Guard) -> None:
        """Takes a session of the mesh's egress that leaves bodies as they are."""
        self._pipeline = pipeline
        self._session = session
        self._guard = guard
        self._certificates = Certificates()

    @contextlib.asynccontextmanager
    async def forward(self, wanted: Wanted, body: AsyncIterator[bytes] | None) -> AsyncGenerator[Reply]:
        """Sends the request, and gives the answer for as long as the block runs.

        `body` None: there is none. Raises InvalidFields, NotFound, SwitchedOff, ReconnectRequired, StateConflict,
        BreakerOpen, LimitExceeded, EgressDenied, VendorUnreachable, DeadlineExceeded and AuditUnavailable.
        """
        caller = wanted.caller
        if caller.token_id and not caller.is_operator and caller.workspace != wanted.workspace:
            # Before anything else is said about the request: of another workspace there is nothing to say.
            raise NotFound(wanted.connection)
        check(wanted)
        order = Order(wanted.workspace, wanted.connection, f"{ACTION}.{wanted.method}", {}, caller, wanted.remaining)
        safe = wanted.method in _SAFE
        async with self._pipeline.passage(order, ACTION, safe=safe) as (call, definition, lease):
            via = self._pipeline.admission.raw(call, definition)
            if via.kind is Kind.HUB:
                async with self._passed_on(call, wanted, Subject(definition.slug, ACTION, lease, via), body) as reply:
                    yield reply
                return
            sending = await self._placed(call, wanted, _aim(definition, lease), body)
            async with self._sent(call, sending) as reply:
                yield reply

    @contextlib.asynccontextmanager
    async def _passed_on(
        self, call: Call, wanted: Wanted, subject: Subject, body: AsyncIterator[bytes] | None
    ) -> AsyncGenerator[Reply]:
        """Has the hub send the request, with its own connection and its own rules."""
        headers = [hub_pb.Header(name=name, value=value) for name, value in passed_on(wanted.headers)]
        if body is not None and not any(each.name.lower() == "content-length" for each in headers):
            # Without it the hub would take a request of some methods for one that has no body.
            headers.append(hub_pb.Header(name="Transfer-Encoding", value="chunked"))
        head = hub_pb.ForwardHead(method=wanted.method, path=wanted.path, host=wanted.host, headers=headers)
        async with contextlib.aclosing(self._pipeline.asking.hub.forward(call, subject, head, body)) as parts:
            first = await anext(parts, None)
            if first is None or not first.HasField("head"):
                raise VendorUnreachable(subject.integration, ACTION, HUB)
            begun = [(each.name, each.value) for each in first.head.headers]
            yield Reply(first.head.status, begun, (part.chunk async for part in parts), call)

    async def _placed(self, call: Call, wanted: Wanted, aim: _Aim, body: AsyncIterator[bytes] | None) -> _Sending:
        call.stages.enter(PLAN)
        given = passed_on(wanted.headers)
        whole: bytes | None = None
        if body is not None and reads_body(aim.scheme, aim.definition.schemes):
            whole, body = await _whole(body, wanted.connection), None
        call.stages.enter(AUTHORISE)
        # Only what a credential looks at goes through it; the rest of the headers stays as it came.
        shown = {name: value for name, value in given if name.lower() in ("content-type", "cookie")}
        url = _at(aim.place.base, wanted.host) + wanted.path
        outbound = Outbound(wanted.method, aim.place.template, url, shown, whole)
        placed = aim.lease.credential.place(outbound, aim.scheme, aim.definition.schemes)
        if placed.user is not None:
            # RFC 7616: the vendor asks first, and a body that streams cannot be sent a second time.
            raise StateConflict(wanted.connection, "auth_scheme", "requests of this auth scheme cannot be forwarded")
        replaced = {name.lower() for name in placed.headers}
        if placed.body != whole:
            replaced.add("content-length")
        headers = [(name, value) for name, value in given if name.lower() not in replaced]
        upload = None if body is None else _Upload(body)
        checked = check_url(placed.url, aim.place.hosts)
        return _Sending(aim, placed, checked, [*headers, *placed.headers.items()], upload)

    @contextlib.asynccontextmanager
    async def _sent(self, call: Call, sending: _Sending) -> AsyncGenerator[Reply]:
        call.stages.enter(GUARD)
        url, request, slug = sending.url, sending.request, sending.aim.definition.slug
        definition, lease = sending.aim.definition, sending.aim.lease
        taken = draw(definition.limits, slug=slug, connection=lease.connection, action=ACTION)
        passage = await self._guard.enter(call, Way(host_key(url), call.order.action, lease), taken)
        left = call.left()
        call.stages.current = SEND
        call.attempts += 1
        healthy: bool | None = None
        span = telemetry.tracer().start_span(
            SEND,
            kind=SpanKind.CLIENT,
            attributes={
                "http.request.method": request.method,
                "url.template": request.template,
                "server.address": url.raw_host or "",
                "server.port": url.port or 0,
                **call.labels,
            },
        )
        try:
            async with self._answer(sending, trace_headers(span), left) as response:
                call.vendor_status = response.status
                telemetry.mark_answered(span, response.status)
                healthy = response.status < 500
                if response.status < 400:
                    self._pipeline.admission.connections.accepted(sending.aim.lease)
                yield Reply(response.status, answered(response), _chunks(response, slug), call)
        except VendorUnreachable as error:
            telemetry.mark_failed(span, error)
            timeout = error.metadata["problem"] == TIMEOUT
            # A caller in a hurry says nothing about the vendor's health.
            healthy = None if timeout and left < _TELLING_WAIT else False
            if timeout and call.left() <= 0:
                raise DeadlineExceeded("the vendor's answer") from None
            raise
        finally:
            span.end()
            passage.note(healthy=healthy)
            # Another status need not be about the credential.
            passage.shown(accepted=True if 0 < call.vendor_status < 400 else None)

    @contextlib.asynccontextmanager
    async def _answer(
        self, sending: _Sending, traced: Mapping[str, str], left: float
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        tls: ssl.SSLContext | bool = True
        if sending.request.certificate is not None:
            tls = await self._certificates.context(sending.request.certificate)
        told = {name.lower() for name, _ in sending.headers}
        upload = sending.upload
        try:
            response = await self._session.request(
                sending.request.method,
                sending.url,
                data=upload if upload is not None else sending.request.body,
                headers=[*sending.headers, *traced.items()],
                allow_redirects=False,
                read_bufsize=BUFFER_BYTES,
                timeout=aiohttp.ClientTimeout(total=left, sock_connect=3.0, sock_read=min(left, READ_SECONDS)),
                # What the caller does not say is not said for it.
                skip_auto_headers=[name for name in _ALWAYS_SENT if name.lower() not in told],
                ssl=tls,
            )
        except BaseException as error:
            if upload is not None and upload.error is not None:
                # The caller's body broke off, and not the vendor.
                raise upload.error from None
            raise _lost(error, sending.aim.definition.slug) from None
        try:
            yield response
        finally:
            # What was not read the vendor may stop sending.
            response.close()


def _aim(definition: Definition, lease: Lease) -> _Aim:
    scheme = definition.schemes.get(lease.auth_scheme)
    if scheme is None:
        raise StateConflict(lease.connection, "auth_scheme", "the definition has no such auth scheme any more")
    return _Aim(definition, scheme, definition.servers.place(lease.configuration), lease)


def _at(base: str, host: str) -> str:
    """Returns what a path follows: the server's URL, or another host."""
    scheme, _, rest = base.partition("://")
    if not host:
        return base
    # The server's own host is reached as the definition says, be it without TLS.
    return f"{scheme}://{host}" if rest.partition("/")[0].lower() == host else f"https://{host}"


class _Upload(AsyncIterable[bytes]):
    """A body on its way, which remembers what broke it off: the HTTP library does not tell."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts = parts
        self.error: CordboardError | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._parts:
                yield part
        except CordboardError as error:
            self.error = error
            raise


def check(wanted: Wanted) -> None:
    """Raises InvalidFields with everything that is wrong with a request."""
    wrong = []
    if wanted.method not in METHODS:
        wrong.append(Violation("head.method", f"must be one of {', '.join(sorted(METHODS))}"))
    if len(wanted.path) > 8192 or not _PATH.fullmatch(wanted.path):
        wrong.append(Violation("head.path", "must begin with a slash and be percent-encoded: at most 8192 characters"))
    if wanted.host and not _HOST.fullmatch(wanted.host):
        wrong.append(Violation("head.host", "must be HOST or HOST:PORT"))
    for index, (name, value) in enumerate(wanted.headers):
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            wrong.append(Violation(f"head.headers[{index}]", "is not a header of HTTP"))
        elif name.lower() == "content-length" and not _LENGTH.fullmatch(value):
            wrong.append(Violation(f"head.headers[{index}]", "is not a length"))
    if sum(name.lower() == "content-length" for name, _ in wanted.headers) > 1:
        # Two lengths are how one request is made to look like two.
        wrong.append(Violation("head.headers", "have more than one Content-Length"))
    if wrong:
        raise InvalidFields(wrong)


def passed_on(headers: Headers) -> list[tuple[str, str]]:
    """Returns the headers that go to the vendor: none of the connection's, and none of the mesh's own."""
    named = _named(headers)
    # One spelling of each name: the HTTP library takes two for two headers, and the last for the only one.
    spelt = {name.lower(): name for name, _ in reversed(headers)}
    return [
        (spelt[name.lower()], value)
        for name, value in headers
        if (low := name.lower()) not in _HOP_BY_HOP
        and low not in _OURS
        and low not in named
        and not low.startswith(_OUR_PREFIXES)
    ]


def answered(response: aiohttp.ClientResponse) -> list[tuple[str, str]]:
    """Returns the headers of an answer that are the caller's: none of the connection's."""
    headers = [(name.decode("latin-1"), _text(value)) for name, value in response.raw_headers]
    named = _named(headers)
    return [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP | named]


def _text(value: bytes) -> str:
    # RFC 9110 section 5.5: bytes above ASCII have no meaning of their own. UTF-8 is what they are nearly always.
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def reads_body(scheme: pb.AuthScheme, schemes: Mapping[str, pb.AuthScheme]) -> bool:
    """Tells whether a credential of this scheme is made from the body, or goes into it."""
    kind = scheme.WhichOneof("kind")
    if kind == "all_of":
        return any(reads_body(schemes[name], schemes) for name in scheme.all_of.auth_schemes if name in schemes)
    if kind == "api_key":
        return scheme.api_key.placement == pb.PLACEMENT_BODY
    return kind in ("aws_sigv4", "oauth1", "session", "signed_jwt")


def _named(headers: Headers) -> frozenset[str]:
    lines = (value for name, value in headers if name.lower() == "connection")
    return frozenset(option.strip().lower() for line in lines for option in line.split(","))


async def _whole(body: AsyncIterator[bytes], connection: str) -> bytes:
    parts, size = [], 0
    async for part in body:
        size += len(part)
        if size > MAX_SIGNED_BYTES:
            text = f"the credential goes over the body: at most {MAX_SIGNED_BYTES} bytes can be forwarded with it"
            raise StateConflict(connection, "auth_scheme", text)
        parts.append(part)
    return b"".join(parts)


async def _chunks(response: aiohttp.ClientResponse, slug: str) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
        raise _lost(error, slug) from None


def _lost(error: BaseException, slug: str) -> BaseException:
    if isinstance(error, (CordboardError, asyncio.CancelledError)):
        return error
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        problem = "dns"
    elif isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        problem = "tls"
    elif isinstance(error, aiohttp.ClientConnectorError):
        problem = "refused"
    elif isinstance(error, TimeoutError):
        problem = TIMEOUT
    elif isinstance(error, (aiohttp.ClientError, HttpProcessingError, OSError)):
        problem = "reset"
    else:
        return error
    return VendorUnreachable(slug, ACTION, problem)
