"""Schemas of OpenAPI 3.0 and 3.1 become JSON Schema 2020-12.

A referenced schema is written once, among the definition's shared schemas, and referred to from there: recursion stays
recursion, and nothing grows. A schema with `readOnly` or `writeOnly` parts is written twice, as it is sent and as it
is answered.
"""

from __future__ import annotations

import math
import re
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import orjson

from cordboard.catalog.openapi.bundle import plain_name
from cordboard.catalog.openapi.source import Unresolved, join, mapping, sequence
from cordboard.catalog.schemas import MANY, NAMED, ONE, REFERENCE, compile_problems, parts
from cordboard.core.schema import JsonSchema, SchemaInvalid

if TYPE_CHECKING:
    from cordboard.catalog.openapi.report import Report
    from cordboard.catalog.openapi.source import Source
    from cordboard.catalog.schemas import Schema

MAX_DESCRIPTION: Final = 4000
MAX_DEFAULT: Final = 2000
# How far `$ref` and `allOf` are followed to learn which way a property travels.
MAX_NESTING: Final = 8

_TYPES: Final = ("string", "number", "integer", "boolean", "array", "object", "null")
# What vendors write where a type should stand.
_MEANT: Final = {
    "any": "",
    "bigint": "integer",
    "bool": "boolean",
    "byte": "string",
    "char": "string",
    "currency": "number",
    "date": "string",
    "date-time": "string",
    "datetime": "string",
    "decimal": "number",
    "dict": "object",
    "double": "number",
    "email": "string",
    "enum": "string",
    "file": "string",
    "float": "number",
    "hash": "object",
    "id": "string",
    "int": "integer",
    "int32": "integer",
    "int64": "integer",
    "json": "",
    "list": "array",
    "long": "integer",
    "map": "object",
    "mixed": "",
    "numeric": "number",
    "str": "string",
    "text": "string",
    "timestamp": "string",
    "uri": "string",
    "url": "string",
    "uuid": "string",
}
_COUNTS: Final = frozenset(
    {
        "maxContains",
        "maxItems",
        "maxLength",
        "maxProperties",
        "minContains",
        "minItems",
        "minLength",
        "minProperties",
    }
)
_NUMBERS: Final = frozenset({"exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"})
_TEXTS: Final = frozenset({"contentEncoding", "contentMediaType", "format", "title"})
_FLAGS: Final = frozenset({"deprecated", "readOnly", "uniqueItems", "writeOnly"})
# The only siblings of `$ref` that mean something to people in OpenAPI 3.0, where by the letter none means anything.
_BESIDE_REFERENCE: Final = frozenset({"default", "deprecated", "description", "readOnly", "title", "writeOnly"})
_UNSAFE_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]+")


class Direction(Enum):
    """Which way a value travels."""

    REQUEST = "readOnly"
    """To the vendor: what is read-only stays out."""
    RESPONSE = "writeOnly"
    """From the vendor: what is write-only stays out."""


