"""What stands around every handler: one ordered list of layers, the same for all four call shapes.

Outermost first: tracing, logging, errors, staleness, deadline, authentication, access, validation. A layer has two
hooks: `enter`, in order, and `leave`, in reverse order with the error so far, which it may replace. The gate runs them,
reads requests itself (a deserialiser of gRPC would answer with the names of our types), and alone ends calls with a
status.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
import re
import ssl
import time
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.message import DecodeError
from opentelemetry import context as otel_context
from opentelemetry.trace import Span, SpanKind, set_span_in_context

from cordboard.core import access, api_keys, headers
from cordboard.core.caller import NOBODY, Caller, set_caller
from cordboard.core.errors import (
    AccessDenied,
    CordboardError,
    DeadlineExceeded,
    DependencyUnavailable,
    Fault,
    MalformedMessage,
    MethodUnknown,
    TokenInvalid,
)
from cordboard.core.identity import peer_path
from cordboard.core.status import code_of, text_of, trailers
from cordboard.core.telemetry import HELD, INSIDE, WORKSPACE, InMesh, mark_failed, remote_context, tracer
from cordboard.core.validation import MAX_PARTS, ensure_few_parts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from google.protobuf.message import Message

    from cordboard.core.api_keys import ApiKeys
    from cordboard.core.copies import Copies
    from cordboard.core.tokens import TokenVerifier
    from cordboard.core.validation import Requirements

logger = logging.getLogger(__name__)

# A caller that sends no deadline gets this one for unary calls, in seconds.
DEFAULT_DEADLINE: Final = 30.0
# How long a refused stream of requests is read on for its end, in seconds.
DRAIN_SECONDS: Final = 0.5
CANCELLED: Final = "CANCELLED"
# Streams without end that do not begin with Watch, as all others of ours do.
WATCHES: Final = frozenset(
    {
        "cordboard.proxy.v1.SubscriptionService/Subscribe",
        "flagd.evaluation.v1.Service/EventStream",
        "flagd.evaluation.v2.Service/EventStream",
        "flagd.sync.v1.FlagSyncService/SyncFlags",
    }
)
# Probes come every second for ever, and an export of spans that made a span would never end.
# So do questions that are asked every two seconds.
UNTRACED: Final = (
    "grpc.health.",
    "opentelemetry.proto.collector.",
    "cordboard.telemetry.v1.KeptTraceService/",
)
# Envoy asks for Auth's keys every few seconds: a trace of its own for each would bury the others.
POLLED: Final = ("cordboard.auth.v1.TokenService/GetJwks",)
# Which sources the service could not ask, and how old its copies are.
STALE: Final = "cordboard-stale"
API_KEY: Final = "x-api-key"
# What Envoy says of a caller: where the call came from, and the client certificate that it was shown.
ADDRESS: Final = "x-envoy-external-address"
FORWARDED_CERTIFICATE: Final = "x-forwarded-client-cert"
_HASH: Final = re.compile(r"(?:^|;)Hash=([0-9a-f]{64})(?:;|$)")

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


def endless(path: str) -> bool:
    """Tells whether a method (`package.Service/Method`) is a stream without end."""
    return path.rpartition("/")[2].startswith("Watch") or path in WATCHES


def remaining() -> float | None:
    """Returns the seconds that the running call has left; None when nothing bounds it."""
    deadline = _deadline.get()
    return None if deadline is None else deadline - time.monotonic()


class Call:
    """One call on its way through the layers."""

    __slots__ = (
        "_raw",
        "_request",
        "attach_token",
        "caller",
        "context",
        "deadline",
        "metadata",
        "method",
        "received",
        "span",
        "started",
        "streams_requests",
        "streams_responses",
    )

    def __init__(self, method: access.Method, context: Any, request: Any, shape: tuple[bool, bool]) -> None:
        """Takes the method, gRPC's context, the request's bytes (a stream where they stream), and what streams."""
        self.method = method
        self.context = context
        self.streams_requests, self.streams_responses = shape
        # gRPC makes the pairs anew each time it is asked.
        self.received = headers.sent(context)
        self.metadata: dict[str, Any] = dict(self.received)
        self.started = time.monotonic()
        self.deadline: float | None = None
        self.caller: Caller = NOBODY
        self.span: Span | None = None
        self.attach_token: Any = None
        self._raw: bytes | None = None if self.streams_requests else request
        self._request: Message | None = None

    @property
    def request(self) -> Message | None:
        """Returns the request; None when requests stream. Raises MalformedMessage."""
        if self._request is None and self._raw is not None:
            self._request = self.parse(self._raw)
        return self._request

    @property
    def size(self) -> int:
        """How many bytes the request has; 0 when requests stream."""
        return 0 if self._raw is None else len(self._raw)

    def left(self) -> float | None:
        """Returns the seconds until the deadline; None when nothing bounds the call."""
        return None if self.deadline is None else self.deadline - time.monotonic()

    def parse(self, raw: bytes) -> Message:
        """Returns the message of these bytes; raises MalformedMessage."""
        try:
            message: Message = self.method.request_class.FromString(raw)
        except (DecodeError, RecursionError, ValueError):
            raise MalformedMessage from None
        return message


class Layer:
    """Stands around calls. Hooks do nothing unless a layer has something to do."""

    async def enter(self, call: Call) -> None:
        """Runs before the handler, after the layers outside; raising ends the call."""

    def check(self, message: Message) -> None:
        """Looks at one message of a stream of requests; raising ends the call."""

    def leave(self, call: Call, error: BaseException | None) -> BaseException | None:  # noqa: ARG002 - a hook
        """Runs after the handler and the layers inside; returns the error to go on with."""
        return error


class Tracing(Layer):
    """One SERVER span per call, a child of the W3C context that came with it; none for probes and exports."""

    def __init__(self, followed: str = "") -> None:
        """Takes the trust domain whose services' word counts for what is kept; empty: all traces are."""
        self._followed = followed

    async def enter(self, call: Call) -> None:
        """Opens the span and makes it current."""
        path = call.method.path
        if path.startswith(UNTRACED) or (path in POLLED and "traceparent" not in call.metadata):
            return
        parent = remote_context(call.metadata) if "traceparent" in call.metadata else otel_context.Context()
        if self._followed and peer_path(call.context.peer_identities(), self._followed) in access.SERVICES:
            name, value = HELD
            mark = InMesh.HELD if call.metadata.get(name) == value else InMesh.FLAGGED
            parent = otel_context.set_value(INSIDE, mark, parent)
        call.span = tracer().start_span(
            call.method.path,
            context=parent,
            kind=SpanKind.SERVER,
            attributes={"rpc.system.name": "grpc", "rpc.method": call.method.path},
        )
        call.attach_token = otel_context.attach(set_span_in_context(call.span, parent))

    def leave(self, call: Call, error: BaseException | None) -> BaseException | None:
        """Ends the span with the call's code."""
        span = call.span
        if span is not None and span.is_recording():
            span.set_attribute("rpc.response.status_code", code_name(error))
            if call.caller.workspace:
                span.set_attribute(WORKSPACE, call.caller.workspace)
            if error is not None:
                mark_failed(span, error)
        if span is not None:
            span.end()
        if call.attach_token is not None:
            otel_context.detach(call.attach_token)
        return error


