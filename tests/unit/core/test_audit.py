"""The audit journal on a real PostgreSQL: it only grows, and any later change shows."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from cordboard.core.audit import GENESIS, Break, Entry, Journal, Link, chained, verify
from cordboard.core.caller import Caller, set_caller
from cordboard.core.database import Database
from cordboard.core.errors import AuditUnavailable
from tests.fixtures.postgres import Databases, ServiceDatabase


class Books:
    """A journal, and two ways around it: as the service's role, and as the superuser."""

    def __init__(self, where: ServiceDatabase) -> None:
        self.where = where
        self.database = Database(where.url)
        self.journal = Journal(self.database)

    async def write(self, count: int, workspace: str = "acme") -> None:
        async with self.database.workspace(workspace) as connection:
            for number in range(count):
                await self.journal.append(connection, Entry("test.thing.do", f"things/{number}", workspace))

    async def service(self, statement: str) -> None:
        async with self.database.everywhere() as connection:
            await connection.execute(text(statement))

    async def tamper(self, *statements: str) -> None:
        connection = await asyncpg.connect(self.where.superuser_url.replace("+asyncpg", ""))
        try:
            await connection.execute("SET search_path TO catalog")
            await connection.execute("ALTER TABLE audit_entry DISABLE TRIGGER ALL")
            for statement in statements:
                await connection.execute(statement)
            await connection.execute("ALTER TABLE audit_entry ENABLE TRIGGER ALL")
        finally:
            await connection.close()

    async def links(self, workspace: str = "acme") -> list[Link]:
        async with self.database.workspace(workspace or "*x") as connection:
            if not workspace:
                await connection.execute(text("SELECT set_config('app.ws', '*', true)"))
            rows = await connection.execute(
                text("SELECT workspace_id, sequence, body, hash FROM audit_entry WHERE workspace_id = :w ORDER BY 2"),
                {"w": workspace},
            )
            return [Link(*row) for row in rows]

    async def length(self, workspace: str = "acme") -> int:
        async with self.database.shared() as connection:
            found = await connection.execute(text("SELECT sequence FROM audit_head WHERE chain = :w"), {"w": workspace})
            return int(found.scalar_one())

    async def verified(self, workspace: str = "acme") -> Break | None:
        return verify(await self.links(workspace), await self.length(workspace))


@pytest.fixture
async def books(database: Databases) -> AsyncIterator[Books]:
    made = Books(database("catalog"))
    yield made
    await made.journal.close()
    await made.database.close()


def a_chain(count: int) -> list[Link]:
    links: list[Link] = []
    for number in range(1, count + 1):
        body = json.dumps({"n": number})
        links.append(Link("acme", number, body, chained(number, links[-1].hash if links else GENESIS, body)))
    return links


async def test_a_chain_verifies_and_each_workspace_has_its_own(books: Books) -> None:
    await books.write(5)
    await books.write(3, "other")
    assert [link.sequence for link in await books.links()] == [1, 2, 3, 4, 5]
    assert [link.sequence for link in await books.links("other")] == [1, 2, 3]
    assert await books.verified() is None


async def test_an_entry_says_who_did_what(books: Books) -> None:
    async def call() -> None:
        set_caller(Caller("envoy", "workspaces/acme", "acme", token_id="t-1"))
        async with books.database.everywhere() as connection:
            entry = Entry("flags.flag.update", "flags/x", outcome="ok", details={"etag": "ü\u2028"})
            await books.journal.append(connection, entry)

    await asyncio.create_task(call())
    (link,) = await books.links("")
    body = json.loads(link.body)
    assert (body["actor"], body["peer"], body["token_id"]) == ("workspaces/acme", "envoy", "t-1")
    assert (body["action"], body["resource"], body["details"]) == (
        "flags.flag.update",
        "flags/x",
        {"etag": "ü\u2028"},
    )
    assert link.body.isascii()


async def test_python_and_sql_make_the_same_hashes(books: Books) -> None:
    bodies = ["", "{}", "ünïcödé \U0001f600", "x" * 100_000, "'; --", "\\x00"]
    async with books.database.everywhere() as connection:
        await books.journal.append_bodies(connection, [("acme", body) for body in bodies])
    previous = GENESIS
    links = await books.links()
    assert [link.body for link in links] == bodies
    for link in links:
        assert chained(link.sequence, previous, link.body) == link.hash
        previous = link.hash


