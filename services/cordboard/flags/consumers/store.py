"""Keeps who follows the flags in PostgreSQL, for all replicas; decides nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from cordboard.core.database import Database

_consumer = sa.Table(
    "consumer",
    sa.MetaData(),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text),
    sa.Column("protocol", sa.Text),
    sa.Column("workspace_id", sa.Text),
    sa.Column("sequence", sa.BigInteger),
    sa.Column("ack_time", sa.DateTime(timezone=True)),
    sa.Column("fresh_time", sa.DateTime(timezone=True)),
    sa.Column("report_time", sa.DateTime(timezone=True)),
)


@dataclass(frozen=True)
class ConsumerRecord:
    """Somebody who follows the flags."""

    id: str
    kind: str
    """`service`, `edge` or `client`."""
    protocol: str
    workspace_id: str
    sequence: int
    """The newest change that it has; 0: not known."""
    ack_time: datetime | None
    """When it took that change."""
    fresh_time: datetime | None
    """When it was last known to have the newest change."""
    report_time: datetime
    """When it was last heard."""


class ConsumerStore:
    """Keeps consumers by id; of two that know of one, the later one is right."""

    def __init__(self, database: Database) -> None:
        """Takes the database of the service."""
        self._database = database
        # Nobody's to take back: an edge whose revision is not known now keeps the one that was known.
        written = insert(_consumer)
        known, new = _consumer.c, written.excluded
        unknown = new.sequence == 0
        self._put = written.on_conflict_do_update(
            index_elements=["id"],
            set_={
                "sequence": sa.case((unknown, known.sequence), else_=new.sequence),
                "ack_time": sa.case(
                    (sa.or_(unknown, new.sequence == known.sequence), known.ack_time), else_=new.ack_time
                ),
                "fresh_time": sa.func.greatest(known.fresh_time, new.fresh_time),
                "report_time": new.report_time,
            },
            where=known.report_time <= new.report_time,
        )

    async def put(self, records: Sequence[ConsumerRecord]) -> None:
        """Writes consumers over what was known of them."""
        async with self._database.everywhere() as connection:
            await connection.execute(self._put, [asdict(record) for record in records])

    async def drop(self, ids: Collection[str], *, heard_before: datetime, edges_before: datetime) -> None:
        """Forgets the consumers of these ids, and all that were not heard since a time, edges since another."""
        silent = sa.or_(
            sa.and_(_consumer.c.kind != "edge", _consumer.c.report_time < heard_before),
            _consumer.c.report_time < edges_before,
        )
        gone = sa.or_(_consumer.c.id.in_(ids), silent) if ids else silent
        async with self._database.everywhere() as connection:
            await connection.execute(sa.delete(_consumer).where(gone))

    async def page(self, *, after: str, limit: int) -> list[ConsumerRecord]:
        """Returns up to `limit` consumers with an id above `after`, in order."""
        wanted = sa.select(_consumer).where(_consumer.c.id > after).order_by(_consumer.c.id).limit(limit)
        async with self._database.everywhere() as connection:
            rows: list[Any] = list(await connection.execute(wanted))
        return [ConsumerRecord(*row) for row in rows]
