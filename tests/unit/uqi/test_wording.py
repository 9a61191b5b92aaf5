"""What Bind says is wrong, in other languages: each text of its own and of the validator's has words in each."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from cordboard.core.schema import JsonSchema
from cordboard.uqi import (
    appsmith,
    binding,
    brevity,
    drafts,
    intersection,
    json_forms,
    query_editor,
    react,
    reading,
    source,
)
from cordboard.uqi.wording import LANGUAGES, loss_said, said

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


def losses() -> set[str]:
    """The texts of losses in the code that makes forms, with a number or a name in each place that they have."""
    found = set()
    for module in (appsmith, brevity, drafts, intersection, json_forms, query_editor, react, reading, source):
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if called in ("append", "_lose", "_Collapse", "Contradiction", "_as_json"):
                    found.update(_texts(node.args[-1:]))
            elif isinstance(node, ast.Return) and "the form" in ast.dump(node):
                found.update(_texts([node.value]))
    return found


def _texts(nodes: list[Any]) -> set[str]:
    found = set()
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = []
            for each in node.values:
                told = ast.unparse(each) if not isinstance(each, ast.Constant) else ""
                what = "contains itself" if "reason" in told or "problem" in told or "why" in told else "9007"
                what = "is not JSON text" if "error" in told else what
                # What stands in front of what is said: a place.
                parts.append(str(each.value) if isinstance(each, ast.Constant) else what)
            found.add("".join(parts))
    return found


def test_each_loss_has_words_in_each_language() -> None:
    told = {text for text in losses() if " " in text.strip()}
    assert len(told) > 40
    # What stands for a place and what was lost there, told of elsewhere.
    wholes = {text for text in told if re.fullmatch(r"(\w+( \w+)*: )?9007: 9007", text)}
    for text in told - wholes:
        for place in ("",) if ": " in text else ("", "the input: ", "Appsmith: owner.first: name: "):
            for language in LANGUAGES:
                words = loss_said(f"{place}{text}", f"{language}-AT")
                assert words != f"{place}{text}", text
                assert not any(each in words for each in (" shown as ", " is not ", "the input", "{n}", "{a}")), words
    assert all(loss_said(text, "en") == text for text in told)


def test_the_place_of_a_loss_stays_and_the_input_has_a_word() -> None:
    assert loss_said("Appsmith: a: b: tags: a list that is no flat table; shown as JSON", "de") == (
        "Appsmith: a: b: tags: eine Liste, die keine flache Tabelle ist; als JSON gezeigt"
    )
    assert loss_said("the input: contains itself", "fr") == "l'entrée: se contient lui-même"
    assert loss_said("the input schema: is not JSON text; the form has no fields", "es") == (
        "el esquema de la entrada: no es texto JSON; el formulario no tiene campos"
    )
    assert loss_said("what nobody has translated", "de") == "what nobody has translated"
