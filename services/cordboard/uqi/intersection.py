"""One schema out of several that must all hold, as far as JSON Schema keywords can be put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

_FIRST: Final = frozenset(
    {"title", "description", "default", "examples", "format", "contentEncoding", "contentMediaType", "readOnly",
     "writeOnly", "deprecated", "additionalProperties"}
)  # fmt: skip
_TIGHTER: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "minimum": max, "exclusiveMinimum": max, "minLength": max, "minItems": max, "minProperties": max,
    "maximum": min, "exclusiveMaximum": min, "maxLength": min, "maxItems": min, "maxProperties": min,
    "uniqueItems": max,
}  # fmt: skip


_CASE: Final = ("if", "then", "else")


class Contradiction(ValueError):
    """No value can fit all of the schemas."""


def intersection(schemas: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns a schema that says what all of these say; the first one's title and other notes win.

    Keywords that cannot be put together stay side by side in `allOf`. Raises Contradiction on types or values with
    nothing in common.
    """
    merged: dict[str, Any] = {}
    for schema in schemas:
        case = {keyword: schema[keyword] for keyword in _CASE if keyword in schema}
        if case and any(keyword in merged for keyword in _CASE):
            # These three belong together: another schema's `then` is about another schema's `if`.
            merged["allOf"] = [*merged.get("allOf", ()), case]
        else:
            merged |= case
        for keyword, value in schema.items():
            if keyword in _CASE:
                continue
            if keyword not in merged:
                merged[keyword] = value
            elif merged[keyword] != value:
                _join(merged, keyword, value)
    return merged


def types_of(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the types that a schema names, or that its keywords are about; empty for any type."""
    named = schema.get("type")
    if named is not None:
        return (named,) if isinstance(named, str) else tuple(named)
    if schema.get("properties") or isinstance(schema.get("additionalProperties"), dict):
        return ("object",)
    return ("array",) if "items" in schema else ()


def _join(merged: dict[str, Any], keyword: str, value: Any) -> None:
    present = merged[keyword]
    if keyword in _FIRST:
        return
    if keyword in _TIGHTER:
        merged[keyword] = _TIGHTER[keyword](present, value)
    elif keyword == "type":
        merged["type"] = _common_types(present, value)
    elif keyword == "required":
        merged["required"] = list(dict.fromkeys([*present, *value]))
    elif keyword == "properties":
        both = {name: {"allOf": [present[name], value[name]]} for name in present if name in value}
        merged["properties"] = {**present, **value, **both}
    elif keyword == "enum":
        merged["enum"] = [item for item in present if any(_same(item, other) for other in value)]
        if not merged["enum"]:
            raise Contradiction("no value is in both lists")
    elif keyword == "const":
        raise Contradiction("two different values are asked for")
    else:
        merged["allOf"] = [*merged.get("allOf", ()), {keyword: value}]


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _common_types(one: str | list[str], other: str | list[str]) -> str | list[str]:
    left, right = ([types] if isinstance(types, str) else types for types in (one, other))
    common = [name for name in left if name in right]
    # Every integer is a number.
    for narrow, wide in ((left, right), (right, left)):
        if "integer" in narrow and "number" in wide and "integer" not in common:
            common.append("integer")
    if not common:
        raise Contradiction("no type fits")
    return common[0] if len(common) == 1 else common
