"""Connecting, over the real server and a real vendor, and attacks on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from cordboard import sandbox
from cordboard.auth.v1 import connect_service_pb2 as pb
from cordboard.auth.v1 import connection_service_pb2 as connection_pb
from cordboard.auth.v1.connect_service_pb2_grpc import ConnectServiceStub
from cordboard.catalog.v1 import definition_pb2 as definition
from cordboard.common.v1 import options_pb2 as roles
from cordboard.core.structs import to_struct
from cordboard.sandbox.grants import Client
from tests.fixtures.auth import (
    API_KEY,
    BASIC,
    BEARER,
    NONE,
    NOT_FOUND,
    OAUTH_FAILED,
    REDIRECT_URI,
    STATE_CONFLICT,
    UNAVAILABLE,
    Auth,
    a_definition,
    an_oauth_scheme,
    consented,
    refused,
    until,
)
from tests.fixtures.sites import listening

PENDING, CONNECTED = pb.ConnectSession.STATE_PENDING, pb.ConnectSession.STATE_CONNECTED
FAILED, EXPIRED = pb.ConnectSession.STATE_FAILED, pb.ConnectSession.STATE_EXPIRED


async def test_an_account_is_connected_by_oauth_and_its_token_works(auth: Auth, vendor: sandbox.Vendor) -> None:
    made = await auth.connect(display_name="Support desk", environment="staging")
    leased = await auth.lease()
    granted = vendor.grants.access(leased.access_token)
    assert granted is not None
    assert tuple(made.scopes) == granted.scopes
    assert (leased.generation, made.credential_generation) == (1, 1)
    assert (made.integration, made.auth_scheme, made.environment) == ("integrations/desk", "oauth", "staging")
    assert made.display_name == "Support desk"
    assert made.state == connection_pb.Connection.STATE_READY
    assert vendor.stats(last=0)["oauth"]["grants"] == 1


async def test_the_person_is_sent_out_with_pkce_a_state_and_our_exact_redirect_uri(
    auth: Auth, vendor: sandbox.Vendor
) -> None:
    scope = next(iter(vendor.document.scopes))
    session = await auth.begin(scopes=[scope])
    query = parse_qs(urlsplit(session.authorization_url).query)
    assert query["redirect_uri"] == [REDIRECT_URI]
    assert query["code_challenge_method"] == ["S256"]
    assert len(query["code_challenge"][0]) == 43
    assert len(query["state"][0]) == 43
    assert query["scope"] == [scope]
    # Of the state only a hash is kept, so the URL is told once.
    assert (await auth.session(session.name)).authorization_url == ""
    assert (await auth.session(session.name)).state == PENDING
    stored = await auth.sql("SELECT state_hash, verifier FROM connect_session")
    assert query["state"][0].encode() not in bytes(stored[0]["state_hash"]) + bytes(stored[0]["verifier"])


async def test_the_vendor_grants_what_it_likes_and_that_is_recorded(auth: Auth, vendor: sandbox.Vendor) -> None:
    scope = next(iter(vendor.document.scopes))
    assert list((await auth.connect(scopes=[scope])).scopes) == [scope]


async def test_the_page_says_that_it_worked_and_may_do_nothing(auth: Auth, vendor: sandbox.Vendor) -> None:
    session = await auth.begin()
    stub = ConnectServiceStub(auth.served.channel("envoy"))
    call = stub.HandleCallback(pb.HandleCallbackRequest(**await consented(session.authorization_url)))
    body, headers = await call, dict(await call.initial_metadata())
    assert body.content_type == "text/html; charset=utf-8"
    assert "Acme Desk is connected" in body.data.decode()
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    after = await auth.session(session.name)
    assert (after.state, after.error) == (CONNECTED, "")
    assert after.connection.startswith("workspaces/acme/connections/desk-")


async def test_connecting_again_keeps_the_id_and_raises_the_generation(auth: Auth, vendor: sandbox.Vendor) -> None:
    first = await auth.connect(display_name="Support")
    again = await auth.connect()
    assert (again.name, again.credential_generation) == (first.name, 2)
    assert again.display_name == "Support"
    assert vendor.grants.access((await auth.lease()).access_token) is not None
    rows = await auth.sql("SELECT generation, field FROM credential ORDER BY field")
    assert [tuple(row) for row in rows] == [(2, "access_token"), (2, "refresh_token")]


async def test_a_refused_consent_ends_the_session_and_says_so(auth: Auth, vendor: sandbox.Vendor) -> None:
    session = await auth.begin()
    page = await auth.call_back(**await consented(session.authorization_url, decision="deny"))
    assert "was not connected" in page
    assert "access_denied" in page
    after = await auth.session(session.name)
    assert (after.state, after.error, after.connection) == (FAILED, "access_denied", "")


# --- attacks -----------------------------------------------------------------------------------------------------


async def test_a_state_works_once(auth: Auth, vendor: sandbox.Vendor) -> None:
    query = await consented((await auth.begin()).authorization_url)
    await auth.call_back(**query)
    for _ in range(3):
        assert await refused(auth.call_back(**query)) == OAUTH_FAILED
    assert vendor.stats(last=0)["oauth"] == {"grants": 1, "refreshes": 0, "revocations": 0, "reuses": 0}


async def test_of_many_returns_with_one_state_one_is_heard(auth: Auth, vendor: sandbox.Vendor) -> None:
    query = await consented((await auth.begin()).authorization_url)
    answers = await asyncio.gather(*(auth.call_back(**query) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(answer, str) for answer in answers) == 1
    assert vendor.stats(last=0)["oauth"]["grants"] == 1
    assert vendor.stats(last=0)["oauth"]["reuses"] == 0


@pytest.mark.parametrize("state", ["", "x", "A" * 43, "é", "a" * 100_000, "\0", "' OR 1=1 --"])
async def test_a_state_that_nobody_gave_out_is_refused(auth: Auth, vendor: sandbox.Vendor, state: str) -> None:
    query = await consented((await auth.begin()).authorization_url)
    assert await refused(auth.call_back(**{**query, "state": state})) == OAUTH_FAILED
    assert vendor.stats(last=0)["oauth"]["grants"] == 0


async def test_a_state_ends_after_ten_minutes(auth: Auth, vendor: sandbox.Vendor) -> None:
    session = await auth.begin()
    life = await auth.sql("SELECT extract(epoch FROM expire_time - create_time)::int AS seconds FROM connect_session")
    assert life[0]["seconds"] == 600
    query = await consented(session.authorization_url)
    await auth.sql("UPDATE connect_session SET expire_time = now() - interval '1 ms'")
    assert await refused(auth.call_back(**query)) == OAUTH_FAILED
    assert (await auth.session(session.name)).state == EXPIRED
    assert vendor.stats(last=0)["oauth"]["grants"] == 0


async def test_a_code_of_one_session_does_not_end_another(auth: Auth, vendor: sandbox.Vendor) -> None:
    # An attacker's code with a victim's state: PKCE ties the code to the attacker's own verifier.
    await auth.workspace("evil")
    attacker = await consented((await auth.begin("evil")).authorization_url)
    victim = await auth.begin("acme")
    query = await consented(victim.authorization_url)
    page = await auth.call_back(**{**query, "code": attacker["code"]})
    assert "invalid_grant" in page
    assert (await auth.session(victim.name)).state == FAILED
    assert await auth.sql("SELECT * FROM connection") == []


async def test_a_session_belongs_to_its_workspace(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.workspace("evil")
    session = await auth.begin("acme")
    stub = await auth.as_member(ConnectServiceStub, "evil", roles.ROLE_WORKSPACE_ADMIN)
    own = session.name.replace("acme", "evil")
    for name in (session.name, own):
        assert await refused(stub.GetConnectSession(pb.GetConnectSessionRequest(name=name))) == NOT_FOUND
        assert await refused(stub.SubmitConnectSession(pb.SubmitConnectSessionRequest(name=name))) == NOT_FOUND
    # Whoever brings the state back, the connection is made where the session was.
    await auth.call_back(**await consented(session.authorization_url))
    assert [row["workspace_id"] for row in await auth.sql("SELECT workspace_id FROM connection")] == ["acme"]


@pytest.mark.parametrize("issuer", ["", "https://evil.example", "http://127.0.0.1", "HTTP"])
async def test_an_issuer_that_is_not_the_definitions_is_refused_before_the_code_is_sent(
    auth: Auth, vendor: sandbox.Vendor, issuer: str
) -> None:
    session = await auth.begin()
    query = await consented(session.authorization_url)
    assert query["iss"] == vendor.url
    page = await auth.call_back(**{**query, "iss": issuer})
    assert "issuer" in page
    assert (await auth.session(session.name)).error == "issuer"
    assert vendor.stats(last=0)["oauth"]["grants"] == 0


async def test_without_an_issuer_in_the_definition_none_is_asked_for(auth: Auth, vendor: sandbox.Vendor) -> None:
    auth.catalog.definitions["plain"] = a_definition("plain", an_oauth_scheme(vendor.url, issuer=""))
    await auth.set_client(vendor, "plain")
    session = await auth.begin(slug="plain")
    query = await consented(session.authorization_url)
    del query["iss"]
    assert "is connected" in await auth.call_back(**query)


async def test_a_return_without_a_code_or_with_markup_for_an_error_fails_in_a_fixed_word(
    auth: Auth, vendor: sandbox.Vendor
) -> None:
    for given, word in (({"code": ""}, "code_missing"), ({"error": "<script>alert(1)</script>"}, "error")):
        session = await auth.begin()
        query = await consented(session.authorization_url)
        page = await auth.call_back(**{**query, **given})
        assert "<script" not in page
        assert (await auth.session(session.name)).error == word


async def test_a_wrong_verifier_is_refused_by_the_vendor(auth: Auth, vendor: sandbox.Vendor) -> None:
    # The control of PKCE: the verifier that is sent is the one in the vault, and the vendor looks at it.
    session, other = await auth.begin(), await auth.begin()
    await auth.sql(
        "UPDATE connect_session SET verifier = (SELECT verifier FROM connect_session WHERE session_id = $1) "
        "WHERE session_id = $2",
        other.name.split("/")[-1],
        session.name.split("/")[-1],
    )
    await auth.call_back(**await consented(session.authorization_url))
    assert (await auth.session(session.name)).error == "unreadable"
    assert vendor.stats(last=0)["oauth"]["grants"] == 0


async def test_a_browser_that_goes_away_does_not_lose_the_code(auth: Auth, vendor: sandbox.Vendor) -> None:
    session = await auth.begin()
    query = await consented(session.authorization_url)
    vendor.faults.put(sandbox.Fault(latency_ms=600, path="/oauth/token"))
    stub = ConnectServiceStub(auth.served.channel("envoy"))
    call = asyncio.ensure_future(stub.HandleCallback(pb.HandleCallbackRequest(**query), timeout=60))

    async def asked() -> bool:
        return any(request["path"] == "/oauth/token" for request in vendor.stats(last=100)["recent"])

    await until(asked)
    call.cancel()

    async def connected() -> bool:
        return (await auth.session(session.name)).state == CONNECTED

    await until(connected)


# --- token endpoints that answer anything ------------------------------------------------------------------------


@pytest.fixture
async def hostile(auth: Auth, vendor: sandbox.Vendor) -> AsyncIterator[dict[str, Any]]:
    """A token endpoint whose answer is `answer["body"]`, `answer["status"]`."""
    answer: dict[str, Any] = {"body": b"", "status": 200}

    async def handle(_request: web.Request) -> web.Response:
        return web.Response(body=answer["body"], status=answer["status"])

    app = web.Application()
    app.router.add_post("/token", handle)
    async with listening(app) as url:
        scheme = an_oauth_scheme(vendor.url, token_url=f"{url}/token")
        auth.catalog.definitions["hostile"] = a_definition("hostile", scheme)
        await auth.set_client(vendor, "hostile")
        yield answer


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        (b"<html>", 200, "answer_unreadable"),
        (b"[" * 100_000, 200, "answer_unreadable"),
        (b'{"access_token":"canary-5151","expires_in":-1}', 200, "answer_invalid"),
        (b'{"access_token":"canary-5151","token_type":"mac"}', 200, "token_type"),
        (b'{"access_token":"canary-5151","access_token":"b"}', 200, "answer_unreadable"),
        (b'{"error":"invalid_grant"}', 400, "invalid_grant"),
        (b"x" * 1_000_000, 200, "answer_too_large"),
        (b"", 503, "http_503"),
    ],
)
async def test_a_hostile_token_endpoint_ends_the_session_in_a_fixed_word(
    auth: Auth, hostile: dict[str, Any], body: bytes, status: int, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    hostile |= {"body": body, "status": status}
    session = await auth.begin(slug="hostile")
    page = await auth.call_back(**await consented(session.authorization_url))
    assert problem in page
    after = await auth.session(session.name)
    assert (after.state, after.error) == (FAILED, problem)
    assert await auth.sql("SELECT * FROM connection") == []
    assert "canary-5151" not in caplog.text + page


# --- values that a person types in -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "values", "field", "leased"),
    [
        ("key", {"api_key": "k-1"}, "api_key", "k-1"),
        ("bearer", {"token": "t-1"}, "access_token", "t-1"),
        ("open", {}, "none", None),
    ],
)
async def test_a_connection_is_made_of_typed_values(
    auth: Auth, vendor: sandbox.Vendor, scheme: str, values: dict[str, str], field: str, leased: str | None
) -> None:
    made = await auth.type_in(values, auth_scheme=scheme, connection_id="typed")
    assert (made.name, made.auth_scheme) == ("workspaces/acme/connections/typed", scheme)
    given = await auth.lease("typed")
    assert given.WhichOneof("credential") == field
    assert leased is None or getattr(given, field) == leased
    assert not given.HasField("expire_time")


async def test_a_user_name_needs_a_password_which_may_be_empty(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.type_in({"username": "ada", "password": ""}, auth_scheme="basic", connection_id="typed")
    given = await auth.lease("typed")
    assert (given.basic.username, given.basic.password) == ("ada", "")


@pytest.mark.parametrize(
    ("scheme", "values", "fields"),
    [
        ("basic", {}, ["values.username", "values.password"]),
        ("basic", {"username": "a:b", "password": 5, "extra": "x"},
         ["values.extra", "values.username", "values.password"]),
        ("key", {"api_key": ""}, ["values.api_key"]),
        ("key", {"api_key": "a\r\nX-Evil: 1"}, ["values.api_key"]),
        ("key", {"api_key": " padded "}, ["values.api_key"]),
        ("key", {"api_key": "k" * 5000}, ["values.api_key"]),
        ("key", {"api_key": None}, ["values.api_key"]),
        ("key", {"api_key": ["k"]}, ["values.api_key"]),
        ("key", {"token": "t"}, ["values.token", "values.api_key"]),
        ("open", {"token": "t"}, ["values.token"]),
    ],
)  # fmt: skip
async def test_every_wrong_value_is_named_at_once(
    auth: Auth, vendor: sandbox.Vendor, scheme: str, values: dict[str, Any], fields: list[str]
) -> None:
    session = await auth.begin(auth_scheme=scheme)
    stub = await auth.as_member(ConnectServiceStub)
    request = pb.SubmitConnectSessionRequest(name=session.name, values=to_struct(values))
    assert await refused(stub.SubmitConnectSession(request)) == ("INVALID_ARGUMENT", "INVALID_FIELDS", fields)
    # The session is still there for another try.
    assert (await auth.session(session.name)).state == PENDING


async def test_a_session_that_ended_takes_no_values(auth: Auth, vendor: sandbox.Vendor) -> None:
    stub = await auth.as_member(ConnectServiceStub)
    session = await auth.begin(auth_scheme="open")
    request = pb.SubmitConnectSessionRequest(name=session.name)
    answers = await asyncio.gather(*(stub.SubmitConnectSession(request) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(answer, connection_pb.Connection) for answer in answers) == 1
    assert await refused(stub.SubmitConnectSession(request)) == STATE_CONFLICT
    late = await auth.begin(auth_scheme="open")
    await auth.sql("UPDATE connect_session SET expire_time = now()")
    assert await refused(stub.SubmitConnectSession(pb.SubmitConnectSessionRequest(name=late.name))) == STATE_CONFLICT
    by_oauth = await auth.begin(auth_scheme="oauth")
    ended = stub.SubmitConnectSession(pb.SubmitConnectSessionRequest(name=by_oauth.name))
    assert await refused(ended) == STATE_CONFLICT


# --- beginning ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"environment": "Prod!"}, ["environment"]),
        ({"connection_id": "X"}, ["connection_id"]),
        ({"display_name": "a\nb"}, ["display_name"]),
        ({"scopes": ["no-such-scope"]}, ["scopes[0]"]),
        ({"scopes": ["tickets:read", "a b"]}, ["scopes[1]"]),
        ({"auth_scheme": "key", "scopes": ["x"]}, ["scopes"]),
        ({"configuration": {"subdomain": "evil.com/#", "x": "y"}}, ["configuration.subdomain", "configuration.x"]),
        ({"configuration": {"region": "us"}}, ["configuration.region", "configuration.subdomain"]),
        ({"configuration": {}, "connection_id": "-", "environment": "?"},
         ["environment", "connection_id", "configuration.subdomain"]),
    ],
)  # fmt: skip
async def test_every_wrong_field_of_a_session_is_named_at_once(
    auth: Auth, vendor: sandbox.Vendor, fields: dict[str, Any], wrong: list[str]
) -> None:
    server = definition.Server(
        url="https://{subdomain}.{region}.example",
        variables=[
            definition.ServerVariable(name="subdomain"),
            definition.ServerVariable(name="region", default_value="eu", allowed_values=["eu", "ap"]),
        ],
    )
    scopes = [definition.OAuth2Scope(name="tickets:read")]
    auth.catalog.definitions["hosted"] = a_definition(
        "hosted", an_oauth_scheme(vendor.url, scopes=scopes), API_KEY, servers=[server]
    )
    await auth.set_client(vendor, "hosted")
    fields = {"configuration": {"subdomain": "acme"}} | fields
    code, reason, named = await refused(auth.begin(slug="hosted", **fields))
    assert (code, reason, sorted(named)) == ("INVALID_ARGUMENT", "INVALID_FIELDS", sorted(wrong))


async def test_what_is_not_there_is_not_found(auth: Auth, vendor: sandbox.Vendor) -> None:
    assert await refused(auth.begin(slug="nothing")) == NOT_FOUND
    assert await refused(auth.begin(auth_scheme="nothing")) == NOT_FOUND
    as_operator = auth.operator(ConnectServiceStub)
    request = pb.CreateConnectSessionRequest(parent="workspaces/nobody", integration="integrations/desk")
    assert await refused(as_operator.CreateConnectSession(request)) == NOT_FOUND


async def test_an_environment_must_come_from_somewhere(auth: Auth, vendor: sandbox.Vendor) -> None:
    as_operator = auth.operator(ConnectServiceStub)
    request = pb.CreateConnectSessionRequest(parent="workspaces/acme", integration="integrations/desk")
    assert await refused(as_operator.CreateConnectSession(request)) == (
        "INVALID_ARGUMENT",
        "INVALID_FIELDS",
        ["environment"],
    )


async def test_an_id_of_another_integration_or_environment_is_not_taken_over(
    auth: Auth, vendor: sandbox.Vendor
) -> None:
    auth.catalog.definitions["other"] = a_definition("other", NONE)
    await auth.type_in({}, slug="other", connection_id="mine")
    assert (await refused(auth.begin(connection_id="mine")))[2] == ["connection_id"]
    assert (await refused(auth.begin(slug="other", connection_id="mine", environment="staging")))[2] == ["environment"]
    # A session that began before the id was taken finds out at its end.
    late = await auth.begin(auth_scheme="open", connection_id="later")
    await auth.type_in({}, slug="other", connection_id="later")
    stub = await auth.as_member(ConnectServiceStub)
    ended = await refused(stub.SubmitConnectSession(pb.SubmitConnectSessionRequest(name=late.name)))
    assert ended[:2] == ("FAILED_PRECONDITION", "STATE_CONFLICT")


async def test_without_our_oauth_client_nobody_is_sent_out(auth: Auth, vendor: sandbox.Vendor) -> None:
    auth.catalog.definitions["fresh"] = a_definition("fresh", an_oauth_scheme(vendor.url))
    assert (await refused(auth.begin(slug="fresh")))[:2] == ("FAILED_PRECONDITION", "STATE_CONFLICT")


async def test_an_integration_without_schemes_needs_no_credential(auth: Auth) -> None:
    auth.catalog.definitions["weather"] = a_definition("weather")
    made = await auth.type_in({}, slug="weather", connection_id="weather-one")
    assert made.auth_scheme == "none"
    assert (await auth.lease("weather-one")).WhichOneof("credential") == "none"


async def test_when_the_catalog_is_away_what_was_known_is_served(auth: Auth, vendor: sandbox.Vendor) -> None:
    await auth.begin()
    auth.catalog.away = True
    await auth.begin()
    assert await refused(auth.begin(slug="unseen")) == UNAVAILABLE


# --- our OAuth clients -------------------------------------------------------------------------------------------


async def test_an_oauth_client_is_shown_without_its_secret(auth: Auth, vendor: sandbox.Vendor) -> None:
    stub = auth.operator(ConnectServiceStub)
    shown = await stub.GetOAuthClient(pb.GetOAuthClientRequest(name="integrations/desk/oauthClient"))
    assert (shown.client_id, shown.redirect_uri) == (vendor.settings.client_id, REDIRECT_URI)
    assert vendor.settings.client_secret not in str(shown)
    unset = stub.GetOAuthClient(pb.GetOAuthClientRequest(name="integrations/none/oauthClient"))
    assert await refused(unset) == NOT_FOUND


async def test_an_oauth_client_is_checked(auth: Auth, vendor: sandbox.Vendor) -> None:
    stub = auth.operator(ConnectServiceStub)
    wrong = pb.SetOAuthClientRequest(name="integrations/desk/oauthClient", client_id="a\nb", client_secret="c\nd")
    assert (await refused(stub.SetOAuthClient(wrong)))[2] == ["client_id", "client_secret"]
    unknown = pb.SetOAuthClientRequest(name="integrations/none/oauthClient", client_id="a")
    assert await refused(stub.SetOAuthClient(unknown)) == NOT_FOUND


async def test_a_public_client_connects_with_pkce_alone(auth: Auth, vendor: sandbox.Vendor) -> None:
    vendor.grants.register(Client("public-one", None, (REDIRECT_URI,), "Cordboard"))
    stub = auth.operator(ConnectServiceStub)
    await stub.SetOAuthClient(pb.SetOAuthClientRequest(name="integrations/desk/oauthClient", client_id="public-one"))
    assert (await auth.connect()).credential_generation == 1


@pytest.mark.parametrize("scheme", [API_KEY, BASIC, BEARER], ids=lambda scheme: scheme.id)
async def test_a_definitions_first_scheme_is_the_default(auth: Auth, scheme: definition.AuthScheme) -> None:
    auth.catalog.definitions["one"] = a_definition("one", scheme, NONE)
    assert (await auth.begin(slug="one")).auth_scheme == scheme.id
