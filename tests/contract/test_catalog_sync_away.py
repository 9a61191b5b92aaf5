"""An edge that is cut off for a month: it serves all that it has, says how old that is, and goes on from there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from sqlalchemy import make_url

from cordboard.catalog.__main__ import start
from cordboard.catalog.settings import CatalogSettings
from cordboard.catalog.store import CatalogStore
from cordboard.catalog.sync import wiring
from cordboard.catalog.sync.flags_relay import HubFlags
from cordboard.catalog.sync.rejection import Rejected
from cordboard.catalog.sync.state import SyncStates
from cordboard.catalog.sync.store import HubStore, ReplicaStore
from cordboard.catalog.v1 import catalog_service_pb2 as catalog_pb
from cordboard.catalog.v1 import governance_service_pb2 as governance
from cordboard.catalog.v1 import lifecycle_pb2 as life
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.catalog.v1.governance_service_pb2_grpc import GovernanceServiceStub
from cordboard.catalog.v1.sync_service_pb2_grpc import SyncServiceStub
from cordboard.client import staleness
from cordboard.core.channel import Channels
from cordboard.core.database import Database
from cordboard.core.times import SystemClock
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.flags.v1.replica_service_pb2 import FlagRecords
from tests.fixtures.edges import bootstrap_of, until
from tests.fixtures.hubs import Hub, MakeEdge, plain
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Served, Serving
from tests.unit.catalog.definitions import DOCUMENT

MONTH = 31
DEAD = "127.0.0.1:1"


class Later(SystemClock):
    """A clock that can be moved on."""

    days = 0

    def now(self) -> datetime:
        """Returns the time, some days later."""
        return super().now() + timedelta(days=self.days)


@pytest.fixture
async def filled(hub: Hub, hub_database: ServiceDatabase) -> Hub:
    """A hub with something of everything that travels."""
    first = await hub.publish("desk", "One")
    await hub.publish("desk", "Two")
    await hub.publish("mail")
    admin: Any = GovernanceServiceStub(hub.served.as_role("workspace-admin", workspace="acme"))
    document = DOCUMENT.replace("slug: acme-desk", "slug: own-desk")
    await admin.PublishPrivateDefinition(
        governance.PublishPrivateDefinitionRequest(parent="workspaces/acme", document=document)
    )
    pin = life.Pin(name="workspaces/acme/environments/production/pins/desk", version=first)
    await hub.governance.SetPin(governance.SetPinRequest(pin=pin))
    database = Database(hub_database.url)
    channels = Channels(None, {})  # type: ignore[arg-type]
    relay = HubFlags(channels, HubStore(database), ReplicaStore(database), CatalogStore(database))
    await relay.take(FlagRecords(sequence=3, flags=[flags.Flag(name="flags/new-search", default_variant="off")]))
    await database.close()
    return hub


async def everything(served: Served) -> dict[str, Any]:
    """Returns all that a Catalog answers of what travels, but for when and by whom it was changed here."""
    catalog: Any = CatalogServiceStub(served.as_role("workspace-admin", workspace="acme"))
    admin: Any = GovernanceServiceStub(served.as_role("workspace-admin", workspace="acme"))
    found: dict[str, Any] = {}
    for one in (await catalog.ListIntegrations(catalog_pb.ListIntegrationsRequest(page_size=1000))).integrations:
        request = catalog_pb.ListDefinitionVersionsRequest(parent=one.name, page_size=1000)
        for version in (await catalog.ListDefinitionVersions(request)).definition_versions:
            whole = await catalog.GetDefinitionVersion(catalog_pb.GetDefinitionVersionRequest(name=version.name))
            found[version.name] = (whole.content_hash, whole.state, whole.active, whole.definition)
    pins = await admin.ListPins(governance.ListPinsRequest(parent="workspaces/acme"))
    return found | {pin.name: pin.version for pin in pins.pins}


async def endures(alone: Served, clock: Later, at_hub: dict[str, Any]) -> None:
    """Lets a month pass at an edge that is cut off, and looks at it each day."""
    catalog: Any = CatalogServiceStub(alone.as_role("reader", workspace="acme"))
    sync: Any = SyncServiceStub(alone.as_role("reader", workspace="acme"))
    for day in range(MONTH + 1):
        clock.days = day
        state = await sync.GetSyncState(pb.GetSyncStateRequest())
        assert timedelta(days=day) <= state.age.ToTimedelta() < timedelta(days=day, hours=1)
        assert not state.connected
        assert await everything(alone) == at_hub
        answer = catalog.ListIntegrations(catalog_pb.ListIntegrationsRequest())
        await answer
        stale = staleness(await answer.trailing_metadata())
        source, _, age = stale.partition(";age=")
        assert source == ("hub" if day else "")
        assert 0 <= int(age or 0) - day * 86_400 < 3600

    async def said() -> bool:
        return "the hub cannot be reached" in (await sync.GetSyncState(pb.GetSyncStateRequest())).last_error

    await until(said)


async def test_an_edge_that_is_cut_off_for_a_month_serves_everything_and_says_its_age(
    filled: Hub,
    make_edge: MakeEdge,
    serving: Serving,
    database: Databases,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, own = Later(), database("catalog")
    registered = await filled.register("shop", "acme")
    edge = make_edge(registered, url=own.url, clock=clock)

    async def is_known_at_the_hub() -> bool:
        return (await _record(filled, "shop")).fresh_time is not None

    async with edge.following():
        await filled.publish("last")
        await edge.has("last")
        # An edge has it a little before it has said so.
        await until(is_known_at_the_hub)
    recorded = [one.envelope for one in await filled.envelopes("shop") if one.HasField("envelope")]
    at_hub = await everything(filled.served)
    assert len(at_hub) == 6

    # A start without a hub, and everything after it: this Catalog knows of it what its file says.
    bootstrap = tmp_path / "shop.json"
    bootstrap.write_bytes(replace(bootstrap_of(registered), address=DEAD).to_json())
    monkeypatch.setattr(wiring, "SystemClock", lambda: clock)
    async with serving("catalog", CatalogSettings, start, database_url=own.url, edge_bootstrap_file=bootstrap) as alone:
        await endures(alone, clock, at_hub)
    async with edge.store.reading() as connection:
        held = await HubStore(edge.database).flags(connection)
    assert held is not None
    assert [flag.name for flag in FlagRecords.FromString(held.records).flags] == ["flags/new-search"]

    told = SyncStates(edge.store, clock, None).edge(await _record(filled, "shop"), 0)
    assert told.staleness.ToTimedelta() >= timedelta(days=MONTH)

    # The hub went on, with other keys; the edge goes on from where it was.
    for _ in range(2):
        await filled.sync.RotateHubKey(pb.RotateHubKeyRequest())
    await filled.publish("desk", "Three")
    before = (await edge.record()).sequence
    async with edge.following():
        await edge.has("desk", "1.2.0")
        state = await SyncStates(edge.store, clock, edge.follower).own()
        assert state.age.ToTimedelta() < timedelta(hours=1)
        assert state.connected
    assert (await edge.record()).sequence > before
    with pytest.raises(Rejected) as caught:
        await edge.replica.apply(recorded[-1])
    assert caught.value.word == "replayed"


@pytest.mark.parametrize("altered", [False, True], ids=["whole", "altered"])
async def test_the_first_boot_of_an_edge_answers_from_its_bundle_before_it_ever_reached_its_hub(
    filled: Hub, serving: Serving, database: Databases, tmp_path: Path, *, altered: bool
) -> None:
    bootstrap, bundle = tmp_path / "shop.json", tmp_path / "shop.bundle"
    bootstrap.write_bytes(replace(bootstrap_of(await filled.register("shop", "acme")), address=DEAD).to_json())
    request = pb.ExportBundleRequest(name="edges/shop")
    content = bytearray(b"".join([part.data async for part in filled.sync.ExportBundle(request)]))
    content[-9] ^= altered
    bundle.write_bytes(content)
    at_hub = await everything(filled.served)

    async with serving(
        "catalog", CatalogSettings, start, database_url=database("catalog").url, edge_bootstrap_file=bootstrap,
        edge_bundle_file=bundle,
    ) as first:  # fmt: skip
        found = await everything(first)
        state = await SyncServiceStub(first.as_role("reader", workspace="acme")).GetSyncState(pb.GetSyncStateRequest())

    assert found == ({} if altered else at_hub)
    assert len(at_hub) == 5
    assert not state.connected
    # What came of trying the hub may stand there already instead.
    assert not altered or state.last_error


@contextlib.asynccontextmanager
async def without_database(where: ServiceDatabase) -> AsyncIterator[None]:
    """Lets nobody but the superuser connect to a database inside the block."""
    connection = await asyncpg.connect(plain(make_url(where.superuser_url).set(database="postgres")))
    try:
        await connection.execute(f"ALTER DATABASE {where.name} WITH CONNECTION LIMIT 0")
        await connection.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", where.name)
        yield
    finally:
        await connection.execute(f"ALTER DATABASE {where.name} WITH CONNECTION LIMIT -1")
        await connection.close()


async def does_not_follow(caplog: pytest.LogCaptureFixture) -> None:
    """Returns once an edge has said that it does not follow."""

    async def said() -> bool:
        return "the catalog does not follow its hub" in caplog.text

    await until(said)


async def test_a_bundle_is_taken_when_the_database_comes_where_it_was_away_at_the_first_boot(
    filled: Hub, serving: Serving, database: Databases, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own, bootstrap, bundle = database("catalog"), tmp_path / "shop.json", tmp_path / "shop.bundle"
    bootstrap.write_bytes(replace(bootstrap_of(await filled.register("shop", "acme")), address=DEAD).to_json())
    request = pb.ExportBundleRequest(name="edges/shop")
    bundle.write_bytes(b"".join([part.data async for part in filled.sync.ExportBundle(request)]))
    at_hub = await everything(filled.served)
    async with contextlib.AsyncExitStack() as stack:
        async with without_database(own):
            starting = asyncio.create_task(
                stack.enter_async_context(
                    serving(
                        "catalog", CatalogSettings, start, database_url=own.url, edge_bootstrap_file=bootstrap,
                        edge_bundle_file=bundle,
                    )
                )
            )  # fmt: skip
            await does_not_follow(caplog)
        first = await starting

        async def is_there() -> bool:
            # A connection that was refused a moment ago is tried again in a moment.
            with contextlib.suppress(grpc.aio.AioRpcError):
                return await everything(first) == at_hub
            return False

        await until(is_there)
    assert len(at_hub) == 5


async def test_an_edge_follows_again_when_its_database_takes_connections_again(
    hub: Hub, make_edge: MakeEdge, database: Databases, caplog: pytest.LogCaptureFixture
) -> None:
    own = database("catalog")
    edge = make_edge(await hub.register("shop"), url=own.url)
    async with without_database(own), contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(edge.following())
        await does_not_follow(caplog)
        kept = stack.pop_all()
    async with kept:
        await hub.publish("desk")
        await edge.has("desk")


async def _record(hub: Hub, edge: str) -> Any:
    database = Database(hub.served.process.settings.database_url.get_secret_value())
    store = HubStore(database)
    async with store.reading() as connection:
        found = await store.edge(connection, edge)
    await database.close()
    return found
