"""Experiments: they begin with a flag as it is, count, and end; none of it changes who gets what."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cordboard.core.audit import Entry
from cordboard.core.errors import InvalidFields, NotFound, StateConflict
from cordboard.flags.experiments.figures import MISMATCH, Effect, Sums, effects, ratio_p_value
from cordboard.flags.experiments.plan import violations
from cordboard.flags.experiments.population import population_of
from cordboard.flags.experiments.running import divides
from cordboard.flags.experiments.store import ExperimentRecord

if TYPE_CHECKING:
    from cordboard.core.audit import Journal
    from cordboard.core.times import Clock
    from cordboard.flags.experiments.plan import Plan
    from cordboard.flags.experiments.running import RunningExperiments
    from cordboard.flags.experiments.store import ExperimentStore, Subject
    from cordboard.flags.flags import Cause, Flags


@dataclass(frozen=True)
class Results:
    """What came of an experiment so far."""

    subjects: tuple[int, ...]
    """By arm."""
    crossed: int
    ratio_p_value: float
    metrics: tuple[tuple[Effect, ...], ...]
    """By metric and arm."""

    @property
    def ratio_mismatch(self) -> bool:
        """Tells whether the workspaces are not divided as they should be, so that nothing can be said."""
        return self.ratio_p_value < MISMATCH


class Experiments:
    """Keeps experiments."""

    def __init__(
        self, store: ExperimentStore, flags: Flags, running: RunningExperiments, journal: Journal, clock: Clock
    ) -> None:
        """Takes where they are kept, the flags, those that run in this process, the audit journal and the time."""
        self._store = store
        self._flags = flags
        self._running = running
        self._journal = journal
        self._clock = clock

    async def start(self, key: str, plan: Plan, *, cause: Cause) -> ExperimentRecord:
        """Begins an experiment; raises InvalidFields, NotFound, AlreadyExists and StateConflict."""
        problems = list(violations(plan))
        if problems:
            raise InvalidFields(problems)
        reason = cause.of("start")
        flag = await self._flags.flag(plan.flag)
        if flag.killed:
            raise StateConflict(flag.name, "killed", f"{flag.name!r} is killed: it gives everybody the same")
        needed = await self._running.needed(flag)
        for each in needed.values():
            if each.killed:
                text = f"{flag.name!r} needs {each.name!r}, which is killed: it gives everybody the same"
                raise StateConflict(flag.name, "killed", text)
        population = population_of(plan.flag, flag.content, plan.rule, [each.content for each in needed.values()])
        plan = replace(plan, control=plan.control or flag.content.default_variant)
        if plan.control not in [arm.variant for arm in population.arms]:
            names = ", ".join(arm.variant for arm in population.arms)
            raise InvalidFields.one("experiment.control", f"must be one of {names}", "UNKNOWN_VARIANT")
        record = ExperimentRecord(key, plan, population, flag.revision, cause.actor, self._clock.now())
        async with self._store.change() as connection:
            await self._store.add(connection, record)
            details = {"flag": plan.flag, "revision": flag.revision, "reason": reason}
            await self._journal.append(connection, _entry("flags.experiment.start", record, details))
        await self._running.refresh()
        return record

    async def stop(self, key: str, *, cause: Cause) -> ExperimentRecord:
        """Ends an experiment; raises NotFound, InvalidFields without a reason, and StateConflict where it has ended."""
        if not cause.why.strip():
            raise InvalidFields.one("reason", "must say why", "REQUIRED")
        reason, now = cause.of("stop"), self._clock.now()
        record = await self.experiment(key)
        async with self._store.change() as connection:
            if not await self._store.stop(connection, key, now, cause.why):
                raise StateConflict(record.name, "stopped", f"{record.name!r} has ended already")
            await self._journal.append(connection, _entry("flags.experiment.stop", record, {"reason": reason}))
        await self._running.refresh()
        return replace(record, stop_time=now, stop_reason=cause.why)

    async def experiment(self, key: str) -> ExperimentRecord:
        """Returns the experiment; raises NotFound."""
        found = await self._store.experiment(key)
        if found is None:
            raise NotFound(f"experiments/{key}")
        return found

    async def experiments(self, *, after: str, limit: int) -> list[ExperimentRecord]:
        """Returns up to `limit` experiments with a key above `after`, in order of key."""
        return await self._store.experiments(after=after, limit=limit)

    async def waits(self, record: ExperimentRecord) -> bool:
        """Tells whether an experiment counts nobody, because its flag is not as it was."""
        flag = await self._flags.flag(record.plan.flag)
        return not divides(record, flag, await self._running.needed(flag))

    async def results(self, record: ExperimentRecord) -> Results:
        """Returns what came of an experiment so far."""
        crossed, counts, sums = await self._store.sums(record)
        plan, arms = record.plan, record.population.arms
        control = [arm.variant for arm in arms].index(plan.control)
        subjects = tuple(counts.get(arm.variant, 0) for arm in arms)
        found = (
            effects(
                [by_variant.get(arm.variant, Sums()) for arm in arms],
                control,
                metric,
                expected=plan.expected,
                false_alarms=plan.false_alarms,
            )
            for metric, by_variant in zip(plan.metrics, sums, strict=True)
        )
        p_value = ratio_p_value(subjects, [arm.weight for arm in arms])
        return Results(subjects, crossed, p_value, tuple(map(tuple, found)))

    async def subjects(self, key: str, *, after: str, limit: int) -> list[Subject]:
        """Returns up to `limit` workspaces of an experiment with an id above `after`; raises NotFound."""
        await self.experiment(key)
        return await self._store.subjects(key, after=after, limit=limit)


def _entry(action: str, record: ExperimentRecord, details: dict[str, object]) -> Entry:
    return Entry(action=action, resource=record.name, workspace="", outcome="ok", details=details)
