"""Rows of the API keys, and of the peppers under which their digests are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from cordboard.auth.store.tables import api_key, api_key_pepper

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class ApiKeyRow:
    """A key, without itself."""

    workspace: str
    id: str
    display_name: str
    environment: str
    roles: tuple[str, ...]
    digest: bytes
    pepper: int
    creator: str
    create_time: datetime
    expire_time: datetime | None
    last_use_time: datetime | None
    revoke_time: datetime | None


_KEY = api_key.c
_COLUMNS = (
    _KEY.workspace_id,
    _KEY.key_id,
    _KEY.display_name,
    _KEY.environment,
    _KEY.roles,
    _KEY.digest,
    _KEY.pepper,
    _KEY.creator,
    _KEY.create_time,
    _KEY.expire_time,
    _KEY.last_use_time,
    _KEY.revoke_time,
)


def _row(values: Sequence[object]) -> ApiKeyRow:
    row = ApiKeyRow(*values)  # type: ignore[arg-type]
    return ApiKeyRow(**{**row.__dict__, "roles": tuple(row.roles)})


async def add_api_key(connection: AsyncConnection, workspace: str, key_id: str, values: Mapping[str, Any]) -> ApiKeyRow:
    """Adds a key."""
    query = insert(api_key).values(workspace_id=workspace, key_id=key_id, **values)
    return _row((await connection.execute(query.returning(*_COLUMNS))).one())


async def api_keys(connection: AsyncConnection, workspace: str, *, after: str, limit: int) -> list[ApiKeyRow]:
    """Returns up to `limit` keys of a workspace with an id above `after`, in order of id."""
    query = select(*_COLUMNS).where(_KEY.workspace_id == workspace, _KEY.key_id > after)
    return [_row(row) for row in await connection.execute(query.order_by(_KEY.key_id).limit(limit))]


async def api_key_of(connection: AsyncConnection, key_id: str) -> tuple[datetime, ApiKeyRow | None]:
    """Returns the database's time and the key of that id, whosesoever it is; None when there is none."""
    now = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    found = (await connection.execute(select(*_COLUMNS).where(_KEY.key_id == key_id))).one_or_none()
    return now, None if found is None else _row(found)


async def revoke_api_keys(connection: AsyncConnection, workspace: str, key_id: str = "") -> list[ApiKeyRow]:
    """Marks a key as revoked, or all keys of a workspace that are not yet, and returns them."""
    query = update(api_key).where(_KEY.workspace_id == workspace).values(revoke_time=func.now())
    query = query.where(_KEY.key_id == key_id) if key_id else query.where(_KEY.revoke_time.is_(None))
    return [_row(row) for row in await connection.execute(query.returning(*_COLUMNS))]


async def note_use(connection: AsyncConnection, key_id: str, *, every: float) -> bool:
    """Notes that a key is used, where the last note is older than so many seconds; tells whether it was."""
    old = func.now() - timedelta(seconds=every)
    query = update(api_key).where(_KEY.key_id == key_id).values(last_use_time=func.now())
    query = query.where(or_(_KEY.last_use_time.is_(None), _KEY.last_use_time < old)).returning(_KEY.key_id)
    return (await connection.execute(query)).one_or_none() is not None


async def peppers(connection: AsyncConnection) -> dict[int, bytes]:
    """Returns the sealed peppers by version."""
    query = select(api_key_pepper.c.version, api_key_pepper.c.sealed)
    return {version: bytes(sealed) for version, sealed in await connection.execute(query)}


async def add_pepper(connection: AsyncConnection, version: int, sealed: bytes) -> None:
    """Adds a pepper, unless another process was first."""
    query = upsert(api_key_pepper).values(version=version, sealed=sealed).on_conflict_do_nothing()
    await connection.execute(query)
