"""Keeps events and the addresses of webhooks in PostgreSQL; decides nothing.

The events of a workspace are counted without a gap, and in the order in which they become visible: whoever has read up
to a number has missed nothing below it.
"""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cordboard.core.database import notify
from cordboard.proxy.events.event import Endpoint, Event
from cordboard.proxy.jobs.tables import columns_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

CHANNEL: Final = "proxy_events"
SWEEP_ROWS: Final = 2_000

metadata = sa.MetaData()
event_table = sa.Table(
    "event",
    metadata,
    sa.Column("number", sa.BigInteger),
    *(column for column in columns_of(Event) if column.name != "number"),
)
counter_table = sa.Table(
    "event_counter", metadata, sa.Column("workspace_id", sa.Text), sa.Column("last", sa.BigInteger)
)
_endpoint = sa.Table("webhook_endpoint", metadata, *columns_of(Endpoint))
_HEAD: Final = tuple(column for column in event_table.c if column.name != "data")


class EventStore:
    """The tables of events and of addresses."""

    def __init__(self, database: Database) -> None:
        """Takes the Proxy's database."""
        self._database = database

    async def add(self, workspace: str, events: Sequence[Event]) -> list[Event]:
        """Keeps the events that are not known by source and id; returns those, with their numbers."""
        async with self._database.workspace(workspace) as connection:
            return await self.add_within(connection, workspace, events)

    async def add_within(self, connection: AsyncConnection, workspace: str, events: Sequence[Event]) -> list[Event]:
        """Does what `add` does, in the caller's transaction."""
        last = await _last(connection, workspace)
        wanted = {(event.connection, event.id): event for event in reversed(events)}
        table = event_table.c
        query = sa.select(table.connection, table.id).where(
            table.workspace_id == workspace, sa.tuple_(table.connection, table.id).in_(list(wanted))
        )
        known = {(row.connection, row.id) for row in await connection.execute(query)}
        new = [event for event in events if wanted.get((event.connection, event.id)) is event]
        new = [event for event in new if (event.connection, event.id) not in known]
        numbered = [replace(event, number=last + at) for at, event in enumerate(new, 1)]
        if not numbered:
            return []
        rows = [{each.name: getattr(event, each.name) for each in fields(Event)} for event in numbered]
        await connection.execute(sa.insert(event_table), rows)
        here = counter_table.c.workspace_id == workspace
        await connection.execute(sa.update(counter_table).where(here).values(last=last + len(new)))
        await notify(connection, CHANNEL)
        return numbered

    async def event(self, workspace: str, number: int) -> Event | None:
        """Returns an event, or None when there is none."""
        query = sa.select(event_table).where(event_table.c.workspace_id == workspace, event_table.c.number == number)
        async with self._database.workspace(workspace) as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else Event(**row)

    async def events(
        self, workspace: str, *, environment: str, source: str, drifted: bool, before: int, limit: int
    ) -> list[Event]:
        """Returns up to `limit` events below a number (0: any), newest first, without their data.

        `environment` and `source`, a connection's name, narrow where they are not empty.
        """
        table = event_table.c
        query = sa.select(*_HEAD).where(table.workspace_id == workspace)
        for held, condition in (
            (before, table.number < before),
            (environment, table.environment == environment),
            (source, table.connection == source),
            (drifted, table.drift != ""),
        ):
            if held:
                query = query.where(condition)
        async with self._database.workspace(workspace) as connection:
            found = (await connection.execute(query.order_by(table.number.desc()).limit(limit))).mappings()
            return [Event(**row, data=b"") for row in found]

    async def sweep(self, *, live: float, given_up_live: float) -> int:
        """Deletes some events that were kept so many seconds ago, later those that are still to be told; returns how
        many.
        """
        keys = (event_table.c.workspace_id, event_table.c.number)
        told = sa.table("event_delivery", sa.column("workspace_id"), sa.column("number")).alias("told")
        wanted = sa.exists().where(told.c.workspace_id == keys[0], told.c.number == keys[1])
        age = sa.func.now() - event_table.c.receive_time
        old = sa.or_(
            sa.and_(age > timedelta(seconds=live), sa.not_(wanted)),
            age > timedelta(seconds=max(live, given_up_live)),
        )
        chosen = sa.select(*keys).where(old).order_by(event_table.c.receive_time).limit(SWEEP_ROWS)
        async with self._database.everywhere() as connection:
            return (await connection.execute(sa.delete(event_table).where(sa.tuple_(*keys).in_(chosen)))).rowcount

    async def add_endpoint(self, connection: AsyncConnection, endpoint: Endpoint) -> bool:
        """Adds an address; returns whether its id was free."""
        values = {each.name: getattr(endpoint, each.name) for each in fields(Endpoint)}
        statement = insert(_endpoint).values(**values).on_conflict_do_nothing()
        return bool((await connection.execute(statement)).rowcount)

    async def endpoint(self, workspace: str, endpoint_id: str) -> Endpoint | None:
        """Returns an address, or None when there is none."""
        query = sa.select(_endpoint).where(_endpoint.c.workspace_id == workspace, _endpoint.c.id == endpoint_id)
        async with self._database.workspace(workspace) as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else Endpoint(**row)

    async def endpoint_of(self, token_hash: bytes) -> Endpoint | None:
        """Returns the address whose token has this hash, in whatever workspace."""
        async with self._database.everywhere() as connection:
            query = sa.select(_endpoint).where(_endpoint.c.token_hash == token_hash)
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else Endpoint(**row)

    async def endpoints(self, workspace: str, environment: str, *, after: str, limit: int) -> list[Endpoint]:
        """Returns up to `limit` addresses with an id above `after`; `environment` narrows where it is not empty."""
        query = sa.select(_endpoint).where(_endpoint.c.workspace_id == workspace, _endpoint.c.id > after)
        if environment:
            query = query.where(_endpoint.c.environment == environment)
        async with self._database.workspace(workspace) as connection:
            found = (await connection.execute(query.order_by(_endpoint.c.id).limit(limit))).mappings()
            return [Endpoint(**row) for row in found]

    async def delete_endpoint(self, connection: AsyncConnection, endpoint: Endpoint) -> None:
        """Deletes an address."""
        here = sa.and_(_endpoint.c.workspace_id == endpoint.workspace_id, _endpoint.c.id == endpoint.id)
        await connection.execute(sa.delete(_endpoint).where(here))


async def _last(connection: AsyncConnection, workspace: str) -> int:
    """Returns the number of the last event; until the transaction ends, no other one can add to this workspace."""
    here = counter_table.c.workspace_id == workspace
    query: Any = sa.select(counter_table.c.last).where(here).with_for_update()
    last = (await connection.execute(query)).scalar_one_or_none()
    if last is None:
        await connection.execute(insert(counter_table).values(workspace_id=workspace, last=0).on_conflict_do_nothing())
        last = (await connection.execute(query)).scalar_one()
    return int(last)
