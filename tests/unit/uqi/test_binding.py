"""Binding: what people filled in, however a client sends it, becomes the action's input; every violation at once."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from cordboard.core.errors import InvalidFields
from cordboard.core.schema import JsonSchema
from cordboard.core.structs import from_struct, to_struct
from cordboard.uqi import json_schema
from cordboard.uqi.binding import MAX_DEPTH, bind
from cordboard.uqi.v1 import form_service_pb2 as pb
from tests.unit.uqi.samples import an_auth_form, an_input, bound

TICKET = an_input(
    "subject",
    subject={"type": "string", "minLength": 1},
    count={"type": "integer", "minimum": 1},
    ratio={"type": "number"},
    urgent={"type": "boolean"},
    level={"enum": [1, 2, "high"]},
    labels={"type": "array", "items": {"enum": ["a", "b", "c, d"]}},
    ids={"type": "array", "items": {"type": "integer"}},
    due={"type": "string", "format": "date-time"},
    headers={"type": "object", "additionalProperties": {"type": "string"}},
    rows={"type": "array", "items": an_input("k", k={"type": "string"}, n={"type": "integer"})},
    where=an_input("city", city={"type": "string"}, zip={"type": "string"}),
    free={"description": "anything"},
    photo={"type": "string", "format": "binary"},
)


def as_appsmith(**branch: Any) -> dict[str, Any]:
    """Form data as Appsmith keeps it."""
    return {"command": "ACME_CREATE", "ACME_CREATE": branch, "ACME_OTHER": {"left": "behind"}}


def refused(given: dict[str, Any], values: dict[str, Any], schemas: dict[str, Any] | None = None) -> dict[str, str]:
    """The violations of the values, by field."""
    with pytest.raises(InvalidFields) as caught:
        bound(given, values, schemas)
    return {violation.field: violation.description for violation in caught.value.violations}


@pytest.mark.parametrize(
    ("filled", "expected"),
    [
        ({"count": "5"}, {"count": 5}),
        ({"count": " 5.0 "}, {"count": 5}),
        ({"ratio": "1.5e2"}, {"ratio": 150}),
        ({"ratio": ".5"}, {"ratio": 0.5}),
        ({"urgent": "false"}, {"urgent": False}),
        ({"urgent": "True"}, {"urgent": True}),
        ({"urgent": False}, {"urgent": False}),
        ({"level": "2"}, {"level": 2}),
        ({"level": "high"}, {"level": "high"}),
        ({"labels": ["a", "b"]}, {"labels": ["a", "b"]}),
        ({"labels": '["c, d"]'}, {"labels": ["c, d"]}),
        ({"labels": "c, d"}, {"labels": ["c, d"]}),
        ({"labels": "a, b"}, {"labels": ["a", "b"]}),
        ({"ids": "[1, 2]"}, {"ids": [1, 2]}),
        ({"ids": "1, 2"}, {"ids": [1, 2]}),
        ({"ids": ["1", 2]}, {"ids": [1, 2]}),
        ({"due": "2026-01-31T09:30"}, {"due": "2026-01-31T09:30"}),
        ({"headers": [{"key": "a", "value": "1"}, {"key": "", "value": ""}]}, {"headers": {"a": "1"}}),
        ({"headers": '{"a": "1"}'}, {"headers": {"a": "1"}}),
        ({"rows": [{"p_k": "x", "p_n": "3"}, {"path": "", "value": ""}]}, {"rows": [{"k": "x", "n": 3}]}),
        ({"rows": '[{"k": "x", "n": 3}]'}, {"rows": [{"k": "x", "n": 3}]}),
        ({"where": {"city": "Bonn", "zip": ""}}, {"where": {"city": "Bonn"}}),
        ({"where": {"city": "", "zip": ""}}, {}),
        ({"where": '{"city": "Bonn"}'}, {"where": {"city": "Bonn"}}),
        ({"free": '{"a": [1]}'}, {"free": {"a": [1]}}),
        ({"free": "plain words"}, {"free": "plain words"}),
        ({"photo": {"name": "x.png", "base64Content": "data:image/png;base64,aGk="}}, {"photo": "aGk="}),
        ({"photo": ""}, {}),
        ({"count": "", "urgent": "", "level": "", "ids": "", "due": "", "headers": "", "rows": "", "free": ""}, {}),
        ({"count": None, "where": None, "free": None}, {}),
    ],
)
def test_what_appsmith_keeps_becomes_the_input(filled: dict[str, Any], expected: dict[str, Any]) -> None:
    assert bound(TICKET, as_appsmith(subject="hi", **filled)) == {"subject": "hi", **expected}


@pytest.mark.parametrize(
    ("filled", "expected"),
    [
        (
            {"count": 5, "ratio": 1.5, "urgent": True, "level": 2},
            {"count": 5, "ratio": 1.5, "urgent": True, "level": 2},
        ),
        ({"count": "5"}, {"count": 5}),
        ({"due": ""}, {}),
        ({"headers": {"a": "1"}}, {"headers": {"a": "1"}}),
        ({"rows": [{"k": "x"}]}, {"rows": [{"k": "x"}]}),
        ({"where": {"city": "Bonn"}}, {"where": {"city": "Bonn"}}),
        ({"free": "[1]"}, {"free": "[1]"}),
        ({"free": [1, {"a": None}]}, {"free": [1, {"a": None}]}),
        ({"photo": "aGk="}, {"photo": "aGk="}),
        ({"photo": "_-8="}, {"photo": "_-8="}),
    ],
)
def test_values_by_the_json_schema_become_the_input(filled: dict[str, Any], expected: dict[str, Any]) -> None:
    assert bound(TICKET, {"subject": "hi", **filled}) == {"subject": "hi", **expected}


@pytest.mark.parametrize(
    ("filled", "field"),
    [
        ({"count": "five"}, "values.count"),
        ({"count": "0"}, "values.count"),
        ({"count": "9007199254740993"}, "values.count"),
        ({"count": True}, "values.count"),
        ({"ratio": "1e999"}, "values.ratio"),
        ({"ratio": "NaN"}, "values.ratio"),
        ({"urgent": "maybe"}, "values.urgent"),
        ({"level": "3"}, "values.level"),
        ({"labels": ["z"]}, "values.labels[0]"),
        ({"ids": "[1, x]"}, "values.ids"),
        ({"ids": [1, "x"]}, "values.ids[1]"),
        ({"due": "tomorrow"}, "values.due"),
        ({"headers": {"a": 1}}, "values.headers.a"),
        ({"rows": [{"n": 1}]}, "values.rows[0].k"),
        ({"rows": [{"k": "x", "m": 1}]}, "values.rows[0].m"),
        ({"rows": "[{]"}, "values.rows"),
        ({"where": {"zip": "1"}}, "values.where.city"),
        ({"where": ["a"]}, "values.where"),
        ({"where": {"city": "x", "planet": 1}}, "values.where.planet"),
        ({"photo": "not base64!"}, "values.photo"),
        ({"photo": {"name": "x"}}, "values.photo"),
        ({"nonsense": 1}, "values.nonsense"),
    ],
)
def test_a_value_that_does_not_fit_is_named(filled: dict[str, Any], field: str) -> None:
    assert list(refused(TICKET, {"subject": "hi", **filled})) == [field]


def test_every_violation_comes_at_once() -> None:
    found = refused(TICKET, as_appsmith(count="x", urgent="y", where={"zip": "1"}, bogus="z"))
    assert set(found) == {"values.subject", "values.count", "values.urgent", "values.where.city", "values.bogus"}
    assert found["values.subject"] == "is required"


def test_a_violation_never_quotes_the_value() -> None:
    secret = "hunter2-hunter2"
    given = dict.fromkeys(TICKET["properties"], secret) | {"unknown": secret}
    assert not any(secret in text for text in refused(TICKET, given).values())


def test_rows_of_a_map_need_keys_and_each_key_once() -> None:
    rows = [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}, {"key": "", "value": "3"}, "x"]
    found = refused(TICKET, as_appsmith(subject="hi", headers=rows))
    assert set(found) == {"values.headers[1]", "values.headers[2]", "values.headers[3]"}


def test_another_command_is_refused() -> None:
    assert list(refused(TICKET, {"command": "ACME_OTHER", "ACME_OTHER": {}})) == ["values.command"]


def test_an_action_may_have_an_input_called_command() -> None:
    given = an_input("command", command={"type": "string"}, text={"type": "string"})
    assert bound(given, {"command": "/remind", "text": "x"}) == {"command": "/remind", "text": "x"}
    keyed = {"command": "ACME_CREATE", "ACME_CREATE": {"p_command": "/remind", "text": "x"}}
    assert bound(given, keyed) == {"command": "/remind", "text": "x"}


def test_defaults_fill_what_is_missing_and_no_optional_object() -> None:
    given = an_input(
        size={"type": "integer", "default": 30},
        kind={"type": "string", "default": "x"},
        options=an_input(mode={"type": "string", "default": "y"}, speed={"type": "integer"}),
    )
    assert bound(given, {"kind": ""}) == {"size": 30, "kind": "x"}
    assert bound(given, {"size": 5, "options": {"speed": 1}}) == {
        "size": 5, "kind": "x", "options": {"mode": "y", "speed": 1},
    }  # fmt: skip


def test_a_required_constant_fills_itself_in() -> None:
    assert bound(an_input("kind", kind={"const": "ticket"}), {}) == {"kind": "ticket"}


def test_an_empty_text_is_a_value_where_it_is_required_or_can_be_chosen() -> None:
    given = an_input("body", body={"type": "string"}, tone={"enum": ["", "dark"]}, note={"type": "string"})
    assert bound(given, {"body": "", "tone": "", "note": ""}) == {"body": "", "tone": ""}


def test_null_is_a_value_where_the_schema_has_it() -> None:
    given = an_input(a={"type": ["string", "null"]}, b={"type": "string"})
    assert bound(given, {"a": None}) == {"a": None}
    assert list(refused(given, {"b": None})) == ["values.b"]


def test_a_json_field_takes_what_its_union_takes() -> None:
    given = an_input(to={"oneOf": [{"type": "integer"}, {"type": "string", "pattern": "^@"}]})
    keyed = [{"command": "ACME_CREATE", "ACME_CREATE": {"to": text}} for text in ("12", "@me", "me")]
    assert [bound(given, values) for values in keyed[:2]] == [{"to": 12}, {"to": "@me"}]
    assert list(refused(given, keyed[2])) == ["values.to"]


def test_a_list_of_words_or_objects_can_be_typed_as_words() -> None:
    given = an_input(labels={"type": "array", "items": {"oneOf": [{"type": "string"}, {"type": "object"}]}})
    for typed, expected in (("bug, ui", ["bug", "ui"]), ('["bug", {"id": 1}]', ["bug", {"id": 1}])):
        assert bound(given, as_appsmith(labels=typed)) == {"labels": expected}


def test_a_json_field_refuses_text_that_is_no_json_where_only_structure_fits() -> None:
    for text in ("{", "NaN", '{"a": NaN}', '"\\ud800"', "[" * 100_000):
        assert list(refused(an_input(thing={"type": "object"}), {"thing": text})) == ["values.thing"]


def test_whole_numbers_that_a_message_cannot_carry_exactly_are_refused_in_json_too() -> None:
    assert list(refused(an_input(thing={"type": "object"}), {"thing": '{"id": 9007199254740993}'})) == ["values.thing"]
    assert bound(an_input(thing={"type": "object"}), {"thing": '{"id": 9007199254740991}'}) == {
        "thing": {"id": 9007199254740991}
    }


def nested(levels: int) -> Any:
    """Objects within objects."""
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def test_values_nested_too_deeply_are_refused() -> None:
    assert bound(an_input(free={}), {"free": nested(MAX_DEPTH - 1)})
    assert list(refused(an_input(free={}), {"free": nested(MAX_DEPTH)})) == ["values"]


def test_the_deepest_input_travels_in_a_message() -> None:
    message = pb.BindFormResponse(input=to_struct(bound(an_input(free={}), {"free": nested(MAX_DEPTH - 1)})))
    read = pb.BindFormResponse.FromString(message.SerializeToString())
    assert from_struct(read.input) == {"free": nested(MAX_DEPTH - 1)}


@pytest.mark.parametrize("value", [math.nan, math.inf, "\ud800"])
def test_values_that_are_not_json_are_refused(value: Any) -> None:
    assert list(refused(an_input(free={}), {"free": value})) == ["values"]


def test_a_recursive_input_is_judged_to_its_depth() -> None:
    node = an_input(name={"type": "string"}, child={"$ref": "#/$defs/Node"})
    given = an_input(root={"$ref": "#/$defs/Node"})
    assert bound(given, {"root": {"child": {"child": {"name": "x"}}}}, {"Node": node})
    assert "values.root.child.child.name" in refused(given, {"root": {"child": {"child": {"name": 1}}}}, {"Node": node})


def bound_scheme(values: dict[str, Any], **kind: Any) -> dict[str, Any]:
    """What the values mean for an auth scheme of that kind."""
    schema = json.loads(an_auth_form(**kind).json_schema)
    return bind(json_schema.read(schema), JsonSchema.compile(schema), values)


def test_an_auth_form_binds_by_name_and_as_appsmith_keeps_a_datasource() -> None:
    authentication = {"authenticationType": "basic", "username": "me", "password": "pw", "secretExists": {}}
    expected = {"username": "me", "password": "pw"}
    assert bound_scheme(expected, basic={}) == expected
    assert bound_scheme({"datasourceConfiguration": {"authentication": authentication}}, basic={}) == expected


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "values.token"),
        ({"token": ""}, "values.token"),
        ({"token": "t", "extra": 1}, "values.extra"),
        ({"datasourceConfiguration": {"authentication": 1}}, "values.datasourceConfiguration"),
        ({"datasourceConfiguration": 1}, "values.datasourceConfiguration"),
        (
            {"datasourceConfiguration": {"authentication": {"authenticationType": "basic", "bearerToken": "t"}}},
            "values.datasourceConfiguration.authentication.authenticationType",
        ),
    ],
)
def test_an_auth_form_refuses_what_does_not_fit(values: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        bound_scheme(values, bearer={})
    assert [violation.field for violation in caught.value.violations] == [field]
