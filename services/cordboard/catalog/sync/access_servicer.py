"""EdgeAccessService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cordboard.catalog.sync.edge_access import Said
from cordboard.catalog.v1 import edge_access_service_pb2 as pb
from cordboard.catalog.v1.edge_access_service_pb2_grpc import EdgeAccessServiceServicer
from cordboard.core.names import check_id, parse
from cordboard.core.times import to_timestamp

if TYPE_CHECKING:
    from cordboard.catalog.sync.edge_access import EdgeCheck, HubAccess


class EdgeAccessServicer(EdgeAccessServiceServicer):
    """Answers Auth at a hub, and the Proxy at an edge."""

    def __init__(self, edges: EdgeCheck, hub: HubAccess) -> None:
        """Takes what judges edges, and what opens the hub."""
        self._edges = edges
        self._hub = hub

    async def CheckEdge(self, request: pb.CheckEdgeRequest, _context: Any) -> pb.CheckEdgeResponse:
        (edge,) = parse(request.edge, "edges/*", field="edge")
        (workspace,) = parse(request.workspace, "workspaces/*", field="workspace")
        check_id(request.environment, "environment")
        await self._edges.check(Said(edge, workspace, request.environment, request.nonce, request.signature))
        return pb.CheckEdgeResponse()

    async def GetHubAccess(self, request: pb.GetHubAccessRequest, _context: Any) -> pb.HubAccess:
        (workspace,) = parse(request.workspace, "workspaces/*", field="workspace")
        check_id(request.environment, "environment")
        found = await self._hub.token(workspace, request.environment)
        return pb.HubAccess(
            address=self._hub.address,
            authority=self._hub.bootstrap.authority,
            access_token=found.token.reveal(),
            expire_time=to_timestamp(found.expire_time),
        )
