"""What the projections for JSON Schema renderers have in common: portable bounds, tests of conditions, and the slot.

Bounds are those that every validator understands alike; everything else is checked when values are bound.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from cordboard.uqi.conditions import All, Compare, Condition, Either, Not, encoded
from cordboard.uqi.fields import (
    Choice,
    Entries,
    Field,
    FormTree,
    Group,
    Integer,
    Items,
    Json,
    Kind,
    MultiChoice,
    Number,
    Option,
    Secret,
    Text,
)
from cordboard.uqi.hints import walk
from cordboard.uqi.json_schema import keywords

_OF_TEXT: Final = ("minLength", "maxLength", "pattern")
_OF_NUMBERS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_OF_LISTS: Final = ("minItems", "maxItems", "uniqueItems")
_BOUNDS: Final[Mapping[type[Kind], tuple[str, ...]]] = {
    Text: _OF_TEXT,
    Secret: _OF_TEXT,
    Number: _OF_NUMBERS,
    Integer: (*_OF_NUMBERS, "multipleOf"),
    Items: _OF_LISTS,
    MultiChoice: _OF_LISTS,
    Entries: ("minProperties", "maxProperties"),
}
_ORDERS: Final = {"lt": "exclusiveMaximum", "le": "maximum", "gt": "exclusiveMinimum", "ge": "minimum"}
# A regular expression that JavaScript reads in its strict Unicode mode, and reads as every other engine does.
_PORTABLE: Final = re.compile(
    r"""(?: [^\\()\[\]{}?*+|^$] | [|^$](?![*+?{]) | \\[bB](?![*+?{]) | \\[dDwWsSfnrtv\\^$.*+?()\[\]{}|/]
      | \(\?: | \( | \) | [*+?]\??(?![*+?{]) | \{[0-9]{1,4}(?:,[0-9]{0,4})?\}\??(?![*+?{])
      | \[\^? (?: [^\\\[\]&~-] | \\[fnrtv\\^$.*+?()\[\]{}|/-] | \\[dDwWsS](?!-[^\]]) | -(?!-|\\[dDwWsS]) )* \] )*""",
    re.VERBOSE,
)


def bounds(field: Field) -> dict[str, Any]:
    """Returns the constraints of a field that every JSON Schema validator understands alike."""
    found = {word: field.constraints[word] for word in _BOUNDS.get(type(field.kind), ()) if word in field.constraints}
    if "pattern" in found and not _PORTABLE.fullmatch(found["pattern"]):
        del found["pattern"]
    if not isinstance(found.get("multipleOf", 1), int):
        del found["multipleOf"]
    return found


def test(condition: Condition, steps: Callable[[str], tuple[str, ...]]) -> dict[str, Any] | bool:
    """Returns a JSON Schema that takes exactly the values for which a condition holds.

    `steps` answers with the names that lead to a field, from the value that the schema is of.
    """
    match condition:
        case All(parts):
            return {"allOf": [test(part, steps) for part in parts]} if parts else True
        case Either(parts):
            return {"anyOf": [test(part, steps) for part in parts]} if parts else False
        case Not(part):
            return {"not": test(part, steps)}
        case Compare(field, operator, values):
            found: dict[str, Any] = {"not": {"enum": ["", None]}}
            if operator == "in":
                found = {"enum": list(values)}
            elif operator != "present":
                found = {"type": "number", _ORDERS[operator]: values[0]}
            for step in reversed(steps(field)):
                found = {"type": "object", "properties": {step: found}, "required": [step]}
            return found


def is_needed(field: Field) -> bool:
    """Tells whether somebody has to fill in a field: Bind fills in defaults, and objects that need nothing."""
    if isinstance(field.kind, Group) and not any(is_needed(member) for member in field.kind.fields):
        return False
    return field.required and field.default is None


def choice(options: tuple[Option, ...]) -> dict[str, Any]:
    """Returns the JSON Schema keywords of one of these values."""
    return keywords(Choice(options))


def slots(tree: FormTree) -> list[dict[str, Any]]:
    """Returns what a client's own words cannot say of the fields: id, kind, and when each has to be there and counts.

    It stands in the `uqi` slot at the top of a projection, for programs that want the form itself back.
    """
    return [_slot(field) for field in walk(tree.fields)]


def own_slot(field: Field) -> dict[str, Any]:
    """Returns what a widget of ours has to know of its field."""
    return {"id": field.id, **({"options": field.id} if field.source is not None else {})}


def _slot(field: Field) -> dict[str, Any]:
    told: dict[str, Any] = {"id": field.id, "kind": type(field.kind).__name__.lower()}
    if field.required:
        told["required"] = True
    if field.required_when is not None:
        told["requiredWhen"] = encoded(field.required_when)
    if field.active_when is not None:
        told["activeWhen"] = encoded(field.active_when)
    if isinstance(field.kind, Json) and field.kind.types:
        told["types"] = list(field.kind.types)
    return told
