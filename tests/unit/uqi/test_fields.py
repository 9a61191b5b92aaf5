"""From a JSON Schema to typed fields: each kind, and what is recorded where a form cannot show the schema as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cordboard.core.schema import JsonSchema
from cordboard.uqi import json_schema
from cordboard.uqi.fields import (
    Boolean,
    Choice,
    Entries,
    File,
    Given,
    Group,
    Integer,
    Items,
    Json,
    Kind,
    Moment,
    MultiChoice,
    Number,
    Option,
    Secret,
    Text,
    Union,
)
from tests.unit.uqi.samples import an_input, the_draft, the_field, the_tree

RED_BLUE = (Option("red", "red"), Option("blue", "blue"))


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, Text()),
        ({"type": "string", "maxLength": 5000}, Text(multiline=True)),
        ({"type": "string", "contentMediaType": "text/markdown"}, Text(multiline=True)),
        ({"type": "number"}, Number()),
        ({"type": "integer", "minimum": 1}, Integer()),
        ({"type": "boolean"}, Boolean()),
        ({"type": "string", "format": "date"}, Moment("date")),
        ({"type": "string", "format": "time"}, Moment("time")),
        ({"type": "string", "format": "date-time"}, Moment("date-time")),
        ({"type": "string", "format": "password"}, Secret()),
        ({"type": "string", "format": "binary"}, File()),
        ({"type": "string", "contentEncoding": "base64"}, File()),
        ({"enum": ["red", "blue"]}, Choice(RED_BLUE)),
        ({"type": "string", "enum": ["red", "blue", "red"]}, Choice(RED_BLUE)),
        ({"const": 3}, Choice((Option(3, "3"),))),
        ({"enum": [1, True, "1"]}, Choice((Option(1, "1"), Option(True, "true"), Option("1", "1")))),
        ({"oneOf": [{"const": "r", "title": "Red"}, {"const": "b"}]}, Choice((Option("r", "Red"), Option("b", "b")))),
        ({"type": "array", "items": {"enum": ["red", "blue"]}}, MultiChoice(RED_BLUE)),
        ({"type": "object"}, Json(("object",))),
        ({"type": "object", "properties": {}}, Json(("object",))),
        ({}, Json()),
        (True, Json()),
        ({"type": ["string", "integer"]}, Json(("string", "integer"))),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, Json(("string", "integer"))),
        ({"enum": [{"a": 1}, {"a": 2}]}, Json()),
    ],
)
def test_a_schema_becomes_a_field_of_its_kind(schema: Any, kind: Kind) -> None:
    assert the_field(schema).kind == kind


def test_a_list_has_the_field_of_its_items() -> None:
    kind = the_field({"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1}).kind
    assert isinstance(kind, Items)
    assert kind.item.kind == Integer()
    assert kind.item.constraints == {"minimum": 1}


def test_a_map_has_the_field_of_its_values() -> None:
    kind = the_field({"type": "object", "additionalProperties": {"type": "boolean"}}).kind
    assert isinstance(kind, Entries)
    assert kind.value.kind == Boolean()


def test_an_object_is_a_group_of_fields_with_required_ones_first() -> None:
    kind = the_field(an_input("second", first={"type": "string"}, second={"type": "integer"})).kind
    assert isinstance(kind, Group)
    assert [(each.name, each.required, each.path) for each in kind.fields] == [
        ("second", True, ("thing", "second")),
        ("first", False, ("thing", "first")),
    ]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["string", "null"]},
        {"type": "string", "nullable": True},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"oneOf": [{"$ref": "#/$defs/Name"}, {"enum": [None]}]},
        {"$ref": "#/$defs/MaybeName"},
        {"allOf": [{"$ref": "#/$defs/MaybeName"}], "description": "who"},
    ],
)
def test_null_beside_a_type_makes_a_nullable_field_of_that_type(schema: dict[str, Any]) -> None:
    field = the_field(schema, {"Name": {"type": "string"}, "MaybeName": {"type": ["string", "null"]}})
    assert (field.kind, field.nullable) == (Text(), True)


def test_null_among_the_values_makes_a_nullable_choice() -> None:
    field = the_field({"enum": ["red", "blue", None]})
    assert (field.kind, field.nullable) == (Choice(RED_BLUE), True)


def test_a_type_that_forbids_null_is_not_made_nullable_by_a_part_that_allows_it() -> None:
    assert not the_field({"allOf": [{"type": ["string", "null"]}, {"type": "string"}]}).nullable


def test_all_of_is_put_together() -> None:
    schema = {"allOf": [{"$ref": "#/$defs/Base"}, {"properties": {"b": {"type": "integer"}}, "required": ["b"]}]}
    kind = the_field(schema, {"Base": an_input("a", a={"type": "string", "maxLength": 9})}).kind
    assert isinstance(kind, Group)
    assert [(each.name, each.kind, each.required) for each in kind.fields] == [
        ("a", Text(), True),
        ("b", Integer(), True),
    ]


def test_of_two_limits_the_tighter_one_holds() -> None:
    field = the_field({"allOf": [{"type": "integer", "minimum": 1}, {"type": "number", "minimum": 5, "maximum": 9}]})
    assert (field.kind, field.constraints) == (Integer(), {"minimum": 5, "maximum": 9})


def test_parts_that_exclude_each_other_become_json_and_a_loss() -> None:
    draft = the_draft(an_input(thing={"allOf": [{"type": "string"}, {"type": "integer"}]}))
    assert any(loss.startswith("thing:") for loss in draft.losses)


def test_branches_that_only_require_leave_the_fields_and_are_still_checked() -> None:
    schema = {
        **an_input(a={"type": "string"}, b={"type": "string"}),
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    }
    assert isinstance(the_field(schema).kind, Group)
    judge = JsonSchema.compile(json.loads(the_draft(an_input(thing=schema)).json_schema))
    assert judge.accepts({"thing": {"a": "x"}})
    assert not judge.accepts({"thing": {}})


def test_what_the_api_only_answers_with_is_not_asked_for() -> None:
    tree = the_tree(an_input("id", "name", id={"type": "string", "readOnly": True}, name={"type": "string"}))
    assert [field.name for field in tree.fields] == ["name"]


def test_a_label_is_the_title_or_made_from_the_name_and_never_a_shared_type_s() -> None:
    schemas = {"Ticket": {"title": "Simple Ticket", "description": "A ticket.", "type": "string"}}
    given = an_input(assignee_id={"$ref": "#/$defs/Ticket"}, q={"type": "string", "title": "Search for"})
    assert [(each.title, each.description) for each in the_tree(given, schemas).fields] == [
        ("Assignee id", "A ticket."),
        ("Search for", ""),
    ]


def test_a_union_of_objects_has_a_variant_for_each_and_its_schema_decides() -> None:
    cat, dog = an_input("meow", meow={"type": "boolean"}), an_input("bark", bark={"type": "boolean"})
    given = an_input(pet={"oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]})
    draft = the_draft(given, {"Cat": cat, "Dog": dog, "Unused": {"type": "string"}})
    assert draft.losses == ()
    schema = json.loads(draft.json_schema)
    (pet,) = json_schema.read(schema).fields
    assert isinstance(pet.kind, Union)
    assert [(each.key, each.title, each.id) for each in pet.kind.variants] == [
        ("Cat", "Cat", "pet.Cat"),
        ("Dog", "Dog", "pet.Dog"),
    ]
    assert set(schema["$defs"]) == {"Cat", "Dog"}
    judge = JsonSchema.compile(schema)
    assert judge.accepts({"pet": {"bark": True}})
    assert not judge.accepts({"pet": {"moo": True}})


def test_a_schema_within_itself_becomes_json_where_it_comes_round() -> None:
    node = an_input(name={"type": "string"}, child={"$ref": "#/$defs/Node"})
    draft = the_draft(an_input(root={"$ref": "#/$defs/Node"}), {"Node": node})
    assert draft.losses == ("root.child: contains itself; shown as JSON",)
    judge = JsonSchema.compile(json.loads(draft.json_schema))
    assert judge.accepts({"root": {"child": {"child": {"name": "x"}}}})
    assert not judge.accepts({"root": {"child": {"child": {"name": 1}}}})


def test_an_input_may_refer_to_itself_and_to_its_own_schemas() -> None:
    given = {**an_input(name={"$ref": "#/$defs/Name"}, again={"$ref": "#"}), "$defs": {"Name": {"type": "string"}}}
    judge = JsonSchema.compile(json.loads(the_draft(given).json_schema))
    assert judge.accepts({"name": "x", "again": {"name": "y"}})
    assert not judge.accepts({"name": "x", "again": {"name": 1}})


def test_what_is_nested_too_deeply_becomes_json_and_a_loss() -> None:
    given = an_input(a=an_input(b=an_input(c=an_input(d=an_input(e={"type": "string"})))))
    assert the_draft(given).losses == ("a.b.c.d: is nested more than 3 levels deep; shown as JSON",)


def test_nested_fields_beyond_the_limit_become_json_and_top_level_ones_never_do() -> None:
    part = an_input(**{f"field_{n}": {"type": "string"} for n in range(25)})
    tree = the_tree(
        an_input(**{f"part_{n}": part for n in range(4)}, **{f"top_{n}": {"type": "string"} for n in range(99)})
    )
    kinds = [type(field.kind) for field in tree.fields]
    assert (kinds.count(Group), kinds.count(Json), kinds.count(Text)) == (2, 2, 99)


@pytest.mark.parametrize(
    ("schema", "default"),
    [
        ({"type": "integer", "default": 30}, Given(30)),
        ({"type": "integer", "default": "30"}, Given(30)),
        ({"type": "boolean", "default": "false"}, Given(False)),
        ({"type": ["string", "null"], "default": None}, Given(None)),
        ({"type": "string", "enum": ["a"], "default": "b"}, None),
        ({"type": "integer", "default": "many"}, None),
        ({"type": "string", "format": "password", "default": "hunter2"}, None),
    ],
)
def test_a_default_is_kept_when_it_fits_its_own_schema_and_is_no_secret(
    schema: dict[str, Any], default: Given | None
) -> None:
    assert the_field(schema).default == default


def test_a_required_constant_is_its_own_default() -> None:
    (field,) = the_tree(an_input("kind", kind={"const": "ticket"})).fields
    assert field.default == Given("ticket")


def test_the_json_schema_says_the_whole_form_and_reads_back_as_the_same() -> None:
    given = an_input(
        "q",
        **{"page[size]": {"type": "integer", "default": 5}, "X-Trace": {"type": ["string", "null"], "format": "date"}},
        q={"type": "string", "deprecated": True, "examples": ["x"]},
        labels={"type": "array", "items": {"enum": ["a", "b"]}, "uniqueItems": True},
        rows={"type": "array", "items": an_input("a", a={"type": "string", "pattern": "^x"})},
        extra={"type": "object", "additionalProperties": {"type": "number"}},
        any={"description": "whatever"},
        colour={"oneOf": [{"const": 1, "title": "Red"}, {"const": 2, "title": "Blue"}, {"type": "null"}]},
        nested={**an_input(a={"type": "string"}), "additionalProperties": True, "minProperties": 1},
    )
    schema = json.loads(the_draft(given).json_schema)
    assert json_schema.project(json_schema.read(schema)) == schema