TAMPERINGS = [
    ("UPDATE audit_entry SET body = replace(body, 'test', 'tost') WHERE sequence = 7", Break("acme", 7, "changed")),
    ("UPDATE audit_entry SET hash = sha256(hash) WHERE sequence = 7", Break("acme", 7, "changed")),
    ("UPDATE audit_entry SET body = body || ' ' WHERE sequence = 20", Break("acme", 20, "changed")),
    ("DELETE FROM audit_entry WHERE sequence = 7", Break("acme", 7, "missing")),
    ("DELETE FROM audit_entry WHERE sequence = 1", Break("acme", 1, "missing")),
    ("DELETE FROM audit_entry WHERE sequence > 18", Break("acme", 19, "missing")),
    ("TRUNCATE audit_entry", Break("", 1, "missing")),
    (
        "INSERT INTO audit_entry SELECT workspace_id, 21, body, hash FROM audit_entry WHERE sequence = 7",
        Break("acme", 21, "changed"),
    ),
    (
        "INSERT INTO audit_entry SELECT workspace_id, 21, 'x', sha256('\\x01'::bytea || int8send(21) || hash || "
        "sha256('x')) FROM audit_entry WHERE sequence = 20",
        Break("acme", 21, "added"),
    ),
    (
        "UPDATE audit_entry e SET body = o.body FROM audit_entry o WHERE e.sequence + o.sequence = 15 "
        "AND e.sequence IN (7, 8) AND o.sequence IN (7, 8)",
        None,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "found"), TAMPERINGS)
async def test_a_change_by_the_superuser_is_found_where_it_is(
    books: Books, statement: str, found: Break | None
) -> None:
    await books.write(20)
    before = await books.links()
    assert await books.verified() is None
    await books.tamper(statement)
    assert await books.links() != before
    assert await books.verified() == (found or Break("acme", 7, "changed"))


def test_each_change_of_a_long_chain_is_found() -> None:
    chain = a_chain(300)
    assert verify(chain, 300) is None
    for index, link in enumerate(chain):
        rest = chain[index + 1 :]
        assert verify([*chain[:index], Link("acme", link.sequence, "{}", link.hash), *rest], 300) == Break(
            "acme", index + 1, "changed"
        )
        without = verify([*chain[:index], *rest], 300)
        assert without is not None
        assert (without.sequence, without.problem) == (index + 1, "missing")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO audit_entry VALUES ('acme', 99, '{}', '')",
        "UPDATE audit_entry SET body = '{}'",
        "DELETE FROM audit_entry",
        "TRUNCATE audit_entry",
        "INSERT INTO audit_head VALUES ('acme', 0, '')",
        "UPDATE audit_head SET sequence = 0",
        "DELETE FROM audit_head",
        "TRUNCATE audit_head",
        "ALTER TABLE audit_entry DISABLE TRIGGER ALL",
        "DROP TABLE audit_entry",
        "ALTER FUNCTION audit_append(text, text[]) SECURITY INVOKER",
        "SET ROLE cordboard_owner",
    ],
)
async def test_the_service_can_only_append(books: Books, statement: str) -> None:
    await books.write(3)
    with pytest.raises(DBAPIError) as refused:
        await books.service(statement)
    assert getattr(refused.value.orig, "sqlstate", "") == "42501", "insufficient_privilege"
    assert await books.verified() is None
    assert len(await books.links()) == 3


async def test_another_service_cannot_append(books: Books, database: Databases) -> None:
    async with books.database.everywhere() as connection:
        allowed = "SELECT has_function_privilege(:role, 'catalog.audit_append(text, text[])', 'EXECUTE')"
        for role, expected in (("cordboard_catalog", True), ("cordboard_uqi", False)):
            assert (await connection.execute(text(allowed), {"role": role})).scalar_one() is expected


@pytest.mark.parametrize("statement", ["UPDATE audit_entry SET body = '{}'", "DELETE FROM audit_entry",
                                       "TRUNCATE audit_entry"])  # fmt: skip
async def test_even_the_owner_is_stopped_by_the_trigger(database: Databases, statement: str) -> None:
    where = database("catalog")
    books = Books(where)
    await books.write(1)
    owner = await asyncpg.connect(where.owner_url.replace("+asyncpg", ""))
    try:
        await owner.execute("SET search_path TO catalog; SET app.ws = '*'")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="only grows"):
            await owner.execute(statement)
    finally:
        await owner.close()
        await books.database.close()


async def test_a_workspace_reads_its_own_entries_only(books: Books) -> None:
    await books.write(2)
    await books.write(3, "other")
    count = text("SELECT count(*) FROM audit_entry")
    async with books.database.workspace("acme") as connection:
        assert (await connection.execute(count)).scalar_one() == 2
    async with books.database.shared() as connection:
        assert (await connection.execute(count)).scalar_one() == 0
    async with books.database.everywhere() as connection:
        assert (await connection.execute(count)).scalar_one() == 5


