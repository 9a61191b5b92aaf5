"""Credentials of the API, scopes, and the limit on requests."""

from __future__ import annotations

import base64

import pytest

from tests.unit.sandbox.client import Client, Clock, bearer


def basic(user: str, password: str) -> dict[str, str]:
    """Returns a Basic header."""
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


async def test_an_api_key_and_a_password_reach_everything(client: Client) -> None:
    settings = client.vendor.settings
    by_key = (await client.get("/v1/me")).json
    by_password = (await client.get("/v1/me", headers=basic(settings.basic_user, settings.basic_password))).json

    assert by_key["authenticated_by"] == "api_key"
    assert by_password["authenticated_by"] == "basic"
    every = ["contacts:read", "contacts:write", "events:read", "tickets:read", "tickets:write"]
    assert by_key["scopes"] == by_password["scopes"] == every


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Api-Key": ""},
        {"X-Api-Key": "wrong"},
        {"X-Api-Key": "clé"},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic"},
        {"Authorization": "Basic !"},
        {"Authorization": "Digest x"},
        basic("agent", "wrong"),
        basic("nobody", ""),
    ],
)
async def test_without_a_good_credential_nothing_is_reached(client: Client, headers: dict[str, str]) -> None:
    for method, path in [("GET", "/v1/me"), ("GET", "/v1/tickets"), ("DELETE", "/v1/tickets/tkt_00000001")]:
        answer = await client.call(method, path, headers=headers)
        assert (answer.status, answer.json["code"]) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"].split()[0] in {"Bearer", "Basic", "Digest"}

    assert (await client.get("/v1/tickets/tkt_00000001")).status == 200


async def test_two_credentials_at_once_are_refused(client: Client) -> None:
    headers = {"X-Api-Key": client.vendor.settings.api_key, "Authorization": "Bearer x"}

    assert (await client.get("/v1/me", headers=headers)).status == 400


async def test_a_minted_key_works_until_it_is_dropped(client: Client) -> None:
    minted = (await client.call("POST", "/_sandbox/api-keys")).json
    headers = {"X-Api-Key": minted["api_key"]}
    path = f"/_sandbox/api-keys/{minted['id']}"

    assert (await client.get("/v1/tickets", headers=headers)).status == 200
    assert (await client.call("DELETE", path)).status == 204
    assert (await client.get("/v1/tickets", headers=headers)).status == 401
    assert (await client.call("DELETE", path)).status == 404
    assert (await client.get("/v1/tickets")).status == 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/tickets", "tickets:read"),
        ("GET", "/v1/tickets/tkt_00000001", "tickets:read"),
        ("GET", "/v1/tickets/tkt_00000001/attachments", "tickets:read"),
        ("GET", "/v1/attachments/att_00000001/content", "tickets:read"),
        ("POST", "/v1/tickets", "tickets:write"),
        ("PATCH", "/v1/tickets/tkt_00000001", "tickets:write"),
        ("DELETE", "/v1/tickets/tkt_00000001", "tickets:write"),
        ("POST", "/v1/tickets/tkt_00000001/attachments", "tickets:write"),
        ("GET", "/v1/contacts", "contacts:read"),
        ("GET", "/v1/contacts/con_00000001", "contacts:read"),
        ("POST", "/v1/contacts", "contacts:write"),
        ("GET", "/v1/events", "events:read"),
    ],
)
async def test_a_scope_opens_its_own_operations_and_no_others(
    client: Client, method: str, path: str, scope: str
) -> None:
    every = ["contacts:read", "contacts:write", "events:read", "tickets:read", "tickets:write"]
    others = [each for each in every if each != scope]
    wrong = (await client.post("/_sandbox/api-keys", {"scopes": others})).json["api_key"]
    right = (await client.post("/_sandbox/api-keys", {"scopes": [scope]})).json["api_key"]

    refused = await client.call(method, path, headers={"X-Api-Key": wrong})
    opened = await client.call(method, path, headers={"X-Api-Key": right})

    assert (refused.status, refused.json["code"]) == (403, "insufficient_scope")
    assert f'scope="{scope}"' in refused.headers["WWW-Authenticate"]
    assert opened.status in {200, 204, 415}


async def test_every_answer_of_the_api_tells_the_limit(client: Client) -> None:
    key = {"X-Api-Key": client.vendor.settings.api_key}
    asked: list[tuple[str, str, dict[str, str]]] = [
        ("GET", "/v1/me", key),
        ("GET", "/v1/me", {}),
        ("GET", "/v1/nowhere", key),
        ("PUT", "/v1/me", key),
        ("GET", "/v1/tickets?limit=x", key),
        ("POST", "/v1/tickets", key),
    ]
    for method, path, headers in asked:
        answer = await client.call(method, path, headers=headers)
        for name in ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"):
            assert int(answer.headers[name]) > 0
            assert int(answer.headers[f"X-{name}"]) > 0


async def test_beyond_the_limit_the_answer_is_429_until_the_window_ends(client: Client, clock: Clock) -> None:
    body = {"rate_limit": 3, "rate_window_seconds": 30}
    assert (await client.call("PATCH", "/_sandbox/settings", json=body)).json["rate_limit"] == 3

    remaining = [(await client.get("/v1/me")).headers["RateLimit-Remaining"] for _ in range(3)]
    clock.now += 10
    refused = await client.get("/v1/me")
    clock.now += 20
    again = await client.get("/v1/me")

    assert remaining == ["2", "1", "0"]
    assert (refused.status, refused.json["code"]) == (429, "rate_limited")
    assert refused.headers["Retry-After"] == refused.headers["RateLimit-Reset"] == "20"
    assert refused.headers["X-RateLimit-Reset"] == str(int(clock.now))
    assert again.status == 200


async def test_one_caller_does_not_use_up_the_limit_of_another(client: Client) -> None:
    other = (await client.post("/_sandbox/api-keys", {})).json["api_key"]
    await client.call("PATCH", "/_sandbox/settings", json={"rate_limit": 1})

    assert [(await client.get("/v1/me")).status for _ in range(2)] == [200, 429]
    assert (await client.get("/v1/me", headers={"X-Api-Key": other})).status == 200


async def test_a_refused_write_does_nothing(client: Client) -> None:
    await client.call("PATCH", "/_sandbox/settings", json={"rate_limit": 0})

    assert (await client.call("DELETE", "/v1/tickets/tkt_00000001")).status == 429
    await client.call("PATCH", "/_sandbox/settings", json={"rate_limit": 10})
    assert (await client.get("/v1/tickets/tkt_00000001")).status == 200


async def test_shorter_lives_of_tokens_hold_from_now_on(client: Client, clock: Clock) -> None:
    long = await client.tokens()
    await client.call("PATCH", "/_sandbox/settings", json={"access_token_seconds": 5})
    short = await client.tokens()
    clock.now += 5

    assert short["expires_in"] == 5
    assert (await client.get("/v1/me", headers=bearer(short["access_token"]))).status == 401
    assert (await client.get("/v1/me", headers=bearer(long["access_token"]))).status == 200
