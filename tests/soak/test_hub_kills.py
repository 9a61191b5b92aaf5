"""kill -9 of a hub at random moments while it publishes and three edges follow it: nothing is lost, nothing is there by
half, at the hub or at an edge.

KILLS in the environment says how often; 100 is what the project promises.
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
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest

from cordboard.catalog.sync.envelope import Place
from cordboard.catalog.sync.rejection import Rejected
from cordboard.catalog.sync.replica import Replica
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.catalog.v1.sync_service_pb2_grpc import SyncServiceStub
from cordboard.local.certificates import Identities
from cordboard.local.ports import Ports
from tests.fixtures.edges import Edge, until
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import TokenMint
from tests.soak.halves import halves, looking_into, pins, versions
from tests.soak.publishing import PATIENCE, ROLES, TOKEN_SECONDS, Publishing

KILLS = int(os.environ.get("KILLS", "100"))
EDGES = 3


class Judging(Replica):
    """A replica that counts what it begins, what it applies, and what it refuses."""

    said: Counter[str]

    async def apply(self, envelope: pb.Envelope) -> Place:
        """Applies an envelope."""
        header = pb.DeltaHeader.FromString(envelope.header)
        self.said["from the beginning"] += not header.previous_hash
        try:
            place = await super().apply(envelope)
        except Rejected:
            self.said["refused"] += 1
            raise
        self.said["applied"] += 1
        return place


class Hub:
    """A hub that is killed: a process that goes on, at the same address, with the database of the one before."""

    def __init__(
        self, process: asyncio.subprocess.Process, settings: dict[str, str], identities: Identities, mint: TokenMint
    ) -> None:
        self._process = process
        self._settings = settings
        self._identities = identities
        self._mint = mint
        self._pid = 0
        self.kills = 0

    def channel(self, *roles: str) -> grpc.aio.Channel:
        """Opens a channel as through Envoy, with a token of these roles if there are any."""
        directory = self._identities.directory("envoy")
        credentials = grpc.ssl_channel_credentials(
            *((directory / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
        )
        if roles:
            token = grpc.access_token_call_credentials(self._mint.token(*roles, exp=int(time.time()) + TOKEN_SECONDS))
            credentials = grpc.composite_channel_credentials(credentials, token)
        options = [
            ("grpc.ssl_target_name_override", "catalog.cordboard.internal"),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.min_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 200),
        ]
        return grpc.aio.secure_channel(self._settings["listen_address"], credentials, options=options)

    async def _line(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return (await self._process.stdout.readline()).decode().strip()

    async def begin(self) -> None:
        """Begins a hub; returns once it serves."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(self._settings).encode() + b"\n")
        while not (line := await self._line()).startswith("began"):
            assert line == "serving", line
        self._pid = int(line.partition(" ")[2])
        assert await self._line() == "serving"

    async def kill(self) -> None:
        """Kills it; returns once it is gone."""
        os.kill(self._pid, signal.SIGKILL)
        while await self._line() != "gone":
            pass
        self.kills += 1


MakeHub = Callable[..., contextlib.AbstractAsyncContextManager[Hub]]


@pytest.fixture
def own(database: Databases) -> ServiceDatabase:
    """The hub's database."""
    return database("catalog")


@pytest.fixture
def make_hub(own: ServiceDatabase, identities: Identities, mint: TokenMint, tmp_path: Path) -> MakeHub:
    """Makes a hub that serves, and that is to be killed."""

    @contextlib.asynccontextmanager
    async def make(**more: str) -> AsyncIterator[Hub]:
        key, ports = tmp_path / "hub.key", Ports()
        key.write_bytes(os.urandom(32))
        settings = {
            "listen_address": f"127.0.0.1:{ports.claim()}", "identity_dir": str(identities.directory("catalog")),
            "database_url": own.url, "hub_key_file": str(key), "keys": await mint.jwks(),
        } | more  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.soak.hub_process", stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        hub = Hub(process, settings, identities, mint)
        try:
            await hub.begin()
            yield hub
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            ports.release()

    return make


@contextlib.asynccontextmanager
async def followed(hub: Hub, databases: list[ServiceDatabase], said: Counter[str]) -> AsyncIterator[list[Edge]]:
    """Has edges follow the hub."""
    replica = type("Counted", (Judging,), {"said": said})
    async with contextlib.AsyncExitStack() as stack:
        channel = await stack.enter_async_context(hub.channel("operator"))
        operator: Any = SyncServiceStub(channel)
        edges = []
        for number, each in enumerate(databases):
            request = pb.RegisterEdgeRequest(edge_id=f"shop-{number}", edge=pb.Edge(workspaces=["acme"]))
            registered = await operator.RegisterEdge(request, wait_for_ready=True, timeout=PATIENCE)
            edge = Edge(each.url, registered, hub.channel, replica=replica)
            stack.push_async_callback(edge.close)
            edges.append(await stack.enter_async_context(edge.following()))
        yield edges


