"""Keeps routes in PostgreSQL, for all replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert

from cordboard.core.database import notify
from cordboard.proxy.backends.route import Backend, Route

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

CHANNEL: Final = "proxy_backends"

_route = sa.Table(
    "backend_route",
    sa.MetaData(),
    sa.Column("workspace_id", sa.Text, primary_key=True),
    sa.Column("integration", sa.Text, primary_key=True),
    sa.Column("primary_backend", JSONB),
    sa.Column("candidate", JSONB(none_as_null=True)),
    sa.Column("shadow_rate", sa.Float),
    *(sa.Column(name, sa.BigInteger) for name in ("revision", "era")),
    *(sa.Column(name, sa.DateTime(timezone=True)) for name in ("update_time", "cut_over_time")),
)


class RouteStore:
    """The table of routes."""

    def __init__(self, database: Database) -> None:
        """Takes the Proxy's database."""
        self._database = database

    async def all(self) -> list[Route]:
        """Returns the routes of all workspaces; raises DependencyUnavailable."""
        async with self._database.everywhere() as connection:
            return [_read(row) for row in (await connection.execute(sa.select(_route))).mappings()]

    async def page(self, workspace: str, *, after: str, limit: int) -> list[Route]:
        """Returns up to `limit` routes with a slug above `after`, in order of slugs."""
        query = sa.select(_route).where(_route.c.workspace_id == workspace, _route.c.integration > after)
        async with self._database.workspace(workspace) as connection:
            found = await connection.execute(query.order_by(_route.c.integration).limit(limit))
            return [_read(row) for row in found.mappings()]

    async def route(self, workspace: str, integration: str) -> Route | None:
        """Returns a route, or None where there is none."""
        async with self._database.workspace(workspace) as connection:
            query = sa.select(_route).where(_at(workspace, integration))
            row = (await connection.execute(query)).mappings().one_or_none()
        return _read(row) if row is not None else None

    @staticmethod
    async def held(connection: AsyncConnection, workspace: str, integration: str) -> Route | None:
        """Returns a route that nobody else changes before the transaction ends, or None."""
        query = sa.select(_route).where(_at(workspace, integration)).with_for_update()
        row = (await connection.execute(query)).mappings().one_or_none()
        return _read(row) if row is not None else None

    @staticmethod
    async def put(connection: AsyncConnection, route: Route, *, cut_over: bool) -> Route:
        """Keeps a route and tells the other replicas; returns it with its new revision."""
        values = {
            "primary_backend": route.primary.plain(),
            "candidate": route.candidate.plain() if route.candidate is not None else None,
            "shadow_rate": route.shadow_rate,
            "era": route.era,
            "revision": sa.func.nextval("backend_revision"),
            "update_time": sa.func.clock_timestamp(),
        }
        if cut_over:
            values["cut_over_time"] = sa.func.clock_timestamp()
        first = insert(_route).values(workspace_id=route.workspace, integration=route.integration, **values)
        keys = ["workspace_id", "integration"]
        statement = first.on_conflict_do_update(index_elements=keys, set_=values).returning(*_route.columns)
        row = (await connection.execute(statement)).mappings().one()
        await notify(connection, CHANNEL)
        return _read(row)

    @staticmethod
    async def delete(connection: AsyncConnection, workspace: str, integration: str) -> None:
        """Deletes a route and tells the other replicas."""
        await connection.execute(sa.delete(_route).where(_at(workspace, integration)))
        await notify(connection, CHANNEL)


def _at(workspace: str, integration: str) -> sa.ColumnElement[bool]:
    return sa.and_(_route.c.workspace_id == workspace, _route.c.integration == integration)


def _read(row: sa.RowMapping) -> Route:
    candidate = row["candidate"]
    return Route(
        workspace=row["workspace_id"],
        integration=row["integration"],
        primary=Backend.read(row["primary_backend"]),
        candidate=Backend.read(candidate) if candidate is not None else None,
        shadow_rate=row["shadow_rate"],
        revision=row["revision"],
        era=row["era"],
        update_time=row["update_time"],
        cut_over_time=row["cut_over_time"],
    )
