"""Keeps polling triggers and what they have seen in PostgreSQL, and puts them into the queue as their times come."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import orjson
import sqlalchemy as sa
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries
from sqlalchemy.dialects.postgresql import insert

from cordboard.proxy.events.store import metadata
from cordboard.proxy.jobs.tables import columns_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

POLL: Final = "poll"
AT_ONCE: Final = 100
# What was not there for so long is forgotten.
SEEN_LIVES: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Trigger:
    """A polling trigger as it stands."""

    workspace_id: str
    id: str
    connection: str
    event_type: str
    environment: str
    submitter: dict[str, Any]
    interval: float
    """Seconds."""
    cursor: bytes = field(repr=False)
    """Sealed JSON; empty before there is one."""
    turn: int
    """Counts how often it was put into the queue."""
    next_time: datetime
    last_time: datetime | None
    failures: int
    problem: str
    create_time: datetime

    @property
    def name(self) -> str:
        """Returns its resource name."""
        return f"workspaces/{self.workspace_id}/pollingTriggers/{self.id}"


_trigger = sa.Table(
    "polling_trigger", metadata, *columns_of(Trigger), sa.Column("lease_until", sa.DateTime(timezone=True))
)
_READ: Final = tuple(_trigger.c[each.name] for each in fields(Trigger))
_seen = sa.Table(
    "polled_item",
    metadata,
    *(sa.Column(name, sa.Text) for name in ("workspace_id", "trigger_id", "item_id")),
    sa.Column("digest", sa.LargeBinary),
    sa.Column("seen_time", sa.DateTime(timezone=True)),
)


class TriggerStore:
    """The tables of triggers."""

    def __init__(self, database: Database) -> None:
        """Takes the Proxy's database."""
        self._database = database

    async def add(self, connection: AsyncConnection, made: Trigger) -> bool:
        """Adds a trigger, whose turn is now; returns whether its id was free."""
        values = {each.name: getattr(made, each.name) for each in fields(Trigger)}
        values |= {"next_time": sa.func.now(), "create_time": sa.func.now()}
        return bool((await connection.execute(insert(_trigger).values(**values).on_conflict_do_nothing())).rowcount)

    async def trigger(self, workspace: str, trigger_id: str) -> Trigger | None:
        """Returns a trigger, or None when there is none."""
        async with self._database.workspace(workspace) as connection:
            query = sa.select(*_READ).where(_at(workspace, trigger_id))
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else Trigger(**row)

    async def triggers(self, workspace: str, environment: str, *, after: str, limit: int) -> list[Trigger]:
        """Returns up to `limit` triggers with an id above `after`; `environment` narrows unless it is empty."""
        query = sa.select(*_READ).where(_trigger.c.workspace_id == workspace, _trigger.c.id > after)
        if environment:
            query = query.where(_trigger.c.environment == environment)
        async with self._database.workspace(workspace) as connection:
            found = (await connection.execute(query.order_by(_trigger.c.id).limit(limit))).mappings()
            return [Trigger(**row) for row in found]

    async def delete(self, connection: AsyncConnection, found: Trigger) -> None:
        """Deletes a trigger and what it has seen."""
        await connection.execute(sa.delete(_trigger).where(_at(found.workspace_id, found.id)))

    async def enqueue_due(self) -> int:
        """Puts triggers whose time has come into the queue, each once, and sets their next time; returns how many."""
        free = sa.or_(_trigger.c.lease_until.is_(None), _trigger.c.lease_until < sa.func.now())
        due = sa.select(*_READ).where(_trigger.c.next_time <= sa.func.now(), free).order_by(_trigger.c.next_time)
        async with self._database.everywhere() as connection:
            found = [Trigger(**row) for row in (await connection.execute(due.limit(AT_ONCE))).mappings()]
        return sum([await self._enqueue(each) for each in found])

    async def _enqueue(self, found: Trigger) -> bool:
        turn = found.turn + 1
        still = sa.and_(_at(found.workspace_id, found.id), _trigger.c.turn == found.turn)
        async with self._database.workspace(found.workspace_id) as connection:
            # Times that were missed are one: whoever slept for a night does not ask a hundred times.
            changes = {"turn": turn, "next_time": _in(found.interval)}
            if not (await connection.execute(sa.update(_trigger).where(still).values(**changes))).rowcount:
                return False
            told = {"workspace": found.workspace_id, "trigger": found.id, "turn": turn}
            raw = (await connection.get_raw_connection()).driver_connection
            await Queries(AsyncpgDriver(raw)).enqueue(
                POLL,
                orjson.dumps(told),
                priority=0,
                dedupe_key=f"poll/{found.workspace_id}/{found.id}/{turn}",
                on_conflict="skip",
            )
        return True

    async def begin(self, workspace: str, trigger_id: str, turn: int, *, lease: float) -> Trigger | None:
        """Gives a trigger to the caller for so many seconds; None when this turn is over or another one has it."""
        free = sa.or_(_trigger.c.lease_until.is_(None), _trigger.c.lease_until < sa.func.now())
        here = sa.and_(_at(workspace, trigger_id), _trigger.c.turn == turn, free)
        async with self._database.workspace(workspace) as connection:
            statement = sa.update(_trigger).where(here).values(lease_until=_in(lease)).returning(*_READ)
            row = (await connection.execute(statement)).mappings().one_or_none()
        return None if row is None else Trigger(**row)

    async def known(self, found: Trigger, items: Collection[str]) -> dict[str, bytes]:
        """Returns the digests of those of the items that a trigger has seen."""
        query = sa.select(_seen.c.item_id, _seen.c.digest).where(
            _seen.c.workspace_id == found.workspace_id, _seen.c.trigger_id == found.id, _seen.c.item_id.in_(items)
        )
        async with self._database.workspace(found.workspace_id) as connection:
            return {row.item_id: row.digest for row in await connection.execute(query)}

    async def end(
        self, connection: AsyncConnection, found: Trigger, items: Mapping[str, bytes], changes: Mapping[str, Any]
    ) -> bool:
        """Writes how a turn went, and what was seen; returns False, with nothing written, when the turn was over."""
        here = sa.and_(_at(found.workspace_id, found.id), _trigger.c.turn == found.turn)
        update = sa.update(_trigger).where(here).values(**changes, lease_until=None)
        if not (await connection.execute(update)).rowcount:
            return False
        if items:
            own = {"workspace_id": found.workspace_id, "trigger_id": found.id}
            rows = [{**own, "item_id": item, "digest": digest} for item, digest in items.items()]
            statement = insert(_seen)
            same = [_seen.c.workspace_id, _seen.c.trigger_id, _seen.c.item_id]
            renewed = {"digest": statement.excluded.digest, "seen_time": sa.func.now()}
            await connection.execute(statement.on_conflict_do_update(index_elements=same, set_=renewed), rows)
        return True

    async def sweep(self) -> None:
        """Forgets what has not been there for long."""
        async with self._database.everywhere() as connection:
            await connection.execute(sa.delete(_seen).where(_seen.c.seen_time < sa.func.now() - SEEN_LIVES))


def _at(workspace: str, trigger_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(_trigger.c.workspace_id == workspace, _trigger.c.id == trigger_id)


def _in(seconds: float) -> sa.ColumnElement[datetime]:
    return sa.func.now() + timedelta(seconds=seconds)