class Logging(Layer):
    """One log line per call that failed, or per call where that is asked for."""

    def __init__(self, *, every_call: bool) -> None:
        """Takes whether calls that went well get a line too."""
        self._every_call = every_call

    def leave(self, call: Call, error: BaseException | None) -> BaseException | None:
        """Writes the line."""
        if error is not None or self._every_call:
            logger.log(
                logging.ERROR if isinstance(error, Fault) else logging.INFO,
                "call ended",
                extra={
                    "method": call.method.path,
                    "code": code_name(error),
                    "reason": type(error).__name__ if error is not None else "",
                    "peer": call.caller.peer,
                    "workspace": call.caller.workspace,
                    "duration_ms": round((time.monotonic() - call.started) * 1000, 3),
                },
            )
        return error


class Errors(Layer):
    """Makes one of our errors of whatever was raised; what nobody foresaw is logged here, once, and becomes a Fault."""

    def leave(self, call: Call, error: BaseException | None) -> BaseException | None:
        """Returns our error, the cancellation as it is, or None."""
        if error is None or isinstance(error, (CordboardError, asyncio.CancelledError)):
            return error
        if isinstance(error, TimeoutError):
            return DeadlineExceeded("the answer")
        logger.error("call failed unforeseen", extra={"method": call.method.path}, exc_info=error)
        return Fault()


class Staleness(Layer):
    """Says with an answer that it comes from copies whose sources are away, and how old they are."""

    def __init__(self, copies: Copies) -> None:
        """Takes the process's copies."""
        self._copies = copies

    def leave(self, call: Call, error: BaseException | None) -> BaseException | None:
        """Adds the trailer `cordboard-stale` to an answer that is no stream."""
        if error is None and not call.streams_responses and (stale := self._copies.stale()):
            call.context.set_trailing_metadata(((STALE, stale),))
        return error


