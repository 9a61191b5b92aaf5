"""Has actions run at the hub that this mesh follows: with its connections, its credentials, its rules and its limits.

The hub gets the input and gives the output, so nothing of the action is planned or read here. It alone tries again,
counts the vendor's limits and keeps the vendor's breakers; here stands one breaker, that of the hub itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

import grpc
import orjson
from opentelemetry.trace import Span, SpanKind

from cordboard.core import telemetry
from cordboard.core.errors import (
    CallInProgress,
    CordboardError,
    DeadlineExceeded,
    DependencyUnavailable,
    Indeterminate,
    LimitExceeded,
    VendorError,
    VendorUnreachable,
)
from cordboard.core.status import unpacked
from cordboard.planning.answers import JSON, Answer
from cordboard.planning.dialect import NO_QUOTA, Quota
from cordboard.planning.plan import Outbound
from cordboard.proxy.backends.passing import Passing
from cordboard.proxy.guard import Guard, Way
from cordboard.proxy.quotas.bucket import NOTHING
from cordboard.proxy.sender import trace_headers
from cordboard.proxy.stages import GUARD, SEND
from cordboard.proxy.v1 import forward_service_pb2 as forward_pb
from cordboard.proxy.v1 import proxy_service_pb2 as pb
from cordboard.proxy.v1.forward_service_pb2_grpc import ForwardServiceStub
from cordboard.proxy.v1.proxy_service_pb2_grpc import ProxyServiceStub

if TYPE_CHECKING:
    from cordboard.core.secrets import Secret
    from cordboard.proxy.backends.hub_line import HubLine
    from cordboard.proxy.backends.route import Backend
    from cordboard.proxy.calls import Call
    from cordboard.proxy.connections import Lease
    from cordboard.proxy.target import Target

# A word of the problem of a call, beside the sender's.
HUB: Final = "hub"
# What the hub may have begun before it said so. A server's error of the vendor's is told apart by its status.
_DOUBTFUL: Final = (VendorUnreachable, DeadlineExceeded, Indeterminate, CallInProgress)
# What Envoy, or a broken line, may answer before anybody has seen the call.
_UNSEEN: Final = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED})


@dataclass(frozen=True, slots=True)
class Errand(Outbound):
    """What the hub is to run."""

    given: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The input."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Errand:
        """Returns what the hub is to run with an input."""
        return cls("POST", "", "", {}, None, given)


@dataclass(frozen=True, slots=True)
class Sheet:
    """One page of what the hub gave."""

    items: list[Any]
    answer: Answer
    last: bool


@dataclass(frozen=True, slots=True)
class Subject:
    """What a call at the hub is about."""

    integration: str
    """The integration's slug."""
    action: str
    lease: Lease
    via: Backend

    @classmethod
    def of(cls, target: Target) -> Subject:
        """Returns what an action's call is about."""
        return cls(target.definition.slug, target.action.id, target.lease, target.via)


