"""Rows of the connections, their sealed credentials, and the log of their changes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import and_, case, cast, delete, func, insert, literal, null, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert

from cordboard.auth.store.configurations import COLUMNS as SHARED
from cordboard.auth.store.configurations import ConfigurationRow
from cordboard.auth.store.tables import connection as table
from cordboard.auth.store.tables import connection_change, connection_head, credential
from cordboard.core.database import notify

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

CHANNEL: Final = "cordboard_auth_connection"
READY: Final = "ready"
RECONNECT_REQUIRED: Final = "reconnect_required"


@dataclass(frozen=True)
class ConnectionRow:
    """A connection, without its credential."""

    workspace: str
    id: str
    integration: str
    auth_scheme: str
    kind: str
    environment: str
    display_name: str
    scopes: tuple[str, ...]
    configuration: Mapping[str, str]
    state: str
    problem: str
    generation: int
    refreshable: bool
    expire_time: datetime | None
    refresh_time: datetime | None
    lease_until: datetime | None
    failures: int
    retry_time: datetime | None
    parts: tuple[tuple[str, str], ...]
    """The ids and kinds of a combination's parts; of any other scheme none."""
    client_owner: str
    verification: str
    ambiguous: bool
    create_time: datetime
    update_time: datetime


@dataclass(frozen=True)
class HeldRow:
    """A connection with its sealed credential, at one moment of the database's clock."""

    connection: ConnectionRow
    now: datetime
    sealed: Mapping[str, bytes]
    shared: ConfigurationRow | None = None
    """What the workspace has set for all of its connections to the integration."""
    cut_off: bool = False
    """An incident lasts that hits the connection, also one that was made since it began."""
    written: bool = False
    """The entry of the journal that was given with the read is written: the credential is given as it is."""


@dataclass(frozen=True)
class ChangeRow:
    """The last change of one connection; generation 0: it is gone."""

    workspace: str
    connection_id: str
    sequence: int
    generation: int


@dataclass(frozen=True)
class Forced:
    """How often a refresh may be forced: `burst` times in a row, then once in `spacing` seconds."""

    spacing: float
    burst: int


@dataclass(frozen=True)
class Lifetime:
    """How long a credential lives, and when to refresh it, in seconds from now; None: nobody said."""

    seconds: float | None = None
    refresh_after: float | None = None
    idle_after: float | None = None
    """When to refresh it although nobody uses it, so that its refresh token does not end unused."""

    def columns(self) -> dict[str, Any]:
        """Returns the times as the database's clock has them."""
        return {
            "expire_time": _from_now(self.seconds),
            "refresh_time": _from_now(self.refresh_after),
            "idle_time": _from_now(self.idle_after),
        }


_COLUMNS = (
    table.c.workspace_id,
    table.c.connection_id,
    table.c.integration,
    table.c.auth_scheme,
    table.c.kind,
    table.c.environment,
    table.c.display_name,
    table.c.scopes,
    table.c.configuration,
    table.c.state,
    table.c.problem,
    table.c.generation,
    table.c.refreshable,
    table.c.expire_time,
    table.c.refresh_time,
    table.c.lease_until,
    table.c.failures,
    table.c.retry_time,
    table.c.parts,
    table.c.client_owner,
    table.c.verification,
    table.c.ambiguous,
    table.c.create_time,
    table.c.update_time,
)
# One statement: between two, another process could put the next generation in the place of this one.
_HELD: Final = text("SELECT * FROM held_connection(:workspace, :connection)")
_READ_HELD: Final = "SELECT * FROM held_connection($1, $2)"
_READ_LEASED: Final = "SELECT * FROM leased_connection($1, $2, $3, $4)"
_FREE: Final = {"lease_owner": None, "lease_until": None}


async def connection(connection: AsyncConnection, workspace: str, connection_id: str) -> ConnectionRow | None:
    """Returns a connection, or None when there is none."""
    row = (await connection.execute(select(*_COLUMNS).where(_is(workspace, connection_id)))).one_or_none()
    return None if row is None else _record(row)


