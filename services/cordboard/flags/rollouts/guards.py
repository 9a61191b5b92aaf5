"""Guards: what the Proxies see of both variants is gathered here, and takes a rollout back that is worse."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import InvalidFields
from cordboard.flags.content import WHOLE
from cordboard.flags.rollouts.comparison import Arm, Bars, Comparison
from cordboard.flags.rollouts.plan import OFF, ON

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from cordboard.core.times import Clock
    from cordboard.flags.rollouts.plan import Guard
    from cordboard.flags.rollouts.rollouts import Rollouts
    from cordboard.flags.rollouts.store import RolloutStore

logger = logging.getLogger(__name__)

FAILURES: Final = "failures"
SLOWNESS: Final = "slowness"
# How the chance of a false alarm is divided between what is compared.
FOR_FAILURES: Final = 0.95
_REPORTER: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True)
class Stratum:
    """Calls that are alike in everything but the variant."""

    key: str
    revision: int
    arms: Mapping[str, Arm]


@dataclass(frozen=True)
class Report:
    """What a Proxy has seen since its last report."""

    reporter: str
    sequence: int
    strata: Sequence[Stratum]


def bars(guard: Guard) -> Bars:
    """Returns how strong the evidence has to be for a guard."""
    alarms = guard.false_alarms / WHOLE
    return Bars(1 / (FOR_FAILURES * alarms), 1 / ((1 - FOR_FAILURES) * alarms))


def verdict(comparison: Comparison, guard: Guard) -> str:
    """Returns what is worse in the new variant, with certainty enough and by enough to matter; empty: nothing."""
    for name, test, bar, least in (
        (FAILURES, comparison.failures, bars(guard).failures, guard.failures),
        (SLOWNESS, comparison.slowness, bars(guard).slowness, guard.slowness),
    ):
        if test.evidence >= bar and test.new.rate - test.old.rate >= least / WHOLE:
            return name
    return ""


class Guards:
    """Takes reports."""

    def __init__(self, store: RolloutStore, rollouts: Rollouts, clock: Clock, *, reporters_live: timedelta) -> None:
        """Takes where comparisons are kept, what is taken back, and how long a silent reporter is remembered."""
        self._store = store
        self._rollouts = rollouts
        self._clock = clock
        self._reporters_live = reporters_live

    async def take(self, report: Report) -> None:
        """Counts a report, once, and takes back the rollouts that it shows to be worse; raises InvalidFields."""
        if not _REPORTER.fullmatch(report.reporter):
            raise InvalidFields.one("reporter", "must be 1 to 64 letters, digits and hyphens")
        if report.sequence < 1:
            raise InvalidFields.one("sequence", "must be at least 1", "OUT_OF_RANGE")
        for key, (comparison, guard) in (await self._counted(report)).items():
            worse = verdict(comparison, guard)
            # What is not taken back now, as while the database is away, is by the next report.
            if worse and await self._rollouts.take_back(key, worse, comparison):
                logger.warning("a rollout was taken back by its guard", extra={"rollout": key, "worse": worse})

    async def _counted(self, report: Report) -> dict[str, tuple[Comparison, Guard]]:
        now = self._clock.now()
        changed: dict[str, tuple[Comparison, Guard]] = {}
        async with self._store.reporting() as change:
            # Most reports are of rollouts without a guard: they write nothing.
            keys = await change.guarded({stratum.key for stratum in report.strata})
            forget = now - self._reporters_live
            if not keys or not await change.is_new(report.reporter, report.sequence, now, forget=forget):
                return {}
            # In one order, because two reports that lock the same rows by turns would wait for each other.
            for key in keys:
                trial = await change.trial(key)
                if trial is None:
                    continue
                comparison, asked = trial.comparison, bars(trial.guard)
                for stratum in report.strata:
                    if stratum.key == key and stratum.revision >= trial.revision:
                        new, old = stratum.arms.get(ON, Arm()), stratum.arms.get(OFF, Arm())
                        comparison = comparison.taking(new, old, asked)
                if comparison is not trial.comparison:
                    await change.keep(key, comparison)
                    changed[key] = comparison, trial.guard
        return changed
