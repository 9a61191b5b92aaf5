"""What the document's schemas ask for: each keyword lets the good value pass, and names what is wrong with the bad."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator

from cordboard.sandbox.refusals import Invalid
from cordboard.sandbox.schema import Schema

DOCUMENT = {
    "components": {
        "schemas": {
            "Word": {"type": "string", "pattern": "^[a-z]+$"},
            "Place": {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}},
        }
    }
}
WORD = {"$ref": "#/components/schemas/Word"}
PLACE = {"anyOf": [{"$ref": "#/components/schemas/Place"}, {"type": "null"}]}


@pytest.mark.parametrize(
    ("schema", "good", "bad", "told"),
    [
        ({"type": "string"}, "a", 1, "must be string"),
        ({"type": ["string", "null"]}, None, 1, "must be string or null"),
        ({"type": "integer"}, 5, 5.5, "must be integer"),
        ({"type": "integer"}, 5.0, True, "must be integer"),
        ({"type": "number"}, 5.5, "5", "must be number"),
        ({"type": "boolean"}, False, 0, "must be boolean"),
        ({"type": "array"}, [], {}, "must be array"),
        ({"type": "object"}, {}, [], "must be object"),
        ({"enum": ["a", "b"]}, "a", "c", "must be one of a, b"),
        ({"minLength": 1}, "a", "", "must not be empty"),
        ({"minLength": 2}, "ab", "a", "must have at least 2 characters"),
        ({"maxLength": 2}, "ab", "abc", "must have at most 2 characters"),
        (WORD, "abc", "aBc", "must match ^[a-z]+$"),
        (WORD, "abc", 1, "must be string"),
        ({"format": "email"}, "a.b+c@d-e.example", "a@", "must be an e-mail address"),
        ({"format": "email"}, "a@b", "a b@c.d", "must be an e-mail address"),
        ({"format": "date"}, "2026-02-28", "2026-02-29", "must be a date such as 2026-01-31"),
        ({"format": "date"}, "2026-02-28", "20260228", "must be a date such as 2026-01-31"),
        ({"format": "date-time"}, "2026-02-28T10:00:00.5+01:00", "2026-02-28T10:00:00", "RFC 3339"),
        ({"format": "date-time"}, "2026-02-28t10:00:00z", "2026-02-28T25:00:00Z", "RFC 3339"),
        ({"minimum": 1, "maximum": 3}, 1, 0, "must be at least 1"),
        ({"minimum": 1, "maximum": 3}, 3, 3.5, "must be at most 3"),
        ({"maxItems": 1}, [1], [1, 2], "must have at most 1 items"),
        ({"uniqueItems": True}, [1, 2], [1, 1], "must not have an item twice"),
        ({"minProperties": 1}, {"a": 1}, {}, "must have at least 1 of its fields"),
        ({"maxProperties": 1}, {"a": 1}, {"a": 1, "b": 2}, "must have at most 1 fields"),
        (PLACE, None, 5, "must be object or null"),
    ],
)
def test_a_keyword_tells_the_good_from_the_bad(schema: dict[str, Any], good: Any, bad: Any, told: str) -> None:
    checked = Schema(schema, DOCUMENT)

    assert [*checked.violations(good)] == []
    (found,) = checked.violations(bad)
    assert told in found.message
    if "format" not in schema:
        # A validator by others, which takes formats for mere notes, agrees.
        judge = OAS31Validator({**DOCUMENT, **schema})
        assert (judge.is_valid(good), judge.is_valid(bad)) == (True, False)


def test_a_pattern_does_not_overlook_a_line_break_at_the_end() -> None:
    assert [*Schema(WORD, DOCUMENT).violations("abc\n")]


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ({"place": {"city": "B"}, "words": ["a"], "more": 1}, []),
        ({}, ["place"]),
        ({"place": {}}, ["place.city"]),
        ({"place": None, "words": ["a", "B", "c", "D"]}, ["words[1]", "words[3]"]),
        ({"place": None, "more": "x", "other": True}, ["more", "other"]),
    ],
)
def test_a_violation_names_the_path_of_the_field(value: Any, fields: list[str]) -> None:
    schema = Schema(
        {
            "type": "object",
            "required": ["place"],
            "properties": {"place": PLACE, "words": {"type": "array", "items": WORD}},
            "additionalProperties": {"type": "number"},
        },
        DOCUMENT,
    )

    assert [each.field for each in schema.violations(value)] == fields


def test_a_closed_object_has_no_other_field() -> None:
    schema = Schema({"type": "object", "additionalProperties": False, "properties": {"a": {}}}, {})

    with pytest.raises(Invalid, match="b is not a field of this"):
        schema.check({"a": 1, "b": 2}, "")


def test_a_keyword_that_would_go_unchecked_is_refused() -> None:
    with pytest.raises(ValueError, match="'multipleOf' is not known here"):
        Schema({"properties": {"a": {"multipleOf": 2}}}, {})
