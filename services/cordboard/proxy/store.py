"""Keeps calls and idempotency keys in PostgreSQL; decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cordboard.proxy.calls import CallRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cordboard.core.database import Database

STARTED: Final = "started"
DONE: Final = "done"
INDETERMINATE: Final = "indeterminate"
# How long a key gives its answer again, in seconds.
KEY_LIVES: Final = 24 * 3600.0

_metadata = sa.MetaData()
_call = sa.Table(
    "call",
    _metadata,
    sa.Column("workspace_id", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    *(sa.Column(name, sa.Text) for name in ("connection", "integration", "action", "version")),
    sa.Column("outcome", sa.SmallInteger),
    sa.Column("reason", sa.Text),
    *(sa.Column(name, sa.Integer) for name in ("vendor_status", "attempts")),
    sa.Column("duration_us", sa.BigInteger),
    *(sa.Column(name, sa.Text) for name in ("caller", "peer", "token_id", "trace_id")),
    sa.Column("generation", sa.BigInteger),
    sa.Column("create_time", sa.DateTime(timezone=True)),
)
_idempotency = sa.Table(
    "idempotency",
    _metadata,
    sa.Column("workspace_id", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.LargeBinary),
    sa.Column("state", sa.Text),
    sa.Column("call_id", sa.Text),
    sa.Column("lease_until", sa.DateTime(timezone=True)),
    sa.Column("create_time", sa.DateTime(timezone=True)),
    sa.Column("status", sa.Integer),
    sa.Column("content_type", sa.Text),
    sa.Column("body", sa.LargeBinary),
)
_SWEEP_ROWS: Final = 5_000


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An idempotency key as it stands, judged by the database's clock."""

    fingerprint: bytes
    state: str
    lease_left: float
    """Seconds that the call which has the key may still be running; 0 or less: none is."""
    expired: bool
    status: int
    content_type: str
    body: bytes


class ProxyStore:
    """The Proxy's tables."""

    def __init__(self, database: Database) -> None:
        """Takes the Proxy's database."""
        self._database = database

    async def call(self, workspace: str, call_id: str) -> CallRecord | None:
        """Returns a call, or None when there is none."""
        query = sa.select(_call).where(_call.c.workspace_id == workspace, _call.c.id == call_id)
        async with self._database.workspace(workspace) as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return _record(row) if row is not None else None

    async def calls(self, workspace: str, *, before: str, limit: int) -> list[CallRecord]:
        """Returns up to `limit` calls with an id below `before` (empty: any), newest first."""
        query = sa.select(_call).where(_call.c.workspace_id == workspace).order_by(_call.c.id.desc()).limit(limit)
        if before:
            query = query.where(_call.c.id < before)
        async with self._database.workspace(workspace) as connection:
            return [_record(row) for row in (await connection.execute(query)).mappings()]

    async def claim_key(
        self,
        workspace: str,
        key: str,
        *,
        fingerprint: bytes,
        call_id: str,
        lease: float,
        repeatable: bool,
        taken: Callable[[], None],
    ) -> KeyRecord | None:
        """Gives the key to a call and returns None, or returns why not: the key as another call holds it.

        A key that is older than KEY_LIVES is as good as new. A key whose call ended without a word is given away when
        the request is `repeatable`, and becomes INDETERMINATE when it is not. `taken` is told before the call gets the
        key: whoever breaks off then cannot know whether it did.
        """
        values = {"fingerprint": fingerprint, "state": STARTED, "call_id": call_id, "lease_until": _in(lease)}
        fresh = {**values, "create_time": sa.func.now(), "status": 0, "content_type": "", "body": None}
        new = insert(_idempotency).values(workspace_id=workspace, key=key, **values).on_conflict_do_nothing()
        here = sa.and_(_idempotency.c.workspace_id == workspace, _idempotency.c.key == key)
        query = (
            sa.select(
                _idempotency,
                sa.extract("epoch", _idempotency.c.lease_until - sa.func.now()).label("lease_left"),
                (_idempotency.c.create_time < _in(-KEY_LIVES)).label("expired"),
            )
            .where(here)
            .with_for_update()
        )
        async with self._database.workspace(workspace) as connection:
            if (await connection.execute(new)).rowcount == 1:
                taken()
                return None
            row = (await connection.execute(query)).mappings().one()
            known = KeyRecord(
                fingerprint=bytes(row["fingerprint"]),
                state=row["state"],
                lease_left=float(row["lease_left"]),
                expired=bool(row["expired"]),
                status=row["status"],
                content_type=row["content_type"],
                body=bytes(row["body"] or b""),
            )
            abandoned = known.state != DONE and known.lease_left <= 0 and known.fingerprint == fingerprint
            if known.expired or (abandoned and repeatable):
                await connection.execute(sa.update(_idempotency).where(here).values(**fresh))
                taken()
                return None
            if abandoned and known.state == STARTED:
                await connection.execute(sa.update(_idempotency).where(here).values(state=INDETERMINATE))
            return known

    async def finish_key(self, workspace: str, key: str, call_id: str, changes: Mapping[str, object] | None) -> None:
        """Changes the key, or frees it (None), unless another call has it by now."""
        here = sa.and_(
            _idempotency.c.workspace_id == workspace, _idempotency.c.key == key, _idempotency.c.call_id == call_id
        )
        statement = sa.delete(_idempotency) if changes is None else sa.update(_idempotency).values(**changes)
        async with self._database.workspace(workspace) as connection:
            await connection.execute(statement.where(here))

    async def sweep(self, *, keys_live: float, calls_live: float) -> int:
        """Deletes some of what is older than so many seconds; returns how many rows: 0 when nothing is left."""
        deleted = 0
        for table, live in ((_idempotency, keys_live), (_call, calls_live)):
            old = sa.select(*table.primary_key).where(table.c.create_time < _in(-live)).limit(_SWEEP_ROWS)
            statement = sa.delete(table).where(sa.tuple_(*table.primary_key).in_(old))
            async with self._database.everywhere() as connection:
                deleted += (await connection.execute(statement)).rowcount
        return deleted


def done(status: int, content_type: str, body: bytes) -> dict[str, object]:
    """Returns the changes that keep an answer under a key."""
    return {"state": DONE, "status": status, "content_type": content_type, "body": body}


def doubtful(*, repeatable: bool) -> dict[str, object]:
    """Returns the changes that say that nobody knows what came of the request."""
    return {"lease_until": sa.func.now()} | ({} if repeatable else {"state": INDETERMINATE})


_RECORD_FIELDS: Final = tuple(field.name for field in fields(CallRecord))


def _record(row: Mapping[str, object] | sa.RowMapping) -> CallRecord:
    return CallRecord(**{name: row[name] for name in _RECORD_FIELDS})  # type: ignore[arg-type]


def _in(seconds: float) -> sa.ColumnElement[datetime]:
    return sa.func.now() + timedelta(seconds=seconds)
