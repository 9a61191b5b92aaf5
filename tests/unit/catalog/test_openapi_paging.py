"""Paging and answers of API descriptions: recognised by rules, on evidence, and not otherwise."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cordboard.catalog.v1.definition_pb2 import Paging
from tests.unit.catalog.descriptions import a_document, a_parameter, an_operation, answers, imported, notes, repairs

INTEGER = {"type": "integer"}
TEXT = {"type": "string"}
URI = {"type": "string", "format": "uri"}
ITEMS = {"type": "array", "items": {"type": "object"}}
LINK: dict[str, Any] = {"headers": {"Link": {"schema": TEXT}}}


def an_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def paging(
    schema: Any, *parameters: tuple[str, Any], path: str = "/tickets", method: str = "get", **response: Any
) -> Paging | None:
    """Returns the paging of an operation with these query parameters and this answer."""
    operation = an_operation(
        parameters=[a_parameter(name, schema=kind) for name, kind in parameters], responses=answers(schema, **response)
    )
    became = imported(a_document({path: {method: operation}}))
    (action,) = became.definition.actions
    if not action.HasField("paging"):
        return None
    assert any(text.startswith("pages by") for _, text in notes(became))
    return action.paging


@pytest.mark.parametrize(
    ("asked", "schema", "pointer", "items"),
    [
        ("cursor", an_object(data=ITEMS, next_cursor=TEXT), "/next_cursor", "/data"),
        ("cursor", an_object(channels=ITEMS, response_metadata=an_object(next_cursor=TEXT)),
         "/response_metadata/next_cursor", "/channels"),
        ("pageToken", an_object(files=ITEMS, nextPageToken=TEXT), "/nextPageToken", "/files"),
        ("PageToken", an_object(meta=an_object(next_token=TEXT), results=ITEMS), "/meta/next_token", "/results"),
        ("after", an_object(results=ITEMS, paging=an_object(next=an_object(after=TEXT))), "/paging/next/after",
         "/results"),
        ("page[after]", an_object(data=ITEMS, meta=an_object(after_cursor=TEXT)), "/meta/after_cursor", "/data"),
        ("marker", an_object(entries=ITEMS, next_marker=TEXT), "/next_marker", "/entries"),
        ("start_cursor", an_object(results=ITEMS, next_cursor={"type": ["string", "null"]}), "/next_cursor",
         "/results"),
        ("offset", an_object(data=ITEMS, next_page=an_object(offset=TEXT)), "/next_page/offset", "/data"),
        ("cursor", {"allOf": [an_object(data=ITEMS), an_object(next_cursor=TEXT)]}, "/next_cursor", "/data"),
    ],
)  # fmt: skip
def test_a_cursor_is_recognised(asked: str, schema: Any, pointer: str, items: str) -> None:
    found = paging(schema, (asked, TEXT))
    assert found is not None
    assert found.cursor.cursor_property == asked
    assert found.cursor.next_pointer == pointer
    assert found.items_pointer == items


def test_a_cursor_in_the_body_of_a_post_is_recognised() -> None:
    body = {"content": {"application/json": {"schema": an_object(cursor=TEXT)}}}
    operation = an_operation(requestBody=body, responses=answers(an_object(data=ITEMS, next_cursor=TEXT)))
    (action,) = imported(a_document({"/search": {"post": operation}})).definition.actions
    assert action.paging.cursor.cursor_property == "cursor"


@pytest.mark.parametrize(
    ("schema", "pointer", "items"),
    [
        (an_object(items=ITEMS, next=URI), "/next", "/items"),
        (an_object(value=ITEMS, nextLink=TEXT), "/nextLink", "/value"),
        (an_object(value=ITEMS, **{"@odata.nextLink": TEXT}), "/@odata.nextLink", "/value"),
        (an_object(tickets=ITEMS, next_page={"type": "string", "description": "The URL"}), "/next_page", "/tickets"),
        (an_object(data=ITEMS, links=an_object(next=URI)), "/links/next", "/data"),
        (an_object(results=ITEMS, _links=an_object(next=an_object(href=TEXT))), "/_links/next/href", "/results"),
        (an_object(**{"a/b": ITEMS}, meta=an_object(next_page_url=URI)), "/meta/next_page_url", "/a~1b"),
    ],
)
def test_a_next_url_is_recognised(schema: Any, pointer: str, items: str) -> None:
    found = paging(schema)
    assert found is not None
    assert (found.next_url.next_pointer, found.items_pointer) == (pointer, items)


def test_a_link_header_is_recognised_where_a_page_can_be_asked_for() -> None:
    found = paging(ITEMS, ("page", INTEGER), ("per_page", INTEGER), **LINK)
    assert found is not None
    assert (found.WhichOneof("kind"), found.items_pointer) == ("link", "")
    assert paging(ITEMS, **LINK) is None


@pytest.mark.parametrize(("offset", "limit"), [("offset", "limit"), ("startAt", "maxResults"), ("skip", "take")])
def test_an_offset_is_recognised(offset: str, limit: str) -> None:
    found = paging(an_object(values=ITEMS), (offset, INTEGER), (limit, INTEGER))
    assert found is not None
    assert (found.offset.offset_property, found.offset.limit_property) == (offset, limit)


@pytest.mark.parametrize(
    ("schema", "first"), [(INTEGER, 1), ({**INTEGER, "default": 0}, 0), ({**INTEGER, "minimum": 1, "default": 7}, 1)]
)
def test_a_page_number_is_recognised_with_its_first_page(schema: Any, first: int) -> None:
    found = paging(ITEMS, ("page", schema), ("per_page", INTEGER))
    assert found is not None
    assert (found.page.page_property, found.page.size_property, found.page.first_page) == ("page", "per_page", first)


@pytest.mark.parametrize(
    ("path", "schema", "items"),
    [
        ("/tickets", an_object(tags=ITEMS, tickets=ITEMS), "/tickets"),
        ("/tickets", an_object(errors=ITEMS, data=ITEMS), "/data"),
        ("/tickets/{id}", an_object(result=an_object(rows=ITEMS)), "/result/rows"),
        ("/tickets", {"type": ["array", "null"], "items": {}}, ""),
    ],
)
def test_the_list_is_found(path: str, schema: Any, items: str) -> None:
    found = paging(schema, ("page", INTEGER), path=path)
    assert found is not None
    assert found.items_pointer == items


@pytest.mark.parametrize(
    ("schema", "parameters", "method"),
    [
        (an_object(data=ITEMS), [("cursor", TEXT)], "get"),
        (an_object(next_cursor=TEXT), [("cursor", TEXT)], "get"),
        (an_object(a=ITEMS, b=ITEMS), [("page", INTEGER)], "get"),
        (an_object(data=ITEMS, next_cursor=INTEGER), [("cursor", TEXT)], "get"),
        (an_object(data=ITEMS, previous=an_object(cursor=TEXT)), [("cursor", TEXT)], "get"),
        (an_object(data=ITEMS, next=TEXT), [], "get"),
        (an_object(data=ITEMS), [("offset", INTEGER)], "get"),
        (an_object(data=ITEMS), [("page", TEXT)], "get"),
        (ITEMS, [("page", INTEGER)], "post"),
        (ITEMS, [("page", INTEGER)], "delete"),
        (TEXT, [("page", INTEGER)], "get"),
        ({"$ref": "#/nope"}, [("page", INTEGER)], "get"),
    ],
)
def test_nothing_is_guessed(schema: Any, parameters: list[tuple[str, Any]], method: str) -> None:
    assert paging(schema, *parameters, method=method) is None


# --- answers


def output(responses: Any) -> Any:
    (action,) = imported(a_document({"/run": {"get": an_operation(responses=responses)}})).definition.actions
    return json.loads(action.output_schema_json or "null")


def content(**media_types: Any) -> dict[str, Any]:
    return {"content": {name.replace("_", "/"): {"schema": schema} for name, schema in media_types.items()}}


@pytest.mark.parametrize(
    ("responses", "schema"),
    [
        ({"200": content(application_json=TEXT)}, TEXT),
        ({"204": {}, "201": content(application_json=TEXT)}, TEXT),
        ({"400": content(application_json=INTEGER), "2XX": content(application_json=TEXT)}, TEXT),
        ({"202": content(application_json=INTEGER), "200": content(application_json=TEXT)}, TEXT),
        ({"default": content(application_json=TEXT)}, TEXT),
        ({"200": content(text_csv=TEXT, **{"application_vnd.x+json": INTEGER})}, INTEGER),
        ({"200": {"content": {"*/*": {"schema": TEXT}}}}, TEXT),
        ({"200": content(text_csv=TEXT)}, TEXT),
        ({"200": {"content": {"image/png": {}}}},
         {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png"}),
        ({"204": {"description": "none"}}, None),
        ({"200": {"content": {"application/json": {}}}}, None),
        ({"200": {"$ref": "#/components/responses/Nope"}}, None),
        ({"404": content(application_json=TEXT)}, None),
        ("x", None),
        ({"200": 7}, None),
        (None, None),
    ],
)  # fmt: skip
def test_the_output_is_that_of_the_first_good_answer(responses: Any, schema: Any) -> None:
    assert output(responses) == schema


def test_an_answer_that_leads_nowhere_is_reported() -> None:
    became = imported(a_document({"/run": {"get": an_operation(responses={"200": {"$ref": "r.yaml"}})}}))
    assert any("the output is unknown" in text for _, text in repairs(became))


def test_rate_limit_headers_are_those_that_most_answers_name() -> None:
    headers: dict[str, Any] = {"X-RateLimit-Limit": {}, "X-RateLimit-Remaining": {}, "X-RateLimit-Reset": {}}
    paths = {
        "/a": {"get": an_operation(operationId="a", responses={"200": {"headers": headers}})},
        "/b": {"get": an_operation(operationId="b", responses={"200": {"headers": headers}})},
        "/c": {"get": an_operation(operationId="c", responses={"200": {"headers": {"RateLimit-Limit": {}}}})},
    }
    limits = imported(a_document(paths)).definition.rate_limit_headers
    assert (limits.limit, limits.remaining, limits.reset) == tuple(headers)


def test_a_limit_without_what_is_left_says_nothing() -> None:
    paths = {"/a": {"get": an_operation(responses={"200": {"headers": {"X-RateLimit-Limit": {}}}})}}
    assert not imported(a_document(paths)).definition.HasField("rate_limit_headers")
