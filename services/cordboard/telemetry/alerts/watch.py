"""Evaluates the rules, each at its time and by one replica, and keeps what becomes of the alerts."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import CordboardError
from cordboard.telemetry.alerts.alert import advance
from cordboard.telemetry.alerts.evidence import lead_of
from cordboard.telemetry.alerts.store import MAX_ALERTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cordboard.core.times import Clock
    from cordboard.telemetry.alerts.alert import Alert
    from cordboard.telemetry.alerts.evidence import Evidence
    from cordboard.telemetry.alerts.figures import Figures
    from cordboard.telemetry.alerts.rules import Rule
    from cordboard.telemetry.alerts.store import AlertStore

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 1.0
KEPT: Final = timedelta(days=7)
SWEEP_EVERY: Final = 3600.0


class Watch:
    """The one that evaluates in this process. However many there are, each turn of a rule is one's."""

    def __init__(
        self,
        store: AlertStore,
        figures: Figures,
        evidence: Evidence,
        clock: Clock,
        rules: Sequence[Rule],
        *,
        interval: float,
    ) -> None:
        """Takes the rules, and how many seconds are between two evaluations of one that says nothing else."""
        self._store = store
        self._figures = figures
        self._evidence = evidence
        self._clock = clock
        self._rules = {rule.name: rule for rule in rules}
        self._interval = interval

    async def turn(self) -> bool:
        """Evaluates a rule that is due; tells whether there was one."""
        now = self._clock.now()
        claimed: str | None = None
        try:
            async with self._store.database.shared() as connection:
                claimed = await self._store.claim(connection, list(self._rules), now)
                if claimed is None:
                    return False
                rule = self._rules[claimed]
                # The minute that runs belongs to it: its figures are as new as the last export.
                found = await rule.condition.breaches(self._figures, int(now.timestamp()) // 60 + 1)
                breaches = dict(sorted(found.items())[:MAX_ALERTS])
                result = advance(rule, await self._store.of_rule(connection, claimed), breaches, now)
                changed = [
                    await self._with_trace(one, now) if one.id in result.fired else one for one in result.changed
                ]
                await self._store.put(connection, changed)
                await self._store.forget(connection, result.gone)
                wait = timedelta(seconds=rule.interval or self._interval)
                await self._store.evaluated(connection, claimed, now, now + wait)
        except CordboardError as error:
            logger.warning("a rule was not evaluated", extra={"rule": claimed or "", "problem": type(error).__name__})
            if claimed is None:
                return False
            await self._store.postpone(claimed, now + timedelta(seconds=self._interval))
        return True

    async def run(self) -> None:
        """Evaluates for ever."""
        entered, swept = False, 0.0
        while True:
            try:
                if not entered:
                    await self._store.enter(list(self._rules), self._clock.now())
                    entered = True
                while await self.turn():
                    pass
                if self._clock.monotonic() - swept >= SWEEP_EVERY:
                    await self._store.sweep(self._clock.now() - KEPT)
                    swept = self._clock.monotonic()
            except CordboardError as error:
                logger.warning("alerts wait", extra={"problem": type(error).__name__})
            await asyncio.sleep(LOOK_EVERY)

    async def _with_trace(self, alert: Alert, now: datetime) -> Alert:
        return replace(alert, trace=await self._evidence.trace(lead_of(alert.labels, alert.rule), now))
