"""kill -9 of an edge at random moments while its hub publishes: nothing is lost, and nothing is there by half.

KILLS in the environment says how often; 200 is what the project promises.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from cordboard.catalog.__main__ import start
from cordboard.catalog.settings import CatalogSettings
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.catalog.v1.sync_service_pb2_grpc import SyncServiceStub
from tests.fixtures.edges import bootstrap_of, until
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Served, Serving
from tests.soak.halves import halves, looking_into, pins, versions
from tests.soak.publishing import PATIENCE, ROLES, TOKEN_SECONDS, Publishing

KILLS = int(os.environ.get("KILLS", "200"))


@pytest.fixture
async def hub(serving: Serving, database: Databases, tmp_path: Path) -> AsyncIterator[Served]:
    """A hub."""
    key = tmp_path / "hub.key"
    key.write_bytes(os.urandom(32))
    async with serving(
        "catalog", CatalogSettings, start, database_url=database("catalog").url, hub_key_file=key
    ) as served:
        yield served


def a_publisher(hub: Served) -> grpc.aio.Channel:
    """Opens a channel to a hub that lasts as long as the kills do."""
    return hub.as_role(*ROLES, sub="ann", exp=int(time.time()) + TOKEN_SECONDS)


class Victims:
    """Edges that are killed, each a process of its own that goes on with the database of the one before."""

    def __init__(self, process: asyncio.subprocess.Process, settings: dict[str, str]) -> None:
        self._process = process
        self._settings = settings
        self.kills = 0
        self.within = 0
        """How many were killed while they applied an envelope."""

    async def _line(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return (await self._process.stdout.readline()).decode().strip()

    async def _next(self) -> str:
        """Returns what an edge that was not killed does next."""
        line = await self._line()
        assert line in ("applying", "applied"), f"the edge went by itself: {line}"
        return line

    async def begin(self) -> int:
        """Begins an edge and returns its process."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(self._settings).encode() + b"\n")
        while not (line := await self._line()).startswith("began"):
            assert line in ("applying", "applied"), line
        return int(line.partition(" ")[2])

    async def kill(self, chance: random.Random) -> None:
        """Begins an edge and kills it: every other one at any moment, and the rest while they have to do with an
        envelope or shortly after.
        """
        edge = await self.begin()
        last = ""
        if self.kills % 2:
            while last != "applying":
                last = await self._next()
            # How long an update takes depends on what else this machine does.
            await asyncio.sleep(chance.uniform(0.0, chance.choice((0.01, 0.03, 0.1, 0.3))))
        else:
            await asyncio.sleep(chance.uniform(0.0, 0.6))
        os.kill(edge, signal.SIGKILL)
        while (line := await self._line()) != "gone":
            last = line
        self.kills += 1
        self.within += last == "applying"


@contextlib.asynccontextmanager
async def victims(hub: Served, own: ServiceDatabase, folder: Path, **more: str) -> AsyncIterator[Victims]:
    """Registers the edge `shop`, which is to be killed."""
    operator: Any = SyncServiceStub(hub.as_role("operator"))
    bootstrap = folder / "bootstrap.json"
    request = pb.RegisterEdgeRequest(edge_id="shop", edge=pb.Edge(workspaces=["acme"]))
    bootstrap.write_bytes(bootstrap_of(await operator.RegisterEdge(request)).to_json())
    settings = {
        "identity": str(hub.identities.directory("envoy")), "hub": hub.address, "database": own.url,
        "bootstrap": str(bootstrap),
    } | more  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.soak.edge_process", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield Victims(process, settings)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def test_kills_lose_nothing_and_leave_no_halves(hub: Served, database: Databases, tmp_path: Path) -> None:
    chance, publishing, own = random.Random(20), Publishing(a_publisher(hub)), database("catalog")
    operator: Any = SyncServiceStub(hub.as_role("operator", exp=int(time.time()) + TOKEN_SECONDS))
    async with victims(hub, own, tmp_path) as edges, looking_into(own) as looking:
        last = 0
        async with publishing.going():
            while edges.kills < KILLS:
                await edges.kill(chance)
                assert not any(await halves(looking)), edges.kills
                sequence = await looking.fetchval("SELECT sequence FROM catalog.sync_replica") or 0
                assert sequence >= last, "it went back"
                last = sequence
        await edges.begin()

        async def current() -> bool:
            edge = await operator.GetEdge(pb.GetEdgeRequest(name="edges/shop"))
            return bool(edge.sequence == edge.target_sequence and edge.HasField("staleness"))

        await until(current, bound=PATIENCE)
        have, pinned = await versions(looking), await pins(looking)
    lost = len(publishing.published.keys() - have.keys())
    print(
        f"{edges.kills} kills, {edges.within} of them within an update, {len(publishing.published)} versions published,"
        f" {lost} lost, 0 halves"
    )
    assert have == publishing.published
    assert pinned == publishing.pinned
    # Otherwise the kills have missed what they are for.
    assert edges.within >= KILLS // 10


async def test_an_edge_that_is_careless_is_found_out(hub: Served, database: Databases, tmp_path: Path) -> None:
    """The control: kills of an edge that applies an envelope in two transactions leave halves, and they are seen."""
    chance, own = random.Random(20), database("catalog")
    async with (
        victims(hub, own, tmp_path, careless="yes") as edges,
        looking_into(own) as looking,
        Publishing(a_publisher(hub)).going(),
    ):
        while not any(await halves(looking)):
            assert edges.kills < 100
            await edges.kill(chance)
    print(f"a careless edge is found out by kill {edges.kills}")
