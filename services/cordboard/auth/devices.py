"""Asks vendors whether a person has allowed a device (RFC 8628): in the background, from the rows of the sessions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from cordboard.auth.oauth import Refused
from cordboard.auth.store import sessions as rows
from cordboard.core.errors import CordboardError

if TYPE_CHECKING:
    from cordboard.auth.connect import Connect
    from cordboard.auth.store.sessions import SessionRow
    from cordboard.core.database import Database

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 1.0
# Longer than a vendor may take to answer: whoever took a session has its answer before another process may ask.
LEASE_SECONDS: Final = 15.0
AT_ONCE: Final = 16
SLOWER_BY: Final = 5
LONGEST_INTERVAL: Final = 60
_WAITING: Final = "authorization_pending"
# RFC 8628 section 3.5: nobody answered, so the next question comes later.
_SILENT: Final = frozenset(
    {"timeout", "unreachable", "answer_unreadable", "answer_too_large", "temporarily_unavailable"}
)


class Devices:
    """The devices that wait, in the database: a restart forgets none."""

    def __init__(self, database: Database, connect: Connect) -> None:
        """Takes what asks a vendor and makes the connection."""
        self._database = database
        self._connect = connect
        self._asking: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Asks for those whose time has come, for ever."""
        while True:
            try:
                while await self.step():
                    pass
            except CordboardError as error:
                logger.warning("no device is asked for now", extra={"problem": type(error).__name__})
            await asyncio.sleep(LOOK_EVERY)

    async def close(self) -> None:
        """Waits until what is under way has been written."""
        await asyncio.gather(*self._asking, return_exceptions=True)

    async def step(self) -> bool:
        """Begins to ask for one device whose time has come; tells whether there was one."""
        await self._room.acquire()
        row = None
        try:
            async with self._database.everywhere() as connection:
                row = await rows.claim_poll(connection, lease=LEASE_SECONDS)
        finally:
            if row is None:
                self._room.release()
        if row is None:
            return False
        task = asyncio.create_task(self._ask(row))
        self._asking.add(task)
        task.add_done_callback(self._asked)
        return True

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking.discard(task)
        self._room.release()

    async def _ask(self, row: SessionRow) -> None:
        # What the database or the Catalog keeps from being done now is done when the lease has ended.
        with contextlib.suppress(CordboardError):
            refused = Refused("expired") if row.expired else await self._connect.poll(row)
            if refused is None:
                return
            seconds = next_interval(row.poll_seconds, refused)
            if seconds is None:
                await self._connect.fail(row, refused.problem)
                return
            async with self._database.workspace(row.workspace) as connection:
                await rows.poll_later(connection, row.workspace, row.id, seconds=seconds)


def next_interval(seconds: int, refused: Refused) -> int | None:
    """Returns after how many seconds to ask again, or None when there is no use in it."""
    if refused.problem == _WAITING:
        return seconds
    if refused.problem == "slow_down":
        return min(seconds + SLOWER_BY, LONGEST_INTERVAL)
    if refused.problem in _SILENT or refused.problem.startswith("http_5") or refused.problem == "http_429":
        return min(max(seconds * 2, int(refused.retry_after or 0)), LONGEST_INTERVAL)
    return None