async def connections(
    connection: AsyncConnection, workspace: str, *, integration: str, after: str, limit: int
) -> list[ConnectionRow]:
    """Returns up to `limit` connections with an id above `after`, in order of id; at one integration where named."""
    query = select(*_COLUMNS).where(table.c.workspace_id == workspace, table.c.connection_id > after)
    if integration:
        query = query.where(table.c.integration == integration)
    query = query.order_by(table.c.connection_id).limit(limit)
    return [_record(row) for row in await connection.execute(query)]


async def held(connection: AsyncConnection, workspace: str, connection_id: str) -> HeldRow | None:
    """Returns a connection with its credential, as of one moment; None when there is none."""
    found = await connection.execute(_HELD, {"workspace": workspace, "connection": connection_id})
    row = found.one_or_none()
    return None if row is None else _held(row)


async def read_held(database: Database, workspace: str, connection_id: str) -> HeldRow | None:
    """Returns what `held` does, in a transaction of its own that is one statement."""
    found = await database.run(_READ_HELD, workspace, connection_id)
    return _held(found[0]) if found else None


async def read_leased(database: Database, workspace: str, connection_id: str, entry: tuple[str, str]) -> HeldRow | None:
    """Returns what `read_held` does, with an entry written in the same transaction where there is nothing to refresh.

    `entry` is the text before and after the generation.
    """
    found = await database.run(_READ_LEASED, workspace, connection_id, *entry)
    return _held(found[0]) if found else None


async def lock_connection(
    connection: AsyncConnection, workspace: str, connection_id: str
) -> tuple[ConnectionRow | None, int]:
    """Lets this transaction alone change a connection, also one that does not exist yet.

    Returns it, and the highest generation that its id ever had.
    """
    lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
    await connection.execute(lock, {"name": f"cordboard.auth.connection/{workspace}/{connection_id}"})
    # A refresh holds the row and not the lock above: the row is waited for before the generation is read.
    query = select(*_COLUMNS).where(_is(workspace, connection_id)).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    highest = await connection.execute(
        select(connection_change.c.highest_generation).where(
            connection_change.c.workspace_id == workspace, connection_change.c.connection_id == connection_id
        )
    )
    return (None if row is None else _record(row)), highest.scalar_one_or_none() or 0


async def put_connection(
    connection: AsyncConnection, workspace: str, connection_id: str, values: Mapping[str, Any], lifetime: Lifetime
) -> ConnectionRow:
    """Creates a connection, or gives one that exists new values; either is ready then."""
    changed = {
        **values,
        **lifetime.columns(),
        **_FREE,
        "state": READY,
        "problem": "",
        "failures": 0,
        "ambiguous": False,
        "retry_time": None,
        "forced_until": None,
        "update_time": func.now(),
    }
    query = (
        upsert(table)
        .values(workspace_id=workspace, connection_id=connection_id, **changed)
        .on_conflict_do_update(index_elements=["workspace_id", "connection_id"], set_=changed)
        .returning(*_COLUMNS)
    )
    return _record((await connection.execute(query)).one())


async def put_credential(
    connection: AsyncConnection, workspace: str, connection_id: str, generation: int, sealed: Mapping[str, bytes]
) -> None:
    """Puts the credential of a generation in the place of those before."""
    own = and_(credential.c.workspace_id == workspace, credential.c.connection_id == connection_id)
    await connection.execute(delete(credential).where(own))
    if sealed:
        await connection.execute(
            insert(credential),
            [
                {
                    "workspace_id": workspace,
                    "connection_id": connection_id,
                    "generation": generation,
                    "field": field,
                    "sealed": record,
                }
                for field, record in sealed.items()
            ],
        )


async def drop_connection(connection: AsyncConnection, workspace: str, connection_id: str) -> None:
    """Deletes a connection with its credential."""
    await connection.execute(delete(table).where(_is(workspace, connection_id)))


