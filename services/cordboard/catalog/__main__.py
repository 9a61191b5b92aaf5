"""Starts the Catalog."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cordboard.catalog.availability import Availability
from cordboard.catalog.catalog import Catalog
from cordboard.catalog.drift import Drift
from cordboard.catalog.drift_servicer import DriftServicer
from cordboard.catalog.drift_store import DriftStore
from cordboard.catalog.drifting import Drifting
from cordboard.catalog.gate import Gate
from cordboard.catalog.governance_servicer import GovernanceServicer
from cordboard.catalog.inventory import Inventory
from cordboard.catalog.lifecycle import Lifecycle
from cordboard.catalog.pins import Pins
from cordboard.catalog.publication import Publication
from cordboard.catalog.reach import Reach
from cordboard.catalog.servicer import CatalogServicer
from cordboard.catalog.settings import CatalogSettings
from cordboard.catalog.snapshot import Snapshot
from cordboard.catalog.sources.schedule import Schedule
from cordboard.catalog.sources.servicer import SourceServicer
from cordboard.catalog.sources.sources import Sources
from cordboard.catalog.sources.store import SourceStore
from cordboard.catalog.store import CHANNEL, CatalogStore
from cordboard.catalog.sync.wiring import start_sync
from cordboard.catalog.usage import Usage
from cordboard.catalog.v1.catalog_service_pb2_grpc import add_CatalogServiceServicer_to_server
from cordboard.catalog.v1.drift_service_pb2_grpc import add_DriftServiceServicer_to_server
from cordboard.catalog.v1.governance_service_pb2_grpc import add_GovernanceServiceServicer_to_server
from cordboard.catalog.v1.source_service_pb2_grpc import add_SourceServiceServicer_to_server
from cordboard.core.database import Changes
from cordboard.core.egress import Egress
from cordboard.core.errors import DependencyUnavailable
from cordboard.core.server import run
from cordboard.core.times import SystemClock

if TYPE_CHECKING:
    from cordboard.core.server import Process


async def start(mesh: Process[CatalogSettings]) -> None:
    """Wires the parts of the Catalog."""
    database = mesh.database()
    store = CatalogStore(database)
    snapshot = Snapshot(store, cache_bytes=mesh.settings.definition_cache_bytes)
    changes = Changes(database, CHANNEL)
    # One at a time: two documents at once would only share the interpreter.
    worker = ThreadPoolExecutor(1, thread_name_prefix="documents")
    journal, clock = mesh.journal(), SystemClock()
    gate = Gate(snapshot, worker)
    lifecycle = Lifecycle(store, snapshot, journal, clock, gate)
    limit = mesh.settings.private_integrations
    publication = Publication(store, snapshot, journal, clock, gate, lifecycle, private_limit=limit)
    catalog = Catalog(snapshot, publication, gate, worker)
    usage = Usage(database)
    reach = Reach(mesh.settings.reachable_hosts, lambda slug: snapshot.index.entry(slug).facts.get("hosts", ()))
    availability = Availability(mesh.channels, mesh.settings.flag_max_staleness_seconds, reach)
    follows = mesh.settings.edge_bootstrap_file is not None
    pins = Pins(store, snapshot, journal, clock, follows=follows)
    drift_store = DriftStore(database)
    inventory = Inventory(store, snapshot, usage, drift_store, journal, clock)
    add_DriftServiceServicer_to_server(DriftServicer(Drift(drift_store, snapshot, clock)), mesh.server)
    add_CatalogServiceServicer_to_server(CatalogServicer(catalog, availability), mesh.server)
    governance = GovernanceServicer(catalog, lifecycle, pins, inventory, usage)
    add_GovernanceServiceServicer_to_server(governance, mesh.server)
    await start_sync(mesh, store, changes)
    egress = Egress(mesh.settings.egress_allowed_networks)
    sources = Sources(
        database, SourceStore(database), catalog, journal, clock, egress, roots=mesh.settings.source_folders
    )
    add_SourceServiceServicer_to_server(SourceServicer(sources), mesh.server)
    mesh.background(Schedule(database, sources).run())
    # Without a database the service starts all the same, and is not ready.
    with contextlib.suppress(DependencyUnavailable):
        await snapshot.refresh()
    mesh.add_check("snapshot", snapshot.check)
    mesh.copies.add(snapshot.copy)
    mesh.background(changes.run())
    mesh.background(snapshot.run(changes))
    mesh.background(availability.run())
    mesh.background(Drifting(drift_store, clock, mesh.measures).run())

    async def stop_worker() -> None:
        await asyncio.to_thread(worker.shutdown, cancel_futures=True)

    mesh.on_close(stop_worker)


def main() -> None:
    """Runs the service to its end."""
    run("catalog", CatalogSettings, start)


if __name__ == "__main__":
    main()
