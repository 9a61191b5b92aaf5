"""Local copies: a Proxy is ready with the first ones, and then needs nobody; what changes reaches it at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from cordboard.local.certificates import Identities
from cordboard.sandbox import serving as vendor_serving
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving
from tests.unit.proxy.neighbours import neighbours
from tests.unit.proxy.running import CONNECTION, ON, Mesh, a_mesh, a_proxy, execute, is_ready, refusal, until
from tests.unit.proxy.samples import SLUG, acme_desk

Code = grpc.StatusCode


async def health(served: Served) -> Any:
    stub: Any = HealthStub(served.channel("envoy"))
    return (await stub.Check(health_pb2.HealthCheckRequest())).status


async def test_it_serves_once_it_has_both_copies_and_not_before(
    serving: Serving, identities: Identities, database: Databases
) -> None:
    serves, not_yet = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    async with vendor_serving() as vendor, neighbours(identities) as around:
        await around.connect(CONNECTION, integration=SLUG, api_key=vendor.settings.api_key)
        async with a_proxy(serving, around, database("proxy").url) as served:
            mesh = Mesh(served, around, vendor)
            await until(lambda: around.watching == {"catalog", "auth", "flags"})
            assert not await is_ready(served)
            refused = await refusal(mesh.stub().Execute(execute()))
            assert (refused.code, refused.reason) == (Code.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
            await around.set_flags(**ON)
            await around.publish(acme_desk(vendor.url))
            assert not await is_ready(served)
            assert await health(served) == not_yet
            await around.catch_up()

            async def is_serving() -> bool:
                return bool(await health(served) == serves)

            await until(is_serving)
            await mesh.stub().Execute(execute())


async def test_an_ordinary_call_asks_no_other_service_and_survives_their_outage(
    serving: Serving, identities: Identities, database: Databases
) -> None:
    async with vendor_serving() as vendor, neighbours(identities) as around:
        await around.publish(acme_desk(vendor.url))
        await around.catch_up()
        await around.set_flags(**ON)
        await around.connect(CONNECTION, integration=SLUG, api_key=vendor.settings.api_key)
        proxy = a_proxy(serving, around, database("proxy").url)
        served = await proxy.__aenter__()
        try:
            await until(lambda: is_ready(served))
            mesh = Mesh(served, around, vendor)
            stub = mesh.stub()
            for _ in range(5):
                await stub.Execute(execute())
            assert around.asked == [CONNECTION]
            await around.stop()
            await until(lambda: not around.watching)
            for _ in range(5):
                await stub.Execute(execute())
            assert await is_ready(served)
            began = time.monotonic()
            refused = await refusal(stub.Execute(execute(connection="workspaces/acme/connections/other")))
            assert (refused.code, refused.reason) == (Code.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
            assert refused.metadata == {"dependency": "auth"}
            assert time.monotonic() - began < 20
        finally:
            await proxy.__aexit__(None, None, None)


@pytest.fixture
async def mesh(serving: Serving, identities: Identities, database: Databases) -> Any:
    async with a_mesh(serving, identities, database("proxy").url) as one:
        await until(lambda: one.around.watching == {"catalog", "auth", "flags"})
        yield one


async def test_a_hundred_calls_at_once_share_one_lease(mesh: Mesh) -> None:
    stub = mesh.stub()
    await asyncio.gather(*(stub.Execute(execute()) for _ in range(100)))
    assert mesh.around.asked == [CONNECTION]


async def test_a_changed_connection_ends_its_lease_at_once(mesh: Mesh) -> None:
    await mesh.stub().Execute(execute())
    await mesh.around.connect(CONNECTION, integration=SLUG, api_key="wrong", generation=2)
    await mesh.around.change(CONNECTION, 2)

    async def notices() -> bool:
        try:
            await mesh.stub().Execute(execute())
        except grpc.aio.AioRpcError:
            return True
        return False

    await until(notices, 1)


async def test_a_connection_that_is_gone_is_not_found_at_once(mesh: Mesh) -> None:
    await mesh.stub().Execute(execute())
    del mesh.around.leases[CONNECTION]
    await mesh.around.change(CONNECTION, 0)

    async def gone() -> bool:
        try:
            await mesh.stub().Execute(execute())
        except grpc.aio.AioRpcError as error:
            return error.code() is Code.NOT_FOUND
        return False

    await until(gone, 1)


async def test_a_lease_is_asked_for_again_when_its_time_is_over(mesh: Mesh) -> None:
    await mesh.around.connect(CONNECTION, integration=SLUG, api_key=mesh.vendor.settings.api_key, lifetime=1)
    stub = mesh.stub()
    await stub.Execute(execute())

    async def asked_again() -> bool:
        await stub.Execute(execute())
        return len(mesh.around.asked) >= 2

    await until(asked_again, 3)


@pytest.mark.parametrize(
    ("code", "expected", "reason"),
    [
        (Code.NOT_FOUND, Code.NOT_FOUND, "RESOURCE_NOT_FOUND"),
        (Code.FAILED_PRECONDITION, Code.FAILED_PRECONDITION, "RECONNECT_REQUIRED"),
        (Code.UNAVAILABLE, Code.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
        (Code.INTERNAL, Code.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
        (Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
    ],
)
async def test_what_auth_refuses_is_told_as_what_it_is(
    mesh: Mesh, code: grpc.StatusCode, expected: grpc.StatusCode, reason: str
) -> None:
    mesh.around.lease_failure = code
    refused = await refusal(mesh.stub().Execute(execute()))
    assert (refused.code, refused.reason) == (expected, reason)
    mesh.around.lease_failure = None
    await mesh.stub().Execute(execute())
