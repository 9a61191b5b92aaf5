"""Wires the parts of breakers, for the Proxy's `__main__`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cordboard.core.database import Changes
from cordboard.proxy.breakers.breakers import Breakers
from cordboard.proxy.breakers.override import Overrides
from cordboard.proxy.breakers.servicer import BreakerServicer
from cordboard.proxy.breakers.store import CHANNEL, BreakerStore
from cordboard.proxy.v1.breaker_service_pb2_grpc import add_BreakerServiceServicer_to_server

if TYPE_CHECKING:
    from cordboard.core.server import Process
    from cordboard.core.times import Clock
    from cordboard.proxy.settings import ProxySettings

# News come by notification; one that was lost is found so many seconds later.
POLL: Final = 5.0


def start_breakers(mesh: Process[ProxySettings], clock: Clock) -> tuple[Breakers, BreakerStore]:
    """Serves breakers, and follows those of other processes; returns them, and where they are kept."""
    database = mesh.database()
    store = BreakerStore(database)
    breakers = Breakers(mesh.settings.breaker_policy, clock.monotonic, store, Changes(database, CHANNEL, poll=POLL))
    overrides = Overrides(database, store, breakers, mesh.journal())
    add_BreakerServiceServicer_to_server(BreakerServicer(breakers, overrides, clock), mesh.server)
    mesh.background(breakers.run())
    return breakers, store
