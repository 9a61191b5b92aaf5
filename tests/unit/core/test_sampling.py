"""Which traces are kept where not all are: those that were picked, and those that failed or were slow, whole."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, set_span_in_context
from pydantic import ValidationError

from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.catalog.v1.catalog_service_pb2_grpc import (
    CatalogServiceServicer,
    CatalogServiceStub,
    add_CatalogServiceServicer_to_server,
)
from cordboard.core import telemetry
from cordboard.core.channel import Channels
from cordboard.core.identity import Identity
from cordboard.core.measures import Histogram
from cordboard.core.sampling import HOLD_SECONDS, HeldSpans, PickedShare
from cordboard.core.settings import Settings
from cordboard.core.telemetry import INSIDE, InMesh, remote_context
from cordboard.local.certificates import Identities
from tests.fixtures.serving import Serving

NOWHERE = "postgresql+asyncpg://nobody:nothing@127.0.0.1:1/none"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"
ASKED = pb.GetIntegrationRequest(name="integrations/x")
METHOD = "cordboard.proxy.v1.ProxyService/Execute"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Sampled:
    """A process's tracer with a share of traces picked."""

    def __init__(self, rate: float, *, most: int = 100, draw: float = 0.5, slow: float = 1.0) -> None:
        self.clock = Clock()
        self.held = HeldSpans(most=most, slow=slow, now=self.clock)
        self.exporter = InMemorySpanExporter()
        self.provider = telemetry.set_up(
            "proxy", self.exporter, sampler=PickedShare(rate, lambda: draw), held=self.held
        )
        self.tracer: Tracer = self.provider.get_tracer("cordboard")

    def sent(self) -> dict[str, ReadableSpan]:
        """Returns what was sent, by name."""
        self.provider.force_flush()
        return {span.name: span for span in self.exporter.get_finished_spans()}

    def states(self) -> dict[str, float]:
        """Returns what is told of traces."""
        return {reading.labels[0]: reading.value for reading in self.held.readings()}

    def call(
        self, parent: Any = None, *, name: str = METHOD, code: str = "OK", inner: str = "", took: float = 0
    ) -> int:
        """Makes a call's span with one inside of it; returns the id of its trace."""
        begun = time.time_ns()
        parent = parent if parent is not None else otel_context.Context()
        span = self.tracer.start_span(name, parent, SpanKind.SERVER, start_time=begun)
        below = self.tracer.start_span("GET /thing", set_span_in_context(span, parent), SpanKind.CLIENT)
        if inner:
            below.set_status(Status(StatusCode.ERROR))
        below.end()
        span.set_attribute("rpc.response.status_code", code)
        if code != "OK":
            span.set_status(Status(StatusCode.ERROR))
        span.end(begun + int(took * 1e9))
        return span.get_span_context().trace_id


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Sampled]]:
    # The first provider of a process stays: it must not be one of these.
    monkeypatch.setattr(trace, "set_tracer_provider", lambda _: None)
    made: list[Sampled] = []
    yield made
    for each in made:
        each.provider.shutdown()


class Told(CatalogServiceServicer):
    """Notes what comes with calls."""

    def __init__(self, told: list[Any]) -> None:
        self._told = told

    async def GetIntegration(self, request: pb.GetIntegrationRequest, context: Any) -> pb.Integration:
        self._told.append(context.invocation_metadata())
        return pb.Integration(name=request.name)


def telling(told: list[Any]) -> Any:
    """Returns what wires it into a process."""

    async def start(mesh: Any) -> None:
        add_CatalogServiceServicer_to_server(Told(told), mesh.server)  # type: ignore[abstract] # answers a part

    return start


