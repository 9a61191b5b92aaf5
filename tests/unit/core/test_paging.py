"""Pages: how many rows, where they begin, and tokens that work for the list that gave them only."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.core.errors import InvalidFields
from cordboard.core.paging import Paging

BINDING = Paging.of(pb.ListIntegrationsRequest()).binding


def encoded(text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def page(token: str = "", size: int = 0, scope: str = "") -> Paging:
    return Paging.of(pb.ListIntegrationsRequest(page_size=size, page_token=token), scope=scope)


def refused(token: str) -> bool:
    with pytest.raises(InvalidFields) as error:
        page(token)
    return [violation.field for violation in error.value.violations] == ["page_token"]


@pytest.mark.parametrize(("asked", "given_size"), [(0, 50), (1, 1), (1000, 1000), (1001, 1000), (2**31 - 1, 1000)])
def test_the_size_has_a_default_and_a_maximum(asked: int, given_size: int) -> None:
    assert page(size=asked).size == given_size


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(InvalidFields) as error:
        page(size=-1)
    assert error.value.violations[0].field == "page_size"


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=100))
def test_a_token_leads_to_where_it_was_made(last: str) -> None:
    assert page(page().token(last)).after == last


def test_another_page_size_may_go_on() -> None:
    assert page(page(size=3).token("x"), size=7).after == "x"


def test_a_token_of_other_conditions_is_refused() -> None:
    versions = Paging.of(pb.ListDefinitionVersionsRequest(parent="integrations/a"))
    token = versions.token("1.0.0")
    assert Paging.of(pb.ListDefinitionVersionsRequest(parent="integrations/a", page_token=token)).after == "1.0.0"
    with pytest.raises(InvalidFields):
        Paging.of(pb.ListDefinitionVersionsRequest(parent="integrations/b", page_token=token))


def test_a_token_of_another_scope_is_refused() -> None:
    token = page(scope="acme").token("x")
    assert page(token, scope="acme").after == "x"
    with pytest.raises(InvalidFields):
        page(token, scope="other")


@pytest.mark.parametrize(
    "token",
    [
        "x", "===", "é", " ", "\0", "AAAA", encoded("{}"), encoded("[]"), encoded("[1]"), encoded("[1,2,3]"),
        encoded("null"), encoded("1"), encoded('"ab"'), encoded('{"a":1,"b":2}'), encoded(b"\xff\xfe"), encoded("["),
        encoded("[" * 100_000), encoded("9" * 5_000), encoded(json.dumps([BINDING, 7])),
        encoded(json.dumps([BINDING, None])), encoded(json.dumps([BINDING, ["x"]])),
        encoded(json.dumps([BINDING, "a\0b"])), encoded(json.dumps([BINDING[:-1], "x"])), encoded('["","x"]'),
        encoded(json.dumps([BINDING, "\ud800"])), encoded(json.dumps([[], "x"])),
    ],
)  # fmt: skip
def test_a_forged_token_is_refused(token: str) -> None:
    assert refused(token)


@given(st.text(max_size=40) | st.binary(max_size=40).map(encoded))
def test_no_token_makes_reading_fail_otherwise(token: str) -> None:
    try:
        found = page(token)
    except (InvalidFields, UnicodeEncodeError):  # protobuf takes no lone surrogates
        return
    assert token == "" or isinstance(found.after, str)
