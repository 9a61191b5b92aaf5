"""What a JSON Schema lets through, taken apart: the conditions that all hold, in each of its alternatives.

A shape lets through at least what the schema does (an over-approximation): a condition that is not understood is left
out, so whatever is proven for the shape holds for the schema.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.compatibility.values import REFERENCE, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Schema = dict[str, Any] | bool

TYPES: Final[dict[str, frozenset[str]]] = {
    "null": frozenset({"null"}),
    "boolean": frozenset({"boolean"}),
    "object": frozenset({"object"}),
    "array": frozenset({"array"}),
    "string": frozenset({"string"}),
    "integer": frozenset({"integer"}),
    # A number is an integer or a fraction: 1.0 is an integer.
    "number": frozenset({"integer", "fraction"}),
}
ALL_TYPES: Final = frozenset(each for atoms in TYPES.values() for each in atoms)
MAX_ALTERNATIVES: Final = 64
MAX_CONDITIONS: Final = 200
_WIDENING: Final = frozenset({"additionalProperties", "patternProperties", "unevaluatedProperties"})
_IN_PLACE: Final = ("not", "if", "then", "else")


class TooRich(Exception):
    """A schema has more alternatives or conditions than are looked at."""


@dataclass(frozen=True)
class Bound:
    """A lower or an upper bound of numbers."""

    value: Fraction
    open: bool
    """Whether the value itself is outside."""


@dataclass(frozen=True)
class Shape:
    """Conditions that all hold; none of them has alternatives or references that were not followed."""

    conditions: tuple[dict[str, Any], ...]
    names: frozenset[str] | None
    """The only properties that an object can have; None: any."""

    @property
    def types(self) -> frozenset[str]:
        """Returns the types that a value can have."""
        found: frozenset[str] = ALL_TYPES
        for condition in self.conditions:
            found &= types_of(condition)
        return found

    def values(self) -> list[Any] | None:
        """Returns every value that there can be, perhaps with some that there cannot; None where they are not few."""
        types = self.types
        for condition in self.conditions:
            named = [condition["const"]] if "const" in condition else condition.get("enum")
            if isinstance(named, list):
                return [value for value in named if type_of(value) in types]
        if types <= {"null", "boolean"}:
            possible: dict[str, list[Any]] = {"null": [None], "boolean": [True, False]}
            return [value for each in sorted(types) for value in possible[each]]
        return None

    def kinds(self) -> list[str]:
        """Returns the names of the types that a value can have, `number` for all numbers where there are fractions."""
        types = self.types
        found = sorted(types - {"integer", "fraction"})
        if "fraction" in types:
            found.append("number")
        elif "integer" in types:
            found.append("integer")
        return found

    def limited(self, kind: str) -> Shape:
        """Returns the shape of those values that have one type."""
        return Shape((*self.conditions, {"type": kind}), self.names)

    def required(self) -> frozenset[str]:
        """Returns the properties that an object must have."""
        return frozenset(name for condition in self.conditions for name in condition.get("required", ()))

    def declared(self) -> frozenset[str]:
        """Returns the properties that its conditions name."""
        return frozenset(name for condition in self.conditions for name in condition.get("properties", ()))

    def property(self, name: str) -> tuple[Schema, ...]:
        """Returns the conditions on a property."""
        found: list[Schema] = []
        for condition in self.conditions:
            properties = condition.get("properties", {})
            if name in properties:
                found.append(properties[name])
            elif "additionalProperties" in condition and not condition.get("patternProperties"):
                found.append(condition["additionalProperties"])
        return tuple(found)

    def undeclared(self) -> tuple[Schema, ...]:
        """Returns the conditions on a property that no condition names."""
        return tuple(
            condition["additionalProperties"]
            for condition in self.conditions
            if "additionalProperties" in condition and not condition.get("patternProperties")
        )

    def item(self, index: int) -> tuple[Schema, ...]:
        """Returns the conditions on an element of an array."""
        found: list[Schema] = []
        for condition in self.conditions:
            prefix = condition.get("prefixItems", [])
            if index < len(prefix):
                found.append(prefix[index])
            elif "items" in condition:
                found.append(condition["items"])
        return tuple(found)

    def prefix(self) -> int:
        """Returns how many elements of an array have conditions of their own."""
        return max((len(condition.get("prefixItems", [])) for condition in self.conditions), default=0)

    def least(self, keyword: str) -> int:
        """Returns the largest of what a keyword such as `minLength` says; 0 where it is nowhere."""
        return max((math.ceil(condition[keyword]) for condition in self.conditions if keyword in condition), default=0)

    def most(self, keyword: str) -> float:
        """Returns the smallest of what a keyword such as `maxLength` says; infinite where it is nowhere."""
        return min((condition[keyword] for condition in self.conditions if keyword in condition), default=math.inf)

    def lower(self) -> Bound | None:
        """Returns the bound below which no number is."""
        return max(bounds(self.conditions, "minimum", "exclusiveMinimum"), key=_strict_low, default=None)

    def upper(self) -> Bound | None:
        """Returns the bound above which no number is."""
        return min(bounds(self.conditions, "maximum", "exclusiveMaximum"), key=_strict_high, default=None)


def _strict_low(bound: Bound) -> tuple[Fraction, bool]:
    return bound.value, bound.open


def _strict_high(bound: Bound) -> tuple[Fraction, bool]:
    return bound.value, not bound.open


def bounds(conditions: Iterable[Mapping[str, Any]], plain: str, exclusive: str) -> Iterator[Bound]:
    """Yields the bounds that conditions set."""
    for condition in conditions:
        for keyword, is_open in ((plain, False), (exclusive, True)):
            if keyword in condition:
                yield Bound(Fraction(condition[keyword]), is_open)


def types_of(condition: Mapping[str, Any]) -> frozenset[str]:
    """Returns the types that a condition lets through."""
    named = condition.get("type")
    if named is None:
        return ALL_TYPES
    listed = [named] if isinstance(named, str) else named
    return frozenset().union(*(TYPES.get(each, ALL_TYPES) for each in listed))


def type_of(value: Any) -> str:
    """Returns the type of a JSON value: `integer` and `fraction` for numbers."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    if isinstance(value, (int, float)):
        return "integer" if isinstance(value, int) or value.is_integer() else "fraction"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def shapes(schemas: Iterable[Schema], shared: Mapping[str, Schema]) -> list[Shape]:
    """Returns the alternatives of schemas that hold together; raises TooRich.

    An object has no property that no part of the schemas names, unless they say more of other properties or name none:
    what an API description leaves out is not what it sends.
    """
    given = tuple(schemas)
    names, closed = _reach(given, shared)
    return [Shape(each, names if closed else None) for each in _expand(given, shared)]


