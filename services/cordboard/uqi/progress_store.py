"""Keeps in PostgreSQL how far each process is with making forms; decides nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cordboard.uqi.progress import Progress

if TYPE_CHECKING:
    from cordboard.core.database import Database

# A process that has not been seen for as long makes nothing any more.
GONE_AFTER: Final = timedelta(seconds=15)
# Failures that nobody mended are not told for ever.
FORGOTTEN_AFTER: Final = timedelta(days=7)

_metadata = sa.MetaData()
_progress = sa.Table(
    "form_progress",
    _metadata,
    sa.Column("integration", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("replica", sa.Text, primary_key=True),
    sa.Column("start_time", sa.DateTime(timezone=True)),
    sa.Column("made", sa.Integer),
    sa.Column("total", sa.Integer),
    sa.Column("problem", sa.Text),
    sa.Column("end_time", sa.DateTime(timezone=True)),
    sa.Column("seen_time", sa.DateTime(timezone=True)),
)
_KEY: Final = ("integration", "version", "replica")
_TOLD: Final = ("integration", "version", "start_time", "made", "total", "problem", "end_time")


class ProgressStore:
    """Keeps progress, by version and by process."""

    def __init__(self, database: Database) -> None:
        """Takes the database of UQI."""
        self._database = database

    async def put(self, replica: str, found: Sequence[Progress], done: Collection[tuple[str, str]]) -> None:
        """Keeps what a process makes or could not make; of versions that are done, nobody's failure counts any more."""
        of_version = sa.tuple_(_progress.c.integration, _progress.c.version)
        ended = [(each.integration, each.version) for each in found if each.end_time is not None]
        others = sa.or_(_progress.c.end_time.is_not(None), _progress.c.replica == replica)
        async with self._database.shared() as connection:
            if done or ended:
                keys = sorted({*done, *ended})
                await connection.execute(sa.delete(_progress).where(of_version.in_(keys), others))
            if found:
                rows = [{name: getattr(each, name) for name in _TOLD} | {"replica": replica} for each in found]
                upsert = insert(_progress).values([{**row, "seen_time": sa.func.now()} for row in rows])
                changed = {name: upsert.excluded[name] for name in (*_TOLD[2:], "seen_time")}
                await connection.execute(upsert.on_conflict_do_update(index_elements=_KEY, set_=changed))
            old = sa.or_(
                _progress.c.seen_time < sa.func.now() - FORGOTTEN_AFTER,
                sa.and_(_progress.c.end_time.is_(None), _progress.c.seen_time < sa.func.now() - GONE_AFTER),
            )
            await connection.execute(sa.delete(_progress).where(old))

    async def others(self, replica: str, integration: str) -> list[Progress]:
        """Returns what processes but this one make of an integration now, and what they could not make."""
        alive = sa.or_(_progress.c.end_time.is_not(None), _progress.c.seen_time > sa.func.now() - GONE_AFTER)
        query = sa.select(*(_progress.c[name] for name in _TOLD)).where(
            _progress.c.integration == integration, _progress.c.replica != replica, alive
        )
        async with self._database.shared() as connection:
            return [Progress(**row) for row in (await connection.execute(query)).mappings()]
