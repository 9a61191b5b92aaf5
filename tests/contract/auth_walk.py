"""A walk at random over Auth as three workspaces use it, beside a model: a dictionary for each of them.

Every step is an RPC, or a few, of somebody who may do it or of somebody who may not; what comes back has to be what the
model says. Leases go to any of the processes that are given, all of them on one database.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from cordboard import sandbox
from cordboard.auth.v1 import connect_service_pb2 as connecting
from cordboard.auth.v1 import connection_service_pb2 as showing
from cordboard.auth.v1 import credential_service_pb2 as credentials
from cordboard.auth.v1 import incident_service_pb2 as incidents
from cordboard.auth.v1 import token_service_pb2 as tokens
from cordboard.auth.v1 import vault_service_pb2 as vault
from cordboard.auth.v1.connect_service_pb2_grpc import ConnectServiceStub
from cordboard.auth.v1.connection_service_pb2_grpc import ConnectionServiceStub
from cordboard.auth.v1.credential_service_pb2_grpc import CredentialServiceStub
from cordboard.auth.v1.incident_service_pb2_grpc import IncidentServiceStub
from cordboard.auth.v1.token_service_pb2_grpc import TokenServiceStub
from cordboard.auth.v1.vault_service_pb2_grpc import VaultServiceStub
from cordboard.common.v1 import options_pb2 as roles
from cordboard.core.structs import to_struct
from tests.fixtures.auth import (
    API_KEY,
    NOT_FOUND,
    RECONNECT,
    Auth,
    Refusal,
    a_definition,
    an_oauth_scheme,
    consented,
    refused,
    until,
)
from tests.fixtures.serving import Served

WORKSPACES: Final = ("acme", "bolt", "crate")
INTEGRATIONS: Final = ("desk", "mail")
IDS: Final = tuple(f"c{number}" for number in range(6))
# So often everything is compared with the rows, and the tokens that people call with are new ones.
AT_ONCE_EVERY: Final = 100
PATIENCE: Final = 60.0


class Difference(Exception):
    """What came is not what the model says."""

    def __init__(self, step: str, expected: object, found: object) -> None:
        super().__init__(f"{step}: expected {expected!r}, found {found!r}")
        self.step = step


@dataclass
class Known:
    """A connection as it has to be."""

    integration: str
    key: str
    """The API key that was typed in; empty: it is connected by OAuth."""
    title: str
    generation: int
    ready: bool = True
    cut: bool = False
    """An incident made it unusable, and its end makes it usable again."""
    grant: Any = None
    """The vendor's grant, once a token of it was seen."""


@dataclass
class CutOff:
    """An incident that lasts."""

    name: str
    workspace: str
    integration: str

    def hits(self, workspace: str, integration: str) -> bool:
        """Tells whether nothing of an integration leaves for a workspace."""
        return self.workspace in ("", workspace) and self.integration in ("", integration)


