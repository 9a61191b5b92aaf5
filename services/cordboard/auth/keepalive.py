"""Keeps refresh tokens alive that nobody uses: a vendor ends those that stay unused for too long."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from cordboard.auth.store import connections as rows
from cordboard.core.errors import CordboardError

if TYPE_CHECKING:
    from cordboard.auth.refresh import Outcome, Refresher
    from cordboard.core.database import Database

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 30.0
# When to look again at one whose refresh did not work; one that did has a new time.
AGAIN_SECONDS: Final = 3600.0
AT_ONCE: Final = 8


class KeepAlive:
    """Refreshes what would end unused."""

    def __init__(self, database: Database, refresher: Refresher) -> None:
        """Takes what refreshes."""
        self._database = database
        self._refresher = refresher

    async def run(self) -> None:
        """Refreshes those whose time has come, a few at a time, for ever."""
        while True:
            try:
                while await self.step():
                    pass
            except CordboardError as error:
                logger.warning("no idle token is refreshed now", extra={"problem": type(error).__name__})
            await asyncio.sleep(LOOK_EVERY)

    async def step(self) -> int:
        """Refreshes up to eight that are due, side by side; returns how many there were."""
        tasks: list[asyncio.Task[Outcome]] = []
        for _ in range(AT_ONCE):
            async with self._database.everywhere() as connection:
                due = await rows.claim_idle(connection, again=AGAIN_SECONDS)
            if due is None:
                break
            async with self._database.workspace(due[0]) as connection:
                held = await rows.held(connection, *due)
            if held is not None:
                tasks.append(self._refresher.start(held))
        await asyncio.gather(*(asyncio.shield(task) for task in tasks), return_exceptions=True)
        return len(tasks)
