"""What a trace's time went into: each span's own time, and the part of it that the whole trace waited for."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from cordboard.telemetry.spans import duration, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cordboard.telemetry.v1 import trace_service_pb2 as pb


def explain(spans: Sequence[pb.Span]) -> None:
    """Writes the own and the critical time into the spans of one trace. A child counts while its parent runs."""
    ids = {span.span_id for span in spans}
    children: defaultdict[str, list[pb.Span]] = defaultdict(list)
    roots = []
    for span in spans:
        if span.parent_span_id in ids and span.parent_span_id != span.span_id:
            children[span.parent_span_id].append(span)
        else:
            roots.append(span)
    for group in children.values():
        group.sort(key=_end, reverse=True)
    for span in spans:
        span.self_duration.CopyFrom(duration(_own(span, children[span.span_id])))
    if roots:
        _walk(min(roots, key=lambda root: (bool(root.parent_span_id), _start(root))), children)


def _own(span: pb.Span, children: Sequence[pb.Span]) -> int:
    first, end, busy = _start(span), _end(span), 0
    # The latest end first: what begins before the cursor and ends after it is counted up to the cursor.
    cursor = end
    for child in children:
        until, since = min(_end(child), cursor), max(_start(child), first)
        if until > since:
            busy += until - since
            cursor = since
    return end - first - busy


def _walk(root: pb.Span, children: defaultdict[str, list[pb.Span]]) -> None:
    # A stack and no recursion: a chain of thousands of spans is a trace like any other.
    stack = [(root, _start(root), _end(root))]
    while stack:
        span, first, cursor = stack.pop()
        waited = 0
        for child in children[span.span_id]:
            until, since = min(_end(child), cursor), max(_start(child), first)
            if until <= since:
                continue
            waited += cursor - until
            stack.append((child, since, until))
            cursor = since
        waited += cursor - first
        span.critical_duration.CopyFrom(duration(waited))


def _start(span: pb.Span) -> int:
    return nanoseconds(span.start_time)


def _end(span: pb.Span) -> int:
    return nanoseconds(span.start_time) + nanoseconds(span.duration)
