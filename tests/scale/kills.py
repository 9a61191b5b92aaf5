"""How soon an integration that is killed at the hub is refused at 20 edges, each of which is being called.

The hub and the edges are whole meshes on this machine, as the command starts them: each has a database, an Envoy and
services of its own, and is called through its Envoy by a client of its own. A kill is timed from before it is asked for
until an edge has refused a call; what was accepted later than that is counted. EDGES, KILLS and RATE (calls per second
at each edge) in the environment change the size. A missed aim ends the run with status 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from cordboard.cli.profiles import LOCAL as HERE
from cordboard.cli.session import Target, as_operator, as_workspace
from cordboard.client import Client, CordboardError, SwitchedOff
from cordboard.flags.v1 import flag_service_pb2 as pb
from tests.scale._aims import Aims
from tests.scale._meshes import FORKS, LOCAL, PRELOADED, Mesh, a_vendor

EDGES: Final = int(os.environ.get("EDGES", "20"))
KILLS: Final = int(os.environ.get("KILLS", "20"))
RATE: Final = float(os.environ.get("RATE", "5"))
# What is promised, in seconds.
REFUSED_SECONDS: Final = 1.0
BOUND: Final = 60.0
# Meshes that start at a time.
TOGETHER: Final = os.cpu_count() or 1
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

    def __init__(self, client: Client) -> None:
        self._client = client
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
                await self._client.execute(f"workspaces/{WORKSPACE}/connections/{SLUG}", "look", timeout=BOUND)
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
async def meshes(folder: Path) -> AsyncIterator[tuple[Mesh, list[Mesh]]]:
    """Gives a hub with an integration that is rolled out, and its edges with a connection each."""
    hub, edges = Mesh(folder / "hub"), [Mesh(folder / f"edge-{number}") for number in range(EDGES)]
    room, definition = asyncio.Semaphore(TOGETHER), folder / "desk.yaml"

    async def begin(edge: Mesh) -> None:
        name = edge.folder.name
        bootstrap = folder / f"{name}.json"
        async with room:
            await hub.well("edges", "register", name, "--workspace", WORKSPACE, "--file", str(bootstrap))
            await edge.well("up", "--detach", *LOCAL, "--role", "edge", "--bootstrap", str(bootstrap))
            await edge.well("workspaces", "create", WORKSPACE, "--tier", "business")
            await edge.until("catalog", "show", SLUG, shows="state active")
            await edge.well("connect", SLUG, "-w", WORKSPACE, "--id", SLUG, "--scheme", "open")
            print(f"{name} runs", flush=True)

    async with a_vendor() as vendor:
        definition.write_text(DOCUMENT.format(slug=SLUG, url=vendor.url), encoding="utf-8")
        try:
            await hub.well("up", "--detach", *LOCAL)
            await hub.well("workspaces", "create", WORKSPACE, "--tier", "business")
            await hub.well("publish", str(definition))
            await hub.well("flag", "rollout", SLUG, "--environment", "production", "--reason", "for everybody")
            await asyncio.gather(*map(begin, edges))
            yield hub, edges
        finally:
            await asyncio.gather(*(mesh.run("down") for mesh in (*edges, hub)))


async def measure(folder: Path) -> Aims:
    """Kills and restores, and holds the times against what is promised."""
    aims, taken, late = Aims(), [], 0
    async with meshes(folder) as (hub, edges), contextlib.AsyncExitStack() as stack:
        operator = await stack.enter_async_context(as_operator(Target(HERE, hub.folder)))
        callers = []
        for edge in edges:
            there = as_workspace(Target(HERE, edge.folder), WORKSPACE, "production")
            callers.append(Caller(await stack.enter_async_context(there)))
        jobs = [asyncio.create_task(each.run()) for each in callers]
        stack.push_async_callback(_end, jobs)
        began, accepted = time.monotonic(), sum(each.accepted for each in callers)
        for _ in range(KILLS):
            restored = time.monotonic()
            await asyncio.gather(*(each.is_let_through(restored) for each in callers))
            killed = time.monotonic()
            await operator.flags.KillFlag(pb.KillFlagRequest(name=FLAG, reason="a measurement"))
            refusals = await asyncio.gather(*(each.is_refused(killed) for each in callers))
            taken += [refusal - killed for refusal in refusals]
            # Whoever has refused one call lets none through.
            late += sum(each.let_through > refusal for each, refusal in zip(callers, refusals, strict=True))
            await operator.flags.RestoreFlag(pb.RestoreFlagRequest(name=FLAG, reason="a measurement"))
        rate = (sum(each.accepted for each in callers) - accepted) / (time.monotonic() - began)
    taken.sort()
    print(
        f"{KILLS} kills, {EDGES} edges with {rate:.0f} calls per second in all: refused everywhere after "
        f"{statistics.median(taken):.2f} s (median), {taken[-1]:.2f} s (slowest); other ends of calls: "
        f"{sum(each.others for each in callers)}; load of this machine in the last minute: {os.getloadavg()[0]:.1f}"
    )
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
        FORKS.set_forkserver_preload(PRELOADED)
        asyncio.run(measure(Path(place))).settle()


if __name__ == "__main__":
    main()
