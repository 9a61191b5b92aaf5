"""Keeps the pins that travel, in PostgreSQL: at the hub it reads them, at an edge it writes them; decides nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cordboard.catalog import tables
from cordboard.catalog.store import PinRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.catalog.snapshot import Key, PinKey

_pin = tables.pin
_version = tables.version
_KEY = (_pin.c.workspace_id, _pin.c.environment, _pin.c.slug)


class PinStore:
    """The pins. Each method runs in a transaction that sees every workspace's."""

    async def changed(
        self, connection: AsyncConnection, *, after: int, until: int, workspaces: Sequence[str], limit: int
    ) -> list[PinRecord]:
        """Returns up to `limit` pins of the workspaces that changed after one change and until another, in order;
        those that were taken away too.
        """
        wanted = (
            sa.select(_pin)
            .where(_pin.c.sequence > after, _pin.c.sequence <= until, _pin.c.workspace_id.in_(workspaces))
            .order_by(_pin.c.sequence)
            .limit(limit)
        )
        return [PinRecord(*row) for row in await connection.execute(wanted)]

    async def begin_anew(self, connection: AsyncConnection) -> None:
        """Forgets what the hub says; what holds goes on holding."""
        await connection.execute(sa.update(_pin).where(_pin.c.hub_version != "").values(hub_version=""))

    async def are_left(self, connection: AsyncConnection) -> bool:
        """Tells whether there are pins of the hub that it has no longer."""
        wanted = sa.select(sa.exists().where(_pin.c.from_hub, _pin.c.hub_version == ""))
        return bool((await connection.execute(wanted)).scalar_one())

    async def concerned(
        self, connection: AsyncConnection, *, keys: Collection[PinKey], slugs: Collection[str], ended: bool
    ) -> list[PinRecord]:
        """Returns the pins with these keys, those of these integrations that wait for a version, and, where `ended`,
        those that the hub has no longer.
        """
        waiting = sa.and_(_pin.c.slug.in_(slugs), _pin.c.hub_version != "", _pin.c.hub_version != _pin.c.version)
        wanted = sa.or_(sa.tuple_(*_KEY).in_(list(keys)), waiting)
        if ended:
            wanted = sa.or_(wanted, sa.and_(_pin.c.from_hub, _pin.c.hub_version == ""))
        return [PinRecord(*row) for row in await connection.execute(sa.select(_pin).where(wanted))]

    async def there(self, connection: AsyncConnection, versions: Collection[Key]) -> set[Key]:
        """Returns those of the versions that are here."""
        wanted = sa.select(_version.c.slug, _version.c.version).where(
            sa.tuple_(_version.c.slug, _version.c.version).in_(list(versions))
        )
        return {(row.slug, row.version) for row in await connection.execute(wanted)}

    async def put(self, connection: AsyncConnection, records: Sequence[PinRecord]) -> None:
        """Writes pins."""
        written = insert(_pin)
        keys = [column.name for column in _KEY]
        replaced = {column.name: written.excluded[column.name] for column in _pin.c if column.name not in keys}
        statement = written.on_conflict_do_update(index_elements=keys, set_=replaced)
        await connection.execute(statement, [asdict(record) for record in records])
