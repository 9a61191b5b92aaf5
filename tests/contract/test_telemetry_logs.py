"""Log lines come in by OTLP, are kept once and without secrets, and are found by what they say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from cordboard.core.database import Database
from cordboard.telemetry.__main__ import start
from cordboard.telemetry.log_lines import MAX_FIELDS_BYTES
from cordboard.telemetry.log_store import LogSearch, LogStore
from cordboard.telemetry.settings import TelemetrySettings
from cordboard.telemetry.spans import DAY_NS
from cordboard.telemetry.store import SpanStore
from cordboard.telemetry.v1 import log_service_pb2 as pb
from cordboard.telemetry.v1.log_service_pb2_grpc import LogServiceStub
from tests.contract.test_telemetry_retention import HeldClock, retention
from tests.contract.test_telemetry_traces import refusal
from tests.fixtures.otlp import SECOND, a_value, an_attribute
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Served, Serving

CANARY = "s3cr3t-canary-value"
TRACE = b"\xcd" * 16
WARN, ERROR, INFO = 13, 17, 9


def a_line(event: object = "a call failed", *, severity: int = INFO, **fields: Any) -> LogRecord:
    """Makes a line of a second ago; `attributes` is a dict, other fields are OTLP's."""
    attributes = fields.pop("attributes", {})
    fields.setdefault("time_unix_nano", time.time_ns() - SECOND)
    record = LogRecord(body=a_value(event), severity_number=severity, **fields)  # type: ignore[arg-type]
    record.attributes.extend(an_attribute(key, value) for key, value in attributes.items())
    return record


def an_export(*records: LogRecord, service: str = "proxy", logger: str = "cordboard.core") -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    batch = request.resource_logs.add()
    batch.resource.attributes.append(an_attribute("service.name", service))
    scope = batch.scope_logs.add()
    scope.scope.name = logger
    scope.log_records.extend(records)
    return request


