"""Connections: shown fast, deleted, and watched."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from cordboard.auth.store import connections as rows
from cordboard.core.audit import Entry
from cordboard.core.errors import DependencyUnavailable, NotFound

if TYPE_CHECKING:
    from cordboard.auth.revocations import Revocations
    from cordboard.auth.store.connections import ChangeRow, ConnectionRow
    from cordboard.core.audit import Journal
    from cordboard.core.database import Changes, Database

logger = logging.getLogger(__name__)

CACHE_SIZE: Final = 20_000
CHANGES_AT_ONCE: Final = 500


@dataclass(frozen=True, eq=False)
class Connection:
    """A connection, without its credential. While it does not change, reading it gives the same object."""

    workspace: str
    id: str
    integration: str
    auth_scheme: str
    environment: str
    display_name: str
    ready: bool
    verification: str
    """What came of the definition's check call: `none` (it has none), `pending`, `passed` or `failed`."""
    problem: str
    expire_time: datetime | None
    generation: int
    scopes: tuple[str, ...]
    configuration: Mapping[str, str]
    create_time: datetime
    update_time: datetime

    @classmethod
    def of(cls, row: ConnectionRow) -> Connection:
        """Takes what the store has of it."""
        return cls(
            row.workspace,
            row.id,
            row.integration,
            row.auth_scheme,
            row.environment,
            row.display_name,
            row.state == rows.READY,
            row.verification,
            row.problem,
            row.expire_time,
            row.generation,
            row.scopes,
            row.configuration,
            row.create_time,
            row.update_time,
        )

    @property
    def name(self) -> str:
        """Returns its resource name."""
        return connection_name(self.workspace, self.id)


def connection_name(workspace: str, connection_id: str) -> str:
    """Returns the resource name of a connection."""
    return f"workspaces/{workspace}/connections/{connection_id}"


class Connections:
    """Shows connections and removes them."""

    def __init__(self, database: Database, journal: Journal, feed: Changes, revocations: Revocations) -> None:
        """Takes the feed that wakes when a connection changed, in whichever process."""
        self._database = database
        self._journal = journal
        self._feed = feed
        self._revocations = revocations
        self._cache: dict[tuple[str, str], Connection] = {}
        # Counts what was dropped, so that a read which began before is not kept.
        self._drops = 0

    async def connection(self, workspace: str, connection_id: str) -> Connection:
        """Returns a connection; raises NotFound."""
        found = self._cache.get((workspace, connection_id))
        return found if found is not None else await self._read(workspace, connection_id)

    async def _read(self, workspace: str, connection_id: str) -> Connection:
        drops = self._drops
        async with self._database.workspace(workspace) as connection:
            row = await rows.connection(connection, workspace, connection_id)
        if row is None:
            raise NotFound(connection_name(workspace, connection_id))
        found = Connection.of(row)
        if drops == self._drops:
            if len(self._cache) >= CACHE_SIZE:
                self._cache.clear()
            self._cache[workspace, connection_id] = found
        return found

    async def connections(self, workspace: str, *, integration: str, after: str, limit: int) -> list[Connection]:
        """Returns up to `limit` connections with an id above `after`, in order; at one integration where named."""
        async with self._database.workspace(workspace) as connection:
            found = await rows.connections(connection, workspace, integration=integration, after=after, limit=limit)
        return [Connection.of(row) for row in found]

    async def delete(self, workspace: str, connection_id: str) -> None:
        """Deletes a connection with its credential; it is revoked at the vendor afterwards. Raises NotFound."""
        name = connection_name(workspace, connection_id)
        async with self._database.workspace(workspace) as connection:
            row, _ = await rows.lock_connection(connection, workspace, connection_id)
            if row is None:
                raise NotFound(name)
            held = await rows.held(connection, workspace, connection_id)
            if held is not None:
                await self._revocations.add(connection, row, row.generation, held.sealed)
            await rows.drop_connection(connection, workspace, connection_id)
            details = {"integration": row.integration, "generation": row.generation}
            entry = Entry(action="auth.connection.delete", resource=name, workspace=workspace, details=details)
            await self._journal.append(connection, entry)
            await rows.record_change(connection, workspace, connection_id, 0)
        self.forget(workspace, connection_id)
        self._revocations.wake()

    def forget(self, workspace: str, connection_id: str) -> None:
        """Drops what is known of a connection that this process has changed."""
        self._drops += 1
        self._cache.pop((workspace, connection_id), None)

    async def follow(self) -> None:
        """Drops what is known of connections as they change, for ever."""
        last: int | None = None
        async with self._feed.subscription() as subscription:
            while True:
                try:
                    if last is None:
                        last = await self._head()
                        self._drops += 1
                        self._cache.clear()
                    for change in await self._after(last):
                        self.forget(change.workspace, change.connection_id)
                        last = change.sequence
                except DependencyUnavailable:
                    logger.warning("connections are not followed while the database is away")
                await subscription.wait()

    async def changes(self, after: int) -> AsyncIterator[ChangeRow]:
        """Yields the number from which it watches, then each change as it is committed.

        The first item has no connection. With `after` 0 it watches from now on.
        """
        async with self._feed.subscription() as subscription:
            head = await self._head()
            # A number that was never given out is of another database: what it knew is worth nothing.
            last = after if 0 < after <= head else head
            yield rows.ChangeRow("", "", last, 0)
            while True:
                found = await self._after(last)
                for change in found:
                    last = change.sequence
                    yield change
                if len(found) < CHANGES_AT_ONCE:
                    await subscription.wait()

    async def _head(self) -> int:
        async with self._database.shared() as connection:
            return await rows.head(connection)

    async def _after(self, last: int) -> list[ChangeRow]:
        async with self._database.everywhere() as connection:
            return await rows.changes(connection, after=last, limit=CHANGES_AT_ONCE)
