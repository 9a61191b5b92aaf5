"""What the vendor tells about itself under /_sandbox, and what it keeps to itself."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.sandbox.client import Client, bearer

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_the_counts_are_by_route_method_and_status(client: Client) -> None:
    await client.get("/v1/tickets/tkt_00000001")
    await client.get("/v1/tickets/tkt_00000002")
    await client.get("/v1/tickets/tkt_99999999")
    await client.call("DELETE", "/v1/tickets/tkt_00000001")
    await client.get("/nowhere")

    told = (await client.get("/_sandbox/stats")).json
    assert told["requests"] == 5
    assert {(each["method"], each["route"], each["status"]): each["count"] for each in told["by_route"]} == {
        ("GET", "/v1/tickets/{ticket_id}", 200): 2,
        ("GET", "/v1/tickets/{ticket_id}", 404): 1,
        ("DELETE", "/v1/tickets/{ticket_id}", 204): 1,
        ("GET", "(none)", 404): 1,
    }


async def test_a_request_is_told_as_it_came(client: Client) -> None:
    headers = {"X-Api-Key": client.vendor.settings.api_key, "traceparent": TRACEPARENT, "Idempotency-Key": "k-1"}
    await client.call("POST", "/v1/tickets?x=1", headers=headers, json={})

    (seen,) = (await client.get("/_sandbox/stats")).json["recent"]
    assert (seen["method"], seen["path"], seen["query"], seen["status"]) == ("POST", "/v1/tickets", "x=1", 422)
    assert seen["headers"] == {"traceparent": TRACEPARENT, "idempotency-key": "k-1"}
    assert {"x-api-key", "content-type", "traceparent"} <= set(seen["header_names"])
    assert seen["at"] > 0


async def test_no_credential_is_ever_told(client: Client) -> None:
    settings = client.vendor.settings
    code = await client.code(state="canary-state")
    tokens = (await client.exchange(code)).json
    await client.get("/v1/me", headers=bearer(tokens["access_token"]))
    await client.refresh(tokens["refresh_token"])
    await client.get("/v1/me")

    told = (await client.get("/_sandbox/stats?last=1000")).content.decode()
    secrets = [settings.api_key, settings.client_secret, code, tokens["access_token"], tokens["refresh_token"]]
    assert "/oauth/token" in told
    assert [secret for secret in [*secrets, "canary-state"] if secret in told] == []


async def test_secrets_are_not_in_the_repr_of_the_settings(client: Client) -> None:
    settings = client.vendor.settings

    assert settings.client_id in repr(settings)
    for secret in (settings.api_key, settings.client_secret, settings.basic_password):
        assert secret not in repr(settings)


async def test_the_last_requests_are_told_oldest_first_and_kept_within_bounds(client: Client) -> None:
    for number in range(5):
        await client.get(f"/v1/tickets/{number}")

    last = (await client.get("/_sandbox/stats?last=2")).json["recent"]
    none = (await client.get("/_sandbox/stats?last=0")).json["recent"]
    assert [seen["path"] for seen in last] == ["/v1/tickets/3", "/v1/tickets/4"]
    assert none == []


@pytest.mark.parametrize("last", ["x", "-1", "1001", "", "²", "9" * 5000])
async def test_a_wrong_number_of_requests_is_refused(client: Client, last: str) -> None:
    assert (await client.get(f"/_sandbox/stats?last={last}")).status == 422


async def test_requests_at_the_same_time_are_told_by_their_peak(client: Client) -> None:
    await client.break_vendor(latency_ms=100)
    await asyncio.gather(*(client.get("/v1/me") for _ in range(6)))

    assert (await client.get("/_sandbox/stats")).json["peak_in_flight"] == 6


async def test_a_cut_answer_is_told_as_cut(client: Client) -> None:
    await client.break_vendor(cut_connections=True, status=502, times=1)
    headers = {"X-Api-Key": client.vendor.settings.api_key}
    async with client.session.get(f"{client.vendor.url}/v1/me", headers=headers) as answer:
        assert answer.status == 502

    (seen,) = (await client.get("/_sandbox/stats")).json["recent"]
    assert (seen["status"], seen["cut"]) == (502, True)


async def test_the_counts_can_be_set_to_zero_alone(client: Client) -> None:
    await client.call("DELETE", "/v1/tickets/tkt_00000001")

    assert (await client.call("DELETE", "/_sandbox/stats")).status == 204
    assert (await client.get("/_sandbox/stats")).json["requests"] == 0
    assert (await client.get("/v1/tickets/tkt_00000001")).status == 404


async def test_reset_makes_the_vendor_as_it_was(client: Client) -> None:
    tokens = await client.tokens()
    minted = (await client.post("/_sandbox/api-keys", {})).json["api_key"]
    await client.call("DELETE", "/v1/tickets/tkt_00000001")
    await client.call("PATCH", "/_sandbox/settings", json={"rate_limit": 1})
    await client.break_vendor(status=500)

    assert (await client.call("POST", "/_sandbox/reset")).status == 204

    stats = (await client.get("/_sandbox/stats")).json
    assert (stats["requests"], stats["oauth"]["grants"]) == (0, 0)
    assert [(await client.get("/v1/tickets/tkt_00000001")).status for _ in range(2)] == [200, 200]
    assert (await client.get("/v1/me", headers=bearer(tokens["access_token"]))).status == 401
    assert (await client.get("/v1/me", headers={"X-Api-Key": minted})).status == 401
    assert await client.tokens()


async def test_the_credentials_it_was_started_with_are_told(client: Client) -> None:
    settings = client.vendor.settings

    assert (await client.get("/_sandbox/credentials")).json == {
        "client_id": "cordboard-demo",
        "client_secret": settings.client_secret,
        "redirect_uris": ["https://app.example/callback"],
        "api_key": settings.api_key,
        "basic_user": "agent",
        "basic_password": settings.basic_password,
        "app_key": settings.app_key,
        "aws_access_key": settings.aws_access_key,
        "aws_secret_key": settings.aws_secret_key,
        "oauth1_key": settings.oauth1_key,
        "oauth1_secret": settings.oauth1_secret,
    }


async def test_it_answers_that_it_is_there(client: Client) -> None:
    assert (await client.get("/_sandbox/health", headers={})).json == {"status": "ok"}


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("PATCH", "/_sandbox/settings", "colour"),
        ("POST", "/_sandbox/api-keys", "colour"),
    ],
)
async def test_a_switch_that_is_not_there_is_refused(client: Client, method: str, path: str, field: str) -> None:
    answer = await client.call(method, path, json={field: "red"})

    assert (answer.status, answer.json["fields"][0]["field"]) == (422, field)
