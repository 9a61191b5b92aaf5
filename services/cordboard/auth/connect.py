"""Connecting: sessions that end in a connection, in every way to authenticate that a definition can declare.

A session waits for values that a person types in, for a person whom the vendor sends back, or for a person who allows a
device. Whatever comes first is used once.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from cordboard.auth.clients import PLATFORM, OwnedClient
from cordboard.auth.configurations import secret_field
from cordboard.auth.connections import Connection, connection_name
from cordboard.auth.consents import Consents
from cordboard.auth.credentials import Material
from cordboard.auth.envelope import Unreadable
from cordboard.auth.fields import a_title, a_web_page, an_id, an_origin
from cordboard.auth.forms import ends, typed
from cordboard.auth.oauth import (
    Client,
    Granted,
    Refused,
    is_scope,
    state_hash,
)
from cordboard.auth.outcomes import Outcome, Outcomes
from cordboard.auth.roles import as_asked
from cordboard.auth.schemes import EXTERNAL_ID, GRANTING
from cordboard.auth.store import connections as connection_rows
from cordboard.auth.store import sessions as rows
from cordboard.auth.store import workspaces as workspace_rows
from cordboard.auth.store.connections import Lifetime
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

SESSION_SECONDS: Final = 600
SHORTEST_BINDING: Final = 32
LONGEST_BINDING: Final = 256
# What a session keeps for its end: a PKCE verifier, a device's code, or a request token with its secret.
_VERIFIER: Final = "code_verifier"
_INPUTS: Final = "inputs"
# The person did not come in time: what we say of it, and what vendors say.
_EXPIRED: Final = frozenset({"expired", "expired_token"})
Secrets = Mapping[str, Secret[str]]


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
    secret_configuration: Mapping[str, str] = field(default_factory=dict, repr=False)
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What a person typed in, for a scheme that needs it before the person consents."""
    browser: Secret[str] = field(default_factory=lambda: Secret(""))
    """What the browser that comes back has to bring."""
    return_url: str = ""
    origin: str = ""
    link: str = ""
    """The link whose page began it."""


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
    user_code: str = ""
    """What the person types in at `verification_uri`, for a device."""
    verification_uri: str = ""
    verification_uri_complete: str = ""
    return_url: str = ""
    origin: str = ""
    authorization_url: Secret[str] | None = None
    """Known when the session is made and never again: of the state in it only a hash is kept."""


@dataclass(frozen=True)
class Return:
    """What the vendor sent the person back with (RFC 6749 section 4.1.2, RFC 9207, RFC 5849 section 2.2)."""

    state: Secret[str]
    code: Secret[str]
    issuer: str
    error: str
    token: str = ""
    """OAuth 1: the request token."""
    verifier: Secret[str] = field(default_factory=lambda: Secret(""))
    """OAuth 1: the proof that the person allowed it."""
    browser: Secret[str] = field(default_factory=lambda: Secret(""))
    """What the browser brought."""


@dataclass(frozen=True)
class Ended:
    """What came of a return: the integration's title, and the problem where there was one."""

    title: str
    problem: str
    session: str = ""
    """The session's name."""
    return_url: str = ""
    origin: str = ""
    link: str = ""
    """The link whose page goes on."""


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
        values = _settled(wish, known, environment, definition, scheme, elsewhere)
        session_id = new_id()
        inputs = _inputs(wish, scheme)
        drawer = await self._vault.drawer(wish.workspace)
        if inputs:
            text = json.dumps({name: secret.reveal() for name, secret in inputs.items()})
            values["inputs"] = drawer.seal(_resource(session_id), _INPUTS, 1, Secret(text))
        if wish.browser.reveal():
            values["browser_hash"] = state_hash(wish.browser.reveal())
        if not scheme.interactive:
            return _shown(await self._added(session_id, values, actor))
        owned = await self._client(wish.integration, wish.workspace, scheme)
        values["client_owner"] = owned.owner
        scheme = await self._filled(wish.workspace, wish.integration, scheme, values["configuration"], inputs)
        if scheme.active.kind == "device":
            return await self._begun_device(session_id, values, actor, scheme, owned.client, drawer)
        state = self._relay.state()
        values["state_hash"] = state_hash(state.reveal())
        url, kept = await self._consents.begun(scheme, owned.client, state, tuple(values["scopes"]))
        values["verifier"] = drawer.seal(_resource(session_id), _VERIFIER, 1, kept)
        return _shown(await self._added(session_id, values, actor), Secret(url))

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
            "verifier": drawer.seal(_resource(session_id), _VERIFIER, 1, device.code),
            "user_code": device.user_code,
            "verification_uri": device.verification_uri,
            "verification_uri_complete": device.verification_uri_complete,
            "poll_seconds": device.interval,
        }
        seconds = min(device.seconds, SESSION_SECONDS)
        return _shown(await self._added(session_id, values, actor, seconds=seconds, poll_after=device.interval))

    async def session(self, workspace: str, session_id: str) -> Session:
        """Returns a session; raises NotFound."""
        async with self._database.workspace(workspace) as connection:
            row = await rows.session(connection, workspace, session_id)
        if row is None:
            raise NotFound(_name(workspace, session_id))
        return _shown(row)

    async def submit(self, workspace: str, session_id: str, values: Mapping[str, Any]) -> Connection:
        """Makes the connection of a session with what a person typed in, and asks the vendor for a token with it.

        Raises NotFound, StateConflict (it has ended, or waits for something else), InvalidFields with every value that
        is wrong, and OAuthFailed where the vendor gives no token for them; they can be given again then.
        """
        name = _name(workspace, session_id)
        drawer = await self._vault.drawer(workspace)
        async with self._database.workspace(workspace) as connection:
            row = await rows.session(connection, workspace, session_id)
        _check_waiting(row, name)
        if row is None:
            raise NotFound(name)
        definition = await self._definitions.definition(row.integration)
        scheme = definition.scheme(row.auth_scheme)
        if scheme.interactive:
            text = "this scheme takes its values when the session begins: send the person to its URL"
            raise StateConflict(name, _shown(row).state.name, text)
        inputs = {**self._kept_inputs(drawer, row), **typed(scheme, values)}
        filled = await self._filled(workspace, row.integration, scheme, row.configuration, inputs)
        material, granted, owner = await self._material(row, filled, inputs)
        async with self._database.workspace(workspace) as connection:
            row = await rows.session(connection, workspace, session_id, lock=True)
            _check_waiting(row, name)
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
        found = json.loads(drawer.open(_resource(row.id), _INPUTS, 1, row.inputs).reveal())
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
            code = drawer.open(_resource(row.id), _VERIFIER, 1, row.verifier)
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
        title, name = row.integration, _name(row.workspace, row.id)
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
        kept = drawer.open(_resource(row.id), _VERIFIER, 1, row.verifier)
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
                resource=_name(row.workspace, row.id),
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
                resource=_name(workspace, session_id),
                workspace=workspace,
                details=details,
                # Whoever opens a link has no name: it is the link's maker who connects.
                actor=actor,
            )
            await self._journal.append(connection, entry)
        return row


