"""Keeps subscriptions and what each of them has still to be told, in PostgreSQL; decides about the order alone.

A place in the table of deliveries is made when a subscription's events are looked at, and goes when the event is
acknowledged. One transaction at a time decides about a subscription: its row is locked.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cordboard.core.database import notify, time_at
from cordboard.proxy.events.event import Event
from cordboard.proxy.events.store import CHANNEL, counter_table, event_table, metadata
from cordboard.proxy.events.subscription import DEAD, LEASED, PULL, WAITING, Handed, Lost, Progress, Subscription
from cordboard.proxy.jobs.tables import columns_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

# How many events a subscription may have before it that are not acknowledged.
MOST_OPEN: Final = 10_000
LOOK_AT: Final = 1_000
NOT_ACKNOWLEDGED: Final = "NOT_ACKNOWLEDGED"

_subscription = sa.Table(
    "event_subscription",
    metadata,
    sa.Column("cursor", sa.BigInteger),
    *(column for column in columns_of(Subscription) if column.name != "cursor"),
)
_delivery = sa.Table(
    "event_delivery",
    metadata,
    *(sa.Column(name, sa.Text) for name in ("workspace_id", "subscription_id")),
    sa.Column("number", sa.BigInteger),
    sa.Column("ordering_key", sa.Text),
    sa.Column("state", sa.SmallInteger),
    sa.Column("attempts", sa.Integer),
    *(sa.Column(name, sa.DateTime(timezone=True)) for name in ("due_time", "lease_until")),
    *(sa.Column(name, sa.Text) for name in ("holder", "reason")),
)
_HEAD: Final = tuple(column for column in event_table.c if column.name != "data")


class DeliveryStore:
    """The tables of subscriptions and deliveries."""

    def __init__(self, database: Database) -> None:
        """Takes the Proxy's database."""
        self._database = database

    async def add(self, connection: AsyncConnection, made: Subscription, *, from_beginning: bool) -> bool:
        """Adds a subscription that begins now, or with the oldest event; returns whether its id was free."""
        values = {each.name: getattr(made, each.name) for each in fields(Subscription)}
        if not from_beginning:
            last = sa.select(counter_table.c.last).where(counter_table.c.workspace_id == made.workspace_id)
            values["cursor"] = sa.func.coalesce(last.scalar_subquery(), 0)
        statement = insert(_subscription).values(**values).on_conflict_do_nothing()
        return bool((await connection.execute(statement)).rowcount)

    async def subscription(self, workspace: str, subscription_id: str) -> Subscription | None:
        """Returns a subscription, or None when there is none."""
        async with self._database.workspace(workspace) as connection:
            return await _locked(connection, workspace, subscription_id, lock=False)

    async def subscriptions(self, workspace: str, environment: str, *, after: str, limit: int) -> list[Subscription]:
        """Returns up to `limit` subscriptions with an id above `after`; `environment` narrows unless it is empty."""
        query = sa.select(_subscription).where(_subscription.c.workspace_id == workspace, _subscription.c.id > after)
        if environment:
            query = query.where(_subscription.c.environment == environment)
        async with self._database.workspace(workspace) as connection:
            found = (await connection.execute(query.order_by(_subscription.c.id).limit(limit))).mappings()
            return [Subscription(**row) for row in found]

    async def delete(self, connection: AsyncConnection, found: Subscription) -> None:
        """Deletes a subscription and its deliveries."""
        await connection.execute(sa.delete(_subscription).where(_at(found.workspace_id, found.id)))

    async def seek(self, connection: AsyncConnection, found: Subscription, offset: int) -> None:
        """Has a subscription go on after an offset; what it was told before counts for nothing."""
        await _locked(connection, found.workspace_id, found.id)
        await connection.execute(sa.delete(_delivery).where(_of(found.workspace_id, found.id), _open()))
        last = await _last(connection, found.workspace_id)
        statement = sa.update(_subscription).where(_at(found.workspace_id, found.id))
        await connection.execute(statement.values(cursor=min(offset, last), resume_time=None))
        await notify(connection, CHANNEL)

    async def progress(self, found: Subscription) -> Progress:
        """Returns how far a subscription is."""
        own = _of(found.workspace_id, found.id)
        oldest = sa.select(sa.func.min(_delivery.c.number)).where(own, _open())
        dead = sa.select(sa.func.count()).select_from(_delivery).where(own, _delivery.c.state == DEAD)
        async with self._database.workspace(found.workspace_id) as connection:
            row = (await connection.execute(sa.select(oldest.scalar_subquery(), dead.scalar_subquery()))).one()
            last = await _last(connection, found.workspace_id)
        return Progress(found.cursor if row[0] is None else row[0] - 1, last, row[1])

    async def claim(
        self, workspace: str, subscription_id: str, holder: str, *, most: int, lease: float, in_line: bool
    ) -> list[Handed] | None:
        """Gives events to a holder for so many seconds, until it has `most`; None when the subscription is gone.

        Events of one ordering key are with one holder at a time: all of them, or with `in_line` one after the other.
        """
        async with self._database.workspace(workspace) as connection:
            found = await _locked(connection, workspace, subscription_id)
            if found is None:
                return None
            if found.resume_time is not None and found.resume_time > await time_at(connection):
                return []
            await _release_late(connection, found)
            await _look(connection, found)
            numbers = await _chosen(connection, found, holder, most=most, in_line=in_line)
            if not numbers:
                return []
            own = sa.and_(_of(workspace, subscription_id), _delivery.c.number.in_(numbers))
            taken = {
                "state": LEASED,
                "holder": holder,
                "lease_until": _in(lease),
                "attempts": _delivery.c.attempts + 1,
            }
            update = sa.update(_delivery).where(own).values(**taken)
            told = await connection.execute(update.returning(_delivery.c.number, _delivery.c.attempts))
            # What was acknowledged this very moment, late, has no place any more.
            attempts = {row.number: row.attempts for row in told}
            query = sa.select(event_table).where(
                event_table.c.workspace_id == workspace, event_table.c.number.in_(attempts)
            )
            events = (await connection.execute(query.order_by(event_table.c.number))).mappings()
            return [Handed(Event(**row), attempts[row["number"]]) for row in events]

    async def acknowledge(self, workspace: str, subscription_id: str, offsets: Collection[int], up_to: int) -> int:
        """Forgets events that were told, by their numbers and all up to one; returns how many."""
        chosen = sa.or_(
            _delivery.c.number.in_(offsets), sa.and_(_delivery.c.state == LEASED, _delivery.c.number <= up_to)
        )
        statement = sa.delete(_delivery).where(_of(workspace, subscription_id), _open(), chosen)
        async with self._database.workspace(workspace) as connection:
            count = (await connection.execute(statement)).rowcount
            if count:
                await notify(connection, CHANNEL)
        return count

    async def again(self, found: Subscription, number: int, reason: str, *, wait: float, counted: bool) -> None:
        """Has an event be told again after so many seconds; `counted` False takes the attempt back."""
        attempts = _delivery.c.attempts if counted else _delivery.c.attempts - 1
        changes = {"state": WAITING, "holder": "", "due_time": _in(wait), "reason": reason, "attempts": attempts}
        await self._change(found, [number], LEASED, changes)

    async def give_up(self, found: Subscription, number: int, reason: str) -> None:
        """Makes an event that was told one that could not be."""
        await self._change(found, [number], LEASED, {"state": DEAD, "holder": "", "reason": reason})

    async def pause(self, found: Subscription, wait: float) -> None:
        """Has nothing be told for so many seconds, if that is longer than it is so far."""
        resume = sa.func.greatest(sa.func.coalesce(_subscription.c.resume_time, sa.func.now()), _in(wait))
        statement = sa.update(_subscription).where(_at(found.workspace_id, found.id)).values(resume_time=resume)
        async with self._database.workspace(found.workspace_id) as connection:
            await connection.execute(statement)

    async def put_secret(self, connection: AsyncConnection, found: Subscription, secret: bytes) -> bool:
        """Keeps another secret, unless it changed since it was read; returns whether it did not."""
        here = sa.and_(_at(found.workspace_id, found.id), _subscription.c.secret == found.secret)
        result = await connection.execute(sa.update(_subscription).where(here).values(secret=secret))
        return bool(result.rowcount)

    async def release(self, workspace: str, subscription_id: str, holder: str) -> None:
        """Takes back what a holder has: somebody else is told it at once."""
        own = sa.and_(_of(workspace, subscription_id), _delivery.c.holder == holder, _delivery.c.state == LEASED)
        async with self._database.workspace(workspace) as connection:
            await connection.execute(sa.update(_delivery).where(own).values(state=WAITING, holder=""))
            await notify(connection, CHANNEL)

    async def replay(self, connection: AsyncConnection, found: Subscription, offsets: Collection[int]) -> int:
        """Has given-up events be told again, of these numbers or all; returns how many."""
        own = _dead(found, offsets)
        changes = {"state": WAITING, "attempts": 0, "due_time": sa.func.now()}
        count = (await connection.execute(sa.update(_delivery).where(own).values(**changes))).rowcount
        await notify(connection, CHANNEL)
        return count

    async def discard(self, connection: AsyncConnection, found: Subscription, offsets: Collection[int]) -> int:
        """Forgets given-up events, of these numbers or all; returns how many."""
        return (await connection.execute(sa.delete(_delivery).where(_dead(found, offsets)))).rowcount

    async def lost(self, found: Subscription, *, after: int, limit: int) -> list[Lost]:
        """Returns up to `limit` given-up events above a number, oldest first, without their data."""
        joined = event_table.join(
            _delivery,
            sa.and_(_delivery.c.workspace_id == event_table.c.workspace_id, _delivery.c.number == event_table.c.number),
        )
        query = (
            sa.select(*_HEAD, _delivery.c.attempts, _delivery.c.reason)
            .select_from(joined)
            .where(_dead(found, ()), _delivery.c.number > after)
            .order_by(_delivery.c.number)
            .limit(limit)
        )
        async with self._database.workspace(found.workspace_id) as connection:
            rows = [dict(row) for row in (await connection.execute(query)).mappings()]
        return [
            Lost(attempts=row.pop("attempts"), reason=row.pop("reason"), event=Event(**row, data=b"")) for row in rows
        ]

    async def due(self, limit: int) -> list[Subscription]:
        """Returns subscriptions with a target that may have something to be told now, of all workspaces."""
        table = _subscription.c
        mine = sa.and_(_delivery.c.workspace_id == table.workspace_id, _delivery.c.subscription_id == table.id)
        ripe = sa.or_(
            sa.and_(_delivery.c.state == WAITING, _delivery.c.due_time <= sa.func.now()),
            sa.and_(_delivery.c.state == LEASED, _delivery.c.lease_until < sa.func.now()),
        )
        behind = sa.exists().where(
            counter_table.c.workspace_id == table.workspace_id, counter_table.c.last > table.cursor
        )
        query = sa.select(_subscription).where(
            table.kind != PULL,
            sa.or_(table.resume_time.is_(None), table.resume_time <= sa.func.now()),
            sa.or_(behind, sa.exists().where(mine, ripe)),
        )
        async with self._database.everywhere() as connection:
            rows = (await connection.execute(query.order_by(sa.func.random()).limit(limit))).mappings()
            return [Subscription(**row) for row in rows]

    async def _change(self, found: Subscription, numbers: Sequence[int], state: int, changes: dict[str, Any]) -> None:
        own = sa.and_(_of(found.workspace_id, found.id), _delivery.c.number.in_(numbers), _delivery.c.state == state)
        async with self._database.workspace(found.workspace_id) as connection:
            await connection.execute(sa.update(_delivery).where(own).values(**changes))


