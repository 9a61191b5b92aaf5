"""How long ago the hub was heard, where this mesh is an edge: what came from there is no newer in any service."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import grpc

from cordboard.catalog.v1.sync_service_pb2 import GetSyncStateRequest
from cordboard.catalog.v1.sync_service_pb2_grpc import SyncServiceStub
from cordboard.core.copies import HUB_ANSWERS_WITHIN, Copy
from cordboard.core.errors import CordboardError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cordboard.core.copies import Copies
    from cordboard.core.times import Clock

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 5.0
TIMEOUT: Final = 5.0


class HubAge:
    """Asks the Catalog how old its knowledge of the hub is."""

    def __init__(self, channel: Callable[[], grpc.aio.Channel], copies: Copies, clock: Clock) -> None:
        """Takes what returns the channel to the Catalog, the copies of the process, and the time."""
        self._channel = channel
        self._copies = copies
        self._clock = clock
        self._copy: Copy | None = None

    async def run(self) -> None:
        """Asks every five seconds, for ever."""
        while True:
            try:
                await self.look()
            except (grpc.aio.AioRpcError, CordboardError) as error:
                # It ages meanwhile, as it should: nothing comes from the hub but through the Catalog.
                logger.info("the age of the hub's catalog is not known", extra={"problem": type(error).__name__})
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Asks once; raises AioRpcError."""
        state = await SyncServiceStub(self._channel()).GetSyncState(GetSyncStateRequest(), timeout=TIMEOUT)
        if not state.HasField("age"):
            return
        if self._copy is None:
            self._copy = Copy("hub", within=HUB_ANSWERS_WITHIN, clock=self._clock.monotonic)
            self._copies.add(self._copy)
        self._copy.current(self._clock.monotonic() - state.age.ToTimedelta().total_seconds())
