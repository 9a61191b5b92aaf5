"""Traces as people ask for them: one with all its spans, and lists of those that have a span that fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID

from cordboard.core.errors import NotFound
from cordboard.telemetry.store import Hit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cordboard.telemetry.store import Dependency, Linking, Search, SpanStore, StoredSpan, Summary

MAX_SPANS: Final = 20_000
"""Spans of one answer: more than anybody reads, and less than the largest message."""
MAX_DEPENDENCIES: Final = 1000
MAX_LINKS: Final = 100
_MOST_HITS: Final = 1000
# A trace has a few spans that fit, as a rule: so many are asked for at once.
_HITS_OF_A_TRACE: Final = 5


@dataclass(frozen=True)
class WholeTrace:
    """A trace with its spans in order of start."""

    summary: Summary
    spans: Sequence[StoredSpan]
    linked_from: Sequence[Linking] = ()


@dataclass(frozen=True)
class Page:
    """Traces, newest first, and the last hit when there are more."""

    traces: Sequence[Summary]
    last: Hit | None


class TraceSource(Protocol):
    """Where traces are read from: Telemetry's own store, or a Jaeger."""

    async def trace(self, trace_id: UUID) -> WholeTrace:
        """Returns a trace; raises NotFound."""
        ...

    async def dependencies(self, first: int, end: int) -> Sequence[Dependency]:
        """Returns who called whom in the time, in nanoseconds, by caller and callee."""
        ...

    async def page(self, search: Search, *, before: Hit | None, size: int) -> Page:
        """Returns the next `size` traces that have a span that fits, newest first."""
        ...


class Traces:
    """Finds traces in the database."""

    def __init__(self, store: SpanStore) -> None:
        """Takes where the spans are."""
        self._store = store

    async def trace(self, trace_id: UUID) -> WholeTrace:
        """Returns a trace; raises NotFound."""
        summaries = await self._store.summaries([trace_id])
        if trace_id not in summaries:
            raise NotFound(f"traces/{trace_id.hex}")
        spans = await self._store.spans(trace_id, limit=MAX_SPANS)
        return WholeTrace(summaries[trace_id], spans, await self._store.linked_from(trace_id, limit=MAX_LINKS))

    async def dependencies(self, first: int, end: int) -> Sequence[Dependency]:
        """Returns who called whom in spans that began in the time, in nanoseconds."""
        return await self._store.dependencies(first, end, limit=MAX_DEPENDENCIES)

    async def page(self, search: Search, *, before: Hit | None, size: int) -> Page:
        """Returns the next `size` traces that have a span that fits.

        A trace stands where its newest span that fits stands: spans that come in late are older than that span as a
        rule (a parent ends after its children), so that a trace is on one page only.
        """
        found: dict[UUID, Hit] = {}
        passed: set[UUID] = set()
        cursor, step = before, min(_MOST_HITS, _HITS_OF_A_TRACE * (size + 1))
        while len(found) <= size:
            hits = await self._store.hits(search, before=cursor, limit=step)
            fresh = {hit.trace_id for hit in hits} - found.keys() - passed
            if before is not None and fresh:
                passed |= await self._store.shown(search, fresh, since=before)
            for hit in hits:
                if hit.trace_id not in passed:
                    found.setdefault(hit.trace_id, hit)
            if len(hits) < step:
                break
            cursor, step = hits[-1], _MOST_HITS
        wanted = list(found.values())[:size]
        summaries = await self._store.summaries([hit.trace_id for hit in wanted])
        # A day that was dropped between the two statements takes its traces with it.
        listed = [summaries[hit.trace_id] for hit in wanted if hit.trace_id in summaries]
        return Page(listed, wanted[-1] if len(found) > size else None)
