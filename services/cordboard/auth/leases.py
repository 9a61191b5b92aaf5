"""Leases credentials to the Proxy, fresh ones, and hears from it which ones a vendor refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Final

from cordboard.auth.connections import Connection, connection_name
from cordboard.auth.credentials import ACCESS_TOKEN, REFRESH_TOKEN, resource
from cordboard.auth.envelope import Unreadable
from cordboard.auth.refresh import EXPIRED, UNREADABLE, Outcome, Refresher, Result
from cordboard.auth.store import connections as rows
from cordboard.core.audit import Entry
from cordboard.core.errors import DependencyUnavailable, NotFound, ReconnectRequired

if TYPE_CHECKING:
    from cordboard.auth.store.connections import ConnectionRow, HeldRow
    from cordboard.auth.vault import Vault
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database
    from cordboard.core.secrets import Secret

logger = logging.getLogger(__name__)

# So long before its end a token is not given away any more without a try to refresh it; less for short-lived ones.
MARGIN: Final = timedelta(seconds=30)
# How long a token is leased that is being refreshed in the background.
MEANWHILE: Final = timedelta(seconds=5)
# The fields that leave the vault, by the kind of the scheme. A refresh token never does.
LEASED: Final[Mapping[str, tuple[str, ...]]] = {
    "oauth2": (ACCESS_TOKEN,),
    "api_key": ("api_key",),
    "basic": ("username", "password"),
    "bearer": ("token",),
    "none": (),
}
TOKEN_ENDPOINT: Final = "token-endpoint"  # noqa: S105 - the name of a dependency


class Step(Enum):
    """What to do with a credential that somebody asks for."""

    GIVE = "give"
    RENEW = "renew"
    """Give it, and refresh it in the background."""
    REFRESH = "refresh"
    """Refresh it, and give the new one."""
    WAIT = "wait"
    """It has ended, and it is too early for another try to refresh it."""
    END = "end"
    """It has ended, and nothing can refresh it."""


@dataclass(frozen=True)
class Plan:
    """What to do, and until when it holds; None: until the connection changes."""

    step: Step
    until: datetime | None = None


@dataclass(frozen=True)
class Lease:
    """A credential of one generation, and when to lease again; None: when the connection changes."""

    connection: Connection
    kind: str
    secrets: Mapping[str, Secret[str]]
    expire_time: datetime | None


def plan(row: ConnectionRow, now: datetime) -> Plan:
    """Returns what to do with a ready connection's credential at a time of the database's clock."""
    if row.expire_time is None:
        return Plan(Step.GIVE)
    if not row.refreshable or row.refresh_time is None:
        return Plan(Step.GIVE, row.expire_time) if now < row.expire_time else Plan(Step.END)
    if now < row.refresh_time:
        return Plan(Step.GIVE, row.refresh_time)
    last = row.expire_time - min(MARGIN, (row.expire_time - row.refresh_time) / 2)
    if row.retry_time is not None and now < row.retry_time:
        pause_ends = min(row.retry_time, row.expire_time)
        return Plan(Step.GIVE, pause_ends) if now < row.expire_time else Plan(Step.WAIT, row.retry_time)
    return Plan(Step.RENEW, min(now + MEANWHILE, last)) if now < last else Plan(Step.REFRESH)


class Leases:
    """Gives credentials away, to the Proxy only, and writes each time into the journal."""

    def __init__(self, database: Database, vault: Vault, refresher: Refresher, journal: Journal) -> None:
        """Takes what makes tokens fresh."""
        self._database = database
        self._vault = vault
        self._refresher = refresher
        self._journal = journal

    async def lease(self, workspace: str, connection_id: str) -> Lease:
        """Returns the current credential, refreshed first when it is about to expire.

        Raises NotFound, ReconnectRequired, and DependencyUnavailable where the token has expired and the vendor's token
        endpoint gives no other.
        """
        name = connection_name(workspace, connection_id)
        while True:
            held = await self._held(workspace, connection_id)
            row, now = held.connection, held.now
            if row.state != rows.READY:
                raise ReconnectRequired(name, row.problem)
            planned = plan(row, now)
            if planned.step is Step.END:
                await self._refresher.expire(row)
                raise ReconnectRequired(name, EXPIRED)
            if planned.step is Step.WAIT and planned.until is not None:
                raise DependencyUnavailable(TOKEN_ENDPOINT, (planned.until - now).total_seconds())
            if planned.step is Step.RENEW:
                self._refresher.start(held)
            if planned.step is not Step.REFRESH:
                return await self._given(held, planned.until)
            # The task is everybody's: a caller who goes away does not end it for the others.
            outcome = await asyncio.shield(self._refresher.start(held))
            if outcome.result is Result.UNKNOWN:
                return await self._given_old(held, outcome)

    async def report(self, workspace: str, connection_id: str, generation: int) -> tuple[int, bool]:
        """Hears that the vendor refused a generation, and refreshes it when it is the current one and can be.

        Returns the generation that is current then, and whether the connection can be used; raises NotFound.
        """
        held = await self._held(workspace, connection_id)
        row = held.connection
        if row.generation == generation and row.state == rows.READY and REFRESH_TOKEN in held.sealed:
            await asyncio.shield(self._refresher.start(held, forced=True))
            row = (await self._held(workspace, connection_id)).connection
        return row.generation, row.state == rows.READY

    async def _given_old(self, held: HeldRow, outcome: Outcome) -> Lease:
        row, expires = held.connection, held.connection.expire_time
        if outcome.problem == UNREADABLE:
            await self._tell_unreadable(row)
            raise ReconnectRequired(connection_name(row.workspace, row.id), UNREADABLE)
        now = (await self._held(row.workspace, row.id)).now
        if expires is None or expires <= now:
            raise DependencyUnavailable(TOKEN_ENDPOINT, outcome.retry_after)
        return await self._given(held, min(now + timedelta(seconds=outcome.retry_after), expires))

    async def _held(self, workspace: str, connection_id: str) -> HeldRow:
        async with self._database.workspace(workspace) as connection:
            held = await rows.held(connection, workspace, connection_id)
        if held is None:
            raise NotFound(connection_name(workspace, connection_id))
        return held

    async def _given(self, held: HeldRow, until: datetime | None) -> Lease:
        row = held.connection
        drawer = await self._vault.drawer(row.workspace)
        try:
            if any(field not in held.sealed for field in LEASED[row.kind]):
                raise Unreadable
            secrets = {
                field: drawer.open(resource(row.id), field, row.generation, held.sealed[field])
                for field in LEASED[row.kind]
            }
        except Unreadable:
            await self._tell_unreadable(row)
            raise ReconnectRequired(connection_name(row.workspace, row.id), UNREADABLE) from None
        # Before the secret leaves: what cannot be written down does not happen.
        await self._journal.append_batched(self._entry(row, "ok"))
        return Lease(Connection.of(row), row.kind, secrets, until)

    async def _tell_unreadable(self, row: ConnectionRow) -> None:
        logger.error("a sealed credential cannot be opened", extra={"workspace": row.workspace, "connection": row.id})
        await self._journal.append_batched(self._entry(row, "UNREADABLE"))

    @staticmethod
    def _entry(row: ConnectionRow, outcome: str) -> Entry:
        return Entry(
            action="auth.credential.lease",
            resource=connection_name(row.workspace, row.id),
            workspace=row.workspace,
            outcome=outcome,
            details={"generation": row.generation},
        )
