"""Wires the parts of backends, for the Proxy's `__main__`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cordboard.core.database import Changes
from cordboard.proxy.backends.findings import Findings
from cordboard.proxy.backends.hub import Hub
from cordboard.proxy.backends.hub_line import HubLine
from cordboard.proxy.backends.routes import Routes
from cordboard.proxy.backends.servicer import BackendServicer
from cordboard.proxy.backends.store import CHANNEL, RouteStore
from cordboard.proxy.v1.backend_service_pb2_grpc import add_BackendServiceServicer_to_server

if TYPE_CHECKING:
    from cordboard.core.server import Process
    from cordboard.proxy.guard import Guard
    from cordboard.proxy.settings import ProxySettings

# News come by notification; one that was lost is found so many seconds later.
POLL: Final = 5.0


@dataclass(frozen=True, slots=True)
class Backends:
    """What the rest of the Proxy needs of backends."""

    routes: Routes
    findings: Findings


def reach_hub(mesh: Process[ProxySettings], guard: Guard) -> Hub:
    """Returns what has actions run at the hub that this mesh follows; nothing is opened before one is."""
    line = HubLine(mesh.channels, mesh.settings.max_response_bytes)
    mesh.on_close(line.close)
    return Hub(line, guard)


def start_backends(mesh: Process[ProxySettings]) -> Backends:
    """Serves routes, and follows those that other processes change."""
    database = mesh.database()
    store, findings = RouteStore(database), Findings(database)
    routes = Routes(store, database, mesh.journal(), Changes(database, CHANNEL, poll=POLL))
    add_BackendServiceServicer_to_server(BackendServicer(routes, store, findings), mesh.server)
    mesh.add_check("backends", routes.check)
    mesh.background(routes.run())
    return Backends(routes, findings)
