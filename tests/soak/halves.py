"""What must hold in a Catalog's database whenever one looks, at a hub and at an edge."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import asyncpg
from sqlalchemy import make_url

from tests.fixtures.postgres import ServiceDatabase

# The numbers of all changes are there up to the head, every version has a state and the other way round, and every
# integration's default, and every pin's version, is there.
HALVES: Final = """
    SELECT count(*) FROM catalog.definition_version v FULL JOIN catalog.version_state s USING (slug, version)
        WHERE v.slug IS NULL OR s.slug IS NULL
    UNION ALL SELECT count(*) FROM catalog.integration i LEFT JOIN catalog.definition_version v
        ON v.slug = i.slug AND v.version = i.active_version WHERE v.slug IS NULL
    UNION ALL SELECT count(*) FROM catalog.definition_version v LEFT JOIN catalog.integration i USING (slug)
        WHERE i.slug IS NULL
    UNION ALL SELECT count(*) FROM catalog.version_state, catalog.head h
        WHERE version_state.sequence > h.sequence
    UNION ALL SELECT count(*) FROM catalog.pin p LEFT JOIN catalog.definition_version v USING (slug, version)
        WHERE p.version <> '' AND v.slug IS NULL
"""


@contextlib.asynccontextmanager
async def looking_into(own: ServiceDatabase) -> AsyncIterator[asyncpg.Connection]:
    """Opens a connection that sees everything in a database."""
    plain = make_url(own.superuser_url).set(drivername="postgresql").render_as_string(hide_password=False)
    connection = await asyncpg.connect(plain)
    try:
        yield connection
    finally:
        await connection.close()


async def halves(looking: asyncpg.Connection) -> list[int]:
    """Returns what there is by half, of each kind."""
    return [row[0] for row in await looking.fetch(HALVES)]


async def versions(looking: asyncpg.Connection) -> dict[str, str]:
    """Returns the hash of each version that is there, by name."""
    rows = await looking.fetch("SELECT slug, version, content_hash FROM catalog.definition_version")
    return {f"integrations/{row['slug']}/versions/{row['version']}": row["content_hash"] for row in rows}


async def pins(looking: asyncpg.Connection) -> dict[str, str]:
    """Returns the version that each integration is pinned to; there is one workspace."""
    return {row["slug"]: row["version"] for row in await looking.fetch("SELECT slug, version FROM catalog.pin")}
