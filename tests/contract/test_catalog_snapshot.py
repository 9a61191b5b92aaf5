"""The catalog in memory against a real database: what it keeps, what it drops, and what it does when that is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from sqlalchemy import text

from cordboard.catalog.catalog import Catalog
from cordboard.catalog.gate import Gate
from cordboard.catalog.lifecycle import Lifecycle
from cordboard.catalog.publication import Publication
from cordboard.catalog.snapshot import Snapshot
from cordboard.catalog.store import CatalogStore
from cordboard.core.audit import Journal
from cordboard.core.database import Database
from cordboard.core.errors import DependencyUnavailable, NotFound
from cordboard.core.times import SystemClock
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.unit.catalog.definitions import DOCUMENT


class CountingStore(CatalogStore):
    """The store, and how often a definition was read from it."""

    reads = 0

    async def content(self, slug: str, version: str, *, workspace: str = "") -> bytes | None:
        """Counts, and reads."""
        self.reads += 1
        return await super().content(slug, version, workspace=workspace)


@dataclass
class Parts:
    """A catalog without a server."""

    store: CountingStore
    snapshot: Snapshot
    catalog: Catalog
    database: Database


@pytest.fixture
def shared(database: Databases) -> ServiceDatabase:
    """The Catalog's database in this test."""
    return database("catalog")


@pytest.fixture
async def parts(shared: ServiceDatabase) -> AsyncIterator[Callable[[int], Parts]]:
    """Makes catalogs that keep so many bytes of definitions."""
    opened: list[Database] = []
    with ThreadPoolExecutor(1) as worker:

        def make(cache_bytes: int) -> Parts:
            database = Database(shared.url, pool_size=2)
            opened.append(database)
            store = CountingStore(database)
            snapshot = Snapshot(store, cache_bytes=cache_bytes)
            journal, clock, gate = Journal(database), SystemClock(), Gate(snapshot, worker)
            lifecycle = Lifecycle(store, snapshot, journal, clock, gate)
            publication = Publication(store, snapshot, journal, clock, gate, lifecycle, private_limit=1)
            catalog = Catalog(snapshot, publication, gate, worker)
            return Parts(store, snapshot, catalog, database)

        yield make
    for database in opened:
        await database.close()


def a_definition(slug: str, owner: str = "a") -> str:
    return DOCUMENT.replace("slug: acme-desk", f"slug: {slug}").replace("owner: integrations", f"owner: {owner}")


async def test_before_the_first_look_nothing_is_denied(parts: Callable[[int], Parts]) -> None:
    one = parts(10**6)
    for ask in (
        lambda: one.snapshot.integration("x"),
        lambda: one.snapshot.slugs(""),
        lambda: one.snapshot.head,
    ):
        with pytest.raises(DependencyUnavailable):
            ask()
    with pytest.raises(DependencyUnavailable):
        await one.snapshot.check()
    with pytest.raises(DependencyUnavailable):
        await one.snapshot.version("x", "1.0.0")
    await one.snapshot.refresh()
    await one.snapshot.check()
    with pytest.raises(NotFound):
        one.snapshot.integration("x")


async def test_many_who_ask_at_once_cost_one_read(parts: Callable[[int], Parts]) -> None:
    await parts(10**6).catalog.publish(a_definition("alpha"))
    other = parts(10**6)
    await other.snapshot.refresh()
    found = await asyncio.gather(*(other.snapshot.version("alpha", "active") for _ in range(50)))
    assert other.store.reads == 1
    assert all(one is found[0] for one in found)


async def test_a_caller_that_goes_away_takes_nothing_from_the_others(parts: Callable[[int], Parts]) -> None:
    await parts(10**6).catalog.publish(a_definition("alpha"))
    other = parts(10**6)
    await other.snapshot.refresh()
    first = asyncio.create_task(other.snapshot.version("alpha", "1.0.0"))
    second = asyncio.create_task(other.snapshot.version("alpha", "1.0.0"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).message.name == "integrations/alpha/versions/1.0.0"
    assert other.store.reads == 1


async def test_definitions_beyond_the_budget_are_dropped_and_read_again(parts: Callable[[int], Parts]) -> None:
    one = parts(10**6)
    for slug in ("alpha", "bravo", "charlie"):
        await one.catalog.publish(a_definition(slug))
    size = (await one.snapshot.version("alpha", "active")).bytes
    small = parts(2 * size + 100)
    await small.snapshot.refresh()
    for slug in ("alpha", "bravo", "alpha", "charlie", "alpha"):
        await small.snapshot.version(slug, "active")
    assert small.store.reads == 3
    await small.snapshot.version("bravo", "active")
    assert small.store.reads == 4
    await small.snapshot.version("bravo", "active")
    assert small.store.reads == 4


async def test_one_definition_larger_than_the_budget_is_kept(parts: Callable[[int], Parts]) -> None:
    one = parts(1)
    await one.catalog.publish(a_definition("alpha"))
    await one.snapshot.version("alpha", "active")
    assert one.store.reads == 1


async def test_a_version_that_is_no_longer_the_active_one_says_so(parts: Callable[[int], Parts]) -> None:
    one, other = parts(10**6), parts(10**6)
    await one.catalog.publish(a_definition("alpha", "a"))
    await other.snapshot.refresh()
    assert (await other.snapshot.version("alpha", "1.0.0")).message.active
    await one.catalog.publish(a_definition("alpha", "b"))
    grown = other.snapshot.grown
    await other.snapshot.refresh()
    assert grown.is_set()
    assert not other.snapshot.grown.is_set()
    assert not (await other.snapshot.version("alpha", "1.0.0")).message.active
    assert (await other.snapshot.version("alpha", "active")).message.name.endswith("/1.1.0")


async def test_a_look_that_finds_nothing_new_changes_nothing(parts: Callable[[int], Parts]) -> None:
    one = parts(10**6)
    await one.catalog.publish(a_definition("alpha"))
    grown, head = one.snapshot.grown, one.snapshot.head
    await one.snapshot.refresh()
    assert one.snapshot.head == head
    assert not grown.is_set()


async def test_a_database_that_went_back_in_time_is_read_from_the_beginning(
    parts: Callable[[int], Parts], shared: ServiceDatabase
) -> None:
    one = parts(10**6)
    for slug in ("alpha", "bravo"):
        await one.catalog.publish(a_definition(slug))
    owner = Database(shared.owner_url, pool_size=1)
    async with owner.shared() as connection:
        await connection.execute(text("SET LOCAL search_path TO catalog"))
        await connection.execute(text("ALTER TABLE definition_version DISABLE TRIGGER definition_version_stays"))
        await connection.execute(text("DELETE FROM definition_version WHERE slug = 'bravo'"))
        await connection.execute(text("DELETE FROM integration WHERE slug = 'bravo'"))
        await connection.execute(text("UPDATE head SET sequence = 1"))
    await owner.close()
    await one.snapshot.refresh()
    assert one.snapshot.slugs("") == ["alpha"]
    assert (await one.snapshot.version("alpha", "active")).message.active
    with pytest.raises(NotFound):
        await one.snapshot.version("bravo", "1.0.0")
