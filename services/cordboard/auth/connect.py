"""Connecting: sessions that end in a connection, in every way to authenticate that a definition can declare.

A session waits for values that a person types in, for a person whom the vendor sends back, or for a person who allows a
device. Whatever comes first is used once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cordboard.auth.clients import PLATFORM, OwnedClient
from cordboard.auth.connect_session import (
    SESSION_SECONDS,
    Ended,
    Return,
    Session,
    check_waiting,
    session_name,
    session_resource,
    shown,
)
from cordboard.auth.connections import Connection
from cordboard.auth.consents import Consents
from cordboard.auth.credentials import Material
from cordboard.auth.envelope import Unreadable
from cordboard.auth.forms import ends, typed
from cordboard.auth.oauth import (
    Client,
    Granted,
    Refused,
    state_hash,
)
from cordboard.auth.outcomes import Outcome, Outcomes
from cordboard.auth.roles import as_asked
from cordboard.auth.schemes import EXTERNAL_ID, GRANTING
from cordboard.auth.store import connections as connection_rows
from cordboard.auth.store import sessions as rows
from cordboard.auth.store import workspaces as workspace_rows
from cordboard.auth.store.connections import Lifetime
from cordboard.auth.wishes import Secrets, Wish, settled, wished_inputs
from cordboard.common.v1 import error_reason_pb2 as reasons
from cordboard.core.audit import Entry
from cordboard.core.errors import CordboardError, InvalidFields, NotFound, OAuthFailed, StateConflict, Violation
from cordboard.core.names import new_id
from cordboard.core.ownership import ensure_usable
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from cordboard.auth.connections import Connections
    from cordboard.auth.definitions import Definition
    from cordboard.auth.grants import Grants
    from cordboard.auth.oauth import TokenEndpoints
    from cordboard.auth.oauth1 import OAuth1Endpoints
    from cordboard.auth.relay import Relay
    from cordboard.auth.schemes import Scheme
    from cordboard.auth.store.connections import ConnectionRow
    from cordboard.auth.store.sessions import SessionRow
    from cordboard.auth.vault import Drawer, Vault
    from cordboard.auth.ways import Ways
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database

# What a session keeps for its end: a PKCE verifier, a device's code, or a request token with its secret.
_VERIFIER: Final = "code_verifier"
_INPUTS: Final = "inputs"


@dataclass(frozen=True)
class Vendors:
    """The ways to ask vendors."""

    endpoints: TokenEndpoints
    oauth1: OAuth1Endpoints
    grants: Grants


class Connect:
    """Runs connect sessions."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        ways: Ways,
        vendors: Vendors,
        connections: Connections,
        journal: Journal,
        relay: Relay,
        *,
        redirect_uri: str,
    ) -> None:
        """Takes the redirect URI that every vendor must know, and what makes states that come back from there."""
        self._relay = relay
        self._consents = Consents(vendors, redirect_uri=redirect_uri)
        self._outcomes = Outcomes(journal)
        self._database = database
        self._vault = vault
        self._definitions = ways.definitions
        self._clients = ways.clients
        self._configurations = ways.configurations
        self._vendors = vendors
        self._connections = connections
        self._journal = journal
        self._finishing: set[asyncio.Task[Ended]] = set()

    async def begin(self, wish: Wish, *, environment: str, actor: str) -> Session:
        """Makes a session of ten minutes; `environment` is the caller's own, for a wish that names none.

        Raises NotFound (workspace, integration, scheme), InvalidFields, StateConflict without an OAuth client, and
        OAuthFailed where the vendor has to be asked first and does not give what it should.
        """
        ensure_usable(wish.integration, wish.workspace)
        definition = await self._definitions.definition(wish.integration)
        scheme = definition.scheme(wish.auth_scheme)
        known = await self._known(wish)
        elsewhere = await self._set_elsewhere(wish, definition, scheme)
        values = settled(wish, known, environment, definition, scheme, elsewhere)
        session_id = new_id()
        inputs = wished_inputs(wish, scheme)
        drawer = await self._vault.drawer(wish.workspace)
        if inputs:
            text = json.dumps({name: secret.reveal() for name, secret in inputs.items()})
            values["inputs"] = drawer.seal(session_resource(session_id), _INPUTS, 1, Secret(text))
        if wish.browser.reveal():
            values["browser_hash"] = state_hash(wish.browser.reveal())
        if not scheme.interactive:
            return shown(await self._added(session_id, values, actor))
        owned = await self._client(wish.integration, wish.workspace, scheme)
        values["client_owner"] = owned.owner
        scheme = await self._filled(wish.workspace, wish.integration, scheme, values["configuration"], inputs)
        if scheme.active.kind == "device":
            return await self._begun_device(session_id, values, actor, scheme, owned.client, drawer)
        state = self._relay.state()
        values["state_hash"] = state_hash(state.reveal())
        url, kept = await self._consents.begun(scheme, owned.client, state, tuple(values["scopes"]))
        values["verifier"] = drawer.seal(session_resource(session_id), _VERIFIER, 1, kept)
        return shown(await self._added(session_id, values, actor), Secret(url))

    async def _begun_device(
        self,
        session_id: str,
        values: dict[str, Any],
        actor: str,
        scheme: Scheme,
        client: Client,
        drawer: Drawer,
    ) -> Session:
        if scheme.oauth is None:
            raise OAuthFailed("unsupported")
        device = await self._vendors.endpoints.device(scheme.oauth, client, tuple(values["scopes"]))
        if isinstance(device, Refused):
            raise OAuthFailed(device.problem)
        values |= {
            "verifier": drawer.seal(session_resource(session_id), _VERIFIER, 1, device.code),
            "user_code": device.user_code,
            "verification_uri": device.verification_uri,
            "verification_uri_complete": device.verification_uri_complete,
            "poll_seconds": device.interval,
        }
        seconds = min(device.seconds, SESSION_SECONDS)
        return shown(await self._added(session_id, values, actor, seconds=seconds, poll_after=device.interval))

    async def session(self, workspace: str, session_id: str) -> Session:
        """Returns a session; raises NotFound."""
        async with self._database.workspace(workspace) as connection:
            row = await rows.session(connection, workspace, session_id)
        if row is None:
            raise NotFound(session_name(workspace, session_id))
        return shown(row)

    async def submit(self, workspace: str, session_id: str, values: Mapping[str, Any]) -> Connection:
        """Makes the connection of a session with what a person typed in, and asks the vendor for a token with it.

        Raises NotFound, StateConflict (it has ended, or waits for something else), InvalidFields with every value that
        is wrong, and OAuthFailed where the vendor gives no token for them; they can be given again then.
        """
        name = session_name(workspace, session_id)
        drawer = await self._vault.drawer(workspace)
        async with self._database.workspace(workspace) as connection:
            row = await rows.session(connection, workspace, session_id)
        check_waiting(row, name)
        if row is None:
            raise NotFound(name)
        definition = await self._definitions.definition(row.integration)
        scheme = definition.scheme(row.auth_scheme)
        if scheme.interactive:
            text = "this scheme takes its values when the session begins: send the person to its URL"
            raise StateConflict(name, shown(row).state.name, text)
        inputs = {**self._kept_inputs(drawer, row), **typed(scheme, values)}
        filled = await self._filled(workspace, row.integration, scheme, row.configuration, inputs)
        material, granted, owner = await self._material(row, filled, inputs)
        async with self._database.workspace(workspace) as connection:
            row = await rows.session(connection, workspace, session_id, lock=True)
            check_waiting(row, name)
            if row is None:
                raise NotFound(name)
            made = await self._outcomes.put(
                connection, drawer, row, Outcome(definition, scheme, material, granted, owner)
            )
            await rows.end_session(connection, workspace, session_id, state="connected")
        self._connections.forget(workspace, made.id)
        return Connection.of(made)

    async def _material(self, row: SessionRow, scheme: Scheme, inputs: Secrets) -> tuple[Material, Granted | None, str]:
        part = scheme.active
        if part.kind not in GRANTING:
            return Material(inputs, Lifetime(ends(scheme, inputs))), None, PLATFORM
        owned = await self._clients.chosen(row.integration, row.workspace)
        own = await self._configurations.values(
            row.workspace, row.integration, row.configuration, scheme.of(part, inputs)
        )
        if part.kind == "aws_role":
            asked = as_asked(own, row.workspace, PLATFORM if owned is None else owned.owner)
            if EXTERNAL_ID in own and own[EXTERNAL_ID].reveal() != asked[EXTERNAL_ID].reveal():
                text = "is the workspace's name where our own key asks for the role: leave it out"
                raise InvalidFields([Violation(f"values.{part.key(EXTERNAL_ID)}", text)])
            own = asked
        granted = await self._vendors.grants.granted(part, own, None if owned is None else owned.client, row.scopes)
        if isinstance(granted, Refused):
            raise OAuthFailed(granted.problem)
        return Material.of(scheme, granted, inputs), granted, PLATFORM if owned is None else owned.owner

    def _kept_inputs(self, drawer: Drawer, row: SessionRow) -> dict[str, Secret[str]]:
        if row.inputs is None:
            return {}
        found = json.loads(drawer.open(session_resource(row.id), _INPUTS, 1, row.inputs).reveal())
        return {name: Secret(value) for name, value in found.items()}

    async def poll(self, row: SessionRow) -> Refused | None:
        """Asks the vendor of a session whether a person has allowed the device; None: the connection is made.

        Raises what the database, the vault or the Catalog raises.
        """
        definition = await self._definitions.definition(row.integration)
        scheme = definition.scheme(row.auth_scheme)
        client = await self._clients.client(row.integration, row.workspace, row.client_owner)
        if scheme.oauth is None or client is None or row.verifier is None:
            return Refused("client_unset")
        drawer = await self._vault.drawer(row.workspace)
        try:
            code = drawer.open(session_resource(row.id), _VERIFIER, 1, row.verifier)
            inputs = self._kept_inputs(drawer, row)
        except Unreadable:
            return Refused("unreadable")
        scheme = await self._filled(row.workspace, row.integration, scheme, row.configuration, inputs)
        if scheme.oauth is None:
            return Refused("unsupported")
        granted = await self._vendors.endpoints.poll(scheme.oauth, client, code)
        if isinstance(granted, Refused):
            return granted
        await self._complete(row, drawer, Outcome.of(definition, scheme, granted, inputs, row.client_owner))
        return None

    async def fail(self, row: SessionRow, problem: str) -> None:
        """Ends a session that came to nothing."""
        await self._failed(row, problem)

    async def finish(self, back: Return) -> Ended:
        """Ends the session that a vendor sent the person back for: exchanges the code, and makes the connection.

        Raises OAuthFailed for a state that no session waits for: unknown, used before, or too old.
        """
        # A task of the service: a browser that goes away must not leave a code exchanged and nothing stored.
        task = asyncio.create_task(self._finish(back))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Waits until the sessions that are being finished have ended."""
        await asyncio.gather(*self._finishing, return_exceptions=True)

    async def _finish(self, back: Return) -> Ended:
        async with self._database.everywhere() as connection:
            row = await rows.claim_session(connection, state_hash(back.state.reveal()))
        if row is None:
            raise OAuthFailed("state")
        title, name = row.integration, session_name(row.workspace, row.id)
        try:
            definition = await self._definitions.definition(row.integration)
            title = definition.title
            await self._connected(row, definition, back)
        except OAuthFailed as error:
            problem = error.metadata["problem"]
        except Unreadable:
            problem = "unreadable"
        except CordboardError as error:
            problem = reasons.ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_").lower()
        else:
            return Ended(title, "", name, row.return_url, row.origin, row.link_id)
        await self._failed(row, problem)
        return Ended(title, problem, name, row.return_url, row.origin, row.link_id)

    async def _connected(self, row: SessionRow, definition: Definition, back: Return) -> None:
        scheme = definition.scheme(row.auth_scheme)
        # The browser that was sent out is the one that comes back: nobody can finish what another one began.
        if row.browser_hash is not None and state_hash(back.browser.reveal()) != row.browser_hash:
            raise OAuthFailed("browser")
        client = await self._clients.client(row.integration, row.workspace, row.client_owner)
        if client is None or row.verifier is None:
            raise OAuthFailed("client_unset")
        drawer = await self._vault.drawer(row.workspace)
        kept = drawer.open(session_resource(row.id), _VERIFIER, 1, row.verifier)
        inputs = self._kept_inputs(drawer, row)
        scheme = await self._filled(row.workspace, row.integration, scheme, row.configuration, inputs)
        material, granted = await self._consents.ended(scheme, client, kept, back, inputs)
        await self._complete(row, drawer, Outcome(definition, scheme, material, granted, row.client_owner))

    async def _complete(self, row: SessionRow, drawer: Drawer, outcome: Outcome) -> None:
        async with self._database.workspace(row.workspace) as connection:
            now = await rows.session(connection, row.workspace, row.id, lock=True)
            if now is None or now.state != row.state:
                raise OAuthFailed("session_ended")
            made = await self._outcomes.put(connection, drawer, row, outcome)
            await rows.end_session(connection, row.workspace, row.id, state="connected")
        self._connections.forget(row.workspace, made.id)

    async def _failed(self, row: SessionRow, problem: str) -> None:
        async with self._database.workspace(row.workspace) as connection:
            await rows.end_session(connection, row.workspace, row.id, state="failed", error=problem)
            entry = Entry(
                action="auth.connect-session.fail",
                resource=session_name(row.workspace, row.id),
                workspace=row.workspace,
                outcome="OAUTH_FAILED",
                details={"integration": row.integration, "problem": problem},
                actor=row.actor,
            )
            await self._journal.append(connection, entry)

    async def _known(self, wish: Wish) -> ConnectionRow | None:
        async with self._database.workspace(wish.workspace) as connection:
            if await workspace_rows.workspace(connection, wish.workspace) is None:
                raise NotFound(f"workspaces/{wish.workspace}")
            if not wish.connection_id:
                return None
            return await connection_rows.connection(connection, wish.workspace, wish.connection_id)

    async def _set_elsewhere(self, wish: Wish, definition: Definition, scheme: Scheme) -> set[str]:
        """Returns the variables that nobody has to give, where some have to be given."""
        if not definition.required:
            return set()
        shared = await self._configurations.settings(wish.workspace, wish.integration)
        told = scheme.oauth.response.configuration if scheme.oauth is not None else {}
        return {*shared.values, *shared.secrets, *told}

    async def _filled(
        self, workspace: str, integration: str, scheme: Scheme, configuration: Mapping[str, str], own: Secrets
    ) -> Scheme:
        filled = scheme.filled(await self._configurations.values(workspace, integration, configuration, own))
        missing = filled.unfilled
        if missing:
            text = "is required: the vendor's address has it"
            raise InvalidFields([Violation(f"configuration.{name}", text, "REQUIRED") for name in missing])
        return filled

    async def _client(self, integration: str, workspace: str, scheme: Scheme) -> OwnedClient:
        client = await self._clients.chosen(integration, workspace)
        if client is not None and client.owner == PLATFORM and scheme.host_is_chosen:
            # Whoever chooses the host would be sent the platform's secret.
            name = f"workspaces/{workspace}/integrations/{integration}/oauthClient"
            raise StateConflict(name, "UNSET", "the vendor's host is the workspace's choice: it needs its own client")
        if client is None:
            name = f"integrations/{integration}/oauthClient"
            raise StateConflict(name, "UNSET", "an operator has to set the OAuth client of this integration first")
        return client

    async def _added(
        self,
        session_id: str,
        values: Mapping[str, Any],
        actor: str,
        *,
        seconds: int = SESSION_SECONDS,
        poll_after: int | None = None,
    ) -> SessionRow:
        workspace = values["workspace_id"]
        async with self._database.workspace(workspace) as connection:
            row = await rows.add_session(
                connection,
                {**values, "session_id": session_id, "actor": actor},
                seconds=seconds,
                poll_after=poll_after,
            )
            details = {
                "integration": row.integration,
                "auth_scheme": row.auth_scheme,
                "connection": row.connection_id,
                "scopes": list(row.scopes),
            }
            entry = Entry(
                action="auth.connect-session.create",
                resource=session_name(workspace, session_id),
                workspace=workspace,
                details=details,
                # Whoever opens a link has no name: it is the link's maker who connects.
                actor=actor,
            )
            await self._journal.append(connection, entry)
        return row
