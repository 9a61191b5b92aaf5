"""Definition versions from the Catalog, over its RPCs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final

import grpc

from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.core.errors import CordboardError, DependencyUnavailable, NotFound
from cordboard.uqi.upkeep import Release

if TYPE_CHECKING:
    from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceAsyncStub

GET_SECONDS: Final = 10.0


class CatalogFeed:
    """Follows the Catalog, and asks it."""

    def __init__(self, channel: Callable[[], grpc.aio.Channel]) -> None:
        """Takes what returns the channel to use now."""
        self._channel = channel

    async def after(self, sequence: int) -> AsyncIterator[Release | None]:
        """Yields each live version, then each change with a number above `sequence`; raises DependencyUnavailable.

        None stands where everything that there was when it began has been said.
        """
        try:
            async for message in self._stub().WatchDefinitions(pb.WatchDefinitionsRequest(after_sequence=sequence)):
                if message.WhichOneof("event") == "definition_version":
                    yield _release(message.definition_version, message.sequence)
                elif message.caught_up:
                    yield None
        except grpc.aio.AioRpcError as error:
            raise DependencyUnavailable("catalog") from error

    async def release(self, integration: str, version: str) -> Release:
        """Returns a version (`active` for the active one); raises NotFound and DependencyUnavailable."""
        name = f"integrations/{integration}/versions/{version}"
        try:
            request = pb.GetDefinitionVersionRequest(name=name)
            return _release(await self._stub().GetDefinitionVersion(request, timeout=GET_SECONDS))
        except grpc.aio.AioRpcError as error:
            raise _as_error(error, name) from error

    def _stub(self) -> CatalogServiceAsyncStub:
        return CatalogServiceStub(self._channel())


def _as_error(error: grpc.aio.AioRpcError, name: str) -> CordboardError:
    if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
        return NotFound(name)
    return DependencyUnavailable("catalog")


def _release(version: pb.DefinitionVersion, sequence: int = 0) -> Release:
    _, integration, _, number = version.name.split("/")
    return Release(integration, number, version.content_hash, version.active, version.definition, sequence)
