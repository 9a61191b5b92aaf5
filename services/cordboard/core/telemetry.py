"""Traces: the tracer, the spans of calls and statements, and the export by OTLP. Secrets have no way in.

An exception is recorded by its type and our reason, never by its text: driver and vendor texts quote values.
"""

from __future__ import annotations

import contextlib
import logging
import re
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

import grpc
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context, create_key
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cordboard.common.v1 import error_reason_pb2 as reasons
from cordboard.core.errors import CordboardError
from cordboard.core.renewed import TO_TELEMETRY, Renewed
from cordboard.core.span_encoding import SpanEncoder
from cordboard.core.spans import MeshTracerProvider

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.sdk.trace import ReadableSpan

    from cordboard.core.identity import Identity
    from cordboard.core.sampling import HeldSpans

logger = logging.getLogger(__name__)

WORKSPACE: Final = "cordboard.workspace"
INTEGRATION: Final = "cordboard.integration"
ACTION: Final = "cordboard.action"
CONNECTION: Final = "cordboard.connection"
BACKEND: Final = "cordboard.proxy.backend"
DEFINITION_VERSION: Final = "cordboard.definition.version"
FLAG: Final = "feature_flag.key"
VARIANT: Final = "feature_flag.result.variant"
REFRESH_PROBLEM: Final = "cordboard.refresh.problem"
REASON: Final = "cordboard.error.reason"
FLAG_REASON: Final = "feature_flag.result.reason"
KEPT: Final = "cordboard.kept"
"""Why the trace of this span is kept though it was not picked: `error` or `slow`."""
HELD: Final = "x-cordboard-trace", "held"
"""What a service sends with a call whose trace was not picked, and which is recorded all the same."""
LINK: Final = "cordboard.link"
"""What a linked span is to the one that links to it: `submitted`, `attempt`, `replayed`, `taken`."""
INSIDE: Final = create_key("cordboard-inside")
"""Where a context says, as InMesh, that it came from a service of the mesh, whose decision counts."""

propagator: Final = TraceContextTextMapPropagator()
_tracer: Final = trace.get_tracer("cordboard")
_PLAIN: Final = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_BEGINNING: Final = frozenset({SpanKind.SERVER, SpanKind.CONSUMER, SpanKind.PRODUCER})
_NO_STATE: Final = trace.TraceState()


def tracer() -> trace.Tracer:
    """Returns the mesh's tracer."""
    return _tracer


@contextlib.contextmanager
def span(name: str, kind: SpanKind = SpanKind.INTERNAL, **attributes: Any) -> Iterator[Span]:
    """Opens a span around the block; underscores in attribute names stand for dots (`cordboard_action`)."""
    named = {key.replace("_", "."): value for key, value in attributes.items()}
    opened = _tracer.start_span(name, kind=kind, attributes=named)
    token = otel_context.attach(trace.set_span_in_context(opened))
    try:
        yield opened
    except BaseException as error:
        mark_failed(opened, error)
        raise
    finally:
        otel_context.detach(token)
        opened.end()


