"""Rows of sealing keys: a workspace's, one series for each service."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class SealingKeyRow:
    """One sealing key, sealed."""

    version: int
    sealed: bytes
    age: timedelta


_READ: Final = text(
    "SELECT version, sealed, now() - create_time FROM sealing_key WHERE workspace_id = :workspace "
    "AND service = :service AND (:version = 0 OR version = :version) ORDER BY version DESC LIMIT 1"
)
_ADD: Final = text(
    "INSERT INTO sealing_key (workspace_id, service, version, sealed) "
    "VALUES (:workspace, :service, :version, :sealed) ON CONFLICT DO NOTHING"
)


async def sealing_key(connection: AsyncConnection, workspace: str, service: str, version: int) -> SealingKeyRow | None:
    """Returns the key of this version, or the newest one (0); None when there is none."""
    values = {"workspace": workspace, "service": service, "version": version}
    row = (await connection.execute(_READ, values)).one_or_none()
    return None if row is None else SealingKeyRow(row[0], bytes(row[1]), row[2])


async def add_sealing_key(
    connection: AsyncConnection, workspace: str, service: str, version: int, sealed: bytes
) -> None:
    """Adds a key, unless there is one of this version."""
    values = {"workspace": workspace, "service": service, "version": version, "sealed": sealed}
    await connection.execute(_ADD, values)
