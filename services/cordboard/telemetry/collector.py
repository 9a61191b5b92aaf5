"""The OTLP receiver (opentelemetry-proto, collector services): spans, metrics and log lines are kept."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import TYPE_CHECKING, Final
from uuid import UUID

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceServicer
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceServicer
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceServicer

from cordboard.core.errors import LimitExceeded
from cordboard.telemetry.kept_traces import noted
from cordboard.telemetry.log_lines import harvest_logs
from cordboard.telemetry.points import measured
from cordboard.telemetry.redaction import Redaction
from cordboard.telemetry.spans import harvest

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from cordboard.telemetry.gateway_spans import GatewaySpans
    from cordboard.telemetry.intake import Intake
    from cordboard.telemetry.kept_traces import KeptTraces
    from cordboard.telemetry.log_store import LogStore
    from cordboard.telemetry.metric_store import MetricStore
    from cordboard.telemetry.spans import Window

RETRY_AFTER: Final = 1.0
"""Seconds that a sender is asked to wait when too much waits."""


class SpanCollector(TraceServiceServicer):
    """Takes spans. An answer means that they are committed; a span that breaks a rule is refused by itself."""

    def __init__(
        self, intake: Intake, window: Callable[[], Window], kept: KeptTraces, gateway: GatewaySpans | None
    ) -> None:
        """Takes where spans go, which times are taken now, what is told of traces that are kept though they were not
        picked, and what holds Envoy's spans; None: all traces are kept.
        """
        self._intake = intake
        self._kept = kept
        self._gateway = gateway
        self._window = window
        self._redaction = Redaction()

    async def Export(  # noqa: N802 - the name is OTLP's
        self, request: traces.ExportTraceServiceRequest, _context: object
    ) -> traces.ExportTraceServiceResponse:
        """Stores spans; raises LimitExceeded when too many wait, and DependencyUnavailable without the database."""
        size = request.ByteSize()
        spans = sum(len(scope.spans) for batch in request.resource_spans for scope in batch.scope_spans)
        self._intake.check_room(spans, size)
        taken = harvest(request.resource_spans, self._window(), self._redaction)
        if self._gateway is not None:
            taken = self._gateway.without_held(taken)
        await self._intake.keep(taken, size)
        await self._kept.note(noted(taken.rows))
        response = traces.ExportTraceServiceResponse()
        if taken.refused:
            response.partial_success.rejected_spans = sum(taken.refused.values())
            response.partial_success.error_message = taken.problem
        return response


class LogCollector(LogsServiceServicer):
    """Takes log lines. An answer means that they are committed; a line that comes again is kept once."""

    def __init__(self, store: LogStore, window: Callable[[], Window], counts: Counter[str], *, max_bytes: int) -> None:
        """Takes where lines go, which times are taken now, what counts them, and how many bytes may wait."""
        self._store = store
        self._window = window
        self._counts = counts
        self._max_bytes = max_bytes
        self._waiting = 0
        self._turn = asyncio.Lock()
        self._redaction = Redaction()

    async def Export(self, request: logs.ExportLogsServiceRequest, _context: object) -> logs.ExportLogsServiceResponse:  # noqa: N802
        """Stores lines; raises LimitExceeded when too many wait, and DependencyUnavailable without the database."""
        size = request.ByteSize()
        if self._waiting and self._waiting + size > self._max_bytes:
            self._counts["logs_shed"] += sum(
                len(scope.log_records) for batch in request.resource_logs for scope in batch.scope_logs
            )
            raise LimitExceeded("telemetry.logs", "telemetry", RETRY_AFTER, "too many log lines wait to be stored")
        self._waiting += size
        try:
            # One after the other: a flood of lines takes one connection and no more.
            async with self._turn:
                taken = harvest_logs(request.resource_logs, self._window(), self._redaction, now=time.time_ns())
                await self._store.put(taken.rows)
        finally:
            self._waiting -= size
        self._counts["logs"] += len(taken.rows)
        self._counts["logs_refused"] += taken.refused.total()
        response = logs.ExportLogsServiceResponse()
        if taken.refused:
            response.partial_success.rejected_log_records = taken.refused.total()
            response.partial_success.error_message = taken.problem
        return response


class MetricCollector(MetricsServiceServicer):
    """Takes metrics. An answer means that they are committed; the same export that comes again counts once."""

    def __init__(
        self, store: MetricStore, window: Callable[[], Window], counts: Counter[str], *, max_bytes: int
    ) -> None:
        """Takes where points go, which times are taken now, what counts them, and how many bytes may wait."""
        self._store = store
        self._window = window
        self._counts = counts
        self._max_bytes = max_bytes
        self._waiting = 0
        self._turn = asyncio.Lock()
        self._redaction = Redaction()

    async def Export(  # noqa: N802
        self, request: metrics.ExportMetricsServiceRequest, _context: object
    ) -> metrics.ExportMetricsServiceResponse:
        """Stores points; raises LimitExceeded when too many wait, and DependencyUnavailable without the database."""
        raw = request.SerializeToString(deterministic=True)
        if self._waiting and self._waiting + len(raw) > self._max_bytes:
            raise LimitExceeded("telemetry.metrics", "telemetry", RETRY_AFTER, "too many metrics wait to be stored")
        self._waiting += len(raw)
        try:
            export = UUID(bytes=hashlib.sha256(raw).digest()[:16])
            # One after the other: they meet in the same rows.
            async with self._turn:
                taken = measured(request.resource_metrics, self._window(), self._redaction)
                shed = await self._store.put(export, taken)
        finally:
            self._waiting -= len(raw)
        if shed:
            taken.refused["there are as many series as there may be"] += shed
        self._counts["points"] += len(taken.points) - shed
        self._counts["points_refused"] += taken.refused.total()
        response = metrics.ExportMetricsServiceResponse()
        if taken.refused:
            response.partial_success.rejected_data_points = taken.refused.total()
            response.partial_success.error_message = taken.problem
        return response
