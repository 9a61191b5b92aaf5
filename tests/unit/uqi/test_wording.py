"""What Bind says is wrong, in other languages: each text of its own and of the validator's has words in each."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from cordboard.core.schema import JsonSchema
from cordboard.uqi import binding
from cordboard.uqi.wording import LANGUAGES, said

NUMBERS = {"minimum": 3, "exclusiveMinimum": 3, "multipleOf": 4}
WRONG: list[tuple[dict[str, Any], Any]] = [
    ({"type": "string"}, 5),
    ({"type": ["string", "null"]}, 5),
    ({"minLength": 3}, "a"),
    ({"maxLength": 1}, "abc"),
    ({"pattern": "^a$"}, "b"),
    ({"enum": ["a or", "b"]}, "c"),
    ({"enum": list("abcdefgh")}, "z"),
    ({"const": "it {a} is"}, 4),
    *(({keyword: bound}, 1) for keyword, bound in NUMBERS.items()),
    ({"maximum": 3}, 5),
    ({"exclusiveMaximum": 3}, 5),
    ({"minItems": 2}, [1]),
    ({"maxItems": 1}, [1, 2]),
    ({"uniqueItems": True}, [1, 1]),
    ({"contains": {"const": 1}}, [2]),
    ({"required": ["a"]}, {}),
    ({"additionalProperties": False}, {"a": 1}),
    ({"properties": {"q": {}}, "additionalProperties": False}, {"a": 1, "b": 2}),
    ({"unevaluatedProperties": False}, {"a": 1}),
    ({"minProperties": 2}, {"a": 1}),
    ({"maxProperties": 1}, {"a": 1, "b": 2}),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 3),
    ({"oneOf": [{"type": "string"}, {"type": "null"}]}, 3),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 3),
    ({"not": {"type": "integer"}}, 3),
]


@pytest.mark.parametrize(("schema", "value"), WRONG, ids=lambda each: repr(each)[:40])
def test_what_the_validator_says_has_words_in_each_language(schema: dict[str, Any], value: Any) -> None:
    for violation in JsonSchema.compile(schema).violations(value):
        told = {said(violation.description, language) for language in LANGUAGES}
        assert violation.description not in told
        assert len(told) == len(LANGUAGES)
        assert not any("{n}" in each or "{b}" in each for each in told)


def refusals() -> list[str]:
    """The texts with which values are refused, with something in each place that they have."""
    found = []
    for node in ast.walk(ast.parse(Path(binding.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "refuse":
            text = node.args[-1]
            if isinstance(text, ast.Constant):
                found.append(str(text.value))
            elif isinstance(text, ast.JoinedStr):
                parts = (str(each.value) if isinstance(each, ast.Constant) else "9007" for each in text.values)
                found.append("".join(parts))
    return found


def test_each_text_with_which_bind_refuses_a_value_has_words_in_each_language() -> None:
    texts = refusals()
    assert len(texts) > 12
    # Not for people: what a program of Appsmith's sends.
    texts.remove("must be 9007")
    for text in (*texts, "is not JSON text", "is nested more than 30 levels deep"):
        for language in LANGUAGES:
            assert said(text, language) != text, text


def test_what_is_put_in_stays_as_it_is() -> None:
    text = 'the value is not one of "{b} <x>", "or" or "é"'
    assert said(text, "de") == 'ist keiner dieser Werte: "{b} <x>", "or", "é"'
    changed = said("is required: the form has changed since this was filled in", "fr")
    assert changed == "est obligatoire: le formulaire a changé depuis qu'il a été rempli"
    # Negative control: what nobody has translated stays, whatever is in it.
    for other in ("something else", "is requiredx", "", "is required\n"):
        assert said(other, "es") == other
    assert re.fullmatch(r"[^{}]*", said("must be a number", "es"))
