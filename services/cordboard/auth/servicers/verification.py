"""VerificationService: messages in, one domain call, messages out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from cordboard.auth.servicers.token_revocations import kind_value
from cordboard.auth.v1 import verification_service_pb2 as pb
from cordboard.auth.v1.verification_service_pb2_grpc import VerificationServiceServicer

if TYPE_CHECKING:
    from cordboard.auth.api_keys import ApiKeyRing
    from cordboard.auth.token_revocations import TokenRevocations
    from cordboard.core.revocations import Signal


class VerificationServicer(VerificationServiceServicer):
    """Answers VerificationService."""

    def __init__(self, revocations: TokenRevocations, ring: ApiKeyRing) -> None:
        """Takes what was revoked, and what keeps the API keys."""
        self._revocations = revocations
        self._ring = ring

    async def WatchRevocations(
        self, request: pb.WatchRevocationsRequest, _: Any
    ) -> AsyncIterator[pb.WatchRevocationsResponse]:
        async for signal in self._revocations.signals(request.after_sequence):
            yield _message(signal)

    async def ExchangeApiKey(self, request: pb.ExchangeApiKeyRequest, _: Any) -> pb.ExchangeApiKeyResponse:
        return pb.ExchangeApiKeyResponse(access_token=await self._ring.token(request.api_key))


def _message(signal: Signal) -> pb.WatchRevocationsResponse:
    message, found = pb.WatchRevocationsResponse(sequence=signal.sequence), signal.revoked
    if found is not None:
        message.revocation.kind = kind_value(found.kind.value)
        message.revocation.workspace = f"workspaces/{found.workspace}" if found.workspace else ""
        message.revocation.subject, message.revocation.generation = found.subject, found.generation
        if found.expires is not None:
            message.revocation.expire_time.FromSeconds(int(found.expires) + 1)
    return message
