"""Rollouts: every stage is a revision of a flag, made by a person or by time."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cordboard.core.audit import Entry
from cordboard.core.errors import CordboardError, EtagMismatch, InvalidFields, NotFound, StateConflict, Violation
from cordboard.flags.content import violations as flag_violations
from cordboard.flags.flags import Cause
from cordboard.flags.rollouts.plan import content_at, violations
from cordboard.flags.rollouts.store import Lock, RolloutRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cordboard.core.audit import Journal
    from cordboard.core.times import Clock
    from cordboard.flags.flags import Flags
    from cordboard.flags.rollouts.comparison import Comparison
    from cordboard.flags.rollouts.plan import Plan
    from cordboard.flags.rollouts.store import RolloutStore
    from cordboard.flags.rollouts.targets import Targets
    from cordboard.flags.store import FlagChange

# Every rule of a stage that has segments has those of the audience.
_SEGMENTS: Final = re.compile(r"rules\[\d+\]\.segments")
logger = logging.getLogger(__name__)

# Seconds between two looks for stages that are due.
LOOK_EVERY: Final = 5.0
SCHEDULE: Final = "schedule"
GUARD: Final = "guard"
# What makes the guard forget, and compare from then on: what it knew was about something else.
ANEW: Final = frozenset({"put", "unlock"})


class Rollouts:
    """Keeps rollouts. Once a change returns, the flag's new revision is committed and evaluated here."""

    def __init__(
        self,
        store: RolloutStore,
        flags: Flags,
        journal: Journal,
        clock: Clock,
        *,
        tiers: Sequence[str],
        targets: Targets,
    ) -> None:
        """Takes where rollouts are kept, the flags that they write, the audit journal, the time, the order of tiers,
        the lowest first, and what knows what rollouts are about.
        """
        self._store = store
        self._flags = flags
        self._journal = journal
        self._clock = clock
        self._tiers = tiers
        self._targets = targets

    async def rollout(self, key: str) -> RolloutRecord:
        """Returns the rollout; raises NotFound."""
        return _existing(key, await self._store.rollout(key))

    async def rollouts(self, *, after: str, limit: int) -> list[RolloutRecord]:
        """Returns up to `limit` rollouts with a key above `after`, in order of key."""
        return await self._store.rollouts(after=after, limit=limit)

    async def put(self, key: str, plan: Plan, *, start_time: datetime | None, etag: str, cause: Cause) -> RolloutRecord:
        """Creates the rollout or replaces its plan; raises InvalidFields, EtagMismatch, StateConflict and
        DependencyUnavailable.
        """
        self._check(key, plan)
        await self._targets.check(key, plan.version)
        now = self._clock.now()
        async with self._flags.changing() as change:
            current = await self._store.current(change.connection, key)
            if etag and (current is None or current.etag != etag):
                raise EtagMismatch(f"rollouts/{key}")
            await self._check_exclusion(change, key, plan)
            if current is None:
                record = RolloutRecord(key, 1, plan, 0, start_time, None, start_time, "", now, now)
            else:
                _check_moving(current)
                stage = min(current.stage, len(plan.stages))
                record = self._next(replace(current, plan=plan, stage=stage, start_time=start_time))
                record = replace(record, next_time=_due(record))
            if record.stage == 0 and (start_time is None or start_time <= now):
                record = _at(record, 1, now)
            await self._publish(change, record, "put", cause)
        return record

    async def move(self, key: str, stage: int, *, cause: Cause) -> RolloutRecord:
        """Takes the rollout to a stage, 0 for none; raises NotFound, InvalidFields and StateConflict."""
        async with self._flags.changing() as change:
            current = _existing(key, await self._store.current(change.connection, key))
            _check_moving(current)
            if not 0 <= stage <= len(current.plan.stages):
                raise InvalidFields.one("stage", f"must be from 0 to {len(current.plan.stages)}", "OUT_OF_RANGE")
            record = _at(self._next(current), stage, self._clock.now())
            await self._publish(change, record, "move", cause)
        return record

    async def freeze(self, key: str, *, cause: Cause) -> RolloutRecord:
        """Stops the rollout where it is; raises NotFound, and InvalidFields without a reason."""
        if not cause.why.strip():
            raise InvalidFields.one("reason", "must say why", "REQUIRED")
        async with self._flags.changing() as change:
            current = _existing(key, await self._store.current(change.connection, key))
            record = replace(self._next(current), freeze_reason=cause.why, next_time=None)
            await self._publish(change, record, "freeze", cause)
        return record

    async def thaw(self, key: str, *, cause: Cause) -> RolloutRecord:
        """Ends a freeze; raises NotFound, and StateConflict where there is none."""
        async with self._flags.changing() as change:
            current = _existing(key, await self._store.current(change.connection, key))
            if not current.freeze_reason:
                raise StateConflict(current.name, "not-frozen", f"{current.name!r} is not frozen")
            record = replace(self._next(current), freeze_reason="")
            # A stage has to hold for its whole soak time while somebody looks.
            if record.lock is None:
                record = replace(record, next_time=_due(replace(record, stage_time=self._clock.now())))
            await self._publish(change, record, "thaw", cause)
        return record

    async def unlock(self, key: str, *, cause: Cause) -> RolloutRecord:
        """Lets a rollout that was taken back move again; raises NotFound, InvalidFields and StateConflict."""
        if not cause.why.strip():
            raise InvalidFields.one("reason", "must say why", "REQUIRED")
        async with self._flags.changing() as change:
            current = _existing(key, await self._store.current(change.connection, key))
            if current.lock is None:
                raise StateConflict(current.name, "not-locked", f"{current.name!r} is not locked")
            record = replace(self._next(current), lock=None)
            await self._publish(change, record, "unlock", cause)
        return record

    async def take_back(self, key: str, worse: str, comparison: Comparison) -> bool:
        """Takes a rollout from everybody and locks it; returns False where that is not to be done any more."""
        async with self._flags.changing() as change:
            current = await self._store.current(change.connection, key)
            if current is None or current.lock is not None or current.comparison is None:
                return False
            now = self._clock.now()
            record = replace(_at(self._next(current), 0, now), lock=Lock(worse, now, comparison), next_time=None)
            await self._publish(change, record, GUARD, Cause(GUARD, _evidence(worse, comparison), automatic=True))
        return True

    async def run(self) -> None:
        """Begins stages when their time has come, for ever."""
        while True:
            try:
                await self.begin_due()
            except CordboardError as error:
                logger.warning("no stage could begin", extra={"problem": type(error).__name__})
            await asyncio.sleep(LOOK_EVERY)

    async def begin_due(self) -> int:
        """Begins each stage whose time has come, and returns how many did. A killed flag's stages wait."""
        return sum([await self._begin(key) for key in await self._store.due(self._clock.now())])

    async def _begin(self, key: str) -> bool:
        if (await self._flags.flag(key)).killed:
            return False
        async with self._flags.changing() as change:
            current = _existing(key, await self._store.current(change.connection, key))
            now = self._clock.now()
            # Another replica may have been first.
            if current.next_time is None or current.next_time > now:
                return False
            record = _at(self._next(current), current.stage + 1, now)
            await self._publish(change, record, "begin", Cause(SCHEDULE, automatic=True))
        return True

    async def _publish(self, change: FlagChange, record: RolloutRecord, act: str, cause: Cause) -> None:
        stage = f"rollout {act}: stage {record.stage} of {len(record.plan.stages)}"
        content = content_at(record.key, record.plan, record.stage, self._tiers)
        # The stages to come are agreed to with the plan.
        planned = act == "put"
        try:
            flag = await self._flags.publish(change, record.key, content, cause, stage, planned=planned)
        except InvalidFields as error:
            raise InvalidFields([_of_rollout(each) for each in error.violations]) from None
        await self._store.write(change.connection, record)
        if act in ANEW or record.lock is not None:
            guarded = record.plan.guard is not None and record.lock is None
            await self._store.compare_anew(change.connection, record.key, flag.revision if guarded else None)
        details = {"stage": record.stage, "edition": record.edition, "revision": flag.revision, "reason": cause.why}
        entry = Entry(
            action=f"flags.rollout.{act}",
            resource=record.name,
            details=details,
            # Reports come from a Proxy, which has decided nothing.
            actor=GUARD if act == GUARD else "",
        )
        await self._journal.append(change.connection, entry)

    def _next(self, record: RolloutRecord) -> RolloutRecord:
        now = max(self._clock.now(), record.update_time)
        return replace(record, edition=record.edition + 1, update_time=now)

    def _check(self, key: str, plan: Plan) -> None:
        problems = list(violations(key, plan, self._tiers))
        if not problems:
            contents = [content_at(key, plan, stage, self._tiers) for stage in range(1, len(plan.stages) + 1)]
            found = {each.field: each for content in contents for each in flag_violations(key, content)}
            problems = [_of_rollout(each) for each in found.values()]
        if problems:
            raise InvalidFields(problems)

    async def _check_exclusion(self, change: FlagChange, key: str, plan: Plan) -> None:
        own = plan.exclusion
        if own is None:
            return
        for other in await self._store.all(change.connection):
            part = other.plan.exclusion
            if other.key == key or part is None or part.group != own.group:
                continue
            if part.begin < own.end and own.begin < part.end:
                text = f"its slice of {own.group!r} overlaps that of {other.name!r}"
                raise StateConflict(f"rollouts/{key}", "overlapping", text)


