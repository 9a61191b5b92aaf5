"""Answers edges, and operators about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.sync.bundle import MAGIC, framed
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.catalog.v1.sync_service_pb2_grpc import SyncServiceServicer
from cordboard.core.names import parse
from cordboard.core.paging import Paging

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cordboard.catalog.sync.hub import Hub
    from cordboard.catalog.sync.keys import HubKeys
    from cordboard.catalog.sync.state import SyncStates

EDGE: Final = "edges/*"
PART_BYTES: Final = 256 * 1024


class SyncServicer(SyncServiceServicer):
    """Messages in, one call of the domain, messages out."""

    def __init__(self, hub: Hub, keys: HubKeys, states: SyncStates, public_address: str) -> None:
        """Takes the hub, its keys, what says how far everybody is, and HOST:PORT of this mesh's Envoy."""
        self._hub = hub
        self._keys = keys
        self._states = states
        self._address = public_address

    async def WatchDeltas(
        self, requests: AsyncIterator[pb.WatchDeltasRequest], _context: Any
    ) -> AsyncIterator[pb.WatchDeltasResponse]:
        async for message in self._hub.session(requests):
            yield message

    async def RegisterEdge(self, request: pb.RegisterEdgeRequest, _context: Any) -> pb.RegisterEdgeResponse:
        edge = request.edge
        made = await self._hub.register(request.edge_id, title=edge.title, workspaces=list(edge.workspaces))
        return pb.RegisterEdgeResponse(
            edge=self._states.edge(made.edge, await self._hub.head()),
            hub=made.keys.hub,
            hub_key=made.keys.newest,
            private_key=made.private_key.reveal(),
            address=self._address,
        )

    async def GetEdge(self, request: pb.GetEdgeRequest, _context: Any) -> pb.Edge:
        (edge,) = parse(request.name, EDGE)
        return self._states.edge(await self._hub.edge(edge), await self._hub.head())

    async def ListEdges(self, request: pb.ListEdgesRequest, _context: Any) -> pb.ListEdgesResponse:
        paging = Paging.of(request)
        found = await self._hub.edges(after=paging.after, limit=paging.size + 1)
        page, head = found[: paging.size], await self._hub.head()
        token = paging.token(page[-1].id) if len(found) > len(page) else ""
        edges = [self._states.edge(one, head) for one in page]
        return pb.ListEdgesResponse(edges=edges, next_page_token=token)

    async def RevokeEdge(self, request: pb.RevokeEdgeRequest, _context: Any) -> pb.Edge:
        (edge,) = parse(request.name, EDGE)
        return self._states.edge(await self._hub.revoke(edge), await self._hub.head())

    async def RotateHubKey(self, _request: pb.RotateHubKeyRequest, _context: Any) -> pb.HubKey:
        return await self._keys.rotate()

    async def RestartLog(self, _request: pb.RestartLogRequest, _context: Any) -> pb.RestartLogResponse:
        return pb.RestartLogResponse(epoch=await self._keys.restart_log())

    async def ExportBundle(
        self, request: pb.ExportBundleRequest, _context: Any
    ) -> AsyncIterator[pb.ExportBundleResponse]:
        (edge,) = parse(request.name, EDGE)
        began = False
        async for message in self._hub.bundle(edge):
            data = framed(message) if began else MAGIC + framed(message)
            began = True
            for start in range(0, len(data), PART_BYTES):
                yield pb.ExportBundleResponse(data=data[start : start + PART_BYTES])

    async def GetSyncState(self, _request: pb.GetSyncStateRequest, _context: Any) -> pb.SyncState:
        return await self._states.own()
