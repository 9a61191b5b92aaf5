"""Swagger 2.0: what it says in words of its own means the same afterwards, and keeps its place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cordboard.catalog.openapi import Imported, import_document
from cordboard.catalog.v1.catalog_service_pb2 import ImportFinding
from cordboard.catalog.v1.definition_pb2 import Action, BodyEncoding, Placement, Style


def imported(paths: dict[str, Any], **more: Any) -> Imported:
    document = {
        "swagger": "2.0",
        "info": {"title": "Pets", "version": "1"},
        "host": "pets.example",
        "basePath": "/v2",
        "schemes": ["http", "https"],
        "paths": paths,
        **more,
    }
    return import_document(json.dumps(document))


def action(parameters: list[Any], method: str = "post", **more: Any) -> Action:
    operation = {"operationId": "act", "parameters": parameters, "responses": {"200": {"description": "ok"}}, **more}
    became = imported({"/pets/{id}": {method: operation}}, definitions={"Pet": PET})
    assert [one.id for one in became.definition.actions] == ["act"], became.report
    return became.definition.actions[0]


PET: dict[str, Any] = {
    "type": "object",
    "discriminator": "kind",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "kind": {"type": "string"},
        "owner": {"type": "string", "x-nullable": True},
        "parent": {"$ref": "#/definitions/Pet"},
    },
}
ID = {"name": "id", "in": "path", "required": True, "type": "integer", "format": "int64"}


def test_hosts_schemes_and_the_base_path_make_servers() -> None:
    found = imported({"/pets": {"get": {"responses": {}}}}).definition
    assert [server.url for server in found.servers] == ["https://pets.example/v2", "http://pets.example/v2"]
    assert [server.url for server in imported({}, schemes=[]).definition.servers] == ["https://pets.example/v2"]
    away = import_document(
        json.dumps({"swagger": "2.0", "info": {"title": "A"}, "basePath": "/x", "paths": {}}),
        source_uri="https://api.example/docs.json",
    )
    assert [server.url for server in away.definition.servers] == ["https://api.example/x"]


def test_a_parameter_s_own_values_become_its_schema() -> None:
    limit = {"name": "limit", "in": "query", "type": "integer", "maximum": 50, "default": 10}
    found = action([ID, limit], "get")
    schema = json.loads(found.input_schema_json)
    assert schema["properties"]["id"]["type"] == "integer"
    assert {name: schema["properties"]["limit"][name] for name in ("maximum", "default")} == {
        "maximum": 50, "default": 10,
    }  # fmt: skip
    assert schema["required"] == ["id"]


@pytest.mark.parametrize(
    ("collection", "style", "explode"),
    [
        ("csv", Style.STYLE_FORM, False),
        ("", Style.STYLE_FORM, False),
        ("ssv", Style.STYLE_SPACE_DELIMITED, False),
        ("pipes", Style.STYLE_PIPE_DELIMITED, False),
        ("multi", Style.STYLE_FORM, True),
    ],
)
def test_each_collection_format_has_its_style(collection: str, style: int, explode: bool) -> None:
    tags: dict[str, Any] = {"name": "tags", "in": "query", "type": "array", "items": {"type": "string"}}
    found = action([ID, {**tags, **({"collectionFormat": collection} if collection else {})}], "get")
    (bound,) = (one for one in found.request.parameters if one.name == "tags")
    assert (bound.style or Style.STYLE_FORM) == style
    assert (bound.explode if bound.HasField("explode") else True) is explode


def test_a_list_separated_by_tabs_is_left_out_and_said_to_be() -> None:
    tags = {"name": "tags", "in": "query", "type": "array", "items": {"type": "string"}, "collectionFormat": "tsv"}
    became = imported({"/pets": {"get": {"operationId": "list", "parameters": [tags], "responses": {}}}})
    (loss,) = [one for one in became.report.findings if one.severity == ImportFinding.SEVERITY_LOSS]
    assert loss.pointer == "/paths/~1pets/get/parameters/0"
    assert not became.definition.actions[0].request.parameters


def test_a_body_among_the_parameters_is_the_body() -> None:
    body = {"name": "pet", "in": "body", "required": True, "schema": {"$ref": "#/definitions/Pet"}}
    found = action([ID, body], consumes=["application/json"])
    assert found.request.body.encoding == BodyEncoding.BODY_ENCODING_JSON
    assert {"name", "kind", "owner", "parent"} <= set(json.loads(found.input_schema_json)["properties"])
    # Shared by every operation of a path, and named by a reference.
    shared = imported(
        {
            "/pets/{id}": {
                "parameters": [ID, {"$ref": "#/parameters/PetBody"}],
                "put": {"operationId": "put", "responses": {}},
            }
        },
        parameters={"PetBody": body},
        definitions={"Pet": PET},
    )
    assert shared.definition.actions[0].request.body.encoding == BodyEncoding.BODY_ENCODING_JSON


def test_form_fields_make_a_form_and_a_file_makes_it_multipart() -> None:
    name = {"name": "name", "in": "formData", "required": True, "type": "string"}
    tags = {"name": "tags", "in": "formData", "type": "array", "items": {"type": "string"}, "collectionFormat": "multi"}
    plain = action([ID, name, tags])
    assert plain.request.body.encoding == BodyEncoding.BODY_ENCODING_FORM
    assert json.loads(plain.input_schema_json)["required"] == ["id", "name"]
    photo = {"name": "photo", "in": "formData", "type": "file"}
    upload = action([ID, name, photo], consumes=["application/x-www-form-urlencoded"])
    assert upload.request.body.encoding == BodyEncoding.BODY_ENCODING_MULTIPART


def test_what_a_schema_says_in_words_of_swagger_is_kept() -> None:
    body = {"name": "pet", "in": "body", "schema": {"$ref": "#/definitions/Pet"}}
    schema = json.loads(action([ID, body]).input_schema_json)
    assert "null" in json.dumps(schema["properties"]["owner"])
    assert schema["properties"]["parent"] == {"$ref": "#/$defs/Pet"}


def test_an_answer_s_schema_and_headers_are_read() -> None:
    answers = {
        "200": {
            "description": "ok",
            "schema": {"type": "array", "items": {"$ref": "#/definitions/Pet"}},
            "headers": {"X-RateLimit-Remaining": {"type": "integer"}, "X-RateLimit-Limit": {"type": "integer"}},
        }
    }
    became = imported(
        {"/pets": {"get": {"operationId": "list", "responses": answers}}}, definitions={"Pet": PET}, produces=["*/*"]
    )
    assert json.loads(became.definition.actions[0].output_schema_json)["type"] == "array"
    assert became.definition.rate_limit_headers.remaining == "X-RateLimit-Remaining"


def test_each_way_to_sign_in_becomes_a_scheme() -> None:
    declared = {
        "key": {"type": "apiKey", "name": "X-Key", "in": "header"},
        "user": {"type": "basic"},
        "consent": {
            "type": "oauth2",
            "flow": "accessCode",
            "authorizationUrl": "https://pets.example/authorize",
            "tokenUrl": "https://pets.example/token",
            "scopes": {"read": "Reads"},
        },
    }
    operation = {"operationId": "list", "responses": {}, "security": [{"key": []}, {"user": []}, {"consent": ["read"]}]}
    found = imported({"/pets": {"get": operation}}, securityDefinitions=declared).definition
    kinds = {str(scheme.WhichOneof("kind")) for scheme in found.auth_schemes}
    assert {"api_key", "basic", "oauth2"} <= kinds
    (key,) = (scheme.api_key for scheme in found.auth_schemes if scheme.WhichOneof("kind") == "api_key")
    assert (key.placement, key.name) == (Placement.PLACEMENT_HEADER, "X-Key")


@pytest.mark.parametrize(
    "paths",
    [
        {"/x": 5},
        {"/x": {"get": []}},
        {"/x": {"get": {"parameters": {"a": 1}, "responses": []}}},
        {"/x": {"get": {"parameters": [None, 7, {"$ref": "#/parameters/none"}, {"in": "formData"}], "responses": {}}}},
        {"/x": {"get": {"parameters": [{"in": "body", "schema": 7}], "responses": {"200": {"schema": 7}}}}},
        {"/x": {"get": {"parameters": [{"name": "a", "in": "query", "type": "array", "items": 7}], "responses": {}}}},
    ],
)
def test_a_broken_part_costs_that_part(paths: dict[str, Any]) -> None:
    good = {"/good": {"get": {"operationId": "good", "responses": {}}}}
    found = imported({**paths, **good}, definitions=7, securityDefinitions=[1], schemes="https").definition
    assert "good" in [one.id for one in found.actions]
