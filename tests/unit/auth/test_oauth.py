"""The client's side of OAuth, against token endpoints that answer anything at all."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from cordboard.auth import oauth as module
from cordboard.auth.oauth import (
    LONGEST_LIFE,
    SHORTEST_LIFE,
    Client,
    Granted,
    Refused,
    Revocation,
    TokenEndpoints,
    authorization_url,
    error_code,
    new_secret,
    state_hash,
)
from cordboard.auth.schemes import OAuth
from cordboard.core.egress import Egress
from cordboard.core.errors import OAuthFailed
from cordboard.core.secrets import Secret
from tests.fixtures.sites import listening

CLIENT = Client("our client", Secret("pa:ss&word"))
GOOD = {"access_token": "at-1", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "rt-1", "scope": "a b"}


class Endpoint:
    """A token endpoint that answers what a test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] = self._good
        self.asked: list[tuple[dict[str, str], dict[str, str]]] = []
        self.url = ""

    async def _good(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response(GOOD)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append((form, dict(request.headers)))
        return await self.answer(request)

    def says(self, body: Any, status: int = 200, **headers: str) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()

        async def answer(_request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=raw, headers=headers)

        self.answer = answer


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    served = Endpoint()
    app = web.Application()
    app.add_routes([web.route("*", "/{anything:.*}", served.handle)])
    async with listening(app) as url:
        served.url = url
        yield served


@pytest.fixture
async def endpoints() -> AsyncIterator[TokenEndpoints]:
    async with Egress(["127.0.0.0/8"]).session() as session:
        yield TokenEndpoints(session, plain_http=True)


def an_oauth(url: str, **fields: Any) -> OAuth:
    made = OAuth(f"{url}/authorize", f"{url}/token", f"{url}/revoke", frozenset(), (), "basic", "")
    return replace(made, **fields)


async def exchange(endpoints: TokenEndpoints, oauth: OAuth, client: Client = CLIENT) -> Granted:
    return await endpoints.exchange(
        oauth, client, code="c0de", verifier=Secret("v" * 43), redirect_uri="https://us/connect/callback"
    )


async def test_a_good_answer_is_taken(endpoint: Endpoint, endpoints: TokenEndpoints) -> None:
    granted = await exchange(endpoints, an_oauth(endpoint.url))
    assert granted.access_token.reveal() == "at-1"
    assert granted.refresh_token is not None
    assert granted.refresh_token.reveal() == "rt-1"
    assert (granted.seconds, granted.scopes) == (3600, ("a", "b"))
    form, headers = endpoint.asked[0]
    assert form == {
        "grant_type": "authorization_code",
        "code": "c0de",
        "redirect_uri": "https://us/connect/callback",
        "code_verifier": "v" * 43,
    }
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"our+client:pa%3Ass%26word").decode()


async def test_the_client_shows_its_secret_as_the_definition_says(
    endpoint: Endpoint, endpoints: TokenEndpoints
) -> None:
    await exchange(endpoints, an_oauth(endpoint.url, authentication="post"))
    await exchange(endpoints, an_oauth(endpoint.url, authentication="none"))
    await exchange(endpoints, an_oauth(endpoint.url), Client("public", None))
    asked = [
        (form.get("client_id"), form.get("client_secret"), headers.get("Authorization"))
        for form, headers in endpoint.asked
    ]
    assert asked == [
        ("our client", "pa:ss&word", None),
        ("our client", None, None),
        ("public", None, None),
    ]


