"""Connecting: sessions that end in a connection, by OAuth code with PKCE or with values that a person types in."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from cordboard.auth.connections import Connection, connection_name
from cordboard.auth.credentials import Material, digests
from cordboard.auth.envelope import Unreadable
from cordboard.auth.fields import a_title, an_id
from cordboard.auth.oauth import Client, authorization_url, error_code, is_scope, new_secret, state_hash
from cordboard.auth.store import connections as connection_rows
from cordboard.auth.store import sessions as rows
from cordboard.auth.store import workspaces as workspace_rows
from cordboard.common.v1 import error_reason_pb2 as reasons
from cordboard.core.audit import Entry
from cordboard.core.errors import CordboardError, InvalidFields, NotFound, OAuthFailed, StateConflict, Violation
from cordboard.core.names import new_id
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.auth.clients import OAuthClients
    from cordboard.auth.connections import Connections
    from cordboard.auth.definitions import Definition, Definitions, Scheme
    from cordboard.auth.oauth import TokenEndpoints
    from cordboard.auth.store.connections import ConnectionRow
    from cordboard.auth.store.sessions import SessionRow
    from cordboard.auth.vault import Drawer, Vault
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database

SESSION_SECONDS: Final = 600
LONGEST_VALUE: Final = 4096
_VERIFIER: Final = "code_verifier"
# What a person types in for each kind of scheme, and whether it may be empty: some vendors take a key for the user
# name, and no password.
FORMS: Final[Mapping[str, Mapping[str, bool]]] = {
    "api_key": {"api_key": False},
    "basic": {"username": False, "password": True},
    "bearer": {"token": False},
    "none": {},
}


class State(Enum):
    """How far a session is."""

    PENDING = "pending"
    CONNECTED = "connected"
    FAILED = "failed"
    EXPIRED = "expired"


@dataclass(frozen=True)
class Wish:
    """What somebody wants to connect. Empty text stands for what was not said."""

    workspace: str
    integration: str
    auth_scheme: str = ""
    environment: str = ""
    connection_id: str = ""
    display_name: str = ""
    scopes: tuple[str, ...] = ()
    configuration: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Session:
    """One attempt to connect."""

    workspace: str
    id: str
    integration: str
    auth_scheme: str
    environment: str
    state: State
    connection: str
    error: str
    expire_time: datetime
    authorization_url: Secret[str] | None = None
    """Known when the session is made and never again: of the state in it only a hash is kept."""


@dataclass(frozen=True)
class Return:
    """What the vendor sent the person back with (RFC 6749 section 4.1.2, RFC 9207)."""

    state: Secret[str]
    code: Secret[str]
    issuer: str
    error: str


@dataclass(frozen=True)
class Ended:
    """What came of a return: the integration's title, and the problem where there was one."""

    title: str
    problem: str