class Deadline(Layer):
    """Gives every unary call an end."""

    async def enter(self, call: Call) -> None:
        """Notes when the call must have ended."""
        left = call.context.time_remaining()
        if left is None and not (call.streams_requests or call.streams_responses):
            left = DEFAULT_DEADLINE
        if left is not None:
            if left <= 0:
                raise DeadlineExceeded("anything")
            call.deadline = call.started + left
        _deadline.set(call.deadline)


class Authentication(Layer):
    """Finds out who calls: the peer by its certificate, the caller by the token."""

    def __init__(self, verifier: TokenVerifier, api_keys: ApiKeys, trust_domain: str) -> None:
        """Takes what verifies tokens, what exchanges API keys for tokens, and which SPIFFE ids are ours."""
        self._verifier = verifier
        self._api_keys = api_keys
        self._trust_domain = trust_domain

    async def enter(self, call: Call) -> None:
        """Sets the call's caller; raises TokenInvalid or AccessDenied."""
        peer = peer_path(call.context.peer_identities(), self._trust_domain)
        if not peer:
            raise AccessDenied(call.method.path, "the certificate has no identity of this mesh")
        caller = Caller(peer=peer)
        if not call.method.rule.public and (credential := _credential(call)):
            address = str(call.metadata.get(ADDRESS, "")) if peer == access.GATEWAY else peer
            if credential.startswith(api_keys.PREFIX):
                credential = await self._api_keys.token(credential, address)
            caller = await self._verifier.verify(credential, peer, partial(shown_certificate, call.context, peer))
        call.caller = caller
        set_caller(caller)


def _credential(call: Call) -> str:
    """Returns the token or the API key that came with a call; raises TokenInvalid where there is more than one."""
    if "authorization" not in call.metadata and API_KEY not in call.metadata:
        return ""
    # Of two, each gate could look at another one.
    found = [(name, value) for name, value in call.received if name in ("authorization", API_KEY)]
    name, value = found[0]
    kind = "bearer"
    if name == "authorization":
        kind, _, value = value.partition(" ")
    elif not value.startswith(api_keys.PREFIX):
        value = ""
    if len(found) > 1 or kind.lower() != "bearer" or not value:
        raise TokenInvalid("malformed")
    return str(value)


def shown_certificate(context: Any, peer: str) -> str:
    """Returns the thumbprint (`x5t#S256`) of the client certificate that a call came with; empty where none did.

    Behind Envoy it is the one that Envoy was shown: its header counts from Envoy alone, which never lets one through.
    """
    if peer == access.GATEWAY:
        return forwarded_certificate(headers.values(context, FORWARDED_CERTIFICATE))
    for pem in context.auth_context().get("x509_pem_cert", ()):
        return _thumbprint(hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode())).digest())
    return ""


def forwarded_certificate(headers: Sequence[str]) -> str:
    """Returns the thumbprint of the client certificate that Envoy was shown, by its header; empty for none."""
    found = _HASH.search(headers[0]) if len(headers) == 1 and "," not in headers[0] else None
    return "" if found is None else _thumbprint(bytes.fromhex(found[1]))


