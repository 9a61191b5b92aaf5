"""Links to the connect page: each lets one person make one connection, without a token.

A link has an id, which is no secret, and a key, of which a hash is kept. Behind the page is a connect session for each
attempt; the link follows the last one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from cordboard.auth import page_forms
from cordboard.auth.connect_session import State
from cordboard.auth.connections import connection_name
from cordboard.auth.fields import a_title, an_id
from cordboard.auth.store import connections as connection_rows
from cordboard.auth.store import links as rows
from cordboard.auth.store import workspaces as workspace_rows
from cordboard.auth.wishes import Wish, an_own_id, wrong_scopes, wrong_way_back
from cordboard.core.audit import Entry
from cordboard.core.errors import InvalidFields, NotFound, StateConflict, Violation
from cordboard.core.names import new_id
from cordboard.core.ownership import ensure_usable
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from cordboard.auth.connect import Connect
    from cordboard.auth.connect_session import Session
    from cordboard.auth.definitions import Definition, Variable
    from cordboard.auth.page_forms import PageForms
    from cordboard.auth.schemes import Scheme
    from cordboard.auth.store.links import LinkRow
    from cordboard.auth.vault import Vault
    from cordboard.auth.ways import Ways
    from cordboard.core.audit import Journal
    from cordboard.core.database import Database
    from cordboard.uqi.v1.form_pb2 import FormDocument

# Long enough to look for a key in the vendor's console.
LINK_SECONDS: Final = 1800
MOST_SCHEMES: Final = 20
# What a way to authenticate is called where the definition has no words for it; `{vendor}` is the integration's title.
TITLES: Final[Mapping[str, str]] = {
    "oauth2": "Sign in at {vendor}",
    "oauth1": "Sign in at {vendor}",
    "device": "Allow it on another device",
    "api_key": "API key",
    "basic": "User name and password",
    "digest": "User name and password",
    "bearer": "Access token",
    "client_credentials": "Client ID and secret",
    "jwt_bearer": "Private key",
    "signed_jwt": "Private key",
    "aws_sigv4": "AWS access key",
    "mtls": "Client certificate",
    "session": "Account",
    "none": "Without signing in",
}
_ID: Final = re.compile(r"[0-9a-z]{26}")
_INPUTS: Final = "inputs"
_VERIFICATIONS: Final = frozenset({"pending", "passed", "failed"})


class LinkState(Enum):
    """How far a link is."""

    PENDING = "pending"
    CONNECTED = "connected"
    EXPIRED = "expired"


@dataclass(frozen=True)
class Link:
    """An invitation to connect one account."""

    workspace: str
    id: str
    integration: str
    environment: str
    state: LinkState
    connection: str
    error: str
    expire_time: datetime
    return_url: str
    origin: str
    url: Secret[str] | None = None
    """Known when the link is made and never again: of the key in it only a hash is kept."""


@dataclass(frozen=True)
class Choice:
    """What a person chose and filled in."""

    scheme: str
    values: Mapping[str, Any] = field(repr=False)
    settings: Mapping[str, str] = field(repr=False)
    browser: Secret[str]
    """What the browser has to bring back from the vendor."""


@dataclass(frozen=True)
class OfferedScheme:
    """A way to authenticate, with its form."""

    id: str
    title: str
    consents: bool
    form: FormDocument


@dataclass(frozen=True)
class Page:
    """What the page shows."""

    link: Link
    session: Session | None
    integration_title: str
    workspace_title: str
    schemes: tuple[OfferedScheme, ...] = ()
    settings: FormDocument | None = None
    verified: bool = False
    verifiable: bool = False


class ConnectLinks:
    """Makes links, and answers their pages."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        ways: Ways,
        connect: Connect,
        forms: PageForms,
        journal: Journal,
        *,
        public_url: str,
    ) -> None:
        """Takes the URL below which the page is."""
        self._database = database
        self._vault = vault
        self._ways = ways
        self._connect = connect
        self._forms = forms
        self._journal = journal
        self._pages = f"{public_url.rstrip('/')}/connect/"

    async def create(self, wish: Wish, schemes: tuple[str, ...], *, environment: str, actor: str) -> Link:
        """Makes a link; `environment` is the caller's own, for a wish that names none.

        Raises NotFound (workspace, integration, scheme) and InvalidFields.
        """
        ensure_usable(wish.integration, wish.workspace)
        definition = await self._ways.definitions.definition(wish.integration)
        offered = tuple(definition.scheme(each).id for each in schemes) or tuple(definition.schemes)
        wish = replace(wish, environment=wish.environment or environment)
        async with self._database.workspace(wish.workspace) as connection:
            if await workspace_rows.workspace(connection, wish.workspace) is None:
                raise NotFound(f"workspaces/{wish.workspace}")
        wrong = _wrong(wish, offered, definition)
        if wrong:
            raise InvalidFields(wrong)
        link_id, key = new_id(), secrets.token_urlsafe(32)
        drawer = await self._vault.drawer(wish.workspace)
        kept = Secret(json.dumps(dict(wish.secret_configuration)))
        values = {
            "workspace_id": wish.workspace,
            "link_id": link_id,
            "key_hash": _hash(key),
            "integration": wish.integration,
            "auth_schemes": list(offered[:MOST_SCHEMES]),
            "environment": wish.environment,
            "connection_id": wish.connection_id or an_own_id(wish.integration),
            "display_name": wish.display_name,
            "scopes": list(wish.scopes),
            "configuration": dict(wish.configuration or {}),
            "inputs": drawer.seal(_resource(link_id), _INPUTS, 1, kept) if wish.secret_configuration else None,
            "return_url": wish.return_url,
            "origin": wish.origin,
            "actor": actor,
        }
        async with self._database.workspace(wish.workspace) as connection:
            row = await rows.add_link(connection, values, seconds=LINK_SECONDS)
            await self._journal.append(connection, _made(row))
        return _shown(row, None, Secret(f"{self._pages}{link_id}#{key}"))

    async def link(self, workspace: str, link_id: str) -> Link:
        """Returns a link; raises NotFound."""
        async with self._database.workspace(workspace) as connection:
            row = await rows.link(connection, link_id)
        if row is None or row.workspace != workspace:
            raise NotFound(_name(workspace, link_id))
        return _shown(row, await self._session(row))

    async def origin(self, link_id: str) -> str:
        """Returns the origin that may show the page of a link; empty for none, and for a link that is not there."""
        row = await self._found(link_id)
        return "" if row is None or row.expired else row.origin

    async def open(self, link_id: str, key: str, *, brief: bool = False, languages: str = "") -> Page:
        """Returns what a page shows, in one of the languages that a browser says its person reads.

        Raises NotFound (unknown, ended, another key) and DependencyUnavailable.
        """
        row = await self._opened(link_id, key)
        return await self._page(row, await self._session(row), brief=brief, languages=languages)

    async def submit(self, link_id: str, key: str, choice: Choice) -> Page:
        """Connects with what a person filled in, or begins to where the person has to consent.

        Raises NotFound, InvalidFields, StateConflict (connected already, no OAuth client), OAuthFailed and
        DependencyUnavailable.
        """
        row = await self._opened(link_id, key)
        before = await self._session(row)
        if before is not None and before.state is State.CONNECTED:
            raise StateConflict(_name(row.workspace, row.id), "CONNECTED", "this link has been used")
        definition = await self._ways.definitions.definition(row.integration)
        if choice.scheme not in row.auth_schemes:
            raise InvalidFields([Violation("auth_scheme", "is no scheme that this link offers")])
        scheme = definition.scheme(choice.scheme)
        wish = await self._wish(row, definition, scheme, choice)
        session = await self._connect.begin(wish, environment=row.environment, actor=row.actor)
        if not scheme.interactive:
            # What is wrong with the values ends the attempt here: the link does not follow it.
            await self._connect.submit(row.workspace, session.id, choice.values)
            session = await self._connect.session(row.workspace, session.id)
        async with self._database.workspace(row.workspace) as connection:
            await rows.point_at(connection, row.workspace, row.id, session.id)
        return await self._page(row, session, brief=True)

    async def _opened(self, link_id: str, key: str) -> LinkRow:
        row = await self._found(link_id)
        # Who has no key hears the same of every id.
        if row is None or row.expired or not hmac.compare_digest(row.key_hash, _hash(key)):
            raise NotFound("connectPages/*")
        return row

    async def _found(self, link_id: str) -> LinkRow | None:
        if not _ID.fullmatch(link_id):
            return None
        async with self._database.everywhere() as connection:
            return await rows.link(connection, link_id)

    async def _session(self, row: LinkRow) -> Session | None:
        if not row.session_id:
            return None
        try:
            return await self._connect.session(row.workspace, row.session_id)
        except NotFound:
            return None

    async def _wish(self, row: LinkRow, definition: Definition, scheme: Scheme, choice: Choice) -> Wish:
        asked = {variable.name: variable for variable in await self._asked(row, definition)}
        unknown = [name for name in choice.settings if name not in asked]
        if unknown:
            raise InvalidFields([Violation(f"settings.{name[:64]}", "is not asked for") for name in unknown])
        given = {name: value for name, value in choice.settings.items() if value}
        plain = {name: value for name, value in given.items() if not asked[name].secret}
        secret = {name: value for name, value in given.items() if asked[name].secret}
        return Wish(
            workspace=row.workspace,
            integration=row.integration,
            auth_scheme=scheme.id,
            environment=row.environment,
            connection_id=row.connection_id,
            display_name=row.display_name,
            scopes=row.scopes if scheme.oauth is not None else (),
            configuration={**row.configuration, **plain},
            secret_configuration={**await self._kept(row), **secret},
            values=choice.values if scheme.interactive else {},
            browser=choice.browser,
            link=row.id,
        )

    async def _kept(self, row: LinkRow) -> dict[str, str]:
        if row.inputs is None:
            return {}
        drawer = await self._vault.drawer(row.workspace)
        found: dict[str, str] = json.loads(drawer.open(_resource(row.id), _INPUTS, 1, row.inputs).reveal())
        return found

    async def _asked(self, row: LinkRow, definition: Definition) -> list[Variable]:
        shared = await self._ways.configurations.settings(row.workspace, row.integration)
        known = {*row.configuration, *await self._kept(row), *shared.values, *shared.secrets}
        told = {
            name
            for scheme in definition.schemes.values()
            if scheme.oauth is not None
            for name in scheme.oauth.response.configuration
        }
        return definition.asked(known | told)

    async def _page(self, row: LinkRow, session: Session | None, *, brief: bool, languages: str = "") -> Page:
        definition = await self._ways.definitions.definition(row.integration)
        async with self._database.workspace(row.workspace) as connection:
            workspace = await workspace_rows.workspace(connection, row.workspace)
            made = await connection_rows.connection(connection, row.workspace, row.connection_id)
        link = _shown(row, session)
        verification = made.verification if made is not None and link.state is LinkState.CONNECTED else ""
        page = Page(
            link,
            session,
            definition.title,
            (workspace.display_name if workspace is not None else "") or row.workspace,
            verified=verification == "passed",
            verifiable=verification in _VERIFICATIONS,
        )
        if brief or link.state is LinkState.CONNECTED:
            return page
        known = [each for each in row.auth_schemes if each in definition.schemes]
        forms = await self._forms.of_schemes(row.integration, known, languages)
        schemes = tuple(
            OfferedScheme(each, _title(definition, each, form), definition.scheme(each).interactive, form)
            for each, form in zip(known, forms, strict=True)
        )
        return replace(page, schemes=schemes, settings=page_forms.of_variables(await self._asked(row, definition)))


