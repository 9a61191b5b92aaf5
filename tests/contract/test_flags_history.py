"""Flags and their history over a real PostgreSQL: as a dict of lists would keep them, and with two writers at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import make_url, text

from cordboard.core.audit import Journal, Link, verify
from cordboard.core.database import Changes, Database
from cordboard.core.errors import DependencyUnavailable, EtagMismatch, NotFound, StateConflict
from cordboard.core.flagging import FlagSet
from cordboard.core.times import SystemClock
from cordboard.flags.approvals import Approvals
from cordboard.flags.content import Content, Rule
from cordboard.flags.evaluation import LiveFlags
from cordboard.flags.flags import Cause, Flags
from cordboard.flags.store import CHANNEL, FlagRecord, FlagStore
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.unit.flags.samples import a_content, contents

CAUSE = Cause("somebody", "because")
BOUND = 40.0


@dataclass
class Instance:
    """One process of the service, as far as it keeps flags."""

    database: Database
    flags: Flags
    live: LiveFlags


@contextlib.asynccontextmanager
async def an_instance(url: str, *, following: bool = False, poll: float = 60.0) -> AsyncIterator[Instance]:
    """An instance; `following` has it listen for the changes of others, with a poll too slow to matter."""
    database = Database(url)
    store = FlagStore(database)
    live = LiveFlags(store)
    changes = Changes(database, CHANNEL, poll=poll)
    jobs = [asyncio.create_task(job) for job in (changes.run(), live.run(changes))] if following else []
    try:
        await live.refresh()
        yield Instance(database, Flags(store, Journal(database), live, SystemClock(), Approvals(())), live)
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await database.close()


@pytest.fixture
def flags_database(database: Databases) -> ServiceDatabase:
    return database("flags")


@pytest.fixture
async def instance(flags_database: ServiceDatabase) -> AsyncIterator[Instance]:
    async with an_instance(flags_database.url) as made:
        yield made


async def rows(url: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(make_url(url).set(drivername="postgresql").render_as_string(False))
    try:
        found: list[asyncpg.Record] = await connection.fetch(statement)
        return found
    finally:
        await connection.close()


# The model: what a flag is after each of its revisions.
State = tuple[Content, bool]
# Mostly a flag that is there from the beginning, so that few steps go into what does not exist.
KEYS = st.sampled_from(["a", "a", "a", "integration.desk"])
CONTENTS = st.sampled_from(
    [
        a_content(),
        a_content(rules=(Rule(tiers=("business",), variant="on"),)),
        a_content(variants={"on": True, "off": False, "no": False}, off_variant="no"),
    ]
)


class FlagsBehaveAsADictOfLists(RuleBasedStateMachine):
    """Every change of the service is made on the model too; after each, both say the same."""

    url: str

    @initialize()
    def begin(self) -> None:
        self.model: dict[str, list[State]] = {}
        self.runner = asyncio.Runner()
        self.stack = contextlib.AsyncExitStack()
        self.instance = self.runner.run(self.stack.enter_async_context(an_instance(self.url)))
        self.sequence = self.instance.live.snapshot.sequence
        # All runs of the machine share a database, so that each has keys of its own.
        self.prefix = f"run{self.sequence}."
        self.put("a", a_content())
        self.kill("a")

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self.stack.aclose())
            self.runner.close()

    def attempt(self, key: str, work: Any, expected: State | type[Exception]) -> None:
        if isinstance(expected, type):
            with pytest.raises(expected):
                self.runner.run(work)
            return
        changed = self.runner.run(work)
        self.model.setdefault(key, []).append(expected)
        self.sequence += 1
        assert (changed.content, changed.killed) == expected
        assert changed.revision == len(self.model[key])

    @rule(key=KEYS, content=CONTENTS)
    def put(self, key: str, content: Content) -> None:
        killed = self.model[key][-1][1] if key in self.model else False
        work = self.instance.flags.put(self.prefix + key, content, etag="", cause=CAUSE)
        self.attempt(key, work, (content, killed))

    @rule(key=KEYS, content=CONTENTS, stale=st.booleans())
    def put_what_was_read(self, key: str, content: Content, stale: bool) -> None:
        if key not in self.model:
            work = self.instance.flags.put(self.prefix + key, content, etag="0123456789abcdef", cause=CAUSE)
            self.attempt(key, work, EtagMismatch)
            return
        history = self.runner.run(self.instance.flags.revisions(self.prefix + key, below=None, limit=1000))
        read = history[-1] if stale else history[0]
        expected = (content, self.model[key][-1][1]) if read.revision == len(self.model[key]) else EtagMismatch
        work = self.instance.flags.put(self.prefix + key, content, etag=read.etag, cause=CAUSE)
        self.attempt(key, work, expected)

    @rule(key=KEYS)
    def kill(self, key: str) -> None:
        expected = (self.model[key][-1][0], True) if key in self.model else NotFound
        self.attempt(key, self.instance.flags.kill(self.prefix + key, cause=CAUSE), expected)

    @rule(key=KEYS)
    def restore(self, key: str) -> None:
        expected: State | type[Exception] = NotFound
        if key in self.model:
            content, killed = self.model[key][-1]
            expected = (content, False) if killed else StateConflict
        self.attempt(key, self.instance.flags.restore(self.prefix + key, cause=CAUSE), expected)

    @rule(key=KEYS, number=st.integers(0, 4))
    def rollback(self, key: str, number: int) -> None:
        history = self.model.get(key, [])
        exists = 1 <= number <= len(history)
        expected = (history[number - 1][0], history[-1][1]) if exists else NotFound
        self.attempt(key, self.instance.flags.rollback(self.prefix + key, number, cause=CAUSE), expected)

    @invariant()
    def both_say_the_same(self) -> None:
        if not hasattr(self, "model"):
            return
        for key, states in self.model.items():
            found = self.runner.run(self.instance.flags.revisions(self.prefix + key, below=None, limit=1000))
            assert [(record.content, record.killed) for record in reversed(found)] == states
            assert [record.revision for record in found] == list(range(len(states), 0, -1))
            assert self.runner.run(self.instance.flags.flag(self.prefix + key)) == found[0]
        snapshot = self.instance.live.snapshot
        assert snapshot.sequence == self.sequence
        evaluated = FlagSet.parse(snapshot.configuration)
        for flags in (evaluated, snapshot.flags):
            for key, states in self.model.items():
                content, killed = states[-1]
                decision = flags.evaluate(self.prefix + key, {"tier": "starter"})
                assert decision.variant == (content.off_variant if killed else content.default_variant)
                assert (decision.reason == "DISABLED") is killed
                assert decision.revision == len(states)


@pytest.fixture(scope="module")
def machine_database(module_database: Databases) -> ServiceDatabase:
    return module_database("flags")


def test_put_kill_restore_and_rollback_do_what_a_dict_of_lists_does(machine_database: ServiceDatabase) -> None:
    machine = type("Machine", (FlagsBehaveAsADictOfLists,), {"url": machine_database.url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


async def test_of_two_writers_with_the_same_etag_one_is_told_to_read_again(instance: Instance) -> None:
    for _ in range(10):
        before = await instance.flags.put("a", a_content(), etag="", cause=CAUSE)
        both = await asyncio.gather(
            *(
                instance.flags.put("a", a_content(description=name), etag=before.etag, cause=CAUSE)
                for name in ("one", "other")
            ),
            return_exceptions=True,
        )
        refused = [result for result in both if isinstance(result, EtagMismatch)]
        assert len(refused) == 1
        assert (await instance.flags.flag("a")).revision == before.revision + 1


async def test_many_writers_in_two_processes_lose_no_revision_and_number_them_in_order_of_commit(
    flags_database: ServiceDatabase,
) -> None:
    count = 12
    async with an_instance(flags_database.url) as first, an_instance(flags_database.url) as second:
        made = await asyncio.gather(
            *(
                process.flags.put(key, a_content(description=f"{key} {number}"), etag="", cause=CAUSE)
                for number in range(count)
                for process in (first, second)
                for key in ("a", "b")
            )
        )
        for key in ("a", "b"):
            kept = await first.flags.revisions(key, below=None, limit=1000)
            assert [record.revision for record in kept] == list(range(2 * count, 0, -1))
            mine = sorted((record for record in made if record.key == key), key=lambda record: -record.revision)
            assert mine == kept
        await first.live.refresh()
        assert first.live.snapshot.sequence == 4 * count


async def test_a_refused_change_leaves_no_trace(instance: Instance, flags_database: ServiceDatabase) -> None:
    await instance.flags.put("a", a_content(), etag="", cause=CAUSE)
    with pytest.raises(StateConflict):
        await instance.flags.restore("a", cause=CAUSE)
    await instance.live.refresh()
    assert instance.live.snapshot.sequence == 1
    assert await rows(flags_database.superuser_url, "SELECT revision FROM flags.flag_revision") == [(1,)]
    assert len(await rows(flags_database.superuser_url, "SELECT 1 FROM flags.audit_entry")) == 1


async def test_every_change_is_in_the_journal_with_who_and_why(
    instance: Instance, flags_database: ServiceDatabase
) -> None:
    await instance.flags.put("a", a_content(), etag="", cause=CAUSE)
    await instance.flags.kill("a", cause=Cause("ann", "vendor is down"))
    await instance.flags.restore("a", cause=CAUSE)
    await instance.flags.rollback("a", 1, cause=CAUSE)
    entries = await rows(
        flags_database.superuser_url,
        "SELECT workspace_id, sequence, body, hash FROM flags.audit_entry ORDER BY sequence",
    )
    links = [Link(*entry) for entry in entries]
    assert verify(links) is None
    bodies = [json.loads(link.body) for link in links]
    assert [body["action"] for body in bodies] == [
        "flags.flag.put",
        "flags.flag.kill",
        "flags.flag.restore",
        "flags.flag.rollback",
    ]
    assert {body["resource"] for body in bodies} == {"flags/a"}
    assert bodies[1]["details"] == {"revision": 2, "sequence": 2, "killed": True, "reason": "kill: vendor is down"}


async def test_a_change_that_the_journal_does_not_take_did_not_happen(
    instance: Instance, flags_database: ServiceDatabase
) -> None:
    await rows(flags_database.owner_url, "ALTER TABLE flags.audit_entry RENAME TO audit_gone")
    with pytest.raises(Exception, match="audit_entry"):
        await instance.flags.put("a", a_content(), etag="", cause=CAUSE)
    with pytest.raises(NotFound):
        await instance.flags.flag("a")
    await rows(flags_database.owner_url, "ALTER TABLE flags.audit_gone RENAME TO audit_entry")
    await instance.flags.put("a", a_content(), etag="", cause=CAUSE)


@pytest.mark.parametrize("statement", ["UPDATE flag_revision SET reason = 'other'", "DELETE FROM flag_revision"])
async def test_no_revision_can_be_changed_or_taken_away(instance: Instance, statement: str) -> None:
    await instance.flags.put("a", a_content(), etag="", cause=CAUSE)
    with pytest.raises(Exception, match="a revision is never changed"):
        async with instance.database.shared() as connection:
            await connection.execute(text(statement))


async def test_a_change_in_one_process_reaches_the_watchers_of_another_by_push(
    flags_database: ServiceDatabase,
) -> None:
    # The poll of the other process comes after a minute: what arrives sooner was pushed.
    async with an_instance(flags_database.url) as writer, an_instance(flags_database.url, following=True) as other:
        await writer.flags.put("a", a_content(default_variant="on"), etag="", cause=CAUSE)
        watcher = other.live.snapshots()
        async with asyncio.timeout(BOUND):
            await reached(watcher, 1)
        for sequence in range(2, 22):
            change = writer.flags.kill if sequence % 2 == 0 else writer.flags.restore
            await change("a", cause=CAUSE)
            async with asyncio.timeout(BOUND):
                snapshot = await reached(watcher, sequence)
            assert (snapshot.flags.evaluate("a", {}).reason == "DISABLED") is (sequence % 2 == 0)


async def reached(watcher: Any, sequence: int) -> Any:
    async for snapshot in watcher:
        if snapshot.sequence >= sequence:
            return snapshot
    raise AssertionError("the watch ended")


async def test_watchers_see_the_latest_of_a_burst_in_order_and_nothing_out_of_date(
    flags_database: ServiceDatabase,
) -> None:
    async with an_instance(flags_database.url) as writer, an_instance(flags_database.url, following=True) as other:
        burst = 30

        async def watched() -> list[tuple[int, int]]:
            seen = []
            async for snapshot in other.live.snapshots():
                seen.append((snapshot.sequence, len(json.loads(snapshot.configuration)["flags"])))
                if snapshot.sequence >= burst:
                    break
            return seen

        watchers = [asyncio.create_task(watched()) for _ in range(5)]
        await asyncio.gather(
            *(writer.flags.put(f"flag-{number}", a_content(), etag="", cause=CAUSE) for number in range(burst))
        )
        async with asyncio.timeout(BOUND):
            for seen in await asyncio.gather(*watchers):
                sequences = [sequence for sequence, _ in seen]
                assert sequences == sorted(set(sequences))
                # Each change made one more flag, so a set that lags behind its number would be too small.
                assert all(sequence == count for sequence, count in seen)
                assert seen[-1] == (burst, burst)


async def test_a_change_is_seen_even_when_its_notification_is_lost(flags_database: ServiceDatabase) -> None:
    async with an_instance(flags_database.url) as writer, an_instance(flags_database.url) as deaf:
        # Nothing listens for this process, so that only its poll can find the change.
        polling = asyncio.create_task(deaf.live.run(Changes(deaf.database, CHANNEL, poll=0.05)))
        await writer.flags.put("a", a_content(), etag="", cause=CAUSE)
        async with asyncio.timeout(BOUND):
            await reached(deaf.live.snapshots(), 1)
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)


async def test_before_the_flags_were_read_there_is_nothing_to_evaluate_with(flags_database: ServiceDatabase) -> None:
    database = Database(flags_database.url)
    live = LiveFlags(FlagStore(database))
    with pytest.raises(DependencyUnavailable):
        await live.check()
    await live.refresh()
    await live.check()
    await database.close()


async def test_the_last_known_flags_are_served_while_the_database_is_away(
    instance: Instance, flags_database: ServiceDatabase
) -> None:
    await instance.flags.put("a", a_content(default_variant="on"), etag="", cause=CAUSE)
    name = flags_database.name
    await rows(flags_database.superuser_url.replace(name, "postgres"), f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await rows(
        flags_database.superuser_url.replace(name, "postgres"),
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    )
    with pytest.raises(DependencyUnavailable):
        await instance.live.refresh()
    assert instance.live.snapshot.flags.evaluate("a", {}).value is True


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=contents())
def test_any_valid_content_is_kept_as_it_was_put(machine_database: ServiceDatabase, content: Content) -> None:
    async def kept() -> FlagRecord:
        async with an_instance(machine_database.url) as made:
            await made.flags.put("arbitrary", content, etag="", cause=CAUSE)
            return await made.flags.flag("arbitrary")

    assert asyncio.run(kept()).content == content
