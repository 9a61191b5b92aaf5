"""A second mesh on this machine follows the first: what is published and rolled out there works here, hub or no hub."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.struct_pb2 import Value

from cordboard.auth.v1 import edge_token_service_pb2 as edge_tokens
from cordboard.auth.v1 import token_service_pb2 as tokens
from cordboard.auth.v1 import workspace_service_pb2 as workspaces
from cordboard.auth.v1.edge_token_service_pb2_grpc import EdgeTokenServiceStub
from cordboard.catalog.sync.bootstrap import Bootstrap
from cordboard.catalog.sync.signing import EDGE_TOKEN, labelled, sign
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.catalog.v1 import governance_service_pb2 as governance
from cordboard.catalog.v1 import sync_service_pb2 as sync
from cordboard.catalog.v1.lifecycle_pb2 import Pin
from cordboard.client import Client, CordboardError
from cordboard.core.secrets import Secret
from cordboard.core.structs import to_struct
from cordboard.flags.v1 import choice_service_pb2 as choices
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.local.mesh import Mesh
from cordboard.local.options import EdgeOptions, MeshOptions
from cordboard.proxy.v1 import backend_service_pb2 as backends
from cordboard.proxy.v1 import proxy_service_pb2 as proxy
from cordboard.uqi.v1 import form_service_pb2 as forms
from tests.e2e.test_command import command
from tests.fixtures.desk import CONNECTION, FLAG, INTEGRATION, SLUG, Desk, Tenant
from tests.fixtures.mesh import RunningMesh, _browser, new_traceparent, until
from tests.unit.catalog.definitions import DOCUMENT

# The workspace whose calls run at the hub.
BAZAAR = "bazaar"


@dataclass
class Line:
    """The line between an edge and its hub, which can be cut and mended."""

    host: str
    port: int
    down: bool = False
    address: str = ""
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def open(self) -> None:
        """Begins to listen."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.address = f"localhost:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Ends every connection, and listens no more."""
        await self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def cut(self) -> None:
        """Ends every connection, and every one that is tried."""
        self.down = True
        for writer in self._writers:
            writer.transport.abort()

    async def mend(self) -> None:
        """Lets connections through again."""
        self.down = False

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.down:
            writer.transport.abort()
            return
        there_reader, there = await asyncio.open_connection(self.host, self.port)
        ends = {writer, there}
        self._writers |= ends

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    target.write(data)
                    await target.drain()
            for end in ends:
                end.transport.abort()

        await asyncio.gather(pump(reader, there), pump(there_reader, writer))
        self._writers -= ends


@dataclass(frozen=True)
class Tier:
    """An edge, and the line to its hub."""

    edge: RunningMesh
    line: Line
    bootstrap: Bootstrap


@pytest.fixture(scope="module")
def tier(running_mesh: RunningMesh, desk: Desk) -> Iterator[Tier]:
    """An edge of the shared mesh."""
    assert desk.mesh is running_mesh
    backstage = running_mesh.backstage
    folder = Path(tempfile.mkdtemp(prefix="cordboard-edge-"))
    folder.chmod(0o711)
    host, _, port = running_mesh.mesh.public_address.rpartition(":")
    line = Line(host, int(port))

    async def register() -> sync.RegisterEdgeResponse:
        async with running_mesh.operator() as operator:
            request = sync.RegisterEdgeRequest(
                edge_id="shop", edge=sync.Edge(title="The shop", workspaces=["mall", BAZAAR])
            )
            return await operator.sync.RegisterEdge(request)

    made = backstage.run(register())
    backstage.run(line.open())
    bootstrap = Bootstrap(
        hub=made.hub,
        edge="shop",
        address=made.address,
        authority=running_mesh.mesh.ca_file.read_bytes(),
        hub_key=made.hub_key.public_key,
        private_key=Secret(made.private_key),
    )
    (folder / "bootstrap.json").write_bytes(bootstrap.to_json())
    assert made.address == running_mesh.mesh.public_address
    options = MeshOptions(
        state_dir=folder / "state",
        egress_allowed_networks=("127.0.0.0/8",),
        retain_data=False,
        edge=EdgeOptions(folder / "bootstrap.json", hub_address=line.address),
    )
    mesh = Mesh(MeshOptions.from_json(options.to_json()))
    try:
        backstage.run(mesh.__aenter__())
        browser = backstage.run(_browser(mesh))
        yield Tier(RunningMesh(mesh, backstage, folder / "state", browser), line, bootstrap)
        backstage.run(browser.close())
    finally:
        backstage.run(mesh.stop())
        backstage.run(line.close())
        shutil.rmtree(folder, ignore_errors=True)


async def has(client: Client, name: str) -> bool:
    """Tells whether a mesh has a definition version."""
    try:
        await client.catalog.GetDefinitionVersion(catalog.GetDefinitionVersionRequest(name=name))
    except CordboardError as error:
        assert error.reason == "RESOURCE_NOT_FOUND", error
        return False
    return True


async def test_what_the_hub_has_works_at_the_edge_and_goes_on_working_without_the_hub(tier: Tier, desk: Desk) -> None:
    edge, hub = tier.edge, desk.mesh
    here = replace(desk, mesh=edge)
    async with edge.operator() as at_edge, hub.operator() as at_hub:
        await until(lambda: has(at_edge, f"{INTEGRATION}/versions/active"), "the definition to come")
        # Its Proxy runs the action: the definition and the flag came from the hub, the connection is the edge's own.
        tenant = await here.tenant()
        async with edge.client(tenant.token) as member:
            assert (await member.execute(tenant.connection, "get_me")).output
            request = forms.ListFormsRequest(parent=INTEGRATION, page_size=1000)
            there, made = await at_hub.forms.ListForms(request), await at_edge.forms.ListForms(request)
            assert [(one.name, one.etag) for one in made.forms] == [(one.name, one.etag) for one in there.forms]
            assert made.forms

            await hub.backstage.wait(tier.line.cut())

            async def cut_off() -> bool:
                state = await at_edge.sync.GetSyncState(sync.GetSyncStateRequest())
                return not state.connected and state.age.ToTimedelta().total_seconds() > 0.5

            await until(cut_off, "the edge to say that it is cut off")
            assert (await member.execute(tenant.connection, "get_me")).output
            document = DOCUMENT.replace("slug: acme-desk", "slug: later-desk")
            await at_hub.catalog.PublishDefinition(catalog.PublishDefinitionRequest(document=document))
            assert not await has(at_edge, "integrations/later-desk/versions/active")

            await hub.backstage.wait(tier.line.mend())
            await until(lambda: has(at_edge, "integrations/later-desk/versions/active"), "what was missed to come")
            told = await at_hub.sync.GetEdge(sync.GetEdgeRequest(name="edges/shop"))
            assert (told.last_error, list(told.missing_capabilities)) == ("", [])


async def test_a_pin_at_the_hub_holds_at_the_edge(tier: Tier, desk: Desk) -> None:
    name = f"workspaces/mall/environments/production/pins/{INTEGRATION.partition('/')[2]}"
    async with tier.edge.operator() as at_edge, desk.mesh.operator() as at_hub:
        request = catalog.GetDefinitionVersionRequest(name=f"{INTEGRATION}/versions/active")
        version = (await at_hub.catalog.GetDefinitionVersion(request)).name.rpartition("/")[2]
        await at_hub.governance.SetPin(governance.SetPinRequest(pin=Pin(name=name, version=version, reason="a trial")))

        async def pinned(expected: list[tuple[str, bool, str]]) -> bool:
            found = await at_edge.governance.ListPins(governance.ListPinsRequest(parent="workspaces/mall"))
            return [(one.version, one.from_hub, one.reason) for one in found.pins] == expected

        await until(lambda: pinned([(version, True, "a trial")]), "the pin to come")
        with pytest.raises(CordboardError) as caught:
            await at_edge.governance.DeletePin(governance.DeletePinRequest(name=name))
        assert caught.value.reason == "STATE_CONFLICT"
        await at_hub.governance.DeletePin(governance.DeletePinRequest(name=name))
        await until(lambda: pinned([]), "its end to come")


async def well(where: Desk, *words: str) -> str:
    """Runs a command that must go well; returns what it said, on one line."""
    code, output, errors = await command(where, *words)
    assert code == 0, (words, output, errors)
    return " ".join((output + errors).split())


async def is_cut_off(edge: Desk) -> bool:
    """Tells whether an edge says that it does not reach its hub."""
    async with edge.mesh.operator() as at_edge:
        return not (await at_edge.sync.GetSyncState(sync.GetSyncStateRequest())).connected


async def walked(desk: Desk, slug: str, folder: Path) -> None:
    """Imports a description, imports it again when it has grown, and deprecates what was before, at the hub."""
    old, new = folder / "old.json", folder / "new.json"
    old.write_text(json.dumps(described(desk.vendor.url, "/me")))
    new.write_text(json.dumps(described(desk.vendor.url, "/me", "/tickets")))
    assert "1 of 1 operations became actions" in await well(desk, "import", str(old), "--slug", slug)
    assert "2 of 2 operations became actions" in await well(desk, "import", str(new), "--slug", slug)
    assert "actions: 1 added" in await well(desk, "catalog", "diff", slug, "1.0.0", "1.1.0")
    await well(
        desk, "catalog", "deprecate", slug, "1.0.0", "--successor", "1.1.0", "--sunset", "90d", "--reason", "old"
    )
    await well(desk, "flag", "rollout", slug, "--environment", "production", "--reason", "for everybody")


async def test_a_new_integration_is_led_by_the_command_from_a_file_to_an_edge_that_is_cut_off(
    tier: Tier, desk: Desk, tmp_path: Path
) -> None:
    """The walk of docs/walkthrough.md."""
    edge, slug, workspace = replace(desk, mesh=tier.edge), "walk-desk", "mall"
    connection = f"workspaces/{workspace}/connections/walk"
    await walked(desk, slug, tmp_path)
    for where in (desk, edge):
        await well(where, "workspaces", "create", workspace, "--tier", "business")
    await well(desk, "catalog", "pin", slug, "1.0.0", "--workspace", workspace, "--reason", "not yet")
    # The edge has it all by itself; the connection is its own.
    async with edge.mesh.operator() as at_edge:
        await until(lambda: has(at_edge, f"integrations/{slug}/versions/1.1.0"), "the definition to come")
    key = f"api_key={desk.vendor.settings.api_key}"
    await well(edge, "connect", slug, "-w", workspace, "--id", "walk", "--scheme", "key", "--value", key)
    async with edge.mesh.client(await edge.mesh.token("member", workspace=workspace)) as member:

        async def led_by(version: str) -> bool:
            try:
                return (await member.execute(connection, "whoami")).call.definition_version == version
            except CordboardError:
                return False

        async def aged() -> str:
            return (await member.execute(connection, "whoami")).stale

        async def current() -> bool:
            return not await aged()

        await until(lambda: led_by("1.0.0"), "the pin to hold at the edge")
        await well(desk, "catalog", "unpin", slug, "--workspace", workspace)
        await until(lambda: led_by("1.1.0"), "the newer version to hold at the edge")
        await well(
            desk, "rollout", "put", f"version.{slug}", "--version", "1.0.0", "--workspace", workspace,
            "--stage", "*=0", "--reason", "this one needs the older",
        )  # fmt: skip
        await until(lambda: led_by("1.0.0"), "the rollout to reach the edge")

        await desk.mesh.backstage.wait(tier.line.cut())
        try:
            # A month goes by, once nothing comes in any more.
            await until(lambda: is_cut_off(edge), "the edge to say that it is cut off")
            async with edge.mesh.database() as connected:
                await connected.execute("UPDATE catalog.sync_replica SET fresh_time = now() - interval '30 days'")
            assert (await until(aged, "the Proxy to say how old it is")).startswith("hub;age=2592")
            shown = await well(edge, "call", f"{workspace}/walk", "whoami")
            assert "version 1.0.0" in shown
            assert "hub;age=2592" in shown
            assert "connected no" in await well(edge, "edges", "state")
        finally:
            await desk.mesh.backstage.wait(tier.line.mend())
        await until(current, "the edge to be up to date again")

        # What the vendor does not do any more at the edge is seen at the hub, by whom it concerns.
        with desk.broken(status=410), pytest.raises(CordboardError):
            await member.execute(connection, "whoami")

        async def told() -> bool:
            found = json.loads(await well(desk, "catalog", "drift", slug, "-o", "json"))
            return ("whoami", "410", True) in {(one["action"], one["rule"], "edge" in one) for one in found}

        await until(told, "the drift to be told to the hub", every=1.0)


def described(url: str, *paths: str) -> dict[str, Any]:
    """Returns a description of some of Acme Desk."""
    names = {"/me": "whoami", "/tickets": "list_tickets"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Walk Desk", "version": "1"},
        "servers": [{"url": f"{url}/v1"}],
        "components": {"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"}}},
        "security": [{"key": []}],
        "paths": {
            path: {"get": {"operationId": names[path], "responses": {"200": {"description": "ok"}}}} for path in paths
        },
    }


async def test_a_kill_at_the_hub_reaches_the_edge(tier: Tier, desk: Desk) -> None:
    async with tier.edge.operator() as at_edge, desk.mesh.operator() as at_hub:
        flag = flags.Flag(name="flags/only.here", variants={"on": Value(bool_value=True)}, default_variant="on")
        await at_hub.flags.PutFlag(flags.PutFlagRequest(flag=flag))

        async def killed(expected: bool) -> bool:
            try:
                return (await at_edge.flags.GetFlag(flags.GetFlagRequest(name=flag.name))).killed is expected
            except CordboardError:
                return False

        await until(lambda: killed(False), "the flag to come")
        await at_hub.flags.KillFlag(flags.KillFlagRequest(name=flag.name, reason="an incident"))
        await until(lambda: killed(True), "the kill to come")
        await at_hub.flags.RestoreFlag(flags.RestoreFlagRequest(name=flag.name))
        await until(lambda: killed(False), "its end to come")
        assert (await at_edge.flags.GetFlag(flags.GetFlagRequest(name=FLAG))).rules


async def test_what_a_workspace_chooses_at_the_hub_holds_at_its_edge(tier: Tier, desk: Desk) -> None:
    name = f"workspaces/mall/{INTEGRATION}/choice"
    choose = choices.SetIntegrationChoiceRequest(
        name=name, choice=choices.CHOICE_OFF, environment="production", reason="the audit is on"
    )
    async with desk.mesh.operator() as hub, tier.edge.operator() as edge:

        async def is_on(workspace: str, expected: bool) -> bool:
            known = to_struct({"workspace": workspace, "environment": "production", "tier": "business"})
            try:
                found = await edge.flags.EvaluateFlag(flags.EvaluateFlagRequest(name=FLAG, context=known))
            except CordboardError:
                return False
            return found.value.bool_value is expected

        await until(lambda: is_on("mall", True), "the flag to come")
        await hub.choices.SetIntegrationChoice(choose)
        await until(lambda: is_on("mall", False), "the choice to come")
        # The control: the same edge, another workspace of its.
        assert await is_on(BAZAAR, True)
        with pytest.raises(CordboardError, match="choose it there") as refused:
            await edge.choices.SetIntegrationChoice(choose)
        assert (refused.value.reason, refused.value.metadata["state"]) == ("STATE_CONFLICT", "edge")
        choose.choice = choices.CHOICE_UNSPECIFIED
        await hub.choices.SetIntegrationChoice(choose)
        await until(lambda: is_on("mall", True), "its end to come")


@dataclass(frozen=True)
class Bazaar:
    """A workspace of the edge's whose only connection is at the hub."""

    tenant: Tenant
    """As the hub knows it."""
    connection: str
    """What the connection is called at the edge."""
    token: str
    """A member's, at the edge."""


