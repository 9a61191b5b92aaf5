"""Which traces are kept where not all of them are: a share that is picked at the edge, and what fails or is slow.

A trace is picked, or not, by the first process of the mesh that has it; what a caller from outside asks for does not
count. The others follow. Spans of a trace that was not picked are recorded all the same and wait here, in bounded
memory: they are sent when this process, or by Telemetry's word another one, finds a reason to keep their trace.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc
from opentelemetry.context import get_value
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanContext, SpanKind, StatusCode, TraceFlags, get_current_span

from cordboard.core.layers import endless
from cordboard.core.measures import Reading
from cordboard.core.rates import FAILURES
from cordboard.core.telemetry import INSIDE, KEPT, InMesh, begins_a_trace
from cordboard.telemetry.v1.kept_trace_service_pb2 import ListKeptTracesRequest
from cordboard.telemetry.v1.kept_trace_service_pb2_grpc import KeptTraceServiceStub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cordboard.core.channel import Channels

logger = logging.getLogger(__name__)

HOLD_SECONDS: Final = 30.0
"""How long spans wait: as long as a caller waits who names no deadline."""
KEPT_A_SECOND: Final = 20
"""Traces that a process keeps for what it saw itself; when everything fails, some of it says what there is to say."""
_BURST: Final = 100
_ASK_EVERY: Final = 2.0
_ASK_SECONDS: Final = 3.0
ERROR: Final = "error"
SLOW: Final = "slow"


class PickedShare(Sampler):
    """Picks a share of what begins here, follows the mesh in what does not, and records what was not picked."""

    def __init__(self, rate: float, draw: Callable[[], float] = random.random) -> None:
        """Takes the share, from 0 to 1, and what draws a number below 1."""
        self._rate = rate
        self._draw = draw

    def should_sample(
        self,
        parent_context: Any,
        trace_id: int,  # noqa: ARG002 - a caller can choose it, so it decides nothing
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Any = None,  # noqa: ARG002 - the shape is the library's
        trace_state: Any = None,  # noqa: ARG002
    ) -> SamplingResult:
        """Decides about a span that begins."""
        parent = get_current_span(parent_context)
        context = parent.get_span_context()
        if context.is_valid and not context.is_remote:
            picked, recorded = context.trace_flags.sampled, parent.is_recording()
        elif (mark := get_value(INSIDE, parent_context)) is not None and context.is_valid:
            picked, recorded = context.trace_flags.sampled, mark is InMesh.HELD
        elif begins_a_trace(name, kind):
            picked, recorded = self._draw() < self._rate, True
        else:
            picked = recorded = False
        decision = Decision.RECORD_AND_SAMPLE if picked else Decision.RECORD_ONLY if recorded else Decision.DROP
        return SamplingResult(decision, attributes, context.trace_state if context.is_valid else None)

    def get_description(self) -> str:
        """Returns what it does, for the library."""
        return f"a share of {self._rate}"


class Allowance:
    """How many traces may still be kept for what was seen here: so many at once, and so many a second."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """Takes what says the seconds."""
        self._now = now
        self._left, self._at = float(_BURST), now()

    def take(self) -> bool:
        """Takes one, and says whether there was one."""
        now = self._now()
        self._left = min(float(_BURST), self._left + (now - self._at) * KEPT_A_SECOND)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass
class _Piece:
    """What this process has of a trace."""

    until: float = 0.0
    kept: bool = False
    spans: list[ReadableSpan] = field(default_factory=list)


class HeldSpans(SpanProcessor):
    """Holds the spans of traces that were not picked until there is a reason to send them, or none came."""

    def __init__(self, *, most: int, slow: float, now: Callable[[], float] = time.monotonic) -> None:
        """Takes how many spans may wait, and from how many seconds on a call is slow."""
        self._send: Callable[[ReadableSpan], None] = _nobody
        self._most = most
        self._slow_ns = slow * 1_000_000_000
        self._now = now
        self._lock = threading.Lock()
        self._pieces: OrderedDict[int, _Piece] = OrderedDict()
        self._waiting = 0
        self._allowance = Allowance(now)
        self._counts: Counter[str] = Counter()

    def send_by(self, send: Callable[[ReadableSpan], None]) -> None:
        """Takes what sends a span that is kept."""
        self._send = send

    def on_end(self, span: ReadableSpan) -> None:
        """Takes a span that ended; those of picked traces are none of its business."""
        context = span.context
        if context is None or context.trace_flags.sampled:
            return
        with self._lock:
            piece = self._pieces.get(context.trace_id)
            if piece is None:
                piece = self._pieces[context.trace_id] = _Piece()
            else:
                self._pieces.move_to_end(context.trace_id)
            piece.until = self._now() + HOLD_SECONDS
            why = "" if piece.kept else self._reason(span)
            if why:
                piece.kept = self._allowance.take()
                self._counts[why if piece.kept else "too_many"] += 1
                if piece.kept:
                    self._release(piece)
            if piece.kept:
                self._send(_as_kept(span, why))
                return
            piece.spans.append(span)
            self._waiting += 1
            while self._waiting > self._most:
                self._forget(self._pieces.popitem(last=False)[1], "crowded_out")

    def keep(self, trace_ids: Iterable[int]) -> None:
        """Sends what waits of these traces, and what still comes of them."""
        with self._lock:
            for trace_id in trace_ids:
                piece = self._pieces.get(trace_id)
                if piece is not None and not piece.kept:
                    piece.kept = True
                    self._counts["told"] += 1
                    self._release(piece)

    def expire(self) -> None:
        """Forgets what waited long enough."""
        now = self._now()
        with self._lock:
            while self._pieces:
                trace_id, piece = next(iter(self._pieces.items()))
                if piece.until > now:
                    return
                del self._pieces[trace_id]
                self._forget(piece, "let_go")

    @property
    def waiting(self) -> int:
        """How many spans wait."""
        return self._waiting

    def readings(self) -> list[Reading]:
        """Returns, since the start, how many traces were kept and why, how many were not, and what waits now."""
        with self._lock:
            found = [*self._counts.items(), ("waiting", self._waiting)]
        return [Reading((state,), float(count)) for state, count in found]

    async def follow(self, channels: Channels) -> None:
        """Asks Telemetry for ever which traces others keep."""
        away = False
        while True:
            await asyncio.sleep(_ASK_EVERY)
            self.expire()
            if not self._waiting:
                continue
            stub = KeptTraceServiceStub(channels.to("telemetry"))
            try:
                answer = await stub.ListKeptTraces(ListKeptTracesRequest(), timeout=_ASK_SECONDS)
            except grpc.aio.AioRpcError as error:
                # A collector between us and Telemetry does not know the question: each process decides alone then.
                if not away:
                    logger.warning("which traces others keep is not known", extra={"code": error.code().name})
                away = True
            else:
                away = False
                self.keep(int.from_bytes(each, "big") for each in answer.trace_ids)

    def shutdown(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._pieces.clear()
            self._waiting = 0

    def _reason(self, span: ReadableSpan) -> str:
        begins_here = span.parent is None or span.parent.is_remote
        if (begins_here or span.kind is not SpanKind.INTERNAL) and _failed(span):
            return ERROR
        long = (span.end_time or 0) - (span.start_time or 0) >= self._slow_ns
        return SLOW if begins_here and long and not endless(span.name) else ""

    def _release(self, piece: _Piece) -> None:
        spans, piece.spans = piece.spans, []
        self._waiting -= len(spans)
        for each in spans:
            self._send(_as_kept(each, ""))

    def _forget(self, piece: _Piece, how: str) -> None:
        self._waiting -= len(piece.spans)
        if not piece.kept:
            self._counts[how] += 1


def _nobody(_span: ReadableSpan) -> None:
    """Sends nothing: nothing to send by was given yet."""


def _failed(span: ReadableSpan) -> bool:
    """Tells whether a span failed by more than its caller's mistake."""
    code = (span.attributes or {}).get("rpc.response.status_code")
    return code in FAILURES if code is not None else span.status.status_code is StatusCode.ERROR


def _as_kept(span: ReadableSpan, why: str) -> ReadableSpan:
    """Returns a span as one of a picked trace, for that is what senders send; the one that gave the reason says it."""
    context = span.context
    assert context is not None  # noqa: S101 - `on_end` looked
    return ReadableSpan(
        name=span.name,
        context=SpanContext(
            context.trace_id,
            context.span_id,
            is_remote=False,
            trace_flags=TraceFlags(context.trace_flags | TraceFlags.SAMPLED),
            trace_state=context.trace_state,
        ),
        parent=span.parent,
        resource=span.resource,
        attributes={**(span.attributes or {}), KEPT: why} if why else span.attributes,
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
