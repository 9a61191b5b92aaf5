"""A service's copy of the flags: whole at first, then change by change, and whole again where one is missing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import grpc
import pytest

from cordboard.core.errors import DependencyUnavailable
from cordboard.core.flag_copy import FlagCopy
from cordboard.core.settings import MAX_STALENESS
from cordboard.flags.v1 import flag_service_pb2 as pb
from tests.fixtures.ways import ways

BOUND = 40.0


class Flags:
    """Flags that says what it is told, and begins each stream with the whole set."""

    def __init__(self) -> None:
        self.whole: tuple[int, dict[str, Any]] = (1, {"a": 1, "b": 1})
        self.opened = 0
        self.stop: Callable[[], Awaitable[None]]
        self.sent: asyncio.Queue[tuple[int, int, str]] = asyncio.Queue()

    async def watch(self, request: pb.WatchFlagsRequest, _context: Any) -> AsyncIterator[pb.WatchFlagsResponse]:
        """Answers WatchFlags."""
        assert request.changes_only
        self.opened += 1
        sequence, flags = self.whole
        yield pb.WatchFlagsResponse(sequence=sequence, flag_configuration=flagd(**flags))
        while True:
            base, sequence, text = await self.sent.get()
            yield pb.WatchFlagsResponse(sequence=sequence, flag_configuration=text, base_sequence=base)


def flagd(**values: Any) -> str:
    plain = {"state": "ENABLED", "defaultVariant": "it"}
    flags = {
        key: value if isinstance(value, dict) else {**plain, "variants": {"it": value}} for key, value in values.items()
    }
    return json.dumps({"flags": flags})


class Hand:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@contextlib.asynccontextmanager
async def copying(clock: Callable[[], float] = time.monotonic) -> AsyncIterator[tuple[Flags, FlagCopy]]:
    flags, server = Flags(), grpc.aio.server()
    watch = grpc.unary_stream_rpc_method_handler(
        cast("Any", flags.watch), pb.WatchFlagsRequest.FromString, pb.WatchFlagsResponse.SerializeToString
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("cordboard.flags.v1.FlagService", {"WatchFlags": watch}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        copy = FlagCopy(ways(channel), "proxy", max_staleness=MAX_STALENESS, clock=clock)
        task = asyncio.create_task(copy.run())
        try:
            flags.stop = lambda: server.stop(None)
            yield flags, copy
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await server.stop(None)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not holds():  # noqa: ASYNC110 - what it looks at says nothing by itself
            await asyncio.sleep(0.01)


def values(copy: FlagCopy) -> dict[str, Any]:
    try:
        return {key: copy.evaluate(key, {}).value for key in copy.flags}
    except DependencyUnavailable:
        return {}


async def test_a_change_is_put_into_what_is_there() -> None:
    async with copying() as (flags, copy):
        await until(lambda: values(copy) == {"a": 1, "b": 1})
        await flags.sent.put((1, 2, flagd(b=2, c=2)))
        await until(lambda: values(copy) == {"a": 1, "b": 2, "c": 2})
        await flags.sent.put((2, 3, flagd(a=3)))
        await until(lambda: values(copy) == {"a": 3, "b": 2, "c": 2})
        assert flags.opened == 1


@pytest.mark.parametrize("change", [(2, 3, flagd(a=3)), (1, 2, "not JSON")], ids=["a gap", "unreadable"])
async def test_whoever_misses_a_change_begins_anew(change: tuple[int, int, str]) -> None:
    async with copying() as (flags, copy):
        await until(lambda: values(copy) == {"a": 1, "b": 1})
        flags.whole = (3, {"a": 7, "b": 1})
        await flags.sent.put(change)
        # What cannot be put into the set there is does no harm, and what comes after it shows the gap.
        await flags.sent.put((change[1], change[1] + 1, flagd(b=9)))
        await until(lambda: flags.opened >= 2 and values(copy)["a"] == 7)


def switch(**metadata: Any) -> dict[str, Any]:
    """A flag that is on by its rule, and off by default."""
    return {
        "state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off",
        "targeting": {"if": [True, "on"]}, "metadata": metadata,
    }  # fmt: skip


async def test_beyond_its_age_a_flag_gives_what_it_says_it_gives() -> None:
    clock = Hand()
    async with copying(clock) as (flags, copy):
        killed = {**switch(whenStale="default", killed=True), "variants": {"on": True, "off": False}}
        del killed["targeting"]
        flags.whole = (1, {"careful": switch(whenStale="default"), "bold": switch(), "killed": killed})
        await until(lambda: bool(values(copy)))
        # A source that has nothing new is no source that is away.
        clock.now += 10 * MAX_STALENESS
        assert values(copy) == {"careful": True, "bold": True, "killed": False}
        await flags.stop()

        def lost() -> bool:
            copy_age = copy.copy.age()
            clock.now += 1
            return copy_age > 0

        await until(lost)
        clock.now += MAX_STALENESS - copy.copy.age()
        assert values(copy) == {"careful": True, "bold": True, "killed": False}
        clock.now += 1
        assert values(copy) == {"careful": False, "bold": True, "killed": False}
        decisions = {key: copy.evaluate(key, {}) for key in ("careful", "bold", "killed", "none")}
        assert {key: (each.variant, each.reason) for key, each in decisions.items()} == {
            "careful": ("off", "STALE"), "bold": ("on", "TARGETING_MATCH"), "killed": ("off", "DISABLED"),
            "none": (None, "ERROR"),
        }  # fmt: skip


async def test_whoever_hears_again_is_no_longer_stale() -> None:
    clock = Hand()
    async with copying(clock) as (flags, copy):
        flags.whole = (1, {"careful": switch(whenStale="default")})
        await until(lambda: bool(values(copy)))
        copy.copy.lost()
        clock.now += MAX_STALENESS + 1
        assert values(copy) == {"careful": False}
        await flags.sent.put((1, 2, flagd(other=1)))
        await until(lambda: values(copy) == {"careful": True, "other": 1})
