"""Publishes at a hub without end, and remembers what the hub has acknowledged: for tests that kill hubs and edges."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc

from cordboard.catalog.v1 import catalog_service_pb2 as catalog_pb
from cordboard.catalog.v1 import governance_service_pb2 as governance_pb
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.catalog.v1.governance_service_pb2_grpc import GovernanceServiceStub
from cordboard.catalog.v1.lifecycle_pb2 import Pin
from tests.unit.catalog.definitions import DOCUMENT

PATIENCE: Final = 120.0
# Two hundred kills on a busy machine outlast the ten minutes of the other tests' tokens.
TOKEN_SECONDS: Final = 4 * 3600
ROLES: Final = ("publisher", "operator")
# What a call gives when the hub goes away under it: whether it was done, nobody knows.
AWAY: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)


class Publishing:
    """Publishes at the hub, and says again what the hub may not have heard."""

    def __init__(self, channel: grpc.aio.Channel, *, slugs: int = 17) -> None:
        self._slugs = slugs
        self._channel = channel
        self._catalog: Any = CatalogServiceStub(self._channel)
        self._governance: Any = GovernanceServiceStub(self._channel)
        self._going = True
        self.underway = asyncio.Event()
        """Set while the hub is asked for something."""
        self.published: dict[str, str] = {}
        """The hash of each version that the hub has acknowledged, by name."""
        self.pinned: dict[str, str] = {}
        """What each integration was pinned to last, in the workspace of the edges."""

    async def _said(self, ask: Callable[..., Awaitable[Any]], request: Any) -> Any:
        while True:
            try:
                self.underway.set()
                return await ask(request, timeout=20)
            except grpc.aio.AioRpcError as error:
                assert error.code() in AWAY, error
            finally:
                self.underway.clear()
            await asyncio.sleep(0.02)

    async def run(self) -> None:
        """Publishes until `stop`."""
        number = 0
        while self._going:
            slug, title = f"desk-{number % self._slugs}", f"Title {number}"
            text = DOCUMENT.replace("slug: acme-desk", f"slug: {slug}").replace("title: Acme Desk", f"title: {title}")
            request = catalog_pb.PublishDefinitionRequest(document=text)
            answer = await self._said(self._catalog.PublishDefinition, request)
            self.published[answer.name] = answer.content_hash
            if number % 3 == 0:
                version = answer.name.rpartition("/")[2]
                pin = Pin(name=f"workspaces/acme/environments/production/pins/{slug}", version=version)
                await self._said(self._governance.SetPin, governance_pb.SetPinRequest(pin=pin))
                self.pinned[slug] = version
            number += 1
            await asyncio.sleep(0.02)

    @contextlib.asynccontextmanager
    async def going(self) -> AsyncIterator[None]:
        """Publishes inside the block; what was begun is finished once there is a hub."""
        task = asyncio.create_task(self.run())
        try:
            yield
        finally:
            self._going = False
            async with asyncio.timeout(PATIENCE):
                await task
            await self._channel.close()
