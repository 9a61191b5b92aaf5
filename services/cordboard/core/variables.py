"""Config variables: people set them as text, and a definition's schema says what the text stands for."""

from __future__ import annotations

from typing import Any

import orjson

from cordboard.core.schema import JsonSchema


def meant(text: str, schema: JsonSchema | None) -> Any:
    """Returns what a text stands for: the text itself, or the number or truth value it writes where the schema asks
    for one.

    Raises ValueError where neither fits; it never quotes the text, which may be a secret.
    """
    if schema is None or schema.accepts(text):
        return text
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, (bool, int, float)) or not schema.accepts(value):
        raise ValueError("does not fit its schema")
    return value
