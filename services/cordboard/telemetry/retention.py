"""How long spans, log lines and figures stay: which days there are partitions for, and which ones go."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import CordboardError
from cordboard.telemetry.spans import DAY_NS, NANOS, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cordboard.core.times import Clock
    from cordboard.telemetry.by_day import ByDay, Day
    from cordboard.telemetry.log_store import LogStore
    from cordboard.telemetry.metric_store import MetricStore
    from cordboard.telemetry.store import SpanStore

logger = logging.getLogger(__name__)

EVERY_SECONDS: Final = 600.0
AHEAD_DAYS: Final = 1
"""Days of the future that are there already, and that a clock may be ahead by."""


class Retention:
    """Keeps the last `days` days, and fewer when they take more than `max_bytes`; today always stays."""

    def __init__(  # one keyword for each thing that is bounded
        self,
        store: SpanStore,
        metrics: MetricStore,
        logs: LogStore,
        clock: Clock,
        *,
        days: int,
        max_bytes: int,
        log_max_bytes: int,
        usage_days: int,
    ) -> None:
        """Takes how many days of spans, lines and minutes before today to keep, how much disk spans and lines may
        take, indexes included, and how many days of hourly figures to keep.
        """
        self._store = store
        self._metrics = metrics
        self._logs = logs
        self._log_max_bytes = log_max_bytes
        self._usage_days = usage_days
        self._clock = clock
        self._days = days
        self._max_bytes = max_bytes

    def window(self) -> Window:
        """Returns the times of spans and lines that are taken now."""
        today = self._today()
        return Window((today - self._days) * DAY_NS, (today + AHEAD_DAYS + 1) * DAY_NS)

    async def keep(self) -> None:
        """Makes the partitions of today and the next days, and drops the days that go."""
        today = self._today()
        await self._keep_days(self._store, today, self._max_bytes, "dropped a day of spans")
        await self._store.drop_resources(before=today - self._days)
        await self._store.drop_links(before=today - self._days)
        await self._keep_days(self._logs, today, self._log_max_bytes, "dropped a day of log lines")
        await self._metrics.keep_days(range(today, today + AHEAD_DAYS + 1))
        dropped = await self._metrics.drop(
            minutes_before=today - self._days, hours_before=today - max(self._days, self._usage_days)
        )
        if dropped:
            logger.info("dropped figures", extra={"partitions": dropped})

    async def _keep_days(self, store: ByDay, today: int, max_bytes: int, dropped: str) -> None:
        await store.keep_days(range(today, today + AHEAD_DAYS + 1))
        for day in expired(await store.days(), today=today, days=self._days, max_bytes=max_bytes):
            await store.drop_day(day.number)
            logger.info(dropped, extra={"day": day.number, "bytes": day.bytes})

    async def run(self) -> None:
        """Does so now and every ten minutes, for ever."""
        while True:
            try:
                await self.keep()
            except CordboardError as error:
                # Spans of a day without a partition make it themselves: what waits is only the dropping.
                logger.warning("the days of spans and lines could not be kept in order", extra={"problem": error.text})
            await asyncio.sleep(EVERY_SECONDS)

    def _today(self) -> int:
        return int(self._clock.now().timestamp()) * NANOS // DAY_NS


def expired(present: Sequence[Day], *, today: int, days: int, max_bytes: int) -> list[Day]:
    """Returns the days to drop, oldest first: those before the kept ones, then the oldest while all take too much."""
    total = sum(day.bytes for day in present)
    doomed = []
    for day in sorted(present, key=lambda one: one.number):
        if day.number >= today or (day.number >= today - days and total <= max_bytes):
            break
        doomed.append(day)
        total -= day.bytes
    return doomed
