"""Rows of what is still to be revoked at the vendors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import and_, delete, func, insert, literal, select, tuple_, update

from cordboard.auth.store.tables import revocation as table

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class RevocationRow:
    """One token to revoke, sealed in the slot it was used from."""

    workspace: str
    id: str
    integration: str
    auth_scheme: str
    connection_id: str
    generation: int
    field: str
    sealed: bytes
    attempts: int
    client_owner: str
    client_id: bytes | None = None
    """The connection's own client, sealed with it, where a person typed one in."""
    client_secret: bytes | None = None
    configuration: Mapping[str, str] | None = None


_COLUMNS = (
    table.c.workspace_id,
    table.c.revocation_id,
    table.c.integration,
    table.c.auth_scheme,
    table.c.connection_id,
    table.c.generation,
    table.c.field,
    table.c.sealed,
    table.c.attempts,
    table.c.client_owner,
    table.c.client_id,
    table.c.client_secret,
    table.c.configuration,
)


async def add_revocation(connection: AsyncConnection, row: RevocationRow) -> None:
    """Adds a token to revoke."""
    await connection.execute(
        insert(table).values(
            workspace_id=row.workspace,
            revocation_id=row.id,
            integration=row.integration,
            auth_scheme=row.auth_scheme,
            connection_id=row.connection_id,
            generation=row.generation,
            field=row.field,
            sealed=row.sealed,
            attempts=row.attempts,
            client_owner=row.client_owner,
            client_id=row.client_id,
            client_secret=row.client_secret,
            configuration=dict(row.configuration or {}),
        )
    )


async def claim_revocation(connection: AsyncConnection, *, first: float, longest: float) -> RevocationRow | None:
    """Takes one that is due, and makes it due again later: after `first` seconds, doubled with each attempt."""
    due = (
        select(table.c.workspace_id, table.c.revocation_id)
        .where(table.c.next_time <= func.clock_timestamp())
        .order_by(table.c.next_time)
        .limit(1)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    pause = func.least(literal(longest), literal(first) * func.power(2, table.c.attempts))
    query = (
        update(table)
        .where(tuple_(table.c.workspace_id, table.c.revocation_id).in_(select(due.c.workspace_id, due.c.revocation_id)))
        .values(
            attempts=table.c.attempts + 1,
            next_time=func.clock_timestamp() + pause * literal(timedelta(seconds=1)),
        )
        .returning(*_COLUMNS)
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else RevocationRow(*row)


async def drop_revocation(connection: AsyncConnection, workspace: str, revocation_id: str) -> None:
    """Deletes one that is done with."""
    await connection.execute(
        delete(table).where(and_(table.c.workspace_id == workspace, table.c.revocation_id == revocation_id))
    )
