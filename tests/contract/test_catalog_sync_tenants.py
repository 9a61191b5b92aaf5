"""What edges are told of tenants: of their own what the hub knows, and of others nothing, not even a name."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cordboard.auth.v1 import workspace_service_pb2 as auth_pb
from cordboard.auth.v1.workspace_service_pb2_grpc import WorkspaceServiceStub
from cordboard.catalog.__main__ import start
from cordboard.catalog.settings import CatalogSettings
from cordboard.catalog.store import CatalogStore
from cordboard.catalog.sync import bundle, customers
from cordboard.catalog.sync.flags_relay import HubFlags
from cordboard.catalog.sync.store import HubStore, ReplicaStore
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.catalog.v1.sync_service_pb2_grpc import SyncServiceStub
from cordboard.core.database import Database
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.flags.v1.replica_service_pb2 import FlagRecords
from tests.fixtures.auth import DENIED, Auth, refused
from tests.fixtures.edges import until
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Served, Serving

RULES = (
    flags.Rule(description="for globex-corp", customers=["acme-corp", "globex-corp"], variant="on"),
    flags.Rule(workspaces=["globex"], variant="on"),
    flags.Rule(customers=["globex-corp"], variant="off"),
    flags.Rule(tiers=["business"], variant="on"),
)


class Hub:
    """A hub that knows its tenants from Auth."""

    def __init__(self, served: Served, database: ServiceDatabase) -> None:
        self._served = served
        self._database = database
        self._operator: Any = SyncServiceStub(served.as_role("operator"))

    async def register(self, edge: str, *workspaces: str) -> None:
        """Registers an edge."""
        await self._operator.RegisterEdge(
            pb.RegisterEdgeRequest(edge_id=edge, edge=pb.Edge(workspaces=workspaces))
        )  # fmt: skip

    async def put(self, *rules: flags.Rule) -> None:
        """Writes a flag with these rules into the log, as Flags would tell it."""
        database = Database(self._database.url)
        relay = HubFlags(
            self._served.process.channels, HubStore(database), ReplicaStore(database), CatalogStore(database)
        )
        await relay.take(FlagRecords(sequence=3, flags=[flags.Flag(name="flags/new-search", rules=rules)]))
        await database.close()

    async def told(self, edge: str) -> tuple[FlagRecords, bytes]:
        """Returns the flags that an edge gets, and all that it gets as it was before it was packed."""
        parts = [part.data async for part in self._operator.ExportBundle(pb.ExportBundleRequest(name=f"edges/{edge}"))]
        found, raw = FlagRecords(), b""
        for message in bundle.messages(io.BytesIO(b"".join(parts))):
            unpacked = zlib.decompress(message.envelope.payload) if message.envelope.payload else b""
            raw += unpacked
            for change in pb.Delta.FromString(unpacked).changes:
                if change.HasField("flags"):
                    found = FlagRecords.FromString(change.flags.records)
        return found, raw

    async def unknown(self, edge: str) -> list[str]:
        """Returns the workspaces of an edge that nobody here knows."""
        return list((await self._operator.GetEdge(pb.GetEdgeRequest(name=f"edges/{edge}"))).unknown_workspaces)

    async def customers(self, edge: str) -> list[list[str]]:
        """Returns whom the rules name that an edge gets."""
        found, _ = await self.told(edge)
        return [list(rule.customers) for flag in found.flags for rule in flag.rules]


@pytest.fixture
async def hub(
    serving: Serving, database: Databases, auth: Auth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Hub]:
    """A hub beside Auth, which has the workspace `acme`."""
    monkeypatch.setattr(customers, "RENEW_SECONDS", 0.3)
    key, own = tmp_path / "hub.key", database("catalog")
    key.write_bytes(os.urandom(32))
    async with serving(
        "catalog", CatalogSettings, start, database_url=own.url, hub_key_file=key, auth_address=auth.served.address
    ) as served:
        yield Hub(served, own)


async def test_an_edge_gets_the_rules_for_its_own_customers_and_no_name_of_another(hub: Hub, auth: Auth) -> None:
    await auth.workspace("globex")
    await hub.put(*RULES)
    await hub.register("shop", "acme")
    await hub.register("mall", "acme", "globex")

    async def known(edge: str, expected: list[list[str]]) -> bool:
        return await hub.customers(edge) == expected

    await until(lambda: known("shop", [["acme-corp"], []]))
    _, raw = await hub.told("shop")
    assert b"globex" not in raw
    # The control: who has that tenant is told all of it.
    await until(lambda: known("mall", [["acme-corp", "globex-corp"], [], ["globex-corp"], []]))
    _, raw = await hub.told("mall")
    assert b"globex" in raw


async def test_an_edge_whose_customers_nobody_knows_gets_no_rule_that_names_one(hub: Hub) -> None:
    await hub.put(*RULES)
    await hub.register("shop", "acme")
    await hub.register("kiosk", "nowhere", "elsewhere")

    async def known() -> bool:
        return await hub.customers("shop") == [["acme-corp"], []]

    await until(known)
    assert await hub.customers("kiosk") == [[]]
    assert await hub.unknown("kiosk") == ["elsewhere", "nowhere"]
    assert await hub.unknown("shop") == []


async def test_a_workspace_that_gets_another_customer_gets_its_rules(hub: Hub, auth: Auth) -> None:
    await hub.put(*RULES)
    await hub.register("shop", "acme")

    async def known(expected: list[list[str]]) -> bool:
        return await hub.customers("shop") == expected

    await until(lambda: known([["acme-corp"], []]))
    workspace = auth_pb.Workspace(name="workspaces/acme", customer="globex-corp")
    await auth.operator(WorkspaceServiceStub).UpdateWorkspace(auth_pb.UpdateWorkspaceRequest(workspace=workspace))
    await until(lambda: known([["globex-corp"], ["globex-corp"], []]))


async def test_what_was_known_holds_while_auth_is_away(hub: Hub, auth: Auth) -> None:
    await hub.put(*RULES)
    await hub.register("shop", "acme")

    async def known() -> bool:
        return await hub.customers("shop") == [["acme-corp"], []]

    await until(known)
    await auth.served.process.close()
    await hub.register("kiosk", "globex")
    assert await hub.customers("shop") == [["acme-corp"], []]
    # One that names its workspace, and the one for a tier.
    assert await hub.customers("kiosk") == [[], []]


async def test_no_other_service_may_ask_auth_for_a_workspace(auth: Auth) -> None:
    request = auth_pb.GetWorkspaceRequest(name="workspaces/acme")
    # The Proxy asks for whom no token speaks: webhooks, and operators' calls.
    for peer in ("catalog", "proxy"):
        stub: Any = WorkspaceServiceStub(auth.served.channel(peer))
        assert (await stub.GetWorkspace(request)).customer == "acme-corp"
    for peer in ("uqi", "flags", "telemetry"):
        assert await refused(WorkspaceServiceStub(auth.served.channel(peer)).GetWorkspace(request)) == DENIED
