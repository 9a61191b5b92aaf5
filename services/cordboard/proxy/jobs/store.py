"""Keeps jobs in PostgreSQL and puts them into the queue, both in one transaction; decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import orjson
import sqlalchemy as sa
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries
from sqlalchemy.dialects.postgresql import insert

from cordboard.core.database import notify
from cordboard.proxy import origins
from cordboard.proxy.jobs.job import CANCELLED, DEAD, ENDED, IN_DOUBT, QUEUED, RUNNING, WAITING, Job
from cordboard.proxy.jobs.tables import columns_of
from cordboard.proxy.store import KEY_LIVES

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

CHANNEL: Final = "proxy_jobs"
ENTRYPOINT: Final = "run_job"
SWEEP_ROWS: Final = 1_000
# The ledger forgets a key after a day: what a process left behind before that is in doubt.
FORGOTTEN: Final = KEY_LIVES - 3600.0

_job = sa.Table(
    "job",
    sa.MetaData(),
    *columns_of(Job),
    sa.Column("lease_until", sa.DateTime(timezone=True)),
    sa.Column("number", sa.BigInteger),
)
_READ: Final = tuple(_job.c[each.name] for each in fields(Job))
# A connection belongs to one integration, which any of its calls names.
_DEAD: Final = sa.text("""
    SELECT coalesce(call.integration, '') AS slug, sum(letters)::bigint AS letters
    FROM (
        SELECT workspace_id, connection, max(call_id) AS call_id, count(*) AS letters
        FROM (SELECT workspace_id, connection, call_id FROM job WHERE state = :dead LIMIT :most) AS letter
        GROUP BY workspace_id, connection) AS dead
    LEFT JOIN call ON call.workspace_id = dead.workspace_id AND call.id = dead.call_id
    GROUP BY 1""")
_UNENDED: Final = _job.c.state.in_((QUEUED, WAITING, RUNNING))


@dataclass(frozen=True, slots=True)
class Choice:
    """Which jobs: those that fit all that is set."""

    state: int = 0
    connection: str = ""
    action: str = ""
    reason: str = ""
    environment: str = ""


class JobStore:
    """The table of jobs, and the queue."""

    def __init__(self, database: Database) -> None:
        """Takes the Proxy's database."""
        self._database = database

    async def add(self, job: Job) -> Job | None:
        """Adds a job, and puts it into the queue when its turn may come; returns None.

        Returns the job that there is instead, when there is one under its idempotency key.
        """
        async with self._database.workspace(job.workspace_id) as connection:
            return await self.add_within(connection, job)

    async def add_within(self, connection: AsyncConnection, job: Job) -> Job | None:
        """Does what `add` does, in the caller's transaction."""
        state = QUEUED
        if job.ordering_key:
            await _lock(connection, job)
            if await self._head(connection, job) is not None:
                state = WAITING
        # One that is due at once is so by the database's clock: that of the process may be wrong.
        due = None if job.due_time == job.create_time else job.due_time
        values = {each.name: getattr(job, each.name) for each in fields(Job)} | {
            "state": state,
            "create_time": sa.func.now(),
            "due_time": due or sa.func.now(),
            "begin_time": sa.func.now() if due is None else sa.func.greatest(sa.func.now(), due),
        }
        statement = insert(_job).values(**values).on_conflict_do_nothing()
        if (await connection.execute(statement)).rowcount == 0:
            here = sa.and_(_job.c.workspace_id == job.workspace_id, _job.c.idempotency_key == job.idempotency_key)
            return _one((await connection.execute(sa.select(*_READ).where(here))).mappings().one())
        if state == QUEUED:
            await _enqueue(connection, job, due)
        return None

    async def job(self, workspace: str, job_id: str) -> Job | None:
        """Returns a job, or None when there is none."""
        async with self._database.workspace(workspace) as connection:
            row = (await connection.execute(sa.select(*_READ).where(_at(workspace, job_id)))).mappings().one_or_none()
        return None if row is None else _one(row)

    async def jobs(self, workspace: str, choice: Choice, *, before: str, limit: int, oldest: bool = False) -> list[Job]:
        """Returns up to `limit` jobs with an id below `before` (empty: any), newest first, or oldest first."""
        query = sa.select(*_READ).where(_job.c.workspace_id == workspace, *_conditions(choice)).limit(limit)
        if before:
            query = query.where(_job.c.id < before)
        async with self._database.workspace(workspace) as connection:
            found = (await connection.execute(query.order_by(_job.c.id if oldest else _job.c.id.desc()))).mappings()
            return [_one(row) for row in found]

    async def begin(self, workspace: str, job_id: str, turn: int, *, lease: float) -> Job | None:
        """Gives a job to the caller for so many seconds; None when this turn is over or another one has it.

        One whose process went away longer ago than the ledger remembers comes back in doubt.
        """
        gone = sa.and_(_job.c.state == RUNNING, _job.c.lease_until < _in(-FORGOTTEN))
        doubt = sa.case((gone, IN_DOUBT), else_=_job.c.reason)
        free = sa.or_(_job.c.state == QUEUED, sa.and_(_job.c.state == RUNNING, _job.c.lease_until < sa.func.now()))
        statement = (
            sa.update(_job)
            .where(_at(workspace, job_id), _job.c.turn == turn, free)
            .values(state=RUNNING, attempts=_job.c.attempts + 1, lease_until=_in(lease), reason=doubt)
            .returning(*_READ)
        )
        async with self._database.workspace(workspace) as connection:
            row = (await connection.execute(statement)).mappings().one_or_none()
            await notify(connection, CHANNEL)
        return None if row is None else _one(row)

    async def prolong(self, running: Sequence[tuple[str, str]], *, lease: float) -> None:
        """Says that these jobs, by workspace and id, still run."""
        here = sa.tuple_(_job.c.workspace_id, _job.c.id).in_(running)
        statement = sa.update(_job).where(here, _job.c.state == RUNNING).values(lease_until=_in(lease))
        async with self._database.everywhere() as connection:
            await connection.execute(statement)

    async def again(self, job: Job, *, wait: float, counted: bool, changes: Mapping[str, Any]) -> None:
        """Puts a job that ran back into the queue, to be tried after so many seconds, unless its turn is over.

        One that was cancelled meanwhile ends. `counted` False takes the attempt back.
        """
        async with self._database.workspace(job.workspace_id) as connection:
            await _lock(connection, job)
            query = sa.select(sa.func.now(), _job.c.cancelled).where(_here(job)).with_for_update()
            found = (await connection.execute(query)).one_or_none()
            if found is None:
                return
            now, cancelled = found
            if cancelled:
                await self._end(connection, job, CANCELLED, changes)
                return
            due = now + timedelta(seconds=wait)
            attempts = _job.c.attempts if counted else _job.c.attempts - 1
            more = {"state": QUEUED, "turn": job.turn + 1, "due_time": due, "lease_until": None, "attempts": attempts}
            await connection.execute(sa.update(_job).where(_here(job)).values(**changes, **more))
            await _enqueue(connection, job, due, turn=job.turn + 1)
            await notify(connection, CHANNEL)

    async def end(self, job: Job, state: int, changes: Mapping[str, Any]) -> None:
        """Ends a job that ran, unless its turn is over; the next one of its ordering key has its turn then."""
        async with self._database.workspace(job.workspace_id) as connection:
            await _lock(connection, job)
            await self._end(connection, job, state, changes)

    async def cancel(self, job: Job) -> Job | None:
        """Cancels a job that has not begun, or says that it is not to be tried again; None when it has ended."""
        async with self._database.workspace(job.workspace_id) as connection:
            await _lock(connection, job)
            here = sa.and_(_at(job.workspace_id, job.id), _UNENDED)
            row = (await connection.execute(sa.select(*_READ).where(here).with_for_update())).mappings().one_or_none()
            if row is None:
                return None
            found = _one(row)
            if found.state == RUNNING:
                await connection.execute(sa.update(_job).where(here).values(cancelled=True))
            else:
                await self._end(connection, found, CANCELLED, {"cancelled": True})
            await notify(connection, CHANNEL)
            return _one(
                (await connection.execute(sa.select(*_READ).where(_at(job.workspace_id, job.id)))).mappings().one()
            )

    async def edit(self, connection: AsyncConnection, job: Job, changes: Mapping[str, Any]) -> Job | None:
        """Changes a dead letter; None when it is none any more, or another one than was read."""
        here = sa.and_(_at(job.workspace_id, job.id), _job.c.state == DEAD, _job.c.revision == job.revision)
        statement = sa.update(_job).where(here).values(**changes, revision=job.revision + 1).returning(*_READ)
        row = (await connection.execute(statement)).mappings().one_or_none()
        return None if row is None else _one(row)

    async def revive(self, connection: AsyncConnection, job: Job, *, key: str) -> bool:
        """Puts a dead letter into the queue again, under this idempotency key; tells whether it was still there."""
        await _lock(connection, job)
        waits = bool(job.ordering_key) and await self._head(connection, job) is not None
        changes = {
            "state": WAITING if waits else QUEUED,
            "turn": job.turn + 1,
            "due_time": sa.func.now(),
            "begin_time": sa.func.now(),
            "end_time": None,
            "reason": "",
            "problem": "",
            "attempts": 0,
            "cancelled": False,
            "idempotency_key": key,
            "traceparent": origins.also(job.traceparent, origins.REPLAYED, origins.here()),
        }
        if await self.edit(connection, job, changes) is None:
            return False
        if not waits:
            await _enqueue(connection, job, None, turn=job.turn + 1)
        await notify(connection, CHANNEL)
        return True

    async def discard(self, connection: AsyncConnection, workspace: str, choice: Choice, job_id: str) -> int:
        """Cancels dead letters; returns how many."""
        where = [_job.c.workspace_id == workspace, *_conditions(choice)]
        if job_id:
            where.append(_job.c.id == job_id)
        statement = sa.update(_job).where(*where).values(state=CANCELLED, end_time=sa.func.now())
        count = (await connection.execute(statement)).rowcount
        await notify(connection, CHANNEL)
        return count

    async def recover(self, *, late: float, limit: int = 500) -> int:
        """Puts jobs into the queue again that should have begun `late` seconds ago, or whose process is gone.

        Returns how many. Whatever became of their places in the queue, none is forgotten.
        """
        lost = sa.or_(
            sa.and_(_job.c.state == QUEUED, _job.c.due_time < _in(-late)),
            sa.and_(_job.c.state == RUNNING, _job.c.lease_until < sa.func.now()),
        )
        query = sa.select(*_READ).where(lost).order_by(_job.c.due_time).limit(limit).with_for_update(skip_locked=True)
        async with self._database.everywhere() as connection:
            found = [_one(row) for row in (await connection.execute(query)).mappings()]
            for job in found:
                # In the queue once only: while its turn stands there, there is nothing to do.
                await _enqueue(connection, job, None)
        return len(found)

    async def dead(self, *, most: int) -> dict[str, int]:
        """Returns how many dead letters each integration has, of `most` at most; those whose calls are gone are ''."""
        async with self._database.everywhere() as connection:
            return {row.slug: row.letters for row in await connection.execute(_DEAD, {"dead": DEAD, "most": most})}

    async def sweep(self, *, ended_live: float, dead_live: float) -> int:
        """Deletes some jobs that ended so many seconds ago, dead letters by a time of their own; returns how many."""
        old = sa.or_(
            sa.and_(_job.c.state.in_(ENDED - {DEAD}), _job.c.end_time < _in(-ended_live)),
            sa.and_(_job.c.state == DEAD, _job.c.end_time < _in(-dead_live)),
        )
        keys = (_job.c.workspace_id, _job.c.id)
        chosen = sa.select(*keys).where(old).limit(SWEEP_ROWS)
        async with self._database.everywhere() as connection:
            return (await connection.execute(sa.delete(_job).where(sa.tuple_(*keys).in_(chosen)))).rowcount

    async def _head(self, connection: AsyncConnection, job: Job) -> Job | None:
        """Returns the first job of this ordering key that has not ended."""
        same = (_job.c.workspace_id == job.workspace_id, _job.c.ordering_key == job.ordering_key)
        query = sa.select(*_READ).where(*same, _UNENDED).order_by(_job.c.number).limit(1)
        row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else _one(row)

    async def _end(self, connection: AsyncConnection, job: Job, state: int, changes: Mapping[str, Any]) -> None:
        ended = {"state": state, "end_time": sa.func.now(), "lease_until": None}
        here = sa.update(_job).where(_here(job)).values(**changes, **ended)
        if (await connection.execute(here)).rowcount and job.ordering_key:
            following = await self._head(connection, job)
            if following is not None and following.state == WAITING:
                own = _at(following.workspace_id, following.id)
                await connection.execute(sa.update(_job).where(own).values(state=QUEUED))
                await _enqueue(connection, following, following.due_time)
        await notify(connection, CHANNEL)


