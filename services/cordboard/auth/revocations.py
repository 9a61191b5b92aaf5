"""Revokes tokens at the vendors (RFC 7009) after their connections are gone, until it is done or given up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from cordboard.auth.credentials import granted_by_vendor, resource
from cordboard.auth.envelope import Unreadable
from cordboard.auth.oauth import Client, Revocation
from cordboard.auth.schemes import CLIENT_ID, CLIENT_SECRET
from cordboard.auth.store import revocations as rows
from cordboard.core.audit import Entry
from cordboard.core.errors import CordboardError, NotFound
from cordboard.core.names import new_id
from cordboard.core.telemetry import span

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.auth.oauth import TokenEndpoints
    from cordboard.auth.store.connections import ConnectionRow
    from cordboard.auth.vault import Drawer, Vault
    from cordboard.auth.ways import Ways
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database

logger = logging.getLogger(__name__)

FIRST_PAUSE: Final = 5.0
LONGEST_PAUSE: Final = 3600.0
# With the pauses above, somewhat more than a day.
MOST_ATTEMPTS: Final = 34
LOOK_EVERY: Final = 5.0


class Revocations:
    """The tokens that are still to be revoked, in the database: a restart forgets none."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        ways: Ways,
        endpoints: TokenEndpoints,
        journal: Journal,
    ) -> None:
        """Takes what it needs to ask a vendor."""
        self._database = database
        self._vault = vault
        self._definitions = ways.definitions
        self._clients = ways.clients
        self._configurations = ways.configurations
        self._endpoints = endpoints
        self._journal = journal
        self._wanted = asyncio.Event()

    async def add(
        self, connection: AsyncConnection, of: ConnectionRow, generation: int, sealed: Mapping[str, bytes]
    ) -> None:
        """Adds the tokens among the sealed fields of a connection, in the transaction that ends their use."""
        for field in sorted(filter(granted_by_vendor, sealed), reverse=True):
            prefix, dot, _ = field.rpartition(".")
            row = rows.RevocationRow(
                of.workspace,
                new_id(),
                of.integration,
                of.auth_scheme,
                of.id,
                generation,
                field,
                sealed[field],
                0,
                of.client_owner,
                sealed.get(f"{prefix}{dot}{CLIENT_ID}"),
                sealed.get(f"{prefix}{dot}{CLIENT_SECRET}"),
                of.configuration,
            )
            await rows.add_revocation(connection, row)

    def wake(self) -> None:
        """Has what was added looked at now."""
        self._wanted.set()

    async def run(self) -> None:
        """Revokes what is due, for ever."""
        while True:
            try:
                while await self.step():
                    pass
            except CordboardError as error:
                logger.warning("nothing is revoked now", extra={"problem": type(error).__name__})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._wanted.wait()
            self._wanted.clear()

    async def step(self) -> bool:
        """Tries one token that is due; tells whether there was one."""
        async with self._database.everywhere() as connection:
            row = await rows.claim_revocation(connection, first=FIRST_PAUSE, longest=LONGEST_PAUSE)
        if row is None:
            return False
        with span("job revoke", cordboard_integration=row.integration, cordboard_workspace=row.workspace):
            outcome = await self._revoked(row)
            if outcome == Revocation.UNKNOWN.value and row.attempts < MOST_ATTEMPTS:
                return True
            async with self._database.workspace(row.workspace) as connection:
                await rows.drop_revocation(connection, row.workspace, row.id)
                entry = Entry(
                    action="auth.credential.revoke",
                    resource=f"workspaces/{row.workspace}/connections/{row.connection_id}",
                    workspace=row.workspace,
                    outcome="ok" if outcome == Revocation.DONE.value else outcome,
                    details={"field": row.field, "generation": row.generation, "attempts": row.attempts},
                    actor="peer:auth",
                )
                await self._journal.append(connection, entry)
        return True

    async def _revoked(self, row: rows.RevocationRow) -> str:
        try:
            definition = await self._definitions.definition(row.integration)
            values = await self._configurations.values(row.workspace, row.integration, row.configuration or {}, {})
            oauth = definition.scheme(row.auth_scheme).filled(values).oauth
            # Where a name still stands there is no address: its value went with the connection.
            if oauth is None or not oauth.revocation_url or "{" in oauth.revocation_url:
                return "unsupported"
            drawer = await self._vault.drawer(row.workspace)
            client = await self._client(row, drawer)
            if client is None:
                return "unsupported"
            token = drawer.open(resource(row.connection_id), row.field, row.generation, row.sealed)
        except NotFound:
            return "unsupported"
        except Unreadable:
            logger.error("a token that is to be revoked cannot be opened", extra={"workspace": row.workspace})
            return "unreadable"
        except CordboardError:
            return Revocation.UNKNOWN.value
        return (await self._endpoints.revoke(oauth, client, token, row.field.rpartition(".")[2])).value

    async def _client(self, row: rows.RevocationRow, drawer: Drawer) -> Client | None:
        if row.client_id is None:
            return await self._clients.client(row.integration, row.workspace, row.client_owner)
        prefix = row.field.rpartition(".")[0]
        owner, dot = resource(row.connection_id), "." if prefix else ""
        client_id = drawer.open(owner, f"{prefix}{dot}{CLIENT_ID}", row.generation, row.client_id)
        if row.client_secret is None:
            return Client(client_id.reveal(), None)
        secret = drawer.open(owner, f"{prefix}{dot}{CLIENT_SECRET}", row.generation, row.client_secret)
        return Client(client_id.reveal(), secret)
