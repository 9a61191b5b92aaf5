"""The switches that break the vendor: each breaks what it says, for as long as it says, and nothing else."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import pytest

from tests.unit.sandbox.client import Client, bearer

TICKET = {"subject": "x", "requester_id": "con_00000001"}


async def statuses(client: Client, number: int, path: str = "/v1/me") -> list[int]:
    """Returns the status of that many requests, one after the other."""
    return [(await client.get(path)).status for _ in range(number)]


async def test_without_a_fault_all_is_well(client: Client) -> None:
    assert await statuses(client, 5) == [200] * 5
    assert (await client.get("/_sandbox/faults")).json == {"fault": None}


async def test_a_status_is_answered_until_the_fault_is_cleared(client: Client) -> None:
    await client.break_vendor(status=503, retry_after=7)
    broken = await client.get("/v1/me")
    document = await client.get("/openapi.json")
    await client.call("DELETE", "/_sandbox/faults")

    assert (broken.status, broken.json["code"]) == (503, "vendor_failure")
    assert broken.headers["Retry-After"] == "7"
    assert "RateLimit-Remaining" in broken.headers
    assert document.status == 503
    assert (await client.get("/v1/me")).status == 200


async def test_a_status_without_retry_after_has_none(client: Client) -> None:
    await client.break_vendor(status=429)
    broken = await client.get("/v1/me")

    assert (broken.status, "Retry-After" in broken.headers) == (429, False)


async def test_a_fault_strikes_as_often_as_it_says(client: Client) -> None:
    await client.break_vendor(status=500, times=2)
    assert (await client.get("/_sandbox/faults")).json["fault"]["remaining"] == 2

    assert await statuses(client, 4) == [500, 500, 200, 200]
    assert (await client.get("/_sandbox/faults")).json["fault"]["remaining"] == 0


async def test_a_fault_strikes_only_its_path_and_method(client: Client) -> None:
    await client.break_vendor(status=500, path="/v1/tickets", method="GET", times=1)

    assert (await client.get("/v1/contacts")).status == 200
    assert (await client.post("/v1/tickets", TICKET)).status == 201
    assert (await client.get("/v1/tickets/tkt_00000001")).status == 500
    assert (await client.get("/v1/tickets/tkt_00000001")).status == 200


async def test_a_rate_breaks_a_share_and_the_same_ones_every_time(client: Client) -> None:
    await client.break_vendor(error_rate=0.5)
    first = await statuses(client, 40)
    await client.break_vendor(error_rate=0.5)
    second = await statuses(client, 40)

    assert first == second
    assert set(first) == {200, 500}
    assert 10 <= first.count(500) <= 30


@pytest.mark.parametrize(("rate", "status"), [(0, 200), (1, 502)])
async def test_a_rate_of_none_or_all_is_exact(client: Client, rate: float, status: int) -> None:
    await client.break_vendor(error_rate=rate, status=502)

    assert set(await statuses(client, 20)) == {status}


async def test_a_failure_before_the_work_leaves_nothing_done(client: Client) -> None:
    await client.break_vendor(status=503, times=1)

    assert (await client.post("/v1/tickets", TICKET)).status == 503
    assert (await client.get("/v1/tickets/tkt_00000121")).status == 404


async def test_a_failure_after_the_work_leaves_it_done(client: Client) -> None:
    await client.break_vendor(status=503, after_work=True, times=1)

    assert (await client.post("/v1/tickets", TICKET)).status == 503
    assert (await client.get("/v1/tickets/tkt_00000121")).status == 200


@pytest.mark.parametrize("after_work", [False, True])
async def test_latency_delays_the_answer(client: Client, after_work: bool) -> None:
    await client.break_vendor(latency_ms=80, after_work=after_work, times=1)

    began = time.monotonic()
    slow = await client.get("/v1/me")
    took = time.monotonic() - began

    assert slow.status == 200
    assert took >= 0.08


async def test_other_requests_go_on_while_one_is_slow(client: Client) -> None:
    await client.break_vendor(latency_ms=60_000, path="/v1/tickets")
    slow = asyncio.create_task(client.get("/v1/tickets"))
    async with asyncio.timeout(50):
        while not client.vendor.stats(last=1)["recent"]:
            await client.get("/_sandbox/health")
        assert (await client.get("/v1/me")).status == 200

    assert not slow.done()
    slow.cancel()


@pytest.mark.parametrize("path", ["/v1/tickets", "/v1/me", "/openapi.yaml"])
async def test_a_cut_connection_breaks_off_in_mid_answer(client: Client, path: str) -> None:
    await client.break_vendor(cut_connections=True, times=1)
    headers = {"X-Api-Key": client.vendor.settings.api_key}
    async with client.session.get(client.vendor.url + path, headers=headers) as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()

    assert (await client.get(path)).status == 200


async def test_an_answer_without_a_body_can_be_cut_too(client: Client) -> None:
    await client.break_vendor(cut_connections=True, times=1)

    with pytest.raises(aiohttp.ClientError):
        await client.call("DELETE", "/v1/tickets/tkt_00000001")
    assert (await client.get("/v1/tickets/tkt_00000001")).status == 404


async def test_the_token_endpoint_can_be_broken_alone(client: Client) -> None:
    tokens = await client.tokens()
    await client.break_vendor(status=503, path="/oauth/token", times=1)

    assert (await client.refresh(tokens["refresh_token"])).status == 503
    assert (await client.get("/v1/me", headers=bearer(tokens["access_token"]))).status == 200
    assert (await client.refresh(tokens["refresh_token"])).status == 200


async def test_expired_tokens_die_at_once_and_can_be_refreshed(client: Client) -> None:
    tokens = await client.tokens()
    await client.break_vendor(expire_tokens=True)

    assert (await client.get("/v1/me", headers=bearer(tokens["access_token"]))).status == 401
    assert (await client.get("/v1/me")).status == 200
    assert (await client.get("/_sandbox/faults")).json == {"fault": None}
    renewed = (await client.refresh(tokens["refresh_token"])).json
    assert (await client.get("/v1/me", headers=bearer(renewed["access_token"]))).status == 200


async def test_revoked_grants_cannot_be_refreshed(client: Client) -> None:
    tokens = await client.tokens()
    await client.break_vendor(revoke_grants=True)

    assert (await client.get("/v1/me", headers=bearer(tokens["access_token"]))).status == 401
    assert (await client.refresh(tokens["refresh_token"])).json["error"] == "invalid_grant"


async def test_a_fault_never_strikes_the_switches(client: Client) -> None:
    await client.break_vendor(status=500)

    assert (await client.get("/_sandbox/stats")).status == 200
    assert (await client.call("DELETE", "/_sandbox/faults")).status == 204


@pytest.mark.parametrize(
    ("fault", "field"),
    [
        ({"status": 200}, "status"),
        ({"error_rate": 1.5}, "error_rate"),
        ({"latency_ms": -1}, "latency_ms"),
        ({"times": 0}, "times"),
        ({"path": "v1"}, "path"),
        ({"latency": 5}, "latency"),
        ({"cut_connections": "yes"}, "cut_connections"),
    ],
)
async def test_a_wrong_fault_is_refused_and_changes_nothing(client: Client, fault: dict[str, Any], field: str) -> None:
    answer = await client.call("PUT", "/_sandbox/faults", json=fault)

    assert (answer.status, answer.json["fields"][0]["field"]) == (422, field)
    assert (await client.get("/v1/me")).status == 200
