"""The OTLP receiver (opentelemetry-proto, collector services): spans are kept, metrics and logs are counted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceServicer
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceServicer
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceServicer

from cordboard.telemetry.redaction import Redaction
from cordboard.telemetry.spans import harvest

if TYPE_CHECKING:
    from collections.abc import Callable

    from cordboard.telemetry.intake import Intake
    from cordboard.telemetry.spans import Window


class SpanCollector(TraceServiceServicer):
    """Takes spans. An answer means that they are committed; a span that breaks a rule is refused by itself."""

    def __init__(self, intake: Intake, window: Callable[[], Window]) -> None:
        """Takes where spans go, and which times are taken now."""
        self._intake = intake
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
        await self._intake.keep(taken, size)
        response = traces.ExportTraceServiceResponse()
        if taken.refused:
            response.partial_success.rejected_spans = sum(taken.refused.values())
            response.partial_success.error_message = taken.problem
        return response


class LogCollector(LogsServiceServicer):
    """Takes log records, so that Envoy's access log has a peer, counts them and lets them go."""

    def __init__(self, counts: Counter[str]) -> None:
        """Takes what counts them, as `logs`."""
        self._counts = counts

    async def Export(self, request: logs.ExportLogsServiceRequest, _context: object) -> logs.ExportLogsServiceResponse:  # noqa: N802
        """Counts log records."""
        records = sum(len(scope.log_records) for batch in request.resource_logs for scope in batch.scope_logs)
        self._counts["logs"] += records
        return logs.ExportLogsServiceResponse()


class MetricCollector(MetricsServiceServicer):
    """Takes metrics, so that exporters have a peer, counts them and lets them go."""

    def __init__(self, counts: Counter[str]) -> None:
        """Takes what counts them, as `metrics`."""
        self._counts = counts

    async def Export(  # noqa: N802
        self, request: metrics.ExportMetricsServiceRequest, _context: object
    ) -> metrics.ExportMetricsServiceResponse:
        """Counts metrics."""
        self._counts["metrics"] += sum(
            len(scope.metrics) for batch in request.resource_metrics for scope in batch.scope_metrics
        )
        return metrics.ExportMetricsServiceResponse()
