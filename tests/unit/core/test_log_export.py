"""Log lines go by OTLP too: with their trace, scrubbed as lines are, and without anybody who logs waiting for it."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as pb
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import (
    LogsServiceServicer,
    add_LogsServiceServicer_to_server,
)
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, SeverityNumber
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cordboard.core import log_export, telemetry
from cordboard.core.identity import Identity
from cordboard.core.logs import scrubbed
from cordboard.core.secrets import Secret
from cordboard.core.server import Process
from cordboard.core.settings import Settings
from cordboard.local.certificates import Identities
from tests.fixtures import mesh
from tests.fixtures.serving import Serving, TokenMint

logger = logging.getLogger("cordboard.test.sent")
PATIENCE = 60.0
NOWHERE = "postgresql+asyncpg://nobody@127.0.0.1:1/nothing"


class Receiver(LogsServiceServicer):
    """Takes log lines, once it may."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.may.set()
        self.batches: list[ResourceLogs] = []

    def Export(self, request: pb.ExportLogsServiceRequest, _context: Any) -> pb.ExportLogsServiceResponse:
        assert self.may.wait(PATIENCE)
        self.batches.extend(request.resource_logs)
        return pb.ExportLogsServiceResponse()

    @property
    def records(self) -> list[LogRecord]:
        return [record for batch in self.batches for scope in batch.scope_logs for record in scope.log_records]


@pytest.fixture
def receiver(identities: Identities) -> Iterator[tuple[Receiver, str]]:
    """A real OTLP receiver over mutual TLS, with Telemetry's certificate, and its address."""
    folder, taking = identities.directory("telemetry"), Receiver()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    add_LogsServiceServicer_to_server(taking, server)  # type: ignore[no-untyped-call]
    credentials = grpc.ssl_server_credentials(
        [((folder / "tls.key").read_bytes(), (folder / "tls.crt").read_bytes())],
        root_certificates=(folder / "ca.crt").read_bytes(),
        require_client_auth=True,
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield taking, f"127.0.0.1:{port}"
    taking.may.set()
    server.stop(None).wait()


@pytest.fixture
def sending(receiver: tuple[Receiver, str], identities: Identities) -> Iterator[log_export.LogExport]:
    """The export of a Proxy's lines to that receiver."""
    identity = Identity(identities.directory("proxy"))
    level = logger.level
    logger.setLevel(logging.INFO)
    handler = log_export.send("proxy", log_export.MeshLogExporter(receiver[1], identity))
    yield handler
    handler.end()
    logger.setLevel(level)


def attributes(record: LogRecord) -> dict[str, Any]:
    """Returns a record's attributes of simple kinds."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value")
            for each in record.attributes}  # fmt: skip


async def until(condition: Callable[[], Any]) -> None:
    """Returns when something is so."""

    async def look() -> Any:
        return condition()

    await mesh.until(look, "what is sent", patience=PATIENCE)


async def test_a_line_is_sent_with_its_trace_its_fields_and_what_was_raised(
    receiver: tuple[Receiver, str], sending: log_export.LogExport, spans: InMemorySpanExporter
) -> None:
    taking, _ = receiver
    with telemetry.tracer().start_as_current_span("job a") as opened:
        context = opened.get_span_context()
        try:
            raise ValueError("of a value that nobody may read")
        except ValueError:
            logger.exception("it failed", extra={"method": "a.B/C", "tries": 3})
    await until(lambda: taking.records)
    [batch] = taking.batches
    assert {each.key: each.value.string_value for each in batch.resource.attributes}["service.name"] == "proxy"
    assert [scope.scope.name for scope in batch.scope_logs] == ["cordboard.test.sent"]
    [record] = taking.records
    assert (record.body.string_value, record.severity_number) == ("it failed", SeverityNumber.SEVERITY_NUMBER_ERROR)
    assert record.trace_id == context.trace_id.to_bytes(16, "big")
    assert record.span_id == context.span_id.to_bytes(8, "big")
    found = attributes(record)
    assert (found["method"], found["tries"], found["exception.type"]) == ("a.B/C", 3, "ValueError")
    assert "test_log_export.py" in found["exception.stacktrace"]
    assert b"nobody may read" not in record.SerializeToString()


async def test_no_secret_is_sent(
    receiver: tuple[Receiver, str], sending: log_export.LogExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking, _ = receiver
    token, other, word = TokenMint().token("operator"), secrets.token_hex(20), secrets.token_hex(20)

    def say() -> None:
        logger.info(
            "it said %s",
            f"Bearer {other}",
            extra={"url": f"https://a:{word}@b.test/?code={word}", "deep": [{"t": token}]},
        )
        logger.info("kept", extra={"sealed": Secret(word)})

    say()
    await until(lambda: len(taking.records) == 2)
    sent = b"".join(record.SerializeToString() for record in taking.records)
    assert [each for each in (token, other, word) if each.encode() in sent] == []
    # The control: without the scrubbing of lines all of it would be there.
    monkeypatch.setattr("cordboard.core.logs.scrubbed", lambda text: text)
    say()
    await until(lambda: len(taking.records) == 4)
    sent = b"".join(record.SerializeToString() for record in taking.records)
    assert [each for each in (token, other, word) if each.encode() not in sent] == []
    assert scrubbed(token) == "***"


async def test_nobody_waits_while_nothing_can_be_sent_and_what_waits_is_bounded(
    receiver: tuple[Receiver, str], sending: log_export.LogExport
) -> None:
    taking, _ = receiver
    taking.may.clear()
    count = 4 * log_export.MAX_WAITING
    for number in range(count):
        logger.info("line", extra={"number": number})
    logger.info("the last one")
    assert taking.records == []
    taking.may.set()
    await until(lambda: any(record.body.string_value == "the last one" for record in taking.records))
    # What was on its way when it stood still, and what fitted the queue.
    assert len(taking.records) <= 2 * log_export.MAX_WAITING


async def test_what_the_export_says_of_itself_is_not_sent(
    receiver: tuple[Receiver, str], sending: log_export.LogExport
) -> None:
    taking, _ = receiver
    logging.getLogger("opentelemetry.exporter").warning("it cannot be sent")
    logger.info("after it")
    await until(lambda: taking.records)
    assert [record.body.string_value for record in taking.records] == ["after it"]


async def nothing(_process: Process[Settings]) -> None:
    """Serves nothing but health."""


async def test_a_service_sends_its_lines_unless_it_is_told_not_to(
    receiver: tuple[Receiver, str], serving: Serving
) -> None:
    taking, address = receiver
    # The control comes first: one that was told not to sends none, and would have had as much time.
    async with serving("catalog", Settings, nothing, database_url=NOWHERE, telemetry_address=address, log_export=False):
        logger.warning("of one that was told not to")
    async with serving("proxy", Settings, nothing, database_url=NOWHERE, telemetry_address=address):
        logger.warning("of one that sends")
    # What waited was sent before the end.
    [line] = [record for record in taking.records if record.body.string_value.startswith("of one")]
    assert (line.body.string_value, line.severity_text) == ("of one that sends", "WARNING")
    named = {each.value.string_value for batch in taking.batches for each in batch.resource.attributes}
    assert "proxy" in named
    assert "catalog" not in named
    handlers = [each for each in logging.getLogger().handlers if isinstance(each, log_export.LogExport)]
    assert handlers == []
