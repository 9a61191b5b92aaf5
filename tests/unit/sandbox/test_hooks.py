"""The vendor's webhooks, as whoever receives them checks them."""

from __future__ import annotations

import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from tests.fixtures.sites import listening
from tests.unit.proxy.running import until
from tests.unit.sandbox.client import Client

TICKET = {"subject": "It burns", "requester_id": "con_00000001"}


@dataclass
class Receiver:
    """Somebody who is told, and who does not take everything at once."""

    url: str = ""
    refuse: int = 0
    seen: list[tuple[str, bytes]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.seen.append((request.headers["X-Acme-Signature"], await request.read()))
        if self.refuse:
            self.refuse -= 1
            return web.Response(status=503)
        return web.Response()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    one = Receiver()
    application = web.Application()
    application.router.add_post("/in", one.take)
    async with listening(application) as url:
        one.url = f"{url}/in"
        yield one


async def test_every_event_is_sent_signed_and_again_until_it_is_taken(client: Client, receiver: Receiver) -> None:
    made = await client.call("POST", "/_sandbox/hooks", json={"url": receiver.url})
    secret = made.json["secret"]
    receiver.refuse = 1
    headers = {"X-Api-Key": client.vendor.settings.api_key}
    for _ in range(2):
        assert (await client.call("POST", "/v1/tickets", headers=headers, json=TICKET)).status == 201
    await until(lambda: len(receiver.seen) >= 3)
    for given, body in receiver.seen:
        stamp, proof = (part.partition("=")[2] for part in given.split(","))
        assert hmac.new(secret.encode(), f"{stamp}.".encode() + body, "sha256").hexdigest() == proof
    first, again, second = (json.loads(body)["id"] for _, body in receiver.seen)
    assert first == again < second
    [told] = (await client.get("/_sandbox/hooks")).json["hooks"]
    assert told["attempts"] == 3
    assert (await client.call("DELETE", "/_sandbox/hooks")).status == 204
    await client.call("POST", "/v1/tickets", headers=headers, json=TICKET)
    assert (await client.get("/_sandbox/hooks")).json == {"hooks": []}
    assert len(receiver.seen) == 3


async def test_an_address_that_is_none_is_refused(client: Client) -> None:
    for body in ({"url": "ftp://x"}, {}, {"url": "https://x.example", "ca": "none"}):
        assert (await client.call("POST", "/_sandbox/hooks", json=body)).status == 422