async def _locked(
    connection: AsyncConnection, workspace: str, subscription_id: str, *, lock: bool = True
) -> Subscription | None:
    query = sa.select(_subscription).where(_at(workspace, subscription_id))
    row = (await connection.execute(query.with_for_update() if lock else query)).mappings().one_or_none()
    return None if row is None else Subscription(**row)


async def _last(connection: AsyncConnection, workspace: str) -> int:
    query = sa.select(counter_table.c.last).where(counter_table.c.workspace_id == workspace)
    return int((await connection.execute(query)).scalar_one_or_none() or 0)


async def _release_late(connection: AsyncConnection, found: Subscription) -> None:
    """Takes back what was not acknowledged in time, and what comes after it in its order."""
    own = _of(found.workspace_id, found.id)
    late = sa.and_(own, _delivery.c.state == LEASED, _delivery.c.lease_until < sa.func.now())
    free = {"state": WAITING, "holder": ""}
    if not (await connection.execute(sa.update(_delivery).where(late).values(**free))).rowcount:
        return
    before = _delivery.alias("before")
    earlier = sa.exists().where(
        before.c.workspace_id == _delivery.c.workspace_id,
        before.c.subscription_id == _delivery.c.subscription_id,
        before.c.ordering_key == _delivery.c.ordering_key,
        before.c.number < _delivery.c.number,
        before.c.state == WAITING,
    )
    later = sa.and_(own, _delivery.c.state == LEASED, earlier)
    await connection.execute(sa.update(_delivery).where(later).values(**free))


