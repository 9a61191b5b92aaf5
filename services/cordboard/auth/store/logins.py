"""Rows of operators' sign-ins: attempts, codes for programs, and browsers' sessions. Secrets are kept as hashes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select

from cordboard.auth.store.tables import login_attempt, login_code, operator_session

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class Attempt:
    """One attempt to sign in."""

    state_hash: str
    nonce: str
    sealed: bytes
    redirect_uri: str
    challenge: str
    client_state: str
    return_path: str
    binding_hash: str


@dataclass(frozen=True)
class SignedIn:
    """Somebody who signed in, under the hash of what proves it."""

    key_hash: str
    challenge: str
    subject: str
    roles: tuple[str, ...]
    generation: int


async def add_attempt(connection: AsyncConnection, attempt: Attempt, *, seconds: float) -> None:
    """Adds an attempt that ends after so many seconds."""
    values = {**asdict(attempt), "expire_time": func.now() + timedelta(seconds=seconds)}
    await connection.execute(insert(login_attempt).values(**values))


async def take_attempt(connection: AsyncConnection, state_hash: str) -> Attempt | None:
    """Takes an attempt out, so that it is used once; None when there is none, or it has ended."""
    row = login_attempt.c
    columns = [row[name] for name in Attempt.__dataclass_fields__]
    query = delete(login_attempt).where(row.state_hash == state_hash, row.expire_time > func.now())
    found = (await connection.execute(query.returning(*columns))).one_or_none()
    return None if found is None else Attempt(*found)


async def add_code(connection: AsyncConnection, kept: SignedIn, *, seconds: float) -> None:
    """Adds a code that a program takes within so many seconds."""
    values = {
        "code_hash": kept.key_hash,
        "challenge": kept.challenge,
        "subject": kept.subject,
        "roles": list(kept.roles),
        "expire_time": func.now() + timedelta(seconds=seconds),
    }
    await connection.execute(insert(login_code).values(**values))


async def take_code(connection: AsyncConnection, code_hash: str) -> SignedIn | None:
    """Takes a code out, so that it is used once; None when there is none, or it has ended."""
    row = login_code.c
    query = delete(login_code).where(row.code_hash == code_hash, row.expire_time > func.now())
    found = (await connection.execute(query.returning(row.challenge, row.subject, row.roles))).one_or_none()
    return None if found is None else SignedIn(code_hash, found[0], found[1], tuple(found[2]), 0)


async def add_session(connection: AsyncConnection, kept: SignedIn, generation: int, *, seconds: float) -> None:
    """Adds a browser's session."""
    values = {
        "session_hash": kept.key_hash,
        "subject": kept.subject,
        "roles": list(kept.roles),
        "generation": generation,
        "expire_time": func.now() + timedelta(seconds=seconds),
    }
    await connection.execute(insert(operator_session).values(**values))


async def session(connection: AsyncConnection, session_hash: str) -> SignedIn | None:
    """Returns a session; None when there is none, or it has ended."""
    row = operator_session.c
    query = select(row.subject, row.roles, row.generation)
    query = query.where(row.session_hash == session_hash, row.expire_time > func.now())
    found = (await connection.execute(query)).one_or_none()
    return None if found is None else SignedIn(session_hash, "", found[0], tuple(found[1]), found[2])


async def drop_session(connection: AsyncConnection, session_hash: str) -> str:
    """Deletes a session; returns whose it was, or an empty text."""
    row = operator_session.c
    query = delete(operator_session).where(row.session_hash == session_hash).returning(row.subject)
    return (await connection.execute(query)).scalar_one_or_none() or ""


async def drop_old_logins(connection: AsyncConnection) -> None:
    """Deletes what has ended."""
    for table in (login_attempt, login_code, operator_session):
        await connection.execute(delete(table).where(table.c.expire_time < func.now()))
