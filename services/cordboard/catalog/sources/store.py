"""Keeps sources in PostgreSQL; decides nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

_source = sa.Table(
    "source",
    sa.MetaData(),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("content", sa.LargeBinary),
    sa.Column("revision", sa.BigInteger),
    sa.Column("next_run_time", sa.DateTime(timezone=True)),
    sa.Column("last_run", sa.LargeBinary),
    sa.Column("etag", sa.Text),
)


@dataclass(frozen=True)
class SourceRecord:
    """A source."""

    id: str
    content: bytes
    revision: int
    next_run_time: datetime | None
    last_run: bytes = b""
    etag: str = ""

    @property
    def name(self) -> str:
        """Returns the resource name."""
        return f"sources/{self.id}"


class SourceStore:
    """The table of sources."""

    def __init__(self, database: Database) -> None:
        """Takes the service's database."""
        self._database = database

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Opens a transaction."""
        return self._database.shared()

    async def source(self, connection: AsyncConnection, source: str, *, lock: bool = False) -> SourceRecord | None:
        """Returns a source, or None; `lock` keeps others from changing it until the transaction ends."""
        wanted = sa.select(_source).where(_source.c.id == source)
        found = (await connection.execute(wanted.with_for_update() if lock else wanted)).one_or_none()
        return None if found is None else SourceRecord(*found)

    async def sources(self, connection: AsyncConnection, *, after: str, limit: int) -> list[SourceRecord]:
        """Returns up to `limit` sources with an id above `after`, in order."""
        wanted = sa.select(_source).where(_source.c.id > after).order_by(_source.c.id).limit(limit)
        return [SourceRecord(*row) for row in await connection.execute(wanted)]

    async def due(self, connection: AsyncConnection, now: datetime) -> list[SourceRecord]:
        """Returns the sources that are to be read by now."""
        wanted = sa.select(_source).where(_source.c.next_run_time <= now).order_by(_source.c.next_run_time)
        return [SourceRecord(*row) for row in await connection.execute(wanted)]

    async def put(self, connection: AsyncConnection, record: SourceRecord) -> None:
        """Writes a source."""
        written = insert(_source).values(asdict(record))
        replaced = {name: written.excluded[name] for name in asdict(record) if name != "id"}
        await connection.execute(written.on_conflict_do_update(index_elements=["id"], set_=replaced))

    async def change(self, connection: AsyncConnection, source: str, **values: Any) -> bool:
        """Writes fields of a source; returns False when there is none."""
        return bool(
            (await connection.execute(sa.update(_source).where(_source.c.id == source).values(values))).rowcount
        )

    async def delete(self, connection: AsyncConnection, source: str) -> bool:
        """Deletes a source; returns False when there is none."""
        return bool((await connection.execute(sa.delete(_source).where(_source.c.id == source))).rowcount)
