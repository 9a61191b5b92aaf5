"""SealingKeyService: messages in, one domain call, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cordboard.auth.v1 import sealing_key_service_pb2 as pb
from cordboard.auth.v1.sealing_key_service_pb2_grpc import SealingKeyServiceServicer
from cordboard.core.names import parse

if TYPE_CHECKING:
    from cordboard.auth.sealing_keys import SealingKeys


class SealingKeyServicer(SealingKeyServiceServicer):
    """Answers SealingKeyService."""

    def __init__(self, keys: SealingKeys) -> None:
        """Takes what keeps the keys."""
        self._keys = keys

    async def LeaseSealingKey(self, request: pb.LeaseSealingKeyRequest, _: Any) -> pb.LeaseSealingKeyResponse:
        (workspace,) = parse(request.workspace, "workspaces/*", field="workspace")
        found = await self._keys.lease(workspace, request.number)
        return pb.LeaseSealingKeyResponse(number=found.number, key=found.key.reveal())
