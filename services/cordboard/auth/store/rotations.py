"""Rows of the rotations of keys: how far each one is, so that any process goes on where another one was killed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import func, insert, select, update

from cordboard.auth.store.tables import key_rotation as table
from cordboard.auth.store.tables import workspace_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

RUNNING, DONE, FAILED = "running", "done", "failed"


@dataclass(frozen=True)
class RotationRow:
    """One rotation."""

    id: str
    level: str
    workspace: str
    state: str
    place: int
    cursor: tuple[str, ...]
    work_time: datetime | None
    done: int
    total: int
    problem: str
    actor: str
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True)
class WrappedRow:
    """One version of a workspace's key, as the key provider wrapped it."""

    workspace: str
    version: int
    key_id: str
    wrapped: bytes


_COLUMNS = (
    table.c.rotation_id,
    table.c.level,
    table.c.workspace,
    table.c.state,
    table.c.place,
    table.c.cursor,
    table.c.work_time,
    table.c.done,
    table.c.total,
    table.c.problem,
    table.c.actor,
    table.c.create_time,
    table.c.update_time,
)


async def add_rotation(
    connection: AsyncConnection, rotation_id: str, *, level: str, workspace: str, actor: str
) -> RotationRow:
    """Adds a rotation that runs."""
    values = {"rotation_id": rotation_id, "level": level, "workspace": workspace, "state": RUNNING, "actor": actor}
    return _record((await connection.execute(insert(table).values(**values).returning(*_COLUMNS))).one())


async def rotation(connection: AsyncConnection, rotation_id: str) -> RotationRow | None:
    """Returns a rotation, or None."""
    row = (await connection.execute(select(*_COLUMNS).where(table.c.rotation_id == rotation_id))).one_or_none()
    return None if row is None else _record(row)


async def running(connection: AsyncConnection) -> RotationRow | None:
    """Returns the rotation that runs, or None."""
    row = (await connection.execute(select(*_COLUMNS).where(table.c.state == RUNNING))).one_or_none()
    return None if row is None else _record(row)


async def latest(connection: AsyncConnection, limit: int) -> list[RotationRow]:
    """Returns the last rotations, the newest first."""
    query = select(*_COLUMNS).order_by(table.c.create_time.desc()).limit(limit)
    return [_record(row) for row in await connection.execute(query)]


async def move(connection: AsyncConnection, rotation_id: str, place: int, cursor: Sequence[str], done: int) -> None:
    """Notes how far a rotation is, in the transaction of what it did."""
    values = {"place": place, "cursor": list(cursor), "done": table.c.done + done, "update_time": func.now()}
    await connection.execute(update(table).where(table.c.rotation_id == rotation_id).values(**values))


async def begin_work(connection: AsyncConnection, rotation_id: str, total: int) -> None:
    """Notes that the new keys are there, and how much there is to do."""
    values = {"work_time": func.clock_timestamp(), "total": total, "update_time": func.now()}
    await connection.execute(update(table).where(table.c.rotation_id == rotation_id).values(**values))


async def end(connection: AsyncConnection, rotation_id: str, *, problem: str) -> None:
    """Ends a rotation: done, or failed where there is a problem."""
    state = FAILED if problem else DONE
    query = update(table).where(table.c.rotation_id == rotation_id)
    await connection.execute(query.values(state=state, problem=problem, update_time=func.now()))


async def wrapped_keys(
    connection: AsyncConnection, *, workspace: str = "", after: Sequence[str] = (), limit: int = 1_000_000
) -> list[WrappedRow]:
    """Returns versions of workspaces' keys in order; of one workspace where it is named."""
    key = workspace_key.c
    query = select(key.workspace_id, key.version, key.key_id, key.wrapped).order_by(key.workspace_id, key.version)
    if workspace:
        query = query.where(key.workspace_id == workspace)
    if after:
        last, version = after[0], int(after[1])
        query = query.where((key.workspace_id > last) | ((key.workspace_id == last) & (key.version > version)))
    return [WrappedRow(*row) for row in await connection.execute(query.limit(limit))]


async def replace_wrapped(connection: AsyncConnection, row: WrappedRow, wrapped: bytes) -> bool:
    """Puts a wrapped key in the place of the one that was read; tells whether that one was still there."""
    key = workspace_key.c
    query = (
        update(workspace_key)
        .where(key.workspace_id == row.workspace, key.version == row.version, key.wrapped == row.wrapped)
        .values(wrapped=wrapped)
        .returning(key.version)
    )
    return (await connection.execute(query)).one_or_none() is not None


async def new_keys_since(connection: AsyncConnection, moment: datetime) -> set[str]:
    """Returns the workspaces that got a version of their key since a time."""
    query = select(workspace_key.c.workspace_id).where(workspace_key.c.create_time >= moment).distinct()
    return set((await connection.execute(query)).scalars())


async def retired_keys(connection: AsyncConnection, *, seconds: float) -> list[WrappedRow]:
    """Returns the versions that a newer one has sealed in the place of for so many seconds."""
    old, newer = workspace_key.alias("old"), workspace_key.alias("newer")
    later = (
        select(newer.c.version)
        .where(
            newer.c.workspace_id == old.c.workspace_id,
            newer.c.version > old.c.version,
            newer.c.seal_time < func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, seconds),
        )
        .exists()
    )
    query = select(old.c.workspace_id, old.c.version, old.c.key_id, old.c.wrapped).where(later)
    return [WrappedRow(*row) for row in await connection.execute(query)]


async def drop_wrapped(connection: AsyncConnection, row: WrappedRow) -> None:
    """Destroys a version of a workspace's key."""
    key = workspace_key.c
    query = workspace_key.delete().where(key.workspace_id == row.workspace, key.version == row.version)
    await connection.execute(query)


def _record(row: tuple[object, ...]) -> RotationRow:
    values = list(row)
    values[5] = tuple(values[5])  # type: ignore[arg-type]
    return RotationRow(*values)  # type: ignore[arg-type]
