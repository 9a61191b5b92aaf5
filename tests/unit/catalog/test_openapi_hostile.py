"""Documents that nobody would write on purpose: broken anywhere, they cost that part; hostile, they cost no more."""

from __future__ import annotations

import copy
import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cordboard.catalog.definition import problems
from cordboard.catalog.openapi import import_document
from cordboard.core.errors import DocumentInvalid, InvalidFields
from tests.unit.catalog.definitions import json_values
from tests.unit.catalog.descriptions import a_document, a_parameter, an_operation, answers, imported, json_body

FULL: dict[str, Any] = a_document(
    {
        "/tickets/{id}": {
            "parameters": [a_parameter("id", "path", required=True), {"$ref": "#/components/parameters/P"}],
            "servers": [{"url": "https://{sub}.acme.example", "variables": {"sub": {"default": "a", "enum": ["a"]}}}],
            "get": an_operation(
                operationId="a/b",
                parameters=[
                    a_parameter("cursor", style="form", explode=True),
                    {"name": "f", "in": "query", "content": {"application/json": {"schema": {}}}},
                    a_parameter("Accept", "header", {"enum": ["text/csv"]}),
                ],
                responses=answers({"$ref": "#/components/schemas/Page"}, headers={"Link": {"schema": {}}}),
                security=[{"oauth": ["read"], "key": []}, {}],
                tags=["t"],
            ),
            "post": an_operation(requestBody={"$ref": "#/components/requestBodies/B"}, deprecated=True),
            "put": an_operation(
                requestBody=json_body(
                    {"properties": {"f": {"type": "string", "format": "binary"}}}, media_type="multipart/form-data"
                )
            ),
        },
        "/rest?method=x": {"get": an_operation(responses={"200": {"content": {"image/png": {}}}})},
    },
    components={
        "schemas": {
            "Page": {
                "type": "object",
                "properties": {
                    "data": {"type": "array", "items": {"$ref": "#/components/schemas/Ticket"}},
                    "next_cursor": {"type": "string", "nullable": True},
                },
            },
            "Ticket": {
                "allOf": [{"$ref": "#/components/schemas/Base"}],
                "properties": {"id": {"type": "integer", "readOnly": True, "minimum": 1, "exclusiveMinimum": True}},
                "required": ["id"],
                "additionalProperties": {"enum": ["a", 1], "pattern": "^a"},
            },
            "Base": {"oneOf": [{"$ref": "#/components/schemas/Page"}, {"type": "string"}]},
        },
        "parameters": {"P": a_parameter("p", schema={"type": "object"}, style="deepObject")},
        "requestBodies": {"B": json_body({"$ref": "#/components/schemas/Page"})},
        "securitySchemes": {
            "oauth": {
                "type": "oauth2",
                "flows": {"authorizationCode": {"authorizationUrl": "/a", "tokenUrl": "/t", "scopes": {"read": "r"}}},
            },
            "key": {"type": "apiKey", "in": "header", "name": "X-Key"},
        },
    },
    security=[{"key": []}],
    webhooks={"w": {}},
    externalDocs={"url": "https://docs.acme.example"},
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Returns the path of every part of a value."""
    found = [path] if path else []
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, child in children:
        found += places(child, (*path, step))
    return found


PLACES = places(FULL)
REFERENCES = [f"#{''.join('/' + str(step).replace('/', '~1') for step in path)}" for path in PLACES]
JUNK: st.SearchStrategy[Any] = (
    json_values
    | st.sampled_from([[], {}, "", "x", 0, -1, 1.5, True, None, [[]], [{}], {"": {}}, "\x00", "{", "}", "a\r\nb"])
    | st.sampled_from(REFERENCES).map(lambda reference: {"$ref": reference})
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(PLACES), JUNK), min_size=1, max_size=4))
def test_a_document_that_is_broken_anywhere_never_fails_unforeseen(
    changes: list[tuple[tuple[str | int, ...], Any]],
) -> None:
    document = copy.deepcopy(FULL)
    for path, junk in changes:
        holder: Any = document
        try:
            for step in path[:-1]:
                holder = holder[step]
            # A copy: a later change may reach into it.
            holder[path[-1]] = copy.deepcopy(junk)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took this place away
    try:
        became = import_document(json.dumps(document))
    except (DocumentInvalid, InvalidFields):
        return
    assert problems(became.definition) == []
    lost = sum(finding.severity == finding.SEVERITY_LOSS for finding in became.report.findings)
    assert became.report.action_count == len(became.definition.actions)
    assert became.report.operation_count <= became.report.action_count + lost


def test_the_document_that_is_broken_there_is_whole_here() -> None:
    became = imported(FULL)
    assert became.report.operation_count == became.report.action_count == 4


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text() | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_a_document_or_a_sentence(text: str) -> None:
    with pytest.raises(DocumentInvalid):
        import_document(text)


def bounded(document: str, *, seconds: float, megabytes: int) -> None:
    """Imports a document, whether that works or not, within bounds."""
    tracemalloc.start()
    started = time.process_time()
    try:
        import_document(document)
    except (DocumentInvalid, InvalidFields):
        pass
    finally:
        took = time.process_time() - started
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert took < seconds
    assert peak < megabytes * 1_000_000


def test_an_alias_bomb_is_refused() -> None:
    names = "abcdefghijklmnopq"
    lines = ["openapi: 3.0.0", "x-a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"x-{name}: &{name} [{', '.join(['*' + names[at]] * 10)}]" for at, name in enumerate(names[1:])]
    bounded("\n".join(lines), seconds=5, megabytes=20)


def test_deep_nesting_is_refused() -> None:
    bounded('{"openapi": "3.0.0", "paths": ' + '{"a":' * 200_000 + "1" + "}" * 200_001, seconds=5, megabytes=50)


def test_a_chain_of_references_and_one_in_a_circle_end() -> None:
    schemas = {f"S{at}": {"$ref": f"#/components/schemas/S{(at + 1) % 500}"} for at in range(500)}
    operation = an_operation(
        parameters=[a_parameter("a", schema={"$ref": "#/components/schemas/S0"})],
        requestBody=json_body({"$ref": "#/components/schemas/S0"}),
        responses=answers({"$ref": "#/components/schemas/S0"}),
    )
    document = a_document({"/run": {"post": operation}}, components={"schemas": schemas})
    bounded(json.dumps(document), seconds=5, megabytes=50)
    assert imported(document).report.action_count == 1


def test_all_of_of_all_of_does_not_explode() -> None:
    schemas = {f"S{at}": {"allOf": [{"$ref": f"#/components/schemas/S{at + 1}"}] * 10} for at in range(30)}
    schemas["S30"] = {"type": "object", "properties": {"a": {"type": "string"}}}  # type: ignore[dict-item]
    operation = an_operation(
        parameters=[a_parameter("cursor")],
        requestBody=json_body({"$ref": "#/components/schemas/S0"}),
        responses=answers({"$ref": "#/components/schemas/S0"}),
    )
    bounded(
        json.dumps(a_document({"/run": {"get": operation}}, components={"schemas": schemas})), seconds=5, megabytes=50
    )


def test_many_operations_with_one_large_schema_stay_small() -> None:
    schema = {"type": "object", "properties": {f"p{at}": {"$ref": "#/components/schemas/Big"} for at in range(200)}}
    paths = {
        f"/r{at}": {"post": an_operation(requestBody=json_body({"$ref": "#/components/schemas/Big"}))}
        for at in range(100)
    }
    bounded(json.dumps(a_document(paths, components={"schemas": {"Big": schema}})), seconds=20, megabytes=100)