def mark_failed(failed: Span, error: BaseException) -> None:
    """Writes an error into a span: its type and our reason, never its text."""
    if not failed.is_recording():
        return
    failed.set_attribute("error.type", type(error).__name__)
    if isinstance(error, CordboardError):
        failed.set_attribute(REASON, reasons.ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_"))
    failed.set_status(Status(StatusCode.ERROR))


def mark_decided(key: str, variant: str | None, reason: str) -> None:
    """Writes what a flag gave into the span of the call that asks for it; a reason is OpenFeature's, in capitals."""
    asking = trace.get_current_span()
    if asking.is_recording():
        asking.set_attributes({FLAG: key, VARIANT: variant or "", FLAG_REASON: reason.lower()})


def mark_asked(asking: Span, method: str, host: str | None, port: int | None) -> None:
    """Writes whom an HTTP request goes to into its span; no path, for a path can hold what a person typed in."""
    asking.set_attribute("http.request.method", method)
    asking.set_attribute("server.address", host or "")
    if port is not None:
        asking.set_attribute("server.port", port)


def mark_answered(asked: Span, status: int) -> None:
    """Writes an HTTP answer's status into the span of its request; from 400 on the request failed (HTTP semantics)."""
    asked.set_attribute("http.response.status_code", status)
    if status >= 400:
        asked.set_attribute("error.type", str(status))
        asked.set_status(Status(StatusCode.ERROR))


def statement_span(statement: str) -> Span | None:
    """Opens the span of a SQL statement inside a traced call; None outside one. Values are never in the text."""
    if not trace.get_current_span().is_recording():
        return None
    operation = statement.split(None, 1)[0].upper() if statement else "SQL"
    return _tracer.start_span(
        operation,
        kind=SpanKind.CLIENT,
        attributes={
            "db.system.name": "postgresql",
            "db.operation.name": operation,
            "db.query.text": statement[:1000],
        },
    )


def trace_id() -> str:
    """Returns the id of the current trace in hex, or an empty text."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else ""


def remote_context(carrier: Mapping[str, str]) -> Any:
    """Returns the W3C trace context that came with a call."""
    parent = carrier.get("traceparent", "")
    # Nearly all come in this form, Envoy's with an empty state; reading it with the library takes twice as long.
    if not carrier.get("tracestate") and _PLAIN.fullmatch(parent):
        trace_id, span_id = int(parent[3:35], 16), int(parent[36:52], 16)
        if trace_id and span_id:
            flags = trace.TraceFlags(int(parent[53:], 16))
            remote = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags, trace_state=_NO_STATE)
            return trace.set_span_in_context(trace.NonRecordingSpan(remote), Context())
    return propagator.extract(carrier)


class InMesh(Enum):
    """What a service of the mesh said of a trace: that its flag says all, or that its spans wait."""

    FLAGGED = auto()
    HELD = auto()


def begins_a_trace(name: str, kind: SpanKind | None) -> bool:
    """Tells whether a span without a parent begins a trace: a call or a message that comes in or goes out of itself."""
    return kind in _BEGINNING or name.startswith("job ")


class _Roots(Sampler):
    """Begins traces at calls that come in and at named jobs, and not at every statement of a background poll."""

    def should_sample(
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Any = None,
        links: Any = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        sampler = ALWAYS_ON if begins_a_trace(name, kind) else ALWAYS_OFF
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return "calls and jobs"


class SpanSender(OTLPSpanExporter):
    """Sends spans by OTLP, in our own encoding."""

    def __init__(self, address: str, credentials: grpc.ChannelCredentials) -> None:
        """Takes where Telemetry listens, and who we are."""
        super().__init__(
            endpoint=address,
            credentials=credentials,
            channel_options=TO_TELEMETRY,
            timeout=5,
        )
        self._encoder = SpanEncoder()

    def _translate_data(self, data: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        return self._encoder.encode(data)


class MeshSpanExporter(SpanExporter):
    """Exports by OTLP over the mesh's mutual TLS, with the certificate of the moment."""

    def __init__(self, address: str, identity: Identity) -> None:
        """Takes where Telemetry listens and who we are."""
        self._sender: Renewed[Sequence[ReadableSpan], SpanExportResult] = Renewed(
            identity, lambda credentials: SpanSender(address, credentials)
        )

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends spans."""
        return self._sender.export(spans)

    def shutdown(self) -> None:
        """Closes the channel."""
        self._sender.shutdown()

    def force_flush(self, timeout_millis: int = 5000) -> bool:
        """Has nothing to flush."""
        return self._sender.force_flush(timeout_millis)


def set_up(
    service: str, exporter: SpanExporter | None, *, sampler: Sampler | None = None, held: HeldSpans | None = None
) -> MeshTracerProvider:
    """Installs the process's tracer provider; spans go to `exporter`, or nowhere.

    Where not all traces are kept, `sampler` picks, and `held` has the spans of the others.
    """
    provider = MeshTracerProvider(
        resource=Resource.create({"service.name": service, "service.namespace": "cordboard"}),
        sampler=sampler or ParentBased(root=_Roots()),
    )
    if exporter is not None:
        sender = BatchSpanProcessor(
            exporter, max_queue_size=16384, schedule_delay_millis=500, max_export_batch_size=1024
        )
        provider.add_span_processor(sender)
        if held is not None:
            held.send_by(sender.on_end)
            provider.add_span_processor(held)
    trace.set_tracer_provider(provider)
    return provider
