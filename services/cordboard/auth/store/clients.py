"""Rows of our OAuth clients at the vendors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from cordboard.auth.store.tables import oauth_client as table

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class ClientRow:
    """An OAuth client; without `sealed` it is a public one."""

    integration: str
    client_id: str
    revision: int
    sealed: bytes | None
    update_time: datetime


_COLUMNS = (table.c.integration, table.c.client_id, table.c.revision, table.c.sealed, table.c.update_time)


async def client(connection: AsyncConnection, integration: str, *, lock: bool = False) -> ClientRow | None:
    """Returns an integration's client, or None when none is set."""
    query = select(*_COLUMNS).where(table.c.integration == integration)
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else ClientRow(*row)


async def put_client(
    connection: AsyncConnection, integration: str, client_id: str, revision: int, sealed: bytes | None
) -> ClientRow:
    """Sets an integration's client."""
    values = {"client_id": client_id, "revision": revision, "sealed": sealed, "update_time": func.now()}
    query = (
        upsert(table)
        .values(integration=integration, **values)
        .on_conflict_do_update(index_elements=["integration"], set_=values)
        .returning(*_COLUMNS)
    )
    return ClientRow(*(await connection.execute(query)).one())