DEEP = b"[" * 100_000
HOSTILE: list[tuple[str, bytes | dict[str, Any], int, str]] = [
    ("a page", b"<html>Welcome</html>", 200, "answer_unreadable"),
    ("nothing", b"", 200, "answer_unreadable"),
    ("not UTF-8", b'{"access_token":"\xff\xfe"}', 200, "answer_unreadable"),
    ("a list", b"[]", 200, "answer_unreadable"),
    ("null", b"null", 200, "answer_unreadable"),
    ("a number", b"1", 200, "answer_unreadable"),
    ("deep nesting", DEEP, 200, "answer_unreadable"),
    ("a member twice", b'{"access_token":"a","access_token":"b"}', 200, "answer_unreadable"),
    ("not a number", b'{"access_token":"a","expires_in":NaN}', 200, "answer_unreadable"),
    ("infinity", b'{"access_token":"a","expires_in":-Infinity}', 200, "answer_unreadable"),
    ("a number of 5000 digits", b'{"access_token":"a","expires_in":' + b"9" * 5000 + b"}", 200, "answer_unreadable"),
    ("a number beyond floats", b'{"access_token":"a","expires_in":1e400}', 200, "answer_invalid"),
    ("a negative life", {**GOOD, "expires_in": -1}, 200, "answer_invalid"),
    ("a life that is true", {**GOOD, "expires_in": True}, 200, "answer_invalid"),
    ("a life that is a list", {**GOOD, "expires_in": [1]}, 200, "answer_invalid"),
    ("a life in words", {**GOOD, "expires_in": "an hour"}, 200, "answer_invalid"),
    ("no token", {"token_type": "bearer"}, 200, "answer_invalid"),
    ("an empty token", {**GOOD, "access_token": ""}, 200, "answer_invalid"),
    ("a token that is a number", {**GOOD, "access_token": 5}, 200, "answer_invalid"),
    ("a token with a line break", {**GOOD, "access_token": "a\r\nX-Evil: 1"}, 200, "answer_invalid"),
    ("a token beyond ASCII", {**GOOD, "access_token": "tökén"}, 200, "answer_invalid"),
    ("a refresh token that is a list", {**GOOD, "refresh_token": ["x"]}, 200, "answer_invalid"),
    ("a refresh token with a NUL", {**GOOD, "refresh_token": "a\0"}, 200, "answer_invalid"),
    ("a token too long for any header", {**GOOD, "access_token": "a" * 20_000}, 200, "answer_invalid"),
    ("scopes that are a list of numbers", {**GOOD, "scope": [1]}, 200, "answer_invalid"),
    ("scopes with a quote", {**GOOD, "scope": 'a "b"'}, 200, "answer_invalid"),
    ("another type of token", {**GOOD, "token_type": "mac"}, 200, "token_type"),
    ("a type that is null", {**GOOD, "token_type": None}, 200, "token_type"),
    ("an error with status 200", {"error": "bad_verification_code"}, 200, "bad_verification_code"),
    ("an error beside a token", {**GOOD, "error": "invalid_grant"}, 200, "invalid_grant"),
    ("an error with markup", {"error": "<script>"}, 400, "error"),
    ("an error with a line break", {"error": "a\nb"}, 400, "error"),
    ("an error that is an object", {"error": {"a": 1}}, 400, "error"),
    ("an endless error", {"error": "e" * 1000}, 400, "error"),
    ("a refusal", {"error": "invalid_client"}, 401, "invalid_client"),
    ("too many requests", b"slow down", 429, "http_429"),
    ("a fault", b"oops", 503, "http_503"),
    ("a created token", GOOD, 201, "http_201"),
]


@pytest.mark.parametrize(
    ("body", "status", "problem"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE]
)
async def test_a_hostile_answer_fails_in_a_fixed_word(
    endpoint: Endpoint, endpoints: TokenEndpoints, body: bytes | dict[str, Any], status: int, problem: str
) -> None:
    endpoint.says(body, status)
    with pytest.raises(OAuthFailed) as caught:
        await exchange(endpoints, an_oauth(endpoint.url))
    assert caught.value.metadata == {"problem": problem}
    assert "at-1" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(endpoint: Endpoint, endpoints: TokenEndpoints, status: int) -> None:
    endpoint.says(GOOD, status, Location=f"{endpoint.url}/elsewhere")
    with pytest.raises(OAuthFailed, match=f"http_{status}"):
        await exchange(endpoints, an_oauth(endpoint.url))
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b" " * 10_000_000, {}),
        (gzip.compress(bytes(300_000_000)), {"Content-Encoding": "gzip"}),
    ],
    ids=["ten megabytes", "a gzip bomb"],
)
async def test_an_answer_without_measure_is_cut_off(
    endpoint: Endpoint, endpoints: TokenEndpoints, body: bytes, headers: dict[str, str]
) -> None:
    endpoint.says(body, 200, **headers)
    began = time.monotonic()
    with pytest.raises(OAuthFailed, match="answer_too_large"):
        await exchange(endpoints, an_oauth(endpoint.url))
    assert time.monotonic() - began < 5


