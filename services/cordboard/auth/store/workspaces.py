"""Rows of the workspaces."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from cordboard.auth.store.tables import workspace as table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class WorkspaceRow:
    """A workspace."""

    id: str
    display_name: str
    customer: str
    tier: str
    region: str
    revision: int
    create_time: datetime
    update_time: datetime


_COLUMNS = (
    table.c.workspace_id,
    table.c.display_name,
    table.c.customer,
    table.c.tier,
    table.c.region,
    table.c.revision,
    table.c.create_time,
    table.c.update_time,
)


async def workspace(connection: AsyncConnection, workspace: str, *, lock: bool = False) -> WorkspaceRow | None:
    """Returns a workspace, locked until the transaction ends where that is asked for; None when there is none."""
    query = select(*_COLUMNS).where(table.c.workspace_id == workspace)
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else WorkspaceRow(*row)


async def workspaces(connection: AsyncConnection, *, after: str, limit: int) -> list[WorkspaceRow]:
    """Returns up to `limit` workspaces with an id above `after`, in order of id."""
    query = select(*_COLUMNS).where(table.c.workspace_id > after).order_by(table.c.workspace_id).limit(limit)
    return [WorkspaceRow(*row) for row in await connection.execute(query)]


async def add_workspace(connection: AsyncConnection, workspace: str, values: Mapping[str, str]) -> WorkspaceRow | None:
    """Adds a workspace; None when one has that id."""
    query = upsert(table).values(workspace_id=workspace, revision=1, **values).on_conflict_do_nothing()
    row = (await connection.execute(query.returning(*_COLUMNS))).one_or_none()
    return None if row is None else WorkspaceRow(*row)


async def change_workspace(connection: AsyncConnection, workspace: str, values: Mapping[str, str]) -> WorkspaceRow:
    """Changes values of a workspace that exists."""
    query = (
        update(table)
        .where(table.c.workspace_id == workspace)
        .values(revision=table.c.revision + 1, update_time=func.now(), **values)
    )
    return WorkspaceRow(*(await connection.execute(query.returning(*_COLUMNS))).one())
