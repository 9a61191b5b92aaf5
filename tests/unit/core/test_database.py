"""Transactions on a real PostgreSQL: whose rows they see, what is left behind them, and who is told of changes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from cordboard.core.database import Changes, Database, notify
from cordboard.core.errors import DependencyUnavailable
from cordboard.core.migrate import SCHEMAS, migrate, protect
from tests.fixtures.postgres import Databases, ServiceDatabase

NOWHERE = "postgresql+asyncpg://nobody:nothing@127.0.0.1:1/nothing"
WORKSPACES = ("acme", "globex", "initech")
COUNT = text("SELECT workspace_id, count(*) FROM note GROUP BY 1")
ADD = text("INSERT INTO note VALUES (:workspace, :id)")
CATALOGUE = "('" + "','".join(SCHEMAS) + "')"
# A partition is reached through its parent, whose policy binds; straight access to it needs protection of its own.
UNPROTECTED = f"""
    SELECT c.oid::regclass::text FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'workspace_id' AND NOT a.attisdropped
    WHERE c.relnamespace::regnamespace::text IN {CATALOGUE} AND c.relkind IN ('r', 'p')
    AND NOT (c.relrowsecurity AND c.relforcerowsecurity) ORDER BY 1"""
UNPINNED = f"""
    SELECT p.oid::regprocedure::text FROM pg_proc p
    WHERE p.pronamespace::regnamespace::text IN {CATALOGUE} AND p.prosecdef
    AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%') ORDER BY 1"""


async def superuser(where: ServiceDatabase) -> asyncpg.Connection:
    return await asyncpg.connect(where.superuser_url.replace("+asyncpg", ""))


