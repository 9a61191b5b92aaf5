"""The JSON Schemas of a definition, as a form may rely on them: malformed keywords gone, references resolved."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from cordboard.core.json_pointers import unescape
from cordboard.core.schema import JsonSchema, SchemaInvalid
from cordboard.uqi.texts import JsonInvalid, check_json, read_json

Node: TypeAlias = dict[str, Any] | bool

# Real descriptions stay below 30. The reader and the projections recurse over what is left.
MAX_SCHEMA_DEPTH: Final = 64
MAX_JSON_DEPTH: Final = 300
_LONGEST_LABEL: Final = 20_000
_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
# The name under which a schema can refer to itself as a whole (`#` and pointers below it).
_SELF: Final = "self"
_PREFIX: Final = "#/$defs/"

_SINGLE: Final = frozenset(
    {
        "items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems",
        "unevaluatedProperties", "contentSchema",
    }
)  # fmt: skip
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
# `$defs` and its older name hold schemas that apply nowhere by themselves, and that pointers lead to.
_MAPS: Final = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})


# Flags, named groups of Python's, anchors and set operations that ECMA 262 does not know.
_NOT_ECMA: Final = re.compile(r"\(\?(?![:=!<])|\\[AzZ]|\[\[:|&&|~~")


class Source:
    """One schema of a definition, and what it refers to."""

    def __init__(self, text: str, shared: SharedSchemas) -> None:
        """Takes the JSON text of a schema ('' for one that takes an empty object); raises JsonInvalid."""
        raw = read_json(text, MAX_JSON_DEPTH) if text.strip() else {"type": "object", "properties": {}}
        if not isinstance(raw, dict):
            raise JsonInvalid("is not a JSON Schema of an object")
        self._shared = shared
        self._local = _definitions(raw)
        self._cleaned: dict[str, Node] = {}
        self.losses: list[str] = []
        self._raw = {**self._local, _SELF: raw}
        root = _Cleaner(self.losses, self._leads_somewhere).node(raw, "")
        self.root: dict[str, Any] = root if isinstance(root, dict) else {}
        self._cleaned[_SELF] = self.root

    def resolve(self, reference: str) -> Node | None:
        """Returns what a reference of a cleaned schema leads to, or None when it leads nowhere."""
        name, rest = _split(reference)
        return _walk(self._definition(name), rest)

    def closure(self, *schemas: Mapping[str, Any]) -> dict[str, Node]:
        """Returns every shared schema that these refer to, directly or not, by name."""
        found: dict[str, Node] = {}
        waiting = [name for schema in schemas for name in _names(schema)]
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            node = self._definition(name)
            found[name] = True if node is None else node
            if isinstance(node, dict):
                waiting.extend(_names(node))
        return dict(sorted(found.items()))

    def _definition(self, name: str) -> Node | None:
        if name in self._cleaned:
            return self._cleaned[name]
        if name in self._local:
            cleaner = _Cleaner(self.losses, self._leads_somewhere)
            self._cleaned[name] = node = cleaner.node(self._local[name], f"$defs/{name}")
            return node
        return self._shared.definition(name)

    def _leads_somewhere(self, reference: str) -> bool:
        name, rest = _split(reference)
        return _walk(self._raw[name], rest) is not None if name in self._raw else self._shared.has(reference)


class SharedSchemas:
    """The schemas that all actions of a definition share, each cleaned when it is first asked for."""

    def __init__(self, text: str) -> None:
        """Takes the JSON text of an object from name to schema; raises JsonInvalid."""
        raw = read_json(text, MAX_JSON_DEPTH) if text.strip() else {}
        if not isinstance(raw, dict):
            raise JsonInvalid("is not an object of schemas")
        self._raw: dict[str, Any] = raw
        self._cleaned: dict[str, Node] = {}

    def definition(self, name: str) -> Node | None:
        """Returns the shared schema of that name, or None."""
        if name not in self._cleaned and name in self._raw:
            self._cleaned[name] = _Cleaner([], self.has).node(self._raw[name], name)
        return self._cleaned.get(name)

    def has(self, reference: str) -> bool:
        """Tells whether a reference leads to a shared schema, or into one."""
        name, rest = _split(reference)
        return _walk(self._raw.get(name), rest) is not None


class _Cleaner:
    """Copies a schema with only what JSON Schema 2020-12 defines, and says what it left out."""

    def __init__(self, losses: list[str], leads_somewhere: Callable[[str], bool]) -> None:
        self._losses = losses
        self._leads_somewhere = leads_somewhere

    def node(self, raw: Any, where: str, depth: int = 0) -> Node:
        if isinstance(raw, bool):
            return raw
        if not isinstance(raw, dict):
            self._lose(where, "is not a schema")
            return True
        if depth > MAX_SCHEMA_DEPTH:
            self._lose(where, f"is nested more than {MAX_SCHEMA_DEPTH} schemas deep and is not checked")
            return True
        found: dict[str, Any] = {}
        for keyword, value in (_dependencies(raw) if "dependencies" in raw else raw).items():
            if keyword in _SINGLE:
                found[keyword] = self.node(value, f"{where}/{keyword}", depth + 1)
            elif keyword in _LISTS:
                self._list(found, keyword, value, where, depth)
            elif keyword in _MAPS:
                self._map(found, keyword, value, where, depth)
            elif keyword in _PLAIN:
                self._plain(found, keyword, value, where)
        return _modern(raw, found)

    def _list(self, found: dict[str, Any], keyword: str, value: Any, where: str, depth: int) -> None:
        if isinstance(value, list) and value:
            found[keyword] = [self.node(item, f"{where}/{keyword}/{at}", depth + 1) for at, item in enumerate(value)]
        else:
            self._lose(where, f"has a malformed {keyword}")

    def _map(self, found: dict[str, Any], keyword: str, value: Any, where: str, depth: int) -> None:
        if not isinstance(value, dict):
            self._lose(where, f"has a malformed {keyword}")
            return
        members = {}
        for name, item in value.items():
            if keyword == "patternProperties" and not is_pattern(name):
                self._lose(where, "has names with a pattern that cannot be checked")
                continue
            members[name] = self.node(item, f"{where}/{name}", depth + 1)
        found[keyword] = members

    def _plain(self, found: dict[str, Any], keyword: str, value: Any, where: str) -> None:
        kept = _PLAIN[keyword](value)
        if kept is not None and keyword == "$ref" and not self._leads_somewhere(kept[0]):
            self._lose(where, f"refers to {value[:100]!r}, which does not exist")
        elif kept is not None:
            found[keyword] = kept[0]
        elif keyword == "pattern" and isinstance(value, str):
            self._lose(where, "has a pattern that cannot be checked in linear time")
        elif keyword == "$ref":
            self._lose(where, "refers to something outside the definition")
        elif not (isinstance(value, bool) and keyword in ("required", "exclusiveMinimum", "exclusiveMaximum")):
            # Booleans there are older dialects' spelling, not a mistake.
            self._lose(where, f"has a malformed {keyword}")

    def _lose(self, where: str, text: str) -> None:
        self._losses.append(f"{where.replace('/properties', '').strip('/') or 'the input'}: {text}")


def _modern(raw: Mapping[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Writes OpenAPI 3.0's own keywords in the words of 2020-12."""
    if raw.get("nullable") is True and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
    for exclusive, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if raw.get(exclusive) is True and plain in found:
            found[exclusive] = found.pop(plain)
    if "example" in raw and "examples" not in found and _sound(raw["example"]):
        found["examples"] = [raw["example"]]
    return found


