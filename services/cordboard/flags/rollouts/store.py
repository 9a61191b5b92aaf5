"""Keeps rollouts beside the flags that they write; decides nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cordboard.flags.rollouts.plan import Plan

if TYPE_CHECKING:
    from datetime import datetime

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
    sa.Column("create_time", sa.DateTime(timezone=True)),
    sa.Column("update_time", sa.DateTime(timezone=True)),
)


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

    @property
    def name(self) -> str:
        """Returns the resource name."""
        return f"rollouts/{self.key}"

    @property
    def etag(self) -> str:
        """Returns the tag of this edition."""
        return hashlib.sha256(f"{self.name}/{self.edition}/{self.create_time}".encode()).hexdigest()[:16]


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
        statement = sa.select(_rollout).where(_rollout.c.key > after).order_by(_rollout.c.key).limit(limit)
        async with self._database.shared() as connection:
            return [_record(row) for row in await connection.execute(statement)]

    async def due(self, now: datetime) -> list[str]:
        """Returns the keys of the rollouts whose next stage should have begun."""
        statement = sa.select(_rollout.c.key).where(_rollout.c.next_time <= now).order_by(_rollout.c.next_time)
        async with self._database.shared() as connection:
            return list((await connection.execute(statement)).scalars())

    async def current(self, connection: AsyncConnection, key: str) -> RolloutRecord | None:
        """Returns the rollout as this transaction sees it, or None when there is none."""
        row = (await connection.execute(sa.select(_rollout).where(_rollout.c.key == key))).one_or_none()
        return None if row is None else _record(row)

    async def all(self, connection: AsyncConnection) -> list[RolloutRecord]:
        """Returns all rollouts as this transaction sees them."""
        return [_record(row) for row in await connection.execute(sa.select(_rollout))]

    async def write(self, connection: AsyncConnection, record: RolloutRecord) -> None:
        """Writes a rollout: the first edition anew, others in the place of the one before."""
        values = {each.name: getattr(record, each.name) for each in fields(record)} | {"plan": record.plan.to_json()}
        if record.edition == 1:
            await connection.execute(sa.insert(_rollout).values(values))
        else:
            await connection.execute(sa.update(_rollout).where(_rollout.c.key == record.key).values(values))


def _record(row: Any) -> RolloutRecord:
    return RolloutRecord(**{**row._mapping, "plan": Plan.from_json(row.plan)})
