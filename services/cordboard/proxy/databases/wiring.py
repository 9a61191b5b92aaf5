"""Wires what runs statements on databases, for the Proxy's `__main__`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cordboard.proxy.databases.carrier import Databases
from cordboard.proxy.databases.pool import Pool

if TYPE_CHECKING:
    from cordboard.core.egress import Egress
    from cordboard.core.server import Process
    from cordboard.core.times import Clock
    from cordboard.proxy.settings import ProxySettings


def start_databases(mesh: Process[ProxySettings], egress: Egress, clock: Clock) -> Databases:
    """Keeps connections to databases as long as they are used; returns what runs statements on them."""
    pool = Pool(clock.monotonic)
    mesh.on_close(pool.close)
    mesh.background(pool.run())
    return Databases(egress, pool, mesh.settings.max_response_bytes)
