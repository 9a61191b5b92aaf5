"""Keeps breakers that are not simply closed in PostgreSQL, for all replicas; decides who may try."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cordboard.core.database import notify
from cordboard.proxy.breakers.standing import Cause, Key, Override, Standing, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

CHANNEL: Final = "proxy_breakers"
MOST: Final = 10_000
_SWEEP_ROWS: Final = 5_000
_IDLE: Final = timedelta(hours=1)

_breaker = sa.Table(
    "breaker",
    sa.MetaData(),
    *(
        sa.Column(name, sa.Text, primary_key=True)
        for name in ("workspace_id", "integration", "host", "cause", "action", "connection")
    ),
    sa.Column("state", sa.Text),
    sa.Column("until", sa.DateTime(timezone=True)),
    sa.Column("open_seconds", sa.Float),
    sa.Column("override", sa.Text),
    sa.Column("generation", sa.BigInteger),
    *(sa.Column(name, sa.Integer) for name in ("calls", "failures")),
    sa.Column("revision", sa.BigInteger),
    *(sa.Column(name, sa.DateTime(timezone=True)) for name in ("trying_until", "change_time")),
)
_here = _breaker.c
_now = sa.func.clock_timestamp()
_KEY: Final = tuple(_breaker.primary_key)
_READ: Final = (*_breaker.columns, sa.extract("epoch", _here.until - _now).label("remaining"))
_NEXT: Final = {"revision": sa.func.nextval("breaker_revision"), "change_time": _now}


class BreakerStore:
    """The table of breakers."""

    def __init__(self, database: Database) -> None:
        """Takes the Proxy's database."""
        self._database = database

    async def all(self) -> list[Standing]:
        """Returns how breakers stand, those that changed last first; raises DependencyUnavailable."""
        query = sa.select(*_READ).order_by(_here.revision.desc()).limit(MOST)
        async with self._database.everywhere() as connection:
            return [_standing(row) for row in (await connection.execute(query)).mappings()]

    async def put(self, standing: Standing) -> tuple[Standing, bool]:
        """Keeps how a breaker stands, unless another process changed it since; returns how it stands, and whether."""
        told = {
            "state": standing.state.value,
            "until": _now + timedelta(seconds=max(0.0, standing.left)),
            "open_seconds": standing.open_time,
            "generation": standing.generation,
            "calls": standing.calls,
            "failures": standing.failures,
        }
        first = insert(_breaker).values(**_named(standing.key), **told, override=standing.override.value)
        statement = first.on_conflict_do_update(
            index_elements=_KEY,
            set_={**told, **_NEXT, "trying_until": None},
            where=_here.revision == standing.revision,
        ).returning(*_READ)
        async with self._database.everywhere() as connection:
            row = (await connection.execute(statement)).mappings().one_or_none()
            kept = row is not None
            if row is None:
                query = sa.select(*_READ).where(_of(standing.key))
                row = (await connection.execute(query)).mappings().one()
            else:
                await notify(connection, CHANNEL)
        return _standing(row), kept

    async def override(self, connection: AsyncConnection, key: Key, override: Override) -> Standing:
        """Keeps what an operator wants, in the transaction of its audit entry; returns how the breaker stands."""
        first = insert(_breaker).values(
            **_named(key),
            state=State.CLOSED.value,
            until=_now,
            open_seconds=0.0,
            generation=0,
            calls=0,
            failures=0,
            override=override.value,
        )
        statement = first.on_conflict_do_update(index_elements=_KEY, set_={"override": override.value, **_NEXT})
        row = (await connection.execute(statement.returning(*_READ))).mappings().one()
        await notify(connection, CHANNEL)
        return _standing(row)

    async def claim(self, key: Key, seconds: float) -> bool:
        """Tells whether this process may be the one that tries, for so many seconds."""
        free = sa.or_(_here.trying_until.is_(None), _here.trying_until < _now)
        due = sa.and_(_of(key), _here.state == State.OPEN.value, _here.until <= _now, free)
        statement = sa.update(_breaker).where(due).values(trying_until=_now + timedelta(seconds=seconds))
        async with self._database.everywhere() as connection:
            if (await connection.execute(statement)).rowcount:
                return True
            # Nobody was told of it yet: it is this process's own.
            return (await connection.execute(sa.select(_here.revision).where(_of(key)))).first() is None

    async def sweep(self) -> int:
        """Deletes some of those that have had nothing to hold back for an hour; returns how many."""
        old = sa.select(*_KEY).where(
            _here.override == Override.AUTO.value,
            sa.func.greatest(_here.until, _here.change_time) < _now - _IDLE,
        )
        statement = sa.delete(_breaker).where(sa.tuple_(*_KEY).in_(old.limit(_SWEEP_ROWS)))
        async with self._database.everywhere() as connection:
            return (await connection.execute(statement)).rowcount


def _of(key: Key) -> sa.ColumnElement[bool]:
    return sa.and_(*(_breaker.c[name] == value for name, value in _named(key).items()))


def _named(key: Key) -> dict[str, str]:
    return {
        "workspace_id": key.workspace,
        "integration": key.integration,
        "host": key.host,
        "cause": key.cause.value,
        "action": key.action,
        "connection": key.connection,
    }


def _standing(row: sa.RowMapping | Mapping[str, Any]) -> Standing:
    key = Key(row["integration"], row["host"], Cause(row["cause"]), row["action"], row["connection"])
    return Standing(
        key,
        State(row["state"]),
        float(row["remaining"]),
        row["open_seconds"],
        Override(row["override"]),
        row["generation"],
        row["calls"],
        row["failures"],
        row["revision"],
    )
