"""An edge's Catalog hands on the flags that changed, and no more at once than a message holds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from cordboard.catalog.sync.flags_relay import PART_BYTES, EdgeFlags
from cordboard.catalog.sync.store import FlagsRecord
from cordboard.flags.v1 import flag_service_pb2 as flags_pb
from cordboard.flags.v1 import replica_service_pb2 as pb
from cordboard.flags.v1.replica_service_pb2_grpc import (
    FlagReplicaServiceServicer,
    add_FlagReplicaServiceServicer_to_server,
)
from tests.fixtures.ways import ways

BOUND = 40.0


class Flags(FlagReplicaServiceServicer):
    """Flags that notes what it is given, and is away when it is told to be."""

    def __init__(self) -> None:
        self.given: list[pb.FlagRecords] = []
        self.away = False
        self.refused = 0

    async def WatchFlagRecords(self, request: Any, context: Any) -> AsyncIterator[pb.FlagRecords]:
        yield pb.FlagRecords()

    async def ApplyFlagRecords(self, request: pb.ApplyFlagRecordsRequest, context: Any) -> Any:
        if self.away:
            self.refused += 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        self.given.append(request.records)
        return pb.ApplyFlagRecordsResponse()


class Kept:
    """The hub's flags as the edge has them, and what tells that they changed."""

    def __init__(self) -> None:
        self.record: FlagsRecord | None = None
        self.woken = asyncio.Event()

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Opens nothing."""
        yield None

    async def flags(self, _connection: None) -> FlagsRecord | None:
        """Returns the flags."""
        return self.record

    @contextlib.asynccontextmanager
    async def subscription(self) -> AsyncIterator[Kept]:
        """Gives a place in line."""
        yield self

    async def wait(self) -> None:
        """Returns when there is something."""
        await self.woken.wait()
        self.woken.clear()

    def put(self, *found: flags_pb.Flag) -> None:
        """Has these flags."""
        revision = 1 if self.record is None else self.record.revision + 1
        self.record = FlagsRecord(
            revision, pb.FlagRecords(sequence=revision, flags=found).SerializeToString(), revision
        )
        self.woken.set()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not holds():  # noqa: ASYNC110 - what it looks at says nothing by itself
            await asyncio.sleep(0.01)


def a_flag(key: str, description: str = "") -> flags_pb.Flag:
    return flags_pb.Flag(name=f"flags/{key}", description=description)


async def test_a_change_is_handed_on_alone_and_much_in_parts() -> None:
    noted, kept, server = Flags(), Kept(), grpc.aio.server()
    add_FlagReplicaServiceServicer_to_server(noted, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    store: Any = kept
    large = [a_flag(f"large-{number}", "x" * (PART_BYTES // 3)) for number in range(5)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        way = ways(channel)
        task = asyncio.create_task(EdgeFlags(way, store, store).run())
        kept.put(*large, a_flag("small"))

        def names() -> list[list[str]]:
            return [[flag.name.partition("/")[2] for flag in part.flags] for part in noted.given]

        await until(lambda: sum(map(len, names())) == 6)
        assert len(names()) > 1
        assert all(part.ByteSize() <= PART_BYTES + 1024 for part in noted.given)
        noted.given.clear()
        kept.put(*large, a_flag("small", "changed"))
        await until(lambda: names() == [["small"]])
        # Who was away gets everything again: it may have come back with less.
        noted.given.clear()
        noted.away = True
        kept.put(*large, a_flag("small", "changed again"))
        await until(lambda: noted.refused == 1)
        noted.away = False
        kept.put(*large, a_flag("small", "changed at last"))
        await until(lambda: sum(map(len, names())) == 6)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await server.stop(None)
