"""Every place of the database where a sealed record lies, and what its slot is.

Whoever adds a column of sealed records adds it here: what is not here is left under old keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from cordboard.auth.envelope import Slot
from cordboard.auth.vault import SYSTEM

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class Place:
    """One column of sealed records."""

    table: str
    keys: tuple[str, ...]
    """The columns of the primary key, the first of them `workspace_id` where a row is a tenant's."""
    column: str
    slot: Callable[[Mapping[str, Any]], Slot]
    others: tuple[str, ...] = ()
    """What the slot needs beside the key."""

    @property
    def tenants(self) -> bool:
        """Tells whether its rows belong to workspaces; the others are the mesh's own."""
        return self.keys[0] == "workspace_id"


@dataclass(frozen=True)
class SealedRow:
    """One sealed record where it lies."""

    key: Mapping[str, Any]
    slot: Slot
    sealed: bytes
    cursor: tuple[str, ...]


@dataclass(frozen=True)
class KeyUse:
    """How many records are under one version of a workspace's key."""

    workspace: str
    key_id: str
    version: int
    count: int


def _of_connection(row: Mapping[str, Any]) -> Slot:
    return Slot(row["workspace_id"], f"connections/{row['connection_id']}", row["field"], row["generation"])


def _beside(row: Mapping[str, Any], field: str) -> Slot:
    # The client that a token was granted to lies beside it, under the same prefix of a combination's part.
    prefix, dot, _ = row["field"].rpartition(".")
    slot = _of_connection(row)
    return Slot(slot.workspace, slot.resource, f"{prefix}{dot}{field}", slot.version)


PLACES: Final = (
    Place("credential", ("workspace_id", "connection_id", "generation", "field"), "sealed", _of_connection),
    Place(
        "revocation",
        ("workspace_id", "revocation_id"),
        "sealed",
        _of_connection,
        ("connection_id", "generation", "field"),
    ),
    Place(
        "revocation",
        ("workspace_id", "revocation_id"),
        "client_id",
        lambda row: _beside(row, "client_id"),
        ("connection_id", "generation", "field"),
    ),
    Place(
        "revocation",
        ("workspace_id", "revocation_id"),
        "client_secret",
        lambda row: _beside(row, "client_secret"),
        ("connection_id", "generation", "field"),
    ),
    Place(
        "connect_session",
        ("workspace_id", "session_id"),
        "inputs",
        lambda row: Slot(row["workspace_id"], f"connectSessions/{row['session_id']}", "inputs", 1),
    ),
    Place(
        "connect_link",
        ("workspace_id", "link_id"),
        "inputs",
        lambda row: Slot(row["workspace_id"], f"connectLinks/{row['link_id']}", "inputs", 1),
    ),
    Place(
        "workspace_oauth_client",
        ("workspace_id", "integration"),
        "sealed",
        lambda row: Slot(row["workspace_id"], f"oauthClients/{row['integration']}", "client_secret", row["revision"]),
        ("revision",),
    ),
    Place(
        "connect_session",
        ("workspace_id", "session_id"),
        "verifier",
        lambda row: Slot(row["workspace_id"], f"connectSessions/{row['session_id']}", "code_verifier", 1),
    ),
    Place(
        "workspace_configuration",
        ("workspace_id", "integration"),
        "sealed",
        lambda row: Slot(row["workspace_id"], f"configurations/{row['integration']}", "values", row["revision"]),
        ("revision",),
    ),
    Place(
        "sealing_key",
        ("workspace_id", "service", "version"),
        "sealed",
        lambda row: Slot(row["workspace_id"], f"sealingKeys/{row['service']}", "key", row["version"]),
    ),
    Place(
        "transfer_key",
        ("key_id",),
        "sealed",
        lambda row: Slot(SYSTEM, f"transferKeys/{row['key_id']}", "private_key", 1),
    ),
    Place(
        "oauth_client",
        ("integration",),
        "sealed",
        lambda row: Slot(SYSTEM, f"oauthClients/{row['integration']}", "client_secret", row["revision"]),
        ("revision",),
    ),
    Place(
        "api_key_pepper",
        ("version",),
        "sealed",
        lambda row: Slot(SYSTEM, f"apiKeyPeppers/{row['version']}", "pepper", 1),
    ),
    Place(
        "login_attempt",
        ("state_hash",),
        "sealed",
        lambda row: Slot(SYSTEM, f"logins/{row['state_hash']}", "code_verifier", 1),
    ),
    Place("signing_key", ("kid",), "sealed", lambda row: Slot(SYSTEM, f"signingKeys/{row['kid']}", "private_key", 1)),
)

