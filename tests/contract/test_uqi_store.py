"""Forms in a real PostgreSQL: sets as wholes, failures recorded, several writers at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from cordboard.core.database import Database
from cordboard.core.errors import DependencyUnavailable, NotFound
from cordboard.core.times import SystemClock
from cordboard.uqi.drafts import Draft, Failure
from cordboard.uqi.form_cache import FormCache
from cordboard.uqi.form_sets import FormSets, SetState
from cordboard.uqi.progress import MOST_ENDED, ProgressBoard, ProgressNews
from cordboard.uqi.progress_store import ProgressStore
from cordboard.uqi.store import FormStore, SetRecord
from cordboard.uqi.upkeep import Release, Upkeep
from tests.fixtures.postgres import Databases
from tests.unit.uqi.samples import a_definition, an_input

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


@pytest.fixture
async def opened(database: Databases) -> AsyncIterator[Database]:
    found = Database(database("uqi").url)
    yield found
    await found.close()


@pytest.fixture
def store(opened: Database) -> FormStore:
    return FormStore(opened)


def a_draft(form: str = "action.a", etag: str = "1") -> Draft:
    return Draft(form, "Title", "Text \u2028 {{x}}", '{"a":1}', '{"editor":[]}', ("a: is lost",), etag)


async def put(store: FormStore, *made: Draft | Failure, version: str = "1.0.0", now: datetime = NOW) -> None:
    await store.put("acme", version, made, content_hash="hash", generator="generator", now=now)


async def test_a_form_is_kept_as_it_was_made(store: FormStore) -> None:
    await put(store, a_draft())
    record = await store.form("acme", "1.0.0", "action.a")
    assert record is not None
    assert record.name == "integrations/acme/forms/action.a"
    assert (record.title, record.description, record.losses) == ("Title", "Text \u2028 {{x}}", ("a: is lost",))
    assert (record.json_schema, record.appsmith, record.create_time) == ('{"a":1}', '{"editor":[]}', NOW)
    assert await store.form("acme", "1.0.0", "action.b") is None
    assert await store.form("acme", "2.0.0", "action.a") is None


async def test_a_set_made_again_keeps_the_time_of_what_is_the_same_and_drops_what_is_gone(store: FormStore) -> None:
    await put(store, a_draft("action.a"), a_draft("action.b"), a_draft("action.c"))
    await put(store, a_draft("action.a"), a_draft("action.b", etag="2"), now=LATER)
    found = await store.page("acme", "1.0.0", after="", limit=10)
    assert [(each.form, each.etag, each.create_time) for each in found] == [
        ("action.a", "1", NOW),
        ("action.b", "2", LATER),
    ]


async def test_old_versions_stay(store: FormStore) -> None:
    await put(store, a_draft(etag="1"))
    await put(store, a_draft(etag="2"), version="2.0.0")
    records = [await store.form("acme", version, "action.a") for version in ("1.0.0", "2.0.0")]
    assert [record.etag for record in records if record] == ["1", "2"]


async def test_a_failure_is_recorded_with_the_set(store: FormStore) -> None:
    failure = Failure("action.b", "ValueError: odd")
    await put(store, a_draft(), failure)
    assert await store.form_set("acme", "1.0.0") == SetRecord("hash", "generator", 1, (failure,), NOW)
    assert await store.form_set("acme", "2.0.0") is None


async def test_a_page_is_in_byte_order_and_begins_after_its_token(store: FormStore) -> None:
    ids = ["action.A", "action.a", "action.a-b", "action.a.b", "action.a_b", "auth.x"]
    await put(store, *(a_draft(each) for each in ids))
    assert [each.form for each in await store.page("acme", "1.0.0", after="", limit=10)] == sorted(ids)
    assert [each.form for each in await store.page("acme", "1.0.0", after="action.a", limit=2)] == [
        "action.a-b",
        "action.a.b",
    ]


async def test_a_later_change_of_the_active_version_is_not_undone_by_a_slower_replica(store: FormStore) -> None:
    assert await store.active_version("acme") is None
    for version, sequence in (("1.0.0", 5), ("1.1.0", 8), ("1.0.0", 5)):
        await store.activate("acme", version, sequence=sequence)
    assert await store.active_version("acme") == "1.1.0"
    await store.activate("acme", "1.0.0", sequence=9)
    assert await store.active_version("acme") == "1.0.0"


async def test_replicas_that_store_the_same_set_at_once_all_succeed(store: FormStore) -> None:
    drafts = [a_draft(f"action.a{number}") for number in range(250)]
    await asyncio.gather(*(put(store, *(drafts if even else reversed(drafts))) for even in (True, False) * 4))
    assert len(await store.page("acme", "1.0.0", after="", limit=1000)) == 250


class Shelf:
    """Definition versions that can be asked for, and none that is announced."""

    def __init__(self, *releases: Release) -> None:
        self._releases = {each.version: each for each in releases}

    async def after(self, sequence: int) -> AsyncIterator[Release]:
        """Yields what it has; then breaks."""
        for release in self._releases.values():
            yield release
        raise DependencyUnavailable("catalog")

    async def release(self, integration: str, version: str) -> Release:
        """Returns a version."""
        if version not in self._releases:
            raise NotFound(version)
        return self._releases[version]


def a_release(version: str = "1.0.0", content_hash: str = "hash", sequence: int = 1) -> Release:
    definition = a_definition(an_input(a={"type": "string"}))
    return Release("acme", version, content_hash, True, definition, sequence)


def an_upkeep(
    store: FormStore, *releases: Release, generator: str = "generator", board: ProgressBoard | None = None
) -> Upkeep:
    cache, clock = FormCache(1_000_000), SystemClock()
    board = board or ProgressBoard(clock)
    return Upkeep(store, Shelf(*releases), clock, generator=generator, on_change=cache.take, board=board)


@pytest.mark.parametrize(
    ("content_hash", "generator", "again"),
    [("hash", "generator", False), ("hash", "newer generator", True), ("other hash", "generator", True)],
)
async def test_forms_are_made_again_only_when_the_definition_or_the_generator_differs(
    store: FormStore, content_hash: str, generator: str, again: bool
) -> None:
    await put(store, a_draft("action.create", etag="made before"))
    upkeep = an_upkeep(store, generator=generator)
    await upkeep.take(a_release(content_hash=content_hash))
    (record,) = await store.page("acme", "1.0.0", after="", limit=2)
    assert (record.etag != "made before") is again
    assert (await store.active_version("acme")) == "1.0.0"


async def test_a_definition_that_nothing_can_be_made_of_does_not_stop_the_others(
    store: FormStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    poison, sound = a_release("0.9.0"), a_release("1.0.0", sequence=2)
    upkeep = an_upkeep(store, poison, sound)
    original = Upkeep.ensure

    async def ensure(self: Upkeep, release: Release) -> None:
        if release is poison:
            raise RuntimeError("a fault of ours")
        await original(self, release)

    monkeypatch.setattr(Upkeep, "ensure", ensure)
    job = asyncio.create_task(upkeep.run())
    try:
        async with asyncio.timeout(50):
            while await store.active_version("acme") != "1.0.0":  # noqa: ASYNC110 - a row of PostgreSQL sets no event
                await asyncio.sleep(0.01)
    finally:
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
    assert "the forms of a version cannot be made" in caplog.text


class Gate(FormStore):
    """A store that keeps nothing until it is told to, and breaks where it is told to."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.reached, self.open = asyncio.Event(), asyncio.Event()
        self.problem = ""

    async def put(self, *arguments: Any, **more: Any) -> None:
        self.reached.set()
        await self.open.wait()
        if self.problem:
            raise RuntimeError(self.problem)
        await super().put(*arguments, **more)


