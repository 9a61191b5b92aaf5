"""A second mesh on this machine follows the first: what is published and rolled out there works here, hub or no hub."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from google.protobuf.struct_pb2 import Value

from cordboard.catalog.sync.bootstrap import Bootstrap
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.catalog.v1 import governance_service_pb2 as governance
from cordboard.catalog.v1 import sync_service_pb2 as sync
from cordboard.catalog.v1.lifecycle_pb2 import Pin
from cordboard.client import Client, CordboardError
from cordboard.core.secrets import Secret
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.local.mesh import Mesh
from cordboard.local.options import EdgeOptions, MeshOptions
from cordboard.uqi.v1 import form_service_pb2 as forms
from tests.fixtures.desk import FLAG, INTEGRATION, Desk
from tests.fixtures.mesh import RunningMesh, _browser, until
from tests.unit.catalog.definitions import DOCUMENT


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
            request = sync.RegisterEdgeRequest(edge_id="shop", edge=sync.Edge(title="The shop", workspaces=["mall"]))
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
        yield Tier(RunningMesh(mesh, backstage, folder / "state", browser), line)
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
