"""Looks for secrets where none may be: every file and every row, in each form that a secret can take on the way."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import asyncpg

# Less than this would be found by accident.
SHORTEST = 12
CHUNK = 8 * 1024 * 1024


def forms(secret: bytes) -> set[bytes]:
    """Returns a secret as it may stand somewhere: raw, in hex, in base64 at any offset, in URLs, in JSON."""
    assert len(secret) >= SHORTEST, "too short to be told from anything else"
    found = {secret, secret.hex().encode(), secret.hex().upper().encode(), quote(secret, safe="").encode()}
    for offset in range(3):
        # What stands before decides where groups of three begin: the part that no neighbour can change is looked for.
        encoded = base64.b64encode(bytes(offset) + secret)
        begin, end = (0, 2, 3)[offset], len(encoded) - (0 if (len(secret) + offset) % 3 == 0 else 4)
        part = encoded[begin:end]
        found |= {part, part.replace(b"+", b"-").replace(b"/", b"_")}
    with contextlib.suppress(UnicodeDecodeError):
        found.add(json.dumps(secret.decode())[1:-1].encode())
    return {form for form in found if len(form) >= SHORTEST}


@dataclass
class Search:
    """A search for named secrets, and where they were found."""

    wanted: dict[bytes, str] = field(default_factory=dict)
    hits: list[str] = field(default_factory=list)
    looked_at: int = 0
    """How many bytes were looked at: a search that saw nothing has found nothing."""

    @classmethod
    def for_secrets(cls, secrets: Mapping[str, bytes]) -> Search:
        """Begins a search for these secrets, by name."""
        return cls({form: name for name, secret in secrets.items() for form in forms(secret)})

    def look(self, place: str, content: bytes) -> None:
        """Looks into some bytes."""
        self.looked_at += len(content)
        self.hits += sorted({f"{name} in {place}" for form, name in self.wanted.items() if form in content})

    def look_into_files(self, root: Path, *, leave_out: Iterable[Path] = ()) -> None:
        """Looks into every file below a folder; `leave_out` names the ones where a secret belongs."""
        spared = tuple(leave_out)
        longest = max(map(len, self.wanted))
        for path in sorted(root.rglob("*")):
            if path.is_file() and not any(path.is_relative_to(each) for each in spared):
                with path.open("rb") as file:
                    rest = b""
                    # With an overlap, for a secret may lie across the border of two pieces.
                    while piece := file.read(CHUNK):
                        self.look(str(path.relative_to(root)), rest + piece)
                        rest = piece[-longest:]

    async def look_into_tables(self, database: asyncpg.Connection) -> int:
        """Looks into every row of every table, also what PostgreSQL has compressed on disk; returns how many rows."""
        tables = await database.fetch(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        count = 0
        for schema, table in tables:
            rows = await database.fetch(f'SELECT each::text AS row FROM "{schema}"."{table}" AS each')
            count += len(rows)
            # Bytes are shown in hex, and what is text inside of them is looked at as text too.
            text = "\n".join(row["row"] for row in rows)
            self.look(f"{schema}.{table}", text.encode())
            for column in await _byte_columns(database, schema, table):
                values = await database.fetch(f'SELECT "{column}" AS value FROM "{schema}"."{table}"')
                self.look(f"{schema}.{table}.{column}", b"\n".join(row["value"] or b"" for row in values))
        return count


async def _byte_columns(database: asyncpg.Connection, schema: str, table: str) -> list[str]:
    rows = await database.fetch(
        "SELECT column_name FROM information_schema.columns "
        "WHERE table_schema = $1 AND table_name = $2 AND data_type = 'bytea'",
        schema,
        table,
    )
    return [row["column_name"] for row in rows]
