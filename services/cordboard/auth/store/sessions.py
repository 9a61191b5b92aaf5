"""Rows of the connect sessions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, tuple_, update

from cordboard.auth.store.tables import connect_session as table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class SessionRow:
    """One attempt to connect."""

    workspace: str
    id: str
    integration: str
    auth_scheme: str
    kind: str
    environment: str
    connection_id: str
    display_name: str
    scopes: tuple[str, ...]
    configuration: Mapping[str, str]
    state: str
    error: str
    verifier: bytes | None
    actor: str
    expire_time: datetime
    client_owner: str
    inputs: bytes | None
    browser_hash: bytes | None
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    poll_seconds: int
    return_url: str
    origin: str
    link_id: str
    expired: bool


_COLUMNS = (
    table.c.workspace_id,
    table.c.session_id,
    table.c.integration,
    table.c.auth_scheme,
    table.c.kind,
    table.c.environment,
    table.c.connection_id,
    table.c.display_name,
    table.c.scopes,
    table.c.configuration,
    table.c.state,
    table.c.error,
    table.c.verifier,
    table.c.actor,
    table.c.expire_time,
    table.c.client_owner,
    table.c.inputs,
    table.c.browser_hash,
    table.c.user_code,
    table.c.verification_uri,
    table.c.verification_uri_complete,
    table.c.poll_seconds,
    table.c.return_url,
    table.c.origin,
    table.c.link_id,
    (table.c.expire_time <= func.now()).label("expired"),
)


async def add_session(
    connection: AsyncConnection, values: Mapping[str, Any], *, seconds: int, poll_after: int | None = None
) -> SessionRow:
    """Adds a session that waits for so many seconds; with `poll_after` its vendor is asked from then on."""
    expires = func.now() + timedelta(seconds=seconds)
    polled = None if poll_after is None else func.now() + timedelta(seconds=poll_after)
    query = insert(table).values(state="pending", expire_time=expires, poll_time=polled, **values).returning(*_COLUMNS)
    return _record((await connection.execute(query)).one())


async def session(
    connection: AsyncConnection, workspace: str, session_id: str, *, lock: bool = False
) -> SessionRow | None:
    """Returns a session, locked until the transaction ends where that is asked for; None when there is none."""
    query = select(*_COLUMNS).where(table.c.workspace_id == workspace, table.c.session_id == session_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _record(row)


async def claim_session(connection: AsyncConnection, state_hash: bytes) -> SessionRow | None:
    """Takes the session that waits for this state, once; None when none does (any more)."""
    query = (
        update(table)
        .where(table.c.state_hash == state_hash, table.c.state == "pending", table.c.expire_time > func.now())
        .values(state="exchanging", state_hash=None)
        .returning(*_COLUMNS)
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _record(row)


async def claim_poll(connection: AsyncConnection, *, lease: float) -> SessionRow | None:
    """Takes one session whose vendor is to be asked now, for so many seconds; None when there is none.

    One that has expired is taken too, so that it ends.
    """
    due = (
        select(table.c.workspace_id, table.c.session_id)
        .where(table.c.poll_time <= func.clock_timestamp(), table.c.state == "pending")
        .order_by(table.c.poll_time)
        .limit(1)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    query = (
        update(table)
        .where(tuple_(table.c.workspace_id, table.c.session_id).in_(select(due.c.workspace_id, due.c.session_id)))
        .values(poll_time=func.clock_timestamp() + timedelta(seconds=lease))
        .returning(*_COLUMNS)
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _record(row)


async def poll_later(connection: AsyncConnection, workspace: str, session_id: str, *, seconds: int) -> None:
    """Has the vendor of a session asked again after so many seconds, and as far apart from then on."""
    await connection.execute(
        update(table)
        .where(table.c.workspace_id == workspace, table.c.session_id == session_id, table.c.state == "pending")
        .values(poll_seconds=seconds, poll_time=func.clock_timestamp() + timedelta(seconds=seconds))
    )


async def end_session(
    connection: AsyncConnection, workspace: str, session_id: str, *, state: str, error: str = ""
) -> None:
    """Ends a session; what it needed to go on is forgotten."""
    await connection.execute(
        update(table)
        .where(table.c.workspace_id == workspace, table.c.session_id == session_id)
        .values(
            state=state,
            error=error,
            state_hash=None,
            verifier=None,
            inputs=None,
            browser_hash=None,
            user_code="",
            poll_time=None,
        )
    )


async def drop_old_sessions(connection: AsyncConnection, *, seconds: int) -> None:
    """Deletes the sessions that ended more than so many seconds ago."""
    await connection.execute(delete(table).where(table.c.expire_time < func.now() - timedelta(seconds=seconds)))


def _record(row: Any) -> SessionRow:
    values = row._asdict()
    values["workspace"], values["id"] = values.pop("workspace_id"), values.pop("session_id")
    values["scopes"] = tuple(values["scopes"])
    return SessionRow(**values)
