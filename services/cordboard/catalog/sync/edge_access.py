"""How calls of an edge come to its hub: the hub's Catalog says who an edge is, the edge's signs for its mesh."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import grpc

from cordboard.auth.v1 import edge_token_service_pb2 as auth_pb
from cordboard.auth.v1.edge_token_service_pb2_grpc import EdgeTokenServiceStub
from cordboard.catalog.sync.follower import dial
from cordboard.catalog.sync.signing import EDGE_TOKEN, labelled, sign, verified
from cordboard.core.errors import DependencyUnavailable, NotFound, StateConflict
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from cordboard.catalog.sync.bootstrap import Bootstrap
    from cordboard.catalog.sync.hub import Hub
    from cordboard.catalog.sync.keys import HubKeys

ASK_SECONDS: Final = 10.0
_REFUSALS: Final = frozenset({grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT})


@dataclass(frozen=True, slots=True)
class Said:
    """What an edge says of itself, and what shows it."""

    edge: str
    workspace: str
    environment: str
    nonce: bytes
    signature: bytes


class EdgeCheck:
    """Judges at a hub what an edge says of itself."""

    def __init__(self, hub: Hub, keys: HubKeys) -> None:
        """Takes what knows edges, and who this hub is."""
        self._hub = hub
        self._keys = keys

    async def check(self, said: Said) -> None:
        """Returns when it is true; raises NotFound, the same for everything that is not, and StateConflict."""
        hub = (await self._keys.recent()).hub
        edge = await self._hub.edge(said.edge)
        text = _text(hub, said.edge, said.workspace, said.environment, said.nonce)
        own = edge.revoke_time is None and said.workspace in edge.workspaces
        if not own or not verified(edge.public_key, said.signature, text):
            raise NotFound(edge.name)


@dataclass(frozen=True, slots=True)
class HubToken:
    """A token of this edge's at its hub."""

    token: Secret[str]
    expire_time: datetime


class HubAccess:
    """Gets tokens at the hub that this edge follows."""

    def __init__(self, bootstrap: Bootstrap | None, address: str) -> None:
        """Takes who this edge is, None where it is none, and where its hub is if not where it said it is."""
        self._bootstrap = bootstrap
        self._address = address

    @property
    def bootstrap(self) -> Bootstrap:
        """Returns who this edge is; raises StateConflict where it is none."""
        if self._bootstrap is None:
            raise StateConflict("hub", "none", "this mesh follows no hub: only an edge has calls run there")
        return self._bootstrap

    @property
    def address(self) -> str:
        """Returns HOST:PORT of the hub's Envoy; raises StateConflict where there is none."""
        return self._address or self.bootstrap.address

    async def token(self, workspace: str, environment: str) -> HubToken:
        """Returns a new token; raises StateConflict and DependencyUnavailable."""
        bootstrap = self.bootstrap
        try:
            async with asyncio.timeout(ASK_SECONDS), dial(bootstrap, self._address) as channel:
                stream: Any = EdgeTokenServiceStub(channel).IssueEdgeToken()
                nonce = (await _message(stream)).challenge.nonce
                text = _text(bootstrap.hub, bootstrap.edge, workspace, environment, nonce)
                await stream.write(
                    auth_pb.IssueEdgeTokenRequest(
                        edge=f"edges/{bootstrap.edge}",
                        workspace=f"workspaces/{workspace}",
                        environment=environment,
                        signature=sign(bootstrap.private_key, text),
                    )
                )
                found = (await _message(stream)).token
        except grpc.aio.AioRpcError as error:
            if error.code() in _REFUSALS:
                problem = "the hub lets this edge run no calls of this workspace"
                raise StateConflict(f"workspaces/{workspace}", "hub", problem) from None
            raise DependencyUnavailable("hub") from None
        except (TimeoutError, asyncio.InvalidStateError):
            raise DependencyUnavailable("hub") from None
        return HubToken(Secret(found.access_token), found.expire_time.ToDatetime(UTC))


async def _message(stream: Any) -> auth_pb.IssueEdgeTokenResponse:
    message = await stream.read()
    if message is grpc.aio.EOF:
        raise DependencyUnavailable("hub")
    return message  # type: ignore[no-any-return]


def _text(hub: str, edge: str, workspace: str, environment: str, nonce: bytes) -> bytes:
    return labelled(EDGE_TOKEN, hub.encode(), edge.encode(), workspace.encode(), environment.encode(), nonce)
