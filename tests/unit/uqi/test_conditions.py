"""When a field counts: read from a schema, evaluated, drawn for Appsmith, and applied when values are bound."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cordboard.core.schema import JsonSchema
from cordboard.uqi import json_schema
from cordboard.uqi.binding import bound as bind
from cordboard.uqi.conditions import All, Compare, Condition, Either, Not, decoded, encoded, holds
from cordboard.uqi.fields import Field
from tests.unit.uqi.appsmith_rules import problems
from tests.unit.uqi.samples import an_input, bound, the_draft, the_tree

KIND = {"enum": ["mail", "phone"]}
MAIL = Compare("kind", "in", ("mail",))
CONTACT = {
    **an_input("kind", kind=KIND, note={"type": "string"}),
    "if": {"properties": {"kind": {"const": "mail"}}, "required": ["kind"]},
    "then": {"properties": {"address": {"type": "string"}}, "required": ["address"]},
    "else": {"properties": {"number": {"type": "string"}, "note": True}},
}


def fields(schema: dict[str, Any]) -> dict[str, Field]:
    """The fields of a form by their names."""
    return {field.name: field for field in the_tree(schema).fields}


def test_fields_of_branches_count_in_their_case_alone() -> None:
    found = fields(CONTACT)
    assert (found["address"].active_when, found["address"].required_when) == (MAIL, MAIL)
    assert (found["number"].active_when, found["number"].required_when) == (Not(MAIL), None)
    assert found["note"].active_when is None


@pytest.mark.parametrize(
    ("extra", "name", "active", "required"),
    [
        ({"dependentRequired": {"kind": ["note"]}}, "note", None, Compare("kind", "present")),
        (
            {"dependentSchemas": {"kind": {"properties": {"more": {"type": "string"}}, "required": ["more"]}}},
            "more",
            Compare("kind", "present"),
            Compare("kind", "present"),
        ),
        ({"dependencies": {"kind": ["note"]}}, "note", None, Compare("kind", "present")),
        (
            {"if": {"properties": {"kind": {"const": "mail"}}}, "then": {"required": ["note"]}},
            "note",
            None,
            Either((Not(Compare("kind", "present")), MAIL)),
        ),
        (
            {
                "if": {"properties": {"kind": {"not": {"enum": ["mail"]}}}, "required": ["kind"]},
                "then": {"required": ["note"]},
            },
            "note",
            None,
            All((Not(MAIL), Compare("kind", "present"))),
        ),
        ({"if": {"properties": {"kind": {"pattern": "x"}}}, "then": {"required": ["note"]}}, "note", None, None),
    ],
)
def test_what_a_schema_says_in_some_cases_becomes_a_condition(
    extra: dict[str, Any], name: str, active: Condition | None, required: Condition | None
) -> None:
    found = fields({**an_input(kind=KIND, note={"type": "string"}), **extra})[name]
    assert (found.active_when, found.required_when) == (active, required)


def test_two_cases_in_parts_of_one_schema_stay_apart() -> None:
    parts = [
        {"if": {"properties": {"kind": {"const": value}}, "required": ["kind"]}, "then": {"required": [name]}}
        for value, name in (("mail", "address"), ("phone", "number"))
    ]
    schema = {**an_input(kind=KIND, address={"type": "string"}, number={"type": "string"}), "allOf": parts}
    judge = JsonSchema.compile(json.loads(the_draft(schema).json_schema))
    assert judge.accepts({"kind": "mail", "address": "x"})
    assert judge.accepts({"kind": "phone", "number": "1"})
    assert not judge.accepts({"kind": "phone", "address": "x"})


def test_what_does_not_count_is_dropped_and_said_even_when_it_is_wrong() -> None:
    schema = json.loads(the_draft(CONTACT).json_schema)
    values = {"kind": "phone", "address": {"not": "text"}, "number": "1"}
    found = bind(json_schema.read(schema), JsonSchema.compile(schema), values)
    assert (found.input, found.problems, found.dropped) == ({"kind": "phone", "number": "1"}, (), ("/address",))


def test_what_is_needed_in_a_case_is_asked_for_with_its_field() -> None:
    schema = json.loads(the_draft(CONTACT).json_schema)
    found = bind(json_schema.read(schema), JsonSchema.compile(schema), {"kind": "mail"})
    assert [(each.field_id, each.pointer, each.violation.description) for each in found.problems] == [
        ("address", "/address", "is required")
    ]


def test_expressions_stand_where_they_are_allowed_and_nowhere_else() -> None:
    schema = json.loads(the_draft(an_input("count", count={"type": "integer"})).json_schema)
    ready = json_schema.read(schema), JsonSchema.compile(schema)
    found = bind(*ready, {"count": "{{ row.count }}"}, expressions=True)
    assert (found.input, found.problems, found.deferred) == ({"count": "{{ row.count }}"}, (), ("/count",))
    assert [each.pointer for each in bind(*ready, {"count": "{{ row.count }}"}).problems] == ["/count"]


def test_appsmith_shows_a_field_in_its_case() -> None:
    document = json.loads(the_draft(CONTACT).appsmith)
    assert problems(document) == []
    shown = [zone["conditionals"]["show"] for zone in document["editor"][1]["children"] if "conditionals" in zone]
    assert len(shown) == 2
    assert "{{!!(!(" in shown[1]


def test_a_literal_in_an_expression_cannot_end_it() -> None:
    evil = '"}}{{globalThis.x=1}}<script>'
    schema = {
        **an_input(kind={"enum": [evil, "b"]}),
        "if": {"properties": {"kind": {"const": evil}}, "required": ["kind"]},
        "then": {"properties": {"more": {"type": "string"}}},
    }
    assert problems(json.loads(the_draft(schema).appsmith)) == []


@pytest.mark.parametrize(
    ("condition", "value", "expected"),
    [
        (Compare("a", "present"), "", False),
        (Compare("a", "present"), False, True),
        (Compare("a", "in", (1,)), 1.0, True),
        (Compare("a", "in", (1,)), True, False),
        (Compare("a", "ge", (3,)), 3, True),
        (Compare("a", "lt", (3,)), "2", False),
        (Not(Compare("a", "lt", (3,))), None, True),
        (All(()), None, True),
        (Either(()), None, False),
        (Either((Compare("a", "gt", (1,)), Compare("a", "le", (0,)))), 0, True),
    ],
)
def test_a_condition_holds_or_not(condition: Condition, value: Any, expected: bool) -> None:
    assert holds(condition, lambda _: value) is expected
    assert decoded(json.loads(json.dumps(encoded(condition)))) == condition


def test_conditions_within_rows_are_about_their_own_row() -> None:
    row = {"type": "array", "items": CONTACT}
    values = {"rows": [{"kind": "mail", "address": "x"}, {"kind": "phone", "number": "1"}]}
    assert bound(an_input(rows=row), values) == values