class Telemetry:
    """The running service, as processes and operators use it."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.logs = LogServiceStub(served.as_role("operator"))
        self._otlp = LogsServiceStub(served.channel("proxy"))  # type: ignore[no-untyped-call]

    async def send(self, export: ExportLogsServiceRequest) -> ExportLogsServiceResponse:
        answer: ExportLogsServiceResponse = await self._otlp.Export(export, timeout=30)
        return answer

    async def keep(self, *records: LogRecord, service: str = "proxy") -> None:
        answer = await self.send(an_export(*records, service=service))
        assert answer.partial_success.rejected_log_records == 0, answer

    async def lines(self, **conditions: Any) -> list[pb.LogLine]:
        """Returns all lines that fit, page by page."""
        found: list[pb.LogLine] = []
        token = ""
        while True:
            page = await self.logs.ListLogLines(pb.ListLogLinesRequest(page_token=token, **conditions), timeout=30)
            found += page.lines
            token = page.next_page_token
            if not token:
                return found

    async def events(self, **conditions: Any) -> list[str]:
        return [line.event for line in await self.lines(**conditions)]


@pytest.fixture
def stored(database: Databases) -> ServiceDatabase:
    return database("telemetry")


@pytest.fixture
async def telemetry(serving: Serving, stored: ServiceDatabase) -> AsyncIterator[Telemetry]:
    async with serving("telemetry", TelemetrySettings, start, database_url=stored.url) as served:
        yield Telemetry(served)


def at(nanoseconds: int) -> Timestamp:
    return Timestamp(seconds=nanoseconds // SECOND, nanos=nanoseconds % SECOND)


async def test_a_line_is_shown_with_all_that_it_says(telemetry: Telemetry) -> None:
    moment = time.time_ns() - 5 * SECOND
    line = a_line("call failed", severity=ERROR, time_unix_nano=moment, trace_id=TRACE, span_id=b"12345678")
    line.attributes.extend([an_attribute("code", "UNAVAILABLE"), an_attribute("attempts", 3)])
    await telemetry.keep(line, service="auth")
    [found] = await telemetry.lines()
    assert found == pb.LogLine(
        time=at(moment),
        service="auth",
        severity=pb.LogLine.SEVERITY_ERROR,
        event="call failed",
        logger="cordboard.core",
        trace=f"traces/{TRACE.hex()}",
        span_id=b"12345678".hex(),
        attributes={"code": "UNAVAILABLE", "attempts": "3"},
    )


async def test_a_line_that_comes_again_is_kept_once(telemetry: Telemetry) -> None:
    export = an_export(a_line("one"), a_line("two"))
    for _ in range(3):
        await telemetry.send(export)
    assert sorted(await telemetry.events()) == ["one", "two"]


async def test_lines_are_found_by_each_condition_and_by_all(telemetry: Telemetry) -> None:
    now = time.time_ns()
    await telemetry.keep(
        a_line("of the trace", trace_id=TRACE, attributes={"integration": "acme"}, time_unix_nano=now - 3 * SECOND),
        a_line("a warning", severity=WARN, time_unix_nano=now - 2 * SECOND),
        a_line("detail", severity=5, time_unix_nano=now - 90 * 60 * SECOND),
    )
    await telemetry.keep(a_line("an error", severity=ERROR, time_unix_nano=now - SECOND), service="flags")
    assert await telemetry.events() == ["an error", "a warning", "of the trace"]
    assert await telemetry.events(service="flags") == ["an error"]
    assert await telemetry.events(min_severity=pb.LogLine.SEVERITY_WARN) == ["an error", "a warning"]
    assert await telemetry.events(min_severity=pb.LogLine.SEVERITY_ERROR) == ["an error"]
    assert await telemetry.events(trace=f"traces/{TRACE.hex()}") == ["of the trace"]
    assert await telemetry.events(trace=f"traces/{'0a' * 16}") == []
    # Text is looked for in fields too, whatever its case; it has no wildcards.
    assert await telemetry.events(text="WARNING") == ["a warning"]
    assert await telemetry.events(text="acme") == ["of the trace"]
    assert await telemetry.events(text="%") == []
    assert await telemetry.events(start_time=at(now - 2 * 3600 * SECOND), end_time=at(now - 3600 * SECOND)) == [
        "detail"
    ]
    assert await telemetry.events(service="proxy", min_severity=pb.LogLine.SEVERITY_WARN, text="warn") == ["a warning"]


async def test_pages_hold_every_line_once_while_more_come(telemetry: Telemetry) -> None:
    moment = time.time_ns() - 10 * SECOND
    # Many of one moment: the place in the list is the moment and the line.
    await telemetry.keep(*(a_line(f"line {number}", time_unix_nano=moment + number // 10) for number in range(55)))
    first = await telemetry.logs.ListLogLines(pb.ListLogLinesRequest(page_size=20), timeout=30)
    await telemetry.keep(a_line("newer"))
    seen, token = [line.event for line in first.lines], first.next_page_token
    while token:
        page = await telemetry.logs.ListLogLines(pb.ListLogLinesRequest(page_size=20, page_token=token), timeout=30)
        seen += [line.event for line in page.lines]
        token = page.next_page_token
    assert sorted(seen) == sorted(f"line {number}" for number in range(55))


async def test_lines_of_a_trace_are_found_however_old_they_are(telemetry: Telemetry) -> None:
    old = a_line("long ago", trace_id=TRACE, time_unix_nano=time.time_ns() - 3 * DAY_NS)
    await telemetry.keep(old)
    assert await telemetry.events() == []
    assert await telemetry.events(trace=f"traces/{TRACE.hex()}") == ["long ago"]


async def test_no_secret_is_kept(telemetry: Telemetry, stored: ServiceDatabase) -> None:
    line = a_line(
        {"password": CANARY, "said": f"Bearer {CANARY}"},
        attributes={
            "authorization": CANARY,
            "url.full": f"https://u:{CANARY}@h/p?k={CANARY}",
            "nested": {"token": CANARY},
        },
    )
    await telemetry.keep(line, a_line(f"password={CANARY} marker"))
    connection = await asyncpg.connect(stored.superuser_url.replace("+asyncpg", ""))
    try:
        rows = str(await connection.fetch("SELECT row_to_json(l)::text FROM telemetry.log_line l"))
    finally:
        await connection.close()
    assert "marker" in rows
    assert CANARY not in rows


async def test_what_is_too_old_is_refused_and_the_rest_is_kept(telemetry: Telemetry) -> None:
    answer = await telemetry.send(
        an_export(a_line("kept"), a_line("old", time_unix_nano=1), a_line("ahead", time_unix_nano=(1 << 63) - 1))
    )
    assert answer.partial_success.rejected_log_records == 2
    assert "the time is older" in answer.partial_success.error_message
    assert await telemetry.events() == ["kept"]


async def test_a_line_without_a_time_is_of_now_and_odd_ids_are_none(telemetry: Telemetry) -> None:
    record = LogRecord(body=a_value("\0odd"), trace_id=b"short", span_id=b"x", severity_number=200)  # type: ignore[arg-type]
    await telemetry.keep(record)
    [found] = await telemetry.lines()
    assert (found.trace, found.span_id, found.severity) == ("", "", pb.LogLine.SEVERITY_FATAL)
    assert abs(found.time.ToNanoseconds() - time.time_ns()) < 60 * SECOND
    assert "odd" in found.event


async def test_a_line_is_bounded(telemetry: Telemetry) -> None:
    await telemetry.keep(
        a_line("x" * 50_000, attributes={f"key-{number:03}" * 20: "y" * 9000 for number in range(200)})
    )
    [found] = await telemetry.lines()
    assert len(found.event) < 5000
    assert 0 < sum(len(key) + len(value) for key, value in found.attributes.items()) <= MAX_FIELDS_BYTES


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"trace": "traces/x"}, "trace"),
        ({"trace": "x"}, "trace"),
        ({"text": "x" * 256}, "text"),
        ({"min_severity": 77}, "min_severity"),
        ({"page_size": -1}, "page_size"),
        ({"page_token": "x"}, "page_token"),
        ({"start_time": Timestamp(seconds=10), "end_time": Timestamp(seconds=10)}, "end_time"),
    ],
)
async def test_bad_input_names_its_field(telemetry: Telemetry, wrong: dict[str, Any], field: str) -> None:
    assert await refusal(telemetry.logs.ListLogLines(pb.ListLogLinesRequest(**wrong), timeout=30)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELDS",
        [field],
    )


async def test_only_operators_read_lines(telemetry: Telemetry) -> None:
    stub = LogServiceStub(telemetry.served.as_role("workspace-admin", workspace="acme"))
    code, _, _ = await refusal(stub.ListLogLines(pb.ListLogLinesRequest(), timeout=30))
    assert code is grpc.StatusCode.PERMISSION_DENIED


async def test_what_does_not_fit_is_shed_and_said(serving: Serving, stored: ServiceDatabase) -> None:
    async with serving(
        "telemetry", TelemetrySettings, start, database_url=stored.url, queue_max_bytes=65_536
    ) as served:
        running = Telemetry(served)
        blocker = await asyncpg.connect(stored.superuser_url.replace("+asyncpg", ""))
        try:
            await blocker.execute("BEGIN; LOCK TABLE telemetry.log_line IN ACCESS EXCLUSIVE MODE")
            exports = [an_export(*(a_line("x" * 4000 + str(number)) for number in range(10))) for _ in range(4)]
            sent = [asyncio.create_task(running.send(export)) for export in exports]
            done, waiting = await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED, timeout=60)
            error = next(iter(done)).exception()
            assert isinstance(error, grpc.aio.AioRpcError)
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        finally:
            await blocker.close()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert len(await running.events()) >= 10


async def test_days_of_lines_go_when_their_time_has_come(database: Databases) -> None:
    opened = Database(database("telemetry").url)
    try:
        logs = LogStore(opened)
        today = time.time_ns() // DAY_NS
        await logs.keep_days([today - 3, today - 2, today])
        await retention(SpanStore(opened), HeldClock(), days=2, max_bytes=1 << 40).keep()
        assert [day.number - today for day in await logs.days()] == [-2, 0, 1]
        # And the oldest go when all of them take too much; today stays.
        await retention(SpanStore(opened), HeldClock(), days=2, max_bytes=1).keep()
        assert [day.number - today for day in await logs.days()] == [0, 1]
        assert await logs.lines(LogSearch(0, 1 << 62), before=None, limit=5) == []
    finally:
        await opened.close()
