"""Keeps who has chosen what, and why; decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from cordboard.core.database import enter

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

_choice = sa.Table(
    "choice",
    sa.MetaData(),
    sa.Column("integration", sa.Text, primary_key=True),
    sa.Column("workspace_id", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("choice", sa.Text),
    sa.Column("creator", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("update_time", sa.DateTime(timezone=True)),
)
_KEY = (_choice.c.integration, _choice.c.workspace_id, _choice.c.environment)


@dataclass(frozen=True)
class Place:
    """Where something is chosen: an integration, for a workspace in an environment."""

    integration: str
    workspace: str
    environment: str

    @property
    def name(self) -> str:
        """Returns the resource name."""
        return f"workspaces/{self.workspace}/integrations/{self.integration}/choice"


@dataclass(frozen=True)
class ChoiceRecord:
    """What was chosen at a place; an empty choice is none."""

    place: Place
    choice: str = ""
    creator: str = ""
    reason: str = ""
    update_time: datetime | None = None


class ChoiceStore:
    """Keeps what workspaces have chosen."""

    def __init__(self, database: Database) -> None:
        """Takes the database of the service."""
        self._database = database

    async def write(self, connection: AsyncConnection, record: ChoiceRecord) -> None:
        """Makes this what is chosen at its place, inside of a transaction, which sees this workspace from then on."""
        place = record.place
        await enter(connection, place.workspace)
        if not record.choice:
            await connection.execute(sa.delete(_choice).where(*_at(place)))
            return
        values = {
            "integration": place.integration,
            "workspace_id": place.workspace,
            "environment": place.environment,
            "choice": record.choice,
            "creator": record.creator,
            "reason": record.reason,
            "update_time": record.update_time,
        }
        insert = postgresql.insert(_choice).values(values)
        await connection.execute(insert.on_conflict_do_update(index_elements=_KEY, set_=values))

    async def choice(self, place: Place) -> ChoiceRecord:
        """Returns what is chosen at a place."""
        async with self._database.workspace(place.workspace) as connection:
            row = (await connection.execute(sa.select(_choice).where(*_at(place)))).one_or_none()
        return ChoiceRecord(place) if row is None else _record(row)

    async def among(self, workspace: str, environment: str, integrations: Collection[str]) -> dict[str, ChoiceRecord]:
        """Returns what a workspace has chosen of some integrations, by slug."""
        statement = _of(workspace, environment).where(_choice.c.integration.in_(integrations))
        async with self._database.workspace(workspace) as connection:
            return {row.integration: _record(row) for row in await connection.execute(statement)}

    async def chosen(self, workspace: str, environment: str, *, after: str, limit: int) -> list[ChoiceRecord]:
        """Returns up to `limit` choices of a workspace about integrations above `after`, by slug."""
        statement = _of(workspace, environment).where(_choice.c.integration > after)
        async with self._database.workspace(workspace) as connection:
            rows = await connection.execute(statement.order_by(_choice.c.integration).limit(limit))
            return [_record(row) for row in rows]

    async def all(self, integration: str, *, after: Place | None, limit: int) -> list[ChoiceRecord]:
        """Returns up to `limit` choices of all workspaces above `after`, about one integration or (empty) any."""
        statement = sa.select(_choice).order_by(*_KEY).limit(limit)
        if integration:
            statement = statement.where(_choice.c.integration == integration)
        if after is not None:
            above = sa.tuple_(*_KEY) > sa.tuple_(after.integration, after.workspace, after.environment)
            statement = statement.where(above)
        async with self._database.everywhere() as connection:
            return [_record(row) for row in await connection.execute(statement)]


def _at(place: Place) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        _choice.c.integration == place.integration,
        _choice.c.workspace_id == place.workspace,
        _choice.c.environment == place.environment,
    )


def _of(workspace: str, environment: str) -> sa.Select[Any]:
    return sa.select(_choice).where(_choice.c.workspace_id == workspace, _choice.c.environment == environment)


def _record(row: Any) -> ChoiceRecord:
    place = Place(row.integration, row.workspace_id, row.environment)
    return ChoiceRecord(place, row.choice, row.creator, row.reason, row.update_time)
