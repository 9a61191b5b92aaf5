"""Makes a small valid value for a JSON Schema: what an action must be given, and no more."""

from __future__ import annotations

from typing import Any, Final

MAX_DEPTH: Final = 12
_FORMATS: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "email": "someone@example.com",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "123e4567-e89b-42d3-a456-426614174000",
    "ipv4": "192.0.2.1",
}


class NoSample(ValueError):
    """No value could be made."""


def sample(schema: Any, definitions: dict[str, Any], depth: int = 0) -> Any:
    """Returns a value that fits the schema as far as it is simple; raises NoSample where it is not."""
    if depth > MAX_DEPTH or not isinstance(schema, dict):
        raise NoSample
    if "$ref" in schema:
        name = str(schema["$ref"]).removeprefix("#/$defs/")
        if name not in definitions:
            raise NoSample
        return sample(definitions[name], definitions, depth + 1)
    for given in ("const", "default", "example"):
        if schema.get(given) is not None:
            return schema[given]
    if schema.get("enum"):
        return next(value for value in schema["enum"] if value is not None)
    for choice in ("oneOf", "anyOf"):
        if schema.get(choice):
            return sample(schema[choice][0], definitions, depth + 1)
    if schema.get("allOf"):
        return _merged([sample(part, definitions, depth + 1) for part in schema["allOf"]])
    return _by_type(schema, definitions, depth)


def _merged(parts: list[Any]) -> Any:
    merged: dict[str, Any] = {}
    for part in parts:
        if not isinstance(part, dict):
            return part
        merged |= part
    return merged


def _by_type(schema: dict[str, Any], definitions: dict[str, Any], depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if kind == "object" or "properties" in schema:
        required = schema.get("required", ())
        properties = schema.get("properties", {})
        return {name: sample(properties.get(name, {}), definitions, depth + 1) for name in required}
    if kind == "array":
        return [sample(schema.get("items", {}), definitions, depth + 1) for _ in range(schema.get("minItems", 0))]
    if kind == "boolean":
        return True
    if kind in ("integer", "number"):
        least = schema.get("minimum", 1)
        return min(max(1, least), schema.get("maximum", max(1, least)))
    if kind == "null":
        return None
    if schema.get("pattern"):
        raise NoSample
    text = _FORMATS.get(schema.get("format", ""), "sample")
    return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength", 1000)]
