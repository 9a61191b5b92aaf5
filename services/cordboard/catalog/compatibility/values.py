"""JSON values and schemas as they are compared: by what they say, to the letter."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import orjson

REFERENCE: Final = "#/$defs/"
# Says nothing about which values are valid, as the mesh's validator reads it.
ANNOTATIONS: Final = frozenset(
    {
        "$comment",
        "default",
        "deprecated",
        "description",
        "example",
        "examples",
        "externalDocs",
        "readOnly",
        "title",
        "writeOnly",
        "xml",
    }
)


def text_of(value: Any) -> str:
    """Returns a value as canonical JSON: `1`, `1.0` and `true` are three, which they are not for Python's `==`."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()


def short(value: Any, limit: int = 120) -> str:
    """Returns a value as JSON for people."""
    text = text_of(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def bare(schema: Any) -> Any:
    """Returns a schema without what says nothing about validity."""
    return _bare(schema, is_schema=True)


def _bare(value: Any, *, is_schema: bool) -> Any:
    if isinstance(value, list):
        return [_bare(each, is_schema=is_schema) for each in value]
    if not isinstance(value, dict):
        return value
    if not is_schema:
        return {name: _bare(each, is_schema=True) for name, each in value.items()}
    return {
        name: each if name in _PLAIN else _bare(each, is_schema=name not in _NAMED)
        for name, each in value.items()
        if name not in ANNOTATIONS and not name.startswith("x-")
    }


_NAMED: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
_PLAIN: Final = frozenset({"const", "enum", "required", "dependentRequired"})


@lru_cache(maxsize=4096)
def referred(text: str) -> frozenset[str]:
    """Returns the shared schemas that a schema, given as canonical JSON, refers to directly."""
    found: set[str] = set()
    waiting = [orjson.loads(text)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            reference = node.get("$ref")
            if isinstance(reference, str):
                found.add(reference.removeprefix(REFERENCE))
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return frozenset(found)
