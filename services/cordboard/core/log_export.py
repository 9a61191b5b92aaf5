"""The export of log lines by OTLP, beside standard output: the same words and fields, scrubbed in the same way."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.resources import Resource

from cordboard.core.logs import fields, fitted
from cordboard.core.renewed import TO_TELEMETRY, Renewed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk._logs import ReadableLogRecord

    from cordboard.core.identity import Identity

MAX_WAITING: Final = 4096
"""Lines that may wait to be sent; of more, the oldest are let go. Standard output has them all the same."""
_BATCH: Final = 512
_EVERY_MS: Final = 1000.0
_SENT_AS: Final = {"level", "time", "service", "event", "trace_id", "logger", "error"}


class MeshLogExporter(LogRecordExporter):
    """Exports by OTLP over the mesh's mutual TLS, with the certificate of the moment."""

    def __init__(self, address: str, identity: Identity) -> None:
        """Takes where it is sent and who we are."""
        self._sender: Renewed[Sequence[ReadableLogRecord], LogRecordExportResult] = Renewed(
            identity,
            lambda credentials: OTLPLogExporter(
                endpoint=address, credentials=credentials, channel_options=TO_TELEMETRY, timeout=5
            ),
        )

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Sends lines."""
        return self._sender.export(batch)

    def shutdown(self) -> None:
        """Closes the channel."""
        self._sender.shutdown()

    def force_flush(self, timeout_millis: int = 5000) -> bool:
        """Has nothing to flush."""
        return self._sender.force_flush(timeout_millis)


class LogExport(logging.Handler):
    """Sends what is logged, from a thread of its own: whoever logs waits for nothing."""

    def __init__(self, service: str, exporter: LogRecordExporter) -> None:
        """Takes the service's name, and what sends."""
        super().__init__()
        self._service = service
        resource = Resource.create({"service.name": service, "service.namespace": "cordboard"})
        self._provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_log_record_processor(
            BatchLogRecordProcessor(
                exporter,
                schedule_delay_millis=_EVERY_MS,
                max_export_batch_size=_BATCH,
                max_queue_size=MAX_WAITING,
            )
        )
        # What the export has to say of itself would have it say more.
        self.addFilter(lambda record: not record.name.startswith("opentelemetry"))

    def emit(self, record: logging.LogRecord) -> None:
        """Has a record sent with the next ones."""
        try:
            self._emit(record)
        except Exception:
            self.handleError(record)

    def end(self) -> None:
        """Sends what waits, and takes no more."""
        logging.getLogger().removeHandler(self)
        self._provider.shutdown()

    def _emit(self, record: logging.LogRecord) -> None:
        line = fitted(fields(record, self._service))
        context = trace.get_current_span().get_span_context()
        moment = int(record.created * 1_000_000_000)
        self._provider.get_logger(record.name).emit(
            LogRecord(
                timestamp=moment,
                observed_timestamp=moment,
                trace_id=context.trace_id if context.is_valid else None,
                span_id=context.span_id if context.is_valid else None,
                trace_flags=context.trace_flags if context.is_valid else None,
                severity_text=record.levelname,
                severity_number=_severity(record.levelno),
                body=line["event"],
                attributes=_attributes(line),
            )
        )


def send(service: str, exporter: LogRecordExporter) -> LogExport:
    """Has every log line of the process sent, too; returns what ends that."""
    handler = LogExport(service, exporter)
    logging.getLogger().addHandler(handler)
    return handler


def _severity(level: int) -> SeverityNumber:
    for floor, number in (
        (logging.CRITICAL, SeverityNumber.FATAL),
        (logging.ERROR, SeverityNumber.ERROR),
        (logging.WARNING, SeverityNumber.WARN),
        (logging.INFO, SeverityNumber.INFO),
    ):
        if level >= floor:
            return number
    return SeverityNumber.DEBUG


def _attributes(line: dict[str, Any]) -> dict[str, Any]:
    """Returns a line's fields under the names of the semantic conventions, where they have one."""
    found = {key: value for key, value in line.items() if key not in _SENT_AS and value is not None}
    error = line.get("error")
    if isinstance(error, dict):
        found["exception.type"] = error["type"]
        found["exception.stacktrace"] = "\n".join(error["at"])
        found |= {f"error.{key}": error[key] for key in ("cause", "sqlstate") if key in error}
    elif error is not None:
        # It was too long, and is a text now.
        found["error"] = error
    return found
