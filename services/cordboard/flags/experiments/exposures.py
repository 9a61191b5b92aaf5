"""Who got which variant, and what became of it: written once for each workspace and variant, behind the answers."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cordboard.core.errors import CordboardError
from cordboard.core.flagging import DISABLED, ERROR
from cordboard.flags.evaluation import SERVICE_PEERS, context_of
from cordboard.flags.experiments.plan import BY_EVENT, Kind
from cordboard.flags.experiments.store import Exposure, Measured

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta

    from cordboard.core.caller import Caller
    from cordboard.core.times import Clock
    from cordboard.flags.evaluation import LiveFlags
    from cordboard.flags.experiments.running import Running, RunningExperiments
    from cordboard.flags.experiments.store import ExperimentStore

logger = logging.getLogger(__name__)

WRITE_EVERY: Final = 0.5
# What waits to be written at most; a workspace that finds no room comes again with its next evaluation.
MAX_WAITING: Final = 10_000


@dataclass(frozen=True)
class Event:
    """Something that happened to a workspace."""

    name: str
    value: float = 0.0


@dataclass(frozen=True)
class Calls:
    """What became of the calls that a variant led, of one workspace through one Proxy."""

    flag: str
    variant: str
    context: Mapping[str, str]
    calls: int
    failures: int
    milliseconds: float

    @property
    def workspace(self) -> str:
        """Returns whose calls they were; empty where that is not told."""
        return self.context.get("workspace", "")


class Exposures:
    """Takes what experiments are reckoned from."""

    def __init__(
        self,
        store: ExperimentStore,
        running: RunningExperiments,
        live: LiveFlags,
        clock: Clock,
        *,
        reporters_live: timedelta,
    ) -> None:
        """Takes where it is kept, which experiments run, the set that holds now, the time, and how long a silent Proxy
        is remembered.
        """
        self._store = store
        self._running = running
        self._live = live
        self._clock = clock
        self._reporters_live = reporters_live
        self._waiting: dict[tuple[str, str, str], Exposure] = {}
        self._writing = asyncio.Lock()

    def note(self, caller: Caller, flag: str, claimed: Mapping[str, Any]) -> None:
        """Notes what the flag gives to a caller. What somebody asks for others is no exposure, nor is a kill."""
        running = self._running.of(flag)
        if running is None or not caller.workspace or caller.is_operator or caller.peer in SERVICE_PEERS:
            return
        context = context_of(caller, claimed)
        flags = self._live.snapshot.flags
        decision = flags.evaluate(flag, context)
        variant = decision.variant
        if not variant or decision.reason in (DISABLED, ERROR):
            return
        if (caller.workspace, variant) in running.known or len(self._waiting) >= MAX_WAITING:
            return
        if running.has(context, variant, flags):
            self._add(running, caller.workspace, variant)

    async def write(self) -> None:
        """Writes what waits; raises DependencyUnavailable, and keeps it then."""
        async with self._writing:
            waiting = dict(self._waiting)
            if not waiting:
                return
            await self._store.expose(list(waiting.values()))
            for key in waiting:
                del self._waiting[key]
            for found in self._running.all():
                for exposure in waiting.values():
                    if exposure.experiment == found.record.key:
                        found.remember(exposure.workspace, exposure.variant)

    async def track(self, workspace: str, events: Sequence[Event]) -> int:
        """Adds events to what was measured of a workspace, and returns how many measurements they have changed."""
        measured: dict[str, list[Measured]] = {}
        for running in self._running.all():
            found = _of_events(running, events)
            if found and running.counts:
                measured[running.record.key] = found
        if not measured:
            return 0
        # Whoever has got its variant just now is in the experiment.
        await self.write()
        return await self._store.measure(workspace, measured)

    def wanted(self, flags: Iterable[str]) -> list[str]:
        """Returns those of the flags in whose calls an experiment is interested, in order."""
        return sorted(flag for flag in flags if self._running.of(flag) is not None)

    async def report(self, reporter: str, sequence: int, calls: Sequence[Calls]) -> None:
        """Adds what a Proxy tells of calls, once."""
        now = self._clock.now()
        exposures: dict[tuple[str, str, str], Exposure] = {}
        measured: defaultdict[tuple[str, str], list[Calls]] = defaultdict(list)
        flags = self._live.snapshot.flags
        for each in calls:
            running = self._running.of(each.flag)
            if running is None or not each.workspace or not running.has(each.context, each.variant, flags):
                continue
            key = running.record.key
            exposures[key, each.workspace, each.variant] = Exposure(key, each.workspace, each.variant, now)
            measured[key, each.workspace].append(each)
        if not exposures:
            return
        sums = {
            (key, workspace): found
            for (key, workspace), own in measured.items()
            if (found := _of_calls(self._metrics_of(own[0].flag), own))
        }
        forget = now - self._reporters_live
        await self._store.report(reporter, sequence, now, list(exposures.values()), sums, forget=forget)

    async def run(self) -> None:
        """Writes what waits, for ever."""
        while True:
            await asyncio.sleep(WRITE_EVERY)
            try:
                await self.write()
            except CordboardError as error:
                logger.warning("exposures could not be written", extra={"problem": type(error).__name__})

    def _add(self, running: Running, workspace: str, variant: str) -> None:
        key = running.record.key
        self._waiting.setdefault((key, workspace, variant), Exposure(key, workspace, variant, self._clock.now()))

    def _metrics_of(self, flag: str) -> Mapping[Kind, int]:
        running = self._running.of(flag)
        metrics = running.record.plan.metrics if running is not None else ()
        return {metric.kind: index for index, metric in enumerate(metrics) if metric.kind not in BY_EVENT}


def _of_events(running: Running, events: Sequence[Event]) -> list[Measured]:
    found = []
    for index, metric in enumerate(running.record.plan.metrics):
        values = [event.value for event in events if metric.kind in BY_EVENT and event.name == metric.event]
        if values:
            found.append(Measured(index, len(values), sum(values)))
    return found


def _of_calls(metrics: Mapping[Kind, int], calls: Sequence[Calls]) -> list[Measured]:
    count = sum(each.calls for each in calls)
    totals = {
        Kind.CALL_FAILURES: float(sum(each.failures for each in calls)),
        Kind.CALL_MILLISECONDS: sum(each.milliseconds for each in calls),
    }
    return [Measured(index, count, totals[kind]) for kind, index in metrics.items()]