def an_own_id(integration: str) -> str:
    """Returns an id for a connection that nobody has named, short enough to be one."""
    return f"{integration[:50].rstrip('-')}-{secrets.token_hex(5)}"


def wrong_way_back(wish: Wish) -> list[Violation]:
    """Checks where a browser is sent, who is told, and what the browser brings."""
    wrong = a_web_page(wish.return_url, "return_url") + an_origin(wish.origin, "origin")
    length = len(wish.browser.reveal())
    if length and not SHORTEST_BINDING <= length <= LONGEST_BINDING:
        text = f"must be {SHORTEST_BINDING} to {LONGEST_BINDING} characters that nobody can guess"
        wrong.append(Violation("browser_binding", text))
    return wrong


def wrong_scopes(scopes: tuple[str, ...], scheme: Scheme) -> list[Violation]:
    """Checks the scopes that are asked for: each is one of the scheme's."""
    if scopes and scheme.oauth is None:
        return [Violation("scopes", "must be empty: this scheme knows no scopes")]
    known = scheme.oauth.scopes if scheme.oauth else frozenset[str]()
    return [
        Violation(f"scopes[{index}]", "is not a scope of this integration")
        for index, scope in enumerate(scopes)
        if not is_scope(scope) or (known and scope not in known)
    ]


def _settled(
    wish: Wish,
    known: ConnectionRow | None,
    environment: str,
    definition: Definition,
    scheme: Scheme,
    elsewhere: Collection[str],
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
    wrong += wrong_scopes(wish.scopes, scheme)
    wrong += definition.wrong_configuration(configuration, wish.secret_configuration, elsewhere)
    wrong += wrong_way_back(wish)
    if wrong:
        raise InvalidFields(wrong)
    return {
        "workspace_id": wish.workspace,
        "integration": wish.integration,
        "auth_scheme": scheme.id,
        "kind": scheme.kind,
        "environment": chosen,
        "connection_id": wish.connection_id or an_own_id(wish.integration),
        "display_name": wish.display_name or (known.display_name if known else ""),
        "scopes": list(wish.scopes or (scheme.oauth.default_scopes if scheme.oauth else ())),
        "configuration": dict(configuration),
        "return_url": wish.return_url,
        "origin": wish.origin,
        "link_id": wish.link,
    }


def _inputs(wish: Wish, scheme: Scheme) -> Secrets:
    given = {secret_field(name): Secret(value) for name, value in wish.secret_configuration.items()}
    if scheme.interactive:
        return {**given, **typed(scheme, wish.values)}
    if wish.values:
        raise InvalidFields([Violation("values", "must be empty: this scheme takes them by SubmitConnectSession")])
    return given


def _check_waiting(row: SessionRow | None, name: str) -> None:
    if row is None:
        raise NotFound(name)
    state = _shown(row).state
    if state is not State.PENDING:
        raise StateConflict(name, state.name, "this connect session has ended: begin another one")


def _shown(row: SessionRow, url: Secret[str] | None = None) -> Session:
    state = State.PENDING if row.state == "exchanging" else State(row.state)
    if state is State.PENDING and row.expired:
        state = State.EXPIRED
    if state is State.FAILED and row.error in _EXPIRED:
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
        row.user_code,
        row.verification_uri,
        row.verification_uri_complete,
        row.return_url,
        row.origin,
        url,
    )


def _name(workspace: str, session_id: str) -> str:
    return f"workspaces/{workspace}/connectSessions/{session_id}"


def _resource(session_id: str) -> str:
    return f"connectSessions/{session_id}"
