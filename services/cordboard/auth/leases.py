"""Leases credentials to the Proxy, fresh ones, and hears from it which ones a vendor refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Final

from cordboard.auth.certificates import CERTIFICATE, PRIVATE_KEY
from cordboard.auth.configurations import Settings, secret_variable
from cordboard.auth.connections import Connection, connection_name
from cordboard.auth.credentials import resource
from cordboard.auth.envelope import Unreadable
from cordboard.auth.joined_reads import JoinedReads
from cordboard.auth.refresh import EXPIRED, TOO_OFTEN, UNREADABLE, Outcome, Refresher, Result
from cordboard.auth.roles import ASKING
from cordboard.auth.schemes import ACCESS_TOKEN, GRANTING, REFRESH_TOKEN, TOKEN_SECRET
from cordboard.auth.store import connections as rows
from cordboard.auth.store.incidents import CUT_OFF
from cordboard.core.audit import Entry
from cordboard.core.caller import current_caller
from cordboard.core.errors import DependencyUnavailable, NotFound, ReconnectRequired
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from cordboard.auth.clients import OAuthClients
    from cordboard.auth.configurations import Configurations
    from cordboard.auth.oauth import Client
    from cordboard.auth.reads import ReadWatch
    from cordboard.auth.store.connections import ConnectionRow, HeldRow
    from cordboard.auth.vault import Vault
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database

logger = logging.getLogger(__name__)

# So long before its end a token is not given away any more without a try to refresh it; less for short-lived ones.
MARGIN: Final = timedelta(seconds=30)
# How long a token is leased that is being refreshed in the background.
MEANWHILE: Final = timedelta(seconds=5)
# The fields that leave the vault, by the kind of a part, and those that must be there. A refresh token never does, and
# neither does what a token is asked for with.
_TOKEN: Final = (ACCESS_TOKEN,)
LEASED: Final[Mapping[str, tuple[str, ...]]] = {
    "oauth2": _TOKEN,
    "device": _TOKEN,
    "client_credentials": _TOKEN,
    "jwt_bearer": _TOKEN,
    "signed_jwt": _TOKEN,
    "session": _TOKEN,
    "oauth1": (ACCESS_TOKEN, TOKEN_SECRET),
    "api_key": ("api_key",),
    "basic": ("username", "password"),
    "digest": ("username", "password"),
    "bearer": ("token",),
    "aws_sigv4": ("access_key_id", "secret_access_key", "session_token"),
    "aws_role": _TOKEN,
    "mtls": (CERTIFICATE, PRIVATE_KEY),
    "none": (),
}
OPTIONAL: Final = frozenset({"session_token", TOKEN_SECRET})
CLIENT_UNSET: Final = "client_unset"
_GENERATION: Final = "generation"
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
class LeasedPart:
    """One part of a credential: its id in a combination, its kind, and its secrets by their names in it."""

    id: str
    kind: str
    secrets: Mapping[str, Secret[str]]
    client: Client | None = None
    """OAuth 1: the client whose secret signs with the token's."""
    fields: Mapping[str, Secret[str]] = field(default_factory=dict)
    """What a person typed in beside, by name."""


