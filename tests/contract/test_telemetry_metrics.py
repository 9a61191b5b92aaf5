"""Metrics come in by OTLP, are kept by minute and hour, and answer how much, how often wrong, and how long."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub as Otlp
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from cordboard.core.measures import Measures, Reading
from cordboard.telemetry.__main__ import start
from cordboard.telemetry.settings import TelemetrySettings
from cordboard.telemetry.v1 import metrics_service_pb2 as pb
from cordboard.telemetry.v1.metrics_service_pb2_grpc import MetricsServiceStub
from tests.fixtures.otlp import SECOND, an_attribute
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving

LABELS = (
    "cordboard.workspace",
    "cordboard.integration",
    "cordboard.action",
    "cordboard.definition.version",
    "cordboard.outcome",
    "error.type",
    "feature_flag.key",
    "feature_flag.result.variant",
)
HOUR = 3600 * SECOND


class Telemetry:
    """The running service, as processes and operators use it."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.metrics = MetricsServiceStub(served.as_role("operator"))
        self._otlp = Otlp(served.channel("proxy"))  # type: ignore[no-untyped-call]

    async def send(self, request: ExportMetricsServiceRequest) -> ExportMetricsServiceResponse:
        answer: ExportMetricsServiceResponse = await self._otlp.Export(request, timeout=20)
        return answer

    async def rates(self, *dimensions: pb.Dimension.ValueType, **fields: Any) -> list[pb.Rate]:
        request = pb.ListRatesRequest(dimensions=dimensions, **fields)
        return list((await self.metrics.ListRates(request, timeout=20)).rates)


@pytest.fixture
async def telemetry(serving: Serving, database: Databases) -> AsyncIterator[Telemetry]:
    async with serving("telemetry", TelemetrySettings, start, database_url=database("telemetry").url) as served:
        yield Telemetry(served)


def calls(*given: tuple[Sequence[str], float], service: str = "proxy", at: int = 0) -> ExportMetricsServiceRequest:
    """Makes an export of calls: their labels and how long they took; `at` is nanoseconds since 1970, 0 for now."""
    measures = Measures(service)
    durations = measures.histogram("cordboard.call.duration", "s", LABELS)
    for labels, seconds in given:
        durations.record(seconds, (*labels, *[""] * (len(LABELS) - len(labels))))
    request = measures.collect()
    assert request is not None
    for metric in request.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.histogram.data_points:
            point.time_unix_nano = at or point.time_unix_nano
    return request


def well(integration: str = "pipedrive", version: str = "1.0.0", workspace: str = "acme") -> tuple[str, ...]:
    return (workspace, integration, "deals.list", version, "ok")


def failed(integration: str = "pipedrive", version: str = "1.0.0", workspace: str = "acme") -> tuple[str, ...]:
    return (workspace, integration, "deals.list", version, "vendor_error", "VENDOR_ERROR")


async def test_rates_errors_and_durations_of_integrations(telemetry: Telemetry) -> None:
    await telemetry.send(calls(*[(well(), 0.02)] * 95, *[(failed(), 3.0)] * 5, (well("zendesk"), 0.2)))
    pipedrive, zendesk = await telemetry.rates(pb.DIMENSION_INTEGRATION)
    assert (pipedrive.subject.integration, pipedrive.calls, pipedrive.errors) == ("pipedrive", 100, 5)
    assert dict(pipedrive.failures) == {"VENDOR_ERROR": 5}
    assert 0.01 <= pipedrive.p50.ToNanoseconds() / 1e9 <= 0.025
    assert 2.5 <= pipedrive.p99.ToNanoseconds() / 1e9 <= 3.0
    assert pipedrive.longest.ToSeconds() == 3
    assert pipedrive.mean.ToNanoseconds() / 1e9 == pytest.approx((95 * 0.02 + 15) / 100)
    assert (zendesk.calls, zendesk.errors) == (1, 0)


async def test_a_bad_version_shows_beside_a_good_one(telemetry: Telemetry) -> None:
    await telemetry.send(calls(*[(well(version="1.0.0"), 0.02)] * 10, *[(failed(version="2.0.0"), 0.02)] * 4))
    rates = await telemetry.rates(
        pb.DIMENSION_INTEGRATION, pb.DIMENSION_VERSION, filter=pb.Subject(integration="pipedrive")
    )
    assert [(rate.subject.version, rate.calls, rate.errors) for rate in rates] == [("1.0.0", 10, 0), ("2.0.0", 4, 4)]


async def test_variants_of_a_flag_are_told_apart(telemetry: Telemetry) -> None:
    def led(variant: str, error: str = "") -> tuple[str, ...]:
        return ("acme", "pipedrive", "deals.list", "1.0.0", "ok", error, "version.pipedrive", variant)

    await telemetry.send(calls(*[(led("old"), 0.02)] * 6, *[(led("new", "VENDOR_ERROR"), 0.5)] * 3, (well(), 0.02)))
    rates = await telemetry.rates(pb.DIMENSION_FLAG, pb.DIMENSION_VARIANT)
    assert [(each.subject.flag, each.subject.variant, each.calls, each.errors) for each in rates] == [
        ("", "", 1, 0),
        ("version.pipedrive", "new", 3, 3),
        ("version.pipedrive", "old", 6, 0),
    ]
    only = pb.Subject(flag="version.pipedrive", variant="new")
    [rate] = await telemetry.rates(pb.DIMENSION_INTEGRATION, filter=only)
    assert (rate.subject.integration, rate.calls) == ("pipedrive", 3)