def _title(definition: Definition, scheme: str, form: FormDocument) -> str:
    if form.title not in ("", scheme):
        return form.title
    return TITLES.get(definition.scheme(scheme).kind, scheme).replace("{vendor}", definition.title)


def _wrong(wish: Wish, schemes: tuple[str, ...], definition: Definition) -> list[Violation]:
    wrong = a_title(wish.display_name, "display_name") + wrong_way_back(wish)
    wrong += (
        an_id(wish.environment, "environment")
        if wish.environment
        else [Violation("environment", "is required: the caller has none of its own", "REQUIRED")]
    )
    if wish.connection_id:
        wrong += an_id(wish.connection_id, "connection_id")
    if len(schemes) > MOST_SCHEMES:
        wrong.append(Violation("auth_schemes", f"must be at most {MOST_SCHEMES}: name those to choose from"))
    granting = [definition.scheme(each) for each in schemes if definition.scheme(each).oauth is not None]
    if wish.scopes and not granting:
        wrong.append(Violation("scopes", "must be empty: none of the schemes knows scopes"))
    for scheme in granting:
        wrong += wrong_scopes(wish.scopes, scheme)
    fields = ("configuration", "secret_configuration")
    return wrong + definition.wrong_values(wish.configuration or {}, wish.secret_configuration, fields)


def _made(row: LinkRow) -> Entry:
    return Entry(
        action="auth.connect-link.create",
        resource=_name(row.workspace, row.id),
        workspace=row.workspace,
        details={
            "integration": row.integration,
            "auth_schemes": list(row.auth_schemes),
            "connection": row.connection_id,
            "origin": row.origin,
        },
    )


def _shown(row: LinkRow, session: Session | None, url: Secret[str] | None = None) -> Link:
    state = LinkState.EXPIRED if row.expired else LinkState.PENDING
    error = ""
    if session is not None:
        error = session.error
        if session.state is State.CONNECTED:
            state = LinkState.CONNECTED
        elif session.state is State.EXPIRED and not error:
            error = "expired"
    return Link(
        row.workspace,
        row.id,
        row.integration,
        row.environment,
        state,
        connection_name(row.workspace, row.connection_id) if state is LinkState.CONNECTED else "",
        error,
        row.expire_time,
        row.return_url,
        row.origin,
        url,
    )


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _name(workspace: str, link_id: str) -> str:
    return f"workspaces/{workspace}/connectLinks/{link_id}"


def _resource(link_id: str) -> str:
    return f"connectLinks/{link_id}"
