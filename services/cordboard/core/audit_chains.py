"""The audit journal as it is read: listed, recomputed from its first entry, compared with what was noted outside."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from cordboard.core.audit import GENESIS, Break, chained

if TYPE_CHECKING:
    from cordboard.core.database import Database

PIECE: Final = 1000

_ENTRIES: Final = text(
    "SELECT workspace_id, sequence, body, hash, time FROM audit_entry "
    "WHERE workspace_id = :chain AND sequence > :after AND starts_with(body::json->>'action', :prefix) "
    "ORDER BY sequence LIMIT :limit"
)
_PIECE: Final = text(
    "SELECT workspace_id, sequence, body, hash, time FROM audit_entry "
    "WHERE workspace_id = :chain AND sequence > :after ORDER BY sequence LIMIT :limit"
)
_HEADS: Final = text("SELECT chain, sequence, hash FROM audit_head ORDER BY chain")
_CHAINS: Final = text("SELECT DISTINCT workspace_id FROM audit_entry ORDER BY 1")


@dataclass(frozen=True)
class Written:
    """One entry as it stands in the database."""

    chain: str
    sequence: int
    body: str
    hash: bytes
    time: datetime

    def values(self) -> dict[str, Any]:
        """Returns what the body says; nothing where somebody has made it no JSON object."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Head:
    """How far a chain is, or was: the number of its last entry and that entry's hash."""

    chain: str
    sequence: int
    hash: bytes


@dataclass(frozen=True)
class Verification:
    """What a whole journal was found to be."""

    heads: tuple[Head, ...]
    entries: int
    breaks: tuple[Break, ...]
    anchors: int


class Chains:
    """Reads the journal of the service whose database it is."""

    def __init__(self, database: Database) -> None:
        """Takes the database."""
        self._database = database

    async def entries(self, chain: str, *, after: int, limit: int, prefix: str = "") -> list[Written]:
        """Returns up to `limit` entries of a chain with a number above `after`, in order."""
        query = _ENTRIES if prefix else _PIECE
        values: dict[str, Any] = {"chain": chain, "after": after, "limit": limit}
        if prefix:
            values["prefix"] = prefix
        async with self._database.everywhere() as connection:
            return [Written(*row) for row in await connection.execute(query, values)]

    async def heads(self) -> list[Head]:
        """Returns how far each chain is."""
        async with self._database.shared() as connection:
            return [Head(row[0], row[1], bytes(row[2])) for row in await connection.execute(_HEADS)]

    async def stream(self, chain: str | None = None, after: int = 0) -> AsyncIterator[Written]:
        """Yields every entry that is there now, chain by chain; only one chain where it is named."""
        for head in [head for head in await self.heads() if chain is None or head.chain == chain]:
            last = after
            while last < head.sequence:
                piece = await self.entries(head.chain, after=last, limit=PIECE)
                for entry in piece:
                    last = entry.sequence
                    yield entry
                if len(piece) < PIECE:
                    break
            after = 0

    async def verify(self, anchors: Mapping[str, list[Head]] | None = None) -> Verification:
        """Recomputes every chain; `anchors` are what was noted outside of the database, by chain."""
        noted = anchors or {}
        # The heads first: entries that come meanwhile are after them.
        heads = {head.chain: head for head in await self.heads()}
        async with self._database.everywhere() as connection:
            chains = {*heads, *(row[0] for row in await connection.execute(_CHAINS)), *noted}
        breaks: list[Break] = []
        count = 0
        for chain in sorted(chains):
            read, found = await self._chain(chain, heads.get(chain), noted.get(chain, []))
            count += read
            if found is not None:
                breaks.append(found)
        return Verification(tuple(heads.values()), count, tuple(breaks), sum(map(len, noted.values())))

    async def _chain(self, chain: str, head: Head | None, noted: list[Head]) -> tuple[int, Break | None]:
        wanted = {anchor.sequence: anchor.hash for anchor in noted}
        length = 0 if head is None else head.sequence
        previous, last = GENESIS, 0
        while True:
            piece = await self.entries(chain, after=last, limit=PIECE)
            for entry in piece:
                problem = _problem(entry, last + 1, previous, wanted)
                if problem is not None:
                    return last, problem
                previous, last = bytes(entry.hash), entry.sequence
            if len(piece) < PIECE:
                break
        return last, _end(chain, last, previous, head, length, max(wanted, default=0))


def _problem(entry: Written, expected: int, previous: bytes, wanted: Mapping[int, bytes]) -> Break | None:
    if entry.sequence != expected:
        return Break(entry.chain, expected, "missing")
    if chained(entry.sequence, previous, entry.body) != bytes(entry.hash):
        return Break(entry.chain, expected, "changed")
    if wanted.get(entry.sequence, entry.hash) != entry.hash:
        # Somebody has computed the chain anew: it holds in itself, and is another one than it was.
        return Break(entry.chain, expected, "anchor")
    return None


def _end(chain: str, last: int, previous: bytes, head: Head | None, length: int, anchored: int) -> Break | None:
    if last < max(length, anchored):
        return Break(chain, last + 1, "missing")
    if last == length and head is not None and head.hash != previous:
        return Break(chain, last, "changed")
    return Break(chain, 1, "added") if head is None and last else None