async def test_usage_has_what_calls_cost_by_a_file_that_may_change(
    serving: Serving, database: Databases, tmp_path: Path
) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("prices: [{integration: pipedrive, call: 2}, {integration: '*', call: 0.5}]")
    url = database("telemetry").url
    async with serving("telemetry", TelemetrySettings, start, database_url=url, price_file=file) as served:
        running = Telemetry(served)
        await running.send(calls(*[(well(), 0.02)] * 3, (failed(), 0.1), (well("zendesk"), 0.2)))

        async def costs() -> list[tuple[str, float]]:
            found = await running.metrics.ListUsage(pb.ListUsageRequest(), timeout=20)
            return [(each.rate.subject.integration, each.cost_units) for each in found.usage]

        assert await costs() == [("pipedrive", 8.0), ("zendesk", 0.5)]
        file.write_text("prices: [{integration: pipedrive, action: deals.list, call: 10.25}]")
        assert await costs() == [("pipedrive", 41.0), ("zendesk", 0.0)]
        # What cannot be used changes nothing, be it nonsense or away.
        file.write_text("prices: [{integration: pipedrive, call: -1}]")
        assert await costs() == [("pipedrive", 41.0), ("zendesk", 0.0)]
        file.unlink()
        assert await costs() == [("pipedrive", 41.0), ("zendesk", 0.0)]


async def test_exports_of_many_processes_add_up_and_the_same_export_counts_once(telemetry: Telemetry) -> None:
    one = calls(*[(well(), 0.02)] * 3)
    for request in (one, calls(*[(well(), 0.3)] * 2), one, one):
        await telemetry.send(request)
    [rate] = await telemetry.rates(pb.DIMENSION_WORKSPACE)
    assert (rate.subject.workspace, rate.calls) == ("acme", 5)


async def test_services_are_counted_by_their_rpcs(telemetry: Telemetry) -> None:
    measures = Measures("auth")
    labels = ("rpc.system.name", "rpc.method", "rpc.response.status_code", "error.type")
    rpcs = measures.histogram("rpc.server.call.duration", "s", labels)
    rpcs.record(0.1, ("grpc", "a.B/Get", "OK", ""))
    rpcs.record(0.1, ("grpc", "a.B/Get", "NOT_FOUND", ""))
    rpcs.record(0.1, ("grpc", "a.B/Put", "UNAVAILABLE", "UNAVAILABLE"))
    request = measures.collect()
    assert request is not None
    await telemetry.send(request)
    [service] = await telemetry.rates(filter=pb.Subject(service="auth"))
    assert (service.subject.service, service.calls, service.errors) == ("auth", 3, 1)
    methods = await telemetry.rates(pb.DIMENSION_METHOD, filter=pb.Subject(service="auth"))
    assert [(each.subject.method, each.calls) for each in methods] == [("a.B/Get", 2), ("a.B/Put", 1)]


async def test_exemplars_lead_to_traces(telemetry: Telemetry) -> None:
    request = calls((well(), 0.02), (failed(), 3.0))
    for number, point in enumerate(request.resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points):
        point.exemplars.add(trace_id=bytes([number + 1]) * 16, as_double=point.max)
    await telemetry.send(request)
    [rate] = await telemetry.rates(pb.DIMENSION_INTEGRATION)
    assert [each.trace for each in rate.slow_exemplars] == [f"traces/{'02' * 16}", f"traces/{'01' * 16}"]
    assert [each.trace for each in rate.failed_exemplars] == [f"traces/{'02' * 16}"]


async def test_usage_is_kept_by_the_hour(telemetry: Telemetry) -> None:
    hour = time.time_ns() // HOUR * HOUR
    await telemetry.send(calls((well(), 0.1), (failed(), 0.1), at=hour - 2 * HOUR + SECOND))
    await telemetry.send(calls((well(), 0.1), at=hour - 2 * HOUR + 1800 * SECOND))
    await telemetry.send(calls((well(workspace="globex"), 0.1), at=hour - HOUR + SECOND))
    first = await telemetry.metrics.ListUsage(pb.ListUsageRequest(page_size=1), timeout=20)
    [row] = first.usage
    assert (row.hour.ToNanoseconds(), row.rate.calls, row.rate.errors) == (hour - 2 * HOUR, 3, 1)
    assert row.rate.subject == pb.Subject(
        workspace="acme", integration="pipedrive", action="deals.list", version="1.0.0"
    )
    rest = await telemetry.metrics.ListUsage(
        pb.ListUsageRequest(page_size=1, page_token=first.next_page_token), timeout=20
    )
    assert [each.rate.subject.workspace for each in rest.usage] == ["globex"]
    assert rest.next_page_token == ""
    only = pb.ListUsageRequest(filter=pb.Subject(workspace="globex"))
    assert len((await telemetry.metrics.ListUsage(only, timeout=20)).usage) == 1


