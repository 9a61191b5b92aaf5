"""Renews credentials: once, whoever asks, however many ask, in however many processes.

Inside a process those who want the same refresh share one task. Between processes a lease in the connection's row says
who may ask the vendor. No database connection is held meanwhile, and the outcome is written only while the generation
is still the one that was refreshed: who lost its lease cannot overwrite what a newer one wrote.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from opentelemetry.trace import Status, StatusCode

from cordboard.auth.connections import connection_name
from cordboard.auth.credentials import Material, digests, granted_by_vendor, resource
from cordboard.auth.envelope import Unreadable
from cordboard.auth.oauth import Refused
from cordboard.auth.roles import as_asked
from cordboard.auth.schemes import INTERACTIVE
from cordboard.auth.store import connections as rows
from cordboard.core.audit import Entry
from cordboard.core.errors import CordboardError, NotFound
from cordboard.core.telemetry import INTEGRATION, REFRESH_PROBLEM, span

if TYPE_CHECKING:
    from cordboard.auth.grants import Grants
    from cordboard.auth.oauth import Client, Granted
    from cordboard.auth.revocations import Revocations
    from cordboard.auth.schemes import Scheme
    from cordboard.auth.store.connections import ConnectionRow, HeldRow
    from cordboard.auth.vault import Vault
    from cordboard.auth.ways import Ways
    from cordboard.core.audit import Journal
    from cordboard.core.database import Changes, Database
    from cordboard.core.measures import Histogram, Measures
    from cordboard.core.secrets import Secret

logger = logging.getLogger(__name__)

LEASE_SECONDS: Final = 10.0
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 300.0
# Forced refreshes, after a vendor refused a token before its time: six in a row, then one in ten seconds.
FORCED_SPACING: Final = 10.0
FORCED_BURST: Final = 6
WRITE_ATTEMPTS: Final = 5
EXPIRED: Final = "expired"
UNREADABLE: Final = "unreadable"
# The vendor refused a refresh token after an attempt whose answer never came: it may have been used up then.
AMBIGUOUS: Final = "ambiguous_rotation"
TOO_OFTEN: Final = "too_often"
WAITING: Final = "waiting"
_LOST: Final = frozenset({"timeout", "unreachable", "answer_unreadable", "answer_too_large", "answer_invalid"})


class Result(Enum):
    """What came of a refresh."""

    FRESH = "fresh"
    """There is a newer generation."""
    REJECTED = "rejected"
    """The vendor says that the grant is over: a person has to connect again."""
    UNKNOWN = "unknown"
    """Nobody knows; the old token may still do."""


@dataclass(frozen=True)
class Outcome:
    """What came of a refresh, why, and when to try again."""

    result: Result
    problem: str = ""
    retry_after: float = FIRST_PAUSE


@dataclass(frozen=True)
class _Way:
    """How to renew one credential, and what is held of it."""

    scheme: Scheme
    client: Client | None
    secrets: Mapping[str, Secret[str]]
    values: Mapping[str, Secret[str]]


def refresh_durations(measures: Measures) -> Histogram:
    """Returns the measure of refreshes, in seconds."""
    return measures.histogram("cordboard.refresh.duration", "s", (INTEGRATION, "error.type"))


class Refresher:
    """Refreshes the credentials of connections."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        ways: Ways,
        grants: Grants,
        revocations: Revocations,
        journal: Journal,
        feed: Changes,
        durations: Histogram,
    ) -> None:
        """Takes what it needs to ask a vendor, the feed that wakes when a connection changed, and what counts."""
        self._database = database
        self._vault = vault
        self._definitions = ways.definitions
        self._clients = ways.clients
        self._configurations = ways.configurations
        self._grants = grants
        self._revocations = revocations
        self._journal = journal
        self._feed = feed
        self._durations = durations
        self._flights: dict[tuple[str, str, int], asyncio.Task[Outcome]] = {}

    def start(self, held: HeldRow, *, forced: bool = False) -> asyncio.Task[Outcome]:
        """Returns the task that refreshes this generation, which is the one under way where there is one.

        Its outcome belongs to everybody: who stops waiting for it leaves it running.
        """
        row = held.connection
        key = (row.workspace, row.id, row.generation)
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._refresh(held, forced=forced))
            self._flights[key] = flight
            began = time.monotonic()
            flight.add_done_callback(lambda task: self._landed(key, row.integration, began, task))
        return flight

    async def close(self) -> None:
        """Waits until what is under way has been written."""
        await asyncio.gather(*self._flights.values(), return_exceptions=True)

    def _landed(self, key: tuple[str, str, int], integration: str, began: float, task: asyncio.Task[Outcome]) -> None:
        self._flights.pop(key, None)
        if not task.cancelled():
            outcome = "" if task.exception() is not None else task.result().result.name.lower()
            problem = "" if outcome == Result.FRESH.name.lower() else outcome or "fault"
            self._durations.record(time.monotonic() - began, (integration, problem))
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, CordboardError):
            logger.error("a refresh failed unforeseen", extra={"problem": type(error).__name__})

    async def _refresh(self, held: HeldRow, *, forced: bool) -> Outcome:
        row = held.connection
        with span("refresh", cordboard_integration=row.integration, cordboard_workspace=row.workspace) as opened:
            outcome = await self._refreshed(held, forced=forced)
            if outcome.problem:
                opened.set_attribute(REFRESH_PROBLEM, outcome.problem)
            # One that only waits for its time says nothing that the one before did not: that one is to be found.
            if outcome.result is not Result.FRESH and outcome.problem not in (WAITING, TOO_OFTEN):
                opened.set_attribute("error.type", outcome.problem or outcome.result.name.lower())
                opened.set_status(Status(StatusCode.ERROR))
            return outcome

    async def _refreshed(self, held: HeldRow, *, forced: bool) -> Outcome:
        row = held.connection
        try:
            scheme, client = await self._way(row)
            drawer = await self._vault.drawer(row.workspace)
            secrets = {
                field: drawer.open(resource(row.id), field, row.generation, record)
                for field, record in held.sealed.items()
            }
            values = await self._configurations.values(row.workspace, row.integration, row.configuration, secrets)
        except Unreadable:
            return Outcome(Result.UNKNOWN, UNREADABLE)
        except CordboardError as error:
            return Outcome(Result.UNKNOWN, type(error).__name__, error.retry_after or FIRST_PAUSE)
        owner = os.urandom(12).hex()
        decided = await self._claim(row, owner, forced=forced)
        if decided is not None:
            return decided
        way = _Way(scheme.filled(values), client, secrets, values)
        return await self._ask(row, owner, way)

    async def _way(self, row: ConnectionRow) -> tuple[Scheme, Client | None]:
        scheme = (await self._definitions.definition(row.integration)).scheme(row.auth_scheme)
        client = await self._clients.client(row.integration, row.workspace, row.client_owner)
        if client is None and scheme.active.kind in INTERACTIVE:
            raise NotFound(f"integrations/{row.integration}/oauthClient")
        return scheme, client

    async def _claim(self, row: ConnectionRow, owner: str, *, forced: bool) -> Outcome | None:
        """Returns None once `owner` has the lease, or the outcome where there is nothing left to refresh."""
        async with self._feed.subscription() as changed:
            while True:
                async with self._database.workspace(row.workspace) as connection:
                    taken = await rows.take_lease(
                        connection,
                        row.workspace,
                        row.id,
                        row.generation,
                        owner=owner,
                        seconds=LEASE_SECONDS,
                        forced=rows.Forced(FORCED_SPACING, FORCED_BURST) if forced else None,
                    )
                    held = None if taken else await rows.held(connection, row.workspace, row.id)
                if taken:
                    return None
                if held is None:
                    raise NotFound(connection_name(row.workspace, row.id))
                now, found = held.now, held.connection
                if found.generation != row.generation:
                    return Outcome(Result.FRESH)
                if found.state != rows.READY:
                    return Outcome(Result.REJECTED, found.problem)
                if found.retry_time is not None and found.retry_time > now:
                    return Outcome(Result.UNKNOWN, WAITING, (found.retry_time - now).total_seconds())
                if found.lease_until is None or found.lease_until <= now:
                    # The lease is free and was not given: too many forced refreshes, or it ended this very moment.
                    if forced:
                        return Outcome(Result.UNKNOWN, TOO_OFTEN, FORCED_SPACING)
                    continue
                # Somebody else asks the vendor: its outcome shows in the row.
                await changed.wait(random.uniform(0.025, 0.05))  # noqa: S311 - it spreads load and hides nothing

    async def _ask(self, row: ConnectionRow, owner: str, way: _Way) -> Outcome:
        part = way.scheme.active
        values: Mapping[str, Secret[str]] = {**way.values, **way.scheme.of(part, way.secrets)}
        if part.kind == "aws_role":
            values = as_asked(values, row.workspace, row.client_owner)
        answer = await self._grants.renewed(part, values, way.client, row.scopes)
        for attempt in range(WRITE_ATTEMPTS):
            try:
                if not isinstance(answer, Refused):
                    return await self._advance(row, way.scheme, way.secrets, answer)
                if answer.over:
                    return await self._reject(row, AMBIGUOUS if row.ambiguous else answer.problem)
                grace = part.oauth.grace_seconds if part.oauth is not None else None
                return await self._back_off(row, owner, answer, grace)
            except CordboardError:
                # What the vendor gave exists nowhere else yet.
                logger.warning("the outcome of a refresh is not written yet", extra={"attempt": attempt})
                await asyncio.sleep(0.2 * 2**attempt)
        return Outcome(Result.UNKNOWN, "not_written")

    async def _advance(
        self, row: ConnectionRow, scheme: Scheme, secrets: Mapping[str, Secret[str]], granted: Granted
    ) -> Outcome:
        drawer = await self._vault.drawer(row.workspace)
        kept = {name: secret for name, secret in secrets.items() if not granted_by_vendor(name)}
        material, generation = Material.of(scheme, granted, kept), row.generation + 1
        sealed = material.sealed(drawer, row.id, generation)
        async with self._database.workspace(row.workspace) as connection:
            if not await rows.advance(
                connection,
                row.workspace,
                row.id,
                row.generation,
                material.lifetime,
                granted.scopes,
                granted.configuration,
            ):
                # A newer credential won, and stays. Where the connection is gone, what we were given must go too.
                if await rows.connection(connection, row.workspace, row.id) is None:
                    await self._revocations.add(connection, row, generation, sealed)
                return Outcome(Result.FRESH)
            await rows.put_credential(connection, row.workspace, row.id, generation, sealed)
            details = {"generation": generation, "sealed_sha256": digests(sealed)}
            await self._journal.append(connection, self._entry(row, "ok", details))
            await rows.record_change(connection, row.workspace, row.id, generation)
        return Outcome(Result.FRESH)

    async def _reject(self, row: ConnectionRow, problem: str) -> Outcome:
        async with self._database.workspace(row.workspace) as connection:
            if not await rows.require_reconnect(connection, row.workspace, row.id, row.generation, problem):
                return Outcome(Result.FRESH)
            details = {"generation": row.generation, "problem": problem}
            await self._journal.append(connection, self._entry(row, "RECONNECT_REQUIRED", details))
            await rows.record_change(connection, row.workspace, row.id, row.generation)
        return Outcome(Result.REJECTED, problem)

    async def _back_off(self, row: ConnectionRow, owner: str, refused: Refused, grace: int | None) -> Outcome:
        # Nobody knows whether the vendor has used a rotating token up: the next refusal is read in that light.
        lost = refused.problem in _LOST or refused.problem.startswith("http_5")
        longest = min(FIRST_PAUSE * 2 ** min(row.failures, 10), LONGEST_PAUSE)
        if lost and grace is not None:
            # It may have: then the token is good for no longer than this.
            longest = min(longest, grace / 2)
        pause = max(longest * random.uniform(0.5, 1), refused.retry_after or 0)  # noqa: S311 - it spreads load
        async with self._database.workspace(row.workspace) as connection:
            await rows.back_off(connection, row.workspace, row.id, owner=owner, seconds=pause, ambiguous=lost)
            details = {"generation": row.generation, "problem": refused.problem}
            await self._journal.append(connection, self._entry(row, "UNKNOWN", details))
        logger.warning(
            "a token was not refreshed",
            extra={"workspace": row.workspace, "integration": row.integration, "problem": refused.problem},
        )
        return Outcome(Result.UNKNOWN, refused.problem, pause)

    async def expire(self, row: ConnectionRow) -> None:
        """Says that a token without a refresh token has ended."""
        await self._reject(row, EXPIRED)

    @staticmethod
    def _entry(row: ConnectionRow, outcome: str, details: dict[str, object]) -> Entry:
        return Entry(
            action="auth.credential.refresh",
            resource=connection_name(row.workspace, row.id),
            workspace=row.workspace,
            outcome=outcome,
            details=details,
        )
