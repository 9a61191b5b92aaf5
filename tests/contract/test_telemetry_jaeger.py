"""Traces are read from a Jaeger by the same RPCs, with the same meaning, as from Telemetry's own store."""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pydantic import ValidationError

from cordboard.telemetry.__main__ import start
from cordboard.telemetry.settings import TelemetrySettings
from cordboard.telemetry.v1 import trace_service_pb2 as pb
from cordboard.telemetry.v1.trace_service_pb2_grpc import TraceServiceStub
from tests.contract.test_telemetry_traces import at, refusal
from tests.fixtures.jaeger import Jaeger
from tests.fixtures.otlp import MILLISECOND, SECOND, a_span, an_export, exporter
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.fixtures.sites import listening

LOOPBACK = ("127.0.0.0/8",)
CANARY = "s3cr3t-canary-value"


@dataclass
class Both:
    """A Telemetry that keeps spans, one that reads them from a Jaeger, and that Jaeger: all have the same spans."""

    own: Any
    other: Any
    otlp: Any
    jaeger: Jaeger

    async def keep(self, *spans: Span, service: str = "proxy") -> None:
        export = an_export(*spans, service=service)
        self.jaeger.take(export)
        await self.otlp.Export(export, timeout=30)

    async def found(self, **conditions: Any) -> list[str]:
        """Returns the ids of all traces that fit; both have to say the same, in the same order."""
        own, other = [await everything(each, **conditions) for each in (self.own, self.other)]
        assert [trace.name for trace in other] == [trace.name for trace in own]
        assert [plain(trace) for trace in other] == [plain(trace) for trace in own]
        return [trace.name.removeprefix("traces/") for trace in other]


def plain(trace: pb.Trace) -> pb.Trace:
    trace.services[:] = sorted(trace.services)
    return trace


async def everything(stub: Any, **conditions: Any) -> list[pb.Trace]:
    found: list[pb.Trace] = []
    token = ""
    for _ in range(100):
        page = await stub.ListTraces(pb.ListTracesRequest(page_token=token, **conditions), timeout=30)
        found += page.traces
        token = page.next_page_token
        if not token:
            return found
    raise AssertionError("the pages have no end")


Made = Callable[..., contextlib.AbstractAsyncContextManager[Both]]


@pytest.fixture
def made(serving: Serving, database: Databases) -> Made:
    @contextlib.asynccontextmanager
    async def run(jaeger: Jaeger | None = None, **given: Any) -> AsyncIterator[Both]:
        jaeger, url = jaeger or Jaeger(), database("telemetry").url
        async with (
            listening(jaeger.app()) as address,
            serving("telemetry", TelemetrySettings, start, database_url=url) as own,
            serving(
                "telemetry",
                TelemetrySettings,
                start,
                database_url=url,
                **{"jaeger_url": address, "egress_allowed_networks": LOOPBACK} | given,
            ) as other,
        ):
            first, second = (TraceServiceStub(each.as_role("operator")) for each in (own, other))
            yield Both(first, second, exporter(own.channel("envoy")), jaeger)

    return run


@pytest.fixture
async def both(made: Made) -> AsyncIterator[Both]:
    async with made() as running:
        yield running


async def test_a_trace_is_shown_as_from_the_own_store(both: Both) -> None:
    now, trace = time.time_ns() - 10 * SECOND, b"\xab" * 16
    root, hop = b"root-id-", b"hop--id-"
    await both.keep(
        a_span("ingress", trace_id=trace, span_id=root, start=now, took=2 * SECOND, kind=2), service="envoy"
    )
    await both.keep(
        a_span("Execute", trace_id=trace, span_id=hop, parent_span_id=root, start=now + 5, took=SECOND, kind=2),
        a_span(
            "send", trace_id=trace, parent_span_id=hop, start=now + 30, took=MILLISECOND, kind=3, status=2,
            attributes={"http.response.status_code": 503, "list": [1, "two"], "deep": {"a": True}},
        ),
    )  # fmt: skip
    wanted = pb.GetTraceRequest(name=f"traces/{trace.hex()}")
    own, other = [await stub.GetTrace(wanted, timeout=30) for stub in (both.own, both.other)]
    assert plain(other) == plain(own)
    assert [span.name for span in other.spans] == ["ingress", "Execute", "send"]
    files = [
        await stub.ExportTrace(pb.ExportTraceRequest(name=wanted.name), timeout=30) for stub in (both.own, both.other)
    ]
    assert json.loads(files[0].data) == json.loads(files[1].data)


async def test_a_trace_that_is_nowhere_is_not_found(both: Both) -> None:
    code, reason, _ = await refusal(both.other.GetTrace(pb.GetTraceRequest(name=f"traces/{'0a' * 16}"), timeout=30))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")
    assert await both.found() == []


