"""How soon an integration that is killed at the hub is refused at 20 edges, each of which is being called.

The hub is a whole mesh on this machine, as the command starts it. An edge is one process: the Catalog, Auth, Flags and
the Proxy as they are, each with a database of its own, called by a client of its own without an Envoy between; what it
follows comes through the hub's Envoy. With WHOLE=1 the edges are whole meshes too, each with a database, an Envoy and
services of its own, and are called through their Envoys: twenty of them want more than two cores.

STREAMS clients follow the flags at the hub meanwhile, by flagd's stream of events and through its Envoy.

A kill is timed from before it is asked for until an edge has refused a call, and until a stream has been told; what was
accepted later than that is counted. EDGES, KILLS, RATE (calls per second at each edge) and STREAMS in the environment
change the size. A missed aim ends the run with status 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from openfeature.schemas.protobuf.flagd.evaluation.v2 import evaluation_pb2 as v2
from openfeature.schemas.protobuf.flagd.evaluation.v2.evaluation_pb2_grpc import ServiceStub as EvaluationStub

from cordboard.cli.profiles import LOCAL as HERE
from cordboard.cli.session import Target, as_operator, as_workspace
from cordboard.client import CordboardError, SwitchedOff
from cordboard.flags.v1 import flag_service_pb2 as pb
from tests.scale._aims import Aims
from tests.scale._edges import PRELOADED as OF_EDGES
from tests.scale._edges import an_edge, servers
from tests.scale._meshes import FORKS, LOCAL, PRELOADED, Mesh, a_vendor
from tests.scale.flag_streams import Follower, is_event

EDGES: Final = int(os.environ.get("EDGES", "20"))
KILLS: Final = int(os.environ.get("KILLS", "20"))
RATE: Final = float(os.environ.get("RATE", "5"))
STREAMS: Final = int(os.environ.get("STREAMS", "100"))
WHOLE: Final = os.environ.get("WHOLE", "") == "1"
# What is promised, in seconds.
REFUSED_SECONDS: Final = 1.0
BOUND: Final = 60.0
# Meshes that start at a time.
TOGETHER: Final = os.cpu_count() or 1
# Streams on one connection, as from one process with several providers.
TOGETHER_ON_ONE: Final = 10
WORKSPACE, SLUG = "mall", "desk"
FLAG: Final = f"flags/integration.{SLUG}"
DOCUMENT: Final = """
slug: {slug}
title: Desk
owner: scale@example.com
servers: [{{url: "{url}"}}]
auth_schemes: [{{id: open, none: {{}}}}]
actions:
  - {{id: look, title: Look, request: {{method: GET, path: /look}}}}
