"""JSON Schemas of a definition: how they refer to each other, and whether they all compile."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from cordboard.core.schema import JsonSchema, SchemaInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REFERENCE: Final = "#/$defs/"
NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)

# Where a schema holds other schemas: one, a list of them, or a mapping of them.
ONE: Final = frozenset(
    {
        "additionalProperties",
        "contains",
        "contentSchema",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
MANY: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
NAMED: Final = frozenset({"dependentSchemas", "patternProperties", "properties"})
# A schema is part of one definition: it has no base of its own, and its shared parts stand in `schemas`.
_FORBIDDEN: Final = frozenset({"$anchor", "$defs", "$dynamicAnchor", "$dynamicRef", "$id", "$schema", "definitions"})

Schema = dict[str, Any] | bool


def parts(schema: Any) -> Iterator[Any]:
    """Yields the schemas directly inside a schema."""
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        if keyword in ONE:
            yield value
        elif keyword in MANY and isinstance(value, list):
            yield from value
        elif keyword in NAMED and isinstance(value, dict):
            yield from value.values()


def wording_problem(schema: Any, names: Mapping[str, Any]) -> str:
    """Returns the first thing in a schema that a definition's schema cannot say, or an empty text."""
    if isinstance(schema, bool):
        return ""
    if not isinstance(schema, dict):
        return "holds something that is not a schema"
    forbidden = _FORBIDDEN.intersection(schema)
    if forbidden:
        return f"must not use {min(forbidden)!r}; shared schemas stand in `schemas`"
    reference = schema.get("$ref")
    if reference is not None and not (
        isinstance(reference, str) and reference.startswith(REFERENCE) and reference.removeprefix(REFERENCE) in names
    ):
        return f"refers to {str(reference)[:100]!r}, which is not one of the definition's `schemas`"
    for part in parts(schema):
        problem = wording_problem(part, names)
        if problem:
            return problem
    return ""


def compile_problems(shared: Mapping[str, Schema], schemas: Mapping[str, Schema]) -> dict[str, str]:
    """Returns what keeps schemas from compiling, by name; shared ones under `$defs/NAME`.

    All are compiled as one: a definition can have thousands of schemas that refer to the same shared ones.
    """
    whole: dict[str, Any] = {
        "$defs": dict(shared),
        "properties": {
            **{f"$defs/{name}": {"$ref": REFERENCE + name} for name in shared},
            **schemas,
        },
    }
    try:
        JsonSchema.compile(whole)
    except SchemaInvalid as whole_problem:
        found = {}
        for name, schema in (*((f"$defs/{name}", schema) for name, schema in shared.items()), *schemas.items()):
            try:
                JsonSchema.compile(_without_references(schema))
            except SchemaInvalid as problem:
                found[name] = str(problem)
        return found or {"": str(whole_problem)}
    return {}


def _without_references(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    bare = {}
    for keyword, value in schema.items():
        if keyword == "$ref":
            continue
        if keyword in ONE:
            bare[keyword] = _without_references(value)
        elif keyword in MANY and isinstance(value, list):
            bare[keyword] = [_without_references(part) for part in value]
        elif keyword in NAMED and isinstance(value, dict):
            bare[keyword] = {name: _without_references(part) for name, part in value.items()}
        else:
            bare[keyword] = value
    return bare
