"""A channel that the network has lost: with our options it hears of it by itself, without them it waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cordboard.core.liveness import KEEPALIVE, LEAST_PING_MS
from tests.fixtures.relays import Relay, a_relay

# Ten seconds is what it takes, and a minute what it takes gRPC by itself; the machine may be slow.
LOST_WITHIN = 45.0
PATIENCE = 90.0
REQUEST = health_pb2.HealthCheckRequest()


class Silent(health_pb2_grpc.HealthServicer):
    """Answers a Check at once, and says one thing to whoever watches."""

    async def Check(self, request: Any, context: Any) -> health_pb2.HealthCheckResponse:
        return health_pb2.HealthCheckResponse()

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        yield health_pb2.HealthCheckResponse()
        await asyncio.Event().wait()


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    server = grpc.aio.server(options=[("grpc.http2.min_ping_interval_without_data_ms", LEAST_PING_MS)])
    health_pb2_grpc.add_HealthServicer_to_server(Silent(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with a_relay(f"127.0.0.1:{port}") as made:
        yield made
    await server.stop(None)


@contextlib.asynccontextmanager
async def a_watch(relay: Relay, *options: tuple[str, int]) -> AsyncIterator[tuple[Any, Any]]:
    """Gives a stub and a watch that has begun, without a deadline."""
    own = (("grpc.use_local_subchannel_pool", 1), *options)
    async with grpc.aio.insecure_channel(relay.address, options=own) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch: Any = stub.Watch(REQUEST)
        await watch.read()
        yield stub, watch
        watch.cancel()


async def test_a_lost_channel_is_given_up_and_the_next_call_goes_well(relay: Relay) -> None:
    async with a_watch(relay, *KEEPALIVE) as (stub, watch):
        relay.lose()
        with pytest.raises(grpc.aio.AioRpcError) as lost:
            async with asyncio.timeout(LOST_WITHIN):
                await watch.read()
        assert lost.value.code() is grpc.StatusCode.UNAVAILABLE
        await stub.Check(REQUEST, timeout=PATIENCE, wait_for_ready=True)


async def test_without_these_options_a_lost_channel_is_waited_for(relay: Relay) -> None:
    """The control."""
    async with a_watch(relay) as (_, watch):
        relay.lose()
        reading = asyncio.ensure_future(watch.read())
        await asyncio.wait({reading}, timeout=20.0)
        assert not reading.done()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_a_server_lets_a_quiet_watch_ask_as_often_as_it_does(relay: Relay) -> None:
    """Who asks more often than a server allows is thrown out after a few times; here it asks as often as it may."""
    quick = tuple(
        (name, LEAST_PING_MS + 200 if name == "grpc.keepalive_time_ms" else value) for name, value in KEEPALIVE
    )
    async with a_watch(relay, *quick) as (_, watch):
        reading = asyncio.ensure_future(watch.read())
        await asyncio.wait({reading}, timeout=6 * LEAST_PING_MS / 1000)
        assert not reading.done()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