async def test_the_newest_reading_of_a_gauge_counts_and_its_worst_is_kept(telemetry: Telemetry) -> None:
    for level in (0.0, 2.0, 1.0):
        measures = Measures("proxy")
        reading = Reading(("pipedrive",), level)
        measures.gauge("cordboard.breaker.state", "1", ("cordboard.integration",), lambda reading=reading: [reading])  # type: ignore[misc]
        request = measures.collect()
        assert request is not None
        await telemetry.send(request)
    request_ = pb.ListReadingsRequest(metrics=["cordboard.breaker.state"])
    [found] = (await telemetry.metrics.ListReadings(request_, timeout=20)).readings
    assert (found.service, dict(found.attributes)) == ("proxy", {"cordboard.integration": "pipedrive"})
    assert (found.value, found.lowest, found.highest) == (1.0, 0.0, 2.0)


async def test_a_long_time_is_added_up_from_hours(telemetry: Telemetry) -> None:
    now = time.time_ns()
    await telemetry.send(calls((well(), 0.1), at=now - 20 * HOUR))
    await telemetry.send(calls((well(), 0.1)))
    day_ago = Timestamp()
    day_ago.FromNanoseconds(now - 24 * HOUR)
    [rate] = await telemetry.rates(pb.DIMENSION_INTEGRATION, start_time=day_ago)
    assert rate.calls == 2
    [recent] = await telemetry.rates(pb.DIMENSION_INTEGRATION)
    assert recent.calls == 1


def broken(change: Callable[[otlp.HistogramDataPoint], object]) -> ExportMetricsServiceRequest:
    request = calls((well(), 0.1))
    change(request.resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points[0])
    return request


def cumulative() -> ExportMetricsServiceRequest:
    request = calls((well(), 0.1))
    metric = request.resource_metrics[0].scope_metrics[0].metrics[0]
    metric.histogram.aggregation_temporality = otlp.AGGREGATION_TEMPORALITY_CUMULATIVE
    return request


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        (cumulative(), "deltas"),
        (broken(lambda point: setattr(point, "count", 7)), "add up"),
        (broken(lambda point: setattr(point, "sum", float("nan"))), "finite"),
        (broken(lambda point: setattr(point, "max", float("inf"))), "finite"),
        (broken(lambda point: setattr(point, "time_unix_nano", 5)), "time"),
        (broken(lambda point: point.attributes.extend(an_attribute(f"k{n}", "v") for n in range(20))), "attributes"),
    ],
)
async def test_what_breaks_a_rule_is_refused_with_the_reason(
    telemetry: Telemetry, request_: ExportMetricsServiceRequest, word: str
) -> None:
    answer = await telemetry.send(request_)
    assert answer.partial_success.rejected_data_points == 1
    assert word in answer.partial_success.error_message
    assert await telemetry.rates(pb.DIMENSION_INTEGRATION) == []


async def test_series_are_bounded_and_senders_are_told(serving: Serving, database: Databases) -> None:
    url = database("telemetry").url
    async with serving("telemetry", TelemetrySettings, start, database_url=url, max_series=100) as served:
        telemetry = Telemetry(served)
        answer = await telemetry.send(calls(*((well(f"i{number}"), 0.1) for number in range(130))))
        assert answer.partial_success.rejected_data_points == 30
        # What has its series goes on.
        again = await telemetry.send(calls((well("i7"), 0.1), (well("i8"), 0.1)))
        assert again.partial_success.rejected_data_points <= 2
        assert sum(rate.calls for rate in await telemetry.rates(pb.DIMENSION_WORKSPACE)) >= 100


async def test_no_secret_in_a_label_is_kept(telemetry: Telemetry) -> None:
    await telemetry.send(calls((("acme", "Bearer abcdef0123456789"), 0.1)))
    [rate] = await telemetry.rates(pb.DIMENSION_INTEGRATION)
    assert rate.subject.integration == "[redacted]"


@pytest.mark.parametrize(
    "request_",
    [
        pb.ListRatesRequest(dimensions=[pb.DIMENSION_METHOD, pb.DIMENSION_ACTION]),
        pb.ListRatesRequest(dimensions=[pb.DIMENSION_ACTION, pb.DIMENSION_ACTION]),
        pb.ListRatesRequest(dimensions=[99]),  # type: ignore[list-item]
        pb.ListRatesRequest(start_time=Timestamp(seconds=500), end_time=Timestamp(seconds=100)),
        pb.ListRatesRequest(filter=pb.Subject(workspace="a\0")),
        pb.ListRatesRequest(page_token="Zm9v"),
    ],
)
async def test_a_question_without_an_answer_is_refused(telemetry: Telemetry, request_: pb.ListRatesRequest) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await telemetry.metrics.ListRates(request_, timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_only_operators_ask(telemetry: Telemetry) -> None:
    stub = MetricsServiceStub(telemetry.served.as_role("workspace-admin", workspace="acme"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListRates(pb.ListRatesRequest(), timeout=20)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
