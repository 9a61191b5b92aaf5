"""Health, as gRPC's own protocol has it: by service, as a list, and as a stream of changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cordboard.core.health import Health
from cordboard.core.server import Process
from cordboard.core.settings import Settings
from tests.fixtures.serving import Served, Serving

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
NOWHERE = "postgresql+asyncpg://nobody:nothing@127.0.0.1:1/nothing"


async def start(process: Process[Settings]) -> None:
    """Wires nothing: health is there by itself."""


@pytest.fixture
async def served(serving: Serving) -> AsyncIterator[Served]:
    async with serving("catalog", Settings, start, database_url=NOWHERE) as running:
        yield running


def asked(service: str = "") -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


async def test_nothing_serves_before_the_first_check_has_passed() -> None:
    health = Health()
    assert (await health.Check(asked(), None)).status == NOT_SERVING
    health.tell(("", "a.B"), serving=True)
    assert (await health.Check(asked("a.B"), None)).status == SERVING


async def test_what_has_ended_does_not_serve_again() -> None:
    health = Health()
    health.tell(("", "a.B"), serving=True)
    health.end()
    health.tell(("", "a.B"), serving=True)
    assert [(await health.Check(asked(name), None)).status for name in ("", "a.B")] == [NOT_SERVING] * 2


async def test_a_watcher_is_told_of_each_change_and_of_nothing_else() -> None:
    health = Health()
    watch = health.Watch(asked("a.B"), None)
    assert (await anext(watch)).status == UNKNOWN
    following = asyncio.ensure_future(anext(watch))
    health.tell(("other",), serving=True)
    await asyncio.sleep(0)
    assert not following.done()
    health.tell(("a.B",), serving=True)
    assert (await following).status == SERVING
    following = asyncio.ensure_future(anext(watch))
    health.tell(("a.B",), serving=True)
    health.end()
    assert (await following).status == NOT_SERVING
    await watch.aclose()  # type: ignore[attr-defined]


async def test_a_check_has_to_pass_once_and_then_only_its_own_status_follows_it(serving: Serving) -> None:
    """The control is the beginning: while the check has never passed, nothing is served."""
    passes = asyncio.Event()

    async def check() -> None:
        if not passes.is_set():
            raise RuntimeError("away")

    async def with_a_check(process: Process[Settings]) -> None:
        process.add_check("something", check)

    async with serving("catalog", Settings, with_a_check, database_url=NOWHERE) as running:
        stub: Any = health_pb2_grpc.HealthStub(running.channel("envoy"))

        async def status(service: str = "") -> Any:
            return (await stub.Check(asked(service))).status

        await until_equal(lambda: status("something"), NOT_SERVING)
        assert await status() == NOT_SERVING
        passes.set()
        await until_equal(status, SERVING)
        assert await status("something") == SERVING
        passes.clear()
        await until_equal(lambda: status("something"), NOT_SERVING)
        assert await status() == SERVING
        passes.set()
        await until_equal(lambda: status("something"), SERVING)


async def until_equal(asking: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    """Returns once the answer is the wanted one."""
    async with asyncio.timeout(50):
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                if await asking() == wanted:
                    return
            await asyncio.sleep(0.02)


async def test_every_method_of_health_is_answered_by_a_service(served: Served) -> None:
    stub: Any = health_pb2_grpc.HealthStub(served.channel("envoy"))
    watch = stub.Watch(asked())
    while (await watch.read()).status != SERVING:
        pass
    watch.cancel()
    assert (await stub.Check(asked())).status == SERVING
    listed = await stub.List(health_pb2.HealthListRequest())  # type: ignore[attr-defined]
    assert listed.statuses[""].status == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Check(asked("no.Such" * 100))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


class Peer:
    """Stands for the context of a call: who asks."""

    def __init__(self, name: str) -> None:
        self._name = name

    def peer(self) -> str:
        return self._name


async def test_an_end_is_noticed_when_everybody_who_asks_has_heard_of_it() -> None:
    health, envoys = Health(), (Peer("ipv4:10.0.0.1:1"), Peer("ipv4:10.0.0.2:1"))
    health.tell(("",), serving=True)
    assert health.serving
    for envoy in envoys:
        await health.Check(asked(), envoy)
    health.end()
    assert not health.serving
    noticing = asyncio.create_task(health.noticed(60))
    await health.Check(asked(), envoys[0])
    for _ in range(20):
        await asyncio.sleep(0.02)
    assert not noticing.done(), "one of them has not heard of it"
    await health.Check(asked(), envoys[1])
    async with asyncio.timeout(30):
        await noticing


async def test_an_end_that_nobody_asks_after_takes_no_longer() -> None:
    async with asyncio.timeout(30):
        await Health().noticed(600)
        gone = Health()
        await gone.Check(asked(), Peer("ipv4:10.0.0.1:1"))
        gone.end()
        await gone.noticed(0.05)