# The columns of keys that are no texts.
_TYPES: Final = {"generation": "bigint", "version": "bigint"}
# The header of a record, as the database itself reads it: "GW1", algorithm, length of the id, id, version.
_KEY_ID: Final = "convert_from(substring({c} from 6 for get_byte({c}, 4)), 'UTF8')"
_VERSION: Final = "('x' || encode(substring({c} from 6 + get_byte({c}, 4) for 4), 'hex'))::bit(32)::int"
_READABLE: Final = "substring({c} from 1 for 3) = 'GW1'::bytea AND length({c}) > 10"


async def sealed_rows(
    connection: AsyncConnection, place: Place, *, workspace: str, after: Sequence[str], limit: int
) -> list[SealedRow]:
    """Returns up to `limit` records of a place after a cursor, locked; of one workspace where it is named."""
    order = ", ".join(place.keys)
    marks = ", ".join(f"CAST(CAST(:after{n} AS text) AS {_TYPES.get(key, 'text')})" for n, key in enumerate(place.keys))
    columns = ", ".join((*place.keys, *place.others))
    conditions = [f"{place.column} IS NOT NULL"]
    if after:
        conditions.append(f"({order}) > ({marks})")
    if workspace and place.tenants:
        conditions.append("workspace_id = :workspace")
    # The names are this module's own; every value is bound.
    query = (
        f"SELECT {columns}, {place.column} AS sealed FROM {place.table} "  # noqa: S608
        f"WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT :limit FOR UPDATE"
    )
    values: dict[str, Any] = {"limit": limit, **{f"after{index}": part for index, part in enumerate(after)}}
    if workspace and place.tenants:
        values["workspace"] = workspace
    found = (await connection.execute(text(query), values)).mappings()
    return [
        SealedRow(
            {key: row[key] for key in place.keys},
            place.slot(dict(row)),
            bytes(row["sealed"]),
            tuple(str(row[key]) for key in place.keys),
        )
        for row in found
    ]


async def replace_sealed(connection: AsyncConnection, place: Place, changed: Sequence[tuple[SealedRow, bytes]]) -> None:
    """Puts records in the place of those that were read and locked."""
    if changed:
        own = " AND ".join(f"{key} = :{key}" for key in place.keys)
        await connection.execute(
            text(f"UPDATE {place.table} SET {place.column} = :sealed WHERE {own}"),  # noqa: S608
            [{**row.key, "sealed": sealed} for row, sealed in changed],
        )


async def count_sealed(connection: AsyncConnection, workspace: str) -> int:
    """Returns how many records there are; of one workspace where it is named."""
    total = 0
    for place in places(workspace):
        where = "WHERE workspace_id = :workspace" if workspace and place.tenants else "WHERE true"
        query = f"SELECT count({place.column}) FROM {place.table} {where}"  # noqa: S608
        values = {"workspace": workspace} if workspace and place.tenants else {}
        total += (await connection.execute(text(query), values)).scalar_one()
    return total


async def key_uses(connection: AsyncConnection, workspace: str = "") -> list[KeyUse]:
    """Returns how many records lie under which key, by their headers; `key_id` is empty for what is no record."""
    counts: dict[tuple[str, str, int], int] = {}
    for place in places(workspace):
        readable = _READABLE.format(c=place.column)
        owner = "workspace_id" if place.tenants else f"'{SYSTEM}'"
        query = (
            f"SELECT {owner}, CASE WHEN {readable} THEN {_KEY_ID.format(c=place.column)} ELSE '' END, "  # noqa: S608
            f"CASE WHEN {readable} THEN {_VERSION.format(c=place.column)} ELSE 0 END, count(*) FROM {place.table} "
            f"WHERE {place.column} IS NOT NULL"
        )
        values = {}
        if workspace and place.tenants:
            query, values = f"{query} AND workspace_id = :workspace", {"workspace": workspace}
        for owner_id, key_id, version, count in await connection.execute(text(f"{query} GROUP BY 1, 2, 3"), values):
            counts[owner_id, key_id, version] = counts.get((owner_id, key_id, version), 0) + count
    return [KeyUse(*key, count) for key, count in sorted(counts.items())]


def places(workspace: str) -> tuple[Place, ...]:
    if not workspace:
        return PLACES
    return tuple(place for place in PLACES if place.tenants != (workspace == SYSTEM))
