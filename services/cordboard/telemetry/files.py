"""A trace as a file: OTLP as JSON for other backends, trace events for Perfetto."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import orjson
from google.protobuf import json_format
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp

from cordboard.telemetry.spans import texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cordboard.telemetry.store import StoredSpan

# OTLP's JSON has ids in hex, where protobuf's JSON has base64.
_IDS = ("traceId", "spanId", "parentSpanId")


def as_otlp(spans: Sequence[StoredSpan]) -> bytes:
    """Returns the spans as OTLP in JSON, one resource for each service."""
    data = otlp.TracesData()
    batches: dict[str, otlp.ScopeSpans] = {}
    for span in spans:
        if span.service not in batches:
            batch = data.resource_spans.add()
            batch.resource.attributes.add(key="service.name").value.string_value = span.service
            batches[span.service] = batch.scope_spans.add()
        batches[span.service].spans.add().MergeFromString(span.body)
    found = json_format.MessageToDict(data, use_integers_for_enums=True)
    _write_ids(found)
    return orjson.dumps(found)


def as_perfetto(spans: Sequence[StoredSpan]) -> bytes:
    """Returns the spans as trace events: a process for each service, and lanes in it so that bars only nest."""
    events: list[dict[str, Any]] = []
    processes: dict[str, int] = {}
    lanes: dict[str, list[list[int]]] = {}
    for stored in spans:
        span = otlp.Span.FromString(stored.body)
        if stored.service not in processes:
            processes[stored.service] = len(processes) + 1
            named = {"name": "process_name", "ph": "M", "args": {"name": stored.service}}
            events.append({**named, "pid": processes[stored.service], "tid": 0})
        lane = _lane(lanes.setdefault(stored.service, []), span.start_time_unix_nano, span.end_time_unix_nano)
        place = {"pid": processes[stored.service], "tid": lane + 1, "cat": stored.service}
        events.append(
            {
                "name": span.name,
                "ph": "X",
                "ts": span.start_time_unix_nano / 1000,
                "dur": (span.end_time_unix_nano - span.start_time_unix_nano) / 1000,
                "args": {**texts(span.attributes), "span": span.span_id.hex(), "parent": span.parent_span_id.hex()},
                **place,
            }
        )
        events += [
            {"name": event.name, "ph": "i", "s": "t", "ts": event.time_unix_nano / 1000, **place}
            for event in span.events
        ]
    return orjson.dumps({"traceEvents": events, "displayTimeUnit": "ms"})


def _lane(lanes: list[list[int]], start: int, end: int) -> int:
    """Returns the first lane whose open bars all hold this one; `lanes` has the ends of open bars, outermost first."""
    for number, ends in enumerate(lanes):
        while ends and ends[-1] <= start:
            ends.pop()
        if not ends or end <= ends[-1]:
            ends.append(end)
            return number
    lanes.append([end])
    return len(lanes) - 1


def _write_ids(value: Any) -> None:
    if isinstance(value, list):
        for item in value:
            _write_ids(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in _IDS and isinstance(item, str):
                value[key] = base64.b64decode(item).hex()
            else:
                _write_ids(item)
