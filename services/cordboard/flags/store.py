"""Keeps flags and all their revisions in PostgreSQL; decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from cordboard.core.database import notify
from cordboard.flags.content import CHOOSABLE, Content

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

CHANNEL: Final = "cordboard_flags"
# Rows that are read without a break.
PIECE: Final = 200

_metadata = sa.MetaData()
_head = sa.Table("head", _metadata, sa.Column("sequence", sa.BigInteger))
_flag = sa.Table(
    "flag",
    _metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("revision", sa.BigInteger),
    sa.Column("sequence", sa.BigInteger),
    sa.Column("create_time", sa.DateTime(timezone=True)),
)
_revision = sa.Table(
    "flag_revision",
    _metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("revision", sa.BigInteger, primary_key=True),
    sa.Column("content", sa.JSON),
    sa.Column("killed", sa.Boolean),
    sa.Column("creator", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("create_time", sa.DateTime(timezone=True)),
)
_stream_key = sa.Table("stream_key", _metadata, sa.Column("key", sa.LargeBinary))
_COLUMNS: Final = (
    _revision.c.key,
    _revision.c.revision,
    _revision.c.content,
    _revision.c.killed,
    _revision.c.creator,
    _revision.c.reason,
    _revision.c.create_time.label("update_time"),
    _flag.c.create_time,
)
_history = _flag.join(_revision, _flag.c.key == _revision.c.key)
_newest = _flag.join(_revision, sa.and_(_flag.c.key == _revision.c.key, _flag.c.revision == _revision.c.revision))


@dataclass(frozen=True)
class FlagRecord:
    """A flag as it is from one revision on, and the change that made it so."""

    key: str
    revision: int
    content: Content
    killed: bool
    creator: str
    reason: str
    create_time: datetime
    """When the flag was created."""
    update_time: datetime
    """When this revision was made."""

    @property
    def name(self) -> str:
        """Returns the resource name of the flag."""
        return f"flags/{self.key}"

    @property
    def etag(self) -> str:
        """Returns the tag of this revision; revisions are never changed, so key and number say it all."""
        return hashlib.sha256(f"{self.key}/{self.revision}".encode()).hexdigest()[:16]


class FlagChange:
    """One transaction that changes flags, while no other one does."""

    def __init__(self, connection: AsyncConnection, sequence: int) -> None:
        """Takes the transaction, and its number among all changes."""
        self.connection = connection
        self.sequence = sequence

    async def flag(self, key: str) -> FlagRecord | None:
        """Returns the flag, or None when there is none."""
        return await _one(self.connection, _of_newest(key))

    async def referring(self) -> list[FlagRecord]:
        """Returns the flags that others decide too."""
        return [_record(row) for row in await self.connection.execute(_referring())]

    async def revision(self, key: str, number: int) -> FlagRecord | None:
        """Returns a revision of the flag, or None when there is none."""
        return await _one(self.connection, _of_history(key).where(_revision.c.revision == number))

    async def append(self, record: FlagRecord) -> None:
        """Adds a revision, and makes it the one that holds once the transaction has committed."""
        await self.connection.execute(
            sa.insert(_revision).values(
                key=record.key,
                revision=record.revision,
                content=record.content.to_json(),
                killed=record.killed,
                creator=record.creator,
                reason=record.reason,
                create_time=record.update_time,
            )
        )
        if record.revision == 1:
            statement: sa.Insert | sa.Update = sa.insert(_flag).values(key=record.key, create_time=record.create_time)
        else:
            statement = sa.update(_flag).where(_flag.c.key == record.key)
        await self.connection.execute(statement.values(revision=record.revision, sequence=self.sequence))


class FlagStore:
    """Keeps flags; each change has a number, and the numbers are in the order of the commits."""

    def __init__(self, database: Database) -> None:
        """Takes the database of the service."""
        self._database = database

    @contextlib.asynccontextmanager
    async def change(self) -> AsyncIterator[FlagChange]:
        """Opens a transaction for one change, which wakes the watchers when it commits; changes wait in line."""
        async with self._database.shared() as connection:
            # The row stays locked until the commit: numbers cannot overtake each other on the way there.
            advanced = await connection.execute(
                sa.update(_head).values(sequence=_head.c.sequence + 1).returning(_head.c.sequence)
            )
            yield FlagChange(connection, advanced.scalar_one())
            await notify(connection, CHANNEL)

    async def flag(self, key: str) -> FlagRecord | None:
        """Returns the flag, or None when there is none."""
        async with self._database.shared() as connection:
            return await _one(connection, _of_newest(key))

    async def as_of(self, key: str, *, revision: int | None, time: datetime | None) -> FlagRecord | None:
        """Returns the revision with this number, or else the newest one made until `time`; None when there is none."""
        statement = _of_history(key).order_by(_revision.c.revision.desc()).limit(1)
        if revision is not None:
            statement = statement.where(_revision.c.revision == revision)
        if time is not None:
            statement = statement.where(_revision.c.create_time <= time)
        async with self._database.shared() as connection:
            return await _one(connection, statement)

    async def referring(self) -> list[FlagRecord]:
        """Returns the flags that others decide too."""
        return await self._records(_referring())

    async def flags(self, *, after: str, limit: int) -> list[FlagRecord]:
        """Returns up to `limit` flags with a key above `after`, in order of key."""
        statement = sa.select(*_COLUMNS).select_from(_newest).where(_flag.c.key > after).order_by(_flag.c.key)
        return await self._records(statement.limit(limit))

    async def revisions(self, key: str, *, below: int | None, limit: int) -> list[FlagRecord]:
        """Returns up to `limit` revisions of the flag with a number below `below` (None: all), newest first."""
        statement = _of_history(key).order_by(_revision.c.revision.desc()).limit(limit)
        return await self._records(statement if below is None else statement.where(_revision.c.revision < below))

    async def changed(self, *, since: int) -> tuple[int, list[FlagRecord]]:
        """Returns the number of the newest change, and the flags changed by a change with a number above `since`."""
        # One statement, because that is one snapshot: a number without its flags would hide them from watchers.
        statement = sa.select(_head.c.sequence, *_COLUMNS).select_from(
            _head.outerjoin(_newest, _flag.c.sequence > since)
        )
        sequence, records = 0, []
        async with self._database.shared() as connection:
            result = await connection.execute(statement)
            # Thousands of rows at once would keep everybody else waiting.
            while rows := result.fetchmany(PIECE):
                sequence = rows[0].sequence
                records += [_record(row) for row in rows if row.key is not None]
                await asyncio.sleep(0)
        return sequence, records

    async def stream_key(self) -> bytes:
        """Returns the key that all replicas sign tickets for streams with."""
        async with self._database.shared() as connection:
            return bytes((await connection.execute(sa.select(_stream_key.c.key))).scalar_one())

    async def _records(self, statement: sa.Select[Any]) -> list[FlagRecord]:
        async with self._database.shared() as connection:
            return [_record(row) for row in await connection.execute(statement)]


def _referring() -> sa.Select[Any]:
    named = [_revision.c.content.op("->")(sa.literal_column(f"'{name}'")) for name in ("prerequisites", "segmented")]
    # Of integrations it is told by the key: workspaces choose about each of them.
    has = sa.or_(*(each.is_not(None) for each in named), _flag.c.key.startswith(CHOOSABLE, autoescape=True))
    return sa.select(*_COLUMNS).select_from(_newest).where(has).order_by(_flag.c.key)


def _of_newest(key: str) -> sa.Select[Any]:
    return sa.select(*_COLUMNS).select_from(_newest).where(_flag.c.key == key)


def _of_history(key: str) -> sa.Select[Any]:
    return sa.select(*_COLUMNS).select_from(_history).where(_flag.c.key == key)


async def _one(connection: AsyncConnection, statement: sa.Select[Any]) -> FlagRecord | None:
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _record(row)


def _record(row: Any) -> FlagRecord:
    return FlagRecord(
        key=row.key,
        revision=row.revision,
        content=Content.from_json(row.content),
        killed=row.killed,
        creator=row.creator,
        reason=row.reason,
        create_time=row.create_time,
        update_time=row.update_time,
    )