class Schemas:
    """Converts the schemas of one document."""

    def __init__(self, source: Source, report: Report) -> None:
        """Takes the document, and where findings go."""
        self._source = source
        self._report = report
        self._names: dict[tuple[str, Direction | None], str] = {}
        self._taken: set[str] = set()
        self._waiting: deque[tuple[str, Any, str, Direction]] = deque()
        self._shared: dict[str, Schema] = {}
        self._patterns: dict[str, bool] = {}
        self._directed = _DirectedParts(source)

    def convert(self, schema: Any, pointer: str, direction: Direction) -> Schema:
        """Returns a schema in JSON Schema 2020-12; what it refers to is among `shared`."""
        return self._node(schema, pointer, direction)

    def shared(self) -> dict[str, Schema]:
        """Returns the schemas that the converted ones refer to, by name."""
        while self._waiting:
            name, schema, pointer, direction = self._waiting.popleft()
            self._shared[name] = self._node(schema, pointer, direction)
        return self._shared

    def shape(self, schema: Any) -> tuple[str, dict[str, Any]]:
        """Returns what kind of value a schema is about, `array`, `object` or neither, and the schema itself."""
        try:
            found, _ = self._source.follow(schema, "")
        except Unresolved:
            return "", {}
        said = mapping(found)
        kind = said.get("type")
        if kind in ("array", "object"):
            return str(kind), said
        if kind is None and ("properties" in said or "items" in said):
            return ("object" if "properties" in said else "array"), said
        return "", said

    def left_out(self, schema: Any, direction: Direction) -> bool:
        """Tells whether a property with this schema does not travel in this direction."""
        return self._says(schema, direction.value, 0)

    def _says(self, schema: Any, keyword: str, depth: int) -> bool:
        """Tells whether a schema, or one that applies with it, has a keyword that is true."""
        if not isinstance(schema, dict) or depth > MAX_NESTING:
            return False
        if schema.get(keyword) is True:
            return True
        if "$ref" in schema:
            try:
                target, _ = self._source.follow(schema, "")
            except Unresolved:
                return False
            return self._says(target, keyword, depth + 1)
        return any(self._says(part, keyword, depth + 1) for part in sequence(schema.get("allOf")))

    def _node(self, schema: Any, pointer: str, direction: Direction) -> Schema:
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            self._report.repair(pointer, "this is not a schema; anything is accepted here")
            return {}
        if isinstance(schema.get("$ref"), str):
            return self._reference(schema, pointer, direction)
        converted: dict[str, Any] = {}
        for keyword, value in schema.items():
            if keyword in ONE:
                self._one(converted, keyword, value, pointer, direction)
            elif keyword in MANY:
                self._many(converted, keyword, value, pointer, direction)
            elif keyword in NAMED:
                self._named(converted, keyword, value, pointer, direction)
            else:
                self._keyword(converted, keyword, value, pointer)
        self._settle_bounds(converted, schema)
        self._settle_enum(converted, pointer)
        self._settle_required(converted, schema, direction)
        if schema.get("nullable") is True:
            return _nullable(converted)
        return converted

    def _reference(self, schema: dict[str, Any], pointer: str, direction: Direction) -> Schema:
        rest = {
            keyword: value
            for keyword, value in schema.items()
            if keyword != "$ref" and (not self._source.is_3_0 or keyword in _BESIDE_REFERENCE)
        }
        beside = self._node(rest, pointer, direction) if rest else {}
        try:
            target, at = self._source.target(schema["$ref"])
        except Unresolved as problem:
            self._report.repair(pointer, f"{problem}; anything is accepted here")
            return beside
        return {"$ref": REFERENCE + self._name(target, at, direction), **mapping(beside)}

    def _name(self, schema: Any, pointer: str, direction: Direction) -> str:
        key = (pointer, direction if self._directed.has(pointer, schema) else None)
        known = self._names.get(key)
        if known is None:
            wanted = _UNSAFE_NAME.sub("_", plain_name(pointer)).strip("_")[:100] or "schema"
            if key[1] is Direction.REQUEST:
                wanted += ".request"
            known = wanted
            number = 1
            while known in self._taken:
                number += 1
                known = f"{wanted}_{number}"
            self._taken.add(known)
            self._names[key] = known
            self._waiting.append((known, schema, pointer, direction))
        return known

    def _one(self, into: dict[str, Any], keyword: str, value: Any, pointer: str, direction: Direction) -> None:
        if keyword == "items" and isinstance(value, list):
            self._many(into, "prefixItems", value, pointer, direction)
        elif isinstance(value, (dict, bool)):
            into[keyword] = self._node(value, join(pointer, keyword), direction)
        else:
            self._report.repair(join(pointer, keyword), f"`{keyword}` is not a schema and was left out")

    def _many(self, into: dict[str, Any], keyword: str, value: Any, pointer: str, direction: Direction) -> None:
        members = [value] if isinstance(value, dict) else value
        if isinstance(members, list) and members:
            here = join(pointer, keyword)
            into[keyword] = [self._node(one, join(here, index), direction) for index, one in enumerate(members)]
        else:
            self._report.repair(join(pointer, keyword), f"`{keyword}` is not a list of schemas and was left out")

    def _named(self, into: dict[str, Any], keyword: str, value: Any, pointer: str, direction: Direction) -> None:
        here = join(pointer, keyword)
        if not isinstance(value, dict):
            self._report.repair(here, f"`{keyword}` is not a mapping and was left out")
            return
        into[keyword] = {
            name: self._node(schema, join(here, name), direction)
            for name, schema in value.items()
            if not (keyword == "properties" and self.left_out(schema, direction))
            and (keyword != "patternProperties" or self.is_pattern(name, here))
        }

    def _keyword(self, into: dict[str, Any], keyword: str, value: Any, pointer: str) -> None:
        """Takes over a keyword that holds no schema; examples, extensions and what nobody knows stay behind."""
        if keyword == "type":
            self._type(into, value, pointer)
        elif keyword == "pattern":
            if isinstance(value, str) and self.is_pattern(value, join(pointer, keyword)):
                into[keyword] = value
        elif keyword in ("const", "enum", "required"):
            into[keyword] = value
        else:
            kept = _kept(keyword, value)
            if kept is not None:
                into[keyword] = kept

    def _type(self, into: dict[str, Any], value: Any, pointer: str) -> None:
        meant: list[str] = []
        for one in value if isinstance(value, list) else [value]:
            known = one if one in _TYPES else _MEANT.get(one.lower(), one.lower()) if isinstance(one, str) else ""
            if known != one:
                instead = repr(known) if known in _TYPES else "nothing"
                self._report.repair(pointer, f"{str(one)[:60]!r} is not a type; {instead} stands for it")
            if known in _TYPES and known not in meant:
                meant.append(known)
            elif known not in _TYPES:
                return
        if meant:
            into["type"] = meant[0] if len(meant) == 1 else meant

    def is_pattern(self, pattern: str, pointer: str) -> bool:
        """Tells whether a regular expression runs in linear time here; one that does not is left out with a note."""
        known = self._patterns.get(pattern)
        if known is None:
            try:
                JsonSchema.compile({"pattern": pattern})
                known = True
            except SchemaInvalid:
                known = False
            self._patterns[pattern] = known
        if not known:
            self._report.note(pointer, f"the pattern {pattern[:100]!r} needs backtracking or is wrong; it was left out")
        return known

    def _settle_bounds(self, into: dict[str, Any], schema: dict[str, Any]) -> None:
        # In OpenAPI 3.0 `exclusiveMinimum: true` changes what `minimum` means.
        for exclusive, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            if schema.get(exclusive) is True and inclusive in into:
                into[exclusive] = into.pop(inclusive)

    def _settle_enum(self, into: dict[str, Any], pointer: str) -> None:
        if "enum" not in into:
            return
        values = into.pop("enum")
        if not isinstance(values, list) or not values:
            self._report.repair(join(pointer, "enum"), "`enum` is not a list of values and was left out")
            return
        if into.get("type") == "string" and not any(isinstance(value, str) for value in values):
            # Unquoted YAML: `enum: [on, 1.0]` is meant as the texts that are sent.
            values = [_sent(value) for value in values if not isinstance(value, (dict, list))]
            self._report.repair(join(pointer, "enum"), "the values of `enum` are not of its type; they were made text")
        if values:
            into["enum"] = values

    def _settle_required(self, into: dict[str, Any], schema: dict[str, Any], direction: Direction) -> None:
        if "required" not in into:
            return
        names = into.pop("required")
        properties = mapping(schema.get("properties"))
        wanted = (
            [
                name
                for name in dict.fromkeys(name for name in names if isinstance(name, str))
                if not self.left_out(properties.get(name), direction)
            ]
            if isinstance(names, list)
            else []
        )
        if wanted:
            into["required"] = wanted


