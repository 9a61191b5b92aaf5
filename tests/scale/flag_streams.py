"""How fast a change of a flag reaches a hundred streams of all three kinds, with few flags and with many.

One Flags process in this program, behind the real gRPC server with mutual TLS, and all of the streams' clients beside
it, on this machine's cores. A change is timed from before it is asked for until a stream has it. FLAGS, STREAMS and
CHANGES in the environment change the size.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, Final

import grpc
import sqlalchemy as sa
from openfeature.schemas.protobuf.flagd.evaluation.v2 import evaluation_pb2 as v2
from openfeature.schemas.protobuf.flagd.evaluation.v2.evaluation_pb2_grpc import ServiceStub
from openfeature.schemas.protobuf.flagd.sync.v1 import sync_pb2
from openfeature.schemas.protobuf.flagd.sync.v1.sync_pb2_grpc import FlagSyncServiceStub

from cordboard.core.database import Database
from cordboard.core.structs import to_value
from cordboard.flags.__main__ import start
from cordboard.flags.content import Content, Rule
from cordboard.flags.evaluation import LiveFlags
from cordboard.flags.settings import FlagsSettings
from cordboard.flags.store import FlagStore
from cordboard.flags.v1 import flag_service_pb2 as pb
from cordboard.flags.v1 import ofrep_service_pb2 as ofrep
from cordboard.flags.v1.flag_service_pb2_grpc import FlagServiceStub
from cordboard.flags.v1.ofrep_service_pb2_grpc import OfrepServiceStub
from cordboard.local.certificates import CertificateAuthority, Identities, mesh_identities
from tests.fixtures.serving import Served, TokenMint, serve
from tests.scale.sync import databases

FLAGS: Final = tuple(int(each) for each in os.environ.get("FLAGS", "200,10000").split(","))
STREAMS: Final = int(os.environ.get("STREAMS", "100"))
CHANGES: Final = int(os.environ.get("CHANGES", "20"))
KEY: Final = "changing"
BOUND: Final = 120.0
# Streams on one connection, as from one process with several providers.
TOGETHER: Final = 10


@contextlib.asynccontextmanager
async def flags_service(url: str, folder: Path) -> AsyncIterator[Served]:
    """Runs Flags."""
    identities = Identities(CertificateAuthority.open(folder / "ca"), folder / "identities")
    identities.issue(*mesh_identities())
    async with serve("flags", FlagsSettings, start, identities, TokenMint(), database_url=url) as served:
        yield served


async def fill(url: str, count: int) -> None:
    """Writes flags with a rule each, without the checks of putting them."""
    rule = Rule(workspaces=tuple(f"w-{number}" for number in range(10)), tiers=("business",), variant="on")
    content = json.dumps(Content({"on": True, "off": False}, "off", (rule,)).to_json())
    database = Database(url)
    async with database.shared() as connection:
        numbers = "FROM generate_series(1, :count) AS number"
        for statement in (
            "INSERT INTO flag_revision (key, revision, content, killed, creator, reason, create_time) "
            f"SELECT 'flag-' || number, 1, CAST(:content AS json), false, 'scale', 'put', now() {numbers}",
            "INSERT INTO flag (key, revision, sequence, create_time) "
            f"SELECT 'flag-' || number, 1, number, now() {numbers}",
            "UPDATE head SET sequence = :count",
        ):
            known = {"count": count, "content": content}
            await connection.execute(
                sa.text(statement), {name: known[name] for name in known if f":{name}" in statement}
            )
    await database.close()


async def cold(url: str, count: int) -> None:
    """Measures how long a process takes to have all flags, and what they weigh."""
    database = Database(url)
    live = LiveFlags(FlagStore(database))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, worked = time.monotonic(), time.process_time()
    await live.refresh()
    took, worked = time.monotonic() - began, time.process_time() - worked
    weight = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    size = len(live.snapshot.configuration) / 2**20
    assert len(live.snapshot.flags) == count
    print(
        f"{count} flags out of the database into a snapshot: {took:.2f} s, {worked:.2f} s of the processor, about "
        f"{weight:.0f} MiB; {size:.1f} MiB as flagd's JSON",
        flush=True,
    )
    await database.close()


class Follower:
    """A client's stream, and how much it has been told."""

    def __init__(self) -> None:
        self.told = 0
        self._came = asyncio.Event()

    async def follow(self, stream: Any, counts: Callable[[Any], bool]) -> None:
        """Follows a stream for ever; `counts` says whether a message is more than a sign of life."""
        async for message in stream:
            if counts(message):
                self.told += 1
                self._came.set()

    async def has_more_than(self, told: int) -> float:
        """Returns when the stream has been told more than this."""
        while self.told <= told:
            self._came.clear()
            await self._came.wait()
        return time.monotonic()


