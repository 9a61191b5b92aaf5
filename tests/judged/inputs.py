"""Inputs made of an action's input schema: the least that it asks for, as much as it knows, and what lies between.

The same seed gives the same inputs. What is made is held against the schema by whoever asked for it: of keywords such
as `not` and `if` nothing is known here.
"""

from __future__ import annotations

import base64
import math
import random
import re
import string
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final

import rstr

MAX_DEPTH: Final = 5
MAX_NODES: Final = 400

_DEFS: Final = "#/$defs/"
_FORMATS: Final[Mapping[str, str]] = {
    "date": "2024-02-29",
    "date-time": "2024-02-29T12:30:45Z",
    "time": "12:30:45Z",
    "duration": "P1DT2H",
    "email": "ada@example.com",
    "hostname": "api.example.com",
    "ipv4": "192.0.2.7",
    "ipv6": "2001:db8::7",
    "uri": "https://example.com/a/b?c=d",
    "url": "https://example.com/a/b?c=d",
    "uri-reference": "https://example.com/a",
    "uuid": "3f2b8c1e-9d4a-4f6b-8c7d-1a2b3c4d5e6f",
    "byte": base64.b64encode(b"cord board?>").decode(),
    "binary": "plain text",
    "json-pointer": "/a/b",
    "regex": "^a+$",
}
# What a URL, a form or a header would break on if it were put there as it is.
_AWKWARD: Final = ("a b", "x&y=z", "50%", "one+two", "käse", "semi;colon", 'quo"te')
_PLAIN: Final = ("alpha", "beta2", "gamma-3", "delta_4")
_BY_KEYWORD: Final = (
    ("object", ("properties", "required", "additionalProperties", "minProperties", "maxProperties")),
    ("array", ("items", "minItems", "maxItems", "uniqueItems", "prefixItems")),
    ("string", ("pattern", "format", "minLength", "maxLength", "contentEncoding")),
    ("number", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
)


class Size(Enum):
    """How much of a schema an input uses."""

    LEAST = "least"
    """What is required."""
    MOST = "most"
    """Every property, as deep as the depth allows."""
    SOME = "some"
    """What is required, and half of the rest."""


class Unmade(Exception):
    """No value can be made of a schema."""


class Schemas:
    """What the schemas of one definition say, `$ref` and `allOf` resolved a step at a time."""

    def __init__(self, shared: Mapping[str, Any]) -> None:
        """Takes the definition's shared schemas by name."""
        self._shared = shared

    def said(self, schema: Any) -> dict[str, Any]:
        """Returns a schema without `$ref` and `allOf` at its top; raises Unmade where nothing fits it."""
        if schema is False:
            raise Unmade("nothing is allowed here")
        found = dict(schema) if isinstance(schema, dict) else {}
        for _ in range(50):
            if "$ref" in found:
                target = self._target(str(found.pop("$ref")))
                found = _both(self._top(target), found)
            elif "allOf" in found:
                parts = found.pop("allOf")
                for part in parts:
                    found = _both(found, self._top(part))
            else:
                return found
        raise Unmade("references lead in a circle")

    def _top(self, schema: Any) -> dict[str, Any]:
        if schema is False:
            raise Unmade("nothing is allowed here")
        return dict(schema) if isinstance(schema, dict) else {}

    def _target(self, reference: str) -> Any:
        name = reference.removeprefix(_DEFS).replace("%25", "%").replace("~1", "/").replace("~0", "~")
        if name not in self._shared:
            raise Unmade(f"{reference!r} leads nowhere")
        return self._shared[name]


class Inputs:
    """Makes the inputs of one action."""

    def __init__(
        self,
        schema: Mapping[str, Any],
        schemas: Schemas,
        seed: str,
        *,
        awkward: frozenset[str] = frozenset(),
        always: frozenset[str] = frozenset(),
    ) -> None:
        """Takes the input's schema.

        `awkward` are the properties whose texts may hold characters that need quoting, and `always` those that every
        input has, required or not.
        """
        self._schema = {**schema, "required": [*schema.get("required", ()), *always]}
        self._schemas = schemas
        self._seed = seed
        self._awkward = awkward

    def make(self, size: Size) -> Iterator[dict[str, Any]]:
        """Yields inputs of a size, each made with other choices, until the caller has one that fits."""
        for attempt in range(40):
            making = _Making(self._schemas, random.Random(f"{self._seed} {size.value} {attempt}"), size, attempt)
            try:
                yield making.input(self._schema, self._awkward)
            except Unmade:
                continue


class _Making:
    """One value in the making."""

    def __init__(self, schemas: Schemas, chance: random.Random, size: Size, attempt: int) -> None:
        self._schemas = schemas
        self._random = chance
        self._texts = rstr.Rstr(chance)
        self._size = size
        # What did not fit before is made smaller.
        self._depth = max(1, MAX_DEPTH - attempt // 8)
        self._left = MAX_NODES
        self._is_awkward = False

    def input(self, schema: Mapping[str, Any], awkward: frozenset[str]) -> dict[str, Any]:
        made = {}
        required = set(schema.get("required", ()))
        for name, one in schema.get("properties", {}).items():
            if name not in required and not self._wanted(0):
                continue
            self._is_awkward = name in awkward
            try:
                made[name] = self._value(one, 0)
            except Unmade:
                if name in required:
                    raise
        return made

    def _wanted(self, depth: int) -> bool:
        if self._size is Size.LEAST or depth >= self._depth or self._left <= 0:
            return False
        return self._size is Size.MOST or self._random.random() < 0.5

    def _value(self, schema: Any, depth: int) -> Any:
        self._left -= 1
        if depth > MAX_DEPTH * 4:
            raise Unmade("it is required inside itself")
        said = self._chosen(self._schemas.said(schema))
        if "const" in said:
            return said["const"]
        if said.get("enum"):
            return self._random.choice([one for one in said["enum"] if one is not None] or said["enum"])
        kind = self._kind(said)
        if kind == "object":
            return self._object(said, depth)
        if kind == "array":
            return self._array(said, depth)
        if kind in ("integer", "number"):
            return self._number(said, kind)
        if kind == "boolean":
            return self._random.random() < 0.5
        return None if kind == "null" else self._text(said)

    def _chosen(self, said: dict[str, Any]) -> dict[str, Any]:
        """Returns one of the alternatives that a schema leaves."""
        for _ in range(20):
            keyword = next((one for one in ("oneOf", "anyOf") if said.get(one)), None)
            if keyword is None:
                return said
            parts = said.pop(keyword)
            told = [part for part in parts if not (isinstance(part, dict) and part.get("type") == "null")]
            said = self._schemas.said({"allOf": [said, self._random.choice(told or parts)]})
        raise Unmade("alternatives never end")

    def _kind(self, said: dict[str, Any]) -> str:
        declared = said.get("type")
        kinds = [declared] if isinstance(declared, str) else list(declared or ())
        told = [kind for kind in kinds if kind != "null"]
        if kinds:
            return str(self._random.choice(told)) if told else "null"
        return next((kind for kind, keywords in _BY_KEYWORD if any(one in said for one in keywords)), "string")

    def _object(self, said: dict[str, Any], depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        required = [str(name) for name in said.get("required", ())]
        properties = said.get("properties", {})
        for name, one in properties.items():
            if name in required or self._wanted(depth + 1):
                try:
                    made[name] = self._value(one, depth + 1)
                except Unmade:
                    if name in required:
                        raise
        others = said.get("additionalProperties", True)
        for name in required:
            if name not in properties:
                made[name] = self._value(others, depth + 1)
        wanted = max(int(said.get("minProperties", 0)), len(made), int(not properties and self._wanted(depth + 1)))
        number = 0
        while len(made) < wanted and others is not False and number < 20:
            number += 1
            made.setdefault(f"key{number}", self._value(others, depth + 1))
        return made

    def _array(self, said: dict[str, Any], depth: int) -> list[Any]:
        least = int(said.get("minItems", 0))
        most = int(said.get("maxItems", max(least, 2)))
        count = least if self._size is Size.LEAST else max(least, min(most, self._random.choice((1, 2))))
        if not self._wanted(depth):
            count = least
        first = [self._value(one, depth + 1) for one in said.get("prefixItems", ())[:count]]
        made: list[Any] = []
        tries = 0
        while len(first) + len(made) < count and tries < 50:
            tries += 1
            one = self._value(said.get("items", {"type": "string"}), depth + 1)
            if not said.get("uniqueItems") or one not in made:
                made.append(one)
        return [*first, *made]

    def _number(self, said: dict[str, Any], kind: str) -> float:
        step = said.get("multipleOf") or (1 if kind == "integer" else 0.25)
        low = said.get("minimum", said.get("exclusiveMinimum"))
        high = said.get("maximum", said.get("exclusiveMaximum"))
        if low is None:
            low = min(0, high) if high is not None else 0
        if high is None:
            high = max(low, 0) + 100 * step
        first, last = math.ceil(low / step), math.floor(high / step)
        if "exclusiveMinimum" in said and first * step <= said["exclusiveMinimum"]:
            first += 1
        if "exclusiveMaximum" in said and last * step >= said["exclusiveMaximum"]:
            last -= 1
        if first > last:
            return float(low) if kind == "number" else int(low)
        value = self._random.randint(first, min(last, first + 1000)) * step
        return int(value) if kind == "integer" else float(value)

    def _text(self, said: dict[str, Any]) -> str:
        least, most = int(said.get("minLength", 0)), int(said.get("maxLength", 10_000))
        if isinstance(said.get("pattern"), str):
            return self._patterned(said["pattern"], most)
        if said.get("contentEncoding") == "base64":
            return base64.b64encode(self._random.choice((b"PK\x03\x04 bytes \xff\x00", b"text"))).decode()
        known = _FORMATS.get(str(said.get("format", "")))
        if known is not None and least <= len(known) <= most:
            return known
        text = self._random.choice((*_AWKWARD, *_PLAIN) if self._is_awkward else _PLAIN)
        if len(text) < least:
            text += "".join(self._random.choice(string.ascii_lowercase) for _ in range(least - len(text)))
        return text[:most].rstrip() or text[:most]

    def _patterned(self, pattern: str, most: int) -> str:
        shortest: str | None = None
        for _ in range(10):
            try:
                text = self._texts.xeger(pattern)
            except (re.error, KeyError, IndexError, ValueError, OverflowError) as problem:
                raise Unmade(f"nothing is made of the pattern: {problem}") from None
            shortest = text if shortest is None or len(text) < len(shortest) else shortest
            if len(text) <= most:
                return text
        return (shortest or "")[:most]


def _both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Returns a schema that says what both say, as far as their keywords can be laid together."""
    found = dict(one)
    for keyword, value in other.items():
        known: Any = found.get(keyword)
        if keyword not in found or known == value:
            found[keyword] = value
        elif keyword == "properties":
            found[keyword] = {
                name: {"allOf": [known[name], value[name]]}
                if name in known and name in value
                else {**known, **value}[name]
                for name in {**known, **value}
            }
        elif keyword == "required":
            found[keyword] = list(dict.fromkeys([*known, *value]))
        elif keyword == "allOf":
            found[keyword] = [*known, *value]
        elif keyword == "items":
            found[keyword] = {"allOf": [known, value]}
        elif keyword == "enum":
            found[keyword] = [each for each in known if each in value] or known
        elif keyword == "type":
            found[keyword] = _common(known, value)
        elif keyword in ("minimum", "minLength", "minItems", "minProperties", "exclusiveMinimum"):
            found[keyword] = max(known, value)
        elif keyword in ("maximum", "maxLength", "maxItems", "maxProperties", "exclusiveMaximum"):
            found[keyword] = min(known, value)
        elif keyword == "additionalProperties" and value is not True:
            found[keyword] = value
    return found


def _common(one: Any, other: Any) -> Any:
    mine, yours = ([each] if isinstance(each, str) else list(each) for each in (one, other))
    both = [kind for kind in mine if kind in yours or (kind == "integer" and "number" in yours)]
    return both[0] if len(both) == 1 else both or one
