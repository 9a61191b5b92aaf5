"""Config variables: people set them as text, and a definition's schema says what the text stands for."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from cordboard.core.schema import JsonSchema, SchemaInvalid

# What can neither end the part of a URL that it stands in nor begin another: no slash, colon, at sign, question mark,
# number sign, percent or backslash.
_PART: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?", re.ASCII)
# People copy a whole URL, and some vendors tell one.
_HOST: Final = re.compile(
    r"(?:https://)?([a-z0-9](?:[a-z0-9._-]{0,252}[a-z0-9])?(?::[0-9]{1,5})?)/?", re.IGNORECASE | re.ASCII
)


def placed(text: str, name: str, url: str) -> str:
    """Returns what a value puts in the place of `{name}` in a URL, or an empty text where it cannot stand there.

    A whole host may have a port. Of `https://acme.example/` the host is taken, and in `https://{name}.example` the part
    of it that is missing there.
    """
    host = url.partition("://")[2].partition("/")[0]
    before, found, after = host.partition(f"{{{name}}}")
    told = _HOST.fullmatch(text)
    if found and told is not None and "{" not in before + after:
        given = told[1]
        if not before + after:
            return given
        if len(given) > len(before + after) and given.startswith(before) and given.endswith(after):
            text = given[len(before) : len(given) - len(after)]
    return text if _PART.fullmatch(text) else ""


def schema_of(text: str) -> JsonSchema | None:
    """Returns the schema that a definition's JSON text is, or None where it is empty.

    One that cannot be used was refused when it was published: here nothing fits it.
    """
    if not text:
        return None
    try:
        return JsonSchema.compile(orjson.loads(text))
    except (orjson.JSONDecodeError, SchemaInvalid):
        return JsonSchema.compile(False)


def misfit(text: str, schema: JsonSchema | None) -> str:
    """Returns what keeps a text from standing for a value of a schema, without quoting it, or an empty text."""
    try:
        meant(text, schema)
    except ValueError as problem:
        told = schema.violations(text) if schema is not None else []
        return told[0].description if told else str(problem)
    return ""


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
