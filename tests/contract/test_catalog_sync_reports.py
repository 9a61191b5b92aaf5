"""A hub's Catalog tells Flags which change of the flags each edge has."""

from __future__ import annotations

from typing import Any

import grpc

from cordboard.catalog.store import CatalogStore
from cordboard.catalog.sync.flag_reports import EdgeReports
from cordboard.catalog.sync.flags_relay import HubFlags
from cordboard.catalog.sync.store import HubStore, ReplicaStore
from cordboard.core.database import Database
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.flags.v1.consumer_service_pb2 import (
    FlagConsumerReport,
    ReportFlagConsumersRequest,
    ReportFlagConsumersResponse,
)
from cordboard.flags.v1.consumer_service_pb2_grpc import (
    FlagConsumerServiceServicer,
    add_FlagConsumerServiceServicer_to_server,
)
from cordboard.flags.v1.replica_service_pb2 import FlagRecords
from tests.fixtures.edges import until
from tests.fixtures.hubs import Hub, MakeEdge
from tests.fixtures.postgres import ServiceDatabase
from tests.fixtures.ways import ways


class Flags(FlagConsumerServiceServicer):
    """Flags that notes what it is told."""

    def __init__(self) -> None:
        self.told: dict[str, FlagConsumerReport] = {}

    async def ListFlagConsumers(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def ReportFlagConsumers(self, request: ReportFlagConsumersRequest, context: Any) -> Any:
        self.told |= {each.consumer: each for each in request.reports}
        return ReportFlagConsumersResponse()


async def test_an_edge_has_the_change_that_it_acknowledged(
    hub: Hub, hub_database: ServiceDatabase, make_edge: MakeEdge
) -> None:
    noted, server = Flags(), grpc.aio.server()
    add_FlagConsumerServiceServicer_to_server(noted, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    database = Database(hub_database.url)
    store = HubStore(database)
    relay = HubFlags(None, store, ReplicaStore(database), CatalogStore(database))  # type: ignore[arg-type]
    edge = make_edge(await hub.register("shop", "acme"))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        way = ways(channel)
        reports = EdgeReports(way, store)
        await reports.report()
        assert noted.told == {}

        async def has(revision: int) -> bool:
            await reports.report()
            return noted.told["edge-shop"].sequence == revision

        await relay.take(FlagRecords(sequence=3, flags=[flags.Flag(name="flags/new-search", default_variant="off")]))
        async with edge.following():
            await until(lambda: has(3))
        assert noted.told["edge-shop"].HasField("fresh_time")
        await relay.take(FlagRecords(sequence=4, flags=[flags.Flag(name="flags/new-search", default_variant="on")]))
        # It is away: which older one it has is not known any more.
        await reports.report()
        assert (noted.told["edge-shop"].sequence, noted.told["edge-shop"].HasField("fresh_time")) == (0, False)
        async with edge.following():
            await until(lambda: has(4))
    await database.close()
    await server.stop(None)
