"""Lets edges run calls here: an edge that proves who it is gets a token for a workspace that is its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from cordboard.auth.fields import an_id
from cordboard.catalog.v1 import edge_access_service_pb2 as pb
from cordboard.core.errors import AccessDenied, DependencyUnavailable, InvalidFields, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from cordboard.auth.tokens import Issued, TokenIssuer
    from cordboard.catalog.v1.edge_access_service_pb2_grpc import EdgeAccessServiceAsyncStub

METHOD: Final = "cordboard.auth.v1.EdgeTokenService/IssueEdgeToken"
# An edge that is revoked, or may call no more, has a token for this long at most.
TOKEN_SECONDS: Final = 300
CHECK_SECONDS: Final = 5.0
# The Catalog's answers that mean no: which of them it was is nobody's business.
_REFUSALS: Final = frozenset(
    {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT}
)


@dataclass(frozen=True, slots=True)
class Claim:
    """What an edge says of itself."""

    edge: str
    workspace: str
    environment: str
    signature: bytes


class EdgeTokens:
    """Issues tokens to edges."""

    def __init__(
        self, issuer: TokenIssuer, catalog: Callable[[], EdgeAccessServiceAsyncStub], callers: Collection[str]
    ) -> None:
        """Takes what issues tokens, what returns a stub of the Catalog to use now, and which edges may call here."""
        self._issuer = issuer
        self._catalog = catalog
        self._callers = frozenset(callers)

    async def issue(self, claim: Claim, nonce: bytes) -> Issued:
        """Returns a token; raises InvalidFields, AccessDenied in the same words whatever is wrong, and
        DependencyUnavailable.
        """
        if wrong := an_id(claim.environment, "environment"):
            raise InvalidFields(wrong)
        if claim.edge not in self._callers:
            raise _refused()
        request = pb.CheckEdgeRequest(
            edge=f"edges/{claim.edge}",
            workspace=f"workspaces/{claim.workspace}",
            environment=claim.environment,
            nonce=nonce,
            signature=claim.signature,
        )
        try:
            await self._catalog().CheckEdge(request, timeout=CHECK_SECONDS)
            return await self._issuer.for_edge(claim.edge, claim.workspace, claim.environment, TOKEN_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() in _REFUSALS:
                raise _refused() from None
            raise DependencyUnavailable("catalog") from None
        except NotFound:
            raise _refused() from None


def _refused() -> AccessDenied:
    return AccessDenied(METHOD, "no such edge, not its key, not its workspace, or it runs no calls here")
