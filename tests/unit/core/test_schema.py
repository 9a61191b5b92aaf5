"""JSON Schemas from outside: what they say of a value, and which of them are not taken."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.core.schema import MAX_EFFORT, MAX_VIOLATIONS, JsonSchema, SchemaInvalid, effort

Schema = dict[str, Any]


def chain(links: int, times: int, reference: str = "#/$defs/D{}", **member: Any) -> Schema:
    """Returns a schema whose references lead through `links` others, each `times` times to the next."""
    shared: Schema = {
        f"D{n}": {"allOf": [{"$ref": reference.format(n + 1)}] * times, **{k: v.format(n) for k, v in member.items()}}
        for n in range(links)
    }
    last = {"type": "string", **{k: v.format(links) for k, v in member.items()}}
    return {"$defs": {**shared, f"D{links}": last}, "$ref": reference.format(0)}


def found(schema: Schema, value: Any) -> list[tuple[str, str]]:
    return [(each.field, each.description) for each in JsonSchema.compile(schema).violations(value)]


def test_a_value_that_fits_has_no_violations() -> None:
    schema = JsonSchema.compile({"type": "object", "properties": {"a": {"type": "integer"}}})
    assert schema.accepts({"a": 1})
    assert schema.violations({"a": 1}) == []


def test_every_violation_has_its_path() -> None:
    schema = {
        "type": "object",
        "required": ["name", "kind"],
        "properties": {
            "name": {"type": "string"},
            "rows": {"type": "array", "items": {"required": ["id"], "properties": {"n": {"maximum": 5}}}},
        },
        "additionalProperties": False,
    }
    wrong = {"name": 7, "rows": [{"id": 1}, {"n": 9}]}
    assert sorted(path for path, _ in found(schema, wrong)) == [
        "input.kind", "input.name", "input.rows[1].id", "input.rows[1].n",
    ]  # fmt: skip
    (violation,) = JsonSchema.compile({"type": "string"}).violations(1, "query.where")
    assert (violation.field, violation.reason) == ("query.where", "SCHEMA")


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, "hunter2"),
        ({"const": "x"}, "hunter2"),
        ({"enum": ["x", 1]}, "hunter2"),
        ({"maxLength": 2}, "hunter2"),
        ({"minLength": 20}, "hunter2"),
        ({"pattern": "^a"}, "hunter2"),
        ({"minimum": 99999999}, 7712377),
        ({"multipleOf": 2}, 7712377),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "hunter2"),
        ({"oneOf": [{"type": "string"}, {"maxLength": 99}]}, "hunter2"),
        ({"not": {"type": "string"}}, "hunter2"),
        ({"uniqueItems": True}, ["hunter2", "hunter2"]),
        ({"contains": {"const": 1}}, ["hunter2"]),
        ({"maxItems": 0}, ["hunter2"]),
        ({"maxProperties": 0}, {"a": "hunter2"}),
        ({"properties": {"a": {"type": "integer"}}}, {"a": "hunter2"}),
        ({"dependentRequired": {"a": ["b"]}}, {"a": "hunter2"}),
        ({"if": {"type": "string"}, "then": False}, "hunter2"),
        ({"contentEncoding": "base64", "type": "null"}, "hunter2"),
        ({"unevaluatedProperties": False}, {"a": "hunter2"}),
        ({"unevaluatedItems": False}, ["hunter2"]),
        ({"items": False}, ["hunter2"]),
    ],
)
def test_no_text_quotes_the_value(schema: Schema, value: Any) -> None:
    texts = [text for _, text in found(schema, value)]
    assert texts
    assert [text for text in texts if "hunter2" in text or "7712377" in text] == []


def test_the_list_of_violations_ends() -> None:
    schema = {"items": {"type": "string"}}
    assert len(JsonSchema.compile(schema).violations(list(range(10_000)))) == MAX_VIOLATIONS
    (text,) = [text for _, text in found({"enum": ["x" * 10_000]}, "y")]
    assert len(text) == 300


@pytest.mark.parametrize("pattern", ["(?!a)b", "(?<=a)b", r"(a)\1", "[", "a{1000}{1000}{1000}"])
def test_a_pattern_that_could_take_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(SchemaInvalid):
        JsonSchema.compile({"pattern": pattern})


def test_a_pattern_takes_linear_time() -> None:
    schema = JsonSchema.compile({"pattern": "^(a+)+$"})
    began = time.monotonic()
    assert not schema.accepts("a" * 100_000 + "b")
    assert time.monotonic() - began < 5, "a backtracking engine needs longer than the sun burns"


@pytest.mark.parametrize(
    "reference",
    ["https://example.com/a.json", "http://169.254.169.254/", "file:///etc/passwd", "a.json", "//host/a",
     "#/$defs/Gone", "urn:a:b", "#gone"],
)  # fmt: skip
def test_a_reference_out_of_the_document_is_refused(reference: str) -> None:
    with pytest.raises(SchemaInvalid):
        JsonSchema.compile({"properties": {"a": {"$ref": reference}}})


@pytest.mark.parametrize("schema", [{"type": "nope"}, {"$ref": 5}, {"required": "a"}, {"minimum": "1"}, [1], "x", 5,
                                    None, {"$schema": "https://example.com/own"}, {"allOf": 5},
                                    {"dependentSchemas": []}, {"properties": {"\ud800": 1}}])  # fmt: skip
def test_what_is_no_schema_is_refused(schema: Any) -> None:
    with pytest.raises(SchemaInvalid) as refused:
        JsonSchema.compile(schema)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) <= 300


@pytest.mark.parametrize("schema", [True, False])
def test_a_truth_value_is_a_schema(schema: bool) -> None:
    assert JsonSchema.compile(schema).accepts({"a": 1}) is schema


def test_the_effort_is_what_applies_to_one_value() -> None:
    assert effort({}) == 1
    assert effort({"allOf": [True, {"anyOf": [True, True]}], "not": {}}) == 6
    assert effort({"properties": {"a": {"allOf": [True]}, "b": {"allOf": [True]}}}) == 2
    # D10 is 1; what stands before it is itself, and two references to what follows; the document refers once more.
    value = 1
    for _ in range(10):
        value = 1 + 2 * (1 + value)
    assert effort(chain(10, 2)) == 1 + value


@pytest.mark.parametrize(
    "bomb",
    [
        chain(50, 2),
        chain(13, 3),
        {"properties": {"a": chain(50, 2, "#/properties/a/$defs/D{}")}},
        {**chain(50, 2, "#/definitions/D{}"), "definitions": chain(50, 2, "#/definitions/D{}")["$defs"]},
        chain(50, 2, "#anchor{}", **{"$anchor": "anchor{}"}),
        chain(50, 2, "https://example.com/{}", **{"$id": "https://example.com/{}"}),
        chain(50, 2, "#/%24defs/D{}"),
        {"$schema": "http://json-schema.org/draft-07/schema#", "dependencies": {"a": chain(50, 2)["$defs"]["D0"]},
         "$defs": chain(50, 2)["$defs"]},
        {"items": {"oneOf": [True] * (MAX_EFFORT + 1)}},
    ],
    ids=["doubling", "tripling", "by-pointer", "definitions", "anchors", "ids", "escaped", "dependencies", "wide"],
)  # fmt: skip
def test_references_that_multiply_are_refused(bomb: Schema) -> None:
    with pytest.raises(SchemaInvalid, match=f"more than {MAX_EFFORT} schemas"):
        JsonSchema.compile(bomb)


def test_long_chains_and_circles_are_no_bombs() -> None:
    assert JsonSchema.compile(chain(1_000, 1)).accepts("x")
    tree: Schema = {"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}, "additionalProperties": False}
    assert JsonSchema.compile(tree).accepts({"left": {"right": {}}})
    assert not JsonSchema.compile(tree).accepts({"left": {"right": {"x": 1}}})
    circle = {"$defs": {f"D{n}": {"$ref": f"#/$defs/D{(n + 1) % 500}"} for n in range(500)}, "$ref": "#/$defs/D0"}
    assert effort(circle) <= MAX_EFFORT


def test_values_nested_in_values_do_not_multiply() -> None:
    # Each level applies the same schema twice to the next: the validator has to remember what it has looked at.
    twice = {"properties": {"a": {"$ref": "#/$defs/N"}}}
    schema = JsonSchema.compile({"$defs": {"N": {"oneOf": [{**twice, "required": ["b"]}, twice]}}, "$ref": "#/$defs/N"})
    value: Any = {}
    for _ in range(32):
        value = {"a": value}
    began = time.monotonic()
    assert schema.accepts(value)
    assert time.monotonic() - began < 5


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["#", "#/a", "#/$defs/a", "string", "a"]),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["$ref", "$defs", "a", "allOf", "not", "if", "properties", "type", "$id", "$anchor",
                             "dependentSchemas", "dependencies"]),
            inner, max_size=4,
        ),
        max_leaves=15,
    )
)  # fmt: skip
def test_any_object_is_counted_and_is_compiled_or_refused(schema: Any) -> None:
    if isinstance(schema, dict):
        assert effort(schema) >= 1
    try:
        JsonSchema.compile(schema)
    except SchemaInvalid:
        return


def test_a_broken_place_is_named_in_the_schemas_own_words() -> None:
    ticket: Schema = {
        "type": "object",
        "required": ["id"],
        "properties": {"id": {"type": "integer"}, "properties": {"enum": [1]}, "gone": False},
        "additionalProperties": False,
    }
    schema: Schema = {
        "$defs": {"ticket": ticket},
        "properties": {
            "data": {"items": {"$ref": "#/$defs/ticket"}},
            "people": {"additionalProperties": {"allOf": [{"type": "object"}]}},
            "first": {"prefixItems": [{"type": "string"}]},
            "named": {"patternProperties": {"^x": {"type": "string"}}},
        },
    }
    value = {
        "data": [{"id": "canary"}, {"id": "canary"}, {"id": 1, "canary": 1}, {"properties": "canary", "gone": 1}],
        "people": {"canary@example.com": "canary"},
        "first": [1],
        "named": {"x-canary": 1},
    }
    broken = JsonSchema.compile(schema).broken(value)
    assert sorted(broken) == [
        ("output.data[]", "additionalProperties"),
        ("output.data[].gone", "false"),
        ("output.data[].id", "required"),
        ("output.data[].id", "type"),
        ("output.data[].properties", "enum"),
        ("output.first[]", "type"),
        ("output.named.*", "type"),
        ("output.people.*", "type"),
    ]
    assert "canary" not in str(broken)
    assert JsonSchema.compile(schema).broken({"data": [{"id": 1}]}) == []


def test_a_place_that_is_broken_very_often_is_named_once_and_soon() -> None:
    schema = JsonSchema.compile({"items": {"type": "string"}})
    assert schema.broken([1] * 200_000) == [("output[]", "type")]
    many = JsonSchema.compile({"required": [f"p{n}" for n in range(500)]})
    assert len(many.broken({})) == MAX_VIOLATIONS
