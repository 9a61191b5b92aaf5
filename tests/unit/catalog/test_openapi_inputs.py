"""Paths, parameters and bodies of API descriptions: what becomes the input, and where it goes."""

from __future__ import annotations

from typing import Any

import pytest

from cordboard.catalog.v1.definition_pb2 import Action, BodyEncoding, Placement, Style
from tests.unit.catalog.descriptions import (
    a_document,
    a_parameter,
    an_operation,
    imported,
    input_schema,
    json_body,
    losses,
    notes,
    repairs,
    the_action,
)

PATH, QUERY = Placement.PLACEMENT_PATH, Placement.PLACEMENT_QUERY
HEADER, COOKIE = Placement.PLACEMENT_HEADER, Placement.PLACEMENT_COOKIE
OBJECT = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "required": ["a"]}


def places(action: Action) -> list[tuple[str, str, int]]:
    """Returns the property, the name and the placement of each parameter."""
    return [(one.property, one.name, one.placement) for one in action.request.parameters]


def properties(action: Action) -> dict[str, Any]:
    found: dict[str, Any] = input_schema(action)["properties"]
    return found


# --- paths


@pytest.mark.parametrize(
    ("key", "path", "names"),
    [
        ("/t/{id}", "/t/{id}", ["id"]),
        ("/t/{Base Id}/x", "/t/{Base Id}/x", ["Base Id"]),
        ("/t/{a}-{b}.json", "/t/{a}-{b}.json", ["a", "b"]),
        ("/t/{id}:run", "/t/{id}:run", ["id"]),
        ("/t/", "/t/", []),
        ("t/{id}", "/t/{id}", ["id"]),
        ("//t", "/t", []),
        ("/t/{id}#fragment", "/t/{id}", ["id"]),
        ("/a b/ü", "/a%20b/%C3%BC", []),
        ("/100%", "/100%25", []),
        ("/a%20b", "/a%20b", []),
        ("/t/{id}{?page,size}", "/t/{id}", ["id", "page", "size"]),
        ("/t?id={id}&x={y}", "/t", ["id", "x"]),
    ],
)
def test_a_path_becomes_a_template(key: str, path: str, names: list[str]) -> None:
    action = the_action(an_operation(), path=key)
    assert action.request.path == path
    assert [name for _, name, _ in places(action)] == names


def test_what_a_query_string_in_a_path_fixes_is_a_constant_input() -> None:
    action = the_action(an_operation(), path="/rest?method=photos.list&empty=")
    assert action.request.path == "/rest"
    assert places(action) == [("method", "method", QUERY), ("empty", "empty", QUERY)]
    assert properties(action)["method"] == {"const": "photos.list", "default": "photos.list"}
    assert input_schema(action)["required"] == ["method", "empty"]


@pytest.mark.parametrize("key", ["/v1/{+name}:run", "/v1/{name=projects/*}:run"])
def test_a_value_with_slashes_goes_as_it_is(key: str) -> None:
    action = the_action(an_operation(parameters=[a_parameter("name", "path", required=True)]), path=key)
    assert action.request.path == "/v1/{name}:run"
    (parameter,) = action.request.parameters
    assert (parameter.name, parameter.allow_reserved) == ("name", True)


def test_path_parameters_that_are_missing_misspelt_or_too_many_are_repaired() -> None:
    operation = an_operation(
        parameters=[
            a_parameter("user-id", "path", {"type": "integer"}),
            a_parameter("other", "path"),
            a_parameter("id", "path", required=False),
        ]
    )
    became = imported(a_document({"/{userId}/:id/{undeclared}": {"get": operation}}))
    (action,) = became.definition.actions
    assert action.request.path == "/{userId}/{id}/{undeclared}"
    assert input_schema(action)["required"] == ["userId", "id", "undeclared"]
    assert properties(action)["userId"] == {"type": "integer"}
    texts = [text for _, text in repairs(became)]
    assert "{undeclared} is not declared; it became a text" in texts
    assert "the path has no {other}; the parameter was left out" in texts


# --- parameters