def is_event(message: Any) -> bool:
    """Tells whether a message of flagd's stream of events is one: signs of life are none."""
    return bool(message.type != "keep_alive")


def _is_refetch(message: Any) -> bool:
    return b"refetchEvaluation" in message.data


def _is_set(_message: Any) -> bool:
    return True


async def measure(url: str, folder: Path, count: int) -> None:
    """Measures changes."""
    async with flags_service(url, folder) as served, contextlib.AsyncExitStack() as stack:
        operator: Any = FlagServiceStub(served.as_role("operator"))
        members = [
            served.as_role("member", workspace=f"w-{number}") for number in range((STREAMS + TOGETHER - 1) // TOGETHER)
        ]
        ticket = await _ticket(members[0])
        followers = []
        for number in range(STREAMS):
            channel = members[number // TOGETHER]
            kind = number % 10
            opened: tuple[Any, Callable[[Any], bool]]
            if kind < 5:
                stub: Any = ServiceStub(channel)
                opened = stub.EventStream(v2.EventStreamRequest()), is_event
            elif kind < 7:
                sync: Any = FlagSyncServiceStub(channel)
                opened = sync.SyncFlags(sync_pb2.SyncFlagsRequest()), _is_set
            else:
                web: Any = OfrepServiceStub(channel)
                opened = web.WatchOfrepEvents(ofrep.WatchOfrepEventsRequest(ticket=ticket)), _is_refetch
            follower = Follower()
            followers.append(follower)
            task = asyncio.create_task(follower.follow(*opened))
            stack.callback(task.cancel)
        # Each is told something on its way in.
        async with asyncio.timeout(BOUND):
            await asyncio.gather(*(follower.has_more_than(0) for follower in followers))
        taken: list[float] = []
        worked = 0.0
        for number in range(CHANGES + 1):
            known = [follower.told for follower in followers]
            cpu, began = time.process_time(), time.monotonic()
            waiting = [
                asyncio.create_task(follower.has_more_than(had)) for follower, had in zip(followers, known, strict=True)
            ]
            flag = pb.Flag(name=f"flags/{KEY}", variants={"a": to_value(number)}, default_variant="a")
            await operator.PutFlag(pb.PutFlagRequest(flag=flag))
            async with asyncio.timeout(BOUND):
                times = await asyncio.gather(*waiting)
            if number:
                taken += [at - began for at in times]
                worked += time.process_time() - cpu
        _print(count, sorted(taken), worked / CHANGES)
        await sizes(served, operator, count)


async def sizes(served: Served, operator: Any, count: int) -> None:
    """Measures what a service of the mesh is sent: at first, and with one change."""
    proxy: Any = FlagServiceStub(served.channel("proxy"))
    stream = proxy.WatchFlags(pb.WatchFlagsRequest(changes_only=True))
    async with asyncio.timeout(BOUND):
        whole = (await stream.read()).ByteSize()
        flag = pb.Flag(name=f"flags/{KEY}", variants={"a": to_value(-1)}, default_variant="a")
        await operator.PutFlag(pb.PutFlagRequest(flag=flag))
        change = (await stream.read()).ByteSize()
    stream.cancel()
    print(f"{count} flags: a service of the mesh is sent {whole} bytes at first, {change} with one change", flush=True)


async def _ticket(channel: Any) -> str:
    stub: Any = OfrepServiceStub(channel)
    async with asyncio.timeout(BOUND):
        while True:
            # Until the first snapshot is there.
            with contextlib.suppress(grpc.aio.AioRpcError):
                answer = await stub.EvaluateOfrepFlags(ofrep.EvaluateOfrepFlagsRequest())
                break
            await asyncio.sleep(0.05)
    [named] = json.loads(answer.data)["eventStreams"]
    return str(named["endpoint"]["requestUri"].partition("ticket=")[2])


def _print(count: int, taken: list[float], worked: float) -> None:
    p99 = taken[int(len(taken) * 0.99)]
    print(
        f"{count} flags, {STREAMS} streams (50 % events, 20 % sync, 30 % OFREP), {CHANGES} changes, asked for to had: "
        f"median {statistics.median(taken) * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, worst {taken[-1] * 1000:.0f} ms; "
        f"{worked * 1000:.0f} ms of the processor for a change, clients included; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


async def _all(urls: Iterable[tuple[int, str]], folder: Path) -> None:
    for count, url in urls:
        await fill(url, count)
        await cold(url, count)
        await measure(url, folder, count)


def main() -> None:
    """Prints the figures."""
    with databases() as make, tempfile.TemporaryDirectory() as folder:
        asyncio.run(_all([(count, make("flags").url) for count in FLAGS], Path(folder)))


if __name__ == "__main__":
    main()
