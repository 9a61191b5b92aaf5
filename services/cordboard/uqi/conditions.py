"""When a field counts: predicates over the ids of fields, evaluated here and compiled for every client.

A value that is absent, null or empty text is not present; every comparison with it is false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

Operator: TypeAlias = Literal["present", "in", "lt", "le", "gt", "ge"]

ORDERED: Final[Mapping[Operator, Callable[[float, float], bool]]] = {
    "lt": lambda one, other: one < other,
    "le": lambda one, other: one <= other,
    "gt": lambda one, other: one > other,
    "ge": lambda one, other: one >= other,
}


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison of the field with this id: with each of the values for `in`, with the only one for an order."""

    field: str
    operator: Operator
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; with no part it always does."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """At least one part holds; with no part it never does."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Condition


Condition: TypeAlias = Compare | All | Either | Not


def holds(condition: Condition, value: Callable[[str], Any]) -> bool:
    """Tells whether a condition holds; `value` answers with a field's value by its id, None for none."""
    match condition:
        case All(parts):
            return all(holds(part, value) for part in parts)
        case Either(parts):
            return any(holds(part, value) for part in parts)
        case Not(part):
            return not holds(part, value)
        case Compare(field, operator, values):
            found = value(field)
            if found is None or found == "":
                return False
            if operator == "present":
                return True
            if operator == "in":
                return any(same(found, each) for each in values)
            return _is_number(found) and ORDERED[operator](found, values[0])


def fields_of(condition: Condition) -> Iterator[str]:
    """Yields the id of every field that a condition looks at."""
    match condition:
        case All(parts) | Either(parts):
            for part in parts:
                yield from fields_of(part)
        case Not(part):
            yield from fields_of(part)
        case Compare(field):
            yield field


def both(*conditions: Condition | None) -> Condition | None:
    """Returns a condition that holds where all of these do; None, which always holds, for none."""
    return _joined(All, conditions)


def either(*conditions: Condition | None) -> Condition | None:
    """Returns a condition that holds where one of these does; None for none."""
    return _joined(Either, conditions)


def _joined(kind: type[All] | type[Either], conditions: tuple[Condition | None, ...]) -> Condition | None:
    known = tuple(dict.fromkeys(each for each in conditions if each is not None))
    return known[0] if len(known) == 1 else kind(known) if known else None


def same(one: Any, other: Any) -> bool:
    """Tells whether two JSON scalars are the same value: 1 is 1.0, and true is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def encoded(condition: Condition) -> dict[str, Any]:
    """Returns a condition as JSON."""
    match condition:
        case All(parts):
            return {"all": [encoded(part) for part in parts]}
        case Either(parts):
            return {"any": [encoded(part) for part in parts]}
        case Not(part):
            return {"not": encoded(part)}
        case Compare(field, operator, values):
            return {"field": field, "op": operator, **({"values": list(values)} if values else {})}


def decoded(document: Mapping[str, Any]) -> Condition:
    """Returns the condition that `encoded` made this of."""
    if "all" in document:
        return All(tuple(decoded(part) for part in document["all"]))
    if "any" in document:
        return Either(tuple(decoded(part) for part in document["any"]))
    if "not" in document:
        return Not(decoded(document["not"]))
    return Compare(document["field"], document["op"], tuple(document.get("values", ())))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
