"""Connections to PostgreSQL that the network has lost without a word: a relay takes everything, and answers nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import make_url, text

from cordboard.core import audit, database
from cordboard.core.audit import Entry, Journal
from cordboard.core.database import Changes, Database
from cordboard.core.errors import AuditUnavailable, DependencyUnavailable
from tests.fixtures.postgres import Databases
from tests.fixtures.relays import Relay, a_relay

SOON = 2.0
NEVER = 3600.0
# A shared machine may be slow to notice; what hangs takes longer than any machine is slow.
PATIENCE = 60.0


class Scene:
    """A database behind a relay."""

    def __init__(self, relay: Relay, url: str) -> None:
        self.relay = relay
        self.url = make_url(url).set(host="127.0.0.1", port=relay.port).render_as_string(hide_password=False)

    def data(self, answer_seconds: float = SOON) -> Database:
        return Database(self.url, pool_size=3, answer_seconds=answer_seconds)

    def lose(self) -> None:
        """Loses every connection that there is; whoever connects from now on is well served."""
        assert self.relay.open
        self.relay.lose()


@pytest.fixture
async def scene(database: Databases) -> AsyncIterator[Scene]:
    made = database("catalog")
    url = make_url(made.url)
    async with a_relay(f"{url.host}:{url.port}") as relay:
        yield Scene(relay, made.url)


async def held(data: Database, count: int) -> None:
    """Has the pool hold so many connections."""
    ready = asyncio.Barrier(count)

    async def one() -> None:
        async with data.shared() as connection:
            await connection.execute(text("SELECT 1"))
            await ready.wait()

    await asyncio.gather(*(one() for _ in range(count)))


async def test_whoever_waits_for_a_lost_connection_is_told_and_the_next_one_is_served(scene: Scene) -> None:
    data = scene.data()
    try:
        await held(data, 3)
        await data.run("SELECT 1")
        scene.lose()
        with pytest.raises(DependencyUnavailable):
            async with asyncio.timeout(PATIENCE), data.shared() as connection:
                await connection.execute(text("SELECT 1"))
        with pytest.raises(DependencyUnavailable):
            async with asyncio.timeout(PATIENCE):
                await data.run("SELECT 1")
        # One of them was waited for; the others are as old, and are not tried one after the other.
        before = time.monotonic()
        await held(data, 3)
        await data.run("SELECT 1")
        assert len([one for one in scene.relay.accepted if one > before]) >= 3
    finally:
        await data.close()


async def test_without_an_end_a_lost_connection_is_waited_for(scene: Scene) -> None:
    """The control: the same, where nobody says how long PostgreSQL may take."""
    data = scene.data(NEVER)
    await data.run("SELECT 1")
    scene.lose()
    waiting = asyncio.create_task(data.run("SELECT 1"))
    await asyncio.wait({waiting}, timeout=3 * SOON)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await data.close()


async def test_the_journal_goes_on_after_its_connection_is_lost(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "WRITE_SECONDS", SOON)
    data = scene.data(NEVER)
    try:
        journal = Journal(data)
        await journal.append_batched(Entry("catalog.test.write", "tests/1"))
        scene.lose()
        with pytest.raises(AuditUnavailable):
            async with asyncio.timeout(PATIENCE):
                await journal.append_batched(Entry("catalog.test.write", "tests/2"))
        async with asyncio.timeout(PATIENCE):
            await journal.append_batched(Entry("catalog.test.write", "tests/3"))
    finally:
        await data.close()


async def test_a_listener_that_is_lost_listens_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LISTENS_SECONDS", 0.2)
    monkeypatch.setattr(database, "ASKED_SECONDS", SOON)
    data = scene.data(NEVER)
    changes = Changes(data, "catalog_test", poll=NEVER)
    running = asyncio.create_task(changes.run())
    try:
        async with changes.subscription() as woken:
            # It wakes everybody when it listens.
            await woken.wait(PATIENCE)
            scene.lose()
            begun = time.monotonic()
            await woken.wait(PATIENCE)
            assert any(one > begun for one in scene.relay.accepted)
            async with data.shared() as connection:
                await database.notify(connection, "catalog_test")
            begun = time.monotonic()
            await woken.wait(PATIENCE)
            assert time.monotonic() - begun < PATIENCE
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await data.close()