def _expand(schemas: tuple[Schema, ...], shared: Mapping[str, Schema]) -> list[tuple[dict[str, Any], ...]]:
    """Returns the alternatives, each as conditions that hold together; those that nothing satisfies are left out."""
    found: list[tuple[dict[str, Any], ...]] = []
    # Of each: what is still to be taken apart, the conditions so far, and the texts of what was seen.
    waiting: list[tuple[tuple[Schema, ...], tuple[dict[str, Any], ...], frozenset[str]]] = [(schemas, (), frozenset())]
    while waiting:
        todo, conditions, seen = waiting.pop()
        if len(found) + len(waiting) > MAX_ALTERNATIVES or len(conditions) > MAX_CONDITIONS:
            raise TooRich
        if not todo:
            found.append(conditions)
            continue
        first, rest = todo[0], todo[1:]
        if first is False:
            continue
        text = text_of(first)
        if not isinstance(first, dict) or text in seen:
            waiting.append((rest, conditions, seen))
            continue
        seen = seen | {text}
        both: list[Schema] = list(first.get("allOf", ()))
        if isinstance(first.get("$ref"), str):
            both.append(shared.get(first["$ref"].removeprefix(REFERENCE), True))
        choices: list[tuple[Schema, ...]] = [tuple(both)]
        for keyword in ("anyOf", "oneOf"):
            if keyword in first:
                choices = [(*choice, option) for choice in choices for option in first[keyword]]
        waiting.extend(((*choice, *rest), (*conditions, first), seen) for choice in reversed(choices))
    return found


def _reach(schemas: tuple[Schema, ...], shared: Mapping[str, Schema]) -> tuple[frozenset[str], bool]:
    """Returns the properties that any part of schemas names for the same value, and whether there can be no others."""
    names: set[str] = set()
    described = widened = False
    seen: set[str] = set()
    waiting: list[Any] = list(schemas)
    while waiting:
        node = waiting.pop()
        if not isinstance(node, dict):
            continue
        names.update(node.get("properties", ()))
        described = described or bool(node.get("properties"))
        # Closed by itself is no wider.
        widened = widened or any(node.get(keyword, False) is not False for keyword in _WIDENING)
        for keyword in ("allOf", "anyOf", "oneOf"):
            waiting.extend(node.get(keyword, ()))
        waiting.extend(node[keyword] for keyword in _IN_PLACE if keyword in node)
        waiting.extend(node.get("dependentSchemas", {}).values())
        reference = node.get("$ref")
        if isinstance(reference, str) and reference not in seen:
            seen.add(reference)
            waiting.append(shared.get(reference.removeprefix(REFERENCE), True))
    closed_by_itself = any(
        isinstance(each, dict) and each.get("additionalProperties") is False and not each.get("patternProperties")
        for each in schemas
    )
    return frozenset(names), (described and not widened) or closed_by_itself