async def take_lease(
    connection: AsyncConnection,
    workspace: str,
    connection_id: str,
    generation: int,
    *,
    owner: str,
    seconds: float,
    forced: Forced | None = None,
) -> bool:
    """Tells whether `owner` may refresh this generation now: nobody else does, and the last failure is long enough ago.

    `forced` bounds the refreshes of credentials whose time is not up.
    """
    values: dict[str, Any] = {"lease_owner": owner, "lease_until": _from_now(seconds)}
    query = update(table).where(
        _is(workspace, connection_id),
        table.c.generation == generation,
        table.c.state == READY,
        or_(table.c.lease_until.is_(None), table.c.lease_until < func.clock_timestamp()),
        or_(table.c.retry_time.is_(None), table.c.retry_time <= func.clock_timestamp()),
    )
    if forced is not None:
        step = timedelta(seconds=forced.spacing)
        latest = func.clock_timestamp() + step * (forced.burst - 1)
        query = query.where(or_(table.c.forced_until.is_(None), table.c.forced_until <= latest))
        values["forced_until"] = func.greatest(func.coalesce(table.c.forced_until, func.now()), func.now()) + step
    return (await connection.execute(query.values(**values).returning(table.c.generation))).one_or_none() is not None


async def advance(
    connection: AsyncConnection,
    workspace: str,
    connection_id: str,
    generation: int,
    lifetime: Lifetime,
    scopes: Sequence[str] | None,
    configuration: Mapping[str, str] | None = None,
) -> bool:
    """Moves a connection from this generation to the next; tells whether it was still at this one."""
    values: dict[str, Any] = {
        **lifetime.columns(),
        **_FREE,
        "generation": generation + 1,
        "failures": 0,
        "ambiguous": False,
        "retry_time": None,
        "update_time": func.now(),
    }
    if scopes is not None:
        values["scopes"] = list(scopes)
    if configuration:
        values["configuration"] = table.c.configuration.op("||")(cast(dict(configuration), JSONB))
    query = update(table).where(_is(workspace, connection_id), table.c.generation == generation).values(**values)
    return (await connection.execute(query.returning(table.c.generation))).one_or_none() is not None


async def require_reconnect(
    connection: AsyncConnection, workspace: str, connection_id: str, generation: int, problem: str
) -> bool:
    """Says that a person has to connect again; tells whether the connection was ready at this generation until now."""
    query = (
        update(table)
        .where(_is(workspace, connection_id), table.c.generation == generation, table.c.state == READY)
        .values(
            state=RECONNECT_REQUIRED, problem=problem, retry_time=None, idle_time=None, update_time=func.now(), **_FREE
        )
    )
    return (await connection.execute(query.returning(table.c.generation))).one_or_none() is not None


async def back_off(
    connection: AsyncConnection,
    workspace: str,
    connection_id: str,
    *,
    owner: str,
    seconds: float,
    ambiguous: bool = False,
) -> None:
    """Gives the lease back after a refresh of unknown outcome: nobody tries again before so many seconds.

    `ambiguous`: the vendor may have used the refresh token up.
    """
    await connection.execute(
        update(table)
        .where(_is(workspace, connection_id), table.c.lease_owner == owner)
        .values(
            failures=case((table.c.failures < 30, table.c.failures + 1), else_=table.c.failures),
            retry_time=_from_now(seconds),
            ambiguous=or_(table.c.ambiguous, literal(ambiguous)),
            **_FREE,
        )
    )


