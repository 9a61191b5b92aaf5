"""Events in a real NATS JetStream: each one stored, once, also when the server goes away."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import nats
import pytest

from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import subscription_service_pb2 as pb
from tests.contract.test_proxy_subscriptions import create, progress
from tests.fixtures.nats import NatsServer
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.hooks import Hooked, an_event, hooked
from tests.unit.proxy.running import refusal, until
from tests.unit.proxy.samples import SLUG


@pytest.fixture
async def mesh(
    serving: Serving,
    identities: Identities,
    database: Databases,
    nats_server: NatsServer,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Hooked]:
    monkeypatch.setattr("cordboard.proxy.events.sending._PAUSE", 0.2)
    async with hooked(serving, identities, database("proxy").url, nats_url=nats_server.url) as one:
        yield one


async def stored(server: NatsServer) -> list[tuple[str, int]]:
    """Returns subject and sequence of every message of the stream."""
    client = await nats.connect(server.url)
    try:
        stream = client.jetstream()
        count = (await stream.stream_info("cordboard")).state.messages
        found = [await stream.get_msg("cordboard", seq=number) for number in range(1, count + 1)]
        return [(one.subject or "", int(json.loads(one.data or b"{}")["sequence"])) for one in found]
    finally:
        await client.close()


async def test_events_are_stored_in_order_and_acknowledged(mesh: Hooked, nats_server: NatsServer) -> None:
    made = await create(mesh, nats=pb.NatsTarget())
    assert (made.subscription.HasField("nats"), made.secret) == (True, "")
    for number in range(5):
        await mesh.send(an_event(number, kind="ticket.moved"))

    async def is_done() -> bool:
        return (await progress(mesh)).acknowledged_offset == 5

    await until(is_done)
    assert await stored(nats_server) == [(f"cordboard.acme.{SLUG}.ticket.moved", offset) for offset in range(1, 6)]


async def test_a_server_that_goes_away_loses_nothing_and_gets_nothing_twice(
    mesh: Hooked, nats_server: NatsServer
) -> None:
    await create(mesh, nats=pb.NatsTarget(), max_attempts=1)
    await mesh.send(an_event(1))

    async def first() -> bool:
        return (await progress(mesh)).acknowledged_offset == 1

    await until(first)
    nats_server.end()
    for number in range(2, 5):
        await mesh.send(an_event(number))

    async def waits() -> bool:
        found = await progress(mesh)
        return found.HasField("resume_time") and found.acknowledged_offset == 1

    await until(waits)
    nats_server.begin()

    async def is_done() -> bool:
        return (await progress(mesh)).acknowledged_offset == 4

    await until(is_done, 30)
    assert [offset for _, offset in await stored(nats_server)] == [1, 2, 3, 4]
    assert (await progress(mesh)).dead_count == 0


async def test_without_a_server_there_is_no_such_target(
    serving: Serving, identities: Identities, database: Databases
) -> None:
    async with hooked(serving, identities, database("proxy").url) as mesh:
        assert "subscription.nats" in (await refusal(create(mesh, nats=pb.NatsTarget()))).fields