def a_large_release(version: str = "1.0.0") -> Release:
    """A version of 45 actions: more than are made in one go."""
    return Release("acme", version, "hash", True, a_definition(*[an_input(a={"type": "string"})] * 45), 1)


def some_sets(store: FormStore, database: Database, board: ProgressBoard, replica: str = "one") -> FormSets:
    """What answers how far forms are, in a process of this name."""
    return FormSets(store, ProgressNews(board, ProgressStore(database), replica))


async def test_each_process_says_how_far_the_others_are(opened: Database) -> None:
    gate = Gate(opened)
    here, there = ProgressBoard(SystemClock()), ProgressBoard(SystemClock())
    upkeep, news = an_upkeep(gate, board=here), ProgressNews(here, ProgressStore(opened), "one")
    others, their_news = some_sets(gate, opened, there, "two"), ProgressNews(there, ProgressStore(opened), "two")

    async def seen() -> tuple[SetState, int, str]:
        found = await others.form_set("acme", "1.0.0")
        return found.state, found.made, found.problem

    making = asyncio.create_task(upkeep.take(a_large_release()))
    async with asyncio.timeout(50):
        await gate.reached.wait()
    with pytest.raises(NotFound):
        await others.form_set("acme", "1.0.0")
    await news.tell()
    assert await seen() == (SetState.MAKING, 45, "")
    assert [each.version for each in await others.page("acme", after="", limit=2)] == ["1.0.0"]
    # It could not be stored, which the others learn, until one of them has done better.
    gate.problem = "a fault"
    gate.open.set()
    with pytest.raises(RuntimeError):
        await making
    await news.tell()
    assert await seen() == (SetState.FAILED, 45, "RuntimeError")
    gate.problem = ""
    await an_upkeep(gate, board=there).take(a_large_release())
    assert await seen() == (SetState.READY, 45, "")
    found = await some_sets(gate, opened, here).form_set("acme", "1.0.0")
    assert (found.state, found.problem) == (SetState.READY, "")
    await their_news.tell()
    assert await ProgressStore(opened).others("three", "acme") == []


