"""The read of a lease: one statement, one moment, one workspace."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
import pytest
from sqlalchemy import text

from cordboard.auth.leases import Step, plan
from cordboard.auth.store import connections as rows
from cordboard.core.audit import Entry, Journal, Link, verify
from cordboard.core.database import Database
from cordboard.core.times import SystemClock
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


HALVES = ('{"action":"lease","details":{"generation":', '},"outcome":"ok"}')
ENTRIES = "SELECT workspace_id, sequence, body, hash FROM auth.audit_entry ORDER BY workspace_id, sequence"


async def entries(data: Database) -> list[Link]:
    async with data.everywhere() as connection:
        found = await connection.execute(text(ENTRIES))
        return [Link(*row) for row in found]


async def test_a_lease_is_read_and_written_down_in_one_statement(data: Database) -> None:
    held = await rows.read_leased(data, "acme", "desk", HALVES)
    plain = await rows.read_held(data, "acme", "desk")
    assert held is not None
    assert plain is not None
    assert held == replace(plain, now=held.now, written=True)
    (link,) = await entries(data)
    assert (link.chain, link.body) == ("acme", "2".join(HALVES))
    assert json.loads(link.body)["details"] == {"generation": 2}
    assert verify([link], 1) is None
    assert await rows.read_leased(data, "acme", "nothing", HALVES) is None
    assert len(await entries(data)) == 1
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await rows.read_leased(data, "*", "desk", HALVES)


# What the statement decides, and what the code does with the same row, are one rule.
CASES = [
    "state = 'reconnect_required'",
    "expire_time = now() + interval '1 hour'",
    "expire_time = now() - interval '1 hour'",
    "expire_time = now() + interval '1 hour', refresh_time = now() + interval '1 minute', refreshable = true",
    "expire_time = now() + interval '1 hour', refresh_time = now() - interval '1 minute', refreshable = true",
    "expire_time = now() - interval '1 hour', refresh_time = now() - interval '2 hours', refreshable = true",
    "expire_time = now() + interval '1 hour', refresh_time = now() - interval '1 minute', refreshable = false",
    "expire_time = now() + interval '1 hour', refresh_time = null, refreshable = true",
    "expire_time = now() - interval '1 hour', refresh_time = null, refreshable = true",
    "expire_time = now() + interval '1 hour', refresh_time = now() - interval '1 minute', refreshable = true, "
    "retry_time = now() + interval '1 minute'",
    "expire_time = null, refresh_time = now() - interval '1 minute', refreshable = true",
]


async def test_an_entry_is_written_exactly_where_a_credential_is_given_as_it_is(data: Database) -> None:
    given = []
    for number, case in enumerate(CASES):
        async with data.workspace("acme") as connection:
            reset = "state = 'ready', expire_time = null, refresh_time = null, refreshable = false, retry_time = null"
            await connection.execute(text(f"UPDATE auth.connection SET {reset}"))
            await connection.execute(text(f"UPDATE auth.connection SET {case}"))
        before = len(await entries(data))
        held = await rows.read_leased(data, "acme", "desk", HALVES)
        assert held is not None
        planned = plan(held.connection, held.now)
        wanted = held.connection.state == "ready" and planned.step is Step.GIVE and held.connection.retry_time is None
        assert held.written == wanted, case
        assert len(await entries(data)) - before == wanted, case
        given += [number] if wanted else []
    assert given == [1, 3, 6, 7, 10]


async def test_nothing_is_written_down_while_an_incident_lasts(data: Database) -> None:
    async with data.shared() as connection:
        cut = (
            "INSERT INTO auth.cut_off (cut_off_id, workspace, integration, reason, revoke, actor) "
            "VALUES ('c', 'acme', '', 'drill', false, 'somebody')"
        )
        await connection.execute(text(cut))
    held = await rows.read_leased(data, "acme", "desk", HALVES)
    assert held is not None
    assert (held.cut_off, held.written) == (True, False)
    assert await entries(data) == []


class Still(SystemClock):
    """The clock of a moment."""

    def now(self) -> datetime:
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_an_entry_around_a_number_is_the_entry() -> None:
    journal = Journal(None, Still())  # type: ignore[arg-type]
    tricky = 'workspaces/a/connections/",\\"details\\":{"generation":0},"'
    entry = Entry(action="auth.credential.lease", resource=tricky, details={"generation": 34}, actor=tricky)
    assert "34".join(journal.halves(entry, "generation")) == journal.body(entry)