def _dependencies(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the schema with `dependencies`, as drafts before 2019 have them, under the two names of 2020-12."""
    given = raw.get("dependencies")
    if not isinstance(given, dict):
        return dict(raw)
    names = {key: value for key, value in given.items() if isinstance(value, list)}
    schemas = {key: value for key, value in given.items() if isinstance(value, dict)}
    told: dict[str, dict[str, Any]] = {"dependentRequired": names, "dependentSchemas": schemas}
    own = {word: raw[word] for word in told if isinstance(raw.get(word), dict)}
    return {**raw, **{word: {**found, **own.get(word, {})} for word, found in told.items() if found}}


def _definitions(raw: Mapping[str, Any]) -> dict[str, Any]:
    local = raw.get("$defs")
    return dict(local) if isinstance(local, dict) else {}


def references(schema: Any) -> Iterator[str]:
    """Yields each reference that stands in a cleaned schema."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, Mapping):
            for keyword, value in node.items():
                if keyword == "$ref" and isinstance(value, str):
                    yield value
                elif keyword in _MAPS and isinstance(value, Mapping):
                    waiting.extend(value.values())
                elif keyword in _SINGLE or keyword in _LISTS:
                    waiting.append(value)


def _split(reference: str) -> tuple[str, list[str]]:
    """Returns the name of the schema that a reference leads to, and the steps from there."""
    name, *rest = reference.removeprefix(_PREFIX).split("/")
    return _unescape(name), [_unescape(step) for step in rest]


def _walk(node: Any, steps: list[str]) -> Node | None:
    for step in steps:
        if isinstance(node, list):
            node = node[int(step)] if step.isdecimal() and len(step) < 7 and int(step) < len(node) else None
        else:
            node = node.get(step) if isinstance(node, dict) else None
    return node if isinstance(node, dict | bool) else None


def _names(schema: Any) -> list[str]:
    return [_split(reference)[0] for reference in references(schema)]


def _unescape(step: str) -> str:
    return unescape(unquote(step))


def _sound(value: Any) -> bool:
    try:
        check_json(value, MAX_JSON_DEPTH)
    except JsonInvalid:
        return False
    return True


@functools.lru_cache(maxsize=4096)
def is_pattern(pattern: str) -> bool:
    """Tells whether a regular expression can be checked in linear time, and is one in JavaScript too."""
    if _NOT_ECMA.search(pattern):
        return False
    try:
        JsonSchema.compile({"pattern": pattern})
    except SchemaInvalid:
        return False
    return True


# Each answers with the value to keep in a tuple of one, or with None to leave the keyword out.
Kept: TypeAlias = tuple[Any] | None


def _any(value: Any) -> Kept:
    return (value,) if _sound(value) else None


def _text(value: Any) -> Kept:
    return (value[:_LONGEST_LABEL],) if isinstance(value, str) else None


def _truth(value: Any) -> Kept:
    return (value,) if isinstance(value, bool) else None


def _number(value: Any) -> Kept:
    sound = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return (value,) if sound else None


def _positive(value: Any) -> Kept:
    return _number(value) if _number(value) and value > 0 else None


def _count(value: Any) -> Kept:
    return (int(value),) if _number(value) and value >= 0 and value == int(value) and value < 1 << 53 else None


def _pattern(value: Any) -> Kept:
    return (value,) if isinstance(value, str) and is_pattern(value) else None


def _type(value: Any) -> Kept:
    if isinstance(value, str):
        return (value,) if value in _TYPES else None
    names = [name for name in dict.fromkeys(value) if name in _TYPES] if _all_text(value) else []
    return (names[0] if len(names) == 1 else names,) if names else None


def _required(value: Any) -> Kept:
    return (list(dict.fromkeys(value)),) if _all_text(value) else None


def _dependent(value: Any) -> Kept:
    sound = isinstance(value, dict) and all(_all_text(names) for names in value.values())
    return ({key: list(dict.fromkeys(names)) for key, names in value.items()},) if sound else None


def _reference(value: Any) -> Kept:
    if not isinstance(value, str) or not value.startswith("#"):
        return None
    return (value,) if value.startswith(_PREFIX) else (f"{_PREFIX}{_SELF}{value[1:].rstrip('/')}",)


def _values(value: Any) -> Kept:
    return (value,) if isinstance(value, list) and _sound(value) else None


def _choices(value: Any) -> Kept:
    return _values(value) if value else None


def _all_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_PLAIN: Final[Mapping[str, Callable[[Any], Kept]]] = {
    "$ref": _reference,
    "type": _type,
    "enum": _choices,
    "const": _any,
    "default": _any,
    "examples": _values,
    "title": _text,
    "description": _text,
    "format": _text,
    "contentEncoding": _text,
    "contentMediaType": _text,
    "deprecated": _truth,
    "readOnly": _truth,
    "writeOnly": _truth,
    "uniqueItems": _truth,
    "minimum": _number,
    "maximum": _number,
    "exclusiveMinimum": _number,
    "exclusiveMaximum": _number,
    "multipleOf": _positive,
    "minLength": _count,
    "maxLength": _count,
    "minItems": _count,
    "maxItems": _count,
    "minProperties": _count,
    "maxProperties": _count,
    "minContains": _count,
    "maxContains": _count,
    "pattern": _pattern,
    "required": _required,
    "dependentRequired": _dependent,
}