def mend(shared: dict[str, Schema], schemas: dict[str, Schema], report: Report) -> None:
    """Puts `{}` in the place of each schema that does not compile, and reports it."""
    for name in compile_problems(shared, schemas):
        holder, key = (shared, name.removeprefix("$defs/")) if name.startswith("$defs/") else (schemas, name)
        if key in holder:
            report.loss("", f"the schema {key!r} cannot be used; anything is accepted in its place")
            holder[key] = {}


class _DirectedParts:
    """Knows which referenced schemas have `readOnly` or `writeOnly` parts, themselves or further on."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._known: dict[str, bool] = {}

    def has(self, pointer: str, schema: Any) -> bool:
        known = self._known.get(pointer)
        if known is None:
            self._learn(pointer, schema)
            known = self._known[pointer]
        return known

    def _learn(self, pointer: str, schema: Any) -> None:
        found: dict[str, bool] = {}
        users: dict[str, list[str]] = {}
        waiting: list[tuple[str, Any]] = [(pointer, schema)]
        while waiting:
            here, one = waiting.pop()
            if here in found:
                continue
            found[here] = False
            for part in _all_parts(one):
                if part.get("readOnly") is True or part.get("writeOnly") is True:
                    found[here] = True
                reference = part.get("$ref")
                if not isinstance(reference, str):
                    continue
                try:
                    target, at = self._source.target(reference)
                except Unresolved:
                    continue
                if self._known.get(at):
                    found[here] = True
                elif at not in self._known:
                    users.setdefault(at, []).append(here)
                    waiting.append((at, target))
        directed = [here for here, is_directed in found.items() if is_directed]
        while directed:
            for user in users.get(directed.pop(), ()):
                if not found[user]:
                    found[user] = True
                    directed.append(user)
        self._known.update(found)


def _all_parts(schema: Any) -> list[dict[str, Any]]:
    gathered: list[dict[str, Any]] = []
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            gathered.append(one)
            waiting.extend(parts(one))
    return gathered


def _nullable(schema: dict[str, Any]) -> Schema:
    kind = schema.get("type")
    if isinstance(kind, str):
        return {**schema, "type": [kind, "null"]}
    if isinstance(kind, list):
        return {**schema, "type": [*kind, *({"null"} - set(kind))]}
    if any(keyword in schema for keyword in ("$ref", "allOf", "anyOf", "oneOf", "enum")):
        said: dict[str, Any] = {
            keyword: schema.pop(keyword) for keyword in ("title", "description", "default") if keyword in schema
        }
        return {**said, "anyOf": [schema, {"type": "null"}]}
    return schema


def _kept(keyword: str, value: Any) -> Any:
    """Returns what is kept of a plain keyword, or None."""
    if keyword in _TEXTS:
        return value if isinstance(value, str) else None
    if keyword == "description":
        return value[:MAX_DESCRIPTION] if isinstance(value, str) else None
    if keyword in _FLAGS:
        return True if value is True else None
    if keyword in _COUNTS:
        number = _number(value)
        return int(number) if number is not None and number >= 0 and number == int(number) else None
    if keyword in _NUMBERS:
        number = _number(value)
        return number if number is not None and (keyword != "multipleOf" or number > 0) else None
    if keyword == "default":
        return value if len(orjson.dumps(value)) <= MAX_DEFAULT else None
    if keyword == "dependentRequired":
        named = {name: names for name, names in mapping(value).items() if isinstance(names, list)}
        return {name: [one for one in names if isinstance(one, str)] for name, names in named.items()}
    return None


def _number(value: Any) -> int | float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
        value = int(value) if math.isfinite(value) and value == int(value) else value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value


def _sent(value: Any) -> Any:
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)
