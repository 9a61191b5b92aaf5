"""Texts in other languages are refused where they cannot be meant."""

from __future__ import annotations

import pytest

from cordboard.catalog.definition import problems
from cordboard.catalog.document import read

_TEXT = """
slug: acme
title: Acme
language: en
servers: [{{url: 'https://acme.example'}}]
actions:
- id: create
  input_schema: {{type: object,
    properties: {{state: {{enum: [open, 1]}}, tags: {{type: array, items: {{enum: [a]}}}}}}}}
  request: {{method: POST, path: /, body: {{encoding: json, fields: [{{property: state, name: state}},
    {{property: tags, name: tags}}]}}}}
  translations: [{{language: de, title: Anlegen}}]
  form_hints:
  - {{property: state, group: Main, {hint}}}
  - {{property: tags, group: Main, translations: [{{language: DE, group: Allgemein, choices: {{a: Ah}}}}]}}
"""


def told(hint: str) -> list[tuple[str, str]]:
    """What is wrong with a definition whose first hint has this."""
    return [(one.field, one.description) for one in problems(read(_TEXT.format(hint=hint)).definition)]


def test_texts_in_other_languages_are_taken() -> None:
    choices = "choices: {open: Open, '1': One}"
    assert told(f"{choices}, translations: [{{language: de, group: Allgemein, {choices}}}, {{language: pt-BR}}]") == []


HINT = "actions[0].form_hints[0]"


@pytest.mark.parametrize(
    ("hint", "field", "text"),
    [
        ("translations: [{language: german_}]", f"{HINT}.translations[0].language", "is not a language tag"),
        ("translations: [{label: Status}]", f"{HINT}.translations[0].language", "is required"),
        ("translations: [{language: EN}]", f"{HINT}.translations[0].language", "is the definition's own language"),
        ("translations: [{language: de}, {language: DE}]", f"{HINT}.translations[1].language", "stands there already"),
        (
            "translations: [{language: de, group: Anderes}]",
            "actions[0].form_hints[1].translations[0].group",
            "'Anderes' in another hint of the group",
        ),
        ("choices: {closed: Closed}", f"{HINT}.choices.closed", "is not one of the values"),
        (
            "translations: [{language: de, choices: {closed: Zu}}]",
            f"{HINT}.translations[0].choices.closed",
            "is not one of the values",
        ),
    ],
)
def test_what_belongs_to_nothing_is_refused_at_its_place(hint: str, field: str, text: str) -> None:
    assert [(where, text in what) for where, what in told(hint)] == [(field, True)]


def test_a_group_that_the_hint_does_not_have_cannot_be_translated() -> None:
    text = _TEXT.format(hint="help: x").replace("- {property: tags, group: Main,", "- {property: tags,")
    fields = [one.field for one in problems(read(text).definition)]
    assert fields == ["actions[0].form_hints[1].translations[0].group"]


def test_more_languages_than_there_can_be_are_refused() -> None:
    many = ", ".join(f"{{language: {first}{second}x}}" for first in "abcdefgh" for second in "abcdefgh")
    assert told(f"translations: [{many}]") == [(f"{HINT}.translations", "are more than 60")]
