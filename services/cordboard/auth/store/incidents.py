"""Rows of incidents: what is cut off, whom that hits, and alerts of mass reads."""

# ruff: noqa: S608 - what is put together are this module's own constants; every value is bound.

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, insert, select, text, update

from cordboard.auth.store.connections import CHANNEL
from cordboard.auth.store.tables import cut_off, read_alert
from cordboard.core.database import notify

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

# What stands in the place of a vendor's problem while a connection is cut off, and once its revocation is queued.
CUT_OFF: Final = "cut_off"
REVOKED: Final = "cut_off_revoked"


@dataclass(frozen=True)
class CutOffRow:
    """One cut-off; an empty workspace or integration stands for all of them."""

    id: str
    workspace: str
    integration: str
    reason: str
    revoke: bool
    actor: str
    create_time: datetime
    restore_time: datetime | None


@dataclass(frozen=True)
class AlertRow:
    """One alert of a mass read."""

    id: str
    workspace: str
    caller: str
    connections: int
    seconds: float
    create_time: datetime


_CUT_OFF = (
    cut_off.c.cut_off_id,
    cut_off.c.workspace,
    cut_off.c.integration,
    cut_off.c.reason,
    cut_off.c.revoke,
    cut_off.c.actor,
    cut_off.c.create_time,
    cut_off.c.restore_time,
)
_ALERT = (
    read_alert.c.alert_id,
    read_alert.c.workspace,
    read_alert.c.caller,
    read_alert.c.connections,
    read_alert.c.seconds,
    read_alert.c.create_time,
)
_WITHIN: Final = "(:workspace = '' OR workspace_id = :workspace) AND (:integration = '' OR integration = :integration)"
_CUT: Final = text(
    "UPDATE connection SET state = 'reconnect_required', problem = 'cut_off', lease_owner = NULL, lease_until = NULL, "
    f"update_time = now() WHERE state = 'ready' AND {_WITHIN} RETURNING workspace_id, connection_id, generation"
)
_BACK: Final = text(
    "UPDATE connection c SET state = 'ready', problem = '', update_time = now() "
    f"WHERE problem = 'cut_off' AND {_WITHIN} AND NOT EXISTS (SELECT 1 FROM cut_off o WHERE o.restore_time IS NULL "
    "AND (o.workspace = '' OR o.workspace = c.workspace_id) "
    "AND (o.integration = '' OR o.integration = c.integration)) RETURNING workspace_id, connection_id, generation"
)
_REMOVE: Final = text(
    "DELETE FROM connection WHERE workspace_id = :workspace AND :integration = '' "
    "RETURNING workspace_id, connection_id, 0"
)
# Everybody who watches is told of each: numbered in one statement, under the lock of the head.
_TELL: Final = text(
    "WITH told AS (SELECT w, c, g, row_number() OVER () AS n FROM unnest(CAST(:ws AS text[]), CAST(:ids AS text[]), "
    "CAST(:gens AS bigint[])) AS t(w, c, g)), head AS (UPDATE connection_head SET sequence = sequence + :count "
    "RETURNING sequence - :count AS before) INSERT INTO connection_change "
    "(workspace_id, connection_id, sequence, generation, highest_generation) "
    "SELECT w, c, head.before + n, g, g FROM told, head ON CONFLICT (workspace_id, connection_id) DO UPDATE SET "
    "sequence = excluded.sequence, generation = excluded.generation, "
    "highest_generation = greatest(connection_change.highest_generation, excluded.generation)"
)
_REVOCABLE: Final = text(
    f"SELECT workspace_id, connection_id FROM connection WHERE problem = 'cut_off' AND {_WITHIN} "
    "AND (workspace_id, connection_id) > (:after_workspace, :after_connection) "
    "ORDER BY workspace_id, connection_id LIMIT :limit"
)
_QUEUED: Final = text(
    "UPDATE connection SET problem = 'cut_off_revoked' WHERE workspace_id = :workspace AND connection_id = :connection"
)


