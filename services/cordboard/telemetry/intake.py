"""The way of spans from an export to the database: a bounded queue, and a writer that commits many exports at once."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import CordboardError, LimitExceeded
from cordboard.core.measures import Reading

if TYPE_CHECKING:
    from cordboard.telemetry.spans import Harvest
    from cordboard.telemetry.store import SpanStore

logger = logging.getLogger(__name__)

GROUP_SPANS: Final = 4096
"""Spans of one transaction; an export that is larger still goes in one."""
RETRY_AFTER: Final = 1.0
"""Seconds that a sender is asked to wait when the queue is full."""


@dataclass(frozen=True)
class _Waiting:
    harvest: Harvest
    size: int
    done: asyncio.Future[None]


class Intake:
    """Takes spans and says so only after they are committed. What does not fit the queue is refused and counted."""

    def __init__(self, store: SpanStore, *, max_spans: int, max_bytes: int) -> None:
        """Takes the limits of what may wait: spans, and bytes of exports."""
        self._store = store
        self._max_spans = max_spans
        self._max_bytes = max_bytes
        self._queue: deque[_Waiting] = deque()
        self._spans = 0
        self._bytes = 0
        self._filled = asyncio.Event()
        self._shedding = False
        self.counts: Counter[str] = Counter()
        """Since the start: `stored`, `refused` and `shed` spans, and `failed` ones whose commit failed."""

    def readings(self) -> list[Reading]:
        """Returns the counts since the start, and as `waiting` how many spans wait now."""
        return [Reading((state,), float(count)) for state, count in [*self.counts.items(), ("waiting", self._spans)]]

    def check_room(self, spans: int, size: int) -> None:
        """Raises LimitExceeded when an export of so many spans and bytes does not fit now.

        An export that is larger than the whole queue fits an empty one: otherwise its sender would try for ever.
        """
        if self._queue and (self._spans + spans > self._max_spans or self._bytes + size > self._max_bytes):
            if not self._shedding:
                self._shedding = True
                logger.warning("the queue of spans is full: exports are refused until there is room")
            self.counts["shed"] += spans
            raise LimitExceeded("telemetry.queue", "telemetry", RETRY_AFTER, "too many spans wait to be stored")

    async def keep(self, harvest: Harvest, size: int) -> None:
        """Returns once the spans are committed; raises what kept them from it."""
        self.counts["refused"] += sum(harvest.refused.values())
        if not harvest.rows:
            return
        waiting = _Waiting(harvest, size, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._spans += len(harvest.rows)
        self._bytes += size
        self._filled.set()
        await waiting.done

    async def run(self) -> None:
        """Writes for ever what comes."""
        while True:
            await self._filled.wait()
            group = self._group()
            try:
                await self._write(group)
            finally:
                # Counted until here: what is being written is still in memory.
                self._spans -= sum(len(waiting.harvest.rows) for waiting in group)
                self._bytes -= sum(waiting.size for waiting in group)
                for waiting in group:
                    if not waiting.done.done():
                        waiting.done.cancel()
            if not self._queue:
                self._filled.clear()
                self._say_caught_up()

    def _say_caught_up(self) -> None:
        if self._shedding:
            self._shedding = False
            logger.info("all spans that waited are stored", extra={"shed": self.counts["shed"]})

    def _group(self) -> list[_Waiting]:
        group = [self._queue.popleft()]
        spans = len(group[0].harvest.rows)
        while self._queue and spans + len(self._queue[0].harvest.rows) <= GROUP_SPANS:
            group.append(self._queue.popleft())
            spans += len(group[-1].harvest.rows)
        return group

    async def _write(self, group: list[_Waiting]) -> None:
        try:
            await self._store.put(
                [row for waiting in group for row in waiting.harvest.rows],
                {key: resource for waiting in group for key, resource in waiting.harvest.resources.items()},
            )
        except CordboardError as error:
            self._fail(group, error)
        except Exception as error:
            # Whatever it is, it is the fault of some export of the group, and the others must not pay for it.
            if len(group) == 1:
                logger.exception("spans could not be stored")
                self._fail(group, error)
            else:
                for waiting in group:
                    await self._write([waiting])
        else:
            for waiting in group:
                self.counts["stored"] += len(waiting.harvest.rows)
                if not waiting.done.done():
                    waiting.done.set_result(None)

    def _fail(self, group: list[_Waiting], error: Exception) -> None:
        for waiting in group:
            self.counts["failed"] += len(waiting.harvest.rows)
            if not waiting.done.done():
                waiting.done.set_exception(error)
