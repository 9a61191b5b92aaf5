"""Answers about sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.v1 import source_service_pb2 as pb
from cordboard.catalog.v1.source_service_pb2_grpc import SourceServiceServicer
from cordboard.core.names import parse
from cordboard.core.paging import Paging

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cordboard.catalog.sources.sources import Sources

SOURCE: Final = "sources/*"


class SourceServicer(SourceServiceServicer):
    """Messages in, one call of the domain, messages out."""

    def __init__(self, sources: Sources) -> None:
        """Takes the sources."""
        self._sources = sources

    async def PutSource(self, request: pb.PutSourceRequest, _context: Any) -> pb.Source:
        return await self._sources.put(request.source)

    async def GetSource(self, request: pb.GetSourceRequest, _context: Any) -> pb.Source:
        (source,) = parse(request.name, SOURCE)
        return await self._sources.source(source)

    async def ListSources(self, request: pb.ListSourcesRequest, _context: Any) -> pb.ListSourcesResponse:
        paging = Paging.of(request)
        found = await self._sources.sources(after=paging.after, limit=paging.size + 1)
        page = found[: paging.size]
        token = paging.token(page[-1].name.partition("/")[2]) if len(found) > len(page) else ""
        return pb.ListSourcesResponse(sources=page, next_page_token=token)

    async def DeleteSource(self, request: pb.DeleteSourceRequest, _context: Any) -> pb.DeleteSourceResponse:
        (source,) = parse(request.name, SOURCE)
        await self._sources.delete(source)
        return pb.DeleteSourceResponse()

    async def RunSource(self, request: pb.RunSourceRequest, _context: Any) -> AsyncIterator[pb.RunSourceResponse]:
        (source,) = parse(request.name, SOURCE)
        async for answer in self._sources.run(source):
            yield answer