@dataclass(frozen=True)
class Lease:
    """A credential of one generation, and when to lease again; None: when the connection changes."""

    connection: Connection
    parts: tuple[LeasedPart, ...]
    expire_time: datetime | None
    good_for: timedelta | None = None
    """How long from now until then, by the database's clock."""
    settings: Settings = field(default_factory=Settings)
    """The variables of the integration: the connection's own, then the workspace's."""


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

    def __init__(  # one argument for each part of the service that a lease touches
        self,
        database: Database,
        vault: Vault,
        refresher: Refresher,
        clients: OAuthClients,
        configurations: Configurations,
        journal: Journal,
        watch: ReadWatch,
    ) -> None:
        """Takes what makes tokens fresh, what else a vendor has to be shown, and what watches for mass reads."""
        self._watch = watch
        self._database = database
        self._vault = vault
        self._refresher = refresher
        self._clients = clients
        self._configurations = configurations
        self._journal = journal
        # Without this a storm on one connection waits in line for the pool until the first give up.
        self._reads = JoinedReads(self._read)
        self._under_way = 0

    async def lease(self, workspace: str, connection_id: str) -> Lease:
        """Returns the current credential, refreshed first when it is about to expire.

        Raises NotFound, ReconnectRequired, and DependencyUnavailable where the token has expired and the vendor's token
        endpoint gives no other.
        """
        self._under_way += 1
        try:
            # In company a lease shares its read and its transaction with others, alone it is one statement.
            alone = self._under_way == 1
            return await self._lease(workspace, connection_id, alone=alone)
        finally:
            self._under_way -= 1

    async def _lease(self, workspace: str, connection_id: str, *, alone: bool) -> Lease:
        name = connection_name(workspace, connection_id)
        first = await self._written(workspace, connection_id) if alone else None
        while True:
            held, first = first or await self._held(workspace, connection_id), None
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

        Returns the generation that is current then, and whether the connection can be used; raises NotFound, and
        DependencyUnavailable while nobody knows whether it can be refreshed.
        """
        held = await self._held(workspace, connection_id)
        row = held.connection
        if row.generation == generation and row.state == rows.READY and row.refreshable:
            outcome = await asyncio.shield(self._refresher.start(held, forced=True))
            row = (await self._held(workspace, connection_id)).connection
            # A vendor that gave tokens and refused each of them will not take the next one either.
            refuses_all = outcome.problem == TOO_OFTEN and not row.failures
            unknown = outcome.result is Result.UNKNOWN and not refuses_all
            if unknown and row.generation == generation and row.state == rows.READY:
                raise DependencyUnavailable(TOKEN_ENDPOINT, outcome.retry_after)
        return row.generation, row.state == rows.READY

    async def accept(self, workspace: str, connection_id: str, generation: int) -> tuple[int, bool]:
        """Hears that the vendor accepted a generation: a connection that waited for that is verified.

        Returns the generation that is current then, and whether the connection can be used; raises NotFound.
        """
        row = (await self._held(workspace, connection_id)).connection
        if row.generation == generation and row.verification in ("pending", "failed"):
            async with self._database.workspace(workspace) as connection:
                if await rows.set_verification(connection, workspace, connection_id, generation, "passed"):
                    name = connection_name(workspace, connection_id)
                    entry = Entry(
                        action="auth.connection.verify",
                        resource=name,
                        workspace=workspace,
                        details={"generation": generation},
                    )
                    await self._journal.append(connection, entry)
                    await rows.record_change(connection, workspace, connection_id, generation)
        return row.generation, row.state == rows.READY

    async def _given_old(self, held: HeldRow, outcome: Outcome) -> Lease:
        row, expires = held.connection, held.connection.expire_time
        if outcome.problem == UNREADABLE:
            await self._tell_unreadable(row)
            raise ReconnectRequired(connection_name(row.workspace, row.id), UNREADABLE)
        now = (await self._held(row.workspace, row.id)).now
        if expires is None or expires <= now:
            raise DependencyUnavailable(TOKEN_ENDPOINT, outcome.retry_after)
        return await self._given(replace(held, now=now), min(now + timedelta(seconds=outcome.retry_after), expires))

    async def _held(self, workspace: str, connection_id: str) -> HeldRow:
        return self._usable(workspace, connection_id, await self._reads.get((workspace, connection_id)))

    async def _written(self, workspace: str, connection_id: str) -> HeldRow | None:
        entry = self._journal.halves(self._entry(workspace, connection_id, "ok"), _GENERATION)
        try:
            held = await rows.read_leased(self._database, workspace, connection_id, entry)
        except Exception:
            # Step by step it shows what is wrong, and who is to be told so.
            return None
        return self._usable(workspace, connection_id, held)

    @staticmethod
    def _usable(workspace: str, connection_id: str, held: HeldRow | None) -> HeldRow:
        if held is None:
            raise NotFound(connection_name(workspace, connection_id))
        if held.cut_off:
            # Also for what was connected since: while an incident lasts, nothing leaves.
            raise ReconnectRequired(connection_name(workspace, connection_id), CUT_OFF)
        return held

    async def _read(self, place: tuple[str, str]) -> HeldRow | None:
        return await rows.read_held(self._database, *place)

    async def _given(self, held: HeldRow, until: datetime | None) -> Lease:
        row = held.connection
        drawer = await self._vault.drawer(row.workspace)
        try:
            secrets = {
                name: drawer.open(resource(row.id), name, row.generation, record)
                for name, record in held.sealed.items()
                if not name.endswith(REFRESH_TOKEN)
            }
            parts = tuple([await self._part(row, *part, secrets) for part in row.parts or (("", row.kind),)])
            settings = await self._settings(held, secrets)
        except Unreadable:
            await self._tell_unreadable(row)
            raise ReconnectRequired(connection_name(row.workspace, row.id), UNREADABLE) from None
        if not held.written:
            # Before the secret leaves: what cannot be written down does not happen.
            await self._journal.append_batched(self._entry(row.workspace, row.id, "ok", row.generation))
        await self._watch.note(row.workspace, row.id, current_caller().subject)
        good_for = None if until is None else max(until - held.now, timedelta())
        return Lease(Connection.of(row), parts, until, good_for, settings)

    async def _part(self, row: ConnectionRow, part: str, kind: str, held: Mapping[str, Secret[str]]) -> LeasedPart:
        prefix = f"{part}." if part else ""
        names = LEASED[kind]
        missing = {name for name in names if name not in OPTIONAL and f"{prefix}{name}" not in held}
        # A definition can say a user name or a password itself, also by fields of its own: then nobody typed that in.
        if missing and (kind != "basic" or _of_another_kind(prefix, names, held)):
            raise Unreadable
        secrets = {name: held.get(f"{prefix}{name}", Secret("")) for name in names}
        # What a token is asked for with stays here.
        beside = {} if kind in GRANTING else _beside(prefix, names, held)
        if kind == "aws_role":
            # The region may be one of them, and the Proxy signs for it.
            beside = _beside(prefix, (*names, *ASKING), held)
        if kind != "oauth1":
            return LeasedPart(part, kind, secrets, fields=beside)
        client = await self._clients.client(row.integration, row.workspace, row.client_owner)
        if client is None:
            raise ReconnectRequired(connection_name(row.workspace, row.id), CLIENT_UNSET)
        return LeasedPart(part, kind, secrets, client, beside)

    async def _settings(self, held: HeldRow, secrets: Mapping[str, Secret[str]]) -> Settings:
        shared = Settings() if held.shared is None else await self._configurations.opened(held.shared)
        own = {name: secret for field, secret in secrets.items() if (name := secret_variable(field)) is not None}
        return Settings({**shared.values, **held.connection.configuration}, {**shared.secrets, **own})

    async def _tell_unreadable(self, row: ConnectionRow) -> None:
        logger.error("a sealed credential cannot be opened", extra={"workspace": row.workspace, "connection": row.id})
        await self._journal.append_batched(self._entry(row.workspace, row.id, "UNREADABLE", row.generation))

    @staticmethod
    def _entry(workspace: str, connection_id: str, outcome: str, generation: int = 0) -> Entry:
        return Entry(
            action="auth.credential.lease",
            resource=connection_name(workspace, connection_id),
            workspace=workspace,
            outcome=outcome,
            details={_GENERATION: generation},
        )


def _of_another_kind(prefix: str, names: tuple[str, ...], held: Mapping[str, Secret[str]]) -> bool:
    others = {name for each in LEASED.values() for name in each}.difference(names)
    return any(f"{prefix}{name}" in held for name in others)


def _beside(prefix: str, names: tuple[str, ...], held: Mapping[str, Secret[str]]) -> dict[str, Secret[str]]:
    own = {name.removeprefix(prefix): secret for name, secret in held.items() if name.startswith(prefix)}
    return {name: secret for name, secret in own.items() if name not in names and "." not in name}