def test_parameters_of_the_path_hold_for_its_operations_unless_those_say_otherwise() -> None:
    item = {
        "parameters": [a_parameter("a"), a_parameter("b", schema={"type": "integer"}), a_parameter("X-C", "header")],
        "get": an_operation(
            parameters=[a_parameter("b", required=True), a_parameter("b", "header"), a_parameter("x-c", "header")]
        ),
    }
    (action,) = imported(a_document({"/run": item})).definition.actions
    assert places(action) == [
        ("a", "a", QUERY),
        ("b", "b", QUERY),
        ("x-c", "x-c", HEADER),
        ("b_header", "b", HEADER),
    ]
    assert input_schema(action)["required"] == ["b"]
    assert properties(action)["b"] == {"type": "string"}


def test_styles_and_explode_are_taken_over() -> None:
    listed = {"type": "array", "items": {"type": "string"}}
    action = the_action(
        an_operation(
            parameters=[
                a_parameter("a", "path", listed, style="matrix", explode=True),
                a_parameter("b", schema=listed, style="form", explode=False),
                a_parameter("c", schema=listed, style="pipeDelimited"),
                a_parameter("d", schema={"type": "object"}, style="deepObject", explode=True),
                a_parameter("e", schema=listed, style="spaceDelimited", allowReserved=True),
                a_parameter("f", "path", listed, style="label"),
                a_parameter("g", "cookie"),
                a_parameter("h", content={"application/json": {"schema": {"type": "object"}}}),
            ]
        )
        | {},
        path="/{a}/{f}",
    )
    read = {one.name: one for one in action.request.parameters}
    assert (read["a"].style, read["a"].explode) == (Style.STYLE_MATRIX, True)
    assert (read["b"].style, read["b"].HasField("explode"), read["b"].explode) == (Style.STYLE_UNSPECIFIED, True, False)
    assert (read["c"].style, read["c"].HasField("explode")) == (Style.STYLE_PIPE_DELIMITED, False)
    assert (read["d"].style, read["d"].explode) == (Style.STYLE_DEEP_OBJECT, True)
    assert (read["e"].style, read["e"].allow_reserved) == (Style.STYLE_SPACE_DELIMITED, True)
    assert read["f"].style == Style.STYLE_LABEL
    assert read["g"].placement == COOKIE
    assert not read["h"].json


def test_a_parameter_with_content_is_json_text() -> None:
    parameter = {"name": "filter", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}}
    action = the_action(an_operation(parameters=[parameter]))
    assert action.request.parameters[0].json
    assert properties(action) == {"filter": {"type": "object"}}


def test_a_style_that_does_not_fit_is_replaced_by_the_default() -> None:
    operation = an_operation(parameters=[a_parameter("a", style="matrix"), a_parameter("X-B", "header", style="form")])
    became = imported(a_document({"/run": {"get": operation}}))
    assert [one.style for one in became.definition.actions[0].request.parameters] == [0, 0]
    assert len(repairs(became)) == 2


def test_parameters_of_older_and_broken_kinds_are_repaired_or_lost() -> None:
    operation = an_operation(
        parameters=[
            {"name": "a", "in": "query", "type": "integer", "enum": [1, 2]},
            {"name": "b", "in": "query"},
            {"name": "c", "in": "body", "schema": {}},
            {"name": "", "in": "query"},
            {"in": "query"},
            {"$ref": "#/components/parameters/nope"},
            {"$ref": "other.yaml#/p"},
            7,
            a_parameter("d"),
            a_parameter("d", schema={"type": "integer"}),
            a_parameter("e", schema=True),
            a_parameter("X Y", "header"),
            a_parameter("f", "Query", {"$ref": "#/components/schemas/nope"}),
        ]
    )
    became = imported(a_document({"/run": {"get": operation}}))
    (action,) = became.definition.actions
    assert properties(action) == {
        "a": {"type": "integer", "enum": [1, 2]},
        "b": {"type": "string"},
        "d": {"type": "string"},
        "e": {},
        "f": {},
    }
    assert [pointer.rpartition("/")[2] for pointer, _ in losses(became)] == ["2", "3", "4", "5", "6", "7", "11"]


