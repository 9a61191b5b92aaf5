"""Our OAuth clients at the vendors: one for each integration, its secret in the vault."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from cordboard.auth.fields import visible_ascii
from cordboard.auth.oauth import Client
from cordboard.auth.store import clients as rows
from cordboard.auth.vault import SYSTEM
from cordboard.core.audit import Entry
from cordboard.core.errors import InvalidFields, NotFound, Violation

if TYPE_CHECKING:
    from cordboard.auth.definitions import Definitions
    from cordboard.auth.vault import Vault
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database
    from cordboard.core.secrets import Secret

LONGEST_SECRET: Final = 4096
_FIELD: Final = "client_secret"


@dataclass(frozen=True)
class OAuthClient:
    """What may be known of a client."""

    integration: str
    client_id: str
    redirect_uri: str
    update_time: datetime


class OAuthClients:
    """Keeps the clients."""

    def __init__(
        self, database: Database, vault: Vault, definitions: Definitions, journal: Journal, *, redirect_uri: str
    ) -> None:
        """Takes the redirect URI that every vendor must know."""
        self._database = database
        self._vault = vault
        self._definitions = definitions
        self._journal = journal
        self._redirect_uri = redirect_uri

    async def put(self, integration: str, client_id: str, secret: Secret[str]) -> OAuthClient:
        """Sets an integration's client; an empty secret makes it a public one. Raises InvalidFields and NotFound."""
        wrong = visible_ascii(client_id, "client_id", limit=1024)
        if len(secret.reveal()) > LONGEST_SECRET or not secret.reveal().isprintable():
            wrong.append(Violation("client_secret", f"must be at most {LONGEST_SECRET} printable characters"))
        if wrong:
            raise InvalidFields(wrong)
        await self._definitions.definition(integration)
        drawer = await self._vault.drawer(SYSTEM)
        name = _name(integration)
        async with self._database.shared() as connection:
            before = await rows.client(connection, integration, lock=True)
            revision = before.revision + 1 if before else 1
            sealed = drawer.seal(_resource(integration), _FIELD, revision, secret) if secret.reveal() else None
            row = await rows.put_client(connection, integration, client_id, revision, sealed)
            details = {"client_id": client_id, "revision": revision, "public": sealed is None}
            await self._journal.append(
                connection, Entry(action="auth.oauth-client.put", resource=name, details=details)
            )
        return self._shown(row)

    async def shown(self, integration: str) -> OAuthClient:
        """Returns an integration's client without its secret; raises NotFound."""
        async with self._database.shared() as connection:
            row = await rows.client(connection, integration)
        if row is None:
            raise NotFound(_name(integration))
        return self._shown(row)

    async def client(self, integration: str) -> Client | None:
        """Returns an integration's client with its secret, or None when none is set."""
        async with self._database.shared() as connection:
            row = await rows.client(connection, integration)
        if row is None:
            return None
        if row.sealed is None:
            return Client(row.client_id, None)
        drawer = await self._vault.drawer(SYSTEM)
        return Client(row.client_id, drawer.open(_resource(integration), _FIELD, row.revision, row.sealed))

    def _shown(self, row: rows.ClientRow) -> OAuthClient:
        return OAuthClient(row.integration, row.client_id, self._redirect_uri, row.update_time)


def _name(integration: str) -> str:
    return f"integrations/{integration}/oauthClient"


def _resource(integration: str) -> str:
    return f"oauthClients/{integration}"