class _Operations:
    """Runs a migration's statements one by one."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def execute(self, statement: str) -> None:
        self.statements.append(statement)


@pytest.fixture
async def where(database: Databases) -> ServiceDatabase:
    """A database with a protected table of notes: three of `acme`, two of `globex`, one of `initech`."""
    made = database("catalog")
    operations = _Operations()
    protect(operations, "note")
    owner = await asyncpg.connect(made.owner_url.replace("+asyncpg", ""))
    try:
        await owner.execute("SET search_path TO catalog; SET app.ws = '*'")
        await owner.execute("CREATE TABLE note (workspace_id text NOT NULL, id text, PRIMARY KEY (workspace_id, id))")
        await owner.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON note TO cordboard_catalog")
        for statement in operations.statements:
            await owner.execute(statement)
        await owner.execute(
            "INSERT INTO note VALUES ('acme', '1'), ('acme', '2'), ('acme', '3'), ('globex', '1'), ('globex', '2'), "
            "('initech', '1')"
        )
    finally:
        await owner.close()
    return made


@pytest.fixture
async def data(where: ServiceDatabase) -> AsyncIterator[Database]:
    made = Database(where.url, pool_size=4)
    yield made
    await made.close()


async def seen(connection: object) -> dict[str, int]:
    rows = await connection.execute(COUNT)  # type: ignore[attr-defined]
    return {row[0]: row[1] for row in rows}


async def test_a_transaction_sees_the_rows_of_its_workspace(data: Database) -> None:
    for workspace, count in zip(WORKSPACES, (3, 2, 1), strict=True):
        async with data.workspace(workspace) as connection:
            assert await seen(connection) == {workspace: count}


async def test_without_a_workspace_there_are_no_rows(data: Database) -> None:
    async with data.shared() as connection:
        assert await seen(connection) == {}


async def test_everywhere_is_all_workspaces(data: Database) -> None:
    async with data.everywhere() as connection:
        assert await seen(connection) == {"acme": 3, "globex": 2, "initech": 1}


@pytest.mark.parametrize("workspace", ["", "*"])
async def test_a_workspace_has_an_id(data: Database, workspace: str) -> None:
    with pytest.raises(ValueError, match="needs its id"):
        async with data.workspace(workspace):
            raise AssertionError("it must not begin")


async def test_foreign_rows_are_neither_changed_nor_made(data: Database) -> None:
    async with data.workspace("acme") as connection:
        changed = await connection.execute(text("UPDATE note SET id = id || 'x' WHERE workspace_id = 'globex'"))
        gone = await connection.execute(text("DELETE FROM note WHERE workspace_id <> 'acme'"))
        assert (changed.rowcount, gone.rowcount) == (0, 0)
    for statement in ("INSERT INTO note VALUES ('globex', '9')", "UPDATE note SET workspace_id = 'globex'"):
        with pytest.raises(DBAPIError) as refused:
            async with data.workspace("acme") as connection:
                await connection.execute(text(statement))
        assert getattr(refused.value.orig, "sqlstate", "") == "42501"
    async with data.everywhere() as connection:
        assert await seen(connection) == {"acme": 3, "globex": 2, "initech": 1}


async def test_a_workspace_does_not_stay_on_the_connection(where: ServiceDatabase) -> None:
    data = Database(where.url, pool_size=1)
    try:
        async with data.workspace("acme") as connection:
            first = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        async with data.shared() as connection:
            assert (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one() == first
            assert await seen(connection) == {}
    finally:
        await data.close()


async def test_an_error_rolls_back(data: Database) -> None:
    with pytest.raises(RuntimeError):
        async with data.workspace("acme") as connection:
            await connection.execute(ADD, {"workspace": "acme", "id": "9"})
            raise RuntimeError
    async with data.workspace("acme") as connection:
        assert await seen(connection) == {"acme": 3}


async def test_no_service_role_is_above_row_level_security(where: ServiceDatabase) -> None:
    connection = await superuser(where)
    try:
        roles = await connection.fetch(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'cordboard_%' AND (rolsuper OR rolbypassrls)"
        )
        owned = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND pg_get_userbyid(relowner) = 'cordboard_catalog'"
        )
        assert (roles, owned) == ([], [])
        count = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'cordboard_%'"
        assert await connection.fetchval(count) == len(SCHEMAS) + 1
    finally:
        await connection.close()


async def test_everything_with_a_workspace_is_protected_in_every_schema(where: ServiceDatabase) -> None:
    await migrate(where.owner_url)
    connection = await superuser(where)
    try:
        names = await connection.fetchval(
            "SELECT count(DISTINCT relnamespace) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
            f"WHERE a.attname = 'workspace_id' AND c.relnamespace::regnamespace::text IN {CATALOGUE}"
        )
        assert names == len(SCHEMAS)
        assert [row[0] for row in await connection.fetch(UNPROTECTED)] == []
        assert [row[0] for row in await connection.fetch(UNPINNED)] == []
        # The controls: the queries find what they look for.
        await connection.execute("CREATE TABLE proxy.naked (workspace_id text)")
        await connection.execute("CREATE TABLE uqi.half (workspace_id text)")
        await connection.execute("ALTER TABLE uqi.half ENABLE ROW LEVEL SECURITY")
        await connection.execute("CREATE FUNCTION flags.free() RETURNS int LANGUAGE sql SECURITY DEFINER RETURN 1")
        assert [row[0] for row in await connection.fetch(UNPROTECTED)] == ["proxy.naked", "uqi.half"]
        assert [row[0] for row in await connection.fetch(UNPINNED)] == ["flags.free()"]
    finally:
        await connection.close()


async def test_migrating_again_changes_nothing(where: ServiceDatabase) -> None:
    await asyncio.gather(migrate(where.owner_url, ["catalog"]), migrate(where.owner_url, ["catalog"]))
    data = Database(where.url)
    async with data.everywhere() as connection:
        assert await seen(connection) == {"acme": 3, "globex": 2, "initech": 1}
    await data.close()


async def test_a_storm_of_calls_that_are_cancelled_mixes_no_rows_and_leaves_no_connection(
    where: ServiceDatabase,
) -> None:
    data = Database(where.url, pool_size=6)
    data._engine.pool._timeout = 60.0  # type: ignore[attr-defined] # on a busy machine the last in line wait long
    chance = random.Random(7)
    outcomes: Counter[str] = Counter()

    async def call(workspace: str) -> None:
        async with data.workspace(workspace) as connection:
            for _ in range(3):
                assert set(await seen(connection)) == {workspace}, "a foreign row"
                await connection.execute(text("SELECT pg_sleep(0.002)"))
        outcomes["done"] += 1

    tasks = []
    try:
        for number in range(300):
            task = asyncio.create_task(call(WORKSPACES[number % 3]))
            if number % 2:
                asyncio.get_running_loop().call_later(chance.uniform(0, 0.4), task.cancel)
            tasks.append(task)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        failed = [each for each in results if each is not None and not isinstance(each, asyncio.CancelledError)]
        assert failed == []
        assert outcomes["done"] >= 150
        assert any(isinstance(each, asyncio.CancelledError) for each in results), "the storm cancelled something"
        pool = data._engine.pool
        assert pool.checkedout() == 0  # type: ignore[attr-defined]
        for workspace in WORKSPACES:
            await call(workspace)
    finally:
        await data.close()
    connection = await superuser(where)
    try:
        mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'cordboard'"
        async with asyncio.timeout(50):
            while await connection.fetchval(mine, where.name):  # noqa: ASYNC110 - PostgreSQL tells nobody
                await asyncio.sleep(0.02)
    finally:
        await connection.close()


async def test_a_server_that_is_not_there_is_a_dependency() -> None:
    data = Database(NOWHERE)
    with pytest.raises(DependencyUnavailable) as away:
        await data.check()
    assert away.value.metadata == {"dependency": "database"}
    await data.close()


async def test_a_server_that_takes_no_connections_now_is_a_dependency(where: ServiceDatabase) -> None:
    # SQLAlchemy has no class of its own for this, nor for a server that is still starting: the code alone tells.
    data = Database(where.url)
    root = await superuser(where)
    try:
        await root.execute("ALTER ROLE cordboard_catalog CONNECTION LIMIT 0")
        with pytest.raises(DependencyUnavailable):
            await data.check()
        await root.execute("ALTER ROLE cordboard_catalog CONNECTION LIMIT -1")
        await data.check()
    finally:
        await root.execute("ALTER ROLE cordboard_catalog CONNECTION LIMIT -1")
        await root.close()
        await data.close()


async def test_a_pool_that_stays_empty_is_a_dependency(where: ServiceDatabase) -> None:
    data = Database(where.url, pool_size=1)
    data._engine.pool._timeout = 0.05  # type: ignore[attr-defined] # the real one is five seconds
    async with data.shared():
        with pytest.raises(DependencyUnavailable):
            await data.check()
    await data.check()
    await data.close()


async def test_a_connection_that_was_cut_is_a_dependency_and_the_next_one_works(where: ServiceDatabase) -> None:
    data = Database(where.url, pool_size=1)
    root = await superuser(where)
    try:
        with pytest.raises(DependencyUnavailable):
            async with data.workspace("acme") as connection:
                pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
                await root.execute("SELECT pg_terminate_backend($1, 5000)", pid)
                await connection.execute(text("SELECT 1"))
        await data.check()
    finally:
        await root.close()
        await data.close()


async def test_the_error_of_a_statement_has_no_values(data: Database) -> None:
    with pytest.raises(DBAPIError) as refused:
        async with data.workspace("acme") as connection:
            await connection.execute(ADD, {"workspace": "acme", "id": "hunter2" * 100_000})
    assert "hunter2" not in str(refused.value)
    with pytest.raises(DBAPIError) as wrong:
        async with data.workspace("acme") as connection:
            await connection.execute(text("SELECT CAST(:x AS text)::int"), {"x": 12345})
    assert "12345" not in str(wrong.value.statement)
    assert "[SQL parameters hidden due to hide_parameters=True]" in str(wrong.value)


async def listening(where: ServiceDatabase, connection: asyncpg.Connection) -> int:
    """Waits until somebody listens, and returns the process id of that connection."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND query LIKE 'LISTEN%' AND state = 'idle'"
    async with asyncio.timeout(50):
        while (pid := await connection.fetchval(query, where.name)) is None:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    return int(pid)


