"""States that processes tell of themselves: the newest reading of each gauge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cordboard.core.times import Clock
    from cordboard.telemetry.metric_store import MetricStore

RECENT_MINUTES: Final = 5


@dataclass(frozen=True)
class Reading:
    """A gauge's newest value, and between which values it was of late."""

    metric: str
    service: str
    attributes: Mapping[str, str]
    value: float
    lowest: float
    highest: float


class Readings:
    """Reads gauges."""

    def __init__(self, store: MetricStore, clock: Clock) -> None:
        """Takes where the metrics are, and the clock that says what is recent."""
        self._store = store
        self._clock = clock

    async def newest(self, metrics: Sequence[str]) -> list[Reading]:
        """Returns the readings of these gauges of the last five minutes."""
        now = int(self._clock.now().timestamp()) // 60
        return [
            Reading(each.metric, each.service, each.attributes, each.total, each.low, each.high)
            for each in await self._store.figures(
                sorted(set(metrics)), first=now - RECENT_MINUTES, end=now + 1, conditions={}
            )
            if not each.bounds
        ]