async def _look(connection: AsyncConnection, found: Subscription) -> None:
    """Makes places for the next events that are for a subscription."""
    open_ = sa.select(sa.func.count()).select_from(_delivery).where(_of(found.workspace_id, found.id), _open())
    if (await connection.execute(open_)).scalar_one() >= MOST_OPEN:
        return
    table = event_table.c
    query = (
        sa.select(table.number, table.integration, table.event_type, table.connection, table.environment)
        .add_columns(table.ordering_key)
        .where(table.workspace_id == found.workspace_id, table.number > found.cursor)
        .order_by(table.number)
        .limit(LOOK_AT)
    )
    seen = list(await connection.execute(query))
    if not seen:
        return
    rows = [
        {
            "workspace_id": found.workspace_id,
            "subscription_id": found.id,
            "number": each.number,
            "ordering_key": each.ordering_key,
            "state": WAITING,
            "attempts": 0,
            "holder": "",
            "reason": "",
        }
        for each in seen
        if found.wants(f"cordboard.{each.integration}.{each.event_type}", each.connection, each.environment)
    ]
    if rows:
        await connection.execute(insert(_delivery).on_conflict_do_nothing(), rows)
    update = sa.update(_subscription).where(_at(found.workspace_id, found.id))
    await connection.execute(update.values(cursor=seen[-1].number))