def test_descriptions_and_deprecation_of_a_parameter_are_its_propertys() -> None:
    parameter = a_parameter("a", schema={"$ref": "#/components/schemas/A"}, description="The first.", deprecated=True)
    became = imported(
        a_document({"/run": {"get": an_operation(parameters=[parameter])}}, components={"schemas": {"A": {}}})
    )
    assert properties(became.definition.actions[0])["a"] == {
        "$ref": "#/$defs/A",
        "description": "The first.",
        "deprecated": True,
    }


@pytest.mark.parametrize("name", ["Authorization", "content-type", "Content-Length", "HOST", "Cookie", "Connection"])
def test_headers_that_the_mesh_sets_are_no_inputs(name: str) -> None:
    became = imported(a_document({"/run": {"get": an_operation(parameters=[a_parameter(name, "header")])}}))
    assert properties(became.definition.actions[0]) == {}
    assert any("is no input" in text for _, text in notes(became))


@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        ({"type": "string", "enum": ["application/vnd.acme+json"]}, {"Accept": "application/vnd.acme+json"}),
        ({"type": "string", "default": "text/csv"}, {"Accept": "text/csv"}),
        ({"$ref": "#/components/schemas/A"}, {"Accept": "text/x"}),
        ({"type": "string"}, {}),
        ({"type": "string", "default": "a\nb"}, {}),
        ({"$ref": "#/nope"}, {}),
    ],
)
def test_an_accept_parameter_becomes_a_fixed_header(schema: dict[str, Any], sent: dict[str, str]) -> None:
    operation = an_operation(parameters=[a_parameter("Accept", "header", schema)])
    became = imported(a_document({"/run": {"get": operation}}, components={"schemas": {"A": {"const": "text/x"}}}))
    (action,) = became.definition.actions
    assert dict(action.request.headers) == sent
    assert properties(action) == {}


def test_an_idempotency_key_header_is_recognised() -> None:
    became = imported(
        a_document(
            {"/run": {"post": an_operation(parameters=[a_parameter("Idempotency-Key", "header", required=True)])}}
        )
    )
    (action,) = became.definition.actions
    assert action.idempotency_key_header == "Idempotency-Key"
    assert properties(action) == {}
    assert any("takes the idempotency key" in text for _, text in notes(became))


# --- bodies


def fields(action: Action) -> list[tuple[str, str]]:
    return [(one.property, one.name) for one in action.request.body.fields]


def test_the_members_of_an_object_are_properties_of_the_input() -> None:
    action = the_action(an_operation(parameters=[a_parameter("q")], requestBody=json_body(OBJECT)))
    assert action.request.body.encoding == BodyEncoding.BODY_ENCODING_JSON
    assert action.request.body.required
    assert action.request.body.media_type == ""
    assert fields(action) == [("a", "a"), ("b", "b")]
    assert list(properties(action)) == ["q", "a", "b"]
    assert input_schema(action)["required"] == ["a"]
    assert input_schema(action)["additionalProperties"] is False


def test_members_are_found_through_references_and_all_of() -> None:
    schema = {
        "allOf": [{"$ref": "#/components/schemas/A"}, {"properties": {"b": {"minimum": 1}, "c": {}}, "required": ["c"]}]
    }
    components = {
        "schemas": {"A": OBJECT},
        "requestBodies": {"R": json_body(schema)},
    }
    action = the_action(an_operation(requestBody={"$ref": "#/components/requestBodies/R"}), components=components)
    assert fields(action) == [("a", "a"), ("b", "b"), ("c", "c")]
    assert properties(action)["b"] == {"allOf": [{"type": "integer"}, {"minimum": 1}]}
    assert input_schema(action)["required"] == ["a", "c"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {}},
        {"type": "string"},
        {},
        {"type": "object"},
        {**OBJECT, "additionalProperties": True},
        {**OBJECT, "additionalProperties": {"type": "string"}},
        {**OBJECT, "minProperties": 1},
        {**OBJECT, "nullable": True},
        {"oneOf": [OBJECT]},
        {"allOf": [OBJECT, {"anyOf": [OBJECT]}]},
        {"allOf": [OBJECT, {"$ref": "#/components/schemas/Nope"}]},
        {"properties": {f"p{number}": {} for number in range(400)}},
    ],
)
def test_a_body_that_is_no_plain_object_is_one_property(schema: dict[str, Any]) -> None:
    action = the_action(an_operation(requestBody=json_body(schema)))
    assert action.request.body.property == "body"
    assert list(properties(action)) == ["body"]
    assert input_schema(action)["required"] == ["body"]


