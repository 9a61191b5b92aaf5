"""Schemas of API descriptions become JSON Schema 2020-12: same meaning, shared once, recursion kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cordboard.catalog.openapi import Imported
from cordboard.catalog.openapi.report import Report
from cordboard.catalog.openapi.schemas import mend
from cordboard.catalog.schemas import Schema
from cordboard.core.schema import JsonSchema
from tests.unit.catalog.descriptions import a_document, a_parameter, an_operation, answers, imported, json_body, repairs


def output(schema: Any, *, openapi: str = "3.0.3", **schemas: Any) -> tuple[Any, dict[str, Any], Imported]:
    """Returns what the schema of an answer became, the shared schemas, and everything."""
    document = a_document(
        {"/run": {"get": an_operation(responses=answers(schema))}}, openapi=openapi, components={"schemas": schemas}
    )
    became = imported(document)
    text = became.definition.actions[0].output_schema_json
    return json.loads(text or "{}"), json.loads(became.definition.schemas_json or "{}"), became


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "string", "nullable": False}, {"type": "string"}),
        ({"nullable": True}, {}),
        (
            {"allOf": [{"type": "object"}], "nullable": True, "description": "d"},
            {"description": "d", "anyOf": [{"allOf": [{"type": "object"}]}, {"type": "null"}]},
        ),
        ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
        ({"minimum": 1, "exclusiveMinimum": False}, {"minimum": 1}),
        ({"maximum": 9, "exclusiveMaximum": True}, {"exclusiveMaximum": 9}),
        ({"exclusiveMinimum": 3}, {"exclusiveMinimum": 3}),
        ({"minimum": "1", "maximum": "x", "multipleOf": 0}, {"minimum": 1}),
        ({"minLength": 1.0, "maxLength": -1, "minItems": True, "maxItems": "5"}, {"minLength": 1, "maxItems": 5}),
        ({"type": "string", "example": "x", "xml": {}, "discriminator": {}, "x-y": 1, "externalDocs": {}},
         {"type": "string"}),
        ({"type": "int"}, {"type": "integer"}),
        ({"type": "Float"}, {"type": "number"}),
        ({"type": "any", "title": "t"}, {"title": "t"}),
        ({"type": "nonsense"}, {}),
        ({"type": 7}, {}),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"type": ["string"]}, {"type": "string"}),
        ({"type": "array", "items": [{"type": "string"}]}, {"type": "array", "prefixItems": [{"type": "string"}]}),
        ({"type": "array", "items": 7}, {"type": "array"}),
        ({"allOf": {"type": "string"}}, {"allOf": [{"type": "string"}]}),
        ({"anyOf": []}, {}),
        ({"oneOf": "x"}, {}),
        ({"properties": [1]}, {}),
        ({"properties": {"a": 7}}, {"properties": {"a": {}}}),
        ({"properties": {"a": {"required": True}}, "required": ["a", "a", 7]},
         {"properties": {"a": {}}, "required": ["a"]}),
        ({"required": []}, {}),
        ({"enum": []}, {}),
        ({"enum": "x"}, {}),
        ({"type": "string", "enum": [True, 1, None]}, {"type": "string", "enum": ["true", "1", None]}),
        ({"type": "string", "enum": ["a", 1]}, {"type": "string", "enum": ["a", 1]}),
        ({"pattern": "^a+$"}, {"pattern": "^a+$"}),
        ({"pattern": "(?=a)b"}, {}),
        ({"pattern": r"(a)\1"}, {}),
        ({"pattern": "["}, {}),
        ({"pattern": 7}, {}),
        ({"additionalProperties": {"type": "string"}}, {"additionalProperties": {"type": "string"}}),
        ({"additionalProperties": False}, {"additionalProperties": False}),
        ({"additionalProperties": "false"}, {}),
        ({"default": {"a": 1}}, {"default": {"a": 1}}),
        ({"default": "x" * 3000}, {}),
        ({"title": 7, "description": ["x"], "format": None}, {}),
        ({"uniqueItems": True, "deprecated": "yes"}, {"uniqueItems": True}),
        ({"not": {"type": "null"}, "if": {"type": "string"}, "then": {"minLength": 1}},
         {"not": {"type": "null"}, "if": {"type": "string"}, "then": {"minLength": 1}}),
        ({"patternProperties": {"^x": {"type": "int"}, "(?=a)": {}}},
         {"patternProperties": {"^x": {"type": "integer"}}}),
        ({"dependentRequired": {"a": ["b", 7], "c": 7}}, {"dependentRequired": {"a": ["b"]}}),
        ({"const": 1, "$id": "x", "$anchor": "y", "$defs": {}, "$schema": "z", "$comment": "c"}, {"const": 1}),
    ],
)  # fmt: skip
def test_a_schema_keeps_its_meaning(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert output(old)[0] == new


@pytest.mark.parametrize("schema", [True, False, 7, "x", [], None])
def test_what_is_no_object_says_nothing_of_the_output(schema: Any) -> None:
    assert output(schema)[0] == {}


def test_a_referenced_schema_is_written_once_and_recursion_stays() -> None:
    node = {
        "type": "object",
        "properties": {"parent": {"$ref": "#/components/schemas/Node"}, "leaf": {"$ref": "#/components/schemas/Leaf"}},
    }
    found, shared, _ = output({"$ref": "#/components/schemas/Node"}, Node=node, Leaf={"type": "string"}, Unused={})
    assert found == {"$ref": "#/$defs/Node"}
    assert list(shared) == ["Node", "Leaf"]
    assert shared["Node"]["properties"]["parent"] == {"$ref": "#/$defs/Node"}
    schema = JsonSchema.compile({**found, "$defs": shared})
    assert schema.accepts({"parent": {"parent": {"leaf": "x"}}})
    assert not schema.accepts({"parent": {"parent": {"leaf": 1}}})


def test_a_wide_web_of_schemas_does_not_grow() -> None:
    names = [f"S{number}" for number in range(60)]
    everything: Any = {name: {"$ref": f"#/components/schemas/{name}"} for name in names}
    schemas: dict[str, Any] = {name: {"type": "object", "properties": everything} for name in names}
    _, shared, became = output({"$ref": "#/components/schemas/S0"}, **schemas)
    assert len(shared) == 60
    assert became.definition.ByteSize() < 200_000


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("#/components/schemas/A%20B", "A_B"),
        ("#/components/schemas/a~1b", "a_b"),
        ("#/components/schemas/A%20B/properties/x", "x"),
        ("#/components/schemas/List/oneOf/1", "1"),
        ("#/paths/~1run/get/responses/200/description", "description"),
        ("#", "schema"),
    ],
)
def test_a_reference_may_lead_anywhere_in_the_document(reference: str, name: str) -> None:
    schemas: Any = {
        "A B": {"properties": {"x": {"type": "string"}}},
        "a/b": {},
        "List": {"oneOf": [{}, {"type": "integer"}]},
    }
    assert output({"$ref": reference}, **schemas)[0] == {"$ref": f"#/$defs/{name}"}


@pytest.mark.parametrize(
    "reference", ["#/components/schemas/No", "other.yaml#/A", "https://x.example/a", "#anchor", "A"]
)
def test_a_reference_that_leads_nowhere_stands_for_anything(reference: str) -> None:
    found, shared, became = output({"type": "object", "properties": {"a": {"$ref": reference, "title": "t"}}})
    assert found["properties"]["a"] == {"title": "t"}
    assert shared == {}
    assert any("anything is accepted here" in text for _, text in repairs(became))


def test_schemas_of_the_same_name_are_kept_apart() -> None:
    schemas: dict[str, Any] = {"A/B": {"type": "string"}, "A B": {"type": "integer"}}
    found, shared, _ = output(
        {"oneOf": [{"$ref": "#/components/schemas/A~1B"}, {"$ref": "#/components/schemas/A%20B"}]}, **schemas
    )
    assert found == {"oneOf": [{"$ref": "#/$defs/A_B"}, {"$ref": "#/$defs/A_B_2"}]}
    assert shared == {"A_B": {"type": "string"}, "A_B_2": {"type": "integer"}}


def test_a_schema_that_refers_to_itself_alone_stands_for_anything() -> None:
    found, shared, _ = output({"$ref": "#/components/schemas/A"}, A={"$ref": "#/components/schemas/A"})
    assert JsonSchema.compile({**found, "$defs": shared}).accepts({"x": 1})


def test_siblings_of_a_reference_hold_from_3_1_on() -> None:
    schema = {"$ref": "#/components/schemas/A", "minLength": 1, "description": "d"}
    assert output(schema, A={})[0] == {"$ref": "#/$defs/A", "description": "d"}
    assert output(schema, openapi="3.1.0", A={})[0] == {"$ref": "#/$defs/A", "minLength": 1, "description": "d"}


def test_a_schema_with_read_only_parts_is_shared_in_two_forms() -> None:
    inner = {
        "type": "object",
        "properties": {"id": {"type": "string", "readOnly": True}, "pw": {"type": "string", "writeOnly": True}},
        "required": ["id", "pw"],
    }
    schemas = {
        "Outer": {"type": "object", "properties": {"inner": {"$ref": "#/components/schemas/Inner"}}},
        "Inner": inner,
    }
    both = {"$ref": "#/components/schemas/Outer"}
    operation = an_operation(requestBody=json_body({"type": "array", "items": both}), responses=answers(both))
    became = imported(a_document({"/run": {"post": operation}}, components={"schemas": schemas}))
    shared = json.loads(became.definition.schemas_json)
    assert list(shared) == ["Outer.request", "Outer", "Inner.request", "Inner"]
    assert list(shared["Inner.request"]["properties"]) == shared["Inner.request"]["required"] == ["pw"]
    assert list(shared["Inner"]["properties"]) == shared["Inner"]["required"] == ["id"]
    assert shared["Outer.request"]["properties"]["inner"] == {"$ref": "#/$defs/Inner.request"}


def test_a_pattern_that_would_take_too_much_memory_is_left_out() -> None:
    operation = an_operation(parameters=[a_parameter("a", schema={"type": "string", "pattern": "(x{900}){900}"})])
    (action,) = imported(a_document({"/run": {"get": operation}})).definition.actions
    assert json.loads(action.input_schema_json)["properties"]["a"] == {"type": "string"}


def test_a_schema_that_does_not_compile_costs_itself_and_no_other() -> None:
    report = Report()
    shared: dict[str, Schema] = {"Good": {"type": "string"}, "Bad": {"type": "thing"}}
    schemas: dict[str, Schema] = {"a input": {"required": True}, "b input": {"$ref": "#/$defs/Bad"}}
    mend(shared, schemas, report)
    assert shared == {"Good": {"type": "string"}, "Bad": {}}
    assert schemas == {"a input": {}, "b input": {"$ref": "#/$defs/Bad"}}
    assert len(report.message(0).findings) == 2
