"""The way from an edge to its hub: one channel that the edge opens, and tokens that its Catalog gets."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import grpc

from cordboard.catalog.v1 import edge_access_service_pb2 as pb
from cordboard.catalog.v1.edge_access_service_pb2_grpc import EdgeAccessServiceStub
from cordboard.core.errors import CordboardError, DependencyUnavailable, StateConflict
from cordboard.core.secrets import Secret

if TYPE_CHECKING:
    from cordboard.core.channel import Channels

ASK_SECONDS: Final = 12.0
CONNECT_SECONDS: Final = 5.0
# A token with less left than this is replaced: the hub has to take it when a call comes there.
LEAST_SECONDS: Final = 30.0
# Beside an answer stand its status and what is kept of the call.
_AROUND: Final = 64 * 1024


class HubLine:
    """The channel to the hub that this mesh follows, and what opens it."""

    def __init__(self, channels: Channels, max_bytes: int) -> None:
        """Takes the way to the Catalog, and how large an answer may be."""
        self._channels = channels
        self._max_bytes = max_bytes
        self._channel: grpc.aio.Channel | None = None
        self._place: tuple[str, bytes] | None = None
        self._tokens: dict[tuple[str, str], tuple[Secret[str], float]] = {}
        self._asking: dict[tuple[str, str], asyncio.Lock] = {}

    @property
    def address(self) -> str:
        """Returns where the hub is; empty before it was asked for."""
        return self._place[0] if self._place is not None else ""

    async def token(self, workspace: str, environment: str, *, refused: Secret[str] | None = None) -> Secret[str]:
        """Returns a token, another one than the hub refused; raises StateConflict and DependencyUnavailable."""
        key = (workspace, environment)
        async with self._asking.setdefault(key, asyncio.Lock()):
            known = self._tokens.get(key)
            if known is not None and known[0] is not refused and known[1] - time.time() > LEAST_SECONDS:
                return known[0]
            found = await self._ask(workspace, environment)
            await self._lead_to(found.address, found.authority)
            token = Secret(found.access_token)
            self._tokens[key] = (token, found.expire_time.ToNanoseconds() / 1e9)
            return token

    async def channel(self) -> grpc.aio.Channel:
        """Returns the channel once it stands; raises TimeoutError, and DependencyUnavailable before a token was got."""
        channel = self._channel
        if channel is None:
            raise DependencyUnavailable("hub")
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await channel.channel_ready()
        except (TimeoutError, asyncio.CancelledError):
            # It may have moved: whoever calls next asks where it is.
            self._tokens.clear()
            raise
        return channel

    async def close(self) -> None:
        """Closes the channel."""
        if self._channel is not None:
            await self._channel.close()

    async def _ask(self, workspace: str, environment: str) -> pb.HubAccess:
        stub = EdgeAccessServiceStub(self._channels.to("catalog"))
        request = pb.GetHubAccessRequest(workspace=f"workspaces/{workspace}", environment=environment)
        try:
            return await stub.GetHubAccess(request, timeout=ASK_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise _error_of(error, workspace) from None

    async def _lead_to(self, address: str, authority: bytes) -> None:
        if self._place == (address, authority):
            return
        await self.close()
        self._place = (address, authority)
        self._channel = grpc.aio.secure_channel(
            address,
            grpc.ssl_channel_credentials(authority or None),
            options=[
                ("grpc.max_receive_message_length", self._max_bytes + _AROUND),
                ("grpc.keepalive_time_ms", 20_000),
                ("grpc.keepalive_timeout_ms", 5_000),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1_000),
                ("grpc.enable_retries", 0),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )


def _error_of(error: grpc.aio.AioRpcError, workspace: str) -> CordboardError:
    if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
        return StateConflict(f"workspaces/{workspace}", "hub", error.details() or "the hub runs no calls of it")
    return DependencyUnavailable("hub" if error.code() is grpc.StatusCode.UNAVAILABLE else "catalog")
