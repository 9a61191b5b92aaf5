"""A POST that is repeated with its `Idempotency-Key` is done once."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.unit.sandbox.client import Client, Reply

TICKET = {"subject": "Once only", "requester_id": "con_00000001", "tags": ["a", "b"]}
REPLAYED = "Idempotency-Replayed"


async def send(client: Client, body: Any, key: str = "k1", *, path: str = "/v1/tickets", api_key: str = "") -> Reply:
    """Sends a POST with an idempotency key."""
    headers = {"X-Api-Key": api_key or client.vendor.settings.api_key, "Idempotency-Key": key}
    return await client.post(path, body, headers=headers)


async def created(client: Client) -> int:
    """Returns how many tickets were created since the start."""
    told = (await client.get("/v1/events?offset=90&limit=100")).json
    return sum(event["type"] == "ticket.created" for event in told)


async def test_a_repeat_gives_the_first_answer_again_and_does_nothing(client: Client) -> None:
    first = await send(client, TICKET)
    again = await send(client, dict(reversed(TICKET.items())))

    assert (first.status, again.status) == (201, 201)
    assert REPLAYED not in first.headers
    assert again.headers[REPLAYED] == "true"
    assert again.content == first.content
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["X-Request-Id"] != first.headers["X-Request-Id"]
    assert await created(client) == 1


async def test_without_a_key_or_with_another_it_is_done_again(client: Client) -> None:
    await client.post("/v1/tickets", TICKET)
    await client.post("/v1/tickets", TICKET)
    await send(client, TICKET, "k1")
    await send(client, TICKET, "k2")

    assert await created(client) == 4


async def test_the_same_key_with_another_body_is_refused(client: Client) -> None:
    await send(client, TICKET)

    other = await send(client, {**TICKET, "tags": ["b", "a"]})

    assert (other.status, other.json["code"]) == (422, "idempotency_key_reused")
    assert other.json["fields"][0]["field"] == "Idempotency-Key"
    assert await created(client) == 1


async def test_the_same_key_at_another_operation_is_refused(client: Client) -> None:
    contact = {"name": "A", "email": "a@b.example"}
    await send(client, contact, path="/v1/contacts")

    assert (await send(client, TICKET)).status == 422


async def test_a_key_belongs_to_its_caller(client: Client) -> None:
    other = (await client.post("/_sandbox/api-keys", {})).json["api_key"]
    await send(client, TICKET)

    assert REPLAYED not in (await send(client, TICKET, api_key=other)).headers
    assert await created(client) == 2


async def test_a_refused_request_may_be_mended_under_the_same_key(client: Client) -> None:
    unknown = await send(client, {**TICKET, "requester_id": "con_99999999"})
    mended = await send(client, TICKET)

    assert (unknown.status, mended.status) == (422, 201)
    assert REPLAYED not in mended.headers


async def test_a_reset_forgets_the_keys(client: Client) -> None:
    await send(client, TICKET)
    await client.call("POST", "/_sandbox/reset")

    assert REPLAYED not in (await send(client, TICKET)).headers


async def test_of_many_at_once_one_is_done(client: Client) -> None:
    answers = await asyncio.gather(*(send(client, TICKET) for _ in range(10)))

    assert {answer.json["id"] for answer in answers} == {"tkt_00000121"}
    assert sum(REPLAYED in answer.headers for answer in answers) == 9


async def test_a_write_whose_answer_was_lost_is_not_done_twice(client: Client) -> None:
    await client.break_vendor(cut_connections=True, times=1)
    with pytest.raises(aiohttp.ClientError):
        await send(client, TICKET)

    again = await send(client, TICKET)

    assert (again.status, again.headers[REPLAYED]) == (201, "true")
    assert await created(client) == 1


async def test_an_upload_is_the_same_whatever_its_boundary(client: Client) -> None:
    answers = []
    for content in (b"same", b"same", b"other"):
        form = aiohttp.FormData()
        form.add_field("file", content, filename="a.txt")
        headers = {"X-Api-Key": client.vendor.settings.api_key, "Idempotency-Key": "up"}
        answers.append(await client.call("POST", "/v1/tickets/tkt_00000009/attachments", headers=headers, data=form))

    assert [answer.status for answer in answers] == [201, 201, 422]
    assert answers[1].headers[REPLAYED] == "true"
    assert len((await client.get("/v1/tickets/tkt_00000009/attachments")).json["data"]) == 1


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_has_a_sane_length(client: Client, key: str) -> None:
    answer = await send(client, TICKET, key)

    assert (answer.status, answer.json["fields"][0]["field"]) == (422, "Idempotency-Key")
