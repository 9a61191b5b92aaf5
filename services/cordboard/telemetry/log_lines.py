"""A log line's three shapes: OTLP as it comes in, a row as it is kept, our LogLine as it goes out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

import orjson

from cordboard.telemetry.spans import MAX_NAME, UNKNOWN_SERVICE, Refusals, span_id, timestamp
from cordboard.telemetry.v1 import log_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry.proto.logs.v1 import logs_pb2 as otlp

    from cordboard.telemetry.redaction import Redaction
    from cordboard.telemetry.spans import Window

MAX_FIELDS_BYTES: Final = 16 * 1024
"""What the fields of one line take at most; longer values are cut, and what is too much all the same is left out."""
_WIDTHS: Final = (1024, 256, 64)
_MOST_WHEN_TOO_LONG: Final = 32
_OF_A_SEVERITY: Final = 4
"""OTLP has four numbers for each of its six severities."""


class LogRow(NamedTuple):
    """A log line as it is kept."""

    at_ns: int
    id: UUID
    """Made of all that it says."""
    service: str
    severity: int
    event: str
    logger: str
    trace_id: UUID | None
    span_id: int | None
    attributes: str
    """JSON text of an object of texts."""


@dataclass
class LogHarvest(Refusals):
    """What one export brought: rows to keep, and how many records were refused for which reason."""

    rows: list[LogRow] = field(default_factory=list)


def harvest_logs(batches: Iterable[otlp.ResourceLogs], window: Window, redaction: Redaction, *, now: int) -> LogHarvest:
    """Returns the rows of an export, redacted; records outside of `window` are refused and counted.

    A record that says no time was written when it was seen, or now (nanoseconds since 1970).
    """
    result = LogHarvest()
    for batch in batches:
        resource, _ = redaction.attributes(batch.resource.attributes)
        service = resource.get("service.name", "")[:MAX_NAME] or UNKNOWN_SERVICE
        for scope in batch.scope_logs:
            logger = redaction.text(scope.scope.name[:MAX_NAME])
            for record in scope.log_records:
                at = record.time_unix_nano or record.observed_time_unix_nano or now
                if window.holds(at, at):
                    result.rows.append(_row(record, at, service, logger, redaction))
                else:
                    result.refused["the time is older than the retention, or in the future"] += 1
    return result


def to_message(row: LogRow, attributes: Mapping[str, str]) -> pb.LogLine:
    """Returns the line of the API for a kept one."""
    return pb.LogLine(
        time=timestamp(row.at_ns),
        service=row.service,
        severity=row.severity,  # type: ignore[arg-type]
        event=row.event,
        logger=row.logger,
        trace=f"traces/{row.trace_id.hex}" if row.trace_id else "",
        span_id="" if row.span_id is None else span_id(row.span_id),
        attributes=attributes,
    )


def _row(record: otlp.LogRecord, at: int, service: str, logger: str, redaction: Redaction) -> LogRow:
    event = redaction.value(record.body)
    attributes, _ = redaction.attributes(record.attributes)
    # Ids of another length are none; the line is worth having all the same.
    trace = UUID(bytes=record.trace_id) if len(record.trace_id) == 16 and any(record.trace_id) else None
    span = int.from_bytes(record.span_id, "big", signed=True) if trace and len(record.span_id) == 8 else None
    severity = min(-(-record.severity_number // _OF_A_SEVERITY), pb.LogLine.SEVERITY_FATAL)
    fields = _fitted(attributes)
    identity = orjson.dumps([at, service, severity, event, logger, trace, span, fields])
    digest = UUID(bytes=hashlib.sha256(identity).digest()[:16])
    return LogRow(at, digest, service, max(0, severity), event, logger, trace, span or None, fields)


def _fitted(attributes: dict[str, str]) -> str:
    # After redaction: a cut can hide half a secret.
    text = orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS)
    for width in _WIDTHS:
        if len(text) <= MAX_FIELDS_BYTES:
            return text.decode()
        cut = {key: value if len(value) <= width else value[:width] + "…" for key, value in attributes.items()}
        text = orjson.dumps(cut, option=orjson.OPT_SORT_KEYS)
    if len(text) > MAX_FIELDS_BYTES:
        text = orjson.dumps(dict(sorted(cut.items())[:_MOST_WHEN_TOO_LONG]))
    return text.decode()
