"""A Catalog as far as UQI sees it: announces definition versions to whoever watches, and answers for each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.catalog.v1 import definition_pb2
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceServicer, add_CatalogServiceServicer_to_server
from cordboard.core.errors import NotFound
from cordboard.core.server import Process
from cordboard.core.settings import Settings


class Announcer(CatalogServiceServicer):
    """Keeps what was published, and says it to watchers; `hush` keeps the news from them."""

    def __init__(self) -> None:
        self.versions: dict[str, pb.DefinitionVersion] = {}
        self.active: dict[str, str] = {}
        self.watchers: list[int] = []
        self.asked = 0
        self.hush = False
        self._news: list[pb.WatchDefinitionsResponse] = []
        self._more = asyncio.Condition()

    async def publish(self, definition: definition_pb2.Definition, version: str, content_hash: str = "") -> None:
        """Makes this a version of the definition's integration, and the active one."""
        name = f"integrations/{definition.slug}/versions/{version}"
        hashed = content_hash or f"hash of {version}"
        self.versions[name] = pb.DefinitionVersion(name=name, definition=definition, content_hash=hashed, active=True)
        self.active[definition.slug] = name
        async with self._more:
            number = len(self._news) + 1
            self._news.append(pb.WatchDefinitionsResponse(sequence=number, definition_version=self.versions[name]))
            self._more.notify_all()

    async def start(self, process: Process[Settings]) -> None:
        """Serves this as the Catalog."""
        add_CatalogServiceServicer_to_server(self, process.server)

    async def GetDefinitionVersion(self, request: pb.GetDefinitionVersionRequest, context: Any) -> pb.DefinitionVersion:
        self.asked += 1
        _, slug, _, version = request.name.split("/")
        name = self.active.get(slug, "") if version == "active" else request.name
        if name not in self.versions:
            raise NotFound(request.name)
        return self.versions[name]

    async def WatchDefinitions(
        self, request: pb.WatchDefinitionsRequest, context: Any
    ) -> AsyncIterator[pb.WatchDefinitionsResponse]:
        self.watchers.append(request.after_sequence)
        said = request.after_sequence
        yield pb.WatchDefinitionsResponse(sequence=said, caught_up=True)
        while True:
            async with self._more:
                while self.hush or len(self._news) <= said:
                    await self._more.wait()
                news = self._news[said:]
            for event in news:
                yield event
                said = event.sequence


def an_announcer() -> Announcer:
    """A Catalog that has nothing yet."""
    return Announcer()  # type: ignore[abstract] # answers a part
