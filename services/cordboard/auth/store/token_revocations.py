"""Rows of what was revoked: tokens, all tokens of a workspace, signing keys, API keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from cordboard.auth.store.tables import revocation_head, token_revocation

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

CHANNEL: Final = "cordboard_auth_token_revocations"


@dataclass(frozen=True)
class RevocationRow:
    """One revocation."""

    kind: str
    workspace: str
    subject: str
    sequence: int
    generation: int
    reason: str
    create_time: datetime
    expire_time: datetime | None


_ROW = token_revocation.c
_COLUMNS = (
    _ROW.kind,
    _ROW.workspace,
    _ROW.subject,
    _ROW.sequence,
    _ROW.generation,
    _ROW.reason,
    _ROW.create_time,
    _ROW.expire_time,
)
# Each verifier of the mesh asks every second.
_AFTER: Final = f"""
    SELECT {", ".join(column.key for column in _COLUMNS)} FROM token_revocation
    WHERE sequence > $1 ORDER BY sequence LIMIT $2
"""  # noqa: S608 - the names are the table's own


async def generation(connection: AsyncConnection, workspace: str) -> int:
    """Returns the generation of the tokens that a workspace, or none, gets now."""
    query = select(_ROW.generation).where(_ROW.kind == "workspace", _ROW.workspace == workspace, _ROW.subject == "")
    return (await connection.execute(query)).scalar_one_or_none() or 0


async def add_revocation(
    connection: AsyncConnection,
    kind: str,
    *,
    workspace: str = "",
    subject: str = "",
    reason: str,
    actor: str,
    remembered: timedelta | None = None,
    expire_time: datetime | None = None,
) -> RevocationRow:
    """Revokes; again where that was done before, with the next number. For all tokens it begins a generation.

    It ends after `remembered`, by the database's clock, or at `expire_time`; never where neither is given.
    """
    head = update(revocation_head).values(sequence=revocation_head.c.sequence + 1)
    sequence = (await connection.execute(head.returning(revocation_head.c.sequence))).scalar_one()
    values = {
        "sequence": sequence,
        "reason": reason,
        "actor": actor,
        "create_time": func.now(),
        "expire_time": expire_time if remembered is None else func.now() + remembered,
    }
    query = upsert(token_revocation).values(
        kind=kind, workspace=workspace, subject=subject, generation=int(kind == "workspace"), **values
    )
    query = query.on_conflict_do_update(
        index_elements=("kind", "workspace", "subject"),
        set_={**values, "generation": _ROW.generation + int(kind == "workspace")},
    )
    return RevocationRow(*(await connection.execute(query.returning(*_COLUMNS))).one())


async def revocations_after(database: Database, sequence: int, *, limit: int) -> list[RevocationRow]:
    """Returns up to `limit` revocations with a number above `sequence`, in the order of their numbers."""
    return [RevocationRow(*row) for row in await database.run(_AFTER, sequence, limit)]


async def revocations_before(connection: AsyncConnection, sequence: int, *, limit: int) -> list[RevocationRow]:
    """Returns up to `limit` revocations with a number below `sequence` (0: of any number), newest first."""
    query = select(*_COLUMNS).order_by(_ROW.sequence.desc()).limit(limit)
    if sequence:
        query = query.where(_ROW.sequence < sequence)
    return [RevocationRow(*row) for row in await connection.execute(query)]


async def drop_old_revocations(connection: AsyncConnection) -> None:
    """Deletes the revocations of what has expired anyway."""
    await connection.execute(delete(token_revocation).where(_ROW.expire_time < func.now()))
