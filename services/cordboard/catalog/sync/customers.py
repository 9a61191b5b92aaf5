"""Learns from Auth whose the workspaces of edges are, so that rules which name other customers stay at the hub."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import grpc

from cordboard.auth.v1 import workspace_service_pb2 as auth
from cordboard.auth.v1.workspace_service_pb2_grpc import WorkspaceServiceStub
from cordboard.core.database import EVERYWHERE
from cordboard.core.errors import CordboardError

if TYPE_CHECKING:
    from collections.abc import Collection

    from cordboard.catalog.store import CatalogStore
    from cordboard.catalog.sync.customer_store import CustomerStore
    from cordboard.core.channel import Channels
    from cordboard.core.database import Changes
    from cordboard.core.times import Clock

logger = logging.getLogger(__name__)
PAUSE: Final = 1.0
TIMEOUT: Final = 5.0
RENEW_SECONDS: Final = 60.0


class Customers:
    """Keeps what is known of the workspaces of edges as Auth has it."""

    def __init__(
        self, channels: Channels, store: CustomerStore, catalog: CatalogStore, changes: Changes, clock: Clock
    ) -> None:
        """Takes the way to Auth, the tables, what tells of new edges, and the time."""
        self._channels = channels
        self._store = store
        self._catalog = catalog
        self._changes = changes
        self._clock = clock
        self._renewed: float | None = None
        self._absent: set[str] = set()

    async def run(self) -> None:
        """Asks for ever: for what is not known as soon as an edge has it, and for everything each minute."""
        async with self._changes.subscription() as woken:
            while True:
                pause = RENEW_SECONDS
                try:
                    await self.look()
                except (grpc.aio.AioRpcError, CordboardError) as error:
                    # What was known before holds.
                    logger.info("the customers of edges are not asked for", extra={"problem": type(error).__name__})
                    pause = PAUSE
                await woken.wait(pause)

    async def look(self) -> None:
        """Asks Auth for what is not known, or for everything when it is time; raises AioRpcError and
        DependencyUnavailable.
        """
        now = self._clock.monotonic()
        whole = self._renewed is None or now - self._renewed >= RENEW_SECONDS
        async with self._store.reading() as connection:
            served = await self._store.served(connection)
            known = await self._store.known(connection, served)
        asked = served if whole else [one for one in served if one not in known and one not in self._absent]
        found, absent = await self._ask(asked)
        if any(known.get(workspace) != customer for workspace, customer in found.items()) or absent & known.keys():
            await self._write(found, absent)
        self._absent = absent if whole else self._absent | absent
        if whole:
            self._renewed = now

    async def _ask(self, workspaces: Collection[str]) -> tuple[dict[str, str], set[str]]:
        """Returns the customers of workspaces, and the workspaces that there are none of."""
        found, absent = {}, set()
        for workspace in workspaces:
            stub = WorkspaceServiceStub(self._channels.to("auth"))
            try:
                answer: auth.Workspace = await stub.GetWorkspace(
                    auth.GetWorkspaceRequest(name=f"workspaces/{workspace}"), timeout=TIMEOUT
                )
                found[workspace] = answer.customer
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                absent.add(workspace)
        return found, absent

    async def _write(self, found: dict[str, str], absent: set[str]) -> None:
        async with self._catalog.writing(EVERYWHERE) as (connection, sequence):
            await self._store.put(connection, found)
            await self._store.forget(connection, absent)
            # In one transaction: an edge gets the rules for a customer of its own, and no longer those for another.
            await self._store.repeat_flags(connection, sequence)
