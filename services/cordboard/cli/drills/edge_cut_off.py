"""The line between an edge and its hub is cut."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.catalog.v1 import sync_service_pb2 as sync
from cordboard.cli.demo.desk import connect_by_key, create_workspace
from cordboard.cli.demo.narrator import StepFailed
from cordboard.cli.demo.parts import Callers
from cordboard.cli.drills.scene import CONNECTION, INTEGRATION, READ, WORKSPACE, Cause, Scene, becomes
from cordboard.cli.edges import bootstrap_of, write_private
from cordboard.cli.mesh import LOOPBACK
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.local.mesh import Mesh
from cordboard.local.options import EdgeOptions, MeshOptions

if TYPE_CHECKING:
    from cordboard.client import Client

EDGE: Final = "shop"
FLAG: Final = "flags/drill"


async def play(scene: Scene) -> None:
    """Plays it; raises StepFailed where it does not go as the runbook says."""
    async with Line(scene.mesh.public_address) as line, _edge(scene, line) as edge:
        with scene.narrator.step("The line is cut"):
            began = time.monotonic()
            await line.cut()
        with scene.narrator.step("It is noticed", "Runbook: EdgeStale; `cordboard edges state` at the edge.") as step:
            await becomes(lambda: _is(edge, connected=False), "the edge to notice")
            step.result(f"the edge says after {time.monotonic() - began:.1f} s that it does not reach its hub")
            known = await scene.operator.sync.GetEdge(sync.GetEdgeRequest(name=f"edges/{EDGE}"))
            step.result(f"the hub knows it at change {known.sequence}; EdgeStale fires after ten minutes")
        with scene.narrator.step("The edge serves what it has") as step:
            done = await edge.member.execute(CONNECTION, READ, {})
            found = await edge.operator.catalog.GetIntegration(catalog.GetIntegrationRequest(name=INTEGRATION))
            step.result(f"a call goes well, HTTP {done.vendor_status}, in version {found.active_version or 'active'}")
            await scene.operator.flags.PutFlag(flags.PutFlagRequest(flag=_flag(), reason="while the line is cut"))
        await scene.look(Cause(f"the line between the edge {EDGE} and its hub, at {line.address}, is cut", edge))
        with scene.narrator.step("The line is mended", "Runbook: the edge goes on by itself.") as step:
            mended = time.monotonic()
            await line.mend()
            await becomes(lambda: _is(edge, connected=True), "the edge to follow")
            await becomes(lambda: edge.operator.flags.GetFlag(flags.GetFlagRequest(name=FLAG)), "what it missed")
            step.result(f"{time.monotonic() - mended:.1f} s later it has what was changed meanwhile")
            if (await _state(edge)).last_error:
                raise StepFailed(f"the edge still says: {(await _state(edge)).last_error}")


class Line:
    """The way to the hub, which can be cut: it hands on bytes, and understands none of them."""

    def __init__(self, hub: str) -> None:
        """Takes HOST:PORT of the hub."""
        host, _, port = hub.rpartition(":")
        self._hub = host, int(port)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.address = ""

    async def __aenter__(self) -> Line:
        """Opens the line."""
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cuts the line for ever."""
        await self.cut()

    async def mend(self) -> None:
        """Takes connections, at the same address as before."""
        port = int(self.address.rpartition(":")[2] or 0)
        self._server = await asyncio.start_server(self._accept, "localhost", port)
        self.address = f"localhost:{self._server.sockets[0].getsockname()[1]}"

    async def cut(self) -> None:
        """Breaks every connection, and takes no other."""
        if self._server is not None:
            self._server.close()
        for each in self._open:
            each.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._open.add(task)
            task.add_done_callback(self._open.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection(*self._hub)
            try:
                await asyncio.gather(_hand_on(reader, back), _hand_on(there, writer))
            finally:
                back.transport.abort()
        writer.transport.abort()


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


@contextlib.asynccontextmanager
async def _edge(hub: Scene, line: Line) -> AsyncIterator[Scene]:
    """Gives an edge of the hub behind a line, with the customer's account connected there."""
    with hub.narrator.step("An edge follows the mesh, over a line of its own") as step:
        made = await hub.operator.sync.RegisterEdge(
            sync.RegisterEdgeRequest(edge_id=EDGE, edge=sync.Edge(workspaces=[WORKSPACE]))
        )
        file = hub.folder / "shop.json"
        write_private(file, bootstrap_of(made, line.address, hub.mesh.ca_file).to_json())
        options = MeshOptions(
            state_dir=hub.folder / "edge",
            egress_allowed_networks=(LOOPBACK,),
            retain_data=False,
            edge=EdgeOptions(file, hub_address=line.address),
        )
        async with contextlib.AsyncExitStack() as stack:
            mesh = await stack.enter_async_context(Mesh(options))
            callers = Callers(mesh)
            stack.push_async_callback(callers.close)
            operator = await callers.operator()
            await create_workspace(operator, WORKSPACE, "business")
            member = await callers.workspace(operator, WORKSPACE)
            request = catalog.GetIntegrationRequest(name=INTEGRATION)
            await becomes(lambda: operator.catalog.GetIntegration(request), "the integration at the edge")
            await becomes(lambda: _connected(operator, member, hub), "the account at the edge")
            edge = Scene(hub.narrator, hub.folder, mesh, hub.vendor, callers, operator, member)
            await becomes(lambda: member.execute(CONNECTION, READ, {}), "a call at the edge")
            step.result("a call there goes well")
            kept = stack.pop_all()
    async with kept:
        yield edge


async def _connected(operator: Client, member: Client, hub: Scene) -> bool:
    await connect_by_key(operator, member, hub.vendor, CONNECTION)
    return True


async def _state(edge: Scene) -> sync.SyncState:
    return await edge.operator.sync.GetSyncState(sync.GetSyncStateRequest())


async def _is(edge: Scene, *, connected: bool) -> bool:
    return (await _state(edge)).connected is connected


def _flag() -> flags.Flag:
    flag = flags.Flag(name=FLAG, default_variant="on", description="What an edge missed.")
    flag.variants["on"].bool_value = True
    return flag
