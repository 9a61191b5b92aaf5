"""The read of a lease: one statement, one moment, one workspace."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import text

from cordboard.auth.store import connections as rows
from cordboard.core.database import Database
from tests.fixtures.postgres import Databases

SEED = (
    "INSERT INTO workspace (workspace_id, display_name, customer, tier, region, revision) "
    "SELECT w, '', 'c', 'business', 'eu', 1 FROM unnest(ARRAY['acme', 'globex']) w",
    "INSERT INTO connection (workspace_id, connection_id, integration, auth_scheme, kind, environment, display_name, "
    "scopes, configuration, state, generation, refreshable, parts) SELECT w, 'desk', 'desk', 'key', 'api_key', 'test', "
    """'', '{}', '{"site": "eu"}', 'ready', 2, false, '[["a", "api_key"]]' FROM unnest(ARRAY['acme', 'globex']) w""",
    "INSERT INTO credential SELECT w, 'desk', g, f, convert_to(w || g || f, 'UTF8') "
    "FROM unnest(ARRAY['acme', 'globex']) w, generate_series(2, 2) g, unnest(ARRAY['one', 'two']) f",
    "INSERT INTO workspace_configuration (workspace_id, integration, configuration, revision) "
    """VALUES ('acme', 'desk', '{"region": "x"}', 1)""",
)


@pytest.fixture
async def data(database: Databases) -> AsyncIterator[Database]:
    where = database("auth")
    connection = await asyncpg.connect(where.superuser_url.replace("+asyncpg", ""))
    try:
        await connection.execute("SET search_path TO auth")
        for statement in SEED:
            await connection.execute(statement)
    finally:
        await connection.close()
    made = Database(where.url)
    yield made
    await made.close()


async def test_a_connection_is_read_with_all_that_a_lease_needs_in_one_statement(data: Database) -> None:
    held = await rows.read_held(data, "acme", "desk")
    assert held is not None
    assert held.sealed == {"one": b"acme2one", "two": b"acme2two"}
    assert (held.connection.workspace, held.connection.id, held.connection.generation) == ("acme", "desk", 2)
    assert held.connection.configuration == {"site": "eu"}
    assert held.connection.parts == (("a", "api_key"),)
    assert held.shared is not None
    assert held.shared.configuration == {"region": "x"}
    assert not held.cut_off
    async with data.workspace("acme") as connection:
        inside = await rows.held(connection, "acme", "desk")
    assert inside is not None
    assert (inside.connection, inside.sealed, inside.shared) == (held.connection, held.sealed, held.shared)
    bare = await rows.read_held(data, "globex", "desk")
    assert bare is not None
    assert bare.shared is None
    assert await rows.read_held(data, "acme", "nothing") is None


async def test_the_read_sees_its_workspace_alone_and_leaves_nothing_behind(data: Database) -> None:
    assert await rows.read_held(data, "acme", "desk") is not None
    # The same connections serve the next statement: it belongs to no workspace again.
    assert [row[0] for row in await data.run("SELECT coalesce(current_setting('app.ws', true), '')")] == [""]
    assert [row[0] for row in await data.run("SELECT count(*) FROM connection")] == [0]
    # Inside of another workspace's transaction row-level security decides, not the argument.
    async with data.workspace("globex") as connection:
        assert await rows.held(connection, "acme", "desk") is None
        assert await rows.held(connection, "globex", "desk") is not None
    async with data.everywhere() as connection:
        assert await rows.held(connection, "acme", "desk") is not None
        seen = await connection.execute(text("SELECT count(*) FROM connection"))
        assert seen.scalar_one() == 2


@pytest.mark.parametrize("workspace", ["", "*"])
async def test_nobody_reads_everything_by_naming_no_workspace(data: Database, workspace: str) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await rows.read_held(data, workspace, "desk")
