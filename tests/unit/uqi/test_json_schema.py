"""The JSON Schema of a form: what it accepts, and what is kept of schemas that are not sound."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cordboard.core.schema import JsonSchema, effort
from tests.unit.uqi.samples import an_auth_form, an_input, the_draft


def test_a_form_takes_its_own_fields_and_no_others() -> None:
    judge = JsonSchema.compile(json.loads(the_draft(an_input("a", a={"type": "string"})).json_schema))
    assert judge.accepts({"a": "x"})
    assert not judge.accepts({"a": "x", "b": 1})
    assert not judge.accepts({})


def test_an_action_without_an_input_schema_takes_an_empty_object() -> None:
    judge = JsonSchema.compile(json.loads(the_draft("").json_schema))
    assert judge.accepts({})
    assert not judge.accepts({"a": 1})


@pytest.mark.parametrize(
    ("schema", "loss"),
    [
        ({"type": "string", "pattern": "(?!a)b"}, "thing: has a pattern that cannot be checked in linear time"),
        ({"type": "file"}, "thing: has a malformed type"),
        ({"type": "string", "minLength": "3"}, "thing: has a malformed minLength"),
        ({"type": "integer", "minimum": "1"}, "thing: has a malformed minimum"),
        ({"type": "string", "enum": []}, "thing: has a malformed enum"),
        ({"$ref": "https://example.com/x.json"}, "thing: refers to something outside the definition"),
        ({"$ref": "#/$defs/Gone"}, "thing: refers to '#/$defs/Gone', which does not exist"),
        ("string", "thing: is not a schema"),
    ],
)
def test_an_unsound_keyword_is_left_out_and_named(schema: Any, loss: str) -> None:
    draft = the_draft(an_input(thing=schema))
    assert loss in draft.losses
    JsonSchema.compile(json.loads(draft.json_schema))


def test_required_written_as_a_truth_value_is_no_loss() -> None:
    assert the_draft(an_input(thing={"type": "string", "required": True})).losses == ()


@pytest.mark.parametrize("text", ["{", "[]", "NaN", '{"default": NaN}', "true", '{"title": "\\ud800"}'])
def test_an_input_schema_that_cannot_be_read_leaves_a_form_without_fields(text: str) -> None:
    draft = the_draft(text)
    assert draft.losses[0].startswith("the input schema: ")
    assert json.loads(draft.json_schema)["properties"] == {}


def test_shared_schemas_that_cannot_be_read_are_named_in_every_form() -> None:
    assert the_draft(an_input(a={"$ref": "#/$defs/A"}), "{").losses[0].startswith("the shared schemas")


def test_the_effort_of_a_schema_counts_what_is_applied_to_one_value() -> None:
    assert effort({"allOf": [True, {"anyOf": [True, True]}]}) == 5
    assert effort({"properties": {"a": {"allOf": [True]}, "b": {"allOf": [True]}}}) == 2


def test_references_that_double_at_each_step_are_not_checked_at_all() -> None:
    chain = {f"D{n}": {"allOf": [{"$ref": f"#/$defs/D{n + 1}"}] * 2} for n in range(40)}
    draft = the_draft(
        an_input(bomb={"type": "array", "items": {"$ref": "#/$defs/D0"}}), {**chain, "D40": {"type": "string"}}
    )
    assert any("checked when the action runs" in loss for loss in draft.losses)
    # Without the guard this takes hours.
    assert JsonSchema.compile(json.loads(draft.json_schema)).accepts({"bomb": ["x"]})


@pytest.mark.parametrize(
    ("kind", "properties"),
    [
        ({"api_key": {"name": "X-Key", "placement": "PLACEMENT_HEADER"}}, ["api_key"]),
        ({"basic": {}}, ["username", "password"]),
        ({"bearer": {}}, ["token"]),
        ({"oauth2": {"authorization_url": "https://a", "token_url": "https://t"}}, []),
        ({"none": {}}, []),
    ],
)
def test_an_auth_scheme_asks_for_what_a_connect_session_takes(kind: dict[str, Any], properties: list[str]) -> None:
    schema = json.loads(an_auth_form(**kind).json_schema)
    assert list(schema["properties"]) == properties
    assert schema.get("required", []) == properties


def test_every_secret_of_an_auth_scheme_is_write_only() -> None:
    kinds: list[dict[str, Any]] = [{"api_key": {"name": "k"}}, {"basic": {}}, {"bearer": {}}]
    for kind in kinds:
        properties = json.loads(an_auth_form(**kind).json_schema)["properties"]
        secrets = {name: each for name, each in properties.items() if name != "username"}
        assert secrets
        assert all(each["writeOnly"] and each["format"] == "password" for each in secrets.values())


def test_the_words_of_a_scheme_name_its_fields() -> None:
    properties = json.loads(
        an_auth_form(basic={"username_title": "E-mail", "password_title": "API token"}).json_schema
    )["properties"]
    assert [each["title"] for each in properties.values()] == ["E-mail", "API token"]
