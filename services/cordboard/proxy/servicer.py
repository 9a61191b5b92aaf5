"""ProxyService: messages in, one call of the domain, messages out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any

from cordboard.core.caller import current_caller
from cordboard.core.names import parse
from cordboard.core.paging import Paging
from cordboard.core.times import Clock
from cordboard.proxy.archive import Archive
from cordboard.proxy.breakers.breakers import Breakers
from cordboard.proxy.breakers.messages import to_breakers, to_slug
from cordboard.proxy.breakers.messages import to_order as to_after
from cordboard.proxy.messages import to_call, to_order, to_page, to_response
from cordboard.proxy.pipeline import Pipeline
from cordboard.proxy.v1 import proxy_service_pb2 as pb
from cordboard.proxy.v1.proxy_service_pb2_grpc import ProxyServiceServicer


class ProxyServicer(ProxyServiceServicer):
    """Serves ProxyService."""

    def __init__(self, pipeline: Pipeline, archive: Archive, breakers: Breakers, clock: Clock) -> None:
        """Takes the parts that do the work."""
        self._pipeline = pipeline
        self._archive = archive
        self._breakers = breakers
        self._clock = clock

    async def Execute(self, request: pb.ExecuteRequest, context: Any) -> pb.ExecuteResponse:
        """Runs an action."""
        answer, call = await self._pipeline.execute(to_order(request))
        return to_response(answer, call, request.output_format)

    async def ExecuteStream(
        self, request: pb.ExecuteStreamRequest, context: Any
    ) -> AsyncIterator[pb.ExecuteStreamResponse]:
        """Runs a paged action, page by page."""
        async with contextlib.aclosing(self._pipeline.pages(to_order(request))) as pages:
            async for page, call in pages:
                yield to_page(page, call, request.output_format)

    async def GetCall(self, request: pb.GetCallRequest, context: Any) -> pb.Call:
        """Returns what is kept of a call."""
        workspace, call_id = parse(request.name, "workspaces/*/calls/*")
        return to_call(await self._archive.call(workspace, call_id))

    async def ListCalls(self, request: pb.ListCallsRequest, context: Any) -> pb.ListCallsResponse:
        """Lists a workspace's calls, newest first."""
        paging = Paging.of(request)
        (workspace,) = parse(request.parent, "workspaces/*", field="parent")
        records = await self._archive.calls(workspace, before=paging.after, limit=paging.size + 1)
        token = paging.token(records[paging.size - 1].id) if len(records) > paging.size else ""
        return pb.ListCallsResponse(calls=map(to_call, records[: paging.size]), next_page_token=token)

    async def ListBreakers(self, request: pb.ListBreakersRequest, context: Any) -> pb.ListBreakersResponse:
        """Lists the breakers that the caller's workspace has to do with; to operators, all."""
        paging, caller = Paging.of(request), current_caller()
        workspace = None if caller.is_operator else caller.workspace
        slug, after = to_slug(request.integration), to_after(paging.after)
        readings = self._breakers.readings(workspace=workspace, integration=slug, after=after)
        return to_breakers(list(islice(readings, paging.size + 1)), paging, self._clock.now())
