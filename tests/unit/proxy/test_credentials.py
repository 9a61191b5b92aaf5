"""Credentials go where their scheme says, last of all, and are shown nowhere else."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from cordboard.auth.v1 import credential_service_pb2 as auth_pb
from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.errors import ReconnectRequired, StateConflict
from cordboard.planning.plan import Outbound
from cordboard.proxy.credentials import Credential
from tests.unit.proxy.samples import COOKIE, HEADER, QUERY

CONNECTION = "workspaces/acme/connections/main"
OAUTH = pb.AuthScheme(id="s", oauth2=pb.OAuth2())
BEARER = pb.AuthScheme(id="s", bearer=pb.Bearer())
BASIC = pb.AuthScheme(id="s", basic=pb.Basic())


def a_key(placement: pb.Placement.ValueType, name: str = "key", prefix: str = "") -> pb.AuthScheme:
    return pb.AuthScheme(id="s", api_key=pb.ApiKey(placement=placement, name=name, prefix=prefix))


def a_request(url: str = "https://a.example/t", **headers: str) -> Outbound:
    return Outbound("GET", "https://a.example/t", url, headers)


def place(scheme: pb.AuthScheme, request: Outbound | None = None, **lease: Any) -> Outbound:
    credential = Credential(CONNECTION, auth_pb.LeaseCredentialResponse(**lease))
    return credential.place(request or a_request(), scheme)


def test_tokens_go_into_the_authorization_header() -> None:
    assert place(OAUTH, access_token="t0ken").headers == {"Authorization": "Bearer t0ken"}
    assert place(BEARER, access_token="t0ken").headers == {"Authorization": "Bearer t0ken"}
    assert place(BEARER, api_key="t0ken").headers == {"Authorization": "Bearer t0ken"}


def test_a_password_goes_as_basic() -> None:
    basic = auth_pb.BasicCredential(username="ada", password="p:ü")
    sent = place(BASIC, basic=basic).headers["Authorization"]
    assert base64.b64decode(sent.removeprefix("Basic ")).decode() == "ada:p:ü"


def test_a_key_goes_where_the_scheme_says() -> None:
    assert place(a_key(HEADER, "X-Key", "Token "), api_key="k").headers == {"X-Key": "Token k"}
    assert place(a_key(QUERY), api_key="k&x=1").url == "https://a.example/t?key=k%26x%3D1"
    assert place(a_key(QUERY), a_request("https://a.example/t?a=b"), api_key="k").url == "https://a.example/t?a=b&key=k"
    assert place(a_key(COOKIE), api_key="k; x").headers == {"Cookie": "key=k%3B%20x"}
    assert place(a_key(COOKIE), a_request(Cookie="a=b"), api_key="k").headers == {"Cookie": "a=b; key=k"}


def test_nothing_planned_stands_in_the_place_of_the_credential() -> None:
    sent = place(OAUTH, a_request(authorization="Bearer forged", Other="kept"), access_token="real")
    assert sent.headers == {"Other": "kept", "Authorization": "Bearer real"}


def test_an_api_that_asks_for_nothing_gets_nothing() -> None:
    assert place(pb.AuthScheme(id="s", none=pb.NoAuth()), none=auth_pb.NoCredential()).headers == {}


@pytest.mark.parametrize("secret", ["a\r\nX-Evil: 1", "a\nb", "\0"])
def test_a_credential_that_would_begin_another_header_is_not_sent(secret: str) -> None:
    with pytest.raises(ReconnectRequired):
        place(OAUTH, access_token=secret)


def test_a_credential_of_another_kind_than_the_scheme_is_not_sent() -> None:
    with pytest.raises(StateConflict):
        place(BASIC, api_key="k")
    with pytest.raises(StateConflict):
        place(OAUTH, basic=auth_pb.BasicCredential(username="a", password="b"))


def test_nothing_shows_a_credential() -> None:
    credential = Credential(CONNECTION, auth_pb.LeaseCredentialResponse(access_token="canary"))
    sent = credential.place(a_request(), a_key(QUERY))
    assert "canary" in sent.url
    assert "canary" not in f"{credential!r} {credential} {vars(credential)} {sent!r} {sent}"
