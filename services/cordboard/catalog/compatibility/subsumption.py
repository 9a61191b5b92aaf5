"""Whether every value that one JSON Schema lets through is let through by another one (JSON Schema 2020-12).

The answer is never a wrong yes: what cannot be proven is a no, with the rule CANNOT_PROVE. Schemas of the first kind
are read as descriptions of what is sent: an object has no property that its schema leaves out, unless the schema says
more of other properties or names none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import orjson

from cordboard.catalog.compatibility.shape import Bound, Schema, Shape, TooRich, bounds, shapes, types_of
from cordboard.catalog.compatibility.values import REFERENCE, bare, referred, short, text_of
from cordboard.core.schema import JsonSchema, SchemaInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_DEPTH: Final = 60
MAX_STEPS: Final = 200_000
CANNOT_PROVE: Final = "CANNOT_PROVE"

# Conditions that are taken as they are: the same one on the other side, to the letter, or no proof.
_TO_THE_LETTER: Final[Mapping[str, tuple[str, ...]]] = {
    "pattern": ("pattern",),
    "format": ("format",),
    "contentEncoding": ("contentEncoding",),
    "contentMediaType": ("contentMediaType",),
    "contentSchema": ("contentSchema", "contentMediaType"),
    "not": ("not",),
    "then": ("if", "then"),
    "else": ("if", "else"),
    "contains": ("contains", "minContains", "maxContains"),
    "dependentRequired": ("dependentRequired",),
    "dependentSchemas": ("dependentSchemas",),
    "patternProperties": ("patternProperties",),
}
_TYPE_OF_LETTER: Final = {
    "pattern": "string",
    "contains": "array",
    "dependentRequired": "object",
    "dependentSchemas": "object",
    "patternProperties": "object",
}
_HANDLED_ELSEWHERE: Final = frozenset({"if", "minContains", "maxContains", "prefixItems"})
_MOST: Final = {"maxLength": "string", "maxItems": "array", "maxProperties": "object"}
_LEAST: Final = {"minLength": "string", "minItems": "array", "minProperties": "object"}


@dataclass(frozen=True)
class Problem:
    """Why values of the first schema are not values of the second."""

    path: tuple[str, ...]
    """Where in the schemas, as in documents: `properties`, `page`."""
    rule: str
    description: str


class Subsumption:
    """Compares schemas of two documents, each with its shared ones. What was proven once is not proven again."""

    def __init__(self, sent: Mapping[str, Schema], taken: Mapping[str, Schema]) -> None:
        """Takes the shared schemas of the side that sends values and of the side that takes them."""
        self._sent = {name: bare(schema) for name, schema in sent.items()}
        self._taken = {name: bare(schema) for name, schema in taken.items()}
        self._equal = _equal_names(self._sent, self._taken)
        self._proven: set[tuple[str, ...]] = set()
        self._open: dict[tuple[str, ...], tuple[int, int]] = {}
        self._assumed = math.inf
        self._level = 0
        self._steps = 0
        self._compiled: dict[str, JsonSchema | None] = {}

    def problems(self, sent: Schema, taken: Schema) -> list[Problem]:
        """Returns why some value of `sent` may be none of `taken`; nothing: every one is, for certain."""
        self._steps = 0
        self._open.clear()
        self._assumed, self._level = math.inf, 0
        try:
            return self._cover((bare(sent),), bare(taken), ())
        except (RecursionError, orjson.JSONEncodeError):
            return [Problem((), CANNOT_PROVE, "is nested too deeply to be compared")]

    def _cover(self, sent: tuple[Schema, ...], taken: Schema, path: tuple[str, ...]) -> list[Problem]:
        if taken is True or taken == {} or False in [each for each in sent if isinstance(each, bool)]:
            return []
        key = (text_of(taken), *sorted({text_of(each) for each in sent if each is not True}))
        if key in self._proven or (key[0] in key[1:] and self._same(key[0])):
            return []
        self._steps += 1
        if key in self._open:
            depth, level = self._open[key]
            if level == self._level:
                return [Problem(path, CANNOT_PROVE, "refers to itself")]
            # A value is finite: below the same question, the answer may be taken for granted.
            self._assumed = min(self._assumed, depth)
            return []
        if len(self._open) >= MAX_DEPTH or self._steps > MAX_STEPS:
            return [Problem(path, CANNOT_PROVE, "is too large to be compared")]
        depth = len(self._open)
        self._open[key] = (depth, self._level)
        outer, self._assumed = self._assumed, math.inf
        try:
            found = self._alternatives(sent, taken, path)
        finally:
            del self._open[key]
        if not found and self._assumed >= depth:
            self._proven.add(key)
        below = self._assumed if self._assumed < depth else math.inf
        self._assumed = min(outer, below)
        return found

    def _same(self, text: str) -> bool:
        """Tells whether a schema that stands on both sides means the same on both."""
        return referred(text) <= self._equal

    def _alternatives(self, sent: tuple[Schema, ...], taken: Schema, path: tuple[str, ...]) -> list[Problem]:
        try:
            found: list[Problem] = []
            for shape in shapes(sent, self._sent):
                found += self._shape(shape, taken, path)
        except TooRich:
            return [Problem(path, CANNOT_PROVE, "has too many alternatives to be compared")]
        return list(dict.fromkeys(found))

    def _shape(self, shape: Shape, taken: Schema, path: tuple[str, ...]) -> list[Problem]:
        if taken is True or not shape.types:
            return []
        if taken is False:
            return [Problem(path, "NOT_ALLOWED", "is not allowed any more")]
        self._steps += 1
        if self._steps > MAX_STEPS:
            return [Problem(path, CANNOT_PROVE, "is too large to be compared")]
        if any(text_of(taken) == text_of(condition) for condition in shape.conditions) and self._same(text_of(taken)):
            return []
        values = shape.values()
        if values is not None:
            return self._values(values, taken, path)
        checks: list[Callable[[Shape, dict[str, Any], tuple[str, ...]], list[Problem]]] = [
            self._types,
            self._enumerated,
            self._numbers,
            self._counts,
            self._letters,
            self._items,
            self._objects,
            self._in_place,
            self._unevaluated,
        ]
        return [problem for check in checks for problem in check(shape, taken, path)]

    def _values(self, values: list[Any], taken: dict[str, Any], path: tuple[str, ...]) -> list[Problem]:
        schema = self._validator(taken)
        if schema is None:
            return [Problem(path, CANNOT_PROVE, "cannot be compared: the schema does not compile")]
        refused = [value for value in values if not schema.accepts(value)]
        if not refused:
            # Formats say something to people and nothing to the validator.
            return []
        shown = ", ".join(short(value, 40) for value in refused[:5])
        return [Problem(path, "VALUES_NARROWED", f"may be {shown}, which is not allowed")]

    def _validator(self, taken: dict[str, Any]) -> JsonSchema | None:
        text = text_of(taken)
        if text not in self._compiled:
            try:
                self._compiled[text] = JsonSchema.compile({**taken, "$defs": self._reachable(text)})
            except SchemaInvalid:
                self._compiled[text] = None
        return self._compiled[text]

    def _reachable(self, text: str) -> dict[str, Schema]:
        found: dict[str, Schema] = {}
        waiting = list(referred(text))
        while waiting:
            name = waiting.pop()
            if name in self._taken and name not in found:
                found[name] = self._taken[name]
                waiting.extend(referred(text_of(found[name])))
        return found

    def _types(self, shape: Shape, taken: dict[str, Any], path: tuple[str, ...]) -> list[Problem]:
        extra = shape.types - types_of(taken)
        if not extra:
            return []
        names = sorted({"number" if each == "fraction" else each for each in extra})
        allowed = taken["type"] if isinstance(taken["type"], str) else " or ".join(map(str, taken["type"]))
        return [Problem(path, "TYPE_NARROWED", f"may be {' or '.join(names)}, and only {allowed} is allowed")]

    def _enumerated(self, shape: Shape, taken: dict[str, Any], path: tuple[str, ...]) -> list[Problem]:
        if "enum" not in taken and "const" not in taken:
            return []
        kinds = shape.kinds()
        if len(kinds) > 1:
            only: dict[str, Any] = {keyword: taken[keyword] for keyword in ("enum", "const") if keyword in taken}
            parts = [shape.limited(kind) for kind in kinds]
            return [problem for part in parts for problem in self._shape(part, only, path)][:1]
        allowed = short(taken.get("enum", taken.get("const")))
        return [Problem(path, "VALUES_NARROWED", f"may be any {kinds[0]}, and only {allowed} is allowed")]

    def _numbers(self, shape: Shape, taken: dict[str, Any], path: tuple[str, ...]) -> list[Problem]:
        if not shape.types & {"integer", "fraction"}:
            return []
        keywords = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
        if any(isinstance(taken.get(keyword), bool) for keyword in keywords):
            return [Problem(path, CANNOT_PROVE, "has bounds as JSON Schema 4 wrote them")]
        lower, upper = shape.lower(), shape.upper()
        lows = [bound for bound in bounds([taken], *keywords[:2]) if lower is None or not _inside(lower, bound, 1)]
        highs = [bound for bound in bounds([taken], *keywords[2:]) if upper is None or not _inside(upper, bound, -1)]
        texts = [f"may be below {_written(bound)}" for bound in lows]
        texts += [f"may be above {_written(bound)}" for bound in highs]
        if "multipleOf" in taken and not _multiple(shape, taken["multipleOf"]):
            texts.append(f"may be no multiple of {short(taken['multipleOf'])}")
        return [Problem(path, "RANGE_NARROWED", text) for text in texts]

    def _counts(self, shape: Shape, taken: dict[str, Any], path: tuple[str, ...]) -> list[Problem]:
        found = []
        for keyword, kind in _LEAST.items():
            least = shape.least(keyword)
            if keyword == "minProperties":
                least = max(least, len(shape.required()))
            if keyword in taken and kind in shape.types and least < taken[keyword]:
                found.append(Problem(path, "SIZE_NARROWED", f"may be shorter than {keyword} {taken[keyword]}"))
        for keyword, kind in _MOST.items():
            most = shape.most(keyword)
            if keyword == "maxProperties" and shape.names is not None:
                most = min(most, len(shape.names))
            if keyword in taken and kind in shape.types and most > taken[keyword]:
                found.append(Problem(path, "SIZE_NARROWED", f"may be longer than {keyword} {taken[keyword]}"))
        several = taken.get("uniqueItems") is True and "array" in shape.types and shape.most("maxItems") > 1
        if several and not any(condition.get("uniqueItems") is True for condition in shape.conditions):
            found.append(Problem(path, "ITEMS_NARROWED", "may have equal items, and they must differ"))
        return found

    def _letters(self, shape: Shape, taken: dict[str, Any], path: tuple[str, ...]) -> list[Problem]:
        found = []
        for keyword, together in _TO_THE_LETTER.items():
            if keyword not in taken or (keyword in ("then", "else") and "if" not in taken):
                continue
            if _TYPE_OF_LETTER.get(keyword, "") and _TYPE_OF_LETTER[keyword] not in shape.types:
                continue
            if keyword == "contains" and taken.get("minContains") == 0 and "maxContains" not in taken:
                continue
            if keyword == "patternProperties":
                found += self._patterns(shape, taken, path)
                continue
            if any(self._equal_parts(condition, taken, together) for condition in shape.conditions):
                continue
            if keyword == "format" and any(
                taken[keyword] in _WIDER.get(str(condition.get(keyword)), ()) for condition in shape.conditions
            ):
                continue
            if keyword in _RULES:
                text = f"need not have the {keyword} {short(taken[keyword])}"
                found.append(Problem(path, f"{_RULES[keyword]}_CHANGED", text))
            else:
                found.append(Problem(path, CANNOT_PROVE, f"has a condition {keyword!r} that cannot be compared"))
        return found

    def _equal_parts(self, condition: dict[str, Any], taken: dict[str, Any], keywords: tuple[str, ...]) -> bool:
        parts = [{keyword: each[keyword] for keyword in keywords if keyword in each} for each in (condition, taken)]
        texts = [text_of(part) for part in parts]
        return texts[0] == texts[1] and self._same(texts[1])

    def _patterns(self, shape: Shape, taken: dict[str, Any], path: tuple[str, ...]) -> list[Problem]:
        if any(self._equal_parts(condition, taken, ("patternProperties",)) for condition in shape.conditions):
            return []
        found = []
        for pattern, schema in taken["patternProperties"].items():
            below = (*path, "patternProperties", pattern)
            # Whichever names fit the pattern: all are held to it, which proves more than is needed.
            for name in sorted(shape.names if shape.names is not None else shape.declared()):
                found += self._descend(shape.property(name), schema, below)
            if shape.names is None:
                found += self._descend(shape.undeclared(), schema, below)
        return found

    def _items(self, shape: Shape, taken: dict[str, Any], path: tuple[str, ...]) -> list[Problem]:
        if "array" not in shape.types:
            return []
        prefix = taken.get("prefixItems", [])
        rest = taken.get("items", True)
        most = shape.most("maxItems")
        found = []
        last = max(len(prefix), shape.prefix())
        for index in range(last + 1):
            if index >= most:
                break
            schema = prefix[index] if index < len(prefix) else rest
            step = ("prefixItems", str(index)) if index < len(prefix) else ("items",)
            found += self._descend(shape.item(index), schema, (*path, *step))
        return list(dict.fromkeys(found))

    def _objects(self, shape: Shape, taken: dict[str, Any], path: tuple[str, ...]) -> list[Problem]:
        if "object" not in shape.types:
            return []
        required = shape.required()
        found = [
            Problem((*path, "properties", name), "REQUIRED_ADDED", "may be absent, and is required")
            for name in taken.get("required", ())
            if name not in required
        ]
        properties = taken.get("properties", {})
        known = shape.names if shape.names is not None else shape.declared()
        for name, schema in properties.items():
            if shape.names is None or name in shape.names:
                found += self._descend(shape.property(name), schema, (*path, "properties", name))
        if "additionalProperties" in taken:
            # Where patterns stand beside it, names that fit one need not fit this; that they do proves more.
            schema = taken["additionalProperties"]
            for name in sorted(known - properties.keys()):
                problems = self._descend(shape.property(name), schema, (*path, "properties", name))
                if problems and schema is False:
                    problems = [
                        Problem((*path, "properties", name), "PROPERTY_REMOVED", "may be there, and is unknown")
                    ]
                found += problems
            if shape.names is None:
                step = (*path, "additionalProperties")
                problems = self._descend(shape.undeclared(), schema, step)
                if problems and schema is False:
                    problems = [Problem(step, "PROPERTY_REMOVED", "may have other properties, which are not allowed")]
                found += problems
        if "propertyNames" in taken:
            found += self._names(shape, taken, path)
        return found

    def _names(self, shape: Shape, taken: dict[str, Any], path: tuple[str, ...]) -> list[Problem]:
        if any(self._equal_parts(condition, taken, ("propertyNames",)) for condition in shape.conditions):
            return []
        if shape.names is None:
            return [Problem(path, CANNOT_PROVE, "has a condition 'propertyNames' that cannot be compared")]
        schema = taken["propertyNames"]
        if isinstance(schema, bool):
            return [] if schema or not shape.names else [Problem(path, "PROPERTY_REMOVED", "may have properties")]
        return self._values(sorted(shape.names), schema, path)

    def _in_place(self, shape: Shape, taken: dict[str, Any], path: tuple[str, ...]) -> list[Problem]:
        found = []
        if isinstance(taken.get("$ref"), str):
            name = taken["$ref"].removeprefix(REFERENCE)
            if name not in self._taken:
                return [Problem(path, CANNOT_PROVE, f"refers to {short(taken['$ref'])}, which is not there")]
            found += self._cover_shape(shape, self._taken[name], path)
        for part in taken.get("allOf", ()):
            found += self._cover_shape(shape, part, path)
        for keyword in ("anyOf", "oneOf"):
            if keyword in taken and not any(
                self._equal_parts(condition, taken, (keyword,)) for condition in shape.conditions
            ):
                found += self._one_of(shape, keyword, taken[keyword], path)
        return found

    def _one_of(self, shape: Shape, keyword: str, options: list[Schema], path: tuple[str, ...]) -> list[Problem]:
        nearest: list[Problem] | None = None
        for index, option in enumerate(options):
            found = self._cover_shape(shape, option, path)
            others = [*options[:index], *options[index + 1 :]]
            if not found and keyword == "oneOf" and not all(self._apart(shape, other) for other in others):
                found = [Problem(path, CANNOT_PROVE, "may fit several of 'oneOf'")]
            if not found:
                return []
            nearest = found if nearest is None or len(found) < len(nearest) else nearest
        kinds = shape.kinds()
        if len(kinds) > 1:
            parts = [shape.limited(kind) for kind in kinds]
            return [problem for part in parts for problem in self._one_of(part, keyword, options, path)]
        if len(options) == 1 and nearest is not None:
            return nearest
        return [Problem(path, "ALTERNATIVE_REMOVED", f"may be a value that fits no alternative of {keyword!r}")]

    def _cover_shape(self, shape: Shape, taken: Schema, path: tuple[str, ...]) -> list[Problem]:
        # As schemas again: the question may be one that was answered, or is being asked.
        sent: tuple[Schema, ...] = shape.conditions
        key: tuple[str, ...] = ("shape", text_of(taken), str(sorted(shape.names) if shape.names is not None else None))
        key = (*key, *sorted({text_of(each) for each in sent}))
        if key in self._open or len(self._open) >= MAX_DEPTH:
            return [Problem(path, CANNOT_PROVE, "refers to itself, or is too large to be compared")]
        self._open[key] = (len(self._open), self._level)
        try:
            return self._shape(shape, taken, path)
        finally:
            del self._open[key]

    def _apart(self, shape: Shape, option: Schema) -> bool:
        """Tells whether certainly no value of a shape fits an option."""
        try:
            others = shapes((bare(option),), self._taken)
        except TooRich:
            return False
        return all(_disjoint(shape, other) for other in others)

    def _unevaluated(self, shape: Shape, taken: dict[str, Any], path: tuple[str, ...]) -> list[Problem]:
        found = []
        for keyword, kind in (("unevaluatedProperties", "object"), ("unevaluatedItems", "array")):
            if kind in shape.types and taken.get(keyword, True) not in (True, {}):
                found.append(Problem(path, CANNOT_PROVE, f"has a condition {keyword!r} that cannot be compared"))
        found += [
            Problem(path, CANNOT_PROVE, f"has a condition {keyword!r} that cannot be compared")
            for keyword in ("$dynamicRef", "$recursiveRef", "dependencies")
            if keyword in taken
        ]
        return found

    def _descend(self, sent: tuple[Schema, ...], taken: Schema, path: tuple[str, ...]) -> list[Problem]:
        self._level += 1
        try:
            return self._cover(sent, taken, path)
        finally:
            self._level -= 1


_RULES: Final = {
    "pattern": "PATTERN",
    "format": "FORMAT",
    "contentEncoding": "ENCODING",
    "contentMediaType": "ENCODING",
}
# The formats whose values all have a format.
_WIDER: Final[Mapping[str, tuple[str, ...]]] = {
    "int32": ("int64", "double"),
    "float": ("double",),
}


def _inside(bound: Bound, limit: Bound, sign: int) -> bool:
    """Tells whether a bound is at least as strict as a limit; sign -1: of upper bounds."""
    at, border = sign * bound.value, sign * limit.value
    return at > border or (at == border and (bound.open or not limit.open))


def _written(bound: Bound) -> str:
    value = str(float(bound.value)) if bound.value.denominator != 1 else str(bound.value)
    return f"or equal to {value}" if bound.open else value


def _multiple(shape: Shape, of: float) -> bool:
    wanted = Fraction(of)
    if wanted.denominator != 1:
        # The validator divides in floating point: only the same divisor is certain.
        return any(text_of(each["multipleOf"]) == text_of(of) for each in shape.conditions if "multipleOf" in each)
    if wanted == 1 and not shape.types & {"fraction"}:
        return True
    divisors = [Fraction(each["multipleOf"]) for each in shape.conditions if "multipleOf" in each]
    return any(divisor.denominator == 1 and divisor % wanted == 0 for divisor in divisors)


def _disjoint(one: Shape, other: Shape) -> bool:
    if not one.types & other.types:
        return True
    values, others = one.values(), other.values()
    if values is not None and others is not None:
        return not any(_equal(a, b) for a in values for b in others)
    if one.types & other.types != {"object"}:
        return False
    for name in one.required() & other.required():
        tags = [_constants(shape.property(name)) for shape in (one, other)]
        if tags[0] is not None and tags[1] is not None and not any(_equal(a, b) for a in tags[0] for b in tags[1]):
            return True
    return False


def _constants(schemas: tuple[Schema, ...]) -> list[Any] | None:
    for schema in schemas:
        if isinstance(schema, dict) and "const" in schema:
            return [schema["const"]]
        if isinstance(schema, dict) and isinstance(schema.get("enum"), list):
            return list(schema["enum"])
    return None


def _equal(one: Any, other: Any) -> bool:
    # Equal for JSON Schema, or perhaps: 1 and 1.0 are equal, and 1 and true are taken to be.
    return bool(one == other)


def _equal_names(one: Mapping[str, Schema], other: Mapping[str, Schema]) -> frozenset[str]:
    """Returns the shared schemas that mean the same on both sides."""
    texts = {name: text_of(one[name]) for name in one.keys() & other.keys()}
    equal = {name for name, text in texts.items() if text == text_of(other[name])}
    while True:
        kept = {name for name in equal if referred(texts[name]) <= equal}
        if kept == equal:
            return frozenset(kept)
        equal = kept
