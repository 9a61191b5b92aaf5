"""Spans come in by OTLP: what is acknowledged is stored, once, without secrets; what is not is told why."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cordboard.local.certificates import Identities
from cordboard.local.ports import Ports
from cordboard.telemetry.__main__ import start
from cordboard.telemetry.settings import TelemetrySettings
from cordboard.telemetry.v1 import trace_service_pb2 as pb
from cordboard.telemetry.v1.trace_service_pb2_grpc import TraceServiceStub
from tests.fixtures.otlp import SECOND, a_span, an_attribute, an_export, exporter
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Served, Serving

DAY = 86_400 * SECOND
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
Running = Callable[..., contextlib.AbstractAsyncContextManager[Served]]


@pytest.fixture
def stored(database: Databases) -> ServiceDatabase:
    return database("telemetry")


@pytest.fixture
def running(serving: Serving, stored: ServiceDatabase) -> Running:
    """Runs the service on `stored`; keyword arguments are settings."""

    def run(**given: Any) -> contextlib.AbstractAsyncContextManager[Served]:
        return serving("telemetry", TelemetrySettings, start, database_url=stored.url, **given)

    return run


@contextlib.asynccontextmanager
async def superuser(stored: ServiceDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(stored.superuser_url.replace("+asyncpg", ""))
    try:
        yield connection
    finally:
        await connection.close()


async def count(stored: ServiceDatabase) -> int:
    async with superuser(stored) as connection:
        return int(await connection.fetchval("SELECT count(*) FROM telemetry.span"))


async def export(served: Served, *spans: Span, **resource: str) -> ExportTraceServiceResponse:
    answer: ExportTraceServiceResponse = await exporter(served.channel("proxy")).Export(
        an_export(*spans, **resource), timeout=20
    )
    return answer


async def trace_of(served: Served, span: Span) -> pb.Trace:
    stub = TraceServiceStub(served.as_role("operator"))
    return await stub.GetTrace(pb.GetTraceRequest(name=f"traces/{span.trace_id.hex()}"), timeout=20)


def detail(error: grpc.aio.AioRpcError, kind: Callable[[], Any]) -> Any:
    packed: Any = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    for each in status_pb2.Status.FromString(packed).details:
        found = kind()
        if each.Unpack(found):
            return found
    raise AssertionError(f"there is no {kind}")


async def refusal(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 - another process decides
            await asyncio.sleep(0.01)


async def test_what_is_acknowledged_is_there_at_once(running: Running) -> None:
    async with running() as served:
        span = a_span("Execute", attributes={"cordboard.integration": "acme-desk"})
        assert await export(served, span) == ExportTraceServiceResponse()
        found = await trace_of(served, span)
        assert [(one.name, dict(one.attributes)) for one in found.spans] == [
            ("Execute", {"cordboard.integration": "acme-desk"})
        ]


async def test_an_export_that_is_sent_again_changes_nothing(running: Running, stored: ServiceDatabase) -> None:
    async with running() as served:
        first, second = a_span(), a_span()
        await asyncio.gather(*(export(served, first, second, first) for _ in range(5)))
        await export(served, second)
        assert await count(stored) == 2


async def test_a_bad_span_is_refused_and_the_others_of_its_export_are_kept(running: Running) -> None:
    async with running() as served:
        good = a_span()
        answer = await export(served, a_span(trace_id=b"short"), good, a_span(took=-1))
        assert answer.partial_success.rejected_spans == 2
        assert "trace_id is not 16 bytes" in answer.partial_success.error_message
        assert (await trace_of(served, good)).span_count == 1


@pytest.mark.parametrize(
    ("age", "taken"), [(0, True), (2 * DAY, True), (6 * DAY, True), (30 * DAY, False), (-3 * DAY, False)]
)
async def test_a_late_span_is_kept_within_the_retention(
    running: Running, stored: ServiceDatabase, age: int, taken: bool
) -> None:
    async with running(retention_days=7) as served:
        answer = await export(served, a_span(start=time.time_ns() - age - SECOND))
        assert answer.partial_success.rejected_spans == (0 if taken else 1)
        assert await count(stored) == (1 if taken else 0)


async def test_no_secret_is_stored(running: Running, stored: ServiceDatabase) -> None:
    canary, marker = "canary7f3e9a", "harmless4c1b"
    span = a_span(
        f"GET https://api.example.com/{marker}?key={canary}",
        trace_state=f"vendor={canary}",
        attributes={
            "http.request.header.authorization": f"Bearer {canary}",
            "url.full": f"https://u:{canary}@api.example.com/{marker}?api_key={canary}",
            "url.query": canary,
            "body": {"password": canary, "deep": [{"x-api-key": canary}]},
            "note": f"tried with token={canary}",
        },
    )
    span.status.message = f"login with Basic {canary}{canary} failed"
    span.events.add(
        name=marker, attributes=[an_attribute("cookie", canary), an_attribute("text", f"password: {canary}")]
    )
    span.links.add(trace_id=b"x" * 16, span_id=b"x" * 8, attributes=[an_attribute("client_secret", canary)])
    async with running() as served:
        await export(served, span, vendor_token=canary)
        found = await trace_of(served, span)
    async with superuser(stored) as connection:
        rows = await connection.fetch("SELECT row_to_json(s)::text, body FROM telemetry.span s")
        senders = await connection.fetch("SELECT row_to_json(r)::text FROM telemetry.resource r")
    dump = str(rows) + str(senders) + str([row["body"] for row in rows]) + str(found)
    assert marker in dump
    assert canary not in dump


async def test_logs_and_metrics_have_a_peer(running: Running) -> None:
    logs, metrics = ExportLogsServiceRequest(), ExportMetricsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add(body=AnyValue(string_value="GET / 200"))
    metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="requests")
    async with running() as served:
        logged = await LogsServiceStub(served.channel("envoy")).Export(  # type: ignore[no-untyped-call]
            logs, timeout=10
        )
        measured = await MetricsServiceStub(served.channel("auth")).Export(  # type: ignore[no-untyped-call]
            metrics, timeout=10
        )
        assert (logged.partial_success.rejected_log_records, measured.partial_success.rejected_data_points) == (0, 0)


@pytest.mark.parametrize("peer", ["envoy", "proxy", "auth", "catalog", "uqi", "flags"])
async def test_every_process_of_the_mesh_may_export(running: Running, peer: str) -> None:
    async with running() as served:
        await exporter(served.channel(peer)).Export(an_export(a_span()), timeout=10)


async def test_a_client_may_not_export(running: Running, stored: ServiceDatabase) -> None:
    async with running() as served:
        error = await refusal(exporter(served.channel("operator")).Export(an_export(a_span()), timeout=10))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert await count(stored) == 0


async def test_a_full_queue_says_when_to_come_again_and_then_takes_spans(
    running: Running, stored: ServiceDatabase
) -> None:
    async with running(queue_max_spans=3) as served, superuser(stored) as blocker:
        await export(served, a_span())
        await blocker.execute("BEGIN; LOCK TABLE telemetry.span IN ACCESS EXCLUSIVE MODE")
        writing = asyncio.create_task(export(served, a_span(), a_span()))
        async with superuser(stored) as watcher:

            async def blocked() -> bool:
                return bool(await watcher.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

            await until(blocked)
        # The first of these waits in the queue, and leaves no room for the second.
        waiting = [asyncio.create_task(export(served, a_span())) for _ in range(2)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=2)
        (refused,) = done
        error = refused.exception()
        assert isinstance(error, grpc.aio.AioRpcError)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert detail(error, error_details_pb2.RetryInfo).retry_delay.ToNanoseconds() == SECOND
        assert detail(error, error_details_pb2.ErrorInfo).reason == "LIMIT_EXCEEDED"
        await blocker.execute("ROLLBACK")
        await writing
        await asyncio.wait(waiting)
        await export(served, a_span())
    assert await count(stored) == 5


async def test_an_export_larger_than_the_queue_fits_an_empty_one(running: Running, stored: ServiceDatabase) -> None:
    async with running(queue_max_spans=3) as served:
        await export(served, *(a_span() for _ in range(50)))
    assert await count(stored) == 50


async def test_a_lost_database_is_said_and_the_next_export_is_stored(running: Running, stored: ServiceDatabase) -> None:
    async with running() as served, superuser(stored) as connection:
        await export(served, a_span())
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'cordboard_telemetry'"
        )
        span = a_span()

        async def stored_now() -> bool:
            try:
                await export(served, span)
            except grpc.aio.AioRpcError as error:
                # What the exporters of OpenTelemetry take for a reason to try again.
                assert error.code() is grpc.StatusCode.UNAVAILABLE
                return False
            return True

        await until(stored_now)
        assert (await trace_of(served, span)).span_count == 1
    assert await count(stored) == 2


class Killable:
    """The service as a process of its own, which can be killed at any moment."""

    def __init__(self, identities: Identities, stored: ServiceDatabase, folder: Path) -> None:
        self._ports = Ports()
        self.port = self._ports.claim()
        self._identities = identities
        with (folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cordboard.telemetry"],
                env={
                    "PATH": os.defpath,
                    "CORDBOARD_LISTEN_ADDRESS": f"127.0.0.1:{self.port}",
                    "CORDBOARD_DATABASE_URL": stored.url,
                    "CORDBOARD_IDENTITY_DIR": str(identities.directory("telemetry")),
                },
                stdout=log,
                stderr=log,
            )

    def channel(self) -> grpc.aio.Channel:
        directory = self._identities.directory("proxy")
        files = (directory / name for name in ("ca.crt", "tls.key", "tls.crt"))
        return grpc.aio.secure_channel(
            f"127.0.0.1:{self.port}",
            grpc.ssl_channel_credentials(*(file.read_bytes() for file in files)),
            [("grpc.ssl_target_name_override", "telemetry.cordboard.internal"), ("grpc.use_local_subchannel_pool", 1)],
        )

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._ports.release()


@pytest.fixture
def killable(identities: Identities, stored: ServiceDatabase, tmp_path: Path) -> Iterator[Callable[[], Killable]]:
    made: list[Killable] = []

    def make() -> Killable:
        made.append(Killable(identities, stored, tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.kill()


async def test_a_kill_between_receipt_and_commit_loses_nothing_that_was_acknowledged(
    killable: Callable[[], Killable], stored: ServiceDatabase
) -> None:
    process = killable()
    acknowledged, unanswered = a_span("acknowledged"), a_span("unanswered")
    async with process.channel() as channel, superuser(stored) as blocker, superuser(stored) as watcher:
        stub = exporter(channel)
        await stub.Export(an_export(acknowledged), timeout=20, wait_for_ready=True)
        await blocker.execute("BEGIN; LOCK TABLE telemetry.span IN ACCESS EXCLUSIVE MODE")
        call = asyncio.ensure_future(stub.Export(an_export(unanswered), timeout=20))

        async def received() -> bool:
            return bool(await watcher.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

        await until(received)
        assert not call.done()
        process.kill()
        assert (await refusal(call)).code() is grpc.StatusCode.UNAVAILABLE
        await blocker.execute("ROLLBACK")
        assert await watcher.fetchval("SELECT array_agg(name) FROM telemetry.span") == ["acknowledged"]
    # An exporter sends again what nobody acknowledged, and now and then what somebody did.
    async with killable().channel() as channel:
        await exporter(channel).Export(an_export(acknowledged, unanswered), timeout=20, wait_for_ready=True)
    assert await count(stored) == 2


async def test_a_burst_from_many_exporters_is_stored_whole(running: Running, stored: ServiceDatabase) -> None:
    async with running() as served:
        answers = await asyncio.gather(
            *(export(served, *(a_span(f"s{index}") for index in range(100)), service=f"s{n}") for n in range(20))
        )
        assert all(answer == ExportTraceServiceResponse() for answer in answers)
    assert await count(stored) == 2000


NOW = time.time_ns()
ids = st.one_of(st.binary(max_size=20), st.binary(min_size=8, max_size=8), st.binary(min_size=16, max_size=16))
moments = st.one_of(st.integers(0, 2**64 - 1), st.integers(NOW - 9 * DAY, NOW + 3 * DAY))
words = st.one_of(
    st.text(max_size=40), st.sampled_from(["authorization", "a\0b", "http.url", "?", "\ud7ff", "x" * 5000])
)
scalars = st.one_of(
    st.builds(AnyValue),
    st.builds(AnyValue, string_value=words),
    st.builds(AnyValue, bool_value=st.booleans()),
    st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1)),
    st.builds(AnyValue, double_value=st.floats()),
    st.builds(AnyValue, bytes_value=st.binary(max_size=40)),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.builds(AnyValue, array_value=st.builds(ArrayValue, values=st.lists(inner, max_size=4))),
        st.builds(
            AnyValue,
            kvlist_value=st.builds(
                KeyValueList, values=st.lists(st.builds(KeyValue, key=words, value=inner), max_size=4)
            ),
        ),
    ),
    max_leaves=10,
)
attributes = st.lists(st.builds(KeyValue, key=words, value=values), max_size=5)
anything = st.builds(
    Span,
    trace_id=ids,
    span_id=ids,
    parent_span_id=ids,
    trace_state=words,
    name=words,
    kind=st.integers(0, 9),
    start_time_unix_nano=moments,
    end_time_unix_nano=moments,
    attributes=attributes,
    dropped_attributes_count=st.integers(0, 2**32 - 1),
    events=st.lists(st.builds(Span.Event, time_unix_nano=moments, name=words, attributes=attributes), max_size=3),
    links=st.lists(st.builds(Span.Link, trace_id=ids, span_id=ids, attributes=attributes), max_size=3),
    status=st.builds(Status, message=words, code=st.integers(0, 5)),
    flags=st.integers(0, 2**32 - 1),
)


def made_good(span: Span, trace: int, own: bytes, start: int, took: int) -> Span:
    """Returns the span with ids and times that no rule refuses, whatever else is in it."""
    span.trace_id, span.span_id, span.parent_span_id = trace.to_bytes(16, "big"), own, b""
    span.start_time_unix_nano, span.end_time_unix_nano = start, start + took
    return span


good = st.builds(
    made_good,
    anything,
    st.integers(1, 5),
    st.binary(min_size=8, max_size=8).filter(any),
    st.integers(NOW - DAY, NOW),
    st.integers(0, 10 * SECOND),
)
exports = st.builds(
    ExportTraceServiceRequest,
    resource_spans=st.lists(
        st.builds(
            ResourceSpans,
            resource=st.builds(Resource, attributes=attributes),
            scope_spans=st.lists(st.builds(ScopeSpans, spans=st.lists(anything, max_size=4)), max_size=2),
        ),
        max_size=3,
    ),
)


def test_whatever_is_exported_is_taken_or_refused_and_what_is_taken_comes_back(running: Running) -> None:
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        served = runner.run(stack.enter_async_context(running(queue_max_spans=100_000)))
        otlp = exporter(served.channel("envoy"))
        traces = TraceServiceStub(served.as_role("operator"))
        raw: Any = served.channel("envoy").unary_unary(EXPORT)
        kept: set[tuple[bytes, bytes]] = set()

        async def exported(request: ExportTraceServiceRequest, sound: list[Span]) -> None:
            spans = [one for batch in request.resource_spans for scope in batch.scope_spans for one in scope.spans]
            request.resource_spans.add().scope_spans.add().spans.extend(sound)
            answer = await otlp.Export(request, timeout=20)
            assert 0 <= answer.partial_success.rejected_spans <= len(spans)
            kept.update((span.trace_id, span.span_id) for span in sound)

        async def came_back() -> None:
            for trace_id in {trace_id for trace_id, _ in kept}:
                found = await traces.GetTrace(pb.GetTraceRequest(name=f"traces/{trace_id.hex()}"), timeout=20)
                expected = {span_id.hex() for trace, span_id in kept if trace == trace_id}
                assert expected <= {span.span_id for span in found.spans}

        async def sent_raw(payload: bytes) -> None:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await raw(payload, timeout=20)
                return
            error = await refusal(raw(payload, timeout=20))
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT

        slow = settings(
            max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
        )
        try:
            sound = st.lists(good, min_size=1, max_size=3)
            slow(given(exports, sound)(lambda request, sound: runner.run(exported(request, sound))))()
            runner.run(came_back())
            slow(given(st.binary(max_size=200))(lambda payload: runner.run(sent_raw(payload))))()
        finally:
            runner.run(stack.aclose())


async def test_neither_an_export_nor_a_probe_makes_a_span_and_a_question_does(
    running: Running, spans: InMemorySpanExporter
) -> None:
    async with running() as served:
        span = a_span()
        await export(served, span)
        health: Any = HealthStub(served.channel("envoy"))
        await health.Check(HealthCheckRequest())
        assert spans.get_finished_spans() == ()
        await trace_of(served, span)
        assert "cordboard.telemetry.v1.TraceService/GetTrace" in {each.name for each in spans.get_finished_spans()}