async def test_a_process_that_is_gone_makes_nothing(opened: Database) -> None:
    board, store = ProgressBoard(SystemClock()), ProgressStore(opened)
    board.begun("acme", "1.0.0")
    board.reached("acme", "1.0.0", 3, 7)
    news = ProgressNews(board, store, "one")
    await news.tell()
    assert [(each.made, each.total) for each in await store.others("two", "acme")] == [(3, 7)]
    async with opened.shared() as connection:
        await connection.execute(sa.text("UPDATE form_progress SET seen_time = now() - interval '1 minute'"))
    assert await store.others("two", "acme") == []
    # It was stopped for a while, and goes on.
    await news.tell()
    assert len(await store.others("two", "acme")) == 1


async def test_it_is_told_how_far_the_making_of_forms_is(opened: Database) -> None:
    gate, clock = Gate(opened), SystemClock()
    board = ProgressBoard(clock)
    sets, upkeep = some_sets(gate, opened, board), an_upkeep(gate, board=board)
    with pytest.raises(NotFound):
        await sets.form_set("acme", "active")
    making = asyncio.create_task(upkeep.take(a_large_release()))
    async with asyncio.timeout(50):
        await gate.reached.wait()
        found = await sets.form_set("acme", "1.0.0")
        assert (found.state, found.made, found.total, found.update_time) == (SetState.MAKING, 45, 45, None)
        assert found.start_time is not None
        assert found.start_time <= clock.now()
        gate.open.set()
        await making
    found = await sets.form_set("acme", "active")
    assert (found.version, found.state, found.made, found.total) == ("1.0.0", SetState.READY, 45, 45)
    assert found.active
    assert found.update_time is not None
    assert found.start_time is None


async def test_what_could_not_be_made_says_why_until_it_can_be(opened: Database) -> None:
    gate = Gate(opened)
    board = ProgressBoard(SystemClock())
    sets, upkeep = some_sets(gate, opened, board), an_upkeep(gate, board=board)
    gate.open.set()
    gate.problem = "a text of ours that may say anything"
    with pytest.raises(RuntimeError):
        await upkeep.take(a_large_release())
    found = await sets.form_set("acme", "1.0.0")
    assert (found.state, found.problem, found.update_time) == (SetState.FAILED, "RuntimeError", None)
    gate.problem = ""
    await upkeep.take(a_large_release())
    found = await sets.form_set("acme", "1.0.0")
    assert (found.state, found.problem) == (SetState.READY, "")


async def test_sets_are_listed_by_version_stored_ones_and_those_under_way(opened: Database) -> None:
    gate = Gate(opened)
    board = ProgressBoard(SystemClock())
    sets, upkeep = some_sets(gate, opened, board), an_upkeep(gate, board=board)
    gate.open.set()
    for version in ("1.0.0", "1.2.0"):
        await upkeep.take(a_release(version, sequence=int(version[2])))
    gate.open.clear()
    gate.reached.clear()
    making = asyncio.create_task(upkeep.take(a_large_release("1.1.0")))
    try:
        async with asyncio.timeout(50):
            await gate.reached.wait()
        found = await sets.page("acme", after="", limit=10)
        assert [(each.version, each.state.name, each.active) for each in found] == [
            ("1.0.0", "READY", False),
            ("1.1.0", "MAKING", False),
            ("1.2.0", "READY", True),
        ]
        assert [each.version for each in await sets.page("acme", after="1.0.0", limit=1)] == ["1.1.0"]
        assert await sets.page("other", after="", limit=10) == []
    finally:
        gate.open.set()
        await making


def test_of_versions_that_failed_the_oldest_are_forgotten() -> None:
    board = ProgressBoard(SystemClock())
    for number in range(MOST_ENDED + 1):
        board.begun("acme", f"1.{number}.0")
        board.failed("acme", f"1.{number}.0", "x" * 1000)
    kept = board.all("acme")
    assert [each.version for each in (kept[0], kept[-1])] == ["1.1.0", f"1.{MOST_ENDED}.0"]
    assert len(kept[-1].problem) == 300
    # Others are told of those that are kept, once.
    _, failed, done = board.news()
    assert (len(failed), done) == (MOST_ENDED, {("acme", "1.0.0")})
    board.told(failed, done)
    assert board.news() == ([], [], set())