async def strike(hub: Hub, edges: list[Edge], publishing: Publishing, chance: random.Random) -> bool:
    """Kills the hub that serves: every other one at any moment, the rest while something is asked of it. Tells whether
    something was.
    """

    async def anybody() -> bool:
        return any(edge.follower.connected for edge in edges)

    await until(anybody, bound=PATIENCE)
    if hub.kills % 2:
        async with asyncio.timeout(PATIENCE):
            await publishing.underway.wait()
        # How long it takes depends on what else this machine does.
        await asyncio.sleep(chance.uniform(0.0, chance.choice((0.01, 0.03, 0.1, 0.3))))
    else:
        await asyncio.sleep(chance.uniform(0.0, 0.6))
    within = publishing.underway.is_set()
    await hub.kill()
    return within


async def told_once(looking: asyncpg.Connection) -> dict[str, int]:
    """Returns how often the journal tells of the publishing of each version."""
    rows = await looking.fetch(
        "SELECT body::jsonb->>'resource' AS name, count(*) FROM catalog.audit_entry"
        " WHERE body::jsonb->>'action' = 'catalog.definition.publish' GROUP BY 1"
    )
    return {row["name"]: row["count"] for row in rows}


async def test_kills_of_the_hub_lose_nothing_and_leave_no_halves(
    make_hub: MakeHub, own: ServiceDatabase, database: Databases
) -> None:
    chance, said, within = random.Random(21), Counter[str](), 0
    databases = [database("catalog") for _ in range(EDGES)]
    async with (
        make_hub() as hub,
        followed(hub, databases, said) as edges,
        looking_into(own) as at_hub,
        contextlib.AsyncExitStack() as stack,
    ):
        at_edges = [await stack.enter_async_context(looking_into(each)) for each in databases]
        publishing, last = Publishing(hub.channel(*ROLES)), [0] * EDGES
        async with publishing.going():
            while hub.kills < KILLS:
                within += await strike(hub, edges, publishing, chance)
                for number, looking in enumerate(at_edges):
                    sequence = await looking.fetchval("SELECT sequence FROM catalog.sync_replica") or 0
                    assert sequence >= last[number], "an edge went back"
                    last[number] = sequence
                for looking in (at_hub, *at_edges):
                    assert not any(await halves(looking)), hub.kills
                # No edge has what its hub has not.
                known = await versions(at_hub)
                for looking in at_edges:
                    assert not (await versions(looking)).items() - (known | await versions(at_hub)).items()
                await hub.begin()

        async def current() -> bool:
            return all([await versions(one) == publishing.published for one in at_edges])

        await until(current, bound=PATIENCE)

        async def pinned() -> bool:
            return all([await pins(one) == publishing.pinned for one in at_edges])

        await until(pinned, bound=PATIENCE)
        assert await versions(at_hub) == publishing.published
        assert await told_once(at_hub) == dict.fromkeys(publishing.published, 1)
        assert not any([any(await halves(looking)) for looking in (at_hub, *at_edges)])
    print(
        f"{hub.kills} kills of the hub, {within} of them while something was asked of it, "
        f"{len(publishing.published)} versions published, 0 lost, 0 halves; at {EDGES} edges {said['applied']} "
        f"envelopes applied, {said['refused']} refused, {said['from the beginning']} from the beginning"
    )
    # Each edge began once, and none had to begin anew: the hub remembers what it was about to send.
    assert (said["refused"], said["from the beginning"]) == (0, EDGES)
    # Otherwise the kills have missed what they are for.
    assert within >= KILLS // 10


async def test_a_hub_that_is_careless_is_found_out(make_hub: MakeHub, own: ServiceDatabase) -> None:
    """The control: kills of a hub that writes a version in two transactions leave halves, and they are seen."""
    chance = random.Random(21)
    async with make_hub(careless="yes") as hub, looking_into(own) as looking:
        publishing = Publishing(hub.channel(*ROLES), slugs=1)
        task = asyncio.create_task(publishing.run())
        try:
            while True:
                assert hub.kills < 100
                async with asyncio.timeout(PATIENCE):
                    await publishing.underway.wait()
                await asyncio.sleep(chance.uniform(0.0, 0.3))
                await hub.kill()
                if any(await halves(looking)):
                    break
                await hub.begin()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    print(f"a careless hub is found out by kill {hub.kills}")