def test_a_json_body_whose_members_clash_with_parameters_is_one_property() -> None:
    action = the_action(an_operation(parameters=[a_parameter("a"), a_parameter("body")], requestBody=json_body(OBJECT)))
    assert action.request.body.property == "body_request"
    assert list(properties(action)) == ["a", "body", "body_request"]


def test_a_form_whose_members_clash_with_parameters_gives_them_other_names() -> None:
    body = json_body(OBJECT, media_type="application/x-www-form-urlencoded")
    action = the_action(an_operation(parameters=[a_parameter("a")], requestBody=body))
    assert fields(action) == [("a_body", "a"), ("b", "b")]
    assert input_schema(action)["required"] == ["a_body"]


def test_what_is_read_only_is_not_sent() -> None:
    schema = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "readOnly": True},
            "when": {"$ref": "#/components/schemas/When"},
            "a": {},
        },
        "required": ["id", "a"],
    }
    action = the_action(
        an_operation(requestBody=json_body(schema)),
        components={"schemas": {"When": {"type": "string", "readOnly": True}}},
    )
    assert fields(action) == [("a", "a")]
    assert input_schema(action)["required"] == ["a"]


def test_a_member_that_is_required_and_not_described_can_be_anything() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a", "b"]}
    action = the_action(an_operation(requestBody=json_body(schema)))
    assert properties(action)["b"] == {}
    assert input_schema(action)["required"] == ["a", "b"]


@pytest.mark.parametrize(("method", "whole"), [("post", False), ("patch", False), ("get", True), ("delete", True)])
def test_a_body_that_may_be_left_out(method: str, whole: bool) -> None:
    action = the_action(an_operation(requestBody=json_body(OBJECT, required=False)), method=method)
    assert (action.request.body.property == "body") is whole
    assert action.request.body.required is not whole
    assert ("required" in input_schema(action)) is not whole


@pytest.mark.parametrize(
    ("content", "encoding", "media_type"),
    [
        (["application/json"], BodyEncoding.BODY_ENCODING_JSON, ""),
        (["application/xml", "application/json"], BodyEncoding.BODY_ENCODING_JSON, ""),
        (["application/vnd.api+json", "application/json"], BodyEncoding.BODY_ENCODING_JSON, ""),
        (["application/vnd.api+json"], BodyEncoding.BODY_ENCODING_JSON, "application/vnd.api+json"),
        (["text/json"], BodyEncoding.BODY_ENCODING_JSON, "text/json"),
        (["application/json; charset=utf-8"], BodyEncoding.BODY_ENCODING_JSON, "application/json; charset=utf-8"),
        (["application/*+json"], BodyEncoding.BODY_ENCODING_JSON, ""),
        (["*/*"], BodyEncoding.BODY_ENCODING_JSON, ""),
        ([""], BodyEncoding.BODY_ENCODING_JSON, ""),
        (["multipart/form-data", "application/x-www-form-urlencoded"], BodyEncoding.BODY_ENCODING_FORM, ""),
        (["multipart/form-data", "application/json"], BodyEncoding.BODY_ENCODING_JSON, ""),
        (["multipart/form-data"], BodyEncoding.BODY_ENCODING_MULTIPART, ""),
        (["multipart/mixed", "text/csv"], BodyEncoding.BODY_ENCODING_TEXT, "text/csv"),
        (["text/plain"], BodyEncoding.BODY_ENCODING_TEXT, ""),
        (["text/*"], BodyEncoding.BODY_ENCODING_TEXT, ""),
        (["application/xml"], BodyEncoding.BODY_ENCODING_TEXT, "application/xml"),
        (["message/rfc822"], BodyEncoding.BODY_ENCODING_TEXT, "message/rfc822"),
        (["application/octet-stream"], BodyEncoding.BODY_ENCODING_BINARY, ""),
        (["image/png"], BodyEncoding.BODY_ENCODING_BINARY, "image/png"),
        (["image/*"], BodyEncoding.BODY_ENCODING_BINARY, ""),
        (["application/pdf"], BodyEncoding.BODY_ENCODING_BINARY, "application/pdf"),
    ],
)
def test_one_of_the_offered_media_types_is_sent(
    content: list[str], encoding: BodyEncoding.ValueType, media_type: str
) -> None:
    body = {"required": True, "content": {name: {"schema": OBJECT} for name in content}}
    action = the_action(an_operation(requestBody=body))
    assert (action.request.body.encoding, action.request.body.media_type) == (encoding, media_type)


