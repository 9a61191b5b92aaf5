"""Our encoding of spans against the library's: the same bytes, whatever stands in a span."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)

from cordboard.core import span_encoding
from cordboard.core.span_encoding import SpanEncoder
from cordboard.core.telemetry import SpanSender

STATE = TraceState([("vendor", "x")])
FAR = SpanContext(2**127 + 5, 2**63 + 7, is_remote=True, trace_flags=TraceFlags(1))
STATED = SpanContext(9, 8, is_remote=True, trace_flags=TraceFlags(1), trace_state=STATE)


class Made:
    """Spans that a tracer made."""

    def __init__(self, **given: Any) -> None:
        """Sets a tracer up."""
        self._kept = InMemorySpanExporter()
        self._provider = TracerProvider(resource=Resource.create({"service.name": "uqi"}), **given)
        self._provider.add_span_processor(SimpleSpanProcessor(self._kept))

    def tracer(self, name: str = "cordboard") -> Tracer:
        """A tracer whose spans are kept."""
        return self._provider.get_tracer(name)

    def spans(self) -> tuple[ReadableSpan, ...]:
        """What was kept."""
        return self._kept.get_finished_spans()

    def end(self) -> None:
        """Ends the provider."""
        self._provider.shutdown()


@pytest.fixture
def made() -> Iterator[Made]:
    """Spans without limits."""
    found = Made()
    yield found
    found.end()


def test_every_kind_of_span_is_encoded_as_the_library_does_it(made: Made) -> None:
    tracer = made.tracer()
    values: list[dict[str, Any]] = [
        {},
        {"text": "a", "blank": "", "long": "x" * 1000, "more": "ä\u2028"},
        {"yes": True, "no": False, "none": 0, "most": 2**63 - 1, "least": -(2**63), "part": -0.5},
        {"list": ["a", "b"], "numbers": [1, 2], "text": "a"},
        {"bytes": b"a"},
    ]
    for kind in SpanKind:
        for attributes in values:
            for parent in (None, FAR, STATED):
                context = None if parent is None else set_span_in_context(NonRecordingSpan(parent))
                tracer.start_span("made", context, kind=kind, attributes=attributes).end()
    for status in (Status(StatusCode.OK), Status(StatusCode.ERROR), Status(StatusCode.ERROR, "it broke")):
        told = tracer.start_span("told")
        told.set_status(status)
        told.end()
    event = tracer.start_span("event")
    event.add_event("happened", {"a": 1})
    event.end()
    tracer.start_span("linked", links=[Link(FAR, {"a": "b"})]).end()
    spans = made.spans()
    encoder = SpanEncoder()
    for each in spans:
        assert encoder.encode([each]) == encode_spans([each]), each.to_json()
    assert len(spans) == 5 * 5 * 3 + 5
    assert encoder.encode(spans) == encode_spans(spans)


def test_spans_of_several_scopes_stay_apart(made: Made) -> None:
    for name in ("one", "other", "one"):
        made.tracer(name).start_span(name).end()
    assert SpanEncoder().encode(made.spans()) == encode_spans(made.spans())


def test_what_was_dropped_is_counted() -> None:
    made = Made(span_limits=SpanLimits(max_attributes=1))
    made.tracer().start_span("full", attributes={"a": "1", "b": "2"}).end()
    (span,) = made.spans()
    made.end()
    assert span.dropped_attributes == 1
    assert SpanEncoder().encode([span]) == encode_spans([span])


def test_attributes_that_never_come_again_do_not_pile_up(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_encoding, "MOST_KEPT", 3)
    for number in range(10):
        made.tracer().start_span("made", attributes={"id": str(number), "method": "Get"}).end()
    encoder = SpanEncoder()
    assert encoder.encode(made.spans()) == encode_spans(made.spans())
    assert len(encoder._texts) <= 3


def test_the_exporter_asks_for_our_encoding() -> None:
    # The library says nowhere that this method may be replaced: a version without it must be noticed.
    assert "_translate_data" in vars(OTLPSpanExporter)
    assert "_translate_data" in vars(SpanSender)


def test_text_that_is_no_unicode_costs_its_attribute_and_no_other_span(made: Made) -> None:
    tracer = made.tracer()
    for attributes in ({"text": "a"}, {"half": "\ud800", "text": "b"}, {"text": "c"}):
        tracer.start_span("made", attributes=attributes).end()
    request = SpanEncoder().encode(made.spans())
    assert request == encode_spans(made.spans())
    assert [
        [item.value.string_value for item in span.attributes] for span in request.resource_spans[0].scope_spans[0].spans
    ] == [["a"], ["b"], ["c"]]
