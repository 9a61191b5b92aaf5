"""Says, as a measure, in how many of an integration's actions the vendor does not do as the definition says."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cordboard.catalog.lifecycle import ACTIVE, STAGED
from cordboard.core.errors import CordboardError
from cordboard.core.measures import MOST_SERIES, Reading

if TYPE_CHECKING:
    from cordboard.catalog.drift_store import DriftStore
    from cordboard.core.measures import Measures
    from cordboard.core.times import Clock

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 10.0
RECENT: Final = timedelta(days=1)
"""A sign that nobody has seen for so long does not stand for the vendor of today."""


class Drifting:
    """Keeps the number of actions that drift, for the measures of the process."""

    def __init__(self, store: DriftStore, clock: Clock, measures: Measures) -> None:
        """Takes the tables, the time, and the measures of the process; `run` has to run."""
        self._store = store
        self._clock = clock
        self._readings: list[Reading] = []
        measures.gauge("cordboard.drift.actions", "{action}", ("cordboard.integration",), lambda: self._readings)

    async def run(self) -> None:
        """Looks every ten seconds, for ever."""
        while True:
            try:
                await self.look()
            except CordboardError as error:
                self._readings = []
                logger.warning("drift could not be counted", extra={"problem": type(error).__name__})
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Counts. What drifts in a version that was deprecated is nobody's task any more: its successor is there."""
        since = self._clock.now() - RECENT
        found = await self._store.drifting(since=since, states=(STAGED, ACTIVE), limit=MOST_SERIES)
        self._readings = [Reading((slug,), float(actions)) for slug, actions in found.items()]
