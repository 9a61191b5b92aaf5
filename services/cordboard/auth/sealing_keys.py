"""Keys under which other services seal what they keep of tenants: in the vault, so that they rotate and are shredded.

A sealing key is a secret of its workspace like any other. Rotations wrap it anew and leave it as it is, so that what
another service sealed stays readable; shredding the workspace makes it unreadable, and all that was sealed with it.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cordboard.auth.envelope import Unreadable
from cordboard.auth.store import sealing_keys as rows
from cordboard.auth.store import workspaces as workspace_rows
from cordboard.auth.vault import RESTORE_SECONDS
from cordboard.core.audit import Entry
from cordboard.core.caller import current_caller
from cordboard.core.errors import DependencyUnavailable, NotFound
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from cordboard.auth.vault import Vault
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database

KEY_BYTES: Final = 32
# How long a key is the newest. Older ones open what was sealed with them.
LIFETIME: Final = timedelta(days=90)


@dataclass(frozen=True)
class SealingKey:
    """A key and its number."""

    number: int
    key: Secret[bytes]


class SealingKeys:
    """Leases sealing keys to the services that seal with them."""

    def __init__(self, database: Database, vault: Vault, journal: Journal) -> None:
        """Takes the vault that keeps them."""
        self._database = database
        self._vault = vault
        self._journal = journal

    async def lease(self, workspace: str, number: int) -> SealingKey:
        """Returns the calling service's key of this number in a workspace, or the newest (0).

        Raises NotFound, StateConflict where the workspace was shredded, and DependencyUnavailable.
        """
        name, service = f"workspaces/{workspace}", current_caller().peer
        async with self._database.workspace(workspace) as connection:
            known = await workspace_rows.workspace(connection, workspace) is not None
        if not known:
            raise NotFound(name)
        drawer = await self._vault.drawer(workspace)
        async with self._database.workspace(workspace) as connection:
            row = await rows.sealing_key(connection, workspace, service, number)
            if row is None and number:
                raise NotFound(f"{name}/sealingKeys/{number}")
            if row is None or (not number and row.age > LIFETIME):
                version = 1 if row is None else row.version + 1
                fresh = Secret(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode())
                sealed = drawer.seal(f"sealingKeys/{service}", "key", version, fresh)
                # Two that make it at once agree on the one that came first.
                await rows.add_sealing_key(connection, workspace, service, version, sealed)
                row = await rows.sealing_key(connection, workspace, service, version)
                if row is None:
                    raise NotFound(f"{name}/sealingKeys/{version}")
            try:
                key = drawer.open(f"sealingKeys/{service}", "key", row.version, row.sealed)
            except Unreadable:
                # Not the caller's to mend: an operator has to bring a key back.
                raise DependencyUnavailable("vault", RESTORE_SECONDS) from None
            entry = Entry(
                "auth.sealing-key.lease", name, workspace=workspace, details={"service": service, "number": row.version}
            )
            await self._journal.append(connection, entry)
        return SealingKey(row.version, Secret(base64.b64decode(key.reveal())))
