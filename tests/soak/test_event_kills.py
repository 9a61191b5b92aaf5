"""kill -9 of two Proxies at random moments while webhooks come, are read, and are sent on: none is lost.

A vendor sends each webhook until it is thanked for it. What it was thanked for has to reach a reader that acknowledges,
and a URL, in the order of its key, and to be kept once. KILLS in the environment says how often; 200 is what the
project promises.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import grpc
from aiohttp import web

from cordboard.local.certificates import Identities
from cordboard.local.ports import Ports
from cordboard.proxy.v1 import event_service_pb2 as event_pb
from cordboard.proxy.v1 import subscription_service_pb2 as pb
from cordboard.proxy.v1.event_service_pb2_grpc import EventServiceStub
from cordboard.proxy.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import TokenMint
from tests.fixtures.sites import listening
from tests.soak.killed import KilledProxy, a_nursery
from tests.unit.proxy.hooks import a_hooking_definition, an_event, connect_hooked, signed
from tests.unit.proxy.neighbours import neighbours
from tests.unit.proxy.running import CONNECTION, until

KILLS = int(os.environ.get("KILLS", "200"))
# The hasty one loses what came in its last moments: a few kills show it.
CONTROL_KILLS = 20
LANES = 4
READ = "workspaces/acme/subscriptions/read"


@dataclass
class Story:
    """What was thanked for, and who saw what."""

    thanked: set[str] = field(default_factory=set)
    read: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Offsets in the order in which they were first read, by ordering key."""
    read_ids: set[str] = field(default_factory=set)
    sent: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    sent_ids: set[str] = field(default_factory=set)
    times: int = 0

    def note(self, told: dict[str, list[int]], ids: set[str], key: str, offset: int, event: str) -> None:
        if event not in ids:
            ids.add(event)
            told[key].append(offset)


@contextlib.asynccontextmanager
async def receiving(story: Story) -> AsyncIterator[str]:
    """Takes events, and refuses some at first."""

    async def take(request: web.Request) -> web.Response:
        event = await request.json()
        story.times += 1
        if story.times % 17 == 0:
            return web.Response(status=500)
        story.note(story.sent, story.sent_ids, event["partitionkey"], int(event["sequence"]), event["id"])
        return web.Response(status=204)

    application = web.Application()
    application.router.add_post("/in", take)
    async with listening(application) as url:
        yield f"{url}/in"


