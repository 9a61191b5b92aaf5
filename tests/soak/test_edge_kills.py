"""kill -9 of an edge at random moments while its hub publishes: nothing is lost, and nothing is there by half.

KILLS in the environment says how often; 200 is what the project promises.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url

from cordboard.catalog.__main__ import start
from cordboard.catalog.settings import CatalogSettings
from cordboard.catalog.v1 import catalog_service_pb2 as catalog_pb
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.catalog.v1.sync_service_pb2_grpc import SyncServiceStub
from tests.fixtures.edges import bootstrap_of
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving
from tests.unit.catalog.definitions import DOCUMENT

KILLS = int(os.environ.get("KILLS", "200"))
# What must hold in an edge's database whenever one looks: the numbers of all changes are there up to the head, every
# version has a state and the other way round, and every integration's default is one of its versions.
HALVES = """
    SELECT count(*) FROM catalog.definition_version v FULL JOIN catalog.version_state s USING (slug, version)
        WHERE v.slug IS NULL OR s.slug IS NULL
    UNION ALL SELECT count(*) FROM catalog.integration i LEFT JOIN catalog.definition_version v
        ON v.slug = i.slug AND v.version = i.active_version WHERE v.slug IS NULL
    UNION ALL SELECT count(*) FROM catalog.definition_version v LEFT JOIN catalog.integration i USING (slug)
        WHERE i.slug IS NULL
    UNION ALL SELECT count(*) FROM catalog.version_state, catalog.head h
        WHERE version_state.sequence > h.sequence
"""


@pytest.fixture
async def hub(serving: Serving, database: Databases, tmp_path: Path) -> AsyncIterator[Served]:
    """A hub."""
    key = tmp_path / "hub.key"
    key.write_bytes(os.urandom(32))
    async with serving(
        "catalog", CatalogSettings, start, database_url=database("catalog").url, hub_key_file=key
    ) as served:
        yield served


async def test_kills_lose_nothing_and_leave_no_halves(  # noqa: PLR0915 - one story, told in order
    hub: Served, database: Databases, tmp_path: Path
) -> None:
    chance = random.Random(20)
    operator: Any = SyncServiceStub(hub.as_role("operator"))
    publisher: Any = CatalogServiceStub(hub.as_role("publisher", sub="ann"))
    registered = await operator.RegisterEdge(pb.RegisterEdgeRequest(edge_id="shop"))
    own = database("catalog")
    bootstrap = tmp_path / "bootstrap.json"
    bootstrap.write_bytes(bootstrap_of(registered).to_json())
    settings = {
        "identity": str(hub.identities.directory("envoy")), "hub": hub.address, "database": own.url,
        "bootstrap": str(bootstrap),
    }  # fmt: skip
    plain = make_url(own.superuser_url).set(drivername="postgresql").render_as_string(hide_password=False)
    looking = await asyncpg.connect(plain)
    published: dict[str, str] = {}
    running = True

    async def publish() -> None:
        number = 0
        while running:
            slug, title = f"desk-{number % 17}", f"Title {number}"
            text = DOCUMENT.replace("slug: acme-desk", f"slug: {slug}").replace("title: Acme Desk", f"title: {title}")
            answer = await publisher.PublishDefinition(catalog_pb.PublishDefinitionRequest(document=text))
            published[answer.name] = answer.content_hash
            number += 1
            await asyncio.sleep(0.05)

    publishing = asyncio.create_task(publish())
    kills, worst = 0, 0
    last = 0
    while kills < KILLS:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.soak.edge_process", json.dumps(settings), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        await process.stdout.readline()
        await asyncio.sleep(chance.uniform(0.0, 0.6))
        process.send_signal(signal.SIGKILL)
        await process.wait()
        kills += 1
        halves = [row[0] for row in await looking.fetch(HALVES)]
        worst = max(worst, *halves)
        assert halves == [0, 0, 0, 0], kills
        sequence = await looking.fetchval("SELECT sequence FROM catalog.sync_replica") or 0
        assert sequence >= last, "it went back"
        last = sequence
    running = False
    await publishing
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.soak.edge_process", json.dumps(settings), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60):
            while True:
                edge = await operator.GetEdge(pb.GetEdgeRequest(name="edges/shop"))
                if edge.sequence == edge.target_sequence and edge.HasField("staleness"):
                    break
                await asyncio.sleep(0.1)
    finally:
        process.kill()
        await process.wait()
    rows = await looking.fetch("SELECT slug, version, content_hash FROM catalog.definition_version")
    await looking.close()
    have = {f"integrations/{row['slug']}/versions/{row['version']}": row["content_hash"] for row in rows}
    lost = len(published.keys() - have.keys())
    print(f"{kills} kills, {len(published)} versions published, {lost} lost, {worst} halves")
    assert have == published


async def test_a_half_is_seen(database: Databases) -> None:
    """The control: what the test above looks for is found when it is there."""
    own = database("catalog")
    plain = make_url(own.superuser_url).set(drivername="postgresql").render_as_string(hide_password=False)
    looking = await asyncpg.connect(plain)
    assert [row[0] for row in await looking.fetch(HALVES)] == [0, 0, 0, 0]
    await looking.execute(
        "INSERT INTO catalog.version_state (slug, version, state, sequence, revision, activation, successor, reason,"
        " update_time, updater) VALUES ('a1', '1.0.0', 3, 7, 1, 7, '', '', now(), '')"
    )
    assert [row[0] for row in await looking.fetch(HALVES)] == [1, 0, 0, 1]
    await looking.close()