def test_bytes_are_given_in_base64() -> None:
    body = json_body({"type": "string", "format": "binary"}, media_type="*/*")
    action = the_action(an_operation(requestBody={**body, "description": "The file."}))
    assert action.request.body.encoding == BodyEncoding.BODY_ENCODING_BINARY
    assert properties(action) == {
        "body": {
            "type": "string",
            "contentEncoding": "base64",
            "contentMediaType": "application/octet-stream",
            "description": "The file.",
        }
    }


def test_parts_of_a_multipart_form_have_their_media_types() -> None:
    binary = {"type": "string", "format": "binary"}
    body = {
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {**binary, "description": "It."},
                        "files": {"type": "array", "items": binary},
                        "image": binary,
                        "meta": {"type": "object"},
                        "odd": {"$ref": "#/nope"},
                    },
                },
                "encoding": {"image": {"contentType": "image/png, image/jpeg"}, "meta": {"contentType": "*/*"}},
            }
        }
    }
    action = the_action(an_operation(requestBody=body))
    media_types = {one.name: one.media_type for one in action.request.body.fields}
    assert media_types == {
        "file": "application/octet-stream",
        "files": "application/octet-stream",
        "image": "image/png",
        "meta": "",
        "odd": "",
    }
    assert properties(action)["file"]["contentEncoding"] == "base64"
    assert properties(action)["file"]["description"] == "It."
    assert properties(action)["files"]["items"]["contentEncoding"] == "base64"


def test_fields_of_a_form_have_their_styles() -> None:
    body = json_body(OBJECT, media_type="application/x-www-form-urlencoded")
    media = body["content"]["application/x-www-form-urlencoded"]
    media["encoding"] = {"a": {"style": "deepObject", "explode": True}, "b": {"explode": False}}
    first, second = the_action(an_operation(requestBody=body)).request.body.fields
    assert (first.style, first.explode) == (Style.STYLE_DEEP_OBJECT, True)
    assert (second.style, second.HasField("explode"), second.explode) == (Style.STYLE_UNSPECIFIED, True, False)


@pytest.mark.parametrize(
    "body",
    [
        {"required": True, "content": {"multipart/mixed": {}}},
        {"required": True, "content": {"not a type": {}}},
        {"$ref": "body.yaml"},
        {"$ref": "#/components/requestBodies/Nope"},
    ],
)
def test_an_operation_whose_body_cannot_be_sent_is_a_loss(body: dict[str, Any]) -> None:
    became = imported(a_document({"/run": {"post": an_operation(requestBody=body)}}))
    assert list(became.definition.actions) == []
    assert losses(became)[0][1].startswith("POST /run is left out: its ")


@pytest.mark.parametrize("body", [{}, {"content": {}}, {"content": {"multipart/mixed": {}}}, 7])
def test_a_body_that_cannot_be_sent_and_need_not_be_is_left_out(body: Any) -> None:
    became = imported(a_document({"/run": {"post": an_operation(requestBody=body)}}))
    assert not became.definition.actions[0].request.HasField("body")
    assert repairs(became)


