"""The Appsmith document of a form: the control for each field, within the rules of Appsmith's renderer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cordboard.uqi.drafts import Draft, Draftsman
from tests.unit.uqi.appsmith_rules import control, controls, problems
from tests.unit.uqi.samples import a_definition, an_auth_form, an_input, the_draft


def drawn(**properties: Any) -> dict[str, Any]:
    """The document of an action with these inputs, which keeps the rules."""
    document: dict[str, Any] = json.loads(the_draft(an_input(**properties)).appsmith)
    assert problems(document) == []
    return document


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, {"controlType": "QUERY_DYNAMIC_INPUT_TEXT"}),
        ({"type": "integer"}, {"controlType": "QUERY_DYNAMIC_INPUT_TEXT"}),
        ({"type": "boolean"}, {"controlType": "SWITCH"}),
        ({"type": "string", "maxLength": 9000}, {"controlType": "QUERY_DYNAMIC_TEXT"}),
        ({"type": "string", "format": "date"}, {"placeholderText": "2026-01-31"}),
        ({"type": "string", "format": "password"}, {"controlType": "INPUT_TEXT", "dataType": "PASSWORD"}),
        ({"type": "string", "format": "binary"}, {"controlType": "FILE_PICKER"}),
        ({"enum": ["a"]}, {"controlType": "DROP_DOWN", "isAllowClear": True}),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, {"controlType": "DROP_DOWN", "isMultiSelect": True}),
        ({"type": "array", "items": {"type": "string"}}, {"controlType": "QUERY_DYNAMIC_INPUT_TEXT"}),
        ({"type": "array", "items": an_input(a={"type": "string"})}, {"controlType": "ARRAY_FIELD"}),
        ({"type": "object", "additionalProperties": {"type": "string"}}, {"controlType": "KEYVALUE_ARRAY"}),
        ({"type": "object"}, {"controlType": "QUERY_DYNAMIC_TEXT", "inputType": "JSON"}),
        ({"type": ["string", "integer"]}, {"controlType": "QUERY_DYNAMIC_INPUT_TEXT"}),
    ],
)
def test_each_kind_of_field_has_its_control(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    found = control(drawn(thing=schema), "thing")
    assert expected.items() <= found.items()


def test_the_section_of_the_action_shows_for_its_command_alone() -> None:
    selector, section = drawn(thing={"type": "string"})["editor"]
    (command,) = selector["children"][0]["children"]
    assert command["options"] == [{"label": "Create thing 1", "value": "ACME_CREATE"}]
    assert section["conditionals"] == {"show": "{{actionConfiguration.formData.command === 'ACME_CREATE'}}"}
    assert [each["configProperty"] for each in controls({"editor": [section]})] == [
        "actionConfiguration.formData.ACME_CREATE.thing"
    ]


def test_a_default_is_there_from_the_start_in_the_words_of_its_control() -> None:
    document = drawn(
        size={"type": "integer", "default": 30},
        fast={"type": "boolean", "default": True},
        level={"enum": [1, 2], "default": 2},
        labels={"type": "array", "items": {"enum": ["a", "b"]}, "default": ["b"]},
        ids={"type": "array", "items": {"type": "integer"}, "default": [1, 2]},
        headers={"type": "object", "additionalProperties": {"type": "integer"}, "default": {"a": 1}},
        rows={"type": "array", "items": an_input(q={"type": "integer"}), "default": [{"q": 1}]},
    )
    found = {each["configProperty"].rpartition(".")[2]: each.get("initialValue") for each in controls(document)[1:]}
    assert found == {
        "size": "30", "fast": True, "level": "2", "labels": ["b"], "ids": "[1,2]",
        "headers": [{"key": "a", "value": "1"}], "rows": [{"p_q": "1"}],
    }  # fmt: skip


def test_an_optional_object_is_not_begun_by_the_defaults_within_it() -> None:
    document = drawn(options=an_input("mode", mode={"type": "string", "default": "x"}))
    found = control(document, "options.mode")
    assert "initialValue" not in found
    assert "isRequired" not in found


def test_a_required_object_has_required_fields_under_a_heading() -> None:
    given = {**an_input(ticket=an_input("subject", subject={"type": "string"})), "required": ["ticket"]}
    document = json.loads(the_draft(given).appsmith)
    assert problems(document) == []
    assert control(document, "ticket.subject")["isRequired"] is True
    assert document["editor"][1]["children"][0]["label"] == "Ticket"


def test_names_that_mean_something_to_a_client_get_safe_keys() -> None:
    reserved = ["data", "database", "__proto__", "constructor", "viewType"]
    names = [*reserved, "q", "Q", "page.size", "filter[status]", "1st", "Status", "status"]
    drawn(**{name: {"type": "string"} for name in names})


def test_options_of_any_type_are_distinct_strings() -> None:
    options = control(drawn(thing={"enum": [1, "1", True, "true", 1.5]}), "thing")["options"]
    assert [option["value"] for option in options] == ["1", "1 (2)", "true", "true (2)", "1.5"]


def test_a_long_list_of_options_is_text_and_a_loss() -> None:
    draft = the_draft(an_input(thing={"enum": [f"v{n}" for n in range(10_000)]}))
    assert draft.losses == ("Appsmith: thing: 10000 options; shown as text",)
    assert control(json.loads(draft.appsmith), "thing")["controlType"] == "QUERY_DYNAMIC_INPUT_TEXT"
    assert len(json.loads(draft.json_schema)["properties"]["thing"]["enum"]) == 10_000


def test_fields_beyond_what_a_page_can_hold_are_left_out_and_counted() -> None:
    draft = the_draft(an_input(**{f"field_{n}": {"type": "string"} for n in range(2_114)}))
    assert draft.losses == ("Appsmith: 114 fields beyond 2000 are not shown",)
    assert len(draft.appsmith) < 1_000_000


def test_text_from_a_definition_is_never_an_expression() -> None:
    attack = "{{globalThis.x=1}} {{{y}}}"
    definition = a_definition(
        an_input(
            attack,
            **{
                attack: {
                    "type": "string",
                    "title": attack,
                    "description": attack,
                    "default": attack,
                    "examples": [attack],
                }
            },
            pick={"oneOf": [{"const": attack, "title": attack}, {"const": "b"}], "default": attack},
            rows={"type": "array", "items": an_input(**{attack: {"enum": [attack]}})},
            nested=an_input(a={"type": "object", "title": attack, "default": {"a": attack}}),
        )
    )
    definition.actions[0].title = definition.actions[0].description = attack
    (draft,) = Draftsman(definition).drafts(["action.create"])
    assert isinstance(draft, Draft)
    assert problems(json.loads(draft.appsmith)) == []
    assert any("its default would be read as an expression" in loss for loss in draft.losses)


@pytest.mark.parametrize(
    ("kind", "paths"),
    [
        (
            {"api_key": {"name": "X-Key", "placement": "PLACEMENT_HEADER"}},
            {"authenticationType": "apiKey", "label": "X-Key", "addTo": "header", "value": None},
        ),
        (
            {"api_key": {"name": "key", "placement": "PLACEMENT_QUERY"}},
            {"authenticationType": "apiKey", "label": "key", "addTo": "queryParams", "value": None},
        ),
        ({"basic": {}}, {"authenticationType": "basic", "username": None, "password": None}),
        ({"bearer": {}}, {"authenticationType": "bearerToken", "bearerToken": None}),
        ({"oauth2": {"authorization_url": "https://a", "token_url": "https://t"}}, {"authenticationType": "oAuth2"}),
    ],
)
def test_an_auth_scheme_has_the_paths_of_a_datasource(kind: dict[str, Any], paths: dict[str, str | None]) -> None:
    document = json.loads(an_auth_form(**kind).appsmith)
    assert problems(document) == []
    prefix = "datasourceConfiguration.authentication."
    found = {each["configProperty"].removeprefix(prefix): each.get("initialValue") for each in controls(document)}
    assert found == paths


def test_text_of_an_auth_scheme_is_never_an_expression() -> None:
    attack = "{{x}}"
    draft = an_auth_form(
        title=attack, description=attack, api_key={"name": attack, "prefix": attack, "placement": "PLACEMENT_COOKIE"}
    )
    assert problems(json.loads(draft.appsmith)) == []
    assert len(draft.losses) == 2
    basic = an_auth_form(basic={"username_title": attack, "password_title": attack})
    assert problems(json.loads(basic.appsmith)) == []
