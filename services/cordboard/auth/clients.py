"""Our OAuth clients at the vendors: the platform's for each integration, and workspaces' own; secrets in the vault."""

from __future__ import annotations

import re
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from cordboard.auth.assertions import KeyInvalid, client_assertion
from cordboard.auth.fields import visible_ascii
from cordboard.auth.oauth import Client
from cordboard.auth.store import clients as rows
from cordboard.auth.store import workspaces as workspace_rows
from cordboard.auth.vault import SYSTEM
from cordboard.core.audit import Entry
from cordboard.core.errors import InvalidFields, NotFound, Violation
from cordboard.core.ownership import ensure_usable

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.auth.definitions import Definition, Definitions
    from cordboard.auth.vault import Vault
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database
    from cordboard.core.secrets import Secret

LONGEST_SECRET: Final = 16_384
PLATFORM: Final = "platform"
WORKSPACE: Final = "workspace"
# The kinds of schemes that our own client is for; others have one of the customer's.
USED_WITH: Final = frozenset({"oauth2", "device"})
_FIELD: Final = "client_secret"
# A private key has several lines; any other secret has one.
_PEM: Final = re.compile(r"-----BEGIN [A-Z ]+-----\r?\n[A-Za-z0-9+/=\r\n]+-----END [A-Z ]+-----\s*")


@dataclass(frozen=True)
class OAuthClient:
    """What may be known of a client."""

    integration: str
    client_id: str
    redirect_uri: str
    update_time: datetime
    workspace: str = ""
    """Whose it is; empty: the platform's."""

    @property
    def name(self) -> str:
        """Returns its resource name."""
        return _name(self.integration, self.workspace)


@dataclass(frozen=True)
class OwnedClient:
    """A client with its secret, and whose it is."""

    client: Client
    owner: str
    """`platform` or `workspace`."""


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

    async def put(self, integration: str, client_id: str, secret: Secret[str], workspace: str = "") -> OAuthClient:
        """Sets an integration's client, the workspace's own where one is named.

        An empty secret makes it a public one. Raises InvalidFields and NotFound.
        """
        wrong = visible_ascii(client_id, "client_id", limit=1024)
        told = secret.reveal()
        if len(told) > LONGEST_SECRET or not (told.isprintable() or _PEM.fullmatch(told)):
            wrong.append(Violation("client_secret", f"must be at most {LONGEST_SECRET} printable characters"))
        if wrong:
            raise InvalidFields(wrong)
        if workspace:
            ensure_usable(integration, workspace)
        _check_key(await self._definitions.definition(integration), client_id, secret)
        drawer = await self._vault.drawer(workspace or SYSTEM)
        name = _name(integration, workspace)
        async with self._rows(workspace) as connection:
            if workspace and await workspace_rows.workspace(connection, workspace) is None:
                raise NotFound(f"workspaces/{workspace}")
            before = await rows.client(connection, integration, workspace, lock=True)
            revision = before.revision + 1 if before else 1
            sealed = drawer.seal(_resource(integration), _FIELD, revision, secret) if secret.reveal() else None
            row = await rows.put_client(connection, integration, client_id, revision, sealed, workspace)
            details = {"client_id": client_id, "revision": revision, "public": sealed is None}
            entry = Entry(action="auth.oauth-client.put", resource=name, workspace=workspace, details=details)
            await self._journal.append(connection, entry)
        return self._shown(row, workspace)

    async def drop(self, integration: str, workspace: str) -> None:
        """Deletes a workspace's own client; its connections connect again with the platform's. Raises NotFound."""
        name = _name(integration, workspace)
        async with self._rows(workspace) as connection:
            if not await rows.drop_client(connection, integration, workspace):
                raise NotFound(name)
            entry = Entry(action="auth.oauth-client.delete", resource=name, workspace=workspace)
            await self._journal.append(connection, entry)

    async def shown(self, integration: str, workspace: str = "") -> OAuthClient:
        """Returns an integration's client without its secret, the workspace's own where one is named.

        Raises NotFound.
        """
        async with self._rows(workspace) as connection:
            row = await rows.client(connection, integration, workspace)
        if row is None:
            raise NotFound(_name(integration, workspace))
        return self._shown(row, workspace)

    async def chosen(self, integration: str, workspace: str) -> OwnedClient | None:
        """Returns the client that a workspace connects with: its own, else the platform's; None when none is set."""
        own = await self._opened(integration, workspace)
        if own is not None:
            return OwnedClient(own, WORKSPACE)
        platform = await self._opened(integration, "")
        return None if platform is None else OwnedClient(platform, PLATFORM)

    async def client(self, integration: str, workspace: str, owner: str) -> Client | None:
        """Returns the client of one owner with its secret, or None when none is set (any more)."""
        return await self._opened(integration, workspace if owner == WORKSPACE else "")

    async def _opened(self, integration: str, workspace: str) -> Client | None:
        async with self._rows(workspace) as connection:
            row = await rows.client(connection, integration, workspace)
        if row is None:
            return None
        if row.sealed is None:
            return Client(row.client_id, None)
        drawer = await self._vault.drawer(workspace or SYSTEM)
        return Client(row.client_id, drawer.open(_resource(integration), _FIELD, row.revision, row.sealed))

    def _rows(self, workspace: str) -> AbstractAsyncContextManager[AsyncConnection]:
        return self._database.workspace(workspace) if workspace else self._database.shared()

    def _shown(self, row: rows.ClientRow, workspace: str) -> OAuthClient:
        return OAuthClient(row.integration, row.client_id, self._redirect_uri, row.update_time, workspace)


def _check_key(definition: Definition, client_id: str, secret: Secret[str]) -> None:
    parts = [part for scheme in definition.schemes.values() for part in scheme.parts if part.kind in USED_WITH]
    shown = {part.oauth.authentication for part in parts if part.oauth is not None}
    if shown != {"private_key_jwt"} or not secret.reveal():
        return
    try:
        client_assertion(client_id, secret, "")
    except KeyInvalid:
        text = "must be a private key, as PEM or as a JWK, of at least 2048 bits where it is RSA"
        raise InvalidFields([Violation("client_secret", text)]) from None


def _name(integration: str, workspace: str) -> str:
    name = f"integrations/{integration}/oauthClient"
    return f"workspaces/{workspace}/{name}" if workspace else name


def _resource(integration: str) -> str:
    return f"oauthClients/{integration}"
