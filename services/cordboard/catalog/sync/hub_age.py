"""How long ago an edge's hub was heard: its Catalog says so with every answer, once that is too long."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from cordboard.core.copies import HUB_ANSWERS_WITHIN, Copy
from cordboard.core.errors import CordboardError

if TYPE_CHECKING:
    from cordboard.catalog.sync.store import ReplicaStore
    from cordboard.core.times import Clock

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 5.0


class HubAge:
    """Keeps what the replica that follows has written of when it was up to date."""

    def __init__(self, store: ReplicaStore, clock: Clock) -> None:
        """Takes the edge's tables and the time."""
        self._store = store
        # By the clock on the wall: that it was long ago is known after a start as well.
        self.copy = Copy("hub", within=HUB_ANSWERS_WITHIN, clock=lambda: clock.now().timestamp())

    async def run(self) -> None:
        """Looks every five seconds, for ever."""
        while True:
            try:
                await self.look()
            except CordboardError as error:
                logger.info("the age of the hub's catalog is not known", extra={"problem": type(error).__name__})
            await asyncio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Looks once; raises DependencyUnavailable."""
        async with self._store.reading() as connection:
            record = await self._store.replica(connection)
        if record is not None and record.fresh_time is not None:
            self.copy.current(record.fresh_time.timestamp())
