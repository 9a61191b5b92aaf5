"""Telemetry's process: wires its parts and serves."""

from __future__ import annotations

from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import add_LogsServiceServicer_to_server
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    add_MetricsServiceServicer_to_server as add_OtlpMetricsServicer_to_server,
)
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp

from cordboard.core.egress import Egress
from cordboard.core.server import Process, run
from cordboard.core.times import SystemClock
from cordboard.telemetry.alerts.wiring import start_alerts
from cordboard.telemetry.collector import LogCollector, MetricCollector, SpanCollector
from cordboard.telemetry.gateway_spans import GatewaySpans
from cordboard.telemetry.intake import Intake
from cordboard.telemetry.jaeger import JaegerTraces
from cordboard.telemetry.kept_traces import KeptTraces, KeptTraceServicer
from cordboard.telemetry.log_servicer import LogServicer
from cordboard.telemetry.log_store import LogStore
from cordboard.telemetry.metric_store import MetricStore
from cordboard.telemetry.metrics_servicer import MetricsServicer
from cordboard.telemetry.prices import PriceList
from cordboard.telemetry.rates import Rates
from cordboard.telemetry.readings import Readings
from cordboard.telemetry.retention import Retention
from cordboard.telemetry.servicer import TraceServicer
from cordboard.telemetry.settings import TelemetrySettings
from cordboard.telemetry.store import SpanStore
from cordboard.telemetry.traces import Traces, TraceSource
from cordboard.telemetry.v1.kept_trace_service_pb2_grpc import add_KeptTraceServiceServicer_to_server
from cordboard.telemetry.v1.log_service_pb2_grpc import add_LogServiceServicer_to_server
from cordboard.telemetry.v1.metrics_service_pb2_grpc import add_MetricsServiceServicer_to_server
from cordboard.telemetry.v1.trace_service_pb2_grpc import add_TraceServiceServicer_to_server


async def start(mesh: Process[TelemetrySettings]) -> None:
    """Wires the service into its process."""
    settings, clock = mesh.settings, SystemClock()
    store = SpanStore(mesh.database())
    metrics = MetricStore(mesh.database(), max_series=settings.max_series)
    logs = LogStore(mesh.database())
    retention = Retention(
        store,
        metrics,
        logs,
        clock,
        days=settings.retention_days,
        max_bytes=settings.retention_max_bytes,
        log_max_bytes=settings.log_retention_max_bytes,
        usage_days=settings.usage_days,
    )
    intake = Intake(store, max_spans=settings.queue_max_spans, max_bytes=settings.queue_max_bytes)
    kept = KeptTraces(mesh.database())
    gateway: GatewaySpans | None = None
    if settings.trace_sample_rate < 1:
        gateway = GatewaySpans(intake, kept, slow=settings.trace_slow_seconds, most=max(settings.trace_held_spans, 1))
        mesh.measures.gauge("cordboard.traces", "{trace}", ("cordboard.state",), gateway.readings)
        mesh.background(gateway.run())
    collector = SpanCollector(intake, retention.window, kept, gateway)
    otlp.add_TraceServiceServicer_to_server(collector, mesh.server)  # type: ignore[no-untyped-call]
    add_KeptTraceServiceServicer_to_server(KeptTraceServicer(kept), mesh.server)
    figures = MetricCollector(metrics, retention.window, intake.counts, max_bytes=settings.queue_max_bytes)
    add_OtlpMetricsServicer_to_server(figures, mesh.server)  # type: ignore[no-untyped-call]
    lines = LogCollector(logs, retention.window, intake.counts, max_bytes=settings.queue_max_bytes)
    add_LogsServiceServicer_to_server(lines, mesh.server)  # type: ignore[no-untyped-call]
    add_LogServiceServicer_to_server(LogServicer(logs, clock), mesh.server)
    add_MetricsServiceServicer_to_server(
        MetricsServicer(Rates(metrics), Readings(metrics, clock), PriceList(settings.price_file), clock), mesh.server
    )
    mesh.measures.gauge("cordboard.telemetry.items", "{item}", ("cordboard.state",), intake.readings)
    add_TraceServiceServicer_to_server(TraceServicer(_traces(mesh, store), clock), mesh.server)
    start_alerts(mesh, store, clock)
    mesh.background(intake.run())
    mesh.background(retention.run())


def _traces(mesh: Process[TelemetrySettings], store: SpanStore) -> TraceSource:
    settings = mesh.settings
    if not settings.jaeger_url:
        return Traces(store)
    jaeger = JaegerTraces(settings.jaeger_url, settings.jaeger_token, Egress(settings.egress_allowed_networks))
    mesh.on_close(jaeger.close)
    return jaeger


def main() -> None:
    """Runs the service to its end."""
    run("telemetry", TelemetrySettings, start)


if __name__ == "__main__":
    main()
