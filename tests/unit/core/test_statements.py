"""Single statements on a real PostgreSQL: how many at once, and which connections are used again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest
from sqlalchemy import make_url

from cordboard.core import statements as module
from cordboard.core.statements import Statements
from tests.fixtures.postgres import Databases, ServiceDatabase

PID = "SELECT pg_backend_pid()"
Make = Callable[..., Statements]


@pytest.fixture
def where(database: Databases) -> ServiceDatabase:
    return database("catalog")


@pytest.fixture
async def make(where: ServiceDatabase) -> AsyncIterator[Make]:
    made: list[Statements] = []

    def one(**given: float) -> Statements:
        made.append(Statements(make_url(where.url), None, **given))  # type: ignore[arg-type]
        return made[-1]

    yield one
    for each in made:
        await each.close()


@pytest.fixture
async def root(where: ServiceDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(where.superuser_url.replace("+asyncpg", ""))
    yield connection
    await connection.close()


async def pid(statements: Statements) -> int:
    return int((await statements.run(PID))[0][0])


async def gone(root: asyncpg.Connection, process: int) -> None:
    """Waits until a backend has ended."""
    async with asyncio.timeout(50):
        while await root.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", process):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_callers_share_a_few_connections_and_each_gets_its_own_answer(make: Make) -> None:
    statements = make(largest=2)
    query = "SELECT pg_backend_pid(), $1::int FROM pg_sleep(0.005)"
    answers = await asyncio.gather(*(statements.run(query, number) for number in range(40)))
    assert [rows[0][1] for rows in answers] == list(range(40))
    assert len({rows[0][0] for rows in answers}) <= 2


async def test_an_error_of_a_statement_is_no_fault_of_its_connection(make: Make) -> None:
    statements = make(largest=1)
    first = await pid(statements)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await statements.run("SELECT 1 / 0")
    assert await pid(statements) == first


async def test_a_connection_whose_caller_left_is_not_used_again(make: Make, root: asyncpg.Connection) -> None:
    statements = make(largest=1)
    first = await pid(statements)
    waiting = asyncio.create_task(statements.run("SELECT pg_sleep(60)"))
    async with asyncio.timeout(50):
        while not await root.fetchval(  # noqa: ASYNC110 - PostgreSQL tells nobody
            "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state = 'active'", first
        ):
            await asyncio.sleep(0.02)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    # Its place is free, and what the first one still says is nobody's answer.
    assert [row[0] for row in await statements.run("SELECT 7")] == [7]
    assert await pid(statements) != first


async def test_a_connection_that_was_cut_is_left_behind(make: Make, root: asyncpg.Connection) -> None:
    statements = make(largest=1)
    first = await pid(statements)
    assert await root.fetchval("SELECT pg_terminate_backend($1, 20000)", first)
    # It may be that the end is noticed only by who uses it next.
    with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        await statements.run("SELECT 1")
    assert await pid(statements) != first


async def test_a_connection_that_nobody_needs_is_closed(make: Make, root: asyncpg.Connection) -> None:
    statements, kept = make(idle_seconds=0.05), make()
    first, other = await pid(statements), await pid(kept)
    await gone(root, first)
    assert await pid(statements) != first
    assert await pid(kept) == other


async def test_a_caller_waits_only_so_long_for_a_place(
    make: Make, root: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = make(largest=1)
    await pid(statements)
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.05)
    await root.execute("SELECT pg_advisory_lock(7)")
    holding = asyncio.create_task(statements.run("SELECT 5 FROM pg_advisory_xact_lock(7)"))
    async with asyncio.timeout(50):
        while not statements._room.locked():  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await statements.run("SELECT 1")
    await root.execute("SELECT pg_advisory_unlock(7)")
    assert [row[0] for row in await holding] == [5]


async def test_closing_lets_what_runs_end(make: Make) -> None:
    statements = make()
    running = asyncio.create_task(statements.run("SELECT 5 FROM pg_sleep(0.2)"))
    await asyncio.sleep(0)
    await statements.close()
    assert [row[0] for row in await running] == [5]
    assert statements._idle == []
