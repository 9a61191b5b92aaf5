"""What was bound is answered without its secrets, wherever the form has them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cordboard.core.schema import JsonSchema
from cordboard.uqi import json_schema
from cordboard.uqi.binding import Bound, Client, bound
from cordboard.uqi.secrecy import Secrets
from tests.unit.uqi.samples import an_input, the_draft

PASSWORD = {"type": "string", "format": "password"}
LOGIN = an_input("user", user={"type": "string"}, password=PASSWORD)


def answered(given: dict[str, Any], values: dict[str, Any], client: Client = "", **schemas: Any) -> Bound:
    """What is answered to these values of a form."""
    schema = json.loads(the_draft(given, schemas or None).json_schema)
    tree = json_schema.read(schema)
    found = bound(tree, JsonSchema.compile(schema), values, client)
    assert found.problems == ()
    return Secrets(tree.fields, schema).withheld(found, values)


def deep(levels: int) -> dict[str, Any]:
    """An input with a password so far inside that the form shows it as JSON."""
    schema = an_input(password=PASSWORD)
    for _ in range(levels):
        schema = an_input(inner=schema)
    return schema


@pytest.mark.parametrize(
    ("given", "values", "pointers"),
    [
        (an_input(login=LOGIN), {"login": {"user": "a", "password": "hunter2"}}, ["/login/password"]),
        (
            an_input(keys={"type": "array", "items": PASSWORD}),
            {"keys": ["hunter2", "hunter3"]},
            ["/keys/0", "/keys/1"],
        ),
        (
            an_input(keys={"type": "object", "additionalProperties": PASSWORD}),
            {"keys": {"a/b": "hunter2"}},
            ["/keys/a~1b"],
        ),
        (
            an_input(by={"oneOf": [LOGIN, an_input("token", token=PASSWORD)]}),
            {"by": {"token": "hunter2"}},
            ["/by/token"],
        ),
        (
            an_input(login={"$ref": "#/$defs/Login"}),
            {"login": {"user": "a", "password": "hunter2"}},
            ["/login/password"],
        ),
        (
            deep(5),
            {"inner": {"inner": {"inner": {"inner": {"inner": {"password": "hunter2"}}}}}},
            ["/inner/inner/inner/inner/inner/password"],
        ),
        (
            an_input(tree={"$ref": "#/$defs/Tree"}),
            {"tree": {"below": [{"below": [{"key": "hunter2"}]}]}},
            ["/tree/below/0/below/0/key"],
        ),
    ],
)
def test_a_secret_is_taken_out_wherever_it_stands(
    given: dict[str, Any], values: dict[str, Any], pointers: list[str]
) -> None:
    tree = an_input(key=PASSWORD, below={"type": "array", "items": {"$ref": "#/$defs/Tree"}})
    found = answered(given, values, Login=LOGIN, Tree=tree)
    assert "hunter" not in json.dumps(found.input)
    assert [each.pointer for each in found.secrets] == pointers
    assert [each.submitted_pointer for each in found.secrets] == pointers


def test_the_place_is_that_of_the_client_that_sent_it() -> None:
    given = an_input(**{"pass.word": PASSWORD, "name": {"type": "string"}})
    found = answered(given, {"name": "hunter2", "pass_word": "hunter2"}, "json_forms")
    (place,) = found.secrets
    assert (place.field_id, place.pointer) == ("pass_word", "/pass.word")
    # The same text under another name would do as well: nothing tells them apart.
    assert place.submitted_pointer in ("/pass_word", "/name")


def test_a_secret_in_a_text_of_json_stood_where_the_text_stands() -> None:
    text = json.dumps({"inner": {"inner": {"inner": {"password": "hunter2"}}}})
    found = answered(deep(4), {"inner": text}, "react")
    (place,) = found.secrets
    assert (place.pointer, place.submitted_pointer) == ("/inner/inner/inner/inner/password", "/inner")


def test_what_is_empty_stays() -> None:
    found = answered(an_input("blank", blank=PASSWORD), {"blank": ""})
    assert (found.input, found.secrets) == ({"blank": ""}, ())


def test_a_form_without_secrets_is_answered_as_it_is() -> None:
    found = answered(an_input(name={"type": "string"}), {"name": "password"})
    assert (found.input, found.secrets) == ({"name": "password"}, ())
