"""Says, as a measure, in how many of an integration's actions the vendor does not do as the definition says."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cordboard.catalog.lifecycle import ACTIVE, STAGED
from cordboard.core.looked_up import LookedUpGauge
from cordboard.core.measures import MOST_SERIES, Reading

if TYPE_CHECKING:
    from cordboard.catalog.drift_store import DriftStore
    from cordboard.core.measures import Measures
    from cordboard.core.times import Clock

RECENT: Final = timedelta(days=1)
"""A sign that nobody has seen for so long does not stand for the vendor of today."""


class Drifting(LookedUpGauge):
    """Keeps the number of actions that drift, for the measures of the process."""

    def __init__(self, store: DriftStore, clock: Clock, measures: Measures) -> None:
        """Takes the tables, the time, and the measures of the process."""
        super().__init__(measures, "cordboard.drift.actions", "{action}", ("cordboard.integration",))
        self._store = store
        self._clock = clock

    async def readings(self) -> list[Reading]:
        """Counts. What drifts in a version that was deprecated is nobody's task any more: its successor is there."""
        since = self._clock.now() - RECENT
        found = await self._store.drifting(since=since, states=(STAGED, ACTIVE), limit=MOST_SERIES)
        return [Reading((slug,), float(actions)) for slug, actions in found.items()]
