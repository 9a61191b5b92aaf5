"""What a definition declares, what a person types in, and vendors that answer anything at all."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from cordboard.auth import logins, oauth
from cordboard.auth.assertions import Claims, KeyInvalid, signed
from cordboard.auth.declared import schemes_of
from cordboard.auth.devices import LONGEST_INTERVAL, next_interval
from cordboard.auth.forms import typed
from cordboard.auth.logins import Logins
from cordboard.auth.oauth import Client, Device, Granted, Refused, TokenEndpoints
from cordboard.auth.oauth1 import OAuth1Endpoints
from cordboard.auth.schemes import Field, Login, OAuth, OAuth1, Part, Scheme, filled, filled_url
from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.egress import Egress
from cordboard.core.errors import InvalidFields, OAuthFailed
from cordboard.core.secrets import Secret
from tests.fixtures.sites import listening

CLIENT = Client("c", Secret("s"))
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def pem(key: Any) -> Secret[str]:
    """Returns a private key as PEM."""
    raw = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Secret(raw.decode())


# --- JWTs ---------------------------------------------------------------------------------------------------------


def test_a_jwt_says_what_it_should_and_lives_five_minutes() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    claims = Claims("me", "you", "https://them.example", extra={"scope": "a", "iss": "not this"})
    token = signed(claims, pem(key), algorithm="ES256", key_id="k-1", now=lambda: 1000.0)
    found = jwt.decode(
        token.reveal(), key.public_key(), algorithms=["ES256"], audience="https://them.example",
        options={"verify_exp": False, "verify_iat": False},
    )  # fmt: skip
    assert (found["iss"], found["sub"], found["scope"]) == ("me", "you", "a")
    assert (found["iat"], found["exp"]) == (1000, 1300)
    assert jwt.get_unverified_header(token.reveal())["kid"] == "k-1"
    again = signed(claims, pem(key), algorithm="ES256", key_id="k-1", now=lambda: 1000.0)
    assert jwt.decode(again.reveal(), options={"verify_signature": False})["jti"] != found["jti"]


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("RS256", ec.generate_private_key(ec.SECP256R1())),
        ("ES256", rsa.generate_private_key(65537, 2048)),
        ("ES256", ec.generate_private_key(ec.SECP384R1())),
        ("EdDSA", rsa.generate_private_key(65537, 2048)),
        ("RS256", ed25519.Ed25519PrivateKey.generate()),
        ("none", rsa.generate_private_key(65537, 2048)),
    ],
)
def test_a_key_of_another_algorithm_signs_nothing(algorithm: str, key: Any) -> None:
    with pytest.raises(KeyInvalid):
        signed(Claims("me"), pem(key), algorithm=algorithm)


@pytest.mark.parametrize("key", ["", "short", "no pem", "-----BEGIN PRIVATE KEY-----"])
def test_a_text_that_is_no_key_signs_nothing(key: str) -> None:
    for algorithm in ("RS256", "HS256"):
        with pytest.raises(KeyInvalid):
            signed(Claims("me"), Secret(key), algorithm=algorithm if key != "-----BEGIN PRIVATE KEY-----" else "RS256")


# --- templates ----------------------------------------------------------------------------------------------------


def test_a_value_is_put_in_once_and_cannot_reach_beyond_its_place() -> None:
    values = {"a": Secret("{b}/../?x=1#"), "b": Secret("never")}
    assert filled("<{a}{c}>", values) == "<{b}/../?x=1#{c}>"
    assert filled_url("https://{a}.example/t", values) == "https://%7Bb%7D%2F..%2F%3Fx%3D1%23.example/t"


@pytest.mark.parametrize(
    ("url", "chosen"),
    [
        ("https://{host}/token", True),
        ("https://{host}:8443/token", True),
        ("https://{host}", True),
        ("https://a.{tld}/token", True),
        ("https://{shop}.example/token", False),
        ("https://example.org/{tenant}/token", False),
        ("https://example.org/token?x={y}", False),
    ],
)
def test_it_is_known_whether_the_values_choose_the_host(url: str, chosen: bool) -> None:
    scheme = Scheme("s", "oauth2", (Part("", "oauth2", oauth=OAuth("", url, "", frozenset(), (), "basic", "")),))
    assert scheme.host_is_chosen is chosen


# --- forms --------------------------------------------------------------------------------------------------------


def test_what_may_be_left_out_may_be_left_out_and_nothing_else() -> None:
    fields = (Field("id", "Id"), Field("note", "Note", optional=True), Field("word", "Word", empty=True))
    scheme = Scheme("s", "basic", (Part("", "basic", fields),))
    assert {name: value.reveal() for name, value in typed(scheme, {"id": "1", "word": ""}).items()} == {
        "id": "1",
        "word": "",
    }
    with pytest.raises(InvalidFields) as caught:
        typed(scheme, {"note": 1, "other": "x"})
    assert [each.field for each in caught.value.violations] == [
        "values.other", "values.id", "values.note", "values.word",
    ]  # fmt: skip


def test_every_kind_of_scheme_is_known_with_its_form() -> None:
    kinds = pb.AuthScheme.DESCRIPTOR.oneofs_by_name["kind"].fields
    declared = []
    for kind in kinds:
        scheme = pb.AuthScheme(id=f"by-{kind.name.replace('_', '-')}")
        getattr(scheme, kind.name).SetInParent()
        if kind.name == "all_of":
            scheme.all_of.auth_schemes.extend(["by-basic", "by-api-key"])
        declared.append(scheme)
    forms = {scheme.kind: list(scheme.fields) for scheme in schemes_of(declared).values()}
    assert forms == {
        "oauth2": [],
        "api_key": ["api_key"],
        "basic": ["username", "password"],
        "bearer": ["token"],
        "none": [],
        "client_credentials": ["client_id", "client_secret"],
        "device": [],
        "jwt_bearer": ["private_key"],
        "signed_jwt": ["private_key"],
        "digest": ["username", "password"],
        "oauth1": [],
        "aws_sigv4": ["access_key_id", "secret_access_key", "session_token"],
        "session": [],
        "mtls": ["client_certificate", "private_key"],
        "all_of": ["by-basic.username", "by-basic.password", "by-api-key.api_key"],
    }


# --- devices ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refused", "expected"),
    [
        (Refused("authorization_pending"), 5),
        (Refused("slow_down"), 10),
        (Refused("timeout"), 10),
        (Refused("http_503"), 10),
        (Refused("http_429", retry_after=40.0), 40),
        (Refused("http_429", retry_after=10.0**9), LONGEST_INTERVAL),
        (Refused("access_denied"), None),
        (Refused("expired_token"), None),
        (Refused("invalid_client"), None),
    ],
)
def test_a_vendor_is_asked_again_when_that_can_help(refused: Refused, expected: int | None) -> None:
    assert next_interval(5, refused) == expected


# --- hostile vendors ----------------------------------------------------------------------------------------------


class Vendor:
    """A vendor that answers everything in the same way."""

    def __init__(self) -> None:
        self.answer: Answer = _plain(b"")
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        return await self.answer(request)


def _plain(body: bytes, status: int = 200, **headers: str) -> Answer:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers)

    return answer


async def _drips(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for _ in range(200):
        await response.write(b" ")
        await asyncio.sleep(0.05)
    return response


async def _cut(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.close()
    return web.Response()


HOSTILE: dict[str, Answer] = {
    "nothing": _plain(b""),
    "a page": _plain(b"<html>welcome</html>"),
    "eleven megabytes": _plain(b"x" * 11_000_000),
    "invalid UTF-8": _plain(b'{"access_token":"\xff"}'),
    "a list": _plain(b"[]"),
    "a number": _plain(b"1e400"),
    "not a number": _plain(b'{"session":{"token":"t","expires_in":NaN}}'),
    "a negative life": _plain(b'{"device_code":"d","user_code":"u","expires_in":-1,"session":{"token":1}}'),
    "deep": _plain(b"[" * 100_000),
    "members twice": _plain(b'{"device_code":"a","device_code":"b","session":{"token":"a","token":"b"}}'),
    "a redirect": _plain(b"", 302, Location="http://169.254.169.254/"),
    "a page to open that is a script": _plain(
        json.dumps({"device_code": "d", "user_code": "u", "verification_uri": "javascript:alert(1)"}).encode()
    ),
    "a code with markup": _plain(
        json.dumps({"device_code": "d", "user_code": "<b>", "verification_uri": "https://v.example"}).encode()
    ),
    "a token with a line break": _plain(
        b'{"session":{"token":"a\\r\\nb"},"device_code":"a\\u0000"}',
    ),
    "an unconfirmed callback": _plain(b"oauth_token=t&oauth_token_secret=s"),
    "a token twice": _plain(b"oauth_token=a&oauth_token=b&oauth_token_secret=s&oauth_callback_confirmed=true"),
    "429": _plain(b"", 429, **{"Retry-After": "999999999999999"}),
    "500": _plain(b"", 500),
    "a drip": _drips,
    "a cut": _cut,
}


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    served = Vendor()
    app = web.Application()
    app.add_routes([web.route("*", "/{anything:.*}", served.handle)])
    async with listening(app) as url:
        served.url = url
        yield served


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_hostile_vendor_is_refused_in_a_fixed_word_and_in_time(
    vendor: Vendor, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    for module in (oauth, logins):
        monkeypatch.setattr(module, "REFRESH_SECONDS", 1.0)
    monkeypatch.setattr(oauth, "EXCHANGE_SECONDS", 1.0)
    monkeypatch.setattr("cordboard.auth.oauth1.EXCHANGE_SECONDS", 1.0)
    vendor.answer = HOSTILE[case]
    told = OAuth("", vendor.url, "", frozenset(), (), "basic", "", device_url=vendor.url)
    older = OAuth1(vendor.url, vendor.url, vendor.url)
    login = Login("POST", vendor.url, body={"a": "{a}"}, token="/session/token", expires_in="/session/expires_in")
    began = time.monotonic()
    async with Egress(["127.0.0.0/8"]).session() as session:
        endpoints = TokenEndpoints(session, plain_http=True)
        answers = [
            await endpoints.device(told, CLIENT, ()),
            await endpoints.poll(told, CLIENT, Secret("d")),
            await endpoints.client_credentials(told, CLIENT, ()),
            await endpoints.assertion(told, None, Secret("j"), ()),
            await Logins(session, plain_http=True).log_in(login, {"a": Secret("1")}),
        ]
        with pytest.raises(OAuthFailed):
            await OAuth1Endpoints(session, plain_http=True).request_token(older, CLIENT, "https://us.example/cb")
    assert all(isinstance(answer, Refused) for answer in answers), answers
    assert time.monotonic() - began < 60


async def test_the_same_requests_work_at_a_vendor_that_means_well(vendor: Vendor) -> None:
    # The control of the hostile answers above.
    good = {
        "device_code": "d", "user_code": "ABCD-EFGH", "verification_uri": "https://v.example", "expires_in": 600,
        "access_token": "t", "token_type": "Bearer", "session": {"token": "s", "expires_in": 60},
    }  # fmt: skip
    vendor.answer = _plain(json.dumps(good).encode())
    told = OAuth("", vendor.url, "", frozenset(), (), "basic", "", device_url=vendor.url)
    login = Login("POST", vendor.url, token="/session/token", expires_in="/session/expires_in")
    async with Egress(["127.0.0.0/8"]).session() as session:
        endpoints = TokenEndpoints(session, plain_http=True)
        assert isinstance(await endpoints.device(told, CLIENT, ()), Device)
        assert isinstance(await endpoints.client_credentials(told, CLIENT, ()), Granted)
        granted = await Logins(session, plain_http=True).log_in(login, {})
        assert isinstance(granted, Granted)
        assert (granted.access_token.reveal(), granted.seconds) == ("s", 60)
        vendor.answer = _plain(b"oauth_token=t&oauth_token_secret=s&oauth_callback_confirmed=true")
        older = OAuth1(vendor.url, vendor.url, vendor.url)
        pair = await OAuth1Endpoints(session, plain_http=True).request_token(older, CLIENT, "https://us.example/cb")
        assert pair.token.reveal() == "t"
