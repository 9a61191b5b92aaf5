"""Rows of our OAuth clients at the vendors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from cordboard.auth.store.tables import oauth_client as platform_table
from cordboard.auth.store.tables import workspace_oauth_client as workspace_table

if TYPE_CHECKING:
    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class ClientRow:
    """An OAuth client; without `sealed` it is a public one."""

    integration: str
    client_id: str
    revision: int
    sealed: bytes | None
    update_time: datetime


async def client(
    connection: AsyncConnection, integration: str, workspace: str = "", *, lock: bool = False
) -> ClientRow | None:
    """Returns an integration's client, the workspace's own where one is named; None when none is set."""
    table = _table(workspace)
    query = select(*_columns(table)).where(_is(table, integration, workspace))
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else ClientRow(*row)


async def put_client(
    connection: AsyncConnection,
    integration: str,
    client_id: str,
    revision: int,
    sealed: bytes | None,
    workspace: str = "",
) -> ClientRow:
    """Sets an integration's client, the workspace's own where one is named."""
    table = _table(workspace)
    key = {"integration": integration, **({"workspace_id": workspace} if workspace else {})}
    values = {"client_id": client_id, "revision": revision, "sealed": sealed, "update_time": func.now()}
    query = (
        upsert(table)
        .values(**key, **values)
        .on_conflict_do_update(index_elements=list(key), set_=values)
        .returning(*_columns(table))
    )
    return ClientRow(*(await connection.execute(query)).one())


async def drop_client(connection: AsyncConnection, integration: str, workspace: str) -> bool:
    """Deletes a workspace's own client; tells whether there was one."""
    query = delete(workspace_table).where(_is(workspace_table, integration, workspace))
    found = await connection.execute(query.returning(workspace_table.c.integration))
    return found.one_or_none() is not None


def _table(workspace: str) -> Table:
    return workspace_table if workspace else platform_table


def _columns(table: Table) -> tuple[Any, ...]:
    return (table.c.integration, table.c.client_id, table.c.revision, table.c.sealed, table.c.update_time)


def _is(table: Table, integration: str, workspace: str) -> Any:
    named = table.c.integration == integration
    return and_(named, table.c.workspace_id == workspace) if workspace else named