async def test_a_watcher_wakes_when_a_writer_commits_and_after_its_connection_was_cut(where: ServiceDatabase) -> None:
    data = Database(where.url)
    changes = Changes(data, "notes", poll=3600)
    root = await superuser(where)
    async with asyncio.timeout(50), changes.subscription() as subscription:
        job = asyncio.create_task(changes.run())
        try:
            pid = await listening(where, root)
            await subscription.wait()  # what was committed before it listened

            async with data.shared() as connection:
                await notify(connection, "notes")
                early = asyncio.create_task(subscription.wait())
                await connection.execute(text("SELECT pg_sleep(0.05)"))
                assert not early.done(), "nothing is told before the commit"
            await early

            await root.execute("SELECT pg_terminate_backend($1, 5000)", pid)
            await subscription.wait()  # it listens again, and what it missed has to be looked for
            assert await listening(where, root) != pid
            async with data.shared() as connection:
                await notify(connection, "notes")
            await subscription.wait()
        finally:
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)
            await root.close()
            await data.close()


async def test_a_watcher_looks_anyway_after_a_while() -> None:
    data = Database(NOWHERE)
    async with asyncio.timeout(50), Changes(data, "notes", poll=0.02).subscription() as subscription:
        await subscription.wait()
        await subscription.wait(0.01)
    await data.close()


async def test_listening_goes_on_trying_while_the_server_is_away() -> None:
    data = Database(NOWHERE)
    job = asyncio.create_task(Changes(data, "notes").run())
    done, _ = await asyncio.wait([job], timeout=0.7)
    assert not done
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    await data.close()


async def test_a_statement_that_waits_too_long_for_a_lock_may_be_tried_again(where: ServiceDatabase) -> None:
    first, second = Database(where.url), Database(where.url)
    try:
        async with first.workspace("acme") as holder:
            await holder.execute(text("SELECT id FROM note FOR UPDATE"))
            with pytest.raises(DependencyUnavailable) as refused:
                async with second.workspace("acme") as waiting:
                    await waiting.execute(text("SET LOCAL lock_timeout = '10ms'"))
                    await waiting.execute(text("DELETE FROM note"))
        assert refused.value.__cause__ is not None
        # Without somebody who holds the lock the same statement passes: it was not the statement that was wrong.
        async with second.workspace("acme") as alone:
            await alone.execute(text("SET LOCAL lock_timeout = '10ms'"))
            await alone.execute(text("DELETE FROM note"))
    finally:
        await first.close()
        await second.close()
