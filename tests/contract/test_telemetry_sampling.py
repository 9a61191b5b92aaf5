"""Telemetry where not all traces are kept: it tells services what others keep, and holds Envoy's spans meanwhile."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import orjson
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from cordboard.core.database import Database
from cordboard.core.sampling import HOLD_SECONDS
from cordboard.core.telemetry import KEPT
from cordboard.telemetry.__main__ import start
from cordboard.telemetry.gateway_spans import LOOK_AFTER, GatewaySpans
from cordboard.telemetry.intake import Intake
from cordboard.telemetry.kept_traces import KeptTraces
from cordboard.telemetry.redaction import Redaction
from cordboard.telemetry.settings import TelemetrySettings
from cordboard.telemetry.spans import Window, harvest
from cordboard.telemetry.store import SpanStore
from cordboard.telemetry.v1 import kept_trace_service_pb2 as kept_pb
from cordboard.telemetry.v1 import trace_service_pb2 as pb
from cordboard.telemetry.v1.kept_trace_service_pb2_grpc import KeptTraceServiceStub
from cordboard.telemetry.v1.trace_service_pb2_grpc import TraceServiceStub
from tests.fixtures.mesh import until
from tests.fixtures.otlp import SECOND, a_span, an_export, exporter
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving

ERROR = 2
WATCH = "/cordboard.catalog.v1.CatalogService/WatchDefinitions"
Started = Callable[[float], contextlib.AbstractAsyncContextManager[Served]]


@pytest.fixture
def started(serving: Serving, database: Databases) -> Started:
    @contextlib.asynccontextmanager
    async def run(rate: float) -> AsyncIterator[Served]:
        url = database("telemetry").url
        async with serving("telemetry", TelemetrySettings, start, database_url=url, trace_sample_rate=rate) as served:
            yield served

    return run


async def send(served: Served, *spans: Span, service: str) -> None:
    answer = await exporter(served.channel("envoy")).Export(an_export(*spans, service=service), timeout=30)
    assert answer.partial_success.rejected_spans == 0


async def services_of(served: Served, trace_id: bytes) -> list[str]:
    """Returns the services that a stored trace has spans of."""
    stub = TraceServiceStub(served.as_role("operator"))
    try:
        found = await stub.GetTrace(pb.GetTraceRequest(name=f"traces/{trace_id.hex()}"), timeout=30)
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.NOT_FOUND
        return []
    return sorted(found.services)


async def test_services_hear_which_traces_somebody_keeps(started: Started) -> None:
    async with started(0.5) as served:
        mine, other = a_span(attributes={KEPT: "error"}), a_span(attributes={"kept": "cordboard.kept"})
        await send(served, mine, other, service="proxy")
        stub = KeptTraceServiceStub(served.channel("auth"))
        answer = await stub.ListKeptTraces(kept_pb.ListKeptTracesRequest(), timeout=30)
        assert list(answer.trace_ids) == [mine.trace_id]
        for stranger in (served.channel("envoy"), served.as_role("operator")):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await KeptTraceServiceStub(stranger).ListKeptTraces(kept_pb.ListKeptTracesRequest(), timeout=30)
            assert refused.value.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)


async def test_envoys_spans_wait_for_the_mesh_and_are_there_when_all_are_kept(started: Started) -> None:
    picked, unwanted, failed, kept_late = (os.urandom(16) for _ in range(4))
    async with started(0.5) as served:
        for trace_id in (picked, unwanted, kept_late):
            await send(served, a_span("ingress", trace_id=trace_id), service="envoy")
        await send(served, a_span("ingress", trace_id=failed, status=ERROR), service="envoy")
        await send(served, a_span(trace_id=picked), service="proxy")
        assert await services_of(served, failed) == ["envoy"]
        assert await services_of(served, picked) == ["proxy"]

        async def whole() -> bool:
            return await services_of(served, picked) == ["envoy", "proxy"]

        await until(whole, "Envoy's span of a trace that was picked")
        # It was looked for in the store already, and is found by what a service says of it.
        await send(served, a_span(trace_id=kept_late, attributes={KEPT: "slow"}), service="auth")

        async def late() -> bool:
            return await services_of(served, kept_late) == ["auth", "envoy"]

        await until(late, "Envoy's span of a trace that is kept")
        assert await services_of(served, unwanted) == []
    async with started(1.0) as served:
        await send(served, a_span("ingress", trace_id=unwanted), service="envoy")
        assert await services_of(served, unwanted) == ["envoy"]


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def taken(*spans: Span, service: str = "envoy") -> Any:
    now = time.time_ns()
    return harvest(an_export(*spans, service=service).resource_spans, Window(now - 10**15, now + 10**15), Redaction())


async def test_what_waits_is_bounded_and_is_let_go_in_time(database: Databases) -> None:
    own = Database(database("telemetry").url)
    clock = Clock()
    intake = Intake(SpanStore(own), max_spans=100, max_bytes=100_000)
    held = GatewaySpans(intake, KeptTraces(own), slow=1.0, most=10, now=clock)
    try:
        for _ in range(25):
            assert not held.without_held(taken(a_span("ingress"))).rows
        assert told(held) == {"waiting": 10, "crowded_out": 15}
        clock.now += LOOK_AFTER
        await held.look()
        assert told(held)["waiting"] == 10
        clock.now += HOLD_SECONDS
        await held.look()
        assert told(held) == {"waiting": 0, "crowded_out": 15, "let_go": 10}
    finally:
        await own.close()


def told(held: GatewaySpans) -> dict[str, float]:
    return {reading.labels[0]: reading.value for reading in held.readings()}


@pytest.mark.parametrize(
    ("span", "why"),
    [
        ({"took": SECOND}, "slow"),
        ({"took": SECOND - 1}, ""),
        ({"took": SECOND, "attributes": {"http.url": WATCH}}, ""),
        ({"status": ERROR}, "error"),
    ],
)
def test_envoys_own_failure_and_its_own_wait_are_reasons(span: dict[str, Any], why: str) -> None:
    nobody: Any = None
    held = GatewaySpans(nobody, nobody, slow=1.0, most=10)
    rows = held.without_held(taken(a_span("ingress", **span))).rows
    assert [orjson.loads(row.attributes).get(KEPT) for row in rows] == ([why] if why else [])
    assert [Span.FromString(row.body).attributes[-1].value.string_value for row in rows] == ([why] if why else [])
