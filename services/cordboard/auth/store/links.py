"""Rows of the links to the connect page."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update

from cordboard.auth.store.tables import connect_link as table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class LinkRow:
    """An invitation to connect one account."""

    workspace: str
    id: str
    key_hash: bytes = field(repr=False)
    integration: str
    auth_schemes: tuple[str, ...]
    environment: str
    connection_id: str
    display_name: str
    scopes: tuple[str, ...]
    configuration: Mapping[str, str]
    inputs: bytes | None
    return_url: str
    origin: str
    session_id: str
    actor: str
    expire_time: datetime
    expired: bool


_COLUMNS = (
    table.c.workspace_id,
    table.c.link_id,
    table.c.key_hash,
    table.c.integration,
    table.c.auth_schemes,
    table.c.environment,
    table.c.connection_id,
    table.c.display_name,
    table.c.scopes,
    table.c.configuration,
    table.c.inputs,
    table.c.return_url,
    table.c.origin,
    table.c.session_id,
    table.c.actor,
    table.c.expire_time,
    (table.c.expire_time <= func.now()).label("expired"),
)


async def add_link(connection: AsyncConnection, values: Mapping[str, Any], *, seconds: int) -> LinkRow:
    """Adds a link that is good for so many seconds."""
    expires = func.now() + timedelta(seconds=seconds)
    query = insert(table).values(expire_time=expires, **values).returning(*_COLUMNS)
    return _record((await connection.execute(query)).one())


async def link(connection: AsyncConnection, link_id: str) -> LinkRow | None:
    """Returns a link, of whichever workspace the transaction sees; None when there is none."""
    row = (await connection.execute(select(*_COLUMNS).where(table.c.link_id == link_id))).one_or_none()
    return None if row is None else _record(row)


async def point_at(connection: AsyncConnection, workspace: str, link_id: str, session_id: str) -> None:
    """Has a link follow a connect session."""
    own = table.c.workspace_id == workspace, table.c.link_id == link_id
    await connection.execute(update(table).where(*own).values(session_id=session_id))


async def drop_old_links(connection: AsyncConnection, *, seconds: int) -> None:
    """Deletes the links that ended more than so many seconds ago."""
    await connection.execute(delete(table).where(table.c.expire_time < func.now() - timedelta(seconds=seconds)))


def _record(row: Any) -> LinkRow:
    values = row._asdict()
    values["workspace"], values["id"] = values.pop("workspace_id"), values.pop("link_id")
    values["auth_schemes"], values["scopes"] = tuple(values["auth_schemes"]), tuple(values["scopes"])
    return LinkRow(**values)
