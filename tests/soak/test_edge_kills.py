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
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cordboard.catalog.__main__ import start
from cordboard.catalog.settings import CatalogSettings
from cordboard.catalog.v1 import catalog_service_pb2 as catalog_pb
from cordboard.catalog.v1 import governance_service_pb2 as governance_pb
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.catalog.v1.governance_service_pb2_grpc import GovernanceServiceStub
from cordboard.catalog.v1.lifecycle_pb2 import Pin
from cordboard.catalog.v1.sync_service_pb2_grpc import SyncServiceStub
from tests.fixtures.edges import bootstrap_of, until
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Served, Serving
from tests.soak.halves import halves, looking_into, pins, versions
from tests.unit.catalog.definitions import DOCUMENT

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


class Publishing:
    """Publishes at the hub, one version after the other."""

    def __init__(self, hub: Served) -> None:
        self._stub: Any = CatalogServiceStub(hub.as_role("publisher", sub="ann"))
        self._governance: Any = GovernanceServiceStub(hub.as_role("operator"))
        self._going = True
        self.published: dict[str, str] = {}
        """The hash of each version that the hub has acknowledged, by name."""
        self.pinned: dict[str, str] = {}
        """What each integration was pinned to last, in the workspace of the edge."""

    async def run(self) -> None:
        """Publishes until `stop`."""
        number = 0
        while self._going:
            slug, title = f"desk-{number % 17}", f"Title {number}"
            text = DOCUMENT.replace("slug: acme-desk", f"slug: {slug}").replace("title: Acme Desk", f"title: {title}")
            answer = await self._stub.PublishDefinition(catalog_pb.PublishDefinitionRequest(document=text))
            self.published[answer.name] = answer.content_hash
            if number % 3 == 0:
                version = answer.name.rpartition("/")[2]
                pin = Pin(name=f"workspaces/acme/environments/production/pins/{slug}", version=version)
                await self._governance.SetPin(governance_pb.SetPinRequest(pin=pin))
                self.pinned[slug] = version
            number += 1
            await asyncio.sleep(0.05)

    @contextlib.asynccontextmanager
    async def going(self) -> AsyncIterator[None]:
        """Publishes inside the block; what was begun is finished."""
        task = asyncio.create_task(self.run())
        try:
            yield
        finally:
            self._going = False
            await task


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
        async with asyncio.timeout(60):
            return (await self._process.stdout.readline()).decode().strip()

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
                last = await self._line()
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
    chance, publishing, own = random.Random(20), Publishing(hub), database("catalog")
    operator: Any = SyncServiceStub(hub.as_role("operator"))
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

        await until(current, bound=60)
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
        Publishing(hub).going(),
    ):
        while not any(await halves(looking)):
            assert edges.kills < 100
            await edges.kill(chance)
    print(f"a careless edge is found out by kill {edges.kills}")
