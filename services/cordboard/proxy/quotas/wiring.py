"""Wires the parts of quotas, for the Proxy's `__main__`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cordboard.proxy.quotas.quotas import Quotas
from cordboard.proxy.quotas.servicer import QuotaServicer
from cordboard.proxy.quotas.store import QuotaStore
from cordboard.proxy.quotas.use import QuotaUses
from cordboard.proxy.v1.quota_service_pb2_grpc import add_QuotaServiceServicer_to_server

if TYPE_CHECKING:
    from cordboard.core.server import Process
    from cordboard.core.times import Clock
    from cordboard.proxy.settings import ProxySettings


def start_quotas(mesh: Process[ProxySettings], clock: Clock) -> tuple[Quotas, QuotaStore]:
    """Serves what is used of vendors' limits; returns what spends them, and where that is kept."""
    database = mesh.database()
    store = QuotaStore(database)
    quotas = Quotas(store, monotonic=clock.monotonic)
    mesh.on_close(quotas.close)
    add_QuotaServiceServicer_to_server(QuotaServicer(QuotaUses(database)), mesh.server)
    return quotas, store
