"""Whether this mesh follows a hub: there workspaces choose, and what they chose comes here with the flags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc

from cordboard.catalog.v1.sync_service_pb2 import GetSyncStateRequest
from cordboard.catalog.v1.sync_service_pb2_grpc import SyncServiceStub
from cordboard.core.errors import DependencyUnavailable, StateConflict

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT: Final = 5.0


class Hub:
    """Asks the Catalog once: a mesh is an edge for as long as its services run, or it is none."""

    def __init__(self, channel: Callable[[], grpc.aio.Channel] | None) -> None:
        """Takes what returns the channel to the Catalog; without one there is no hub."""
        self._channel = channel
        self._followed: str | None = None if channel else ""

    async def check(self, name: str) -> None:
        """Returns where a choice can be made here; raises StateConflict at an edge, and DependencyUnavailable."""
        if self._followed is None and self._channel is not None:
            try:
                stub = SyncServiceStub(self._channel())
                self._followed = (await stub.GetSyncState(GetSyncStateRequest(), timeout=TIMEOUT)).hub
            except (grpc.aio.AioRpcError, KeyError):
                raise DependencyUnavailable("catalog") from None
        if self._followed:
            raise StateConflict(name, "edge", "an edge has what was chosen at its hub: choose it there")
