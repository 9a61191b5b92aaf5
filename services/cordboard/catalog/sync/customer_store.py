"""Keeps which customers the workspaces of edges belong to, in PostgreSQL; decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cordboard.catalog import tables

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

_customer = tables.customer
_edge = tables.edge
_flags = tables.flags


class CustomerStore:
    """The customers of edges' workspaces."""

    def __init__(self, database: Database) -> None:
        """Takes the service's database."""
        self._database = database

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Opens a transaction that sees every workspace's."""
        return self._database.everywhere()

    async def served(self, connection: AsyncConnection) -> list[str]:
        """Returns the workspaces of all edges that were not revoked, in order."""
        wanted = sa.select(sa.func.unnest(_edge.c.workspaces).label("id")).where(_edge.c.revoke_time.is_(None))
        found = await connection.execute(wanted.distinct().order_by("id"))
        return [row.id for row in found]

    async def known(self, connection: AsyncConnection, workspaces: Collection[str]) -> dict[str, str]:
        """Returns the customers of those of the workspaces whose customer is known."""
        asked = sa.cast(list(workspaces), sa.ARRAY(sa.Text))
        wanted = sa.select(_customer).where(_customer.c.workspace_id == sa.any_(asked))
        return {row.workspace_id: row.customer for row in await connection.execute(wanted)}

    async def put(self, connection: AsyncConnection, customers: Mapping[str, str]) -> None:
        """Writes the customers of workspaces."""
        if customers:
            written = insert(_customer)
            replaced = {"customer": written.excluded.customer}
            rows = [{"workspace_id": workspace, "customer": customer} for workspace, customer in customers.items()]
            await connection.execute(
                written.on_conflict_do_update(index_elements=["workspace_id"], set_=replaced), rows
            )

    async def forget(self, connection: AsyncConnection, workspaces: Collection[str]) -> None:
        """Takes away what is known of workspaces."""
        asked = sa.cast(list(workspaces), sa.ARRAY(sa.Text))
        await connection.execute(sa.delete(_customer).where(_customer.c.workspace_id == sa.any_(asked)))

    async def repeat_flags(self, connection: AsyncConnection, sequence: int) -> None:
        """Makes the flags a new change, so that every edge gets its part of them again."""
        await connection.execute(sa.update(_flags).values(sequence=sequence))
