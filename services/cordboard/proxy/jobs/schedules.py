"""Schedules: the same job, submitted by the clock; each time once, however many replicas run."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import orjson
import sqlalchemy as sa
from croniter import CroniterError, croniter  # type: ignore[import-untyped]
from sqlalchemy.dialects.postgresql import insert

from cordboard.core.audit import Entry
from cordboard.core.database import time_at
from cordboard.core.errors import AlreadyExists, CordboardError, InvalidFields, NotFound
from cordboard.proxy.jobs.job import SCHEDULE_INPUT, Schedule, from_caller, to_caller
from cordboard.proxy.jobs.jobs import Jobs, Wish, check_wish, visible
from cordboard.proxy.jobs.store import JobStore
from cordboard.proxy.jobs.tables import columns_of
from cordboard.proxy.sealing import SealingKeys, Unreadable

if TYPE_CHECKING:
    from cordboard.core.audit import Journal
    from cordboard.core.caller import Caller
    from cordboard.core.database import Database

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 1.0
AT_ONCE: Final = 100
_table = sa.Table("job_schedule", sa.MetaData(), *columns_of(Schedule))


class Schedules:
    """The schedules of all workspaces."""

    def __init__(self, database: Database, store: JobStore, jobs: Jobs, keys: SealingKeys, journal: Journal) -> None:
        """Takes what makes and keeps jobs."""
        self._database = database
        self._store = store
        self._jobs = jobs
        self._keys = keys
        self._journal = journal

    async def create(self, schedule_id: str, wish: Wish, cron: str, zone: str, remaining: float) -> Schedule:
        """Keeps a schedule; raises what its calls would raise before they are sent, InvalidFields, AlreadyExists."""
        check_wish(wish)
        following(cron, zone, datetime.now(UTC))
        await self._jobs.check(wish, remaining)
        key = await self._keys.current(wish.workspace)
        sealed = key.seal(SCHEDULE_INPUT, schedule_id, orjson.dumps(wish.given))
        async with self._database.workspace(wish.workspace) as connection:
            now = await time_at(connection)
            made = Schedule(
                workspace_id=wish.workspace,
                id=schedule_id,
                connection=wish.connection,
                action=wish.action,
                environment=wish.caller.environment,
                ordering_key=wish.ordering_key or f"schedule-{schedule_id}",
                cron=cron,
                time_zone=zone,
                input=sealed,
                submitter=from_caller(wish.caller),
                priority=wish.priority,
                next_time=following(cron, zone, now),
                create_time=now,
            )
            values = {each.name: getattr(made, each.name) for each in fields(Schedule)}
            statement = insert(_table).values(**values).on_conflict_do_nothing()
            if (await connection.execute(statement)).rowcount == 0:
                raise AlreadyExists(made.name)
            await self._journal.append(
                connection, Entry("proxy.schedule.create", made.name, workspace=made.workspace_id)
            )
        return made

    async def schedule(self, workspace: str, schedule_id: str, caller: Caller) -> Schedule:
        """Returns a schedule that this caller may see; raises NotFound."""
        async with self._database.workspace(workspace) as connection:
            row = (await connection.execute(sa.select(_table).where(_at(workspace, schedule_id)))).mappings().first()
        if row is None or not visible(row["environment"], caller):
            raise NotFound(f"workspaces/{workspace}/schedules/{schedule_id}")
        return Schedule(**row)

    async def schedules(self, workspace: str, caller: Caller, *, after: str, limit: int) -> list[Schedule]:
        """Returns up to `limit` schedules with an id above `after`, in order of ids."""
        query = sa.select(_table).where(_table.c.workspace_id == workspace, _table.c.id > after)
        if not visible("", caller):
            query = query.where(_table.c.environment == caller.environment)
        async with self._database.workspace(workspace) as connection:
            found = (await connection.execute(query.order_by(_table.c.id).limit(limit))).mappings()
            return [Schedule(**row) for row in found]

    async def input(self, schedule: Schedule) -> bytes:
        """Returns the input as JSON text; raises Unreadable, NotFound, DependencyUnavailable."""
        return await self._keys.opened(schedule.workspace_id, SCHEDULE_INPUT, schedule.id, schedule.input)

    async def pause(self, workspace: str, schedule_id: str, caller: Caller, *, paused: bool) -> Schedule:
        """Pauses a schedule, or resumes it with its next time; raises NotFound."""
        found = await self.schedule(workspace, schedule_id, caller)
        changes: dict[str, Any] = {"paused": paused}
        verb = "pause" if paused else "resume"
        async with self._database.workspace(workspace) as connection:
            if not paused:
                changes["next_time"] = following(found.cron, found.time_zone, await time_at(connection))
            await connection.execute(sa.update(_table).where(_at(workspace, schedule_id)).values(**changes))
            entry = Entry(f"proxy.schedule.{verb}", found.name, workspace=workspace)
            await self._journal.append(connection, entry)
        return replace(found, **changes)

    async def delete(self, workspace: str, schedule_id: str, caller: Caller) -> None:
        """Deletes a schedule; raises NotFound."""
        found = await self.schedule(workspace, schedule_id, caller)
        async with self._database.workspace(workspace) as connection:
            await connection.execute(sa.delete(_table).where(_at(workspace, schedule_id)))
            await self._journal.append(connection, Entry("proxy.schedule.delete", found.name, workspace=workspace))

    async def run(self) -> None:
        """Submits jobs as their times come, for ever."""
        while True:
            try:
                for schedule in await self._due():
                    await self._submit(schedule)
            except CordboardError as error:
                logger.warning("schedules were interrupted", extra={"problem": type(error).__name__})
            await asyncio.sleep(LOOK_EVERY)

    async def _due(self) -> list[Schedule]:
        due = sa.and_(sa.not_(_table.c.paused), _table.c.next_time <= sa.func.now())
        query = sa.select(_table).where(due).order_by(_table.c.next_time).limit(AT_ONCE)
        async with self._database.everywhere() as connection:
            return [Schedule(**row) for row in (await connection.execute(query)).mappings()]

    async def _submit(self, schedule: Schedule) -> None:
        try:
            given = orjson.loads(await self.input(schedule))
        except (Unreadable, NotFound):
            # Nobody can read its input any more: the workspace was shredded.
            logger.warning("a schedule was paused: its input cannot be opened", extra={"schedule": schedule.name})
            await self._move(schedule, {"paused": True})
            return
        wish = Wish(
            schedule.workspace_id,
            schedule.connection,
            schedule.action,
            given,
            to_caller(schedule.submitter),
            idempotency_key=f"schedule-{schedule.id}-{schedule.next_time:%Y%m%dT%H%M%SZ}",
            priority=schedule.priority,
            ordering_key=schedule.ordering_key,
            schedule=schedule.id,
        )
        job = await self._jobs.made(wish)
        async with self._database.workspace(schedule.workspace_id) as connection:
            # Times that were missed are one job: whoever slept for a night does not want a hundred at once.
            upcoming = following(schedule.cron, schedule.time_zone, await time_at(connection))
            still = sa.and_(_at(schedule.workspace_id, schedule.id), _table.c.next_time == schedule.next_time)
            statement = sa.update(_table).where(still, sa.not_(_table.c.paused))
            moved = await connection.execute(statement.values(next_time=upcoming, last_job=job.id))
            if moved.rowcount:
                await self._store.add_within(connection, job)

    async def _move(self, schedule: Schedule, changes: dict[str, Any]) -> None:
        async with self._database.workspace(schedule.workspace_id) as connection:
            here = _at(schedule.workspace_id, schedule.id)
            await connection.execute(sa.update(_table).where(here).values(**changes))


def following(cron: str, zone: str, after: datetime) -> datetime:
    """Returns the next time of a cron expression in a time zone (empty: UTC); raises InvalidFields."""
    try:
        place = ZoneInfo(zone or "UTC")
    except (KeyError, ValueError, OSError):
        raise InvalidFields.one("schedule.time_zone", "is not an IANA time zone, such as 'Europe/Berlin'") from None
    if len(cron) > 200 or len(cron.split()) != 5:
        raise InvalidFields.one("schedule.cron", "must have five fields: minute, hour, day, month, day of the week")
    try:
        found: datetime = croniter(cron, after.astimezone(place)).get_next(datetime)
    except (CroniterError, ValueError, KeyError, OverflowError):
        raise InvalidFields.one("schedule.cron", "is not a cron expression, or never comes") from None
    return found.astimezone(UTC)


def _at(workspace: str, schedule_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(_table.c.workspace_id == workspace, _table.c.id == schedule_id)