async def told(  # noqa: C901, PLR0915 - one story
    database: Databases, identities: Identities, mint: TokenMint, *, module: str, kills: int, pause: float
) -> Story:
    """Tells the whole story, and returns it when everything that is kept was read and sent."""
    chance, story, ports = random.Random(7), Story(), Ports()
    directory = identities.directory("envoy")
    tls = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    tls.check_hostname = False
    tls.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    async with (
        neighbours(identities) as around,
        receiving(story) as url,
        a_nursery() as nursery,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, force_close=True), timeout=aiohttp.ClientTimeout(total=5)
        ) as session,
    ):
        await connect_hooked(around, a_hooking_definition())
        settings = {
            "listen_address": "127.0.0.1:0",
            "identity_dir": str(identities.directory("proxy")),
            "database_url": database("proxy").url,
            "egress_allowed_networks": ["127.0.0.0/8"],
            "event_acknowledge_seconds": 2.0,
            "event_send_seconds": 1.0,
            "event_first_wait_seconds": 0.1,
            "grace_seconds": 1.0,
            "jwks": await mint.jwks(),
            **around.addresses,
        }
        doors = [ports.claim(), ports.claim()]
        proxies = [
            KilledProxy(nursery, settings | {"forward_address": f"127.0.0.1:{port}"}, identities, mint, module)
            for port in doors
        ]
        await asyncio.gather(*(proxy.begin() for proxy in proxies))
        killing = True

        async def kept(call: Any) -> Any:
            """Makes a call until a process answers it."""
            while True:
                try:
                    return await call(chance.choice(proxies).channel)
                except grpc.aio.AioRpcError as error:
                    if error.code() is grpc.StatusCode.ALREADY_EXISTS:
                        return None
                    await asyncio.sleep(0.1)

        create = event_pb.CreateWebhookEndpointRequest(
            parent="workspaces/acme", endpoint_id="all", connection=CONNECTION
        )
        path = (await kept(lambda channel: EventServiceStub(channel).CreateWebhookEndpoint(create))).path
        for subscription_id, target in (("read", None), ("sent", pb.WebhookTarget(url=url))):
            request = pb.CreateSubscriptionRequest(
                parent="workspaces/acme",
                subscription_id=subscription_id,
                subscription=pb.Subscription(webhook=target, max_attempts=0 if target is None else 100),
            )
            await kept(lambda channel, made=request: SubscriptionServiceStub(channel).CreateSubscription(made))

        async def send(lane: int) -> None:
            number = 0
            while killing:
                number += 1
                event = an_event(lane * 1_000_000 + number, board=f"b{lane}")
                body = json.dumps(event).encode()
                while event["id"] not in story.thanked:
                    where = f"https://127.0.0.1:{chance.choice(doors)}{path}"
                    with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                        async with session.post(where, data=body, headers=signed(body)) as response:
                            if response.status == 200:
                                story.thanked.add(event["id"])
                    await asyncio.sleep(pause)

        async def read() -> None:
            while True:
                stub = SubscriptionServiceStub(chance.choice(proxies).channel)
                with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    async for one in stub.Subscribe(pb.SubscribeRequest(name=READ, max_outstanding=20)):
                        event = one.event
                        story.note(story.read, story.read_ids, event.ordering_key, event.offset, event.id)
                        await stub.AcknowledgeEvents(
                            pb.AcknowledgeEventsRequest(name=READ, offsets=[event.offset]), timeout=5
                        )
                await asyncio.sleep(0.05)

        async def last() -> int:
            get = pb.GetSubscriptionRequest(name=READ)
            found = await kept(lambda channel: SubscriptionServiceStub(channel).GetSubscription(get, timeout=5))
            return int(found.last_offset)

        senders = [asyncio.create_task(send(lane)) for lane in range(LANES)]
        reader = asyncio.create_task(read())
        try:
            for count in range(kills):
                if count % 10 == 0:
                    print(f"{count} kills, {len(story.thanked)} events", flush=True)
                await asyncio.sleep(chance.uniform(0.05, 0.8))
                proxy = chance.choice(proxies)
                await proxy.kill()
                await proxy.begin()
            killing = False
            await asyncio.wait_for(asyncio.gather(*senders), 60)
            # The hasty one still writes.
            await asyncio.sleep(1)
            count = await last()
            await until(lambda: min(len(story.read_ids), len(story.sent_ids)) >= count, 600)
            assert len(story.read_ids) == len(story.sent_ids) == count, "something was kept twice"
        finally:
            for task in (*senders, reader):
                task.cancel()
            await asyncio.gather(*senders, reader, return_exceptions=True)
            await asyncio.gather(*(proxy.end() for proxy in proxies))
            ports.release()
    return story


async def test_kills_lose_no_event_and_keep_none_twice(
    database: Databases, identities: Identities, mint: TokenMint
) -> None:
    story = await told(database, identities, mint, module="tests.soak.proxy_process", kills=KILLS, pause=0.4)
    print(f"{KILLS} kills, {len(story.thanked)} events, {story.times} webhooks sent")
    assert len(story.thanked) > KILLS
    assert story.thanked - story.read_ids == set()
    assert story.thanked - story.sent_ids == set()
    for seen in (story.read, story.sent):
        assert len(seen) == LANES
        for offsets in seen.values():
            assert offsets == sorted(offsets)


async def test_a_proxy_that_thanks_too_early_is_noticed(
    database: Databases, identities: Identities, mint: TokenMint
) -> None:
    module = "tests.soak.hasty_proxy_process"
    story = await told(database, identities, mint, module=module, kills=min(KILLS, CONTROL_KILLS), pause=0.4)
    lost = story.thanked - story.read_ids
    print(f"the control lost {len(lost)} of {len(story.thanked)} events")
    assert lost
