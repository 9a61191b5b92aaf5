"""Starts the Catalog."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cordboard.catalog.catalog import Catalog
from cordboard.catalog.servicer import CatalogServicer
from cordboard.catalog.settings import CatalogSettings
from cordboard.catalog.snapshot import Snapshot
from cordboard.catalog.store import CHANNEL, CatalogStore
from cordboard.catalog.v1.catalog_service_pb2_grpc import add_CatalogServiceServicer_to_server
from cordboard.core.database import Changes
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
    catalog = Catalog(store, snapshot, mesh.journal(), SystemClock(), worker)
    add_CatalogServiceServicer_to_server(CatalogServicer(catalog), mesh.server)
    # Without a database the service starts all the same, and is not ready.
    with contextlib.suppress(DependencyUnavailable):
        await snapshot.refresh()
    mesh.add_check("snapshot", snapshot.check)
    mesh.background(changes.run())
    mesh.background(snapshot.run(changes))

    async def stop_worker() -> None:
        await asyncio.to_thread(worker.shutdown, cancel_futures=True)

    mesh.on_close(stop_worker)


if __name__ == "__main__":
    run("catalog", CatalogSettings, start)
