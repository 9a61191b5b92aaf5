"""Wires the parts of events, for the Proxy's `__main__`."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import CordboardError
from cordboard.core.times import SystemClock
from cordboard.proxy.events.door import Door
from cordboard.proxy.events.events import Events
from cordboard.proxy.events.intake import Intake
from cordboard.proxy.events.servicer import EventServicer
from cordboard.proxy.events.store import EventStore
from cordboard.proxy.v1.event_service_pb2_grpc import add_EventServiceServicer_to_server

if TYPE_CHECKING:
    from cordboard.core.server import Process
    from cordboard.proxy.connections import Connections
    from cordboard.proxy.sealing import SealingKeys
    from cordboard.proxy.settings import ProxySettings
    from cordboard.proxy.snapshot import Definitions, Flags

logger = logging.getLogger(__name__)

SWEEP_EVERY: Final = 600.0
SWEEP_PAUSE: Final = 0.1


def start_events(
    mesh: Process[ProxySettings],
    keys: SealingKeys,
    definitions: Definitions,
    flags: Flags,
    connections: Connections,
) -> Door:
    """Serves events; returns what takes webhooks."""
    settings, database = mesh.settings, mesh.database()
    store = EventStore(database)
    intake = Intake(database, store, keys, mesh.journal(), definitions, flags, connections, SystemClock())
    add_EventServiceServicer_to_server(EventServicer(Events(store, keys), intake), mesh.server)
    mesh.background(_sweep(store, settings.event_retention_days))
    return Door(intake, mesh.measures, settings.max_webhook_bytes)


async def _sweep(store: EventStore, days: int) -> None:
    while True:
        deleted = 0
        try:
            deleted = await store.sweep(live=days * 86_400.0)
        except CordboardError as error:
            logger.warning("old events were not deleted", extra={"problem": type(error).__name__})
        await asyncio.sleep(SWEEP_PAUSE if deleted else SWEEP_EVERY)
