"""Keeps rollouts beside the flags that they write; decides nothing."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from cordboard.flags.rollouts.comparison import Comparison
from cordboard.flags.rollouts.plan import Guard, Plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

_metadata = sa.MetaData()
_rollout = sa.Table(
    "rollout",
    _metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("edition", sa.BigInteger),
    sa.Column("plan", sa.JSON),
    sa.Column("stage", sa.Integer),
    sa.Column("start_time", sa.DateTime(timezone=True)),
    sa.Column("stage_time", sa.DateTime(timezone=True)),
    sa.Column("next_time", sa.DateTime(timezone=True)),
    sa.Column("freeze_reason", sa.Text),
    sa.Column("lock", sa.JSON(none_as_null=True)),
    sa.Column("create_time", sa.DateTime(timezone=True)),
    sa.Column("update_time", sa.DateTime(timezone=True)),
)
_trial = sa.Table(
    "rollout_trial",
    _metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("revision", sa.BigInteger),
    sa.Column("comparison", sa.JSON),
)
_reporter = sa.Table(
    "outcome_reporter",
    _metadata,
    sa.Column("reporter", sa.Text, primary_key=True),
    sa.Column("sequence", sa.BigInteger),
    sa.Column("report_time", sa.DateTime(timezone=True)),
)
_whole = sa.select(_rollout, _trial.c.comparison).select_from(
    _rollout.outerjoin(_trial, _rollout.c.key == _trial.c.key)
)


@dataclass(frozen=True)
class Lock:
    """Why a guard took a rollout back."""

    reason: str
    time: datetime
    comparison: Comparison

    def to_json(self) -> dict[str, Any]:
        """Returns the lock as JSON, for keeping."""
        return {"reason": self.reason, "time": self.time.isoformat(), "comparison": self.comparison.to_json()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Lock:
        """Returns the lock that `to_json` wrote."""
        time = datetime.fromisoformat(document["time"])
        return cls(document["reason"], time, Comparison.from_json(document["comparison"]))


@dataclass(frozen=True)
class RolloutRecord:
    """A rollout as it is."""

    key: str
    edition: int
    """Grows by one with each change."""
    plan: Plan
    stage: int
    """Counted from 1; 0 before it has begun."""
    start_time: datetime | None
    stage_time: datetime | None
    next_time: datetime | None
    """When the next stage begins by itself."""
    freeze_reason: str
    create_time: datetime
    update_time: datetime
    lock: Lock | None = None
    """Why it was taken back and may not move."""
    comparison: Comparison | None = None
    """What its guard knows; it is kept apart, and not written with the rest."""

    @property
    def name(self) -> str:
        """Returns the resource name."""
        return f"rollouts/{self.key}"

    @property
    def etag(self) -> str:
        """Returns the tag of this edition."""
        return hashlib.sha256(f"{self.name}/{self.edition}/{self.create_time}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Trial:
    """What is known of a guarded rollout since a revision of its flag."""

    revision: int
    comparison: Comparison
    guard: Guard


class Reporting:
    """One transaction that counts a report."""

    def __init__(self, connection: AsyncConnection) -> None:
        """Takes the transaction."""
        self._connection = connection

    async def is_new(self, reporter: str, sequence: int, now: datetime, *, forget: datetime) -> bool:
        """Tells whether the report was not counted before, and has it count as counted.

        Reporters that were silent since `forget` are forgotten.
        """
        values = {"reporter": reporter, "sequence": sequence, "report_time": now}
        insert = postgresql.insert(_reporter).values(values)
        statement = insert.on_conflict_do_update(
            index_elements=[_reporter.c.reporter], set_=values, where=_reporter.c.sequence < sequence
        )
        done = await self._connection.execute(statement.returning(_reporter.c.sequence))
        if done.one_or_none() is None:
            return False
        if sequence == 1:
            await self._connection.execute(sa.delete(_reporter).where(_reporter.c.report_time < forget))
        return True

    async def guarded(self, keys: Iterable[str]) -> list[str]:
        """Returns those of the rollouts that have a guard which is not locked, in order of key."""
        statement = sa.select(_trial.c.key).where(_trial.c.key.in_(list(keys))).order_by(_trial.c.key)
        return list((await self._connection.execute(statement)).scalars())

    async def trial(self, key: str) -> Trial | None:
        """Returns what is known of a rollout, which waits for this transaction; None where it has no guard."""
        both = _trial.join(_rollout, _rollout.c.key == _trial.c.key)
        statement = sa.select(_trial, _rollout.c.plan).select_from(both).where(_trial.c.key == key)
        row = (await self._connection.execute(statement.with_for_update(of=_trial))).one_or_none()
        if row is None:
            return None
        guard = Plan.from_json(row.plan).guard
        return None if guard is None else Trial(row.revision, Comparison.from_json(row.comparison), guard)

    async def keep(self, key: str, comparison: Comparison) -> None:
        """Writes what is known now."""
        values = {"comparison": comparison.to_json()}
        await self._connection.execute(sa.update(_trial).where(_trial.c.key == key).values(values))


class RolloutStore:
    """Keeps rollouts. What changes one is inside of a change of flags, so that there is one at a time."""

    def __init__(self, database: Database) -> None:
        """Takes the database of the service."""
        self._database = database

    async def rollout(self, key: str) -> RolloutRecord | None:
        """Returns the rollout, or None when there is none."""
        async with self._database.shared() as connection:
            return await self.current(connection, key)

    async def rollouts(self, *, after: str, limit: int) -> list[RolloutRecord]:
        """Returns up to `limit` rollouts with a key above `after`, in order of key."""
        statement = _whole.where(_rollout.c.key > after).order_by(_rollout.c.key).limit(limit)
        async with self._database.shared() as connection:
            return [_record(row) for row in await connection.execute(statement)]

    async def due(self, now: datetime) -> list[str]:
        """Returns the keys of the rollouts whose next stage should have begun."""
        statement = sa.select(_rollout.c.key).where(_rollout.c.next_time <= now).order_by(_rollout.c.next_time)
        async with self._database.shared() as connection:
            return list((await connection.execute(statement)).scalars())

    async def current(self, connection: AsyncConnection, key: str) -> RolloutRecord | None:
        """Returns the rollout as this transaction sees it, or None when there is none."""
        row = (await connection.execute(_whole.where(_rollout.c.key == key))).one_or_none()
        return None if row is None else _record(row)

    async def all(self, connection: AsyncConnection) -> list[RolloutRecord]:
        """Returns all rollouts as this transaction sees them."""
        return [_record(row) for row in await connection.execute(_whole)]

    async def write(self, connection: AsyncConnection, record: RolloutRecord) -> None:
        """Writes a rollout: the first edition anew, others in the place of the one before."""
        values = {each.name: getattr(record, each.name) for each in fields(record) if each.name != "comparison"}
        values |= {"plan": record.plan.to_json(), "lock": record.lock.to_json() if record.lock else None}
        if record.edition == 1:
            await connection.execute(sa.insert(_rollout).values(values))
        else:
            await connection.execute(sa.update(_rollout).where(_rollout.c.key == record.key).values(values))

    @contextlib.asynccontextmanager
    async def reporting(self) -> AsyncIterator[Reporting]:
        """Opens a transaction for one report."""
        async with self._database.shared() as connection:
            yield Reporting(connection)

    async def compare_anew(self, connection: AsyncConnection, key: str, revision: int | None) -> None:
        """Forgets what is known of a rollout's variants, and begins with a revision of its flag; None: not again."""
        await connection.execute(sa.delete(_trial).where(_trial.c.key == key))
        if revision is not None:
            values = {"key": key, "revision": revision, "comparison": Comparison().to_json()}
            await connection.execute(sa.insert(_trial).values(values))


def _record(row: Any) -> RolloutRecord:
    values = dict(row._mapping)
    values["plan"] = Plan.from_json(row.plan)
    values["lock"] = None if row.lock is None else Lock.from_json(row.lock)
    values["comparison"] = None if row.comparison is None else Comparison.from_json(row.comparison)
    return RolloutRecord(**values)
