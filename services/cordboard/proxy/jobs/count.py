"""How many dead letters wait, for the figures."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import CordboardError
from cordboard.core.measures import Reading
from cordboard.core.telemetry import INTEGRATION

if TYPE_CHECKING:
    from cordboard.core.measures import Measures
    from cordboard.proxy.jobs.store import JobStore

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 10.0
MOST: Final = 100_000


class DeadLetterCount:
    """Counts dead letters now and then, and tells how many each integration has; one that had some and has none, 0."""

    def __init__(self, store: JobStore, measures: Measures) -> None:
        """Takes the jobs and the measures of the process; `run` has to run."""
        self._store = store
        self._counts: dict[str, int] = {}
        measures.gauge("cordboard.dead_letters", "{letter}", (INTEGRATION,), self.readings)

    def readings(self) -> list[Reading]:
        """Returns the counts of the last look."""
        return [Reading((integration,), float(count)) for integration, count in self._counts.items()]

    async def run(self) -> None:
        """Looks every ten seconds, for ever."""
        while True:
            try:
                await self.look()
            except CordboardError as error:
                logger.warning("dead letters could not be counted", extra={"problem": type(error).__name__})
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Counts."""
        self._counts = dict.fromkeys(self._counts, 0) | await self._store.dead(most=MOST)