async def add_cut_off(connection: AsyncConnection, row: CutOffRow) -> CutOffRow:
    """Adds one."""
    values = {
        "cut_off_id": row.id,
        "workspace": row.workspace,
        "integration": row.integration,
        "reason": row.reason,
        "revoke": row.revoke,
        "actor": row.actor,
    }
    return CutOffRow(*(await connection.execute(insert(cut_off).values(**values).returning(*_CUT_OFF))).one())


async def find_cut_off(connection: AsyncConnection, cut_off_id: str) -> CutOffRow | None:
    """Returns one, locked, or None."""
    query = select(*_CUT_OFF).where(cut_off.c.cut_off_id == cut_off_id).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else CutOffRow(*row)


async def end_cut_off(connection: AsyncConnection, cut_off_id: str) -> CutOffRow:
    """Ends one."""
    query = update(cut_off).where(cut_off.c.cut_off_id == cut_off_id).values(restore_time=func.now())
    return CutOffRow(*(await connection.execute(query.returning(*_CUT_OFF))).one())


async def cut_offs(connection: AsyncConnection, *, before: str, limit: int) -> list[CutOffRow]:
    """Returns up to `limit` with an id below `before`, the newest first; ids grow with time."""
    query = select(*_CUT_OFF).order_by(cut_off.c.cut_off_id.desc()).limit(limit)
    if before:
        query = query.where(cut_off.c.cut_off_id < before)
    return [CutOffRow(*row) for row in await connection.execute(query)]


async def cut(connection: AsyncConnection, workspace: str, integration: str) -> int:
    """Makes ready connections unusable and tells every watcher; returns how many. The last of its transaction."""
    return await _told(connection, _CUT, workspace, integration)


async def bring_back(connection: AsyncConnection, workspace: str, integration: str) -> int:
    """Makes connections ready that nothing cuts off any more and that were not revoked; returns how many."""
    return await _told(connection, _BACK, workspace, integration)


async def remove_all(connection: AsyncConnection, workspace: str) -> int:
    """Removes every connection of a workspace and tells every watcher; returns how many."""
    return await _told(connection, _REMOVE, workspace, "")


async def _told(connection: AsyncConnection, statement: object, workspace: str, integration: str) -> int:
    values = {"workspace": workspace, "integration": integration}
    changed = (await connection.execute(statement, values)).all()  # type: ignore[call-overload]
    if changed:
        workspaces, ids, generations = (list(column) for column in zip(*changed, strict=True))
        told = {"ws": workspaces, "ids": ids, "gens": generations, "count": len(changed)}
        await connection.execute(_TELL, told)
        await notify(connection, CHANNEL)
    return len(changed)


async def revocable(
    connection: AsyncConnection, workspace: str, integration: str, *, after: tuple[str, str], limit: int
) -> list[tuple[str, str]]:
    """Returns up to `limit` connections that are cut off and whose revocation is not queued yet, in order."""
    values = {
        "workspace": workspace,
        "integration": integration,
        "after_workspace": after[0],
        "after_connection": after[1],
        "limit": limit,
    }
    return [(row[0], row[1]) for row in await connection.execute(_REVOCABLE, values)]


async def mark_queued(connection: AsyncConnection, workspace: str, connection_id: str) -> None:
    """Notes that a connection's revocation is queued: it does not come back by itself."""
    await connection.execute(_QUEUED, {"workspace": workspace, "connection": connection_id})


async def add_alert(connection: AsyncConnection, row: AlertRow) -> None:
    """Adds an alert."""
    values = {
        "alert_id": row.id,
        "workspace": row.workspace,
        "caller": row.caller,
        "connections": row.connections,
        "seconds": row.seconds,
    }
    await connection.execute(insert(read_alert).values(**values))


async def alerts(connection: AsyncConnection, *, before: str, limit: int) -> list[AlertRow]:
    """Returns up to `limit` with an id below `before`, the newest first; ids grow with time."""
    query = select(*_ALERT).order_by(read_alert.c.alert_id.desc()).limit(limit)
    if before:
        query = query.where(read_alert.c.alert_id < before)
    return [AlertRow(*row) for row in await connection.execute(query)]
