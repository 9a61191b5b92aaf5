"""A service's copy of the flags: whole at first, then change by change, and whole again where one is missing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import grpc
import pytest

from cordboard.core.channel import Channels
from cordboard.core.errors import DependencyUnavailable
from cordboard.core.flag_copy import FlagCopy
from cordboard.flags.v1 import flag_service_pb2 as pb

BOUND = 40.0


class Flags:
    """Flags that says what it is told, and begins each stream with the whole set."""

    def __init__(self) -> None:
        self.whole = (1, {"a": 1, "b": 1})
        self.opened = 0
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


class Way:
    """The way there."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel

    def to(self, _service: str) -> grpc.aio.Channel:
        """Returns the channel."""
        return self.channel


def flagd(**values: int) -> str:
    flags = {
        key: {"state": "ENABLED", "variants": {"it": value}, "defaultVariant": "it"} for key, value in values.items()
    }
    return json.dumps({"flags": flags})


@contextlib.asynccontextmanager
async def copying() -> AsyncIterator[tuple[Flags, FlagCopy]]:
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
        copy = FlagCopy(cast("Channels", Way(channel)), "proxy")
        task = asyncio.create_task(copy.run())
        try:
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