"""


class Caller:
    """Calls at an edge again and again, and knows when it was let through last and refused first."""

    def __init__(self, call: Callable[[], Awaitable[object]]) -> None:
        self._call = call
        self._done = asyncio.Condition()
        self.accepted = 0
        self.others = 0
        """Calls that ended in another way."""
        self.let_through = 0.0
        """When the newest call began that was let through."""
        self.refused = 0.0
        """When the newest call ended that was refused."""

    async def run(self) -> None:
        """Calls for ever."""
        while True:
            began = time.monotonic()
            try:
                await self._call()
                self.accepted, self.let_through = self.accepted + 1, began
            except SwitchedOff:
                self.refused = time.monotonic()
            except CordboardError as error:
                self.others += 1
                print(f"a call ended in another way: {error}", flush=True)
            async with self._done:
                self._done.notify_all()
            await asyncio.sleep(max(0.0, began + 1 / RATE - time.monotonic()))

    async def is_refused(self, since: float) -> float:
        """Returns when a call was refused that was asked for after this."""
        async with asyncio.timeout(BOUND), self._done:
            await self._done.wait_for(lambda: self.refused > since)
        return self.refused

    async def is_let_through(self, since: float) -> None:
        """Returns once a call was let through that was asked for after this."""
        async with asyncio.timeout(BOUND), self._done:
            await self._done.wait_for(lambda: self.let_through > since)


@contextlib.asynccontextmanager
async def a_hub(folder: Path) -> AsyncIterator[Mesh]:
    """Gives a hub with an integration that is rolled out."""
    hub, definition = Mesh(folder / "hub"), folder / "desk.yaml"
    async with a_vendor() as vendor:
        definition.write_text(DOCUMENT.format(slug=SLUG, url=vendor.url), encoding="utf-8")
        try:
            await hub.well("up", "--detach", *LOCAL)
            await hub.well("workspaces", "create", WORKSPACE, "--tier", "business")
            await hub.well("publish", str(definition))
            await hub.well("flag", "rollout", SLUG, "--environment", "production", "--reason", "for everybody")
            yield hub
        finally:
            await hub.run("down")


async def registered(hub: Mesh, name: str, folder: Path) -> Path:
    """Registers an edge, and returns the file that it begins with."""
    bootstrap = folder / f"{name}.json"
    await hub.well("edges", "register", name, "--workspace", WORKSPACE, "--file", str(bootstrap))
    return bootstrap


@contextlib.asynccontextmanager
async def whole(hub: Mesh, folder: Path) -> AsyncIterator[list[Caller]]:
    """Gives edges that are whole meshes, with a connection each, as who calls there."""
    edges, room = [Mesh(folder / f"edge-{number}") for number in range(EDGES)], asyncio.Semaphore(TOGETHER)

    async def begin(edge: Mesh) -> None:
        name = edge.folder.name
        async with room:
            bootstrap = await registered(hub, name, folder)
            await edge.well("up", "--detach", *LOCAL, "--role", "edge", "--bootstrap", str(bootstrap))
            await edge.well("workspaces", "create", WORKSPACE, "--tier", "business")
            await edge.until("catalog", "show", SLUG, shows="state active")
            await edge.well("connect", SLUG, "-w", WORKSPACE, "--id", SLUG, "--scheme", "open")
            print(f"{name} runs", flush=True)

    try:
        await asyncio.gather(*map(begin, edges))
        async with contextlib.AsyncExitStack() as stack:
            callers = []
            for edge in edges:
                there = await stack.enter_async_context(
                    as_workspace(Target(HERE, edge.folder), WORKSPACE, "production")
                )
                name = f"workspaces/{WORKSPACE}/connections/{SLUG}"
                callers.append(Caller(partial(there.execute, name, "look", timeout=BOUND)))
            yield callers
    finally:
        await asyncio.gather(*(mesh.run("down") for mesh in edges))


@contextlib.asynccontextmanager
async def small(hub: Mesh, folder: Path) -> AsyncIterator[list[Caller]]:
    """Gives edges that are one process each, with a connection each, as who calls there."""
    async with contextlib.AsyncExitStack() as stack:
        callers = []
        for number, make in enumerate(await asyncio.to_thread(stack.enter_context, servers(EDGES))):
            name = f"edge-{number}"
            bootstrap = await registered(hub, name, folder)
            edge = await stack.enter_async_context(an_edge(name, bootstrap, make, folder / name))
            token = await edge.connect(WORKSPACE, SLUG)
            callers.append(Caller(partial(edge.call, WORKSPACE, SLUG, token)))
            print(f"{name} runs", flush=True)
        yield callers


@contextlib.asynccontextmanager
async def streams(hub: Mesh) -> AsyncIterator[list[Follower]]:
    """Gives clients that follow the flags at the hub."""
    followers, tasks = [Follower() for _ in range(STREAMS)], []
    async with contextlib.AsyncExitStack() as stack:
        for number, follower in enumerate(followers):
            if number % TOGETHER_ON_ONE == 0:
                client = await stack.enter_async_context(
                    as_workspace(Target(HERE, hub.folder), WORKSPACE, "production")
                )
            stream = EvaluationStub(client._channel).EventStream(v2.EventStreamRequest())
            tasks.append(asyncio.create_task(follower.follow(stream, is_event)))
        stack.push_async_callback(_end, tasks)
        async with asyncio.timeout(BOUND):
            # Each is told something on its way in.
            await asyncio.gather(*(follower.has_more_than(0) for follower in followers))
        yield followers


async def measure(folder: Path) -> Aims:
    """Kills and restores, and holds the times against what is promised."""
    aims, taken, told, late = Aims(), [], [], 0
    async with (
        a_hub(folder) as hub,
        (whole if WHOLE else small)(hub, folder) as callers,
        streams(hub) as followers,
        contextlib.AsyncExitStack() as stack,
    ):
        operator = await stack.enter_async_context(as_operator(Target(HERE, hub.folder)))
        jobs = [asyncio.create_task(each.run()) for each in callers]
        stack.push_async_callback(_end, jobs)
        began, accepted = time.monotonic(), sum(each.accepted for each in callers)
        for _ in range(KILLS):
            restored = time.monotonic()
            await asyncio.gather(*(each.is_let_through(restored) for each in callers))
            hearing = [asyncio.create_task(each.has_more_than(each.told)) for each in followers]
            killed = time.monotonic()
            await operator.flags.KillFlag(pb.KillFlagRequest(name=FLAG, reason="a measurement"))
            refusals = await asyncio.gather(*(each.is_refused(killed) for each in callers))
            taken += [refusal - killed for refusal in refusals]
            async with asyncio.timeout(BOUND):
                told += [heard - killed for heard in await asyncio.gather(*hearing)]
            # Whoever has refused one call lets none through.
            late += sum(each.let_through > refusal for each, refusal in zip(callers, refusals, strict=True))
            await operator.flags.RestoreFlag(pb.RestoreFlagRequest(name=FLAG, reason="a measurement"))
        rate = (sum(each.accepted for each in callers) - accepted) / (time.monotonic() - began)
    taken.sort()
    told.sort()
    print(
        f"{KILLS} kills, {EDGES} edges with {rate:.0f} calls per second in all: refused everywhere after "
        f"{statistics.median(taken):.2f} s (median), {taken[-1]:.2f} s (slowest); other ends of calls: "
        f"{sum(each.others for each in callers)}; load of this machine in the last minute: {os.getloadavg()[0]:.1f}"
    )
    if told:
        print(
            f"{STREAMS} streams at the hub: told after {statistics.median(told):.2f} s (median), {told[-1]:.2f} s "
            "(slowest)"
        )
        aims.at_most("99 of 100 streams are told of a kill after", _share(told, 0.99), REFUSED_SECONDS, "s")
    aims.at_most("99 of 100 edges refuse what was killed after", _share(taken, 0.99), REFUSED_SECONDS, "s")
    aims.exactly("calls let through after the edge had refused one", late, 0)
    return aims


def _share(taken: list[float], share: float) -> float:
    return taken[min(len(taken) - 1, int(len(taken) * share))]


async def _end(jobs: list[asyncio.Task[Any]]) -> None:
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)


def main() -> None:
    """Measures in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="cordboard-kills-") as place:
        # PostgreSQL runs as somebody else when we are root, and its data lies below.
        Path(place).chmod(0o711)
        FORKS.set_forkserver_preload([*PRELOADED, *(() if WHOLE else OF_EDGES)])
        asyncio.run(measure(Path(place))).settle()


if __name__ == "__main__":
    main()
