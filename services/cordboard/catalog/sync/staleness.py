"""How far edges are behind, for the figures of the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cordboard.core.looked_up import LookedUpGauge
from cordboard.core.measures import Reading

if TYPE_CHECKING:
    from cordboard.catalog.sync.hub import Hub
    from cordboard.core.measures import Measures
    from cordboard.core.times import Clock

MOST_EDGES: Final = 1000


class Staleness(LookedUpGauge):
    """Tells how many seconds ago each edge was known to be up to date."""

    def __init__(self, hub: Hub, clock: Clock, measures: Measures) -> None:
        """Takes the hub, the time, and the measures of the process."""
        super().__init__(measures, "cordboard.edge.staleness", "s", ("cordboard.edge",))
        self._hub = hub
        self._clock = clock

    async def readings(self) -> list[Reading]:
        """Reads the edges. One that was revoked has no staleness; one that never came is as old as its registration."""
        now = self._clock.now()
        return [
            Reading((edge.id,), max((now - (edge.fresh_time or edge.create_time)).total_seconds(), 0.0))
            for edge in await self._hub.edges(after="", limit=MOST_EDGES)
            if edge.revoke_time is None
        ]