@pytest.fixture(scope="module")
def bazaar(tier: Tier, desk: Desk) -> Bazaar:
    """The workspace, with a route to the hub."""
    edge = replace(desk, mesh=tier.edge)

    async def prepare() -> Bazaar:
        tenant = await desk.tenant(BAZAAR)
        await well(edge, "workspaces", "create", BAZAAR, "--tier", "business")
        said = await well(
            edge, "backends", "hub", BAZAAR, SLUG, "--account", f"there={CONNECTION}", "--only", "production",
            "--answers",
        )  # fmt: skip
        assert "answers hub" in said
        async with tier.edge.operator() as at_edge:
            await until(lambda: has(at_edge, f"{INTEGRATION}/versions/active"), "the definition to come")
        token = await tier.edge.token("member", workspace=BAZAAR)
        found = Bazaar(tenant, f"workspaces/{BAZAAR}/connections/there", token)
        async with tier.edge.client(token) as member:

            async def reached() -> bool:
                with contextlib.suppress(CordboardError):
                    return bool((await member.execute(found.connection, "get_me")).output)
                return False

            await until(reached, "a call to reach the hub")
        return found

    return asyncio.run(prepare())


async def test_an_edges_call_runs_at_its_hub_with_the_hubs_credential(tier: Tier, desk: Desk, bazaar: Bazaar) -> None:
    trace_id, traceparent = new_traceparent()
    async with tier.edge.client(bazaar.token, traceparent=lambda: traceparent) as member:
        result = await member.execute(bazaar.connection, "get_me")
        assert result.vendor_status == 200
        assert result.call.trace_id == trace_id
        here = await member.proxy.GetCall(proxy.GetCallRequest(name=result.call.name))
        assert (here.connection, here.trace_id) == (bazaar.connection, trace_id)
    async with desk.mesh.client(bazaar.tenant.token) as at_hub:
        calls = await at_hub.proxy.ListCalls(proxy.ListCallsRequest(parent=f"workspaces/{BAZAAR}"))
        (there,) = [one for one in calls.calls if one.trace_id == trace_id]
        # The hub knows the edge, and takes nobody's word for who asked there.
        assert (there.caller, there.connection) == ("edges/shop", bazaar.tenant.connection)
        assert there.credential_generation > 0
        assert result.output == (await at_hub.execute(bazaar.tenant.connection, "get_me")).output


