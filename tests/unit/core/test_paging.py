"""Pages: how many rows, where they begin, and tokens that work for the list that gave them only."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.client import list_all
from cordboard.core.errors import InvalidFields
from cordboard.core.paging import Paging

BINDING = Paging.of(pb.ListIntegrationsRequest()).binding


def encoded(text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def page(token: str = "", size: int = 0) -> Paging:
    return Paging.of(pb.ListIntegrationsRequest(page_size=size, page_token=token))


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


def test_a_token_of_another_list_with_the_same_conditions_is_refused() -> None:
    versions, actions = pb.ListDefinitionVersionsRequest(parent="a"), pb.ListActionsRequest(parent="a")
    assert versions.SerializeToString() == actions.SerializeToString()
    actions.page_token = Paging.of(versions).token("1.0.0")
    with pytest.raises(InvalidFields):
        Paging.of(actions)


@pytest.mark.parametrize(("last", "number"), [("", None), ("0", 0), ("7", 7), ("9" * 18, 10**18 - 1)])
def test_a_list_by_numbers_goes_on_after_a_number(last: str, number: int | None) -> None:
    assert (page(page().token(last)) if last else page()).after_number == number


@pytest.mark.parametrize("last", ["x", "-1", "1.5", " 1", "1e3", "9" * 19, "\u0661", "\u00b2"])
def test_a_list_by_numbers_takes_no_other_key(last: str) -> None:
    with pytest.raises(InvalidFields) as error:
        _ = page(page().token(last)).after_number
    assert error.value.violations[0].field == "page_token"


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


async def test_a_client_follows_the_pages_to_the_end() -> None:
    slugs = [f"integrations/{number:02}" for number in range(7)]
    sizes = []

    async def listed(request: pb.ListIntegrationsRequest, timeout: float) -> pb.ListIntegrationsResponse:
        asked = Paging.of(request)
        sizes.append((request.page_size, timeout))
        rest = [slug for slug in slugs if slug > asked.after]
        found = rest[: asked.size]
        token = asked.token(found[-1]) if len(rest) > len(found) else ""
        return pb.ListIntegrationsResponse(
            integrations=[pb.Integration(name=slug) for slug in found], next_page_token=token
        )

    for size, pages in ((3, 3), (7, 1), (0, 1)):
        request = pb.ListIntegrationsRequest(query="x", page_size=size)
        found = await list_all(listed, request, timeout=5)
        assert [each.name for each in found] == slugs
        assert request == pb.ListIntegrationsRequest(query="x", page_size=size)
        assert sizes == [(size or 1000, 5)] * pages
        sizes.clear()