def from_outside(flags: str) -> Any:
    return remote_context({"traceparent": f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-{flags}"})


def from_the_mesh(flags: str, mark: InMesh) -> Any:
    return otel_context.set_value(INSIDE, mark, from_outside(flags))


@pytest.mark.parametrize("flags", ["00", "01", "ff"])
@pytest.mark.parametrize(("draw", "picked"), [(0.29, True), (0.3, False)])
def test_what_a_caller_from_outside_asks_for_does_not_count(
    made: list[Sampled], flags: str, draw: float, picked: bool
) -> None:
    made.append(sampled := Sampled(0.3, draw=draw))
    sampled.call(from_outside(flags))
    assert set(sampled.sent()) == ({METHOD, "GET /thing"} if picked else set())
    assert sampled.held.waiting == (0 if picked else 2)


@pytest.mark.parametrize(
    ("flags", "mark", "picked", "waiting"),
    [("01", InMesh.FLAGGED, True, 0), ("00", InMesh.HELD, False, 2), ("00", InMesh.FLAGGED, False, 0)],
)
@pytest.mark.parametrize("rate", [0.0, 0.999])
def test_what_a_service_decided_is_followed(
    made: list[Sampled], flags: str, mark: InMesh, picked: bool, waiting: int, rate: float
) -> None:
    made.append(sampled := Sampled(rate, draw=0.5))
    sampled.call(from_the_mesh(flags, mark))
    assert (bool(sampled.sent()), sampled.held.waiting) == (picked, waiting)


def test_a_statement_of_a_poll_begins_no_trace_and_a_job_does(made: list[Sampled]) -> None:
    made.append(sampled := Sampled(0.9, draw=0.5))
    begin(sampled)
    assert set(sampled.sent()) == {"job proxy.run", "event proxy.send"}
    assert sampled.held.waiting == 0


def test_so_it_is_where_all_are_kept(made: list[Sampled]) -> None:
    made.append(sampled := Sampled(1.0))
    sampled.provider = telemetry.set_up("proxy", sampled.exporter)
    sampled.tracer = sampled.provider.get_tracer("cordboard")
    begin(sampled)
    assert set(sampled.sent()) == {"job proxy.run", "event proxy.send"}


def begin(sampled: Sampled) -> None:
    for name, kind in (
        ("SELECT", SpanKind.CLIENT), ("job proxy.run", SpanKind.CONSUMER), ("event proxy.send", SpanKind.PRODUCER),
    ):  # fmt: skip
        sampled.tracer.start_span(name, otel_context.Context(), kind).end()


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ({}, ""),
        ({"code": "UNAVAILABLE"}, "error"),
        ({"code": "INTERNAL"}, "error"),
        ({"code": "NOT_FOUND"}, ""),
        ({"code": "INVALID_ARGUMENT"}, ""),
        ({"inner": "failed"}, "error"),
        ({"took": 0.99}, ""),
        ({"took": 1.0}, "slow"),
        ({"took": 3600.0, "name": "cordboard.catalog.v1.CatalogService/WatchDefinitions"}, ""),
    ],
)
def test_what_failed_or_was_slow_is_kept_whole(made: list[Sampled], call: dict[str, Any], why: str) -> None:
    made.append(sampled := Sampled(0.0))
    trace_id = sampled.call(**call)
    sent = sampled.sent()
    assert len(sent) == (2 if why else 0)
    assert [dict(span.attributes or {})["cordboard.kept"] for span in sent.values() if "cordboard.kept" in
            (span.attributes or {})] == ([why] if why else [])  # fmt: skip
    for span in sent.values():
        assert span.context is not None
        assert (span.context.trace_id, span.context.trace_flags.sampled) == (trace_id, True)
    assert sampled.held.waiting == (0 if why else 2)


def test_what_another_process_keeps_is_sent_and_so_is_what_still_comes(made: list[Sampled]) -> None:
    made.append(sampled := Sampled(0.0))
    parent = from_the_mesh("00", InMesh.HELD)
    trace_id, other = sampled.call(parent), sampled.call()
    assert not sampled.sent()
    sampled.held.keep([trace_id, 12345])
    assert {span.context.trace_id for span in sampled.sent().values() if span.context} == {trace_id}
    assert sampled.held.waiting == 2
    sampled.exporter.clear()
    sampled.call(parent, name="again")
    assert "again" in sampled.sent()
    assert (sampled.states()["told"], other != trace_id) == (1, True)


def test_what_nobody_wants_is_let_go_in_time(made: list[Sampled]) -> None:
    made.append(sampled := Sampled(0.0))
    first = sampled.call()
    sampled.clock.now = HOLD_SECONDS - 1
    second = sampled.call()
    sampled.held.expire()
    assert sampled.held.waiting == 4
    sampled.clock.now = HOLD_SECONDS
    sampled.held.expire()
    assert sampled.held.waiting == 2
    sampled.held.keep([first, second])
    assert {span.context.trace_id for span in sampled.sent().values() if span.context} == {second}
    assert sampled.states()["let_go"] == 1


