"""OFREP's stream of changes: what opens it, what it says, and when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cordboard.core.errors import TokenInvalid
from cordboard.core.flagging import FlagSet
from cordboard.core.times import SystemClock
from cordboard.flags.consumers.consumers import Consumers
from cordboard.flags.evaluation import Snapshot
from cordboard.flags.openfeature.ofrep_events import OfrepEvents
from cordboard.flags.openfeature.tickets import SLOT_SECONDS, Tickets

START = datetime(2026, 1, 5, tzinfo=UTC)


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        """Returns the time."""
        return self.time

    def monotonic(self) -> float:
        """Returns the time too."""
        return self.time.timestamp()

    def later(self, seconds: float) -> None:
        """Moves it on."""
        self.time += timedelta(seconds=seconds)


class Kept:
    """Where the key is kept."""

    def __init__(self, key: bytes = b"k" * 32) -> None:
        self.key = key

    async def stream_key(self) -> bytes:
        """Returns the key."""
        return self.key


class Changing:
    """A set of flags that changes."""

    def __init__(self) -> None:
        self.snapshot = Snapshot(1, FlagSet({}), {})

    def change(self) -> None:
        """Makes the next snapshot the newest."""
        before = self.snapshot
        self.snapshot = Snapshot(before.sequence + 1, FlagSet({}), {})
        before.superseded.set()


def tickets(clock: Hand, kept: Kept | None = None) -> Tickets:
    store: Any = kept or Kept()
    return Tickets(store, clock)


def events(live: Any, clock: Hand, **how: float) -> OfrepEvents:
    store: Any = None
    return OfrepEvents(live, Consumers(store, live, SystemClock()), tickets(clock), clock, **how)


async def following(stream: AsyncIterator[bytes]) -> bytes:
    async with asyncio.timeout(50):
        return await anext(stream)


def told(text: bytes) -> tuple[str, Any]:
    fields = dict(line.split(": ", 1) for line in text.decode().split("\n") if ": " in line)
    return fields.get("id", ""), json.loads(fields["data"]) if "data" in fields else None


async def test_a_ticket_stays_the_same_until_the_next_one_takes_its_place() -> None:
    clock = Hand()
    first = await tickets(clock).give()
    clock.later(SLOT_SECONDS - 1)
    assert await tickets(clock).give() == first
    clock.later(1)
    assert await tickets(clock).give() != first
    # The old one lives on, and then no more.
    clock.later(SLOT_SECONDS - 1)
    assert (await tickets(clock).read(first)).expires == START.timestamp() + 2 * SLOT_SECONDS
    clock.later(1)
    with pytest.raises(TokenInvalid, match="expired"):
        await tickets(clock).read(first)


async def test_a_ticket_that_is_not_ours_opens_nothing() -> None:
    clock = Hand()
    ours = await tickets(clock).give()
    expires, mark = ours.split(".")
    strange = await tickets(clock, Kept(b"x" * 32)).give()
    for ticket in ("", ".", "7", expires, f"{expires}.", f".{mark}", f"{int(expires) + 1}.{mark}", f"{ours}x", strange):
        with pytest.raises(TokenInvalid, match="signature"):
            await tickets(clock).read(ticket)
    assert (await tickets(clock).read(ours)).expires == int(expires)


async def test_a_stream_says_at_once_that_something_may_have_changed_and_then_what_has() -> None:
    live, clock = Changing(), Hand()
    stream = events(live, clock).stream(await tickets(clock).give(), "")
    assert told(await following(stream)) == ("1", {"type": "refetchEvaluation", "etag": "1"})
    live.change()
    assert told(await following(stream)) == ("2", {"type": "refetchEvaluation", "etag": "2"})


async def test_who_comes_back_and_has_missed_nothing_is_told_nothing() -> None:
    live, clock = Changing(), Hand()
    ticket = await tickets(clock).give()
    quiet = events(live, clock, keep_alive_seconds=0.01).stream(ticket, "1")
    assert told(await following(quiet)) == ("", None)
    assert await following(quiet) == b":\n\n"
    live.change()
    while (said := await following(quiet)) == b":\n\n":
        pass
    assert told(said)[0] == "2"
    # The control: who has missed one is told so.
    assert told(await following(events(live, clock).stream(ticket, "1")))[0] == "2"


async def test_a_client_is_had_to_ask_for_the_next_ticket_and_then_the_stream_ends() -> None:
    live, clock = Changing(), Hand()
    stream = events(live, clock, keep_alive_seconds=0.01).stream(await tickets(clock).give(), "1")
    await following(stream)
    assert await following(stream) == b":\n\n"
    # At the latest half a slot after the next one is there.
    clock.later(SLOT_SECONDS * 1.5)
    assert told(await following(stream)) == ("1", {"type": "refetchEvaluation", "etag": "1"})
    # Once.
    assert await following(stream) == b":\n\n"
    clock.later(SLOT_SECONDS / 2)
    with pytest.raises(StopAsyncIteration):
        await following(stream)
