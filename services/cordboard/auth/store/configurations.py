"""Rows of what a workspace has set for all of its connections to an integration."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from cordboard.auth.store.tables import workspace_configuration as table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class ConfigurationRow:
    """The values of one workspace for one integration; the secret ones sealed."""

    workspace: str
    integration: str
    configuration: Mapping[str, str]
    revision: int
    sealed: bytes | None
    update_time: datetime


COLUMNS = (
    table.c.workspace_id,
    table.c.integration,
    table.c.configuration,
    table.c.revision,
    table.c.sealed,
    table.c.update_time,
)


async def configuration(
    connection: AsyncConnection, workspace: str, integration: str, *, lock: bool = False
) -> ConfigurationRow | None:
    """Returns what a workspace has set for an integration, or None."""
    query = select(*COLUMNS).where(table.c.workspace_id == workspace, table.c.integration == integration)
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else ConfigurationRow(*row)


async def put_configuration(
    connection: AsyncConnection,
    workspace: str,
    integration: str,
    values: Mapping[str, str],
    revision: int,
    sealed: bytes | None,
) -> ConfigurationRow:
    """Sets what a workspace has for an integration."""
    changed = {"configuration": dict(values), "revision": revision, "sealed": sealed, "update_time": func.now()}
    query = (
        upsert(table)
        .values(workspace_id=workspace, integration=integration, **changed)
        .on_conflict_do_update(index_elements=["workspace_id", "integration"], set_=changed)
        .returning(*COLUMNS)
    )
    return ConfigurationRow(*(await connection.execute(query)).one())
