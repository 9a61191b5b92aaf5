"""What a hub writes of its edges is gathered: one write for many edges, and each waits for its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from cordboard.catalog.sync.notes import Notes


@dataclass(frozen=True)
class Said:
    """A note."""

    edge: str
    number: int = 0


class Table:
    """Writes notes when it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[Said]] = []
        self.began = asyncio.Event()
        self.open = asyncio.Event()

    async def write(self, notes: list[Said]) -> set[str]:
        self.batches.append(notes)
        self.began.set()
        await self.open.wait()
        return {note.edge for note in notes}


async def test_notes_that_come_while_others_are_written_are_written_together() -> None:
    table = Table()
    notes: Notes[Said, set[str]] = Notes(table.write)
    first = asyncio.create_task(notes.put(Said("a")))
    await table.began.wait()
    others = [asyncio.create_task(notes.put(Said(edge))) for edge in "bcd"]
    for _ in range(5):
        await asyncio.sleep(0)
    assert table.batches == [[Said("a")]]
    table.open.set()
    assert await first == {"a"}
    assert await asyncio.gather(*others) == [{"b", "c", "d"}] * 3
    assert table.batches[1:] == [[Said("b"), Said("c"), Said("d")]]
    await notes.close()


async def test_two_notes_of_one_edge_are_written_one_after_the_other() -> None:
    table = Table()
    table.open.set()
    notes: Notes[Said, set[str]] = Notes(table.write)
    await asyncio.gather(*(notes.put(one) for one in (Said("a", 1), Said("b", 1), Said("a", 2))))
    assert table.batches == [[Said("a", 1), Said("b", 1)], [Said("a", 2)]]
    await notes.close()


async def test_what_cannot_be_written_is_told_to_those_who_asked_and_the_next_is_written() -> None:
    failures = [OSError("the disk is full")]

    async def write(notes: list[Said]) -> int:
        if failures:
            raise failures.pop()
        return len(notes)

    notes: Notes[Said, int] = Notes(write)
    with pytest.raises(OSError, match="the disk is full"):
        await notes.put(Said("a"))
    assert await notes.put(Said("a")) == 1
    await notes.close()


async def test_who_waits_when_all_ends_is_let_go() -> None:
    table = Table()
    notes: Notes[Said, set[str]] = Notes(table.write)
    waiting = asyncio.create_task(notes.put(Said("a")))
    await table.began.wait()
    await notes.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