async def test_a_raw_request_of_an_edge_goes_by_its_hub_and_both_bodies_stream(
    tier: Tier, desk: Desk, bazaar: Bazaar
) -> None:
    connection = bazaar.connection.rpartition("/")[2]
    bearer = {"Authorization": f"Bearer {bazaar.token}"}
    found = await tier.edge.http("GET", f"/proxy/{connection}/tickets?limit=1", headers=bearer)
    assert (found.status, len(found.json()["data"])) == (200, 1)
    subject = f"raw-{uuid4().hex}"
    given = {"subject": subject, "requester_id": "con_00000001"}
    made = await tier.edge.http("POST", f"/proxy/{connection}/tickets", headers=bearer, json=given)
    assert (made.status, desk.tickets()[subject]) == (201, 1)
    wrong = await tier.edge.http("GET", f"/proxy/{connection}/tickets/none", headers=bearer)
    assert (wrong.status, wrong.headers.get("x-cordboard-error")) == (404, None), "the vendor's own answer"
    async with desk.mesh.client(bazaar.tenant.token) as at_hub:
        listed = await at_hub.proxy.ListCalls(proxy.ListCallsRequest(parent=f"workspaces/{BAZAAR}", page_size=20))
    forwarded = [one for one in listed.calls if one.action.startswith("forward.")]
    assert [(one.caller, one.connection) for one in forwarded[:3]] == [("edges/shop", bazaar.tenant.connection)] * 3


