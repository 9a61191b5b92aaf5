"""EdgeTokenService: messages in, one domain call, messages out."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final

from cordboard.auth.edge_tokens import METHOD, Claim
from cordboard.auth.v1 import edge_token_service_pb2 as pb
from cordboard.auth.v1.edge_token_service_pb2_grpc import EdgeTokenServiceServicer
from cordboard.core.errors import AccessDenied
from cordboard.core.names import parse
from cordboard.core.times import to_timestamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cordboard.auth.edge_tokens import EdgeTokens

ANSWER_SECONDS: Final = 10.0
NONCE_BYTES: Final = 32


class EdgeTokenServicer(EdgeTokenServiceServicer):
    """Answers EdgeTokenService."""

    def __init__(self, tokens: EdgeTokens) -> None:
        """Takes what issues tokens."""
        self._tokens = tokens

    async def IssueEdgeToken(
        self, requests: AsyncIterator[pb.IssueEdgeTokenRequest], _: Any
    ) -> AsyncIterator[pb.IssueEdgeTokenResponse]:
        nonce = secrets.token_bytes(NONCE_BYTES)
        yield pb.IssueEdgeTokenResponse(challenge=pb.EdgeTokenChallenge(nonce=nonce))
        issued = await self._tokens.issue(await _claim(requests), nonce)
        token = pb.EdgeToken(access_token=issued.token.reveal(), expire_time=to_timestamp(issued.expire_time))
        yield pb.IssueEdgeTokenResponse(token=token)


async def _claim(requests: AsyncIterator[pb.IssueEdgeTokenRequest]) -> Claim:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            said = await anext(requests)
    except (TimeoutError, StopAsyncIteration):
        raise AccessDenied(METHOD, "an edge says who it is") from None
    (edge,) = parse(said.edge, "edges/*", field="edge")
    (workspace,) = parse(said.workspace, "workspaces/*", field="workspace")
    return Claim(edge, workspace, said.environment, said.signature)