def _of_rollout(violation: Violation) -> Violation:
    kind, dot, rest = violation.field.partition(".")
    if kind != "flag":
        return violation
    return replace(violation, field=f"rollout{dot}{_SEGMENTS.sub('audience.segments', rest)}")


def _existing(key: str, record: RolloutRecord | None) -> RolloutRecord:
    if record is None:
        raise NotFound(f"rollouts/{key}")
    return record


def _evidence(worse: str, comparison: Comparison) -> str:
    test = comparison.failures if worse == "failures" else comparison.slowness
    return (
        f"{worse} of {test.new.rate:.1%} of {test.new.calls} calls, and of {test.old.rate:.1%} of {test.old.calls} "
        f"without it; evidence {test.evidence:.3g}"
    )


def _check_moving(record: RolloutRecord) -> None:
    if record.lock is not None:
        text = f"{record.name!r} was taken back for its {record.lock.reason}, and waits for somebody to unlock it"
        raise StateConflict(record.name, "locked", text)
    if record.freeze_reason:
        raise StateConflict(record.name, "frozen", f"{record.name!r} is frozen: {record.freeze_reason}")


def _at(record: RolloutRecord, stage: int, now: datetime) -> RolloutRecord:
    begun = replace(record, stage=stage, stage_time=now, next_time=None)
    # Who takes it back to nothing has stopped it: it does not begin again by itself.
    return replace(begun, next_time=_due(begun)) if stage else begun


def _due(record: RolloutRecord) -> datetime | None:
    """Returns when the next stage begins by itself, None for never."""
    if record.stage == 0:
        return record.start_time
    if record.stage >= len(record.plan.stages) or record.stage_time is None:
        return None
    soak = record.plan.stages[record.stage - 1].soak
    return record.stage_time + timedelta(seconds=soak) if soak else None
