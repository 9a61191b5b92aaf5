"""TraceService: messages in, one question to the traces, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from google.api.httpbody_pb2 import HttpBody

from cordboard.core.errors import InvalidFields, Violation
from cordboard.core.paging import Paging
from cordboard.telemetry.critical_path import explain
from cordboard.telemetry.files import as_otlp, as_perfetto
from cordboard.telemetry.redaction import clean_text
from cordboard.telemetry.spans import duration, nanoseconds, span_id, timestamp, to_message
from cordboard.telemetry.store import Hit, Search
from cordboard.telemetry.trace_names import trace_id
from cordboard.telemetry.v1 import trace_service_pb2 as pb
from cordboard.telemetry.v1.trace_service_pb2_grpc import TraceServiceServicer
from cordboard.telemetry.windows import DEFAULT_WINDOW_NS, LATEST, bounded, from_page_key, page_key

if TYPE_CHECKING:
    from cordboard.core.times import Clock
    from cordboard.telemetry.store import Dependency, Linking, Summary
    from cordboard.telemetry.traces import TraceSource

MAX_CONDITIONS: Final = 32


class TraceServicer(TraceServiceServicer):
    """Answers operators' questions about traces."""

    def __init__(self, traces: TraceSource, clock: Clock) -> None:
        """Takes the traces and the clock that says what the last hour is."""
        self._traces = traces
        self._clock = clock

    async def GetTrace(self, request: pb.GetTraceRequest, _context: object) -> pb.Trace:
        found = await self._traces.trace(trace_id(request.name))
        message = _to_message(found.summary)
        message.spans.extend(to_message(span.service, span.body) for span in found.spans)
        explain(message.spans)
        message.linked_from.extend(map(_linking, found.linked_from))
        return message

    async def ExportTrace(self, request: pb.ExportTraceRequest, _context: object) -> HttpBody:
        found = await self._traces.trace(trace_id(request.name))
        write = as_perfetto if request.format == pb.ExportTraceRequest.FORMAT_PERFETTO else as_otlp
        return HttpBody(content_type="application/json", data=write(found.spans))

    async def ListDependencies(
        self, request: pb.ListDependenciesRequest, _context: object
    ) -> pb.ListDependenciesResponse:
        first, end = self._window(request)
        if first >= end:
            raise InvalidFields.one("end_time", "must be after start_time, which is an hour ago when unset")
        return pb.ListDependenciesResponse(dependencies=map(_dependency, await self._traces.dependencies(first, end)))

    async def ListTraces(self, request: pb.ListTracesRequest, _context: object) -> pb.ListTracesResponse:
        paging = Paging.of(request, default=20)
        window, last = from_page_key(paging.after) if paging.after else (self._window(request), None)
        before = None if last is None else Hit(*last)
        page = await self._traces.page(self._search(request, window), before=before, size=paging.size)
        token = paging.token(page_key(*window, page.last.start_ns, page.last.trace_id)) if page.last else ""
        return pb.ListTracesResponse(traces=map(_to_message, page.traces), next_page_token=token)

    def _search(self, request: pb.ListTracesRequest, window: tuple[int, int]) -> Search:
        first, end = window
        wrong = []
        if first >= end:
            wrong.append(Violation("end_time", "must be after start_time, which is an hour ago when unset"))
        if len(request.attributes) > MAX_CONDITIONS:
            wrong.append(Violation("attributes", f"must be at most {MAX_CONDITIONS}"))
        shortest = nanoseconds(request.min_duration)
        if shortest < 0:
            wrong.append(Violation("min_duration", "must not be negative"))
        longest = nanoseconds(request.max_duration) if request.HasField("max_duration") else None
        if longest is not None and longest < shortest:
            wrong.append(Violation("max_duration", "must not be less than min_duration"))
        if wrong:
            raise InvalidFields(wrong)
        return Search(
            first=first,
            end=end,
            # As what comes in is cleaned, so is what is looked for: it has to be equal.
            service=clean_text(request.service),
            operation=clean_text(request.operation),
            attributes=tuple((clean_text(key), clean_text(value)) for key, value in request.attributes.items()),
            errors_only=request.errors_only,
            min_duration=min(shortest, LATEST),
            max_duration=None if longest is None else min(longest, LATEST),
        )

    def _window(self, request: pb.ListTracesRequest | pb.ListDependenciesRequest) -> tuple[int, int]:
        now = timestamp(int(self._clock.now().timestamp() * 1_000_000) * 1000)
        earliest = nanoseconds(now) - DEFAULT_WINDOW_NS
        first = nanoseconds(request.start_time) if request.HasField("start_time") else earliest
        end = nanoseconds(request.end_time if request.HasField("end_time") else now)
        return bounded(first, end)


def _linking(found: Linking) -> pb.LinkingSpan:
    return pb.LinkingSpan(
        trace=f"traces/{found.trace_id.hex}",
        span_id=span_id(found.span_id),
        target_span_id=span_id(found.target),
        relation=found.relation,
        service=found.service,
        name=found.name,
        start_time=timestamp(found.start_ns),
        duration=duration(found.duration_ns),
        status=pb.Span.Status.Value(pb.Span.Status.keys()[found.status]),
    )


def _dependency(found: Dependency) -> pb.Dependency:
    told = pb.Dependency(caller=found.caller, callee=found.callee, calls=found.calls, errors=found.errors)
    if found.p95 is not None:
        told.p95.CopyFrom(duration(found.p95))
    return told


def _to_message(summary: Summary) -> pb.Trace:
    return pb.Trace(
        name=f"traces/{summary.trace_id.hex}",
        root_name=summary.root_name,
        root_service=summary.root_service,
        start_time=timestamp(summary.start_ns),
        duration=duration(summary.duration_ns),
        span_count=summary.spans,
        error_count=summary.errors,
        services=summary.services,
    )
