"""BackendService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.empty_pb2 import Empty

from cordboard.core.errors import NotFound
from cordboard.core.names import parse
from cordboard.core.paging import Paging
from cordboard.proxy.backends.messages import ROUTE, to_comparison, to_message, to_route
from cordboard.proxy.v1 import backend_service_pb2 as pb
from cordboard.proxy.v1.backend_service_pb2_grpc import BackendServiceServicer

if TYPE_CHECKING:
    from cordboard.proxy.backends.findings import Findings
    from cordboard.proxy.backends.routes import Routes
    from cordboard.proxy.backends.store import RouteStore


class BackendServicer(BackendServiceServicer):
    """Serves BackendService."""

    def __init__(self, routes: Routes, store: RouteStore, findings: Findings) -> None:
        """Takes the parts that do the work."""
        self._routes = routes
        self._findings = findings
        self._store = store

    async def PutBackendRoute(self, request: pb.PutBackendRouteRequest, context: Any) -> pb.BackendRoute:
        """Creates or changes a route."""
        return to_message(await self._routes.put(to_route(request.route), request.route.etag))

    async def GetBackendRoute(self, request: pb.GetBackendRouteRequest, context: Any) -> pb.BackendRoute:
        """Returns a route."""
        workspace, slug = parse(request.name, ROUTE)
        found = await self._store.route(workspace, slug)
        if found is None:
            raise NotFound(request.name)
        return to_message(found)

    async def ListBackendRoutes(
        self, request: pb.ListBackendRoutesRequest, context: Any
    ) -> pb.ListBackendRoutesResponse:
        """Lists a workspace's routes."""
        paging = Paging.of(request)
        (workspace,) = parse(request.parent, "workspaces/*", field="parent")
        found = await self._store.page(workspace, after=paging.after, limit=paging.size + 1)
        token = paging.token(found[paging.size - 1].integration) if len(found) > paging.size else ""
        return pb.ListBackendRoutesResponse(backend_routes=map(to_message, found[: paging.size]), next_page_token=token)

    async def CutOver(self, request: pb.CutOverRequest, context: Any) -> pb.BackendRoute:
        """Has the candidate answer."""
        workspace, slug = parse(request.name, ROUTE)
        return to_message(await self._routes.cut_over(workspace, slug, request.etag))

    async def DeleteBackendRoute(self, request: pb.DeleteBackendRouteRequest, context: Any) -> Empty:
        """Deletes a route."""
        workspace, slug = parse(request.name, ROUTE)
        await self._routes.delete(workspace, slug, request.etag)
        return Empty()

    async def GetComparison(self, request: pb.GetComparisonRequest, context: Any) -> pb.Comparison:
        """Says what the comparison has shown."""
        workspace, slug = parse(request.name, f"{ROUTE}/comparison")
        return to_comparison(request.name, *await self._findings.of(workspace, slug))
