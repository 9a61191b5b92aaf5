"""Ends tokens before their time, and tells every service at once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cordboard.auth.fields import a_title
from cordboard.auth.store import api_keys as key_rows
from cordboard.auth.store import token_revocations as rows
from cordboard.auth.store.workspaces import workspace as workspace_row
from cordboard.auth.tokens import OPERATOR_PEER
from cordboard.core.audit import Entry
from cordboard.core.database import notify
from cordboard.core.errors import AccessDenied, DependencyUnavailable, InvalidFields, NotFound, Violation
from cordboard.core.revocations import Kind, Revoked, Signal, family
from cordboard.core.tokens import LEEWAY, MAX_LIFETIME

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.audit import Journal
    from cordboard.core.caller import Caller
    from cordboard.core.database import Changes, Database

REVOKE: Final = "cordboard.auth.v1.RevocationService/RevokeToken"
REVOKE_ALL: Final = "cordboard.auth.v1.RevocationService/RevokeAllTokens"
# A sign of life comes this often, in seconds.
ALIVE_EVERY: Final = 1.0
PAGE: Final = 500
_TOKEN_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,64}(\.[0-9A-Za-z_-]{1,64})?")


class TokenRevocations:
    """Revokes tokens, and streams what was revoked."""

    def __init__(self, database: Database, journal: Journal, changes: Changes, *, refresh_seconds: float) -> None:
        """Takes for how long a token can be refreshed: so long a revocation is remembered."""
        self._database = database
        self._journal = journal
        self._changes = changes
        self._remembered = timedelta(seconds=refresh_seconds + MAX_LIFETIME + LEEWAY)
        # Revocations have numbers without a gap: each waits for the one before. Here the wait takes no connection and
        # has no limit but the caller's deadline; in the database it would be refused after some seconds.
        self._turn = asyncio.Lock()

    async def revoke(self, token_id: str, workspace: str, reason: str, caller: Caller) -> rows.RevocationRow:
        """Revokes a token and its relatives; raises InvalidFields, NotFound and AccessDenied."""
        wrong = a_title(reason, "reason")
        if not _TOKEN_ID.fullmatch(token_id):
            wrong.append(Violation("name", "must be `tokens/{id}`, with the `jti` of a token"))
        if wrong:
            raise InvalidFields(wrong)
        if not _rules_all(caller):
            if workspace and workspace != caller.workspace:
                raise NotFound(f"workspaces/{workspace}")
            workspace = caller.workspace
            if "workspace-admin" not in caller.roles and family(token_id) != family(caller.token_id):
                raise AccessDenied(REVOKE, "only a workspace-admin revokes a token other than its own")
        details = {"token_id": family(token_id), "reason": reason}
        entry = Entry(
            action="auth.token.revoke",
            resource=f"tokens/{family(token_id)}",
            workspace=workspace,
            details=details,
        )
        async with self._turn, self._scope(workspace) as connection:
            row = await rows.add_revocation(
                connection,
                Kind.TOKEN.value,
                workspace=workspace,
                subject=family(token_id),
                reason=reason,
                actor=caller.actor,
                remembered=self._remembered,
            )
            await self._journal.append(connection, entry)
            await notify(connection, rows.CHANNEL)
        return row

    async def revoke_all(
        self, workspace: str, reason: str, caller: Caller, *, api_keys: bool = False
    ) -> rows.RevocationRow:
        """Revokes every token of a workspace, or of none; raises InvalidFields, NotFound and AccessDenied."""
        if wrong := a_title(reason, "reason"):
            raise InvalidFields(wrong)
        if not _rules_all(caller):
            if not workspace:
                raise AccessDenied(REVOKE_ALL, "only an operator revokes the tokens that belong to no workspace")
            if workspace != caller.workspace:
                raise NotFound(f"workspaces/{workspace}")
        named = f"workspaces/{workspace}" if workspace else "tokens"
        async with self._turn, self._scope(workspace) as connection:
            if workspace and await workspace_row(connection, workspace) is None:
                raise NotFound(named)
            row = await rows.add_revocation(
                connection, Kind.WORKSPACE.value, workspace=workspace, reason=reason, actor=caller.actor
            )
            gone = await key_rows.revoke_api_keys(connection, workspace) if api_keys and workspace else []
            for key in gone:
                await revoke_api_key(connection, key, reason=reason, actor=caller.actor)
            details = {"generation": row.generation, "reason": reason, "api_keys": [key.id for key in gone]}
            await self._journal.append(
                connection,
                Entry(action="auth.token.revoke-all", resource=named, workspace=workspace, details=details),
            )
            await notify(connection, rows.CHANNEL)
        return row

    async def revocations(self, *, before: int, limit: int) -> list[rows.RevocationRow]:
        """Returns up to `limit` revocations with a number below `before` (0: any), newest first."""
        async with self._database.shared() as connection:
            return await rows.revocations_before(connection, before, limit=limit)

    async def signals(self, after: int) -> AsyncIterator[Signal]:
        """Yields what was revoked after a number, and then a sign of life every second, without end.

        A second without an answer from the database is a second without a sign of life.
        """
        async with self._changes.subscription() as changes:
            while True:
                try:
                    found = await rows.revocations_after(self._database, after, limit=PAGE)
                except DependencyUnavailable:
                    await changes.wait(ALIVE_EVERY)
                    continue
                for row in found:
                    after = row.sequence
                    yield Signal(after, revoked(row))
                if len(found) < PAGE:
                    yield Signal(after)
                    await changes.wait(ALIVE_EVERY)

    def _scope(self, workspace: str) -> AbstractAsyncContextManager[AsyncConnection]:
        return self._database.workspace(workspace) if workspace else self._database.shared()


async def revoke_api_key(
    connection: AsyncConnection, key: key_rows.ApiKeyRow, *, reason: str, actor: str
) -> rows.RevocationRow:
    """Has every service refuse what a key was exchanged for, in the transaction that ends the key."""
    return await rows.add_revocation(
        connection,
        Kind.API_KEY.value,
        workspace=key.workspace,
        subject=key.id,
        reason=reason,
        actor=actor,
        # Tokens that were refreshed from it carry its id, and live no longer than any token.
        remembered=timedelta(seconds=MAX_LIFETIME + LEEWAY),
    )


def revoked(row: rows.RevocationRow) -> Revoked:
    """Returns a revocation as verifiers keep it."""
    expires = None if row.expire_time is None else row.expire_time.timestamp()
    return Revoked(Kind(row.kind), row.subject, row.workspace, row.generation, expires)


def _rules_all(caller: Caller) -> bool:
    return caller.is_operator or caller.peer == OPERATOR_PEER
