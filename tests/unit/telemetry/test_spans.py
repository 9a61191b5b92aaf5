from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp

from cordboard.telemetry.redaction import Redaction
from cordboard.telemetry.spans import UNKNOWN_SERVICE, Harvest, Window, harvest, to_message
from cordboard.telemetry.v1 import trace_service_pb2 as pb
from tests.fixtures.otlp import SECOND, a_span, an_attribute, an_export

EVER = Window(0, 1 << 62)
TRACE = bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736")


def harvested(*spans: otlp.Span, window: Window = EVER) -> Harvest:
    return harvest(an_export(*spans).resource_spans, window, Redaction())


def test_a_span_comes_back_as_it_was_sent() -> None:
    sent = a_span(
        "GET /tickets",
        trace_id=TRACE,
        span_id=bytes.fromhex("00f067aa0ba902b7"),
        parent_span_id=bytes.fromhex("ffffffffffffffff"),
        kind=otlp.Span.SPAN_KIND_CLIENT,
        status=otlp.Status.STATUS_CODE_ERROR,
        start=1_700_000_000_123_456_789,
        took=2 * SECOND + 7,
        attributes={
            "http.response.status_code": 503,
            "ratio": 0.5,
            "flag": False,
            "list": ["a", 1],
            "raw": b"\x00\xff",
        },
    )
    sent.status.message = "the vendor is down"
    sent.events.add(name="retry", time_unix_nano=1_700_000_000_200_000_000, attributes=[an_attribute("attempt", 2)])
    (row,) = harvested(sent).rows
    found = to_message(row.service, row.body)
    assert (found.span_id, found.parent_span_id) == ("00f067aa0ba902b7", "ffffffffffffffff")
    assert (found.service, found.name, found.status_message) == ("proxy", "GET /tickets", "the vendor is down")
    assert (found.kind, found.status) == (pb.Span.KIND_CLIENT, pb.Span.STATUS_ERROR)
    assert found.start_time.ToNanoseconds() == 1_700_000_000_123_456_789
    assert found.duration.ToNanoseconds() == 2 * SECOND + 7
    assert dict(found.attributes) == {
        "http.response.status_code": "503", "ratio": "0.5", "flag": "false", "list": '["a",1]', "raw": "AP8=",
    }  # fmt: skip
    assert found.events[0].name == "retry"
    assert found.events[0].time.ToNanoseconds() == 1_700_000_000_200_000_000
    assert dict(found.events[0].attributes) == {"attempt": "2"}


def test_a_row_has_what_is_searched_for() -> None:
    sent = a_span("Execute", trace_id=TRACE, status=2, took=5, attributes={"cordboard.workspace": "acme"})
    (row,) = harvested(sent).rows
    assert row.trace_id == UUID(bytes=TRACE)
    assert (row.parent_id, row.duration_ns, row.status) == (None, 5, 2)
    assert orjson.loads(row.attributes) == {"cordboard.workspace": "acme"}


@pytest.mark.parametrize("name", [kind for kind in otlp.Span.SpanKind.keys() if kind != "SPAN_KIND_UNSPECIFIED"])  # noqa: SIM118
def test_every_kind_keeps_its_meaning(name: str) -> None:
    (row,) = harvested(a_span(kind=otlp.Span.SpanKind.Value(name))).rows
    found = to_message(row.service, row.body).kind
    assert pb.Span.Kind.Name(found) == name.removeprefix("SPAN_")
    assert row.kind == found


@pytest.mark.parametrize("unknown", [0, 77])
def test_an_unknown_kind_or_status_is_unspecified(unknown: int) -> None:
    (row,) = harvested(a_span(kind=unknown, status=unknown)).rows
    found = to_message(row.service, row.body)
    assert (found.kind, found.status) == (pb.Span.KIND_UNSPECIFIED, pb.Span.STATUS_UNSPECIFIED)


@pytest.mark.parametrize(
    "wrong",
    [
        {"trace_id": b""}, {"trace_id": bytes(16)}, {"trace_id": b"x" * 15}, {"trace_id": b"x" * 17},
        {"span_id": b""}, {"span_id": bytes(8)}, {"span_id": b"x" * 9}, {"parent_span_id": b"x"},
        {"start": 99}, {"start": 200}, {"start": 150, "took": 50}, {"start": 150, "took": -1}, {"start": 0, "took": 0},
        {"start": (1 << 64) - 2, "took": 1},
    ],
)  # fmt: skip
def test_a_span_that_breaks_a_rule_is_refused_alone(wrong: dict[str, Any]) -> None:
    good = a_span(start=100, took=99)
    result = harvested(a_span(**{"start": 150, "took": 1} | wrong), good, window=Window(100, 200))
    assert [row.trace_id.bytes for row in result.rows] == [good.trace_id]
    assert sum(result.refused.values()) == 1
    assert result.problem.startswith("1 refused: ")


def test_a_parent_of_zeros_is_no_parent() -> None:
    (row,) = harvested(a_span(parent_span_id=bytes(8))).rows
    assert row.parent_id is None
    assert to_message(row.service, row.body).parent_span_id == ""


def test_a_resource_without_a_name_is_called_unknown() -> None:
    export = an_export(a_span())
    del export.resource_spans[0].resource.attributes[:]
    assert harvest(export.resource_spans, EVER, Redaction()).rows[0].service == UNKNOWN_SERVICE


def test_the_same_resource_has_the_same_hash_and_another_has_another() -> None:
    first, again, other = (
        harvest(an_export(a_span(), service_instance_id=instance).resource_spans, EVER, Redaction()).rows[0].resource
        for instance in ("one", "one", "two")
    )
    assert first == again != other


def test_nothing_unknown_is_kept_in_the_body() -> None:
    hidden = a_span().SerializeToString() + b"\xfa\x3f\x06canary"
    span = otlp.Span.FromString(hidden)
    assert b"canary" in span.SerializeToString()
    (row,) = harvested(span).rows
    assert b"canary" not in row.body


def test_too_many_events_and_links_are_dropped_and_counted() -> None:
    span = a_span()
    for _ in range(200):
        span.events.add(name="e")
        span.links.add(trace_id=TRACE, span_id=b"12345678")
    (row,) = harvested(span).rows
    kept = otlp.Span.FromString(row.body)
    assert (len(kept.events), kept.dropped_events_count) == (128, 72)
    assert (len(kept.links), kept.dropped_links_count) == (128, 72)