async def test_pages_of_an_edges_call_come_from_its_hub(tier: Tier, desk: Desk, bazaar: Bazaar) -> None:
    async with tier.edge.client(bazaar.token) as member, desk.mesh.client(bazaar.tenant.token) as at_hub:
        given = {"limit": 2}
        here = [page async for page in member.pages(bazaar.connection, "list_tickets", given, max_pages=3)]
        there = [page async for page in at_hub.pages(bazaar.tenant.connection, "list_tickets", given, max_pages=3)]
    assert here == there
    assert [len(page) for page in here] == [2, 2, 2]


async def test_an_edges_idempotency_key_counts_at_its_hub(tier: Tier, desk: Desk, bazaar: Bazaar) -> None:
    subject = f"once-{uuid4().hex}"
    given, key = {"subject": subject, "requester_id": "con_00000001"}, uuid4().hex
    async with tier.edge.client(bazaar.token) as member, desk.mesh.client(bazaar.tenant.token) as at_hub:
        first = await member.execute(bazaar.connection, "create_ticket", given, idempotency_key=key)
        again = await member.execute(bazaar.connection, "create_ticket", given, idempotency_key=key)
        # The hub has it in its own ledger: whoever comes there with the key gets the same answer.
        there = await at_hub.execute(bazaar.tenant.connection, "create_ticket", given, idempotency_key=key)
    assert first.output == again.output == there.output
    assert (again.call.replayed, there.call.replayed) == (True, True)
    assert desk.tickets()[subject] == 1