async def test_an_answer_byte_by_byte_ends_with_the_time(
    endpoint: Endpoint, endpoints: TokenEndpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXCHANGE_SECONDS", 0.5)

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b" ")
            await asyncio.sleep(0.1)
        return response

    endpoint.answer = drip
    with pytest.raises(OAuthFailed, match="timeout"):
        await exchange(endpoints, an_oauth(endpoint.url))


async def test_an_answer_that_is_cut_and_a_port_where_nobody_listens_are_unreachable(
    endpoint: Endpoint, endpoints: TokenEndpoints
) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.close()
        return response

    endpoint.answer = cut
    for url in (endpoint.url, "http://127.0.0.1:1"):
        with pytest.raises(OAuthFailed, match="unreachable"):
            await exchange(endpoints, an_oauth(url))


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://10.0.0.1/token", "egress_denied"),
        ("http://169.254.169.254/token", "egress_denied"),
        ("http://[::1]:9/token", "egress_denied"),
        ("http://2130706433/token", "egress_denied"),
        ("file:///etc/passwd", "egress_denied"),
        ("not a url", "egress_denied"),
        ("https://user:pw@127.0.0.1/token", "egress_denied"),
    ],
)
async def test_a_token_endpoint_inside_is_not_asked(endpoints: TokenEndpoints, url: str, problem: str) -> None:
    with pytest.raises(OAuthFailed) as caught:
        await exchange(endpoints, an_oauth("https://x", token_url=url))
    assert caught.value.metadata == {"problem": problem}


async def test_secrets_go_over_tls_unless_a_private_network_was_opened(endpoint: Endpoint) -> None:
    async with Egress(["127.0.0.0/8"]).session() as session:
        with pytest.raises(OAuthFailed, match="insecure_endpoint"):
            await exchange(TokenEndpoints(session, plain_http=False), an_oauth(endpoint.url))
    assert endpoint.asked == []


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (None, None), (0, None), ("3600", 3600), (3600.9, 3600), (1, SHORTEST_LIFE), (29, SHORTEST_LIFE),
        (10**14, LONGEST_LIFE), (1e30, LONGEST_LIFE), ("99999999999", LONGEST_LIFE),
    ],
)  # fmt: skip
async def test_how_long_a_token_lives_is_taken_within_bounds(
    endpoint: Endpoint, endpoints: TokenEndpoints, told: Any, seconds: int | None
) -> None:
    endpoint.says({**GOOD, "expires_in": told})
    assert (await exchange(endpoints, an_oauth(endpoint.url))).seconds == seconds


@pytest.mark.parametrize(
    ("told", "scopes"),
    [
        (None, None), ("", None), ("a", ("a",)), ("b a b", ("b", "a")), ("repo,gist", ("repo", "gist")),
        ("https://x/y.readonly z", ("https://x/y.readonly", "z")),
    ],
)  # fmt: skip
async def test_scopes_are_read_as_vendors_write_them(
    endpoint: Endpoint, endpoints: TokenEndpoints, told: Any, scopes: tuple[str, ...] | None
) -> None:
    endpoint.says({**GOOD, "scope": told})
    assert (await exchange(endpoints, an_oauth(endpoint.url))).scopes == scopes


async def test_a_token_without_a_type_is_a_bearer_token(endpoint: Endpoint, endpoints: TokenEndpoints) -> None:
    endpoint.says({"access_token": "at-1"})
    granted = await exchange(endpoints, an_oauth(endpoint.url))
    assert (granted.refresh_token, granted.seconds, granted.scopes) == (None, None, None)


async def test_a_refresh_keeps_the_old_refresh_token_where_no_new_one_comes(
    endpoint: Endpoint, endpoints: TokenEndpoints
) -> None:
    endpoint.says({"access_token": "at-2", "token_type": "bearer"})
    outcome = await endpoints.refresh(an_oauth(endpoint.url), CLIENT, Secret("rt-old"))
    assert isinstance(outcome, Granted)
    assert outcome.refresh_token is not None
    assert outcome.refresh_token.reveal() == "rt-old"


