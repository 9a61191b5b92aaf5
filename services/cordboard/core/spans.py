"""Spans of OpenTelemetry's API at a third of what its SDK's own spans cost: every call makes several.

Processors, samplers, exporters, ids and resources are the SDK's. What is left out is what nobody here needs: locks (a
span belongs to one task), limits on the number of attributes, and a copy of each span when it ends.
"""

from __future__ import annotations

import contextlib
from time import time_ns
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan, SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.sdk.trace.sampling import Sampler

_PLAIN: Final = frozenset({str, bool, int, float})
_UNSET: Final = Status(StatusCode.UNSET)
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_UNSAMPLED: Final = TraceFlags(TraceFlags.DEFAULT)
_NO_STATE: Final = trace.TraceState()


class MeshSpan(trace.Span, ReadableSpan):
    """A span that is recorded; once it has ended it changes no more."""

    def __init__(
        self,
        name: str,
        own: SpanContext,
        processor: SpanProcessor,
        attributes: dict[str, Any],
        links: list[Link],
        **given: Any,
    ) -> None:
        """Takes the name, the ids, what is told of the end, and what a ReadableSpan takes."""
        self._own = own
        self._processor = processor
        # The base class reads the same three, and says of them that nobody changes them.
        self._told = attributes
        self._linked = links
        self._happened: list[Event] = []
        ReadableSpan.__init__(self, name, own, attributes=attributes, links=links, events=self._happened, **given)

    def get_span_context(self) -> SpanContext:
        """Returns the ids."""
        return self._own

    def is_recording(self) -> bool:
        """Tells whether it runs still."""
        return self._end_time is None

    def set_attribute(self, key: str, value: Any) -> None:
        """Sets one attribute."""
        if self._end_time is None:
            if type(value) in _PLAIN:
                self._told[key] = value
            else:
                # The library's rules for what is neither text nor a number.
                self._told.update(BoundedAttributes(attributes={key: value}))

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Sets several attributes."""
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None, timestamp: int | None = None) -> None:
        """Notes what happened, at a time in nanoseconds since 1970, or now."""
        if self._end_time is None:
            self._happened.append(Event(name, _cleaned(attributes) if attributes else None, timestamp))

    def add_link(self, context: SpanContext, attributes: Mapping[str, Any] | None = None) -> None:
        """Links another span."""
        if self._end_time is None and context.is_valid:
            self._linked.append(Link(context, _cleaned(attributes)))

    def update_name(self, name: str) -> None:
        """Changes the name."""
        if self._end_time is None:
            self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Sets the status; OK stays, and to unset one does nothing (OpenTelemetry's specification)."""
        given = status if isinstance(status, Status) else Status(status, description)
        if self._end_time is None and self._status.status_code is not StatusCode.OK:
            self._status = self._status if given.status_code is StatusCode.UNSET else given

    def record_exception(
        self,
        exception: BaseException,
        attributes: Mapping[str, Any] | None = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Notes an exception by its type: its text can quote what is secret."""
        told = {"exception.type": type(exception).__name__, "exception.escaped": str(escaped), **(attributes or {})}
        self.add_event("exception", told, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """Ends it, at a time in nanoseconds since 1970, or now."""
        if self._end_time is None:
            self._end_time = time_ns() if end_time is None else end_time
            self._processor.on_end(self)


class MeshTracer(trace.Tracer):
    """Opens spans."""

    def __init__(self, provider: MeshTracerProvider, scope: InstrumentationScope) -> None:
        """Takes whose sampler, ids and resource it uses, and what it says of itself."""
        self._sampler: Sampler = provider.sampler
        self._ids: IdGenerator = provider.id_generator
        self._resource: Resource = provider.resource
        self._processor = provider.processor
        self._scope = scope

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: ARG002 - the API's
        set_status_on_exception: bool = True,  # noqa: ARG002 - the API's
    ) -> trace.Span:
        """Opens a span below the current one, or below the one of `context`.

        Below a span of this process there is nothing to decide: it is recorded or not as that one is. Where a trace
        begins, or comes from another process, the sampler decides.
        """
        above = trace.get_current_span(context)
        parent: SpanContext | None = above.get_span_context()
        if parent is not None and isinstance(above, MeshSpan):
            trace_id, flags, state = parent.trace_id, parent.trace_flags, parent.trace_state
            given, records = _cleaned(attributes), True
        else:
            parent = parent if parent is not None and parent.is_valid else None
            trace_id = self._ids.generate_trace_id() if parent is None else parent.trace_id
            result = self._sampler.should_sample(context, trace_id, name, kind, attributes, links)
            flags = _SAMPLED if result.decision is Decision.RECORD_AND_SAMPLE else _UNSAMPLED
            if self._ids.is_trace_id_random() if parent is None else parent.trace_flags.random_trace_id:
                flags = TraceFlags(flags | TraceFlags.RANDOM_TRACE_ID)
            state = result.trace_state or _NO_STATE
            given, records = _cleaned(result.attributes), result.decision is not Decision.DROP
        own = SpanContext(trace_id, self._ids.generate_span_id(), is_remote=False, trace_flags=flags, trace_state=state)
        if not records:
            return trace.NonRecordingSpan(own)
        span = MeshSpan(
            name,
            own,
            self._processor,
            given,
            [link for link in links or () if link.context.is_valid],
            parent=parent,
            resource=self._resource,
            kind=kind,
            status=_UNSET,
            start_time=time_ns() if start_time is None else start_time,
            instrumentation_scope=self._scope,
        )
        self._processor.on_start(span, parent_context=context)  # type: ignore[arg-type] # the SDK's class, by its API
        return span

    @contextlib.contextmanager
    def start_as_current_span(  # type: ignore[override] # noqa: PLR0913, PLR0917 - the API's, but for decorating
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[trace.Span]:
        """Opens a span that is the current one in the block."""
        span = self.start_span(name, context, kind, attributes, links, start_time)
        token = otel_context.attach(trace.set_span_in_context(span))
        try:
            yield span
        except Exception as error:
            if record_exception:
                span.record_exception(error)
            if set_status_on_exception:
                span.set_status(StatusCode.ERROR)
            raise
        finally:
            otel_context.detach(token)
            if end_on_exit:
                span.end()


class MeshTracerProvider(TracerProvider):
    """Gives tracers whose spans are these."""

    def __init__(self, *, sampler: Sampler | None = None, resource: Resource | None = None) -> None:
        """Takes what decides where a trace begins, and who tells the spans; nothing is done at the process's exit."""
        self.processor = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call] # the library's
        super().__init__(
            sampler=sampler, resource=resource, shutdown_on_exit=False, active_span_processor=self.processor
        )

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> trace.Tracer:
        """Returns the tracer of a library."""
        scope = InstrumentationScope(instrumenting_module_name, instrumenting_library_version, schema_url, attributes)
        return MeshTracer(self, scope)


def _cleaned(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns attributes of our own: nobody else changes them."""
    if not attributes:
        return {}
    for value in attributes.values():
        if type(value) not in _PLAIN:
            return dict(BoundedAttributes(attributes=attributes))
    return dict(attributes)
