"""How fast a hub's changes reach 20 edges, and how long a cold edge takes to have a large catalog.

The hub is one Catalog process in this program, behind the real gRPC server with mutual TLS. Each edge is the real
follower with a database of its own, all in this one program and on this machine's cores. `usable` means that the
snapshot that the edge's calls are answered from has the version.

EDGES, PUBLISHES, INTEGRATIONS and ACTIONS in the environment change the size. A missed aim ends the run with status 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from cordboard.catalog.__main__ import start
from cordboard.catalog.definition import content_hash
from cordboard.catalog.facts import describe, described
from cordboard.catalog.settings import CatalogSettings
from cordboard.catalog.store import CatalogStore, VersionRecord
from cordboard.catalog.v1 import catalog_service_pb2 as catalog_pb
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.catalog.v1.definition_pb2 import Definition
from cordboard.catalog.v1.sync_service_pb2_grpc import SyncServiceStub
from cordboard.core.database import Database
from cordboard.core.times import SystemClock
from cordboard.local.certificates import CertificateAuthority, Identities, mesh_identities
from tests.fixtures import postgres as fixtures
from tests.fixtures.edges import Edge
from tests.fixtures.serving import Served, TokenMint, serve
from tests.scale._aims import Aims
from tests.unit.catalog.definitions import DOCUMENT

EDGES = int(os.environ.get("EDGES", "20"))
PUBLISHES = int(os.environ.get("PUBLISHES", "50"))
INTEGRATIONS = int(os.environ.get("INTEGRATIONS", "2000"))
ACTIONS = int(os.environ.get("ACTIONS", "30"))
# What is promised, in seconds.
SPREAD_SECONDS, COLD_SECONDS = 1.0, 20.0


@contextlib.contextmanager
def databases() -> Iterator[fixtures.Databases]:
    """Gives databases, as the tests have them."""
    running = contextlib.contextmanager(fixtures.postgres.__wrapped__)()  # type: ignore[attr-defined]
    with running as server:
        made = contextlib.contextmanager(fixtures._server.__wrapped__)(server)  # type: ignore[attr-defined]
        with made as copies:
            yield copies.copy


@contextlib.asynccontextmanager
async def hub(url: str, folder: Path) -> Any:
    """Runs a hub."""
    identities = Identities(CertificateAuthority.open(folder / "ca"), folder / "identities")
    identities.issue(*mesh_identities())
    key = folder / "hub.key"
    key.write_bytes(os.urandom(32))
    mint = TokenMint()
    async with serve("catalog", CatalogSettings, start, identities, mint, database_url=url, hub_key_file=key) as served:
        yield served


async def register(served: Served, edge: str) -> pb.RegisterEdgeResponse:
    """Registers an edge."""
    stub: Any = SyncServiceStub(served.as_role("operator"))
    return await stub.RegisterEdge(pb.RegisterEdgeRequest(edge_id=edge))  # type: ignore[no-any-return]


def a_definition(number: int) -> Definition:
    """Returns a definition with many actions, each with a schema of its own."""
    schema = {
        "type": "object",
        "properties": {f"field_{index}": {"type": "string", "description": "What it says."} for index in range(12)},
    }
    definition = Definition(slug=f"vendor-{number:05d}", version="1.0.0", title=f"Vendor {number}", owner="scale")
    definition.servers.add(url="https://api.vendor.example")
    definition.auth_schemes.add(id="open").none.SetInParent()
    for index in range(ACTIONS):
        action = definition.actions.add(id=f"action_{index}", title=f"Action {index}")
        action.input_schema_json = orjson.dumps(schema).decode()
        action.request.method, action.request.path = "POST", f"/things/{index}"
    return definition


async def fill(url: str) -> int:
    """Writes a large catalog, without the checks of publishing, and returns its bytes."""
    database, now, size = Database(url), SystemClock().now(), 0
    store = CatalogStore(database)
    for number in range(INTEGRATIONS):
        definition = a_definition(number)
        content = definition.SerializeToString(deterministic=True)
        size += len(content)
        async with store.writing() as (connection, sequence):
            record = VersionRecord(
                definition.slug, "1.0.0", content_hash(definition), sequence, now, "scale", 3, sequence, 1, sequence,
                None, "", "", now, "scale", "",
            )  # fmt: skip
            await store.put_integration(connection, describe(definition, record))
            await store.add_version(connection, record, content, described(definition))
    await database.close()
    return size


async def spread(make: fixtures.Databases, folder: Path, aims: Aims) -> None:
    """Publishes at the hub and measures until the last of the edges can use it."""
    async with hub(make("catalog").url, folder) as served, contextlib.AsyncExitStack() as stack:
        edges = []
        for number in range(EDGES):
            registered = await register(served, f"edge-{number}")
            edge = Edge(make("catalog").url, registered, lambda: served.channel("envoy"))
            stack.push_async_callback(edge.close)
            edges.append(await stack.enter_async_context(edge.following()))
        publisher: Any = CatalogServiceStub(served.as_role("publisher", sub="scale"))

        async def publish(slug: str) -> list[float]:
            document = DOCUMENT.replace("slug: acme-desk", f"slug: {slug}")

            async def usable(edge: Edge) -> float:
                await edge.has(slug)
                return time.monotonic()

            waiting = [asyncio.create_task(usable(edge)) for edge in edges]
            await publisher.PublishDefinition(catalog_pb.PublishDefinitionRequest(document=document))
            published = time.monotonic()
            return [max(at - published, 0.0) for at in await asyncio.gather(*waiting)]

        await publish("warm-up")
        worked = time.process_time()
        taken = sorted([one for number in range(PUBLISHES) for one in await publish(f"desk-{number}")])
        worked = (time.process_time() - worked) / PUBLISHES
        p99 = taken[int(len(taken) * 0.99)]
        print(
            f"publish at the hub to usable at an edge, {EDGES} edges, {PUBLISHES} publishes: "
            f"median {statistics.median(taken) * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms, worst {taken[-1] * 1000:.0f} ms"
        )
        # A busy machine lengthens this far less than the time that passes; PostgreSQL's part is not in it.
        print(
            f"processor time of hub and edges for each publish: {worked * 1000:.0f} ms; load of this machine in the "
            f"last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        )
        aims.at_most(f"publish to usable at {EDGES} edges, p99", p99, SPREAD_SECONDS, "s")


async def cold(make: fixtures.Databases, folder: Path, aims: Aims) -> None:
    """Measures how long an edge without anything takes to have a large catalog, and what a delta costs then."""
    url = make("catalog").url
    size = await fill(url)
    async with hub(url, folder) as served:
        edge = Edge(make("catalog").url, await register(served, "cold"), lambda: served.channel("envoy"))
        began = time.monotonic()
        async with edge.following():
            while True:
                record = await edge.record()
                if record.sequence and record.sequence == record.target:
                    break
                await asyncio.sleep(0.05)
            stored = time.monotonic() - began
            await edge.has(f"vendor-{INTEGRATIONS - 1:05d}")
            took = time.monotonic() - began
            publisher: Any = CatalogServiceStub(served.as_role("publisher", sub="scale"))
            began = time.monotonic()
            await publisher.PublishDefinition(catalog_pb.PublishDefinitionRequest(document=DOCUMENT))
            published = time.monotonic()
            await edge.has("acme-desk")
            delta = time.monotonic() - published
        count = len(edge.snapshot.slugs(""))
        await edge.close()
    print(
        f"cold edge, {INTEGRATIONS} integrations with {INTEGRATIONS * ACTIONS} actions, {size / 1e6:.0f} MB: durable "
        f"after {stored:.1f} s, usable after {took:.1f} s ({count} integrations)"
    )
    print(
        f"one small delta on top of it: {delta * 1000:.0f} ms after the publish, which took {published - began:.2f} s"
    )
    aims.exactly("integrations at the cold edge", count, INTEGRATIONS + 1)
    aims.at_most("cold snapshot to usable", took, COLD_SECONDS, "s")
    aims.at_most("a small delta on top of a large catalog", delta, SPREAD_SECONDS, "s")
    print(f"memory of hub and edge together: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def main() -> None:
    """Prints the figures; exits with 1 where an aim was missed."""
    aims = Aims()
    with databases() as make, tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "spread").mkdir()
        (Path(folder) / "cold").mkdir()
        asyncio.run(spread(make, Path(folder) / "spread", aims))
        asyncio.run(cold(make, Path(folder) / "cold", aims))
    aims.settle()


if __name__ == "__main__":
    main()
