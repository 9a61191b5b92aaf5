"""Watches for mass reads: leases of unusually many connections by one caller, or of one workspace, in a short time."""

from __future__ import annotations

import logging
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cordboard.auth.store import incidents as rows
from cordboard.core.audit import Entry
from cordboard.core.errors import DependencyUnavailable
from cordboard.core.names import new_id

if TYPE_CHECKING:
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database
    from cordboard.core.times import Clock

logger = logging.getLogger(__name__)

# So many callers and workspaces are watched at once; the one that was quiet for the longest time is forgotten.
MOST_WATCHED: Final = 10_000


class ReadWatch:
    """Counts different connections in a sliding window, in this process, and raises an alert once a window."""

    def __init__(self, database: Database, journal: Journal, clock: Clock, *, connections: int, seconds: float) -> None:
        """Alerts at more than so many different connections in so many seconds."""
        self._database = database
        self._journal = journal
        self._clock = clock
        self._most = connections
        self._seconds = seconds
        self._seen: OrderedDict[tuple[str, str], OrderedDict[tuple[str, str], float]] = OrderedDict()
        self._alerted: dict[tuple[str, str], float] = {}

    async def note(self, workspace: str, connection_id: str, caller: str) -> None:
        """Notes one lease. It never stops it: an alert that cannot be written down is still in the log."""
        now = self._clock.monotonic()
        # Without a token it is the Proxy that asks, for everybody: a workspace is then all that can be watched.
        for watched in ((workspace, ""), ("", caller)) if caller else ((workspace, ""),):
            count = self._count(watched, (workspace, connection_id), now)
            if count > self._most and now >= self._alerted.get(watched, 0.0):
                self._alerted[watched] = now + self._seconds
                await self._alert(watched, caller, count)

    def _count(self, watched: tuple[str, str], connection: tuple[str, str], now: float) -> int:
        seen = self._seen.setdefault(watched, OrderedDict())
        self._seen.move_to_end(watched)
        seen[connection] = now
        seen.move_to_end(connection)
        while now - next(iter(seen.values())) > self._seconds or len(seen) > self._most + 1:
            seen.popitem(last=False)
        if len(self._seen) > MOST_WATCHED:
            gone, _ = self._seen.popitem(last=False)
            self._alerted.pop(gone, None)
        return len(seen)

    async def _alert(self, watched: tuple[str, str], caller: str, count: int) -> None:
        workspace = watched[0]
        fields = {"workspace": workspace, "caller": caller, "connections": count, "seconds": self._seconds}
        logger.error("credentials of unusually many connections are leased", extra=fields)
        row = rows.AlertRow(new_id(), workspace, caller, count, self._seconds, datetime.now(UTC))
        entry = Entry(
            action="auth.credential.mass-read",
            resource=f"readAlerts/{row.id}",
            workspace=workspace,
            outcome="ALERT",
            details=fields,
        )
        try:
            async with self._database.everywhere() as connection:
                await rows.add_alert(connection, row)
                await self._journal.append(connection, entry)
        except DependencyUnavailable:
            logger.warning("an alert could not be written down", extra=fields)