def test_memory_is_bounded_and_the_oldest_go_first(made: list[Sampled]) -> None:
    made.append(sampled := Sampled(0.0, most=10))
    traces = [sampled.call() for _ in range(50)]
    assert sampled.held.waiting == 10
    sampled.held.keep(traces)
    sampled.provider.force_flush()
    kept = {span.context.trace_id for span in sampled.exporter.get_finished_spans() if span.context}
    assert kept == set(traces[-5:])
    assert sampled.states()["crowded_out"] == 45


def test_a_storm_of_failures_does_not_undo_the_sampling(made: list[Sampled]) -> None:
    made.append(sampled := Sampled(0.0, most=100_000))
    for _ in range(1000):
        sampled.call(code="UNAVAILABLE")
    assert sampled.states()["error"] == 100
    sampled.clock.now += 1
    for _ in range(1000):
        sampled.call(code="UNAVAILABLE")
    assert sampled.states()["error"] == 120
    assert sampled.states()["too_many"] == 1880


@pytest.mark.parametrize(
    ("caller", "metadata", "waiting"),
    [
        # From outside: its flag and its words do not count, and the share (none) is what there is.
        ("envoy", (("traceparent", PARENT + "01"),), 1),
        ("envoy", (("traceparent", PARENT + "00"), telemetry.HELD), 1),
        # A service's word: nobody records it; it is recorded and waits; it was picked.
        ("proxy", (("traceparent", PARENT + "00"),), 0),
        ("proxy", (("traceparent", PARENT + "00"), telemetry.HELD), 1),
        ("proxy", (("traceparent", PARENT + "01"),), None),
    ],
)
async def test_a_service_is_believed_and_a_caller_from_outside_is_not(
    serving: Serving,
    made: list[Sampled],
    monkeypatch: pytest.MonkeyPatch,
    caller: str,
    metadata: tuple[tuple[str, str], ...],
    waiting: int | None,
) -> None:
    made.append(sampled := Sampled(0.0))
    monkeypatch.setattr(telemetry, "_tracer", sampled.tracer)

    async with serving("catalog", Settings, telling([]), database_url=NOWHERE, trace_sample_rate=0.0) as served:
        stub = CatalogServiceStub(served.channel(caller))
        # Who comes without a token through Envoy is refused, which is its own mistake.
        with contextlib.suppress(grpc.aio.AioRpcError):
            await stub.GetIntegration(ASKED, metadata=metadata, timeout=20)
    sent = sampled.sent()
    assert (len(sent), sampled.held.waiting) == ((1, 0) if waiting is None else (0, waiting))


async def test_a_call_tells_the_next_service_that_its_spans_wait(
    serving: Serving, identities: Identities, made: list[Sampled], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second hop records what the first one holds, though the flag says that it was not picked."""
    made.append(sampled := Sampled(0.0))
    monkeypatch.setattr(telemetry, "_tracer", sampled.tracer)
    told: list[Any] = []

    async with serving("catalog", Settings, telling(told), database_url=NOWHERE) as served:
        channels = Channels(Identity(identities.directory("proxy")), {"catalog": served.address})
        with sampled.tracer.start_as_current_span("job one", kind=SpanKind.CONSUMER):
            await CatalogServiceStub(channels.to("catalog")).GetIntegration(ASKED)
        await CatalogServiceStub(channels.to("catalog")).GetIntegration(ASKED)
        await channels.close()
    assert [dict(each).get("x-cordboard-trace") for each in told] == ["held", None]


@pytest.mark.parametrize(("rate", "failure", "shown"), [(1.0, "", 1), (0.0, "", 0), (0.0, "UNAVAILABLE", 1)])
def test_a_figures_exemplar_is_a_trace_that_is_kept(made: list[Sampled], rate: float, failure: str, shown: int) -> None:
    made.append(sampled := Sampled(rate))
    measure = Histogram("cordboard.call.duration", "s", ("cordboard.integration", "error.type"))
    with sampled.tracer.start_as_current_span(METHOD, otel_context.Context(), SpanKind.SERVER):
        measure.record(1.0, ("acme", failure))
    told = measure.taken(0, 1)
    assert told is not None
    assert len(told.histogram.data_points[0].exemplars) == shown


def test_only_one_can_decide(identities: Identities) -> None:
    given = {
        "listen_address": "127.0.0.1:0",
        "database_url": NOWHERE,
        "identity_dir": identities.directory("proxy"),
        "trace_callers_decide": True,
    }
    assert Settings.model_validate(given).trace_sample_rate == 1
    with pytest.raises(ValidationError, match="only one can decide"):
        Settings.model_validate({**given, "trace_sample_rate": 0.5})
