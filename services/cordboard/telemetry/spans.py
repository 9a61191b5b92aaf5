"""A span's three shapes: OTLP as it comes in, a row as it is kept, our Span as it goes out."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

import orjson
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp

from cordboard.core.telemetry import LINK
from cordboard.telemetry.redaction import MAX_ATTRIBUTES, as_text
from cordboard.telemetry.v1 import trace_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.proto.common.v1.common_pb2 import KeyValue
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource as OtlpResource

    from cordboard.telemetry.redaction import Redaction

NANOS: Final = 1_000_000_000
DAY_NS: Final = 86_400 * NANOS
UNKNOWN_SERVICE: Final = "unknown_service"
"""The service of a resource that names none (the OpenTelemetry resource convention's own word)."""
MAX_NAME: Final = 255


@dataclass(frozen=True)
class Window:
    """The times that a span may have, in nanoseconds since 1970: `first` belongs to it, `end` does not."""

    first: int
    end: int

    def holds(self, start: int, end: int) -> bool:
        """Tells whether a span from `start` to `end` lies in the window and does not end before it starts."""
        return self.first <= start <= end < self.end


class Resource(NamedTuple):
    """A sender of spans: one process of one service."""

    hash: UUID
    service: str
    attributes: str
    """JSON text of an object of texts."""


class LinkRow(NamedTuple):
    """A span of another trace that a span goes back to, and what it is to it."""

    trace_id: UUID
    span_id: int
    relation: str


class SpanRow(NamedTuple):
    """A span as it is kept. Times and durations are nanoseconds; ids are the bytes of the wire as numbers."""

    trace_id: UUID
    span_id: int
    parent_id: int | None
    start_ns: int
    duration_ns: int
    kind: int
    status: int
    resource: UUID
    service: str
    name: str
    attributes: str
    """JSON text of an object of texts."""
    body: bytes
    """The redacted OTLP span."""
    links: tuple[LinkRow, ...] = ()


@dataclass
class Refusals:
    """How much of an export was refused for which reason."""

    refused: Counter[str] = field(default_factory=Counter)

    @property
    def problem(self) -> str:
        """Returns what was refused and why, in words; empty when nothing was."""
        return ", ".join(f"{count} refused: {reason}" for reason, count in sorted(self.refused.items()))


@dataclass
class Harvest(Refusals):
    """What one export brought: rows to keep, their resources, and how many spans were refused for which reason."""

    rows: list[SpanRow] = field(default_factory=list)
    resources: dict[UUID, Resource] = field(default_factory=dict)


def harvest(batches: Iterable[otlp.ResourceSpans], window: Window, redaction: Redaction) -> Harvest:
    """Returns the rows of an export, redacted; spans with bad ids or times outside `window` are refused and counted."""
    result = Harvest()
    for batch in batches:
        resource = _resource(batch.resource, redaction)
        before = len(result.rows)
        for scope in batch.scope_spans:
            for span in scope.spans:
                reason = _refusal(span, window)
                if reason:
                    result.refused[reason] += 1
                else:
                    result.rows.append(_row(span, resource, redaction))
        if len(result.rows) > before:
            result.resources[resource.hash] = resource
    return result


def to_message(service: str, body: bytes) -> pb.Span:
    """Returns the span of the API for a kept one."""
    span = otlp.Span.FromString(body)
    return pb.Span(
        span_id=span.span_id.hex(),
        parent_span_id=_parent(span.parent_span_id).hex(),
        service=service,
        name=span.name,
        # The two enumerations of kinds have other numbers in other places.
        kind=_KINDS.get(span.kind, pb.Span.KIND_UNSPECIFIED),
        status=_STATUSES.get(span.status.code, pb.Span.STATUS_UNSPECIFIED),
        status_message=span.status.message,
        start_time=timestamp(span.start_time_unix_nano),
        duration=duration(span.end_time_unix_nano - span.start_time_unix_nano),
        attributes=texts(span.attributes),
        events=[
            pb.SpanEvent(name=event.name, time=timestamp(event.time_unix_nano), attributes=texts(event.attributes))
            for event in span.events
        ],
        links=map(_link_message, span.links),
    )


def span_id(number: int) -> str:
    """Returns a span's id as it is kept, in hex."""
    return number.to_bytes(8, "big", signed=True).hex()


def timestamp(nanoseconds: int) -> Timestamp:
    """Returns the protobuf form of nanoseconds since 1970, exact."""
    return Timestamp(seconds=nanoseconds // NANOS, nanos=nanoseconds % NANOS)


def duration(nanoseconds: int) -> Duration:
    """Returns the protobuf form of a count of nanoseconds, exact."""
    return Duration(seconds=nanoseconds // NANOS, nanos=nanoseconds % NANOS)


def nanoseconds(moment: Timestamp | Duration) -> int:
    """Returns the nanoseconds of a protobuf time or duration, exact."""
    return moment.seconds * NANOS + moment.nanos


def texts(attributes: Iterable[KeyValue]) -> dict[str, str]:
    """Returns attributes as texts; of two with one key the last counts."""
    return {attribute.key: as_text(attribute.value) for attribute in attributes}


_KINDS: Final = {
    otlp.Span.SPAN_KIND_INTERNAL: pb.Span.KIND_INTERNAL,
    otlp.Span.SPAN_KIND_SERVER: pb.Span.KIND_SERVER,
    otlp.Span.SPAN_KIND_CLIENT: pb.Span.KIND_CLIENT,
    otlp.Span.SPAN_KIND_PRODUCER: pb.Span.KIND_PRODUCER,
    otlp.Span.SPAN_KIND_CONSUMER: pb.Span.KIND_CONSUMER,
}
_STATUSES: Final = {
    otlp.Status.STATUS_CODE_OK: pb.Span.STATUS_OK,
    otlp.Status.STATUS_CODE_ERROR: pb.Span.STATUS_ERROR,
}


def _refusal(span: otlp.Span, window: Window) -> str:
    if len(span.trace_id) != 16 or not any(span.trace_id):
        return "trace_id is not 16 bytes, or all zero"
    if len(span.span_id) != 8 or not any(span.span_id):
        return "span_id is not 8 bytes, or all zero"
    if len(span.parent_span_id) not in {0, 8}:
        return "parent_span_id is not 8 bytes"
    if not window.holds(span.start_time_unix_nano, span.end_time_unix_nano):
        return "the time is older than the retention, in the future, or ends before it starts"
    return ""


def _resource(resource: OtlpResource, redaction: Redaction) -> Resource:
    attributes, _ = redaction.attributes(resource.attributes)
    service = attributes.get("service.name", "")[:MAX_NAME] or UNKNOWN_SERVICE
    text = orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS)
    return Resource(UUID(bytes=hashlib.sha256(text).digest()[:16]), service, text.decode())


def _row(span: otlp.Span, resource: Resource, redaction: Redaction) -> SpanRow:
    attributes = _clean(span, redaction)
    parent, start = _parent(span.parent_span_id), span.start_time_unix_nano
    return SpanRow(
        trace_id=UUID(bytes=span.trace_id),
        span_id=_number(span.span_id),
        parent_id=_number(parent) if parent else None,
        start_ns=start,
        duration_ns=span.end_time_unix_nano - start,
        kind=_KINDS.get(span.kind, pb.Span.KIND_UNSPECIFIED),
        status=_STATUSES.get(span.status.code, pb.Span.STATUS_UNSPECIFIED),
        resource=resource.hash,
        service=resource.service,
        name=span.name,
        attributes=orjson.dumps(attributes).decode(),
        body=span.SerializeToString(),
        links=tuple(map(_link, span.links)) if span.links else (),
    )


def _clean(span: otlp.Span, redaction: Redaction) -> dict[str, str]:
    # Fields that this build does not know cannot be searched for secrets.
    span.DiscardUnknownFields()
    span.name = redaction.text(span.name[:MAX_NAME])
    if span.trace_state:
        # Foreign vendors' data: nobody here reads it, and nobody vouches for what is in it.
        span.trace_state = ""
    attributes, dropped = redaction.attributes(span.attributes)
    if dropped:
        span.dropped_attributes_count = _added(span.dropped_attributes_count, dropped)
    if span.status.message:
        span.status.message = redaction.text(span.status.message)
    if span.events:
        _clean_events(span, redaction)
    if span.links:
        _clean_links(span, redaction)
    return attributes


def _link(link: otlp.Span.Link) -> LinkRow:
    relation = next((as_text(each.value) for each in link.attributes if each.key == LINK), "")
    return LinkRow(UUID(bytes=link.trace_id), _number(link.span_id), relation[:MAX_NAME])


def _link_message(link: otlp.Span.Link) -> pb.SpanLink:
    attributes = texts(link.attributes)
    return pb.SpanLink(
        trace=f"traces/{link.trace_id.hex()}",
        span_id=link.span_id.hex(),
        relation=attributes.pop(LINK, ""),
        attributes=attributes,
    )


def _clean_events(span: otlp.Span, redaction: Redaction) -> None:
    if len(span.events) > MAX_ATTRIBUTES:
        span.dropped_events_count = _added(span.dropped_events_count, len(span.events) - MAX_ATTRIBUTES)
        del span.events[MAX_ATTRIBUTES:]
    for event in span.events:
        event.name = redaction.text(event.name[:MAX_NAME])
        redaction.attributes(event.attributes)


def _clean_links(span: otlp.Span, redaction: Redaction) -> None:
    if len(span.links) > MAX_ATTRIBUTES:
        span.dropped_links_count = _added(span.dropped_links_count, len(span.links) - MAX_ATTRIBUTES)
        del span.links[MAX_ATTRIBUTES:]
    for index in reversed(range(len(span.links))):
        link = span.links[index]
        if len(link.trace_id) != 16 or len(link.span_id) != 8 or not any(link.trace_id):
            # It leads nowhere.
            del span.links[index]
            span.dropped_links_count = _added(span.dropped_links_count, 1)
            continue
        link.trace_state = ""
        redaction.attributes(link.attributes)


def _added(count: int, more: int) -> int:
    return min(count + more, 0xFFFF_FFFF)


def _parent(span_id: bytes) -> bytes:
    return span_id if any(span_id) else b""


def _number(span_id: bytes) -> int:
    return int.from_bytes(span_id, "big", signed=True)
