"""A trace says what its time went into, leaves as a file, and many traces say who calls whom."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from cordboard.cli.trace_comparison import compare, heaviest
from cordboard.telemetry.__main__ import start
from cordboard.telemetry.settings import TelemetrySettings
from cordboard.telemetry.v1 import trace_service_pb2 as pb
from cordboard.telemetry.v1.trace_service_pb2_grpc import TraceServiceStub
from tests.fixtures.otlp import MILLISECOND, SECOND, a_span, an_export, exporter
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving


class Story:
    """A trace in the making; times are milliseconds after its beginning."""

    def __init__(self, served: Served) -> None:
        self.id = os.urandom(16)
        self._served = served
        self._begin = time.time_ns() - 10 * SECOND
        self._spans: dict[str, list[Span]] = {}

    def span(
        self, name: str, first: int, end: int, parent: bytes = b"", service: str = "proxy", **fields: Any
    ) -> bytes:
        span = a_span(
            name,
            trace_id=self.id,
            parent_span_id=parent,
            start=self._begin + first * MILLISECOND,
            took=(end - first) * MILLISECOND,
            **fields,
        )
        self._spans.setdefault(service, []).append(span)
        return span.span_id

    async def told(self) -> pb.Trace:
        for service, spans in self._spans.items():
            await exporter(self._served.channel("envoy")).Export(an_export(*spans, service=service), timeout=20)
        stub = TraceServiceStub(self._served.as_role("operator"))
        return await stub.GetTrace(pb.GetTraceRequest(name=f"traces/{self.id.hex()}"), timeout=20)


@pytest.fixture
async def served(serving: Serving, database: Databases) -> AsyncIterator[Served]:
    async with serving("telemetry", TelemetrySettings, start, database_url=database("telemetry").url) as running:
        yield running


def milliseconds(duration: Duration) -> float:
    return duration.ToNanoseconds() / MILLISECOND


def times(trace: pb.Trace) -> dict[str, tuple[float, float]]:
    return {span.name: (milliseconds(span.self_duration), milliseconds(span.critical_duration)) for span in trace.spans}


async def test_the_critical_path_is_what_the_trace_waited_for(served: Served) -> None:
    story = Story(served)
    root = story.span("root", 0, 100)
    story.span("beside", 5, 40, root)
    slow = story.span("slow", 10, 90, root)
    story.span("deep", 50, 80, slow)
    story.span("runs on", 95, 150, root)
    found = times(await story.told())
    # own: 0-5, 90-95; on the path also what only "beside" covers, for the trace waited for "slow" and not for it.
    assert found["root"] == (10, 10)
    assert found["slow"] == (50, 50)
    assert found["deep"] == (30, 30)
    assert found["beside"] == (35, 5)
    assert found["runs on"] == (55, 5)


async def test_what_was_waited_for_adds_up_to_the_root(served: Served) -> None:
    story = Story(served)
    root = story.span("root", 0, 1000)
    for number in range(40):
        middle = story.span(f"m{number}", number * 7, number * 21 + 30, root)
        story.span(f"d{number}", number * 9, number * 19 + 20, middle)
    trace = await story.told()
    assert sum(critical for _, critical in times(trace).values()) == pytest.approx(1000)
    assert all(own >= 0 and critical >= 0 for own, critical in times(trace).values())
    assert heaviest(trace.spans, 1)[0].critical_duration.ToNanoseconds() > 0


async def test_a_trace_whose_parents_go_in_a_ring_is_shown_all_the_same(served: Served) -> None:
    story = Story(served)
    ids = [os.urandom(8) for _ in range(3)]
    for number, span_id in enumerate(ids):
        story.span(f"s{number}", 0, 10, ids[number - 1], span_id=span_id)
    assert set(times(await story.told()).values()) == {(0, 0)}


async def test_search_takes_a_longest_duration(served: Served) -> None:
    for name, took in (("short", 10), ("middle", 200), ("long", 3000)):
        story = Story(served)
        story.span(name, 0, took)
        await story.told()
    request = pb.ListTracesRequest(min_duration=Duration(nanos=50_000_000), max_duration=Duration(seconds=1))
    stub = TraceServiceStub(served.as_role("operator"))
    assert [trace.root_name for trace in (await stub.ListTraces(request, timeout=20)).traces] == ["middle"]
    request.max_duration.FromMilliseconds(40)
    with pytest.raises(grpc.aio.AioRpcError, match="max_duration"):
        await stub.ListTraces(request, timeout=20)


async def test_who_calls_whom(served: Served) -> None:
    for failed in (0, 2):
        story = Story(served)
        edge = story.span("ingress", 0, 50, service="envoy")
        execute = story.span("Execute", 1, 49, edge, status=failed)
        vendor = {"url.template": "/deals", "cordboard.integration": "pipedrive"}
        story.span("proxy.send", 2, 40, execute, kind=Span.SPAN_KIND_CLIENT, attributes=vendor, status=failed)
        await story.told()
    stub = TraceServiceStub(served.as_role("operator"))
    found = (await stub.ListDependencies(pb.ListDependenciesRequest(), timeout=20)).dependencies
    assert [(one.caller, one.callee, one.calls, one.errors) for one in found] == [
        ("envoy", "proxy", 2, 1),
        ("proxy", "integrations/pipedrive", 2, 1),
    ]
    assert milliseconds(found[1].p95) == 38


async def test_a_trace_leaves_as_otlp_and_comes_in_again(served: Served) -> None:
    story = Story(served)
    root = story.span("root", 0, 100, attributes={"cordboard.workspace": "acme"})
    story.span("child", 10, 90, root, service="auth", status=2)
    before = await story.told()
    stub = TraceServiceStub(served.as_role("operator"))
    body = await stub.ExportTrace(pb.ExportTraceRequest(name=before.name), timeout=20)
    data = json.loads(body.data)
    assert body.content_type == "application/json"
    spans = {
        span["name"]: (batch["resource"]["attributes"][0]["value"]["stringValue"], span)
        for batch in data["resourceSpans"]
        for span in batch["scopeSpans"][0]["spans"]
    }
    assert spans["root"][0] == "proxy"
    assert spans["child"][0] == "auth"
    assert spans["child"][1]["traceId"] == story.id.hex()
    assert spans["child"][1]["parentSpanId"] == root.hex()
    assert spans["child"][1]["status"]["code"] == 2


async def test_a_trace_leaves_for_perfetto_with_bars_that_nest(served: Served) -> None:
    story = Story(served)
    root = story.span("root", 0, 100)
    story.span("one", 10, 60, root)
    story.span("two", 30, 90, root)
    story.span("vault", 35, 40, root, service="auth")
    trace = await story.told()
    stub = TraceServiceStub(served.as_role("operator"))
    request = pb.ExportTraceRequest(name=trace.name, format=pb.ExportTraceRequest.FORMAT_PERFETTO)
    events = json.loads((await stub.ExportTrace(request, timeout=20)).data)["traceEvents"]
    names = {event["args"]["name"]: event["pid"] for event in events if event["ph"] == "M"}
    bars = {event["name"]: event for event in events if event["ph"] == "X"}
    assert bars["vault"]["pid"] == names["auth"] != names["proxy"] == bars["root"]["pid"]
    assert bars["root"]["tid"] == bars["one"]["tid"] != bars["two"]["tid"]
    assert bars["one"]["dur"] == 50_000


async def test_two_traces_are_compared_step_by_step(served: Served) -> None:
    traces = []
    for slow in (10, 400):
        story = Story(served)
        root = story.span("Execute", 0, slow + 20)
        story.span("proxy.send", 5, slow + 5, root)
        if slow > 100:
            story.span("refresh", slow + 6, slow + 16, root, service="auth", status=2)
        traces.append(await story.told())
    steps = {step.path[-1]: step for step in compare(*traces)}
    assert compare(*traces)[0].path == ("proxy Execute", "proxy proxy.send")
    assert steps["proxy proxy.send"].change == 390 * MILLISECOND
    assert (steps["auth refresh"].spans, steps["auth refresh"].errors) == ((0, 1), (0, 1))
    assert all(step.change == 0 for step in compare(traces[0], traces[0]))
