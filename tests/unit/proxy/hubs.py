"""The hub of an edge in tests of the edge's Proxy: a door that anybody may come to, and behind it what is told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from cordboard.catalog.v1 import edge_access_service_pb2 as access_pb
from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import backend_service_pb2 as pb
from cordboard.proxy.v1.backend_service_pb2_grpc import BackendServiceStub
from tests.fixtures.serving import Served
from tests.unit.proxy.neighbours import Neighbours
from tests.unit.proxy.running import until

# What is a hop's own, and not passed on by a relay.
_OWN: Final = ("grpc-", "user-agent", "te", "content-type")

Behave = Callable[[str, AsyncIterator[bytes], Any], AsyncIterator[bytes]]
"""Answers a call of this method: messages in and out, as bytes."""


@dataclass
class Door(grpc.GenericRpcHandler):
    """Takes every call with the behaviour of the moment."""

    behave: Behave
    address: str = ""
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Method and metadata of every call."""
    server: grpc.aio.Server = field(default_factory=grpc.aio.server)

    async def close(self) -> None:
        """Is there no more."""
        await self.server.stop(None)

    def service(self, handler_call_details: Any) -> Any:
        """Returns the handler of any method."""
        method = handler_call_details.method
        self.asked.append((method, dict(handler_call_details.invocation_metadata)))

        async def answers(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            async for answer in self.behave(method, requests, context):
                yield answer

        return grpc.stream_stream_rpc_method_handler(answers)


@contextlib.asynccontextmanager
async def a_door(identities: Identities, behave: Behave) -> AsyncIterator[Door]:
    """Serves it with TLS, as Envoy does outwards: who comes shows no certificate."""
    directory = identities.directory("envoy-public")
    door = Door(behave)
    door.server.add_generic_rpc_handlers((door,))
    pair = ((directory / "tls.key").read_bytes(), (directory / "tls.crt").read_bytes())
    port = door.server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    door.address = f"localhost:{port}"
    await door.server.start()
    try:
        yield door
    finally:
        await door.close()


def relayed(channel: grpc.aio.Channel) -> Behave:
    """Passes calls on over a channel, with their metadata and their deadlines, as Envoy does."""

    async def behave(method: str, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        metadata = [(name, value) for name, value in context.invocation_metadata() if not name.startswith(_OWN)]
        through: Any = channel.stream_stream(method)
        call = through(requests, timeout=context.time_remaining(), metadata=metadata)
        try:
            async for answer in call:
                yield answer
        except grpc.aio.AioRpcError as error:
            trailing = tuple(error.trailing_metadata() or ())
            await context.abort(error.code(), error.details() or "", trailing_metadata=trailing)
        finally:
            call.cancel()

    return behave


def hanging(ended: list[tuple[float, float]]) -> Behave:
    """Never answers, and notes when who asked has left, and how many seconds it had been given beyond that."""

    async def behave(_: str, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        try:
            await asyncio.Event().wait()
            yield b""
        except asyncio.CancelledError:
            ended.append((time.time(), context.time_remaining() or 0.0))
            raise

    return behave


def follow(around: Neighbours, identities: Identities, door: Door, token: str, seconds: int = 3600) -> None:
    """Tells a mesh where its hub is, and what to show there for so long."""
    access = access_pb.HubAccess(
        address=door.address,
        authority=(identities.directory("envoy-public") / "ca.crt").read_bytes(),
        access_token=token,
    )
    access.expire_time.FromSeconds(int(time.time()) + seconds)
    around.hub = access


async def lead(served: Served, name: str, connections: Sequence[pb.RemoteConnection] = ()) -> None:
    """Has the calls of a route's workspace and integration run at the hub."""
    route = pb.BackendRoute(name=name, primary=pb.Backend(hub=pb.HubBackend(), connections=connections))
    stub: Any = BackendServiceStub(served.as_role("workspace-admin", workspace=name.split("/")[1]))
    await stub.PutBackendRoute(pb.PutBackendRouteRequest(route=route))

    async def known() -> bool:
        listed = await stub.ListBackendRoutes(pb.ListBackendRoutesRequest(parent=name.partition("/backend")[0]))
        return any(one.name == name and one.primary.HasField("hub") for one in listed.backend_routes)

    await until(known)
