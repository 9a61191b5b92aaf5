"""Incidents: cuts off at once what may be in wrong hands, has it revoked, and brings back what was not."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import IntegrityError

from cordboard.auth.credentials import granted_by_vendor
from cordboard.auth.store import connections as connection_rows
from cordboard.auth.store import incidents as rows
from cordboard.auth.store import workspaces as workspace_rows
from cordboard.core.audit import Entry
from cordboard.core.caller import current_caller
from cordboard.core.errors import AlreadyExists, InvalidFields, NotFound, StateConflict
from cordboard.core.names import new_id

if TYPE_CHECKING:
    from cordboard.auth.revocations import Revocations
    from cordboard.auth.store.incidents import AlertRow, CutOffRow
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database

logger = logging.getLogger(__name__)

BATCH: Final = 200
LONGEST_REASON: Final = 500


@dataclass(frozen=True)
class Ended:
    """A cut-off, and what was done about it."""

    row: CutOffRow
    connections: int
    revocations: int = 0


class Incidents:
    """Cuts off and restores."""

    def __init__(self, database: Database, journal: Journal, revocations: Revocations) -> None:
        """Takes what asks vendors to revoke."""
        self._database = database
        self._journal = journal
        self._revocations = revocations

    async def cut_off(self, *, workspace: str, integration: str, everything: bool, reason: str, revoke: bool) -> Ended:
        """Cuts off; from the commit on nothing is leased, and every watcher is told.

        Raises InvalidFields, NotFound and AlreadyExists.
        """
        if everything == bool(workspace or integration):
            raise InvalidFields.one("everything", "must be set, or a workspace or an integration be named; not both")
        if not reason.strip() or len(reason) > LONGEST_REASON or not reason.isprintable():
            raise InvalidFields.one("reason", f"is required: one line of at most {LONGEST_REASON} characters")
        now = datetime.now(UTC)
        wish = rows.CutOffRow(new_id(), workspace, integration, reason, revoke, current_caller().actor, now, None)
        try:
            async with self._database.everywhere() as connection:
                if workspace and await workspace_rows.workspace(connection, workspace) is None:
                    raise NotFound(f"workspaces/{workspace}")
                row = await rows.add_cut_off(connection, wish)
                details = {"workspace": workspace, "integration": integration, "reason": reason, "revoke": revoke}
                await self._journal.append(connection, _entry("cut-off", row.id, details))
                count = await rows.cut(connection, workspace, integration)
        except IntegrityError:
            raise AlreadyExists("cutOffs/-", "this is cut off already") from None
        logger.warning("access is cut off", extra={"cut_off": row.id, "connections": count})
        return Ended(row, count, await self._revoke(row) if revoke else 0)

    async def restore(self, cut_off_id: str) -> Ended:
        """Ends a cut-off; raises NotFound, and StateConflict where it has ended."""
        name = f"cutOffs/{cut_off_id}"
        async with self._database.everywhere() as connection:
            row = await rows.find_cut_off(connection, cut_off_id)
            if row is None:
                raise NotFound(name)
            if row.restore_time is not None:
                raise StateConflict(name, "RESTORED", "this cut-off has ended already")
            row = await rows.end_cut_off(connection, cut_off_id)
            await self._journal.append(connection, _entry("restore", row.id, {}))
            count = await rows.bring_back(connection, row.workspace, row.integration)
        logger.warning("access is restored", extra={"cut_off": row.id, "connections": count})
        return Ended(row, count)

    async def cut_offs(self, *, before: str, limit: int) -> list[CutOffRow]:
        """Returns cut-offs, the newest first."""
        async with self._database.shared() as connection:
            return await rows.cut_offs(connection, before=before, limit=limit)

    async def alerts(self, *, before: str, limit: int) -> list[AlertRow]:
        """Returns alerts of mass reads, the newest first."""
        async with self._database.shared() as connection:
            return await rows.alerts(connection, before=before, limit=limit)

    async def _revoke(self, row: CutOffRow) -> int:
        # After the cut itself, in small pieces: what is cut off must not wait for this.
        after, count = ("", ""), 0
        while True:
            async with self._database.everywhere() as connection:
                found = await rows.revocable(connection, row.workspace, row.integration, after=after, limit=BATCH)
            if not found:
                break
            for workspace, connection_id in found:
                count += await self._queue(workspace, connection_id)
            after = found[-1]
        self._revocations.wake()
        return count

    async def _queue(self, workspace: str, connection_id: str) -> int:
        async with self._database.workspace(workspace) as connection:
            held = await connection_rows.held(connection, workspace, connection_id)
            if held is None or held.connection.problem != rows.CUT_OFF:
                return 0
            row = held.connection
            count = sum(map(granted_by_vendor, held.sealed))
            if count:
                await self._revocations.add(connection, row, row.generation, held.sealed)
                await rows.mark_queued(connection, workspace, connection_id)
        return count


def _entry(verb: str, cut_off_id: str, details: Mapping[str, object]) -> Entry:
    return Entry(action=f"auth.incident.{verb}", resource=f"cutOffs/{cut_off_id}", details=dict(details))