class Hub:
    """Runs actions at the hub, and passes raw requests on to it."""

    def __init__(self, line: HubLine, guard: Guard) -> None:
        """Takes the way there, and what lets calls through."""
        self._line = line
        self._guard = guard

    async def output(self, call: Call, target: Target, errand: Errand) -> Answer:
        """Returns the output of an action; raises what the hub says, VendorUnreachable where it says nothing."""
        request = pb.ExecuteRequest(
            connection=_connection(target),
            action=target.action.id,
            input_json=orjson.dumps(errand.given).decode(),
            idempotency_key=call.order.idempotency_key,
            output_format=pb.OUTPUT_FORMAT_JSON,
        )
        async with self._sent(call, Subject.of(target)) as sent:
            for again in (False, True):
                channel, metadata = await sent.way()
                stub = ProxyServiceStub(channel)
                try:
                    found = await stub.Execute(request, timeout=max(0.0, call.left()), metadata=metadata)
                except grpc.aio.AioRpcError as error:
                    if error.code() is grpc.StatusCode.UNAUTHENTICATED and not again:
                        continue
                    raise
                call.vendor_status = found.vendor_status
                return _answer(found)
        raise VendorUnreachable(target.definition.slug, target.action.id, HUB)

    async def pages(self, call: Call, target: Target, errand: Errand) -> AsyncGenerator[Sheet]:
        """Yields the pages of an action as they come; raises as `output` does."""
        request = pb.ExecuteStreamRequest(
            connection=_connection(target),
            action=target.action.id,
            input_json=orjson.dumps(errand.given).decode(),
            max_pages=call.order.max_pages,
            output_format=pb.OUTPUT_FORMAT_JSON,
        )
        async with self._sent(call, Subject.of(target)) as sent:
            for again in (False, True):
                channel, metadata = await sent.way()
                stub: Any = ProxyServiceStub(channel)
                stream = stub.ExecuteStream(request, timeout=max(0.0, call.left()), metadata=metadata)
                begun = False
                try:
                    async for page in stream:
                        begun = True
                        last = page.HasField("call")
                        yield Sheet(orjson.loads(page.items_json or b"[]"), Answer(200, JSON, quota=_quota(page)), last)
                        if last:
                            return
                except grpc.aio.AioRpcError as error:
                    if error.code() is grpc.StatusCode.UNAUTHENTICATED and not (again or begun):
                        continue
                    raise
                finally:
                    # Whoever reads on no more: the hub need not go on asking the vendor.
                    stream.cancel()
                break
        raise VendorUnreachable(target.definition.slug, target.action.id, HUB)

    async def forward(
        self, call: Call, subject: Subject, head: forward_pb.ForwardHead, body: AsyncIterator[bytes] | None
    ) -> AsyncGenerator[forward_pb.ForwardResponse]:
        """Yields the parts of an answer to a raw request as they come; raises as `output` does.

        `body` None: there is none. What it raises ends the request, and is raised here.
        """
        head.connection = _remote(subject.lease.connection, subject.via)
        passing = Passing(head, body)
        async with self._sent(call, subject) as sent:
            for again in (False, True):
                channel, metadata = await sent.way()
                stub = ForwardServiceStub(channel)
                begun = False
                try:
                    async with aclosing(passing.parts(stub, metadata, max(0.0, call.left()))) as parts:
                        async for part in parts:
                            begun = True
                            if part.HasField("head"):
                                call.vendor_status = part.head.status
                            yield part
                    return
                except grpc.aio.AioRpcError as error:
                    refused = error.code() is grpc.StatusCode.UNAUTHENTICATED
                    if refused and not (again or begun or passing.begun):
                        continue
                    raise
        raise VendorUnreachable(subject.integration, subject.action, HUB)

    @asynccontextmanager
    async def _sent(self, call: Call, subject: Subject) -> AsyncIterator[_Sent]:
        """Guards a call on its way, inside a span of its own, and says in our words how it ended."""
        call.stages.enter(GUARD)
        passage = await self._guard.enter(call, Way(HUB, subject.action, subject.lease), NOTHING)
        call.stages.current = SEND
        span = telemetry.tracer().start_span(
            SEND, kind=SpanKind.CLIENT, attributes={"rpc.system.name": "grpc", **call.labels}
        )
        sent = _Sent(self._line, call, subject, span)
        doubtful = call.doubtful
        try:
            yield sent
        except BaseException as error:
            told, certain = self._told(error, call, subject, sent)
            call.doubtful = doubtful or (sent.left and not certain)
            # A hub that answers is there, whatever it says.
            passage.note(healthy=_healthy(told))
            telemetry.mark_failed(span, told)
            if told is error:
                raise
            raise told from None
        else:
            passage.note(healthy=True)
        finally:
            passage.shown(accepted=None)
            span.end()

    @staticmethod
    def _told(error: BaseException, call: Call, subject: Subject, sent: _Sent) -> tuple[BaseException, bool]:
        """Returns an error as our callers get it, and whether it is certain that nothing was done."""
        if isinstance(error, grpc.aio.AioRpcError):
            found = unpacked(error)
            if found is not None:
                if isinstance(found, VendorError):
                    call.vendor_status = found.status
                    return found, 0 < found.status < 500
                return found, not isinstance(found, _DOUBTFUL)
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                return LimitExceeded(HUB, f"workspaces/{call.order.workspace}", _retry_after(error)), True
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return DeadlineExceeded("the hub's answer"), False
            return VendorUnreachable(subject.integration, subject.action, HUB), error.code() in _UNSEEN
        if isinstance(error, TimeoutError) and call.left() <= 0:
            return DeadlineExceeded("the way to the hub"), not sent.left
        if isinstance(error, (TimeoutError, DependencyUnavailable)):
            return VendorUnreachable(subject.integration, subject.action, HUB), not sent.left
        return error, False


@dataclass(slots=True)
class _Sent:
    """A call on its way to the hub."""

    line: HubLine
    call: Call
    subject: Subject
    span: Span
    left: bool = False
    """It may have reached the hub."""
    token: Secret[str] | None = None
    """What it was last sent with. Another way is wanted only where the hub refused that."""

    async def way(self) -> tuple[grpc.aio.Channel, tuple[tuple[str, str], ...]]:
        """Returns a channel to use now, and what to send beside the request; raises TimeoutError."""
        call = self.call
        # What was refused for its token has done nothing.
        self.left = False
        async with asyncio.timeout(max(0.0, call.left())):
            environment = self.subject.lease.environment
            self.token = token = await self.line.token(call.order.workspace, environment, refused=self.token)
            channel = await self.line.channel()
        self.left = True
        self.span.set_attribute("server.address", self.line.address)
        call.attempts += 1
        trace = tuple(trace_headers(self.span).items())
        return channel, (("authorization", f"Bearer {token.reveal()}"), *trace)


def _healthy(told: BaseException) -> bool | None:
    """Tells what an error shows of the hub; None: nothing."""
    if isinstance(told, VendorUnreachable) and told.metadata["problem"] == HUB:
        return False
    # Who was in a hurry, or went away, has seen nothing.
    return (isinstance(told, CordboardError) and not isinstance(told, DeadlineExceeded)) or None


def _connection(target: Target) -> str:
    return _remote(target.lease.connection, target.via)


def _remote(connection: str, via: Backend) -> str:
    return f"{connection.rpartition('/')[0]}/{via.remote(connection)}"


def _answer(found: pb.ExecuteResponse) -> Answer:
    content_type, body = found.content_type, found.output_json.encode()
    if found.WhichOneof("payload") == "output_bytes":
        body = found.output_bytes
    elif not content_type:
        content_type = JSON
    return Answer(found.vendor_status, content_type, body, quota=_quota(found))


def _quota(found: pb.ExecuteResponse | pb.ExecuteStreamResponse) -> Quota:
    if not found.HasField("quota"):
        return NO_QUOTA
    quota = found.quota
    return Quota(
        quota.limit if quota.HasField("limit") else None,
        quota.remaining if quota.HasField("remaining") else None,
        quota.reset_time.ToDatetime(UTC) if quota.HasField("reset_time") else None,
        quota.source == pb.Quota.SOURCE_DEFINITION,
    )


def _retry_after(error: grpc.aio.AioRpcError) -> float:
    for key, value in error.trailing_metadata() or ():
        if key == "retry-after" and isinstance(value, str) and value.isdigit():
            return float(value)
    return 1.0
