"""Reads that callers share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from cordboard.auth.joined_reads import JoinedReads


@dataclass
class Shelf:
    """Something slow to read, that changes; it ends a read when a test says so."""

    value: int = 0
    reads: list[str] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, key: str) -> int:
        """Returns the value as it is when the read begins."""
        self.reads.append(key)
        value = self.value
        await self.gate.wait()
        if key == "broken":
            raise LookupError(key)
        return value


@pytest.fixture
def shelf() -> Shelf:
    """A shelf whose reads wait."""
    return Shelf()


async def begun(shelf: Shelf, count: int) -> None:
    """Waits until so many reads have begun."""
    async with asyncio.timeout(50):
        while len(shelf.reads) < count:  # noqa: ASYNC110 - the tasks under test decide
            await asyncio.sleep(0)


async def test_a_thousand_who_ask_at_once_share_one_read(shelf: Shelf) -> None:
    shared = JoinedReads(shelf.read)
    shelf.gate.set()
    assert await asyncio.gather(*(shared.get("a") for _ in range(1000))) == [0] * 1000
    assert shelf.reads == ["a"]
    # Without sharing there is a read for each: what is counted is reads.
    await asyncio.gather(*(shelf.read("a") for _ in range(1000)))
    assert len(shelf.reads) == 1001


async def test_nobody_is_told_what_was_read_before_the_question(shelf: Shelf) -> None:
    shared = JoinedReads(shelf.read)
    first = asyncio.create_task(shared.get("a"))
    await begun(shelf, 1)
    shelf.value = 1
    late = [asyncio.create_task(shared.get("a")) for _ in range(10)]
    await asyncio.sleep(0)
    shelf.gate.set()
    assert await first == 0
    assert await asyncio.gather(*late) == [1] * 10
    assert shelf.reads == ["a", "a"]


async def test_keys_do_not_wait_for_each_other(shelf: Shelf) -> None:
    shared = JoinedReads(shelf.read)
    waiting = [asyncio.create_task(shared.get(key)) for key in "abc"]
    await begun(shelf, 3)
    shelf.gate.set()
    assert await asyncio.gather(*waiting) == [0, 0, 0]


async def test_who_stops_waiting_ends_the_read_for_nobody_else(shelf: Shelf) -> None:
    shared = JoinedReads(shelf.read)
    gone, other = (asyncio.create_task(shared.get("a")) for _ in range(2))
    await begun(shelf, 1)
    gone.cancel()
    shelf.gate.set()
    assert await other == 0
    assert gone.cancelled()


async def test_a_failure_is_everybodys_and_the_next_one_who_asks_tries_again(shelf: Shelf) -> None:
    shared = JoinedReads(shelf.read)
    shelf.gate.set()
    outcomes = await asyncio.gather(*(shared.get("broken") for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in outcomes] == [LookupError] * 3
    with pytest.raises(LookupError):
        await shared.get("broken")
    assert shelf.reads == ["broken", "broken"]


async def test_the_last_who_stops_waiting_ends_the_read_and_the_next_one_reads_anew(shelf: Shelf) -> None:
    shared = JoinedReads(shelf.read)
    first, second = (asyncio.create_task(shared.get("a")) for _ in range(2))
    await begun(shelf, 1)
    turn = asyncio.create_task(shared.get("a"))
    await asyncio.sleep(0)
    for each in (first, second):
        each.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    # Nobody wants to know what the first read tells: the next one need not wait for it.
    await begun(shelf, 2)
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    shelf.gate.set()
    assert await shared.get("a") == 0
    assert shelf.reads == ["a"] * 3
