"""Where a job's execution or an event's delivery comes from, as spans of other traces.

It is kept as one text: of a job the `traceparent` of the call that submitted it, and `attempt=` and `replayed=` with
those of its last failed attempt and of the call that took it out of the dead letters; of an event `taken=` with that of
the request or the poll that it came by.
"""

from __future__ import annotations

from typing import Final

from opentelemetry.trace import Link, get_current_span

from cordboard.core.telemetry import LINK, remote_context

SUBMITTED: Final = "submitted"
ATTEMPT: Final = "attempt"
REPLAYED: Final = "replayed"
TAKEN: Final = "taken"


def here() -> str:
    """Returns the W3C traceparent of the current span; empty outside of one."""
    context = get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def also(origins: str, kind: str, traceparent: str) -> str:
    """Returns the origins with one more, in place of an earlier one of its kind."""
    found = _by_kind(origins)
    if traceparent:
        found[kind] = traceparent
    return " ".join(each if name == SUBMITTED else f"{name}={each}" for name, each in found.items())


def first_trace(origins: str) -> str:
    """Returns the id of the trace that it began in, a job with its submission, an event with its intake."""
    found = _by_kind(origins)
    first = found.get(SUBMITTED) or found.get(TAKEN, "")
    # Of events that were kept before there is the id alone.
    return first.split("-")[1] if "-" in first else first


def links(origins: str) -> list[Link]:
    """Returns a link to each of the origins, which says what it is."""
    found = []
    for kind, traceparent in _by_kind(origins).items():
        context = get_current_span(remote_context({"traceparent": traceparent})).get_span_context()
        if context.is_valid:
            found.append(Link(context, {LINK: kind}))
    return found


def _by_kind(origins: str) -> dict[str, str]:
    found = {}
    for part in origins.split():
        kind, is_named, traceparent = part.rpartition("=")
        found[kind if is_named else SUBMITTED] = traceparent
    return found
