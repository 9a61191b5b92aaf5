"""Two traces side by side: which steps take longer, which are new, and which are gone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cordboard.telemetry.v1 import trace_service_pb2 as pb

Path = tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """The spans of one place in the tree: how many, how long together, how many failed; of both traces."""

    path: Path
    spans: tuple[int, int]
    nanoseconds: tuple[int, int]
    errors: tuple[int, int]

    @property
    def change(self) -> int:
        """Returns how much longer the second trace took here, in nanoseconds of the spans' own time."""
        return self.nanoseconds[1] - self.nanoseconds[0]

    def plain(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return {
            "path": list(self.path),
            "spans": list(self.spans),
            "selfNanoseconds": list(self.nanoseconds),
            "errors": list(self.errors),
        }


def compare(first: pb.Trace, second: pb.Trace) -> list[Step]:
    """Returns the steps of both traces, the largest change first. Steps are the same that have the same ancestors."""
    left, right = _steps(first.spans), _steps(second.spans)
    found = []
    for path in {*left, *right}:
        (spans, nanoseconds, errors), (more_spans, more_nanoseconds, more_errors) = left[path], right[path]
        found.append(Step(path, (spans, more_spans), (nanoseconds, more_nanoseconds), (errors, more_errors)))
    return sorted(found, key=lambda step: (-abs(step.change), step.path))


def heaviest(spans: Iterable[pb.Span], most: int) -> Sequence[pb.Span]:
    """Returns the spans that the trace waited for longest, the heaviest first."""
    waited = [span for span in spans if span.critical_duration.ToNanoseconds()]
    return sorted(waited, key=lambda span: -span.critical_duration.ToNanoseconds())[:most]


def _steps(spans: Sequence[pb.Span]) -> defaultdict[Path, tuple[int, int, int]]:
    by_id = {span.span_id: span for span in spans}
    paths: dict[str, Path] = {}
    found: defaultdict[Path, tuple[int, int, int]] = defaultdict(lambda: (0, 0, 0))
    for span in spans:
        path = _path(span, by_id, paths)
        count, nanoseconds, errors = found[path]
        failed = span.status == pb.Span.STATUS_ERROR
        found[path] = count + 1, nanoseconds + span.self_duration.ToNanoseconds(), errors + failed
    return found


def _path(span: pb.Span, by_id: dict[str, pb.Span], paths: dict[str, Path]) -> Path:
    chain: list[pb.Span] = []
    seen: set[str] = set()
    at: pb.Span | None = span
    while at is not None and at.span_id not in paths and at.span_id not in seen:
        seen.add(at.span_id)
        chain.append(at)
        at = by_id.get(at.parent_span_id)
    path = paths.get(at.span_id, ()) if at is not None else ()
    for each in reversed(chain):
        path = (*path, f"{each.service} {each.name}")
        paths[each.span_id] = path
    return paths[span.span_id]