async def _enqueue(connection: AsyncConnection, job: Job, due: datetime | None, *, turn: int | None = None) -> None:
    told = {"workspace": job.workspace_id, "job": job.id, "turn": job.turn if turn is None else turn}
    wait = None
    if due is not None:
        now = (await connection.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
        wait = max(timedelta(), due - now)
    raw = (await connection.get_raw_connection()).driver_connection
    # The queue's own statement, in this transaction: a job and its place in the queue are there together or not at all.
    await Queries(AsyncpgDriver(raw)).enqueue(
        ENTRYPOINT,
        orjson.dumps(told),
        priority=job.priority,
        execute_after=wait,
        dedupe_key=f"{told['workspace']}/{told['job']}/{told['turn']}",
        on_conflict="skip",
    )


async def _lock(connection: AsyncConnection, job: Job) -> None:
    """Lets one transaction at a time decide about an ordering key, until it ends."""
    if job.ordering_key:
        key = f"job {job.workspace_id} {job.ordering_key}"
        await connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": key})


def _conditions(choice: Choice) -> list[sa.ColumnElement[bool]]:
    told = {
        _job.c.state: choice.state,
        _job.c.connection: choice.connection,
        _job.c.action: choice.action,
        _job.c.reason: choice.reason,
        _job.c.environment: choice.environment,
    }
    return [column == value for column, value in told.items() if value]


def _at(workspace: str, job_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(_job.c.workspace_id == workspace, _job.c.id == job_id)


def _here(job: Job) -> sa.ColumnElement[bool]:
    return sa.and_(_at(job.workspace_id, job.id), _job.c.turn == job.turn, _UNENDED)


def _one(row: sa.RowMapping) -> Job:
    return Job(**{each.name: row[each.name] for each in fields(Job)})


def _in(seconds: float) -> sa.ColumnElement[datetime]:
    return sa.func.now() + timedelta(seconds=seconds)
