"""What a connect session comes to: a connection with its credential, in the vault and in the journal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cordboard.auth.connections import connection_name
from cordboard.auth.credentials import Material, digests
from cordboard.auth.store import connections as connection_rows
from cordboard.core.audit import Entry
from cordboard.core.errors import StateConflict
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.auth.definitions import Definition
    from cordboard.auth.oauth import Granted
    from cordboard.auth.schemes import Scheme
    from cordboard.auth.store.connections import ConnectionRow
    from cordboard.auth.store.sessions import SessionRow
    from cordboard.auth.vault import Drawer
    from cordboard.core.audit import Journal

Secrets = Mapping[str, Secret[str]]


@dataclass(frozen=True)
class Outcome:
    """What a session came to: the credential, what the vendor said with it, and whose client it was granted to."""

    definition: Definition
    scheme: Scheme
    material: Material
    granted: Granted | None
    owner: str

    @classmethod
    def of(cls, definition: Definition, scheme: Scheme, granted: Granted, inputs: Secrets, owner: str) -> Outcome:
        """Takes what a vendor gave, and what a person typed in."""
        return cls(definition, scheme, Material.of(scheme, granted, inputs), granted, owner)


class Outcomes:
    """Writes them down."""

    def __init__(self, journal: Journal) -> None:
        """Takes the journal, which has an entry for each."""
        self._journal = journal

    async def put(
        self, connection: AsyncConnection, drawer: Drawer, row: SessionRow, outcome: Outcome
    ) -> ConnectionRow:
        """Makes the connection, or gives the one that is there a new credential; raises StateConflict."""
        material, granted = outcome.material, outcome.granted
        scopes = row.scopes if granted is None or granted.scopes is None else granted.scopes
        known, highest = await connection_rows.lock_connection(connection, row.workspace, row.connection_id)
        name = connection_name(row.workspace, row.connection_id)
        if known is not None and known.integration != row.integration:
            raise StateConflict(name, "TAKEN", "a connection to another integration has taken this id")
        generation = highest + 1
        sealed = material.sealed(drawer, row.connection_id, generation)
        values = {
            "integration": row.integration,
            "auth_scheme": row.auth_scheme,
            "kind": row.kind,
            "environment": row.environment,
            "display_name": row.display_name,
            "scopes": list(scopes),
            "configuration": {**row.configuration, **(granted.configuration if granted is not None else {})},
            "generation": generation,
            "refreshable": material.refreshable,
            "parts": [[part.id, part.kind] for part in outcome.scheme.parts if part.id],
            "client_owner": outcome.owner,
            "verification": "pending" if outcome.definition.check_action else "none",
        }
        made = await connection_rows.put_connection(
            connection, row.workspace, row.connection_id, values, material.lifetime
        )
        await connection_rows.put_credential(connection, row.workspace, row.connection_id, generation, sealed)
        details = {
            "integration": row.integration,
            "auth_scheme": row.auth_scheme,
            "environment": row.environment,
            "scopes": list(scopes),
            "generation": generation,
            "sealed_sha256": digests(sealed),
        }
        entry = Entry(
            action="auth.connection.create" if known is None else "auth.connection.reconnect",
            resource=name,
            workspace=row.workspace,
            details=details,
            actor=row.actor,
        )
        await self._journal.append(connection, entry)
        await connection_rows.record_change(connection, row.workspace, row.connection_id, generation)
        return made
