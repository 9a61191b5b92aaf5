"""Subscriptions on a running Proxy: every event at least once, in the order of its key, and again until it is taken."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from aiohttp import web
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from cordboard.core.times import to_duration
from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import subscription_service_pb2 as pb
from cordboard.proxy.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.fixtures.sites import listening
from tests.unit.proxy.hooks import Hooked, an_event, hooked
from tests.unit.proxy.running import CONNECTION, refusal, until
from tests.unit.proxy.samples import SLUG

Code = grpc.StatusCode
NAME = "workspaces/acme/subscriptions/all"


@pytest.fixture
async def mesh(serving: Serving, identities: Identities, database: Databases) -> AsyncIterator[Hooked]:
    async with hooked(
        serving, identities, database("proxy").url, event_acknowledge_seconds=1.0, event_first_wait_seconds=0.05
    ) as one:
        yield one


def subscriptions(mesh: Hooked, *roles: str, **claims: Any) -> Any:
    return SubscriptionServiceStub(mesh.served.as_role(*(roles or ("member",)), **({"workspace": "acme"} | claims)))


async def create(mesh: Hooked, subscription: str = "all", **fields: Any) -> Any:
    beginning = fields.pop("from_beginning", False)
    request = pb.CreateSubscriptionRequest(
        parent="workspaces/acme",
        subscription_id=subscription,
        subscription=pb.Subscription(**fields),
        from_beginning=beginning,
    )
    return await subscriptions(mesh).CreateSubscription(request)


async def acknowledge(mesh: Hooked, *offsets: int, name: str = NAME, up_to: int = 0) -> int:
    request = pb.AcknowledgeEventsRequest(name=name, offsets=offsets, up_to_offset=up_to)
    return int((await subscriptions(mesh).AcknowledgeEvents(request)).acknowledged_count)


async def progress(mesh: Hooked, name: str = NAME) -> pb.Subscription:
    found: pb.Subscription = await subscriptions(mesh).GetSubscription(pb.GetSubscriptionRequest(name=name))
    return found


@contextlib.asynccontextmanager
async def reading(mesh: Hooked, name: str = NAME, most: int = 0) -> AsyncIterator[Any]:
    stream = subscriptions(mesh).Subscribe(pb.SubscribeRequest(name=name, max_outstanding=most))
    try:
        yield stream
    finally:
        stream.cancel()


async def read(stream: Any, count: int, seconds: float = 60.0) -> list[pb.SubscribeResponse]:
    async with asyncio.timeout(seconds):
        return [await stream.read() for _ in range(count)]


async def test_events_come_in_order_with_their_data_and_are_told_once_when_acknowledged(mesh: Hooked) -> None:
    await mesh.send(an_event(0))
    await create(mesh)
    for number in range(1, 6):
        await mesh.send(an_event(number))
    async with reading(mesh) as stream:
        told = await read(stream, 5)
        assert [(one.event.offset, one.attempt) for one in told] == [(offset, 1) for offset in range(2, 7)]
        assert json.loads(told[0].event.data_json) == {"id": 1, "board": "b1"}
        assert (await progress(mesh)).acknowledged_offset == 1
        assert await acknowledge(mesh, 2, 3) == 2
        assert await acknowledge(mesh, 2, 3) == 0
        assert await acknowledge(mesh, up_to=6) == 3
    found = await progress(mesh)
    assert (found.acknowledged_offset, found.last_offset, found.dead_count) == (6, 6, 0)
    await mesh.send(an_event(6))
    async with reading(mesh) as stream:
        assert [one.event.offset for one in await read(stream, 1)] == [7]


async def test_what_was_not_acknowledged_is_told_again_in_its_order(mesh: Hooked) -> None:
    await create(mesh)
    for number in range(4):
        await mesh.send(an_event(number))
    async with reading(mesh) as stream:
        assert [one.event.offset for one in await read(stream, 4)] == [1, 2, 3, 4]
        await acknowledge(mesh, 1, 3)
        # In time nobody said anything of 2, and 4 comes after it.
        assert [(one.event.offset, one.attempt) for one in await read(stream, 2)] == [(2, 2), (4, 2)]
    async with reading(mesh) as stream:
        assert [(one.event.offset, one.attempt) for one in await read(stream, 2)] == [(2, 3), (4, 3)]


async def test_several_readers_share_the_events_and_keep_the_order_of_each_key(mesh: Hooked) -> None:
    await create(mesh)
    seen: list[tuple[int, str, int]] = []
    done = asyncio.Event()

    async def consume(reader: int) -> None:
        async with reading(mesh, most=3) as stream:
            async for told in stream:
                seen.append((reader, told.event.ordering_key, told.event.offset))
                await asyncio.sleep(0.002)
                await acknowledge(mesh, told.event.offset)
                if len({offset for _, _, offset in seen}) == 60:
                    done.set()

    readers = [asyncio.create_task(consume(reader)) for reader in range(3)]
    try:
        await asyncio.gather(*(mesh.send(an_event(number, board=f"b{number % 6}")) for number in range(60)))
        async with asyncio.timeout(90):
            await done.wait()
    finally:
        for reader in readers:
            reader.cancel()
        ended = await asyncio.gather(*readers, return_exceptions=True)
        assert all(isinstance(how, asyncio.CancelledError) for how in ended), (ended, seen)
    by_key = defaultdict(list)
    for _, key, offset in seen:
        by_key[key].append(offset)
    assert len(by_key) == 6
    for offsets in by_key.values():
        # One that a slow reader did not acknowledge in time is told twice, and never before an earlier one.
        assert list(dict.fromkeys(offsets)) == sorted(set(offsets))
    assert len({reader for reader, _, _ in seen}) > 1


async def test_only_so_many_are_open_at_once(mesh: Hooked) -> None:
    await create(mesh)
    for number in range(5):
        await mesh.send(an_event(number))
    async with reading(mesh, most=2) as stream:
        assert [one.event.offset for one in await read(stream, 2)] == [1, 2]
        with pytest.raises(TimeoutError):
            await read(stream, 1, seconds=0.5)
    async with reading(mesh, most=2) as stream:
        await read(stream, 2)
        await acknowledge(mesh, 1, 2)
        assert [one.event.offset for one in await read(stream, 2)] == [3, 4]


async def test_a_subscription_gets_what_it_wants_alone(mesh: Hooked) -> None:
    await create(mesh, "made", types=[f"cordboard.{SLUG}.ticket.made"])
    await create(mesh, "tickets", types=[f"cordboard.{SLUG}.ticket.*"])
    await create(mesh, "others", connections=["workspaces/acme/connections/other"])
    for number, kind in enumerate(("ticket.moved", "unheard", "ticket.made")):
        await mesh.send(an_event(number, kind=kind))
    async with reading(mesh, "workspaces/acme/subscriptions/made") as made:
        assert [one.event.offset for one in await read(made, 1)] == [3]
    async with reading(mesh, "workspaces/acme/subscriptions/tickets") as tickets:
        assert [one.event.offset for one in await read(tickets, 2)] == [1, 3]
    async with reading(mesh, "workspaces/acme/subscriptions/others") as others:
        with pytest.raises(TimeoutError):
            await read(others, 1, seconds=0.5)
    staging = SubscriptionServiceStub(mesh.served.as_role("member", workspace="acme", environment="staging"))
    await staging.CreateSubscription(
        pb.CreateSubscriptionRequest(parent="workspaces/acme", subscription_id="staged", from_beginning=True)
    )
    stream = staging.Subscribe(pb.SubscribeRequest(name="workspaces/acme/subscriptions/staged"))
    with pytest.raises(TimeoutError):
        await read(stream, 1, seconds=0.5)
    stream.cancel()


async def test_the_past_can_be_told_again(mesh: Hooked) -> None:
    for number in range(3):
        await mesh.send(an_event(number))
    await create(mesh, from_beginning=True)
    async with reading(mesh) as stream:
        await read(stream, 3)
        await acknowledge(mesh, up_to=3)
    moved = await subscriptions(mesh).SeekSubscription(pb.SeekSubscriptionRequest(name=NAME, offset=1))
    assert moved.acknowledged_offset == 1
    async with reading(mesh) as stream:
        assert [one.event.offset for one in await read(stream, 2)] == [2, 3]


async def test_what_cannot_be_is_refused(mesh: Hooked) -> None:
    for fields, field_name in (
        ({"subscription": "A b"}, "subscription_id"),
        ({"types": ["a b"]}, "subscription.types[0]"),
        ({"connections": ["workspaces/globex/connections/main"]}, "subscription.connections[0]"),
        ({"max_attempts": 101}, "subscription.max_attempts"),
        ({"webhook": pb.WebhookTarget(url="http://vendor.example/x")}, "subscription.webhook.url"),
        ({"webhook": pb.WebhookTarget(url="https://user@vendor.example/x")}, "subscription.webhook.url"),
        ({"webhook": pb.WebhookTarget(url="https://10.0.0.1/x")}, "subscription.webhook.url"),
        ({"webhook": pb.WebhookTarget(url="https://169.254.169.254/x")}, "subscription.webhook.url"),
    ):
        assert field_name in (await refusal(create(mesh, **fields))).fields, fields
    await create(mesh)
    assert (await refusal(create(mesh))).code is Code.ALREADY_EXISTS
    for stub in (subscriptions(mesh, workspace="globex"), subscriptions(mesh, environment="staging")):
        assert (await refusal(stub.GetSubscription(pb.GetSubscriptionRequest(name=NAME)))).code is Code.NOT_FOUND
    await subscriptions(mesh).DeleteSubscription(pb.DeleteSubscriptionRequest(name=NAME))
    assert (await refusal(progress(mesh))).code is Code.NOT_FOUND


@dataclass
class Receiver:
    """Somebody who is sent events."""

    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """What to answer, in order; 204 when there is nothing more."""
    seen: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.seen.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        status, headers = self.answers.pop(0) if self.answers else (204, {})
        return web.Response(status=status, headers=headers)

    @property
    def sequence(self) -> list[int]:
        return [int(json.loads(body)["sequence"]) for _, body in self.seen]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    one = Receiver()
    application = web.Application()
    application.router.add_post("/in", one.take)
    async with listening(application) as url:
        one.url = f"{url}/in"
        yield one


async def test_events_are_sent_signed_as_cloud_events(mesh: Hooked, receiver: Receiver) -> None:
    made = await create(mesh, webhook=pb.WebhookTarget(url=receiver.url))
    await mesh.send(an_event(1))
    await until(lambda: receiver.seen)
    headers, body = receiver.seen[0]
    event = json.loads(body)
    assert (event["specversion"], event["id"], event["type"], event["source"]) == (
        "1.0", "evt_1", f"cordboard.{SLUG}.ticket.made", f"/{CONNECTION}",
    )  # fmt: skip
    assert (event["data"], event["partitionkey"]) == ({"id": 1, "board": "b1"}, "main/b1")
    assert headers["content-type"].startswith("application/cloudevents+json")
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(made.secret.removeprefix("whsec_"))
    proof = base64.b64encode(hmac.new(key, signed, "sha256").digest()).decode()
    assert headers["webhook-signature"] == f"v1,{proof}"
    assert headers["webhook-id"] == "acme-1"

    async def is_acknowledged() -> bool:
        return (await progress(mesh)).acknowledged_offset == 1

    await until(is_acknowledged)
    assert made.secret not in str(await progress(mesh))


async def test_what_is_sent_leads_to_the_trace_in_which_it_came(
    mesh: Hooked, receiver: Receiver, spans: InMemorySpanExporter
) -> None:
    await create(mesh, webhook=pb.WebhookTarget(url=receiver.url))
    assert (await mesh.send(an_event(1)))[0] == 200

    async def sent() -> list[ReadableSpan]:
        return [span for span in spans.get_finished_spans() if span.name == "event proxy.send"]

    [delivery] = await until(sent)
    [intake] = [span for span in spans.get_finished_spans() if span.name == "POST /webhooks/{token}"]
    assert intake.context is not None
    assert delivery.context is not None
    [link] = delivery.links
    assert (link.context.trace_id, link.context.span_id) == (intake.context.trace_id, intake.context.span_id)
    assert dict(link.attributes or {}) == {"cordboard.link": "taken"}
    assert intake.context.trace_id != delivery.context.trace_id
    assert delivery.status.status_code is StatusCode.UNSET


async def rotated(mesh: Hooked, overlap: float | None = None, name: str = NAME) -> Any:
    """Has a subscription get a new secret."""
    request = pb.RotateSubscriptionSecretRequest(name=name)
    if overlap is not None:
        request.overlap.CopyFrom(to_duration(overlap))
    return await subscriptions(mesh).RotateSubscriptionSecret(request)


async def signers(mesh: Hooked, receiver: Receiver, number: int, secrets: dict[str, str]) -> list[str]:
    """Sends an event; returns which secrets it is signed with, in order."""
    assert (await mesh.send(an_event(number)))[0] == 200
    await until(lambda: len(receiver.seen) >= number)
    headers, body = receiver.seen[number - 1]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    proofs = {}
    for name, secret in secrets.items():
        key = base64.b64decode(secret.removeprefix("whsec_"))
        proofs["v1," + base64.b64encode(hmac.new(key, signed, "sha256").digest()).decode()] = name
    return [proofs.get(one, "nobody") for one in headers["webhook-signature"].split(" ")]


async def test_while_a_secret_is_replaced_webhooks_are_signed_with_two_and_never_three(
    mesh: Hooked, receiver: Receiver
) -> None:
    secrets = {"first": (await create(mesh, webhook=pb.WebhookTarget(url=receiver.url))).secret}
    assert await signers(mesh, receiver, 1, secrets) == ["first"]
    made = await rotated(mesh)
    secrets["second"] = made.secret
    assert abs(made.previous_expire_time.ToSeconds() - time.time() - 86_400) < 600
    assert await signers(mesh, receiver, 2, secrets) == ["second", "first"]
    secrets["third"] = (await rotated(mesh)).secret
    assert await signers(mesh, receiver, 3, secrets) == ["third", "second"]
    # Without an overlap the one before is worth nothing at once.
    secrets["fourth"] = (await rotated(mesh, 0)).secret
    assert await signers(mesh, receiver, 4, secrets) == ["fourth"]
    assert len(set(secrets.values())) == 4


async def test_a_secret_is_not_replaced_where_there_is_none_or_by_a_stranger(mesh: Hooked, receiver: Receiver) -> None:
    await create(mesh, "reader")
    refused = await refusal(rotated(mesh, name=f"{NAME.rpartition('/')[0]}/reader"))
    assert (refused.reason, refused.metadata["state"]) == ("STATE_CONFLICT", "target")
    made = await create(mesh, webhook=pb.WebhookTarget(url=receiver.url))
    for overlap in (-1, 30 * 86_400 + 1):
        assert list((await refusal(rotated(mesh, overlap))).fields) == ["overlap"]
    for stub in (subscriptions(mesh, workspace="globex"), subscriptions(mesh, environment="staging")):
        request = pb.RotateSubscriptionSecretRequest(name=NAME)
        assert (await refusal(stub.RotateSubscriptionSecret(request))).code is Code.NOT_FOUND
    # The control: nothing of that changed anything.
    assert await signers(mesh, receiver, 1, {"first": made.secret}) == ["first"]


async def test_what_is_not_taken_is_sent_again_and_keeps_its_order(mesh: Hooked, receiver: Receiver) -> None:
    receiver.answers = [(500, {}), (302, {"Location": "http://elsewhere.example"}), (204, {}), (204, {})]
    await create(mesh, webhook=pb.WebhookTarget(url=receiver.url))
    await mesh.send(an_event(1))
    await mesh.send(an_event(2))
    await until(lambda: len(receiver.seen) >= 4)
    assert receiver.sequence == [1, 1, 1, 2]


async def test_a_busy_target_is_left_alone_as_long_as_it_says(mesh: Hooked, receiver: Receiver) -> None:
    receiver.answers = [(429, {"Retry-After": "2"})]
    await create(mesh, webhook=pb.WebhookTarget(url=receiver.url), max_attempts=1)
    began = asyncio.get_running_loop().time()
    for number in range(3):
        await mesh.send(an_event(number, board=f"b{number}"))
    await until(lambda: len(receiver.seen) >= 4, 20)
    assert asyncio.get_running_loop().time() - began > 1.5
    assert sorted(receiver.sequence) == [1, 1, 2, 3] or sorted(set(receiver.sequence)) == [1, 2, 3]
    assert (await progress(mesh)).dead_count == 0


async def test_what_is_never_taken_is_given_up_and_can_be_sent_again(mesh: Hooked, receiver: Receiver) -> None:
    receiver.answers = [(400, {})] * 3
    await create(mesh, webhook=pb.WebhookTarget(url=receiver.url), max_attempts=3)
    await mesh.send(an_event(1))
    await mesh.send(an_event(2))

    async def is_given_up() -> bool:
        found = await progress(mesh)
        return (found.dead_count, found.acknowledged_offset) == (1, 2)

    await until(is_given_up)
    assert receiver.sequence == [1, 1, 1, 2]
    [dead] = (await subscriptions(mesh).ListDeadEvents(pb.ListDeadEventsRequest(parent=NAME))).dead_events
    assert (dead.event.offset, dead.attempts, dead.reason) == (1, 3, "HTTP_400")
    assert (await subscriptions(mesh).ReplayDeadEvents(pb.ReplayDeadEventsRequest(name=NAME))).replayed_count == 1
    await until(lambda: receiver.sequence == [1, 1, 1, 2, 1])

    async def is_done() -> bool:
        return (await progress(mesh)).dead_count == 0

    await until(is_done)
    nothing = pb.DiscardDeadEventsRequest(name=NAME)
    assert (await subscriptions(mesh).DiscardDeadEvents(nothing)).discarded_count == 0


async def test_a_target_inside_is_not_reached(mesh: Hooked, receiver: Receiver) -> None:
    port = receiver.url.split(":")[2]
    await create(mesh, webhook=pb.WebhookTarget(url=f"https://localhost.localdomain:{port}"), max_attempts=1)
    await mesh.send(an_event(1))

    async def is_given_up() -> bool:
        return (await progress(mesh)).dead_count == 1

    await until(is_given_up)
    assert receiver.seen == []
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async with reading(mesh) as stream:
            await stream.read()
            raise AssertionError("it has a target")
    assert refused.value.code() is Code.FAILED_PRECONDITION
