"""How two outputs differ, field by field: what is said of values is of what kind they are, and never a value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from cordboard.core.json_pointers import escape

MOST: Final = 200
_TYPES: Final = ((str, "string"), (bytes, "bytes"), (list, "array"), (dict, "object"))
_FIELD: Final = re.compile(r"[A-Za-z_$@][A-Za-z0-9_$:.-]{0,63}", re.ASCII)
_MOST_VALUES: Final = 50_000


class Manner(StrEnum):
    """How a field differs."""

    MISSING = "missing"
    EXTRA = "extra"
    TYPE = "type"
    VALUE = "value"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that differs."""

    manner: Manner
    pointer: str
    """A JSON Pointer in which `*` stands for any item of a list."""
    primary: str
    """What kind of value is there; empty: none."""
    candidate: str


def differences(primary: Any, candidate: Any) -> list[Difference]:
    """Returns the fields that differ, each once, up to MOST; lists are compared item by item, in order."""
    found: dict[tuple[Manner, str], Difference] = {}
    waiting: list[tuple[str, Any, Any]] = [("", primary, candidate)]
    looked = 0
    while waiting and len(found) < MOST and looked < _MOST_VALUES:
        looked += 1
        pointer, left, right = waiting.pop()
        if isinstance(left, dict) and isinstance(right, dict):
            for name in sorted(left.keys() | right.keys(), reverse=True):
                here = f"{pointer}/{_escaped(name)}"
                if name not in right:
                    _note(found, Difference(Manner.MISSING, here, kind_of(left[name]), ""))
                elif name not in left:
                    _note(found, Difference(Manner.EXTRA, here, "", kind_of(right[name])))
                else:
                    waiting.append((here, left[name], right[name]))
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                _note(found, Difference(Manner.VALUE, pointer, kind_of(left), kind_of(right)))
            waiting += [(f"{pointer}/*", *pair) for pair in reversed(list(zip(left, right, strict=False)))]
        elif type_of(left) != type_of(right):
            _note(found, Difference(Manner.TYPE, pointer, kind_of(left), kind_of(right)))
        elif left != right:
            _note(found, Difference(Manner.VALUE, pointer, kind_of(left), kind_of(right)))
    return list(found.values())


def kind_of(value: Any) -> str:
    """Returns of what kind a value is, with its length where it has one, and without anything that it says."""
    kind = type_of(value)
    return f"{kind}({len(value)})" if isinstance(value, (str, bytes, list)) else kind


def type_of(value: Any) -> str:
    """Returns the type of a value, in JSON's words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "value")


def _note(found: dict[tuple[Manner, str], Difference], difference: Difference) -> None:
    found.setdefault((difference.manner, difference.pointer), difference)


def _escaped(name: str) -> str:
    # A key may be data, such as an address or a number: only what looks like the name of a field is kept.
    shown = name if _FIELD.fullmatch(name) and sum(map(str.isdigit, name)) < 4 else f"({len(name)} characters)"
    return escape(shown)
