"""Rows of what moves between installations: transfer keys, and connections as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class TransferKeyRow:
    """A pair of keys, its private half sealed."""

    id: str
    public_key: str
    sealed: bytes


@dataclass(frozen=True)
class WholeRow:
    """A connection with every column, and its sealed credential."""

    values: Mapping[str, Any]
    sealed: Mapping[str, bytes]


# What holds in the one installation only.
_OWN: Final = ("lease_owner", "lease_until", "forced_until", "retry_time")


async def add_transfer_key(connection: AsyncConnection, row: TransferKeyRow) -> None:
    """Adds a pair."""
    query = text("INSERT INTO transfer_key (key_id, public_key, sealed) VALUES (:id, :public_key, :sealed)")
    await connection.execute(query, vars(row))


async def transfer_key(connection: AsyncConnection, key_id: str) -> TransferKeyRow | None:
    """Returns a pair, or None."""
    query = text("SELECT key_id, public_key, sealed FROM transfer_key WHERE key_id = :id")
    row = (await connection.execute(query, {"id": key_id})).one_or_none()
    return None if row is None else TransferKeyRow(row[0], row[1], bytes(row[2]))


async def whole_connections(
    connection: AsyncConnection, workspace: str, *, after: tuple[str, str], limit: int
) -> list[WholeRow]:
    """Returns up to `limit` connections with their credentials, in order; of one workspace where it is named."""
    query = text(
        "SELECT to_jsonb(c)::text, coalesce((SELECT jsonb_object_agg(field, encode(sealed, 'hex')) FROM credential s "
        "WHERE s.workspace_id = c.workspace_id AND s.connection_id = c.connection_id "
        "AND s.generation = c.generation), '{}')::text FROM connection c "
        "WHERE (c.workspace_id, c.connection_id) > (:workspace_after, :connection_after) "
        "AND (:workspace = '' OR c.workspace_id = :workspace) ORDER BY c.workspace_id, c.connection_id LIMIT :limit"
    )
    values = {"workspace": workspace, "workspace_after": after[0], "connection_after": after[1], "limit": limit}
    found = []
    for row in await connection.execute(query, values):
        columns = {name: value for name, value in orjson.loads(row[0]).items() if name not in _OWN}
        sealed = {field: bytes.fromhex(record) for field, record in orjson.loads(row[1]).items()}
        found.append(WholeRow(columns, sealed))
    return found


async def add_whole(connection: AsyncConnection, values: Mapping[str, Any]) -> bool:
    """Adds a connection as it was elsewhere; tells whether there was none of that id."""
    query = text(
        "INSERT INTO connection SELECT * FROM jsonb_populate_record(NULL::connection, CAST(:row AS jsonb)) "
        "ON CONFLICT DO NOTHING RETURNING connection_id"
    )
    return (await connection.execute(query, {"row": orjson.dumps(dict(values)).decode()})).one_or_none() is not None
