"""Our spans beside the library's: whatever is done with them, the same comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider, id_generator
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
    get_current_span,
    set_span_in_context,
)

from cordboard.core.spans import MeshTracerProvider

FAR = SpanContext(
    2**127 + 5, 2**63 + 7, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("v", "x")])
)
RANDOM = SpanContext(5, 7, is_remote=True, trace_flags=TraceFlags(3))
UNSAMPLED = SpanContext(5, 7, is_remote=True, trace_flags=TraceFlags(0))
RESOURCE = Resource.create({"service.name": "uqi"})


class Counting(IdGenerator):
    """Ids that come again in the next run."""

    def __init__(self) -> None:
        """Begins at one."""
        self._next = count(1)

    def generate_span_id(self) -> int:
        """The next."""
        return next(self._next)

    def generate_trace_id(self) -> int:
        """The next."""
        return next(self._next)

    def is_trace_id_random(self) -> bool:
        """Says that they are, as those of real spans are."""
        return True


def ours() -> TracerProvider:
    """A provider of our spans."""
    return MeshTracerProvider(resource=RESOURCE)


def theirs() -> TracerProvider:
    """A provider of the library's spans."""
    return TracerProvider(resource=RESOURCE, shutdown_on_exit=False)


def run(make: Callable[[], TracerProvider], script: Callable[[Tracer], Any]) -> tuple[ReadableSpan, ...]:
    """Returns the spans of what a script does with a tracer."""
    kept = InMemorySpanExporter()
    provider = make()
    provider.id_generator = Counting()  # type: ignore[assignment] # the library's own type is too narrow
    provider.add_span_processor(SimpleSpanProcessor(kept))
    script(provider.get_tracer("cordboard", "1", "https://schema", {"a": "b"}))
    return kept.get_finished_spans()


def encoded(spans: tuple[ReadableSpan, ...]) -> ExportTraceServiceRequest:
    """Returns spans as they are sent. Attributes have no order: the library moves one that is set again to the end."""
    request = encode_spans(spans)
    for span in request.resource_spans[0].scope_spans[0].spans:
        span.attributes.sort(key=lambda each: each.key)
    return request


def below(context: SpanContext) -> Any:
    """A context with a span of elsewhere."""
    return set_span_in_context(NonRecordingSpan(context))


def attributes(tracer: Tracer) -> None:
    """Sets attributes of every kind, good ones and bad ones."""
    bad: dict[Any, Any] = {"none": None, "mixed": [1, "a"], "nested": {"a": [1]}}
    span = tracer.start_span("at once", attributes={"a": "1", "list": ["a", "b"], "raw": b"abc", **bad}, start_time=1)
    span.set_attribute("text", "ä\u2028")
    span.set_attribute("yes", True)
    span.set_attribute("part", -0.5)
    span.set_attribute("many", (1, 2))
    span.set_attributes({"a": "2", "more": 2**63 - 1, **bad})
    span.end(2)
    tracer.start_span("none", start_time=1, attributes=None).end(3)


def events_and_links(tracer: Tracer) -> None:
    """Notes events, and links."""
    span = tracer.start_span("told", links=[Link(FAR, {"a": "b"}), Link(INVALID_SPAN.get_span_context())], start_time=1)
    span.add_event("began", timestamp=5)
    span.add_event("asked", {"n": 1, "list": ["a"]}, 6)
    span.add_link(RANDOM, {"why": "again"})
    span.add_link(INVALID_SPAN.get_span_context())
    span.update_name("named anew")
    span.end(9)


def statuses(tracer: Tracer) -> None:
    """Sets statuses, one over the other."""
    told: list[list[Any]] = [
        [StatusCode.ERROR],
        [StatusCode.OK, StatusCode.ERROR],
        [StatusCode.ERROR, StatusCode.UNSET],
        [Status(StatusCode.ERROR, "it broke")],
        [StatusCode.ERROR, StatusCode.OK],
    ]
    for number, each in enumerate(told):
        span = tracer.start_span(str(number), start_time=1)
        for status in each:
            span.set_status(status)
        span.end(2)


def families(tracer: Tracer) -> None:
    """Opens spans below others, of every kind."""
    for kind in SpanKind:
        for parent in (FAR, RANDOM, UNSAMPLED):
            span = tracer.start_span("child", below(parent), kind=kind, start_time=1)
            tracer.start_span("grandchild", set_span_in_context(span), start_time=1).end(2)
            span.end(2)
    with tracer.start_as_current_span("outer", start_time=1, end_on_exit=False) as outer:
        assert get_current_span() is outer
        tracer.start_span("inner", start_time=2).end(3)
        outer.end(4)
    assert get_current_span() is INVALID_SPAN


def ended(tracer: Tracer) -> None:
    """Does everything to a span that has ended."""
    span = tracer.start_span("over", start_time=1)
    span.end(2)
    span.set_attribute("late", "1")
    span.set_attributes({"later": "1"})
    span.add_event("late", timestamp=3)
    span.add_link(FAR)
    span.update_name("late")
    span.set_status(StatusCode.ERROR)
    span.end(3)
    assert not span.is_recording()


@pytest.mark.parametrize("script", [attributes, events_and_links, statuses, families, ended])
def test_what_comes_out_is_what_the_library_makes(script: Callable[[Tracer], None]) -> None:
    mine, other = encoded(run(ours, script)), encoded(run(theirs, script))
    assert mine == other
    assert mine.resource_spans


def test_a_sampler_that_says_no_is_heard_where_a_trace_begins_and_nothing_is_recorded_below() -> None:
    found: list[Span] = []

    def script(tracer: Tracer) -> None:
        with tracer.start_as_current_span("root") as root:
            found.extend([root, tracer.start_span("child")])
        found.append(tracer.start_span("of elsewhere", below(FAR)))

    spans = run(lambda: MeshTracerProvider(sampler=ParentBased(root=ALWAYS_OFF), resource=RESOURCE), script)
    assert spans == ()
    root, child, far = found
    assert [each.is_recording() for each in found] == [False, False, True]
    assert child.get_span_context().trace_id == root.get_span_context().trace_id
    assert not child.get_span_context().trace_flags.sampled
    assert far.get_span_context().trace_id == FAR.trace_id


def test_an_exception_is_noted_by_its_type_and_never_by_its_text() -> None:
    def script(tracer: Tracer) -> None:
        with pytest.raises(ValueError, match="secret"), tracer.start_as_current_span("broken"):
            raise ValueError("a secret")

    (span,) = run(ours, script)
    assert span.status.status_code is StatusCode.ERROR
    assert [(event.name, dict(event.attributes or {})) for event in span.events] == [
        ("exception", {"exception.type": "ValueError", "exception.escaped": "False"})
    ]
    assert "secret" not in str(span.to_json())
    # The library's own span shows what this guards against.
    assert "secret" in str(run(theirs, script)[0].to_json())


@pytest.fixture(autouse=True)
def _nothing_is_current() -> Iterator[None]:
    assert get_current_span() is INVALID_SPAN
    yield
    assert get_current_span() is INVALID_SPAN


def test_ids_are_the_generators_of_the_library() -> None:
    assert isinstance(MeshTracerProvider().id_generator, id_generator.RandomIdGenerator)
