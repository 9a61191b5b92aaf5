"""Calls are counted in few steps, told apart by bounded labels, and sent once."""

from __future__ import annotations

import asyncio

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cordboard.core import telemetry
from cordboard.core.measures import MOST_SERIES, MOST_WAITING, OVERFLOW, Measures, Reading


def only(request: ExportMetricsServiceRequest | None) -> Metric:
    assert request is not None
    [metric] = request.resource_metrics[0].scope_metrics[0].metrics
    return metric


def labels_of(attributes: object) -> dict[str, str]:
    return {each.key: each.value.string_value for each in attributes}  # type: ignore[attr-defined]


def test_values_are_told_apart_by_their_labels_and_begin_anew_after_each_export() -> None:
    measures = Measures("proxy")
    calls = measures.histogram("calls", "s", ("method", "error.type"), (0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        calls.record(value, ("GET", ""))
    calls.record(0.2, ("GET", "timeout"))
    well, failed = only(measures.collect()).histogram.data_points
    assert (well.count, well.sum, list(well.bucket_counts), well.min, well.max) == (4, 7.65, [2, 1, 1], 0.05, 7.0)
    assert labels_of(well.attributes) == {"method": "GET"}
    assert labels_of(failed.attributes) == {"method": "GET", "error.type": "timeout"}
    assert measures.collect() is None


def test_the_slowest_call_leaves_its_trace(spans: InMemorySpanExporter) -> None:
    measures = Measures("proxy")
    calls = measures.histogram("calls", "s", ())
    traces = []
    for value in (0.1, 3.0, 0.2):
        with telemetry.tracer().start_as_current_span("job call") as span:
            traces.append(span.get_span_context().trace_id)
            calls.record(value, ())
    [exemplar] = only(measures.collect()).histogram.data_points[0].exemplars
    assert (exemplar.trace_id, exemplar.as_double) == (traces[1].to_bytes(16, "big"), 3.0)


def test_what_callers_make_up_takes_no_more_than_its_share_of_memory() -> None:
    measures = Measures("proxy")
    calls = measures.histogram("calls", "s", ("action",))
    for number in range(MOST_SERIES + 500):
        calls.record(0.1, (f"a{number}",))
    points = only(measures.collect()).histogram.data_points
    assert len(points) == MOST_SERIES + 1
    [rest] = [point for point in points if any(each.key == OVERFLOW for each in point.attributes)]
    assert rest.count == 500


def test_a_gauge_is_read_when_it_is_sent() -> None:
    measures, states = Measures("proxy"), {"pipedrive": 2.0}
    measures.gauge(
        "breaker", "1", ("integration",), lambda: [Reading((name,), state) for name, state in states.items()]
    )
    assert only(measures.collect()).gauge.data_points[0].as_double == 2.0
    states.clear()
    assert measures.collect() is None


class Peer(MetricsServiceServicer):
    """Takes exports, and refuses the first few."""

    def __init__(self, refuse: int) -> None:
        self.refuse = refuse
        self.taken: list[ExportMetricsServiceRequest] = []

    async def Export(self, request: ExportMetricsServiceRequest, context: grpc.aio.ServicerContext) -> object:  # type: ignore[type-arg]
        if self.refuse:
            self.refuse -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        self.taken.append(request)
        return ExportMetricsServiceResponse()


class Plain:
    """Channels without TLS, to a peer of the test's own."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def to(self, service: str) -> grpc.aio.Channel:
        assert service == "telemetry"
        return self._channel


async def test_what_could_not_be_sent_is_sent_later_and_only_so_much_waits() -> None:
    server, peer = grpc.aio.server(), Peer(refuse=MOST_WAITING + 5)
    add_MetricsServiceServicer_to_server(peer, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    measures = Measures("proxy")
    calls = measures.histogram("calls", "s", ())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(50):
        for number in range(MOST_WAITING + 5):
            calls.record(float(number), ())
            await measures.export(Plain(channel))  # type: ignore[arg-type]
        assert peer.taken == []
        await measures.export(Plain(channel))  # type: ignore[arg-type]
    await server.stop(None)
    sums = [only(request).histogram.data_points[0].sum for request in peer.taken]
    assert sums == [float(number) for number in range(5, MOST_WAITING + 5)]