async def claim_idle(connection: AsyncConnection, *, again: float) -> tuple[str, str] | None:
    """Takes one connection whose refresh token would end unused, and makes it due again after so many seconds.

    Returns its workspace and its id; None when there is none.
    """
    due = (
        select(table.c.workspace_id, table.c.connection_id)
        .where(table.c.idle_time <= func.clock_timestamp(), table.c.state == READY)
        .order_by(table.c.idle_time)
        .limit(1)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    query = (
        update(table)
        .where(tuple_(table.c.workspace_id, table.c.connection_id).in_(select(due.c.workspace_id, due.c.connection_id)))
        .values(idle_time=_from_now(again))
        .returning(table.c.workspace_id, table.c.connection_id)
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else (row[0], row[1])


async def set_verification(
    connection: AsyncConnection, workspace: str, connection_id: str, generation: int, verification: str
) -> bool:
    """Notes what came of the definition's check call; tells whether it was waited for at this generation."""
    query = (
        update(table)
        .where(
            _is(workspace, connection_id),
            table.c.generation == generation,
            table.c.verification.in_(("pending", "failed")),
        )
        .values(verification=verification, update_time=func.now())
    )
    return (await connection.execute(query.returning(table.c.generation))).one_or_none() is not None


async def ids_of(connection: AsyncConnection, workspace: str, integration: str) -> list[tuple[str, int]]:
    """Returns the ids and generations of all of a workspace's connections to an integration."""
    query = select(table.c.connection_id, table.c.generation).where(
        table.c.workspace_id == workspace, table.c.integration == integration
    )
    return [(row[0], row[1]) for row in await connection.execute(query)]


async def head(connection: AsyncConnection) -> int:
    """Returns the number of the last change."""
    return int((await connection.execute(select(connection_head.c.sequence))).scalar_one())


async def changes(connection: AsyncConnection, *, after: int, limit: int) -> list[ChangeRow]:
    """Returns up to `limit` changes with a number above `after`, in order; of each connection the last one only."""
    change = connection_change.c
    query = (
        select(change.workspace_id, change.connection_id, change.sequence, change.generation)
        .where(change.sequence > after)
        .order_by(change.sequence)
        .limit(limit)
    )
    return [ChangeRow(*row) for row in await connection.execute(query)]


async def record_change(connection: AsyncConnection, workspace: str, connection_id: str, generation: int) -> None:
    """Numbers a change and wakes the watchers. The last statement of its transaction, for it makes all others wait."""
    number = (
        update(connection_head).values(sequence=connection_head.c.sequence + 1).returning(connection_head.c.sequence)
    )
    sequence = (await connection.execute(number)).scalar_one()
    query = upsert(connection_change).values(
        workspace_id=workspace,
        connection_id=connection_id,
        sequence=sequence,
        generation=generation,
        highest_generation=generation,
    )
    await connection.execute(
        query.on_conflict_do_update(
            index_elements=["workspace_id", "connection_id"],
            set_={
                "sequence": sequence,
                "generation": generation,
                "highest_generation": func.greatest(connection_change.c.highest_generation, generation),
            },
        )
    )
    await notify(connection, CHANNEL)


def _is(workspace: str, connection_id: str) -> ColumnElement[bool]:
    return and_(table.c.workspace_id == workspace, table.c.connection_id == connection_id)


def _from_now(seconds: float | None) -> Any:
    return null() if seconds is None else func.clock_timestamp() + timedelta(seconds=seconds)


def _record(row: Any) -> ConnectionRow:
    return _from_values(row._asdict())


def _from_values(values: dict[str, Any]) -> ConnectionRow:
    values["workspace"], values["id"] = values.pop("workspace_id"), values.pop("connection_id")
    values["scopes"] = tuple(values["scopes"])
    values["parts"] = tuple((part[0], part[1]) for part in values["parts"])
    return ConnectionRow(**values)


def _held(row: Any) -> HeldRow:
    held, shared, fields, records, is_cut_off, now, *written = row
    values = {column.key: held[column.key] for column in _COLUMNS}
    values |= {name: _object(values[name]) for name in ("configuration", "parts")}
    return HeldRow(
        _from_values(values),
        now,
        dict(zip(fields or (), records or (), strict=True)),
        None if shared is None else _shared(shared),
        is_cut_off,
        *written,
    )


def _shared(row: Any) -> ConfigurationRow:
    values = [row[column.key] for column in SHARED]
    values[2] = _object(values[2])
    return ConfigurationRow(*values)


def _object(value: Any) -> Any:
    # PostgreSQL's driver leaves JSON as text; SQLAlchemy has it read on its own connections.
    return json.loads(value) if isinstance(value, str) else value