@pytest.mark.parametrize(
    ("body", "status", "over"),
    [
        ({"error": "invalid_grant"}, 400, True),
        ({"error": "bad_refresh_token"}, 200, True),
        ({"error": "invalid_grant"}, 503, False),
        ({"error": "invalid_client"}, 401, False),
        ({"error": "unauthorized_client"}, 400, False),
        ({"error": "temporarily_unavailable"}, 400, False),
        (b"invalid_grant", 400, False),
        (b"<html>", 200, False),
        (b"", 429, False),
    ],
)
async def test_only_the_vendors_own_word_ends_a_grant(
    endpoint: Endpoint, endpoints: TokenEndpoints, body: Any, status: int, over: bool
) -> None:
    endpoint.says(body, status)
    outcome = await endpoints.refresh(an_oauth(endpoint.url), CLIENT, Secret("rt"))
    assert isinstance(outcome, Refused)
    assert outcome.over is over


@pytest.mark.parametrize(
    ("header", "pause"), [("7", 7.0), ("1000000000", 300.0), ("-1", None), ("soon", None), ("", None)]
)
async def test_how_long_to_wait_is_taken_within_bounds(
    endpoint: Endpoint, endpoints: TokenEndpoints, header: str, pause: float | None
) -> None:
    endpoint.says(b"", 429, **{"Retry-After": header})
    outcome = await endpoints.refresh(an_oauth(endpoint.url), CLIENT, Secret("rt"))
    assert outcome == Refused("http_429", False, pause)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, Revocation.DONE), (400, Revocation.REFUSED), (401, Revocation.REFUSED), (404, Revocation.REFUSED),
        (408, Revocation.UNKNOWN), (429, Revocation.UNKNOWN), (500, Revocation.UNKNOWN), (503, Revocation.UNKNOWN),
    ],
)  # fmt: skip
async def test_a_revocation_is_done_refused_or_tried_again(
    endpoint: Endpoint, endpoints: TokenEndpoints, status: int, expected: Revocation
) -> None:
    endpoint.says(b"", status)
    outcome = await endpoints.revoke(an_oauth(endpoint.url), CLIENT, Secret("rt"), "refresh_token")
    assert outcome is expected
    assert endpoint.asked[0][0] == {"token": "rt", "token_type_hint": "refresh_token"}


def test_the_authorization_url_carries_pkce_and_the_exact_redirect_uri() -> None:
    state, verifier = new_secret(), new_secret()
    url = authorization_url(
        an_oauth("https://vendor.example", authorization_url="https://vendor.example/a?prompt=consent"),
        CLIENT,
        redirect_uri="https://us.example/connect/callback",
        state=state,
        verifier=verifier,
        scopes=("read", "write"),
    )
    query = parse_qs(urlsplit(url).query, strict_parsing=True)
    digest = hashlib.sha256(verifier.reveal().encode()).digest()
    assert query == {
        "prompt": ["consent"],
        "response_type": ["code"],
        "client_id": ["our client"],
        "redirect_uri": ["https://us.example/connect/callback"],
        "state": [state.reveal()],
        "code_challenge": [base64.urlsafe_b64encode(digest).decode().rstrip("=")],
        "code_challenge_method": ["S256"],
        "scope": ["read write"],
    }


def test_states_and_verifiers_have_256_bits_and_never_come_twice() -> None:
    made = {new_secret().reveal() for _ in range(10_000)}
    assert len(made) == 10_000
    assert {len(base64.urlsafe_b64decode(text + "=")) for text in made} == {32}
    assert len({state_hash(text) for text in made}) == 10_000


@pytest.mark.parametrize("text", ["access_denied", "invalid_scope", "x" * 64])
def test_a_vendors_error_code_is_kept(text: str) -> None:
    assert error_code(text) == text


@pytest.mark.parametrize("text", ["", "a b", "x" * 65, "<b>", "a\n", "é", None, 5, ["a"]])
def test_anything_else_is_just_an_error(text: Any) -> None:
    assert error_code(text) == "error"


async def test_no_request_says_who_we_are_trace_or_keeps_cookies(endpoint: Endpoint, endpoints: TokenEndpoints) -> None:
    endpoint.says(GOOD, 200, **{"Set-Cookie": "a=b"})
    await exchange(endpoints, an_oauth(endpoint.url))
    await exchange(endpoints, an_oauth(endpoint.url))
    assert all(not {"Cookie", "traceparent", "tracestate", "baggage"} & set(headers) for _, headers in endpoint.asked)


def test_what_was_granted_shows_no_secret() -> None:
    granted = Granted(Secret("at-1"), Secret("rt-1"), 1, None)
    assert "at-1" not in repr(granted)
    assert "pa:ss" not in repr(CLIENT)