async def _chosen(
    connection: AsyncConnection, found: Subscription, holder: str, *, most: int, in_line: bool
) -> list[int]:
    """Returns the numbers that a holder may have now; those that were told too often are given up."""
    own = _of(found.workspace_id, found.id)
    leased = sa.select(_delivery.c.ordering_key, _delivery.c.holder).where(own, _delivery.c.state == LEASED)
    held = list(await connection.execute(leased))
    room = most - sum(row.holder == holder for row in held)
    blocked = {row.ordering_key for row in held if in_line or row.holder != holder}
    if room <= 0:
        return []
    waiting = sa.select(
        _delivery.c.number,
        _delivery.c.ordering_key,
        _delivery.c.attempts,
        (_delivery.c.due_time > sa.func.now()).label("early"),
    ).where(own, _delivery.c.state == WAITING)
    if blocked:
        waiting = waiting.where(_delivery.c.ordering_key.not_in(blocked))
    chosen: list[int] = []
    spent: list[int] = []
    for row in await connection.execute(waiting.order_by(_delivery.c.number).limit(LOOK_AT)):
        if row.ordering_key in blocked:
            continue
        if row.early:
            blocked.add(row.ordering_key)
        elif 0 < found.max_attempts <= row.attempts:
            spent.append(row.number)
        elif len(chosen) < room:
            chosen.append(row.number)
            if in_line:
                blocked.add(row.ordering_key)
    if spent:
        gone = sa.and_(own, _delivery.c.number.in_(spent))
        reason = sa.case((_delivery.c.reason == "", NOT_ACKNOWLEDGED), else_=_delivery.c.reason)
        await connection.execute(sa.update(_delivery).where(gone).values(state=DEAD, reason=reason))
    return chosen


def _at(workspace: str, subscription_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(_subscription.c.workspace_id == workspace, _subscription.c.id == subscription_id)


def _of(workspace: str, subscription_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(_delivery.c.workspace_id == workspace, _delivery.c.subscription_id == subscription_id)


def _open() -> sa.ColumnElement[bool]:
    return _delivery.c.state.in_((WAITING, LEASED))


def _dead(found: Subscription, offsets: Collection[int]) -> sa.ColumnElement[bool]:
    own = sa.and_(_of(found.workspace_id, found.id), _delivery.c.state == DEAD)
    return sa.and_(own, _delivery.c.number.in_(offsets)) if offsets else own


def _in(seconds: float) -> sa.ColumnElement[datetime]:
    return sa.func.now() + timedelta(seconds=seconds)