@pytest.mark.parametrize(
    ("action", "given", "reason"),
    [
        ("get_ticket", {"ticket_id": "tkt_99999999"}, "VENDOR_ERROR"),
        ("create_ticket", {"subject": 5}, "INVALID_FIELDS"),
    ],
)
async def test_what_the_hub_refuses_is_refused_at_the_edge_in_the_same_words(
    tier: Tier, desk: Desk, bazaar: Bazaar, action: str, given: dict[str, Any], reason: str
) -> None:
    found = []
    for mesh, token, connection in (
        (tier.edge, bazaar.token, bazaar.connection),
        (desk.mesh, bazaar.tenant.token, bazaar.tenant.connection),
    ):
        async with mesh.client(token) as member:
            with pytest.raises(CordboardError) as caught:
                await member.execute(connection, action, given)
        found.append((caught.value.reason, caught.value.code, caught.value.message, caught.value.violations))
    assert found[0] == found[1]
    assert found[0][0] == reason


async def test_a_connection_that_the_hub_has_not_is_not_there(tier: Tier, bazaar: Bazaar) -> None:
    async with tier.edge.operator() as at_edge:
        name = f"workspaces/{BAZAAR}/backendRoutes/{SLUG}"
        route = await at_edge.backends.GetBackendRoute(backends.GetBackendRouteRequest(name=name))
        wrong = backends.BackendRoute(name=name)
        wrong.primary.CopyFrom(route.primary)
        wrong.candidate.CopyFrom(route.primary)
        wrong.candidate.connections[0].remote = "nothing"
        await at_edge.backends.PutBackendRoute(backends.PutBackendRouteRequest(route=wrong))
        await at_edge.backends.CutOver(backends.CutOverRequest(name=name))
        try:
            async with tier.edge.client(bazaar.token) as member:
                with pytest.raises(CordboardError) as caught:
                    await member.execute(bazaar.connection, "get_me")
            assert caught.value.reason == "RESOURCE_NOT_FOUND"
            assert "connections/nothing" in caught.value.message
        finally:
            await at_edge.backends.CutOver(backends.CutOverRequest(name=name))