class Connect:
    """Runs connect sessions."""

    def __init__(  # one argument for each part of the service that connecting touches
        self,
        database: Database,
        vault: Vault,
        definitions: Definitions,
        clients: OAuthClients,
        endpoints: TokenEndpoints,
        connections: Connections,
        journal: Journal,
        *,
        redirect_uri: str,
    ) -> None:
        """Takes the redirect URI that every vendor must know."""
        self._database = database
        self._vault = vault
        self._definitions = definitions
        self._clients = clients
        self._endpoints = endpoints
        self._connections = connections
        self._journal = journal
        self._redirect_uri = redirect_uri
        self._finishing: set[asyncio.Task[Ended]] = set()

    async def begin(self, wish: Wish, *, environment: str, actor: str) -> Session:
        """Makes a session of ten minutes; `environment` is the caller's own, for a wish that names none.

        Raises NotFound (workspace, integration, scheme), InvalidFields, and StateConflict without an OAuth client.
        """
        definition = await self._definitions.definition(wish.integration)
        scheme = definition.scheme(wish.auth_scheme)
        known = await self._known(wish)
        values = _settled(wish, known, environment, definition, scheme)
        client = await self._client(wish.integration) if scheme.oauth is not None else None
        session_id = new_id()
        if client is None or scheme.oauth is None:
            return _shown(await self._added(session_id, values, actor))
        state, verifier = new_secret(), new_secret()
        drawer = await self._vault.drawer(wish.workspace)
        values |= {
            "state_hash": state_hash(state.reveal()),
            "verifier": drawer.seal(_resource(session_id), _VERIFIER, 1, verifier),
        }
        row = await self._added(session_id, values, actor)
        url = authorization_url(
            scheme.oauth,
            client,
            redirect_uri=self._redirect_uri,
            state=state,
            verifier=verifier,
            scopes=row.scopes,
        )
        return _shown(row, Secret(url))

    async def session(self, workspace: str, session_id: str) -> Session:
        """Returns a session; raises NotFound."""
        async with self._database.workspace(workspace) as connection:
            row = await rows.session(connection, workspace, session_id)
        if row is None:
            raise NotFound(_name(workspace, session_id))
        return _shown(row)

    async def submit(self, workspace: str, session_id: str, values: Mapping[str, Any]) -> Connection:
        """Makes the connection of a session with what a person typed in.

        Raises NotFound, StateConflict (it has ended, or is OAuth's), and InvalidFields with every value that is wrong.
        """
        name = _name(workspace, session_id)
        drawer = await self._vault.drawer(workspace)
        async with self._database.workspace(workspace) as connection:
            row = await rows.session(connection, workspace, session_id, lock=True)
            if row is None:
                raise NotFound(name)
            state = _shown(row).state
            if state is not State.PENDING:
                raise StateConflict(name, state.name, "this connect session has ended: begin another one")
            if row.kind not in FORMS:
                raise StateConflict(name, state.name, "this scheme takes no values: send the person to its URL")
            material = Material(_typed(row.kind, values))
            made = await self._put(connection, drawer, row, material, row.scopes)
            await rows.end_session(connection, workspace, session_id, state="connected")
        self._connections.forget(workspace, made.id)
        return Connection.of(made)

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
        title = row.integration
        try:
            definition = await self._definitions.definition(row.integration)
            title = definition.title
            await self._connected(row, definition.scheme(row.auth_scheme), back)
        except OAuthFailed as error:
            problem = error.metadata["problem"]
        except Unreadable:
            problem = "unreadable"
        except CordboardError as error:
            problem = reasons.ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_").lower()
        else:
            return Ended(title, "")
        await self._failed(row, problem)
        return Ended(title, problem)

    async def _connected(self, row: SessionRow, scheme: Scheme, back: Return) -> None:
        client = await self._clients.client(row.integration)
        if scheme.oauth is None or client is None or row.verifier is None:
            raise OAuthFailed("client_unset")
        # Before anything else is believed: a code from another server must not reach this one (RFC 9207 section 2.4).
        if scheme.oauth.issuer and back.issuer != scheme.oauth.issuer:
            raise OAuthFailed("issuer")
        if back.error:
            raise OAuthFailed(error_code(back.error))
        if not back.code.reveal():
            raise OAuthFailed("code_missing")
        drawer = await self._vault.drawer(row.workspace)
        verifier = drawer.open(_resource(row.id), _VERIFIER, 1, row.verifier)
        granted = await self._endpoints.exchange(
            scheme.oauth, client, code=back.code.reveal(), verifier=verifier, redirect_uri=self._redirect_uri
        )
        scopes = row.scopes if granted.scopes is None else granted.scopes
        async with self._database.workspace(row.workspace) as connection:
            made = await self._put(connection, drawer, row, Material.of(granted), scopes)
            await rows.end_session(connection, row.workspace, row.id, state="connected")
        self._connections.forget(row.workspace, made.id)

    async def _failed(self, row: SessionRow, problem: str) -> None:
        async with self._database.workspace(row.workspace) as connection:
            await rows.end_session(connection, row.workspace, row.id, state="failed", error=problem)
            entry = Entry(
                action="auth.connect-session.fail",
                resource=_name(row.workspace, row.id),
                workspace=row.workspace,
                outcome="OAUTH_FAILED",
                details={"integration": row.integration, "problem": problem},
                actor=row.actor,
            )
            await self._journal.append(connection, entry)

    async def _put(
        self, connection: AsyncConnection, drawer: Drawer, row: SessionRow, material: Material, scopes: tuple[str, ...]
    ) -> ConnectionRow:
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
            "configuration": row.configuration,
            "generation": generation,
            "refreshable": material.refreshable,
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

    async def _known(self, wish: Wish) -> ConnectionRow | None:
        async with self._database.workspace(wish.workspace) as connection:
            if await workspace_rows.workspace(connection, wish.workspace) is None:
                raise NotFound(f"workspaces/{wish.workspace}")
            if not wish.connection_id:
                return None
            return await connection_rows.connection(connection, wish.workspace, wish.connection_id)

    async def _client(self, integration: str) -> Client:
        client = await self._clients.client(integration)
        if client is None:
            name = f"integrations/{integration}/oauthClient"
            raise StateConflict(name, "UNSET", "an operator has to set the OAuth client of this integration first")
        return client

    async def _added(self, session_id: str, values: Mapping[str, Any], actor: str) -> SessionRow:
        workspace = values["workspace_id"]
        async with self._database.workspace(workspace) as connection:
            row = await rows.add_session(
                connection, {**values, "session_id": session_id, "actor": actor}, seconds=SESSION_SECONDS
            )
            details = {
                "integration": row.integration,
                "auth_scheme": row.auth_scheme,
                "connection": row.connection_id,
                "scopes": list(row.scopes),
            }
            entry = Entry(
                action="auth.connect-session.create",
                resource=_name(workspace, session_id),
                workspace=workspace,
                details=details,
            )
            await self._journal.append(connection, entry)
        return row