@pytest.mark.parametrize("knows_attributes", [True, False], ids=["attributes", "a version that takes none"])
async def test_every_condition_finds_the_same_in_both(made: Made, knows_attributes: bool) -> None:
    draw, now = random.Random(20261122), time.time_ns() - 60 * SECOND
    async with made(Jaeger(knows_attributes=knows_attributes)) as both:
        for _ in range(60):
            trace = draw.randbytes(16)
            for service in draw.sample(["envoy", "proxy", "auth"], k=draw.randint(1, 3)):
                span = a_span(
                    draw.choice(["Execute", "send", "SELECT"]),
                    trace_id=trace,
                    start=now - draw.randrange(600 * SECOND),
                    took=draw.randrange(2000) * MILLISECOND,
                    status=draw.choice([0, 0, 2]),
                    attributes={"cordboard.integration": draw.choice(["acme", "desk"]), "n": draw.randrange(3)},
                )
                await both.keep(span, service=service)
        assert len(await both.found()) == 60
        some = [
            await both.found(**conditions)
            for conditions in (
                {"service": "proxy"},
                {"service": "nobody"},
                {"operation": "exec"},
                {"errors_only": True},
                {"attributes": {"cordboard.integration": "acme"}},
                {"attributes": {"cordboard.integration": "acme", "n": "2"}, "errors_only": True, "service": "auth"},
                {"min_duration": Duration(seconds=1)},
                {"min_duration": Duration(seconds=1), "max_duration": Duration(seconds=1, nanos=500_000_000)},
                {"start_time": at(now - 300 * SECOND), "end_time": at(now - 100 * SECOND)},
                {"page_size": 7},
                {"page_size": 7, "operation": "select", "errors_only": True},
                {"page_size": 1, "service": "envoy", "attributes": {"n": "1"}},
            )
        ]
        assert some[1] == []
        assert all(0 < len(each) < 60 for number, each in enumerate(some) if number not in (1, 9))
        assert len(some[9]) == 60


@pytest.mark.parametrize("knows_dependencies", [True, False], ids=["version 3", "versions before"])
async def test_links_are_told_as_jaeger_counts_them(made: Made, knows_dependencies: bool) -> None:
    async with made(Jaeger(knows_dependencies=knows_dependencies)) as both:
        for number in range(3):
            parent = a_span("ingress")
            await both.keep(parent, service="envoy")
            await both.keep(
                a_span("x", trace_id=parent.trace_id, parent_span_id=parent.span_id, status=2 * (number % 2))
            )
        [link] = (await both.other.ListDependencies(pb.ListDependenciesRequest(), timeout=30)).dependencies
        # Jaeger counts neither failures nor durations.
        assert link == pb.Dependency(caller="envoy", callee="proxy", calls=3)


async def test_what_others_sent_to_jaeger_shows_no_secret(both: Both) -> None:
    span = a_span(
        "send", attributes={"authorization": CANARY, "url.full": f"https://h/p?key={CANARY}", "kept": "marker"}
    )
    both.jaeger.take(an_export(span))
    found = await both.other.GetTrace(pb.GetTraceRequest(name=f"traces/{span.trace_id.hex()}"), timeout=30)
    exported = await both.other.ExportTrace(pb.ExportTraceRequest(name=found.name), timeout=30)
    for text in (str(found), exported.data.decode()):
        assert "marker" in text
        assert CANARY not in text


async def test_the_token_is_shown_to_jaeger(made: Made) -> None:
    span = a_span()
    for token, wanted in (("right", grpc.StatusCode.OK), ("wrong", grpc.StatusCode.UNAVAILABLE)):
        async with made(Jaeger(token="right"), jaeger_token=token) as both:
            both.jaeger.take(an_export(span))
            call = both.other.GetTrace(pb.GetTraceRequest(name=f"traces/{span.trace_id.hex()}"), timeout=30)
            if wanted is grpc.StatusCode.OK:
                assert (await call).span_count == 1
            else:
                assert (await refusal(call))[:2] == (wanted, "DEPENDENCY_UNAVAILABLE")


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": 500},
        {"status": 400},
        {"status": 302},
        {"body": b"<html>"},
        {"body": b"[]"},
        {"body": b'{"result": {"resourceSpans": 7}}'},
        {"body": b'{"result": {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}}'},
        {"body": b'{"result": ' + b"[" * 5000 + b"]" * 5000 + b"}"},
        {"body": b'{"services": [1, 2]}'},
    ],
    ids=lambda given: str(given)[:40],
)
async def test_a_jaeger_that_answers_badly_is_said_to_be_away(made: Made, wrong: dict[str, Any]) -> None:
    async with made(Jaeger(**wrong)) as both:
        calls = [both.other.GetTrace(pb.GetTraceRequest(name=f"traces/{'0a' * 16}"), timeout=30)]
        if b"services" not in wrong.get("body", b""):
            assert (await refusal(calls[0]))[:2] == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
        else:
            code, _, _ = await refusal(both.other.ListTraces(pb.ListTracesRequest(), timeout=30))
            assert code is grpc.StatusCode.UNAVAILABLE
            await refusal(calls[0])


async def test_a_jaeger_that_is_not_there_or_may_not_be_reached_is_said_to_be_away(made: Made) -> None:
    for given in ({"jaeger_url": "http://127.0.0.1:9"}, {"egress_allowed_networks": ()}):
        async with made(**given) as both:
            code, reason, _ = await refusal(both.other.ListTraces(pb.ListTracesRequest(), timeout=30))
            assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
            assert both.jaeger.asked == []


@pytest.mark.parametrize("url", ["jaeger:16686", "ftp://jaeger", "https://jaeger?x=y", "https://user:pw@jaeger"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="jaeger_url"):
        TelemetrySettings.model_validate({"jaeger_url": url})