async def test_a_hub_that_cannot_be_reached_is_told_and_found_again(tier: Tier, desk: Desk, bazaar: Bazaar) -> None:
    subject = f"cut-{uuid4().hex}"
    given = {"subject": subject, "requester_id": "con_00000001"}
    async with tier.edge.client(bazaar.token) as member:
        await desk.mesh.backstage.wait(tier.line.cut())
        try:
            with pytest.raises(CordboardError) as caught:
                await member.execute(bazaar.connection, "create_ticket", given, timeout=15)
        finally:
            await desk.mesh.backstage.wait(tier.line.mend())
        assert caught.value.reason == "VENDOR_UNREACHABLE"
        assert caught.value.metadata["problem"] == "hub"
        # Nothing tried it again by itself: that is for whoever knows whether it may happen twice.
        assert subject not in desk.tickets()

        async def back() -> bool:
            with contextlib.suppress(CordboardError):
                return bool((await member.execute(bazaar.connection, "get_me")).output)
            return False

        await until(back, "the hub to be reached again")


async def asked(desk: Desk, bootstrap: Bootstrap, edge: str, workspace: str, environment: str = "production") -> str:
    """Asks the hub for a token as an edge does; returns the token."""
    async with desk.mesh.edge() as channel:
        stream: Any = EdgeTokenServiceStub(channel).IssueEdgeToken()
        nonce = (await stream.read()).challenge.nonce
        parts = (bootstrap.hub, edge, workspace, environment)
        text = labelled(EDGE_TOKEN, *(part.encode() for part in parts), nonce)
        await stream.write(
            edge_tokens.IssueEdgeTokenRequest(
                edge=f"edges/{edge}", workspace=f"workspaces/{workspace}", environment=environment,
                signature=sign(bootstrap.private_key, text),
            )
        )  # fmt: skip
        answer = await stream.read()
        if answer is grpc.aio.EOF:
            raise AssertionError(await stream.code(), await stream.details())
        return str(answer.token.access_token)


