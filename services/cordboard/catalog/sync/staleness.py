"""How far edges are behind, for the figures of the hub."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import CordboardError
from cordboard.core.measures import Reading

if TYPE_CHECKING:
    from cordboard.catalog.sync.hub import Hub
    from cordboard.core.measures import Measures
    from cordboard.core.times import Clock

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 10.0
MOST_EDGES: Final = 1000


class Staleness:
    """Looks at the edges now and then, and tells how many seconds ago each was known to be up to date."""

    def __init__(self, hub: Hub, clock: Clock, measures: Measures) -> None:
        """Takes the hub and the measures of the process; `run` has to run."""
        self._hub = hub
        self._clock = clock
        self._readings: list[Reading] = []
        measures.gauge("cordboard.edge.staleness", "s", ("cordboard.edge",), lambda: self._readings)

    async def run(self) -> None:
        """Looks every ten seconds, for ever."""
        while True:
            try:
                await self.look()
            except CordboardError as error:
                self._readings = []
                logger.warning("the edges could not be looked at", extra={"problem": type(error).__name__})
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Reads the edges. One that was revoked has no staleness; one that never came is as old as its registration."""
        now = self._clock.now()
        self._readings = [
            Reading((edge.id,), max((now - (edge.fresh_time or edge.create_time)).total_seconds(), 0.0))
            for edge in await self._hub.edges(after="", limit=MOST_EDGES)
            if edge.revoke_time is None
        ]
