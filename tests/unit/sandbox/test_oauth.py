"""The authorization server: the flow as it should go, and the attacks that must fail."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from cordboard import sandbox
from tests.unit.sandbox.client import REDIRECT_URI, VERIFIER, Client, Clock, bearer


async def test_the_metadata_tells_where_everything_is(client: Client) -> None:
    told = (await client.get("/.well-known/oauth-authorization-server")).json

    assert told["issuer"] == client.vendor.url
    assert told["code_challenge_methods_supported"] == ["S256"]
    assert told["authorization_response_iss_parameter_supported"] is True
    for name in ("authorization_endpoint", "token_endpoint", "revocation_endpoint"):
        assert (await client.get(told[name])).status in {400, 405}


async def test_a_code_with_its_verifier_gives_tokens_that_open_the_api(client: Client) -> None:
    answer = await client.exchange(await client.code())

    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json["token_type"] == "Bearer"
    assert answer.json["expires_in"] == 3600
    assert answer.json["scope"] == "tickets:read tickets:write"
    me = await client.get("/v1/me", headers=bearer(answer.json["access_token"]))
    assert me.json == {
        "id": "agt_ada",
        "name": "Ada Lopez",
        "email": "ada@acmedesk.example",
        "authenticated_by": "oauth2",
        "scopes": ["tickets:read", "tickets:write"],
    }


async def test_the_browser_comes_back_with_the_state_and_the_issuer(client: Client) -> None:
    back = await client.redirect({"state": "a b&c=ä"})

    assert back["state"] == "a b&c=ä"
    assert back["iss"] == client.vendor.url


async def test_without_a_state_none_comes_back(client: Client) -> None:
    assert "state" not in await client.redirect({"state": None})


async def test_the_person_chooses_in_whose_name(client: Client) -> None:
    back = await client.redirect(agent="agt_grace")
    tokens = (await client.exchange(back["code"])).json

    assert (await client.get("/v1/me", headers=bearer(tokens["access_token"]))).json["id"] == "agt_grace"


async def test_who_denies_gives_nothing(client: Client) -> None:
    back = await client.redirect(decision="deny")

    assert back["error"] == "access_denied"
    assert back["iss"] == client.vendor.url
    assert "code" not in back


async def test_the_consent_page_cannot_be_framed_and_names_what_is_asked(client: Client) -> None:
    page = await client.call("GET", client.authorize_url(scope="contacts:read"), headers={})

    assert page.headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert b"Read contacts" in page.content
    assert b"Read tickets" not in page.content


async def test_the_consent_page_escapes_the_name_of_the_client(client: Client) -> None:
    body = {"client_id": "evil", "name": "<script>alert(1)</script>", "redirect_uris": [REDIRECT_URI]}
    await client.post("/_sandbox/clients", body)

    page = await client.call("GET", client.authorize_url(client_id="evil"), headers={})

    assert page.status == 200
    assert b"<script>" not in page.content


async def test_a_consent_can_be_given_once_only(client: Client) -> None:
    page = (await client.call("GET", client.authorize_url(), headers={})).content.decode()
    request_id = page.split('name="request" value="')[1].split('"')[0]
    form = {"request": request_id, "decision": "approve"}

    first = await client.call("POST", "/oauth/authorize", headers={}, data=form)
    second = await client.call("POST", "/oauth/authorize", headers={}, data=form)

    assert (first.status, second.status) == (302, 400)


async def test_a_consent_page_grows_old(client: Client, clock: Clock) -> None:
    page = (await client.call("GET", client.authorize_url(), headers={})).content.decode()
    request_id = page.split('name="request" value="')[1].split('"')[0]
    clock.now += 601

    answer = await client.call("POST", "/oauth/authorize", data={"request": request_id, "decision": "approve"})

    assert answer.status == 400


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "tickets:read everything"}, "invalid_scope"),
    ],
)
async def test_a_wrong_authorization_request_goes_back_to_the_client(
    client: Client, changes: dict[str, str | None], error: str
) -> None:
    back = await client.redirect(changes)

    assert back["error"] == error
    assert back["state"] == "st&te"
    assert back["iss"] == client.vendor.url
    assert "code" not in back


@pytest.mark.parametrize("repeated", ["state=again", "code_challenge=again", "scope=tickets:read"])
async def test_a_repeated_parameter_goes_back_to_the_client(client: Client, repeated: str) -> None:
    answer = await client.call("GET", f"{client.authorize_url()}&{repeated}", headers={})

    assert answer.status == 302
    assert "error=invalid_request" in answer.headers["Location"]


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": None},
        {"client_id": "nobody"},
        {"redirect_uri": None},
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": REDIRECT_URI + "/"},
        {"redirect_uri": REDIRECT_URI + "?more=1"},
        {"redirect_uri": REDIRECT_URI.upper()},
        {"redirect_uri": REDIRECT_URI.replace("https", "http")},
    ],
)
async def test_the_browser_is_never_sent_where_nobody_registered(
    client: Client, changes: dict[str, str | None]
) -> None:
    answer = await client.call("GET", client.authorize_url(**changes), headers={})

    assert answer.status == 400
    assert "Location" not in answer.headers
    with pytest.raises(sandbox.ConsentFailed):
        await sandbox.consent(client.session, client.authorize_url(**changes))


@pytest.mark.parametrize("second", ["https://evil.example", REDIRECT_URI])
async def test_a_second_redirect_uri_in_the_query_is_refused(client: Client, second: str) -> None:
    answer = await client.call("GET", f"{client.authorize_url()}&redirect_uri={second}", headers={})

    assert (answer.status, "Location" in answer.headers) == (400, False)


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"code_verifier": None}, 400, "invalid_request"),
        ({"code_verifier": "w" * 50}, 400, "invalid_grant"),
        ({"code_verifier": "v" * 42}, 400, "invalid_grant"),
        ({"code_verifier": VERIFIER + "é"}, 400, "invalid_grant"),
        ({"redirect_uri": "https://evil.example/callback"}, 400, "invalid_grant"),
        ({"code": None}, 400, "invalid_request"),
        ({"code": "acme_ac_made_up"}, 400, "invalid_grant"),
        ({"grant_type": None}, 400, "invalid_request"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"client_secret": None}, 401, "invalid_client"),
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"client_id": None}, 400, "invalid_request"),
    ],
)
async def test_a_wrong_token_request_gets_no_token(
    client: Client, changes: dict[str, str | None], status: int, error: str
) -> None:
    answer = await client.exchange(await client.code(), **changes)

    assert (answer.status, answer.json["error"]) == (status, error)
    assert "access_token" not in answer.json
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)


async def test_the_redirect_uri_may_be_left_out_of_the_token_request(client: Client) -> None:
    assert (await client.exchange(await client.code(), redirect_uri=None)).status == 200


async def test_a_code_that_came_with_a_wrong_verifier_is_burnt(client: Client) -> None:
    code = await client.code()
    await client.exchange(code, code_verifier="w" * 50)

    assert (await client.exchange(code)).json["error"] == "invalid_grant"


async def test_a_code_that_comes_twice_ends_the_tokens_of_the_first(client: Client) -> None:
    code = await client.code()
    tokens = (await client.exchange(code)).json

    assert (await client.exchange(code)).json["error"] == "invalid_grant"
    assert (await client.get("/v1/me", headers=bearer(tokens["access_token"]))).status == 401
    assert (await client.refresh(tokens["refresh_token"])).json["error"] == "invalid_grant"


async def test_a_code_lives_a_minute(client: Client, clock: Clock) -> None:
    in_time, too_late = await client.code(), await client.code()

    clock.now += 59
    assert (await client.exchange(in_time)).status == 200
    clock.now += 1
    assert (await client.exchange(too_late)).json["error"] == "invalid_grant"


async def test_a_code_of_another_client_is_refused_and_stays_good(client: Client) -> None:
    body = {"client_id": "other", "redirect_uris": [REDIRECT_URI]}
    other = (await client.post("/_sandbox/clients", body)).json
    code = await client.code()

    stolen = await client.exchange(code, client_id="other", client_secret=other["client_secret"])

    assert stolen.json["error"] == "invalid_grant"
    assert (await client.exchange(code)).status == 200


async def test_an_access_token_expires_and_the_refresh_token_renews_it(client: Client, clock: Clock) -> None:
    tokens = await client.tokens()

    clock.now += 3600
    late = await client.get("/v1/me", headers=bearer(tokens["access_token"]))
    renewed = (await client.refresh(tokens["refresh_token"])).json

    assert late.status == 401
    assert 'error="invalid_token"' in late.headers["WWW-Authenticate"]
    assert renewed["refresh_token"] != tokens["refresh_token"]
    assert (await client.get("/v1/me", headers=bearer(renewed["access_token"]))).status == 200


async def test_a_refresh_token_that_comes_twice_ends_the_whole_grant(client: Client) -> None:
    tokens = await client.tokens()
    renewed = (await client.refresh(tokens["refresh_token"])).json

    again = await client.refresh(tokens["refresh_token"])

    assert again.json["error"] == "invalid_grant"
    assert (await client.get("/v1/me", headers=bearer(renewed["access_token"]))).status == 401
    assert (await client.refresh(renewed["refresh_token"])).json["error"] == "invalid_grant"


async def test_of_many_refreshes_at_once_one_succeeds(client: Client) -> None:
    tokens = await client.tokens()

    answers = await asyncio.gather(*(client.refresh(tokens["refresh_token"]) for _ in range(8)))

    assert sorted(answer.status for answer in answers) == [200] + [400] * 7


async def test_the_end_of_one_grant_leaves_the_others(client: Client) -> None:
    lost, kept = await client.tokens(), await client.tokens()
    await client.refresh(lost["refresh_token"])
    await client.refresh(lost["refresh_token"])

    assert (await client.get("/v1/me", headers=bearer(kept["access_token"]))).status == 200


async def test_a_refresh_token_lives_thirty_days(client: Client, clock: Clock) -> None:
    tokens = await client.tokens()
    clock.now += 30 * 24 * 3600

    assert (await client.refresh(tokens["refresh_token"])).json["error"] == "invalid_grant"


async def test_a_refresh_may_narrow_the_scopes_and_not_widen_them(client: Client) -> None:
    tokens = await client.tokens()

    wider = await client.refresh(tokens["refresh_token"], scope="tickets:read contacts:read")
    narrower = await client.refresh(tokens["refresh_token"], scope="tickets:read")

    assert wider.json["error"] == "invalid_scope"
    assert narrower.json["scope"] == "tickets:read"


async def test_a_refresh_token_of_another_client_is_refused_and_stays_good(client: Client) -> None:
    body = {"client_id": "other", "redirect_uris": [REDIRECT_URI]}
    other = (await client.post("/_sandbox/clients", body)).json
    tokens = await client.tokens()

    stolen = await client.refresh(tokens["refresh_token"], client_id="other", client_secret=other["client_secret"])

    assert stolen.json["error"] == "invalid_grant"
    assert (await client.refresh(tokens["refresh_token"])).status == 200


async def revoke(client: Client, token: str | None, **changes: str) -> Any:
    """Sends a revocation request of the preregistered client."""
    settings = client.vendor.settings
    data = {"client_id": settings.client_id, "client_secret": settings.client_secret, **changes}
    if token is not None:
        data["token"] = token
    return await client.call("POST", "/oauth/revoke", headers={}, data=data)


async def test_a_revoked_refresh_token_takes_the_grant_with_it(client: Client) -> None:
    tokens = await client.tokens()

    assert (await revoke(client, tokens["refresh_token"])).status == 200
    assert (await client.get("/v1/me", headers=bearer(tokens["access_token"]))).status == 401
    assert (await client.refresh(tokens["refresh_token"])).json["error"] == "invalid_grant"


async def test_a_revoked_access_token_leaves_the_refresh_token(client: Client) -> None:
    tokens = await client.tokens()

    assert (await revoke(client, tokens["access_token"])).status == 200
    assert (await client.get("/v1/me", headers=bearer(tokens["access_token"]))).status == 401
    assert (await client.refresh(tokens["refresh_token"])).status == 200


async def test_revoking_what_is_not_there_is_no_error(client: Client) -> None:
    assert (await revoke(client, "acme_rt_made_up")).status == 200


async def test_a_revocation_needs_a_token_and_the_client_it_belongs_to(client: Client) -> None:
    tokens = await client.tokens()
    body = {"client_id": "other", "redirect_uris": [REDIRECT_URI]}
    other = (await client.post("/_sandbox/clients", body)).json

    without = await revoke(client, None)
    wrong_secret = await revoke(client, tokens["refresh_token"], client_secret="wrong")
    foreign = await revoke(client, tokens["refresh_token"], client_id="other", client_secret=other["client_secret"])

    assert (without.status, without.json["error"]) == (400, "invalid_request")
    assert (wrong_secret.status, wrong_secret.json["error"]) == (401, "invalid_client")
    assert (foreign.status, foreign.json["error"]) == (400, "invalid_request")
    assert (await client.get("/v1/me", headers=bearer(tokens["access_token"]))).status == 200


def basic(user: str, password: str) -> dict[str, str]:
    """Returns a Basic header."""
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


async def test_a_client_may_authenticate_in_the_header(client: Client) -> None:
    settings = client.vendor.settings
    good = basic(settings.client_id, settings.client_secret)

    answer = await client.exchange(await client.code(), client_id=None, client_secret=None)
    proof: dict[str, str | None] = {
        "grant_type": "authorization_code",
        "code": await client.code(),
        "code_verifier": VERIFIER,
        "client_id": None,
        "client_secret": None,
    }
    by_header = await client.token(proof, headers=good)

    assert answer.status == 400
    assert by_header.status == 200


@pytest.mark.parametrize(
    ("header", "changes", "error"),
    [
        (basic("cordboard-demo", "wrong"), {"client_secret": None}, "invalid_client"),
        (basic("cordboard-demo", "wrong"), {}, "invalid_request"),
        (basic("nobody", "x"), {"client_secret": None}, "invalid_request"),
        (basic("nobody", "x"), {"client_secret": None, "client_id": None}, "invalid_client"),
        ({"Authorization": "Basic !!!"}, {"client_secret": None}, "invalid_client"),
        ({"Authorization": "Basic /w=="}, {"client_secret": None}, "invalid_client"),
        ({"Authorization": "Bearer x"}, {"client_secret": None}, "invalid_client"),
    ],
)
async def test_a_client_that_cannot_prove_itself_gets_nothing(
    client: Client, header: dict[str, str], changes: dict[str, str | None], error: str
) -> None:
    request: dict[str, str | None] = {"grant_type": "authorization_code", "code": "x", "code_verifier": VERIFIER}

    answer = await client.token({**request, **changes}, headers=header)

    assert answer.json["error"] == error


async def test_a_public_client_brings_no_secret_and_still_needs_pkce(client: Client) -> None:
    body = {"client_id": "app", "public": True, "redirect_uris": ["com.example.app://callback"]}
    assert (await client.post("/_sandbox/clients", body)).json["client_secret"] is None
    mine: dict[str, str | None] = {"client_id": "app", "redirect_uri": "com.example.app://callback"}

    first = await client.exchange(await client.code(**mine), client_secret=None, **mine)
    no_verifier = await client.exchange(await client.code(**mine), client_secret=None, code_verifier=None, **mine)
    with_secret = await client.exchange(await client.code(**mine), client_secret="made-up", **mine)

    assert first.status == 200
    assert no_verifier.json["error"] == "invalid_request"
    assert with_secret.json["error"] == "invalid_client"


@pytest.mark.parametrize("body", [b"\xff=1", b"grant_type=%ff", b"&".join(b"a%d=1" % n for n in range(60))])
async def test_a_token_request_that_cannot_be_read_is_refused(client: Client, body: bytes) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    answer = await client.call("POST", "/oauth/token", headers=form, data=body)

    assert (answer.status, answer.json["error"]) == (400, "invalid_request")


async def test_a_token_request_is_a_form_with_each_parameter_once(client: Client) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    as_json = await client.post("/oauth/token", {"grant_type": "refresh_token"})
    repeated = await client.call("POST", "/oauth/token", headers=form, data=b"grant_type=a&grant_type=b")

    assert as_json.json["error"] == "invalid_request"
    assert "grant_type must be given once only" in repeated.json["error_description"]


async def test_a_new_redirect_uri_of_the_registered_client_keeps_its_secret(client: Client) -> None:
    settings = client.vendor.settings
    uri = "http://127.0.0.1:9999/back"

    answer = await client.post("/_sandbox/clients", {"client_id": settings.client_id, "redirect_uris": [uri]})

    assert (answer.status, answer.json["client_secret"]) == (200, settings.client_secret)
    assert (await client.exchange(await client.code(redirect_uri=uri), redirect_uri=uri)).status == 200


@pytest.mark.parametrize("uri", ["/relative", "https://app.example/#fragment"])
async def test_a_redirect_uri_that_cannot_be_one_is_not_registered(client: Client, uri: str) -> None:
    answer = await client.post("/_sandbox/clients", {"client_id": "x", "redirect_uris": [REDIRECT_URI, uri]})

    assert (answer.status, answer.json["fields"][0]["field"]) == (422, "redirect_uris[1]")


async def test_the_acts_are_counted(client: Client) -> None:
    tokens = await client.tokens()
    renewed = (await client.refresh(tokens["refresh_token"])).json
    await revoke(client, renewed["access_token"])
    await client.refresh(tokens["refresh_token"])

    assert (await client.get("/_sandbox/stats")).json["oauth"] == {
        "grants": 1,
        "refreshes": 1,
        "revocations": 1,
        "reuses": 1,
    }