async def test_an_edge_gets_tokens_for_its_own_workspaces_alone_and_with_its_own_key(
    tier: Tier, desk: Desk, bazaar: Bazaar
) -> None:
    assert await asked(desk, tier.bootstrap, "shop", BAZAAR)
    stranger = await desk.tenant()
    async with desk.mesh.operator() as operator:
        request = sync.RegisterEdgeRequest(edge_id="spare", edge=sync.Edge(workspaces=[BAZAAR]))
        spare = replace(tier.bootstrap, private_key=Secret((await operator.sync.RegisterEdge(request)).private_key))
    refused = []
    for bootstrap, edge, workspace in (
        (tier.bootstrap, "shop", stranger.workspace),
        (tier.bootstrap, "shop", "no-such-workspace"),
        (tier.bootstrap, "shop", "mall-2"),
        (tier.bootstrap, "nobody", BAZAAR),
        (replace(tier.bootstrap, hub="another-hub"), "shop", BAZAAR),
        (spare, "shop", BAZAAR),
        # Its own key, and its own workspace: but nobody said that it may call here.
        (spare, "spare", BAZAAR),
    ):
        with pytest.raises((AssertionError, grpc.aio.AioRpcError)) as caught:
            await asked(desk, bootstrap, edge, workspace)
        refused.append(str(caught.value))
    assert all("PERMISSION_DENIED" in one for one in refused), refused
    assert len(set(refused)) == 1


async def test_an_edges_token_is_a_members_of_its_workspace_and_is_not_refreshed(
    tier: Tier, desk: Desk, bazaar: Bazaar
) -> None:
    stranger = await desk.tenant()
    async with desk.mesh.client(await asked(desk, tier.bootstrap, "shop", BAZAAR)) as holder:
        assert (await holder.execute(bazaar.tenant.connection, "get_me")).output
        with pytest.raises(CordboardError) as caught:
            await holder.execute(stranger.connection, "get_me")
        assert caught.value.reason == "RESOURCE_NOT_FOUND"
        with pytest.raises(CordboardError) as caught:
            await holder.tokens.RefreshToken(tokens.RefreshTokenRequest())
        assert caught.value.reason == "TOKEN_INVALID"
    async with desk.mesh.client(await asked(desk, tier.bootstrap, "shop", BAZAAR, "staging")) as holder:
        with pytest.raises(CordboardError) as caught:
            await holder.execute(bazaar.tenant.connection, "get_me")
        # The integration is on in production alone.
        assert caught.value.reason == "SWITCHED_OFF"


async def test_a_route_to_the_hub_of_a_workspace_that_is_not_the_edges_runs_nothing(tier: Tier, desk: Desk) -> None:
    """The hub has such a workspace, with such a connection; the edge says that it is its own."""
    stranger = await desk.tenant()
    name = f"workspaces/{stranger.workspace}/backendRoutes/{SLUG}"
    route = backends.BackendRoute(name=name, primary=backends.Backend(hub=backends.HubBackend()))
    route.primary.connections.add(connection="there", remote=CONNECTION, environment="production")
    async with tier.edge.operator() as at_edge:
        made = workspaces.CreateWorkspaceRequest(
            workspace_id=stranger.workspace, workspace=workspaces.Workspace(tier="business")
        )
        await at_edge.workspaces.CreateWorkspace(made)
        await at_edge.backends.PutBackendRoute(backends.PutBackendRouteRequest(route=route))
    before = len(desk.requests())
    async with tier.edge.client(await tier.edge.token("member", workspace=stranger.workspace)) as member:

        async def refused() -> str:
            with pytest.raises(CordboardError) as caught:
                await member.execute(f"workspaces/{stranger.workspace}/connections/there", "get_me")
            return caught.value.reason if caught.value.reason != "RESOURCE_NOT_FOUND" else ""

        assert await until(refused, "the route to hold") == "STATE_CONFLICT"
    assert len(desk.requests()) == before
