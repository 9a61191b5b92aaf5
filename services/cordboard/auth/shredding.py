"""Crypto-shredding: the key of a workspace is destroyed, and with it everything that was ever sealed under it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from cordboard.auth.store import incidents as rows
from cordboard.auth.store import workspaces as workspace_rows
from cordboard.core.audit import Entry
from cordboard.core.caller import current_caller
from cordboard.core.errors import InvalidFields, NotFound, StateConflict

if TYPE_CHECKING:
    from cordboard.auth.vault import Vault
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database

logger = logging.getLogger(__name__)

LONGEST_REASON: Final = 500
_PENDING: Final = text("SELECT count(*) FROM revocation WHERE workspace_id = :workspace")
_REST: Final = (
    text("DELETE FROM connect_session WHERE workspace_id = :workspace"),
    text("DELETE FROM connect_link WHERE workspace_id = :workspace"),
    text("DELETE FROM revocation WHERE workspace_id = :workspace"),
    text("DELETE FROM sealing_key WHERE workspace_id = :workspace"),
)
_KEYS: Final = text("DELETE FROM workspace_key WHERE workspace_id = :workspace RETURNING key_id")
_NOTE: Final = text(
    "INSERT INTO shredded_workspace (workspace, reason, actor) VALUES (:workspace, :reason, :actor) "
    "ON CONFLICT DO NOTHING RETURNING workspace"
)


@dataclass(frozen=True)
class Shredded:
    """What was destroyed."""

    keys: int
    connections: int


class Shredder:
    """Destroys workspaces' keys."""

    def __init__(self, database: Database, vault: Vault, journal: Journal) -> None:
        """Takes the vault, which forgets them at once; other processes forget them within a second."""
        self._database = database
        self._vault = vault
        self._journal = journal

    async def shred(self, workspace: str, *, reason: str, force: bool) -> Shredded:
        """Destroys a workspace's keys and removes its connections. There is no way back.

        Raises InvalidFields, NotFound, and StateConflict where it was done already, or where revocations at vendors
        are still to be made and it is not forced.
        """
        if not reason.strip() or len(reason) > LONGEST_REASON or not reason.isprintable():
            raise InvalidFields.one("reason", f"is required: one line of at most {LONGEST_REASON} characters")
        name, values = f"workspaces/{workspace}", {"workspace": workspace}
        async with self._database.everywhere() as connection:
            if await workspace_rows.workspace(connection, workspace, lock=True) is None:
                raise NotFound(name)
            pending = (await connection.execute(_PENDING, values)).scalar_one()
            if pending and not force:
                raise StateConflict(name, "REVOKING", f"{pending} revocations at vendors are still to be made")
            note = {**values, "reason": reason, "actor": current_caller().actor}
            if (await connection.execute(_NOTE, note)).one_or_none() is None:
                raise StateConflict(name, "SHREDDED", "the keys of this workspace were destroyed already")
            keys = [row[0] for row in await connection.execute(_KEYS, values)]
            for statement in _REST:
                await connection.execute(statement, values)
            details = {"keys": keys, "reason": reason, "abandoned_revocations": pending}
            await self._journal.append(
                connection, Entry("auth.workspace.shred", name, workspace=workspace, details=details)
            )
            removed = await rows.remove_all(connection, workspace)
        self._vault.forget(workspace)
        logger.warning("a workspace was shredded", extra={"workspace": workspace, "keys": len(keys)})
        return Shredded(len(keys), removed)
