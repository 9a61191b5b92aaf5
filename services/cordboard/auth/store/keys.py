"""Rows of the keys: those of the workspaces, wrapped, and those that sign tokens, sealed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from cordboard.auth.store.tables import shredded_workspace, signing_key, workspace_key

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class WorkspaceKeyRow:
    """One version of a workspace's key."""

    version: int
    key_id: str
    wrapped: bytes
    seals: bool = True
    """Whether its time to seal has come."""


@dataclass(frozen=True)
class SigningKeyRow:
    """A signing key; what it does follows from its times and from the database's clock."""

    kid: str
    jwk: dict[str, Any]
    sealed: bytes
    create_time: datetime
    sign_time: datetime
    expire_time: datetime | None


_SIGNING = (
    signing_key.c.kid,
    signing_key.c.jwk,
    signing_key.c.sealed,
    signing_key.c.create_time,
    signing_key.c.sign_time,
    signing_key.c.expire_time,
)


async def workspace_keys(connection: AsyncConnection, workspace: str) -> list[WorkspaceKeyRow]:
    """Returns every version of a workspace's key, oldest first."""
    key = workspace_key.c
    seals = key.seal_time <= func.clock_timestamp()
    query = select(key.version, key.key_id, key.wrapped, seals).where(key.workspace_id == workspace)
    query = query.order_by(key.version)
    return [WorkspaceKeyRow(*row) for row in await connection.execute(query)]


async def add_workspace_key(
    connection: AsyncConnection, workspace: str, row: WorkspaceKeyRow, *, seal_after: float = 0.0
) -> None:
    """Adds a version that seals after so many seconds, unless another process was first."""
    await connection.execute(
        upsert(workspace_key)
        .values(
            workspace_id=workspace,
            version=row.version,
            key_id=row.key_id,
            wrapped=row.wrapped,
            seal_time=func.clock_timestamp() + timedelta(seconds=seal_after),
        )
        .on_conflict_do_nothing()
    )


async def is_shredded(connection: AsyncConnection, workspace: str) -> bool:
    """Tells whether a workspace's keys were destroyed on purpose."""
    query = select(shredded_workspace.c.workspace).where(shredded_workspace.c.workspace == workspace)
    return (await connection.execute(query)).one_or_none() is not None


async def lock_signing_keys(connection: AsyncConnection) -> None:
    """Lets one process at a time decide about signing keys, until this transaction ends."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('cordboard.auth.signing_key', 0))"))


async def signing_keys(connection: AsyncConnection) -> tuple[datetime, list[SigningKeyRow]]:
    """Returns the database's time and the keys that are not gone by then, in the order in which they sign."""
    now = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    query = (
        select(*_SIGNING)
        .where(or_(signing_key.c.expire_time.is_(None), signing_key.c.expire_time > now))
        .order_by(signing_key.c.sign_time)
    )
    return now, [SigningKeyRow(*row) for row in await connection.execute(query)]


async def add_signing_key(connection: AsyncConnection, row: SigningKeyRow) -> None:
    """Adds a key."""
    await connection.execute(
        insert(signing_key).values(
            kid=row.kid,
            jwk=row.jwk,
            sealed=row.sealed,
            create_time=row.create_time,
            sign_time=row.sign_time,
            expire_time=row.expire_time,
        )
    )


async def expire_signing_key(connection: AsyncConnection, kid: str, at: datetime | None) -> None:
    """Says when a key leaves the key set; None: not while it signs."""
    await connection.execute(update(signing_key).where(signing_key.c.kid == kid).values(expire_time=at))


async def sign_from(connection: AsyncConnection, kid: str, at: datetime) -> None:
    """Says when a key's turn to sign begins."""
    await connection.execute(update(signing_key).where(signing_key.c.kid == kid).values(sign_time=at))


async def delete_signing_key(connection: AsyncConnection, kid: str) -> None:
    """Deletes a key."""
    await connection.execute(delete(signing_key).where(signing_key.c.kid == kid))


async def drop_gone_signing_keys(connection: AsyncConnection) -> None:
    """Deletes the keys that have left the key set."""
    await connection.execute(delete(signing_key).where(signing_key.c.expire_time <= func.now()))
