"""Puts the parts of the sync together, as hub and as edge."""

from __future__ import annotations

import contextlib
import importlib.metadata
from typing import TYPE_CHECKING

from cordboard.catalog.drift_store import DriftStore
from cordboard.catalog.sync.abilities import ABLE
from cordboard.catalog.sync.access_servicer import EdgeAccessServicer
from cordboard.catalog.sync.bootstrap import Bootstrap
from cordboard.catalog.sync.customer_store import CustomerStore
from cordboard.catalog.sync.customers import Customers
from cordboard.catalog.sync.drift_reports import EdgeDrift, HubDrift
from cordboard.catalog.sync.edge_access import EdgeCheck, HubAccess
from cordboard.catalog.sync.flag_reports import EdgeReports
from cordboard.catalog.sync.flags_relay import EdgeFlags, HubFlags
from cordboard.catalog.sync.follower import Follower, dial
from cordboard.catalog.sync.hub import Hub
from cordboard.catalog.sync.hub_age import HubAge
from cordboard.catalog.sync.keys import HubKeys
from cordboard.catalog.sync.replica import Begin, Replica
from cordboard.catalog.sync.servicer import SyncServicer
from cordboard.catalog.sync.staleness import Staleness
from cordboard.catalog.sync.state import SyncStates
from cordboard.catalog.sync.store import HubStore, ReplicaStore
from cordboard.catalog.v1.edge_access_service_pb2_grpc import add_EdgeAccessServiceServicer_to_server
from cordboard.catalog.v1.sync_service_pb2_grpc import add_SyncServiceServicer_to_server
from cordboard.core.errors import DependencyUnavailable
from cordboard.core.times import SystemClock

if TYPE_CHECKING:
    from cordboard.catalog.settings import CatalogSettings
    from cordboard.catalog.store import CatalogStore
    from cordboard.core.database import Changes
    from cordboard.core.server import Process


async def start_sync(mesh: Process[CatalogSettings], catalog: CatalogStore, changes: Changes) -> None:
    """Serves edges where there is a key file, and follows a hub where there is a bootstrap file."""
    settings, clock, database = mesh.settings, SystemClock(), mesh.database()
    hub_store, replica_store, customers = HubStore(database), ReplicaStore(database), CustomerStore(database)
    keys = HubKeys(hub_store, mesh.journal(), clock, settings.hub_key_file)
    drift = DriftStore(database)
    heartbeat = settings.hub_heartbeat_seconds
    hub_drift = HubDrift(drift, clock)
    hub = Hub(hub_store, customers, keys, changes, mesh.journal(), clock, hub_drift, heartbeat=heartbeat)
    mesh.on_close(hub.close)
    mesh.background(Staleness(hub, clock, mesh.measures).run())
    follower, access = None, HubAccess(None, "")
    if settings.edge_bootstrap_file is not None:
        bootstrap = Bootstrap.read(settings.edge_bootstrap_file)
        begin = Begin(bootstrap.hub, bootstrap.edge, bootstrap.trusted, tuple(sorted(ABLE)))
        replica = Replica(replica_store, catalog, clock, begin)
        release = importlib.metadata.version("cordboard")
        bundle = settings.edge_bundle_file
        if bundle is not None:
            # Whoever names a file that is not there hears of it at once.
            bundle.stat()
        follower = Follower(
            database,
            replica,
            bootstrap,
            release,
            lambda: dial(bootstrap, settings.hub_address),
            drift=EdgeDrift(drift, clock),
            bundle_file=bundle,
        )
        access = HubAccess(bootstrap, settings.hub_address)
        # Without a database the service starts all the same, and is not ready.
        with contextlib.suppress(DependencyUnavailable):
            await follower.begin()
        mesh.background(follower.run())
        age = HubAge(replica_store, clock)
        mesh.copies.add(age.copy)
        mesh.background(age.run())
        if settings.flags_address:
            mesh.background(EdgeFlags(mesh.channels, hub_store, changes).run())
    elif settings.hub_key_file is not None and settings.flags_address:
        mesh.background(HubFlags(mesh.channels, hub_store, replica_store, catalog).run())
        mesh.background(EdgeReports(mesh.channels, hub_store).run())
    if settings.hub_key_file is not None and settings.auth_address:
        mesh.background(Customers(mesh.channels, customers, catalog, changes, clock).run())
    states = SyncStates(replica_store, clock, follower)
    address = settings.public_url.removeprefix("https://").rstrip("/")
    add_EdgeAccessServiceServicer_to_server(EdgeAccessServicer(EdgeCheck(hub, keys), access), mesh.server)
    add_SyncServiceServicer_to_server(SyncServicer(hub, keys, states, address), mesh.server)