@dataclass
class Walk:
    """Walks, and compares."""

    auth: Auth
    vendor: sandbox.Vendor
    processes: tuple[Served, ...]
    keys: Path
    seed: int
    done: Counter[str] = field(default_factory=Counter)
    world: dict[str, dict[str, Known]] = field(default_factory=lambda: {name: {} for name in WORKSPACES})
    _highest: Counter[tuple[str, str]] = field(default_factory=Counter)
    _cut_off: CutOff | None = None
    _sessions: list[tuple[str, str]] = field(default_factory=list)
    _page_tokens: list[tuple[str, str]] = field(default_factory=list)
    _channels: dict[str, Any] = field(default_factory=dict)
    _proxies: list[Any] = field(default_factory=list)
    _rotation: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Makes the workspaces, and two integrations at the vendor."""
        self.random = random.Random(self.seed)
        schemes = (an_oauth_scheme(self.vendor.url), API_KEY)
        for slug in INTEGRATIONS:
            self.auth.catalog.definitions[slug] = a_definition(slug, *schemes)
            await self.auth.set_client(self.vendor, slug)
        for name in WORKSPACES[1:]:
            await self.auth.workspace(name)
        self._proxies = [CredentialServiceStub(each.channel("proxy")) for each in self.processes]
        await self._sign_in()

    async def steps(self, count: int) -> None:
        """Walks so many steps; raises Difference."""
        often = (
            (self.connect_by_key, 8), (self.connect_by_consent, 2), (self.show, 25), (self.page_through, 15),
            (self.lease, 20), (self.lease_everywhere_at_once, 4), (self.let_it_expire, 6), (self.refuse_a_token, 3),
            (self.end_at_the_vendor, 1), (self.delete, 6), (self.show_a_session, 4), (self.turn_a_page_of_others, 4),
            (self.cut_off_or_restore, 1), (self.rotate_signing_keys, 0.3), (self.rotate_the_vault, 0.3),
        )  # fmt: skip
        for number in range(1, count + 1):
            [step] = self.random.choices([each for each, _ in often], [weight for _, weight in often])
            await step()
            self.done[step.__name__] += 1
            if number % AT_ONCE_EVERY == 0 or number == count:
                await self.compare_with_the_rows()
                await self._sign_in()
        if self._rotation is not None:
            await self._rotation

    # Steps.

    async def connect_by_key(self) -> None:
        """Somebody types an API key in, for a connection that is there or for a new one."""
        workspace, name, integration = self._any()
        key = f"key-{workspace}-{name}-{self.random.getrandbits(64):x}"
        session = await self._session(workspace, name, integration, "key", key)
        stranger = self._other_than(workspace)
        values = to_struct({"api_key": "a stranger's"})
        foreign = connecting.SubmitConnectSessionRequest(name=session.name, values=values)
        self._same("submit a session of others", NOT_FOUND, await self._refusal(self._connects(stranger), foreign))
        await self._connects(workspace).SubmitConnectSession(
            connecting.SubmitConnectSessionRequest(name=session.name, values=to_struct({"api_key": key}))
        )
        self._put(workspace, name, Known(integration, key, _title(workspace, key), 0))

    async def connect_by_consent(self) -> None:
        """Somebody consents at the vendor."""
        workspace, name, integration = self._any()
        session = await self._session(workspace, name, integration, "oauth", "")
        await self.auth.call_back(**await consented(session.authorization_url))
        self._put(workspace, name, Known(integration, "", _title(workspace, ""), 0))

    async def show(self) -> None:
        """Somebody looks at a connection of anybody's, or at none."""
        asker, owner, name = self._pick(), self._pick(), self.random.choice((*IDS, "nothing"))
        known = self.world[owner].get(name) if asker == owner else None
        request = showing.GetConnectionRequest(name=f"workspaces/{owner}/connections/{name}")
        if known is None:
            self._same("show", NOT_FOUND, await self._refusal(self._shows(asker), request))
        else:
            self._same("show", self._shown(owner, name), _seen(await self._shows(asker).GetConnection(request)))

    async def page_through(self) -> None:
        """Somebody reads a list to its end."""
        asker, owner = self._pick(), self._pick()
        integration, size = self.random.choice(("", *INTEGRATIONS)), self.random.randint(1, 4)
        request = showing.ListConnectionsRequest(
            parent=f"workspaces/{owner}",
            page_size=size,
            integration=f"integrations/{integration}" if integration else "",
        )
        if asker != owner:
            self._same("list", NOT_FOUND, await self._refusal(self._shows(asker), request))
            return
        found: list[object] = []
        while True:
            page = await self._shows(asker).ListConnections(request)
            self._same("size of a page", True, len(page.connections) <= size)
            found += [_seen(each) for each in page.connections]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
            self._page_tokens.append((owner, page.next_page_token))
        mine = sorted(self.world[owner].items())
        wanted = [self._shown(owner, name) for name, known in mine if integration in ("", known.integration)]
        self._same("list", wanted, found)

    async def turn_a_page_of_others(self) -> None:
        """Somebody goes on with a list that somebody else, or another question, began."""
        if not self._page_tokens:
            return
        of, token = self.random.choice(self._page_tokens)
        asker, other = self._other_than(of), self.random.choice(("", *INTEGRATIONS))
        request = showing.ListConnectionsRequest(
            parent=f"workspaces/{asker}", page_token=token, integration=f"integrations/{other}" if other else ""
        )
        wanted: Refusal = ("INVALID_ARGUMENT", "INVALID_FIELDS", ["page_token"])
        self._same("a page token of others", wanted, await self._refusal(self._shows(asker), request))

    async def show_a_session(self) -> None:
        """Somebody asks how far somebody's connecting got."""
        if not self._sessions:
            return
        owner, name = self.random.choice(self._sessions)
        asker = self._other_than(owner)
        request = connecting.GetConnectSessionRequest(name=name)
        self._same("a session of others", NOT_FOUND, await self._refusal(self._connects(asker), request))
        self._same("a session", name, (await self._connects(owner).GetConnectSession(request)).name)

    async def lease(self) -> None:
        """The Proxy leases what is there, or what is not."""
        workspace, name = self._pick(), self.random.choice((*IDS, "nothing"))
        await self._leased(self.random.choice(self._proxies), workspace, name)

    async def lease_everywhere_at_once(self) -> None:
        """The Proxies lease the same id for all workspaces at the same time, several times each."""
        name = self.random.choice(IDS)
        asked = [(proxy, each) for proxy in self._proxies for each in WORKSPACES] * 2
        await asyncio.gather(*(self._leased(proxy, each, name) for proxy, each in asked))

    async def let_it_expire(self) -> None:
        """A token ends, and several callers want it at once: one refresh, and everybody has the new one."""
        workspace, name, known = self._by_consent()
        if known is None or not self._may_leave(workspace, known):
            return
        await self._age(workspace, name)
        before = self.vendor.grants.tally.refreshes
        known.generation += 1
        self._highest[workspace, name] = known.generation
        asked = [proxy for proxy in self._proxies for _ in range(2)]
        await asyncio.gather(*(self._leased(proxy, workspace, name) for proxy in asked))
        self._same("refreshes", before + 1, self.vendor.grants.tally.refreshes)
        await self._told(workspace, name)

    async def refuse_a_token(self) -> None:
        """The Proxy says that a vendor refused a token: the current one is refreshed, an older one is not."""
        workspace, name, known = self._by_consent()
        if known is None or not self._may_leave(workspace, known):
            return
        old = self.random.choice((0, 0, 1))
        before = self.vendor.grants.tally.refreshes
        request = credentials.ReportCredentialRequest(
            connection=f"workspaces/{workspace}/connections/{name}", generation=known.generation - old
        )
        answer = await self.random.choice(self._proxies).ReportCredential(request)
        # How often a refresh may be forced has a limit: the vendor says whether there was one.
        refreshes = self.vendor.grants.tally.refreshes - before
        self._same("refreshes of a report", True, refreshes in ((0,) if old else (0, 1)))
        known.generation += refreshes
        self._highest[workspace, name] = known.generation
        self._same("a report", (known.generation, showing.Connection.STATE_READY), (answer.generation, answer.state))
        await self._told(workspace, name)

    async def end_at_the_vendor(self) -> None:
        """The vendor ends a grant: the next refresh says that a person is needed, and nobody else's ends."""
        workspace, name, known = self._by_consent()
        if known is None or known.grant is None or not self._may_leave(workspace, known):
            return
        known.grant.alive = False
        await self._age(workspace, name)
        known.ready = False
        await self._leased(self.random.choice(self._proxies), workspace, name)
        await self._told(workspace, name)

    async def delete(self) -> None:
        """Somebody deletes a connection of anybody's."""
        asker, owner, name = self._pick(), self._pick(), self.random.choice(IDS)
        request = showing.DeleteConnectionRequest(name=f"workspaces/{owner}/connections/{name}")
        if asker != owner or name not in self.world[owner]:
            self._same("delete", NOT_FOUND, await self._refusal(self._shows(asker), request))
            return
        await self._shows(asker).DeleteConnection(request)
        del self.world[owner][name]

    async def cut_off_or_restore(self) -> None:
        """An operator cuts a workspace, an integration or one of both off, or ends that."""
        stub = self.auth.operator(IncidentServiceStub)
        if self._cut_off is None:
            workspace, integration = self.random.choice((*WORKSPACES, "")), self.random.choice(INTEGRATIONS)
            revoke = self.random.random() < 0.3
            made = await stub.CutOffAccess(
                incidents.CutOffAccessRequest(
                    workspace=f"workspaces/{workspace}" if workspace else "",
                    integration=f"integrations/{integration}",
                    reason="a drill",
                    revoke=revoke,
                )
            )
            cut = self._cut_off = CutOff(made.name, workspace, integration)
            hit = [each for each in self._all() if each[2].ready and cut.hits(each[0], each[2].integration)]
            self._same("cut off", len(hit), made.connection_count)
            for *_, known in hit:
                known.ready, known.cut = False, not (revoke and not known.key)
        else:
            await stub.RestoreAccess(incidents.RestoreAccessRequest(name=self._cut_off.name))
            hit, self._cut_off = [each for each in self._all() if each[2].cut], None
            for *_, known in hit:
                known.ready, known.cut = True, False
        for workspace, name, _ in hit:
            await self._told(workspace, name)

    async def rotate_signing_keys(self) -> None:
        """An operator rotates the keys that sign tokens."""
        await self.auth.operator(TokenServiceStub).RotateSigningKey(tokens.RotateSigningKeyRequest())

    async def rotate_the_vault(self) -> None:
        """An operator begins to rotate keys of the vault, and everybody goes on meanwhile."""
        if self._rotation is not None and not self._rotation.done():
            return
        level = self.random.choice((vault.KEY_LEVEL_KEK, vault.KEY_LEVEL_WORKSPACE, vault.KEY_LEVEL_DATA))
        if level == vault.KEY_LEVEL_KEK:
            path = self.keys / f"{len(list(self.keys.iterdir())) + 1}.key"
            path.write_bytes(self.random.randbytes(32))
            path.chmod(0o400)

        async def rotated() -> None:
            last = None
            async for answer in self.auth.operator(VaultServiceStub).RotateKeys(vault.RotateKeysRequest(level=level)):
                last = answer.rotation
            self._same("a rotation", vault.KeyRotation.STATE_DONE, None if last is None else last.state)
            self.done["rotations that were done"] += 1

        self._rotation = asyncio.create_task(rotated())

    async def compare_with_the_rows(self) -> None:
        """Compares everything with what the database's superuser sees, whom nothing binds."""
        rows = await self.auth.sql("SELECT workspace_id, connection_id, integration, generation, state FROM connection")
        found = {tuple(row) for row in rows}
        wanted = {
            (owner, name, known.integration, known.generation, "ready" if known.ready else "reconnect_required")
            for owner, mine in self.world.items()
            for name, known in mine.items()
        }
        self._same("the rows", wanted, found)
        self.done["comparisons with the rows"] += 1

    # What steps are made of.

    def _same(self, step: str, expected: object, found: object) -> None:
        if expected != found:
            raise Difference(step, expected, found)

    def _pick(self) -> str:
        return self.random.choice(WORKSPACES)

    def _any(self) -> tuple[str, str, str]:
        workspace, name = self._pick(), self.random.choice(IDS)
        known = self.world[workspace].get(name)
        # An id stays with its integration while it is there.
        return workspace, name, known.integration if known else self.random.choice(INTEGRATIONS)

    def _other_than(self, workspace: str) -> str:
        return self.random.choice([each for each in WORKSPACES if each != workspace])

    def _all(self) -> list[tuple[str, str, Known]]:
        return [(owner, name, known) for owner, mine in self.world.items() for name, known in mine.items()]

    def _by_consent(self) -> tuple[str, str, Known | None]:
        found = [each for each in self._all() if not each[2].key]
        return self.random.choice(found) if found else ("", "", None)

    def _may_leave(self, workspace: str, known: Known) -> bool:
        cut = self._cut_off is not None and self._cut_off.hits(workspace, known.integration)
        return known.ready and not cut

    def _put(self, workspace: str, name: str, known: Known) -> None:
        self._highest[workspace, name] += 1
        known.generation = self._highest[workspace, name]
        self.world[workspace][name] = known

    def _shown(self, owner: str, name: str) -> object:
        known = self.world[owner][name]
        state = showing.Connection.STATE_READY if known.ready else showing.Connection.STATE_RECONNECT_REQUIRED
        full = f"workspaces/{owner}/connections/{name}"
        return full, f"integrations/{known.integration}", known.title, known.generation, state

    async def _leased(self, proxy: Any, workspace: str, name: str) -> None:
        known = self.world[workspace].get(name)
        request = credentials.LeaseCredentialRequest(connection=f"workspaces/{workspace}/connections/{name}")
        if known is None or not self._may_leave(workspace, known):
            wanted = NOT_FOUND if known is None else RECONNECT
            self._same("lease", wanted, await _refusal_of(proxy.LeaseCredential(request, timeout=PATIENCE)))
            return
        try:
            answer = await proxy.LeaseCredential(request, timeout=PATIENCE)
        except grpc.aio.AioRpcError as error:
            raise Difference("lease", "a credential", f"{error.code().name}: {error.details()}") from error
        self._same("generation of a lease", known.generation, answer.generation)
        if known.key:
            self._same("lease", known.key, answer.api_key)
            return
        token = self.vendor.grants.access(answer.access_token)
        self._same("a token that the vendor knows", True, token is not None)
        assert token is not None
        if known.grant is None:
            others = [id(each.grant) for *_, each in self._all() if each.grant is not None]
            self._same("a grant of nobody else", False, id(token.grant) in others)
            known.grant = token.grant
        self._same("lease", id(known.grant), id(token.grant))

    async def _session(
        self, workspace: str, name: str, integration: str, scheme: str, key: str
    ) -> connecting.ConnectSession:
        session: connecting.ConnectSession = await self._connects(workspace).CreateConnectSession(
            connecting.CreateConnectSessionRequest(
                parent=f"workspaces/{workspace}",
                integration=f"integrations/{integration}",
                auth_scheme=scheme,
                connection_id=name,
                display_name=_title(workspace, key),
            )
        )
        self._sessions = [*self._sessions[-20:], (workspace, session.name)]
        return session

    async def _told(self, workspace: str, name: str) -> None:
        # Each process hears of a change of another, and shows it then.
        request = showing.GetConnectionRequest(name=f"workspaces/{workspace}/connections/{name}")

        async def shown() -> bool:
            return self._shown(workspace, name) == _seen(await self._shows(workspace).GetConnection(request))

        await until(shown)

    async def _age(self, workspace: str, name: str) -> None:
        await self.auth.sql(
            "UPDATE connection SET expire_time = now() - interval '1 second', refresh_time = now() - interval '2 s' "
            "WHERE workspace_id = $1 AND connection_id = $2",
            workspace,
            name,
        )

    async def _sign_in(self) -> None:
        self._page_tokens.clear()
        await self.auth.sign_in()
        given = (roles.ROLE_MEMBER, roles.ROLE_WORKSPACE_ADMIN)
        for old in self._channels.values():
            await old.close()
        for workspace in WORKSPACES:
            token = await self.auth.token(workspace, *given)
            self._channels[workspace] = self.auth.served.channel("envoy", token)

    def _connects(self, workspace: str) -> Any:
        return ConnectServiceStub(self._channels[workspace])

    def _shows(self, workspace: str) -> Any:
        return ConnectionServiceStub(self._channels[workspace])

    @staticmethod
    async def _refusal(stub: Any, request: Any) -> Refusal | str:
        """Returns with what a call is refused; a call that is answered is a difference as well."""
        call: Callable[[Any], Awaitable[Any]] = getattr(stub, type(request).__name__.removesuffix("Request"))
        return await _refusal_of(call(request))


async def _refusal_of(call: Awaitable[Any]) -> Refusal | str:
    try:
        return await refused(call)
    except pytest.fail.Exception:
        return "answered"


def _title(workspace: str, key: str) -> str:
    return f"{workspace} {key[-8:] or 'by consent'}"


def _seen(connection: showing.Connection) -> object:
    return (
        connection.name,
        connection.integration,
        connection.display_name,
        connection.credential_generation,
        connection.state,
    )