# --- what an independent judge of the requests found


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"type": "array", "items": {"type": "string"}}, "minItems"),
        ({"items": {"type": "string"}}, "minItems"),
        ({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}, "minItems"),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, "minProperties"),
    ],
)
def test_a_required_list_or_object_that_would_not_be_sent_at_all_cannot_be_empty(schema: Any, keyword: str) -> None:
    parameters = [a_parameter("needed", schema=schema, required=True), a_parameter("other", schema=schema)]
    properties = input_schema(the_action(an_operation(parameters=parameters)))["properties"]
    assert properties["needed"][keyword] == 1
    assert keyword not in properties["other"]


def test_a_required_list_of_a_form_cannot_be_empty_and_one_of_a_json_body_can() -> None:
    schema = {
        "type": "object",
        "properties": {"urls": {"type": "array", "items": {"type": "string"}}},
        "required": ["urls"],
    }
    form = an_operation(requestBody=json_body(schema, media_type="application/x-www-form-urlencoded"))
    assert input_schema(the_action(form))["properties"]["urls"]["minItems"] == 1
    plain = an_operation(requestBody=json_body(schema))
    assert "minItems" not in input_schema(the_action(plain))["properties"]["urls"]


def test_a_list_of_objects_in_one_value_is_json() -> None:
    objects = {"type": "array", "items": {"type": "object"}}
    parameters = [
        a_parameter("joined", schema=objects, explode=False),
        a_parameter("apart", schema=objects),
        a_parameter("plain", schema={"type": "array", "items": {"type": "string"}}, explode=False),
    ]
    became = imported(a_document({"/run": {"get": an_operation(parameters=parameters)}}))
    assert [one.json for one in became.definition.actions[0].request.parameters] == [True, False, False]
    assert any("'joined' is a list of objects in one value" in text for _, text in notes(became))


def test_an_object_of_which_the_description_shows_brackets_is_a_deep_object() -> None:
    schema = {"type": "object", "additionalProperties": {"type": "string"}}
    parameters = [
        a_parameter("metadata", schema=schema, description="Such as `metadata[key]=value`"),
        a_parameter("other", schema=schema, description="Such as `metadata[key]=value`"),
        a_parameter("told", schema=schema, style="form", description="told[key]"),
    ]
    became = imported(a_document({"/run": {"get": an_operation(parameters=parameters)}}))
    styles = [one.style for one in became.definition.actions[0].request.parameters]
    assert styles == [Style.STYLE_DEEP_OBJECT, Style.STYLE_UNSPECIFIED, Style.STYLE_UNSPECIFIED]
    assert any("it is sent as a deepObject" in text for _, text in notes(became))


def test_a_form_that_is_a_list_is_files_without_names() -> None:
    operation = an_operation(requestBody=json_body({"type": "array", "items": {}}, media_type="multipart/form-data"))
    became = imported(a_document({"/run": {"post": operation}}))
    (action,) = became.definition.actions
    (field,) = action.request.body.fields
    assert (field.name, field.property, field.media_type) == ("file", "file", "application/octet-stream")
    schema = input_schema(action)
    assert schema["required"] == ["file"]
    assert schema["properties"]["file"]["items"]["contentEncoding"] == "base64"
    assert any("each is a file called 'file'" in text for _, text in repairs(became))


def test_what_is_read_only_through_a_part_of_it_is_not_sent() -> None:
    schemas = {
        "Compact": {"type": "object", "properties": {"name": {"type": "string"}}},
        "Shown": {"allOf": [{"$ref": "#/components/schemas/Compact"}, {"type": "object", "readOnly": True}]},
        "Circle": {"allOf": [{"$ref": "#/components/schemas/Circle"}]},
    }
    body = {
        "type": "object",
        "properties": {
            "a": {"allOf": [{"$ref": "#/components/schemas/Compact"}, {"readOnly": True}]},
            "b": {"$ref": "#/components/schemas/Shown"},
            "c": {"$ref": "#/components/schemas/Compact"},
            "d": {"$ref": "#/components/schemas/Circle"},
        },
        "required": ["a", "c"],
    }
    action = the_action(an_operation(requestBody=json_body(body)), components={"schemas": schemas})
    schema = input_schema(action)
    assert list(schema["properties"]) == ["c", "d"]
    assert schema["required"] == ["c"]