async def test_an_effect_that_is_rolled_back_leaves_no_entry(books: Books) -> None:
    await books.write(1)
    with pytest.raises(RuntimeError):
        async with books.database.workspace("acme") as connection:
            await books.journal.append(connection, Entry("test.thing.do", "x", "acme"))
            raise RuntimeError
    await books.write(1)
    assert [link.sequence for link in await books.links()] == [1, 2]
    assert await books.verified() is None


async def test_two_hundred_at_once_make_one_chain(books: Books) -> None:
    await asyncio.gather(
        *(books.journal.append_batched(Entry("test.thing.do", str(n), ["acme", "b", ""][n % 3])) for n in range(200))
    )
    assert [link.sequence for link in await books.links()] == list(range(1, 68))
    assert await books.verified() is None
    written = [json.loads(link.body)["resource"] for w in ("acme", "b", "") for link in await books.links(w)]
    assert sorted(written, key=int) == [str(n) for n in range(200)]


async def test_batches_of_several_chains_do_not_wait_for_each_other(books: Books) -> None:
    databases = [Database(books.where.url) for _ in range(2)]
    journals = [Journal(database) for database in databases]
    chains = ["acme", "b", "c", ""]
    for turn in range(10):
        await asyncio.gather(
            *(
                journals[n % 2].append_batched(Entry("a.b.c", f"{turn}", chains[n // 2 if n % 2 else -1 - n // 2]))
                for n in range(8)
            )
        )
    assert [await books.length(chain) for chain in chains] == [20] * 4
    for chain in chains:
        assert await books.verified(chain) is None
    for database in databases:
        await database.close()


async def test_two_journals_make_one_chain_too(books: Books) -> None:
    others = [Journal(books.database) for _ in range(4)]
    await asyncio.gather(
        *(others[n % 4].append_batched(Entry("test.thing.do", str(n), ["acme", "b"][n % 2])) for n in range(100)),
        *(books.write(1) for _ in range(20)),
    )
    assert await books.length() == 70
    assert await books.verified() is None


async def test_a_batched_entry_is_there_when_it_returns(books: Books) -> None:
    for number in range(1, 4):
        await books.journal.append_batched(Entry("test.thing.do", "x", "acme"))
        assert await books.length() == number


async def test_a_caller_who_leaves_does_not_take_the_batch_along(books: Books) -> None:
    waiting = [asyncio.create_task(books.journal.append_batched(Entry("a.b.c", str(n), "acme"))) for n in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.gather(waiting[0], waiting[2])
    assert await books.length() == 3


async def test_without_its_database_an_entry_fails_closed() -> None:
    database = Database("postgresql+asyncpg://nobody:nothing@127.0.0.1:1/nothing")
    journal = Journal(database)
    outcomes = await asyncio.gather(
        *(journal.append_batched(Entry("a.b.c", "x", "acme")) for _ in range(10)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [AuditUnavailable] * 10
    await journal.close()
    await database.close()


class Counting(Database):
    """Counts transactions."""

    transactions = 0

    async def run(self, statement: str, *arguments: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        self.transactions += 1
        return await super().run(statement, *arguments, timeout=timeout)


async def test_what_comes_while_others_are_written_shares_the_next_transaction(books: Books) -> None:
    database = Counting(books.where.url)
    journal = Journal(database)
    first = asyncio.create_task(journal.append_batched(Entry("a.b.c", "first", "acme")))
    while not database.transactions:  # noqa: ASYNC110 - the writer decides
        await asyncio.sleep(0)
    await asyncio.gather(*(journal.append_batched(Entry("a.b.c", str(n), "acme")) for n in range(200)), first)
    assert (await books.length(), database.transactions) == (201, 2)
    # One alone waits for nobody: it is a transaction of its own.
    await journal.append_batched(Entry("a.b.c", "last", "acme"))
    assert database.transactions == 3
    await database.close()


class Surprising(Database):
    """Fails once in a way that nobody foresaw."""

    failed = False

    async def run(self, statement: str, *arguments: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        if not self.failed:
            self.failed = True
            raise RuntimeError("surprise")
        return await super().run(statement, *arguments, timeout=timeout)


async def test_what_nobody_foresaw_fails_closed_too(books: Books) -> None:
    database = Surprising(books.where.url)
    journal = Journal(database)
    async with asyncio.timeout(50):
        with pytest.raises(AuditUnavailable):
            await journal.append_batched(Entry("a.b.c", "x", "acme"))
        await journal.append_batched(Entry("a.b.c", "y", "acme"))
    assert await books.length() == 1
    await database.close()


async def test_closing_waits_for_what_is_being_written(books: Books) -> None:
    waiting = asyncio.create_task(books.journal.append_batched(Entry("a.b.c", "x", "acme")))
    await asyncio.sleep(0)
    await books.journal.close()
    assert await books.length() == 1
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
