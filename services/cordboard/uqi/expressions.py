"""Conditions and option sources in Appsmith's words: JavaScript made of safe paths and quoted values, and nothing else.

Appsmith finds what an expression depends on by looking for dotted paths in its text, runs it again when one of those
changes, and takes an exception for "hide". So every path is spelled out, and every step on the way is looked at first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from cordboard.uqi.conditions import All, Compare, Condition, Either, Not
from cordboard.uqi.fields import Boolean, Choice, Field, Integer, Number, Option
from cordboard.uqi.texts import json_text

Texts: TypeAlias = Callable[[tuple[Option, ...]], Mapping[str, Any]]

_ORDERS: Final = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}


def expression(condition: Condition, branch: str, known: Mapping[str, Field], texts: Texts) -> str:
    """Returns a JavaScript expression that says the same; `branch` is the path of the form's values in the client.

    `texts` answers with the text that stands for each option there. A field of an unknown id is one of plain text.
    """
    match condition:
        case All(parts):
            return _joined([expression(part, branch, known, texts) for part in parts], " && ", "true")
        case Either(parts):
            return _joined([expression(part, branch, known, texts) for part in parts], " || ", "false")
        case Not(part):
            return f"!{expression(part, branch, known, texts)}"
        case Compare(field, operator, values):
            path = f"{branch}.{field}"
            there = present(path, branch)
            kind = known[field].kind if field in known else None
            if operator == "present":
                return there
            if operator != "in":
                return f"({there} && Number({path}) {_ORDERS[operator]} {_literal(values[0])})"
            if isinstance(kind, Integer | Number):
                numbers = [each for each in values if isinstance(each, int | float) and not isinstance(each, bool)]
                same = _joined([f"Number({path}) === {_literal(each)}" for each in numbers], " || ", "false")
            else:
                same = _joined([f"{path} === {each}" for each in _words(kind, values, texts)], " || ", "false")
            return f"({there} && {same})"


def present(path: str, branch: str) -> str:
    """Returns an expression that tells whether something stands at a path below `branch`, and is not blank."""
    steps = path.removeprefix(branch).strip(".").split(".")[:-1]
    guards = [branch, *(f"{branch}.{'.'.join(steps[: size + 1])}" for size in range(len(steps)))]
    found = [*guards, *(f"{path} !== {nothing}" for nothing in ("undefined", "null", '""'))]
    return f"({' && '.join(found)})"


def _words(kind: Any, values: tuple[Any, ...], texts: Texts) -> list[str]:
    if isinstance(kind, Choice):
        wanted = {json_text(value) for value in values}
        return [_literal(text) for text, value in texts(kind.options).items() if json_text(value) in wanted]
    if isinstance(kind, Boolean):
        truths = [json_text(value) for value in values if isinstance(value, bool)]
        return [word for truth in truths for word in (truth, f'"{truth}"')]
    return [_literal(value) for value in values if isinstance(value, str)]


def _literal(value: Any) -> str:
    """Returns a value as JavaScript with no brace in it, so that it can never end the expression it stands in."""
    text = json_text(value)
    for letter in "{}<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _joined(parts: list[str], operator: str, neutral: str) -> str:
    return f"({operator.join(parts)})" if parts else neutral