def _thumbprint(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Access(Layer):
    """Applies the method's access rule."""

    async def enter(self, call: Call) -> None:
        """Returns when the caller may; raises TokenInvalid, AccessDenied or NotFound."""
        access.check(call.method, call.caller)
        request = call.request
        if request is not None:
            access.check_workspace(call.method, call.caller, request)


class Validation(Layer):
    """Checks that REQUIRED fields are set, and that there are no more parts than can be looked at."""

    def __init__(self, requirements: Requirements) -> None:
        """Takes what knows the REQUIRED fields."""
        self._requirements = requirements

    async def enter(self, call: Call) -> None:
        """Checks the request; raises InvalidFields."""
        request = call.request
        if request is not None:
            # Each part is a byte at least. Services of the mesh tell each other of many things at once.
            if call.size > MAX_PARTS and call.caller.peer not in access.SERVICES:
                ensure_few_parts(request)
            self._requirements.check(request)

    def check(self, message: Message) -> None:
        """Checks one message of a stream of requests."""
        self._requirements.check(message)


def code_name(error: BaseException | None) -> str:
    """Returns the gRPC code of an error by name."""
    if error is None:
        return "OK"
    if isinstance(error, CordboardError):
        return str(code_of(error).name)
    return CANCELLED


class Gate(grpc.aio.ServerInterceptor):
    """Puts the layers around every handler. The only caller of `context.abort`."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        """Takes the layers, outermost first."""
        self._layers = tuple(layers)
        self._methods: dict[str, access.Method] = {}
        self._handlers: dict[str, Any] = {}
        self._watches: set[asyncio.Task[Any]] = set()
        self._draining = False

    def end_watches(self) -> None:
        """Ends every open Watch stream, and those that still come: their callers resume elsewhere.

        Without it a stop would wait its whole grace for streams that never end by themselves.
        """
        self._draining = True
        for task in self._watches:
            task.cancel()

    def admit(self, methods: dict[str, access.Method]) -> None:
        """Takes the methods of a service that registered, by gRPC path; any other path is METHOD_UNKNOWN."""
        self._methods.update(methods)

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """Returns the handler with the layers around it."""
        path = handler_call_details.method
        handler = self._handlers.get(path)
        if handler is None:
            inner = await continuation(handler_call_details)
            method = self._methods.get(path)
            if inner is None or method is None:
                return _unknown(path)
            around = self._streaming(method, inner) if inner.response_streaming else self._unary(method, inner)
            handler = self._handlers[path] = around
        return handler

    def _unary(self, method: access.Method, inner: Any) -> Any:
        streams = bool(inner.request_streaming)
        behavior = inner.stream_unary if streams else inner.unary_unary

        async def answer(request: Any, context: Any) -> Any:
            call = Call(method, context, request, (streams, False))
            entered, result = 0, None
            error: BaseException | None = None
            try:
                for layer in self._layers:
                    entered += 1
                    await layer.enter(call)
                async with asyncio.timeout(call.left()):
                    result = await behavior(self._argument(call, request), context)
            except BaseException as raised:
                error = raised
            error = self._leave(call, error, entered)
            if error is not None:
                if streams:
                    await _read_to_the_end(request)
                await _end(context, error)
            return result

        made = grpc.stream_unary_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler
        return made(answer, None, inner.response_serializer)

    def _streaming(self, method: access.Method, inner: Any) -> Any:
        streams = bool(inner.request_streaming)
        watch = endless(method.path)
        behavior = inner.stream_stream if streams else inner.unary_stream

        async def answers(request: Any, context: Any) -> AsyncIterator[Any]:
            call = Call(method, context, request, (streams, True))
            entered = 0
            error: BaseException | None = None
            task = asyncio.current_task()
            if watch and task is not None:
                self._watches.add(task)
            try:
                if watch and self._draining:
                    raise DependencyUnavailable(method.path)
                for layer in self._layers:
                    entered += 1
                    await layer.enter(call)
                # The caller's deadline ends a stream by cancelling it.
                async for answer in behavior(self._argument(call, request), context):
                    yield answer
            except GeneratorExit:
                # Whoever closes a generator does it in a context of its own: ours ends with the task.
                call.attach_token = None
                self._leave(call, asyncio.CancelledError(), entered)
                raise
            except BaseException as raised:
                cut = watch and self._draining and isinstance(raised, asyncio.CancelledError)
                error = DependencyUnavailable(method.path) if cut else raised
            finally:
                if task is not None:
                    self._watches.discard(task)
            error = self._leave(call, error, entered)
            if error is not None:
                if streams:
                    await _read_to_the_end(request)
                await _end(context, error)

        made = grpc.stream_stream_rpc_method_handler if streams else grpc.unary_stream_rpc_method_handler
        return made(answers, None, inner.response_serializer)

    def _argument(self, call: Call, request: Any) -> Any:
        return self._requests(call, request) if call.streams_requests else call.request

    def _leave(self, call: Call, error: BaseException | None, entered: int) -> BaseException | None:
        # The layer whose `enter` raised leaves too: tracing, logging and errors tell about refusals.
        for layer in reversed(self._layers[:entered]):
            error = layer.leave(call, error)
        return error

    async def _requests(self, call: Call, stream: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        first = True
        async for raw in stream:
            message = call.parse(raw)
            if first:
                # Where requests stream, the first one names the workspace.
                access.check_workspace(call.method, call.caller, message)
                first = False
            for layer in self._layers:
                layer.check(message)
            yield message


async def _read_to_the_end(stream: AsyncIterator[bytes]) -> None:
    # A status that overtakes the caller's own messages reaches it as a reset stream, and as INTERNAL.
    with contextlib.suppress(Exception):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in stream:
                pass


async def _end(context: Any, error: BaseException) -> None:
    if isinstance(error, asyncio.CancelledError):
        raise error
    if not isinstance(error, CordboardError):
        # A layer outside the one for errors failed: gRPC would answer with the exception's text.
        logger.error("a layer failed", exc_info=error)
        error = Fault()
    await context.abort(code_of(error), text_of(error), trailing_metadata=trailers(error))


def _unknown(path: str) -> Any:
    async def refuse(_request: Any, context: Any) -> None:
        await _end(context, MethodUnknown(path.lstrip("/")[:200]))

    return grpc.unary_unary_rpc_method_handler(refuse)