def _settled(
    wish: Wish, known: ConnectionRow | None, environment: str, definition: Definition, scheme: Scheme
) -> dict[str, Any]:
    """Returns the values of a session: what was wished for, then what the connection has, then the defaults.

    Raises InvalidFields with everything that is wrong.
    """
    chosen = wish.environment or (known.environment if known else environment)
    configuration = wish.configuration or (known.configuration if known else {})
    wrong = a_title(wish.display_name, "display_name")
    if not chosen:
        wrong.append(Violation("environment", "is required: the caller has none of its own", "REQUIRED"))
    elif wish.environment:
        wrong += an_id(wish.environment, "environment")
    if known is not None and chosen != known.environment:
        wrong.append(Violation("environment", "is not the one of the connection that is to be connected again"))
    if wish.connection_id:
        wrong += an_id(wish.connection_id, "connection_id")
    if known is not None and known.integration != wish.integration:
        wrong.append(Violation("connection_id", "is the id of a connection to another integration"))
    wrong += _wrong_scopes(wish.scopes, scheme)
    wrong += definition.wrong_configuration(configuration)
    if wrong:
        raise InvalidFields(wrong)
    return {
        "workspace_id": wish.workspace,
        "integration": wish.integration,
        "auth_scheme": scheme.id,
        "kind": scheme.kind,
        "environment": chosen,
        # An id of its own where none is wished for, short enough to be one.
        "connection_id": wish.connection_id or f"{wish.integration[:50].rstrip('-')}-{secrets.token_hex(5)}",
        "display_name": wish.display_name or (known.display_name if known else ""),
        "scopes": list(wish.scopes or (scheme.oauth.default_scopes if scheme.oauth else ())),
        "configuration": dict(configuration),
    }


def _wrong_scopes(scopes: tuple[str, ...], scheme: Scheme) -> list[Violation]:
    if scopes and scheme.oauth is None:
        return [Violation("scopes", "must be empty: this scheme knows no scopes")]
    known = scheme.oauth.scopes if scheme.oauth else frozenset[str]()
    return [
        Violation(f"scopes[{index}]", "is not a scope of this integration")
        for index, scope in enumerate(scopes)
        if not is_scope(scope) or (known and scope not in known)
    ]


def _typed(kind: str, values: Mapping[str, Any]) -> dict[str, Secret[str]]:
    """Returns the values of a form as secrets; raises InvalidFields with every one that is missing or wrong."""
    form = FORMS[kind]
    wrong = [Violation(f"values.{name[:64]}", "is no value of this scheme") for name in values if name not in form]
    for name, may_be_empty in form.items():
        problem = _wrong_value(values.get(name), may_be_empty=may_be_empty, colon=(kind, name) != ("basic", "username"))
        if problem:
            wrong.append(Violation(f"values.{name}", problem, "REQUIRED" if name not in values else "INVALID"))
    if wrong:
        raise InvalidFields(wrong)
    return {name: Secret(values[name]) for name in form}


def _wrong_value(value: object, *, may_be_empty: bool, colon: bool) -> str:
    if value is None or (value == "" and not may_be_empty):
        return "is required"
    if not isinstance(value, str) or len(value) > LONGEST_VALUE:
        return f"must be a text of at most {LONGEST_VALUE} characters"
    # It goes into a header field: a line break there would begin another one.
    if value and (not value.isprintable() or value != value.strip()):
        return "must be printable, with spaces inside only"
    return "" if colon or ":" not in value else "must not have a colon (RFC 7617)"


def _shown(row: SessionRow, url: Secret[str] | None = None) -> Session:
    state = State.PENDING if row.state == "exchanging" else State(row.state)
    if state is State.PENDING and row.expired:
        state = State.EXPIRED
    connected = connection_name(row.workspace, row.connection_id) if state is State.CONNECTED else ""
    return Session(
        row.workspace,
        row.id,
        row.integration,
        row.auth_scheme,
        row.environment,
        state,
        connected,
        row.error,
        row.expire_time,
        url,
    )


def _name(workspace: str, session_id: str) -> str:
    return f"workspaces/{workspace}/connectSessions/{session_id}"


def _resource(session_id: str) -> str:
    return f"connectSessions/{session_id}"
