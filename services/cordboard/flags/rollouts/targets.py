"""What rollouts are about: asks the Catalog whether it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc

from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.catalog.v1.lifecycle_pb2 import VERSION_STATE_RETIRED
from cordboard.core.errors import DependencyUnavailable, InvalidFields

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT: Final = 5.0
_ABSENT: Final = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)


class Targets:
    """Knows integrations and their versions, as the Catalog has them."""

    def __init__(self, channel: Callable[[], grpc.aio.Channel] | None) -> None:
        """Takes what returns the channel to the Catalog; without one everything is taken to be there."""
        self._channel = channel

    async def check(self, key: str, version: str) -> None:
        """Returns when a rollout can be about `key`, and about a version where it is one of versions; raises
        InvalidFields with the field that names what is not there, and DependencyUnavailable.
        """
        kind, _, rest = key.partition(".")
        slug = rest.partition(".")[0]
        if self._channel is None:
            return
        catalog = CatalogServiceStub(self._channel())
        name = f"integrations/{slug}"
        try:
            await catalog.GetIntegration(pb.GetIntegrationRequest(name=name), timeout=TIMEOUT)
        except grpc.aio.AioRpcError as error:
            raise _refusal(error, "rollout.name", f"{name!r} does not exist", "UNKNOWN_INTEGRATION") from None
        if kind != "version":
            return
        name = f"{name}/versions/{version}"
        try:
            found = await catalog.GetDefinitionVersion(pb.GetDefinitionVersionRequest(name=name), timeout=TIMEOUT)
        except grpc.aio.AioRpcError as error:
            text = f"{name!r} does not exist, or is a draft"
            raise _refusal(error, "rollout.version", text, "UNKNOWN_VERSION") from None
        if found.state == VERSION_STATE_RETIRED:
            raise InvalidFields.one("rollout.version", f"{name!r} is retired: no call can use it", "RETIRED_VERSION")


def _refusal(error: grpc.aio.AioRpcError, field: str, text: str, rule: str) -> Exception:
    return InvalidFields.one(field, text, rule) if error.code() in _ABSENT else DependencyUnavailable("catalog")
