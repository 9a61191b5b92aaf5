"""How a JSON value becomes text in a path, a query, a header or a cookie: OpenAPI 3 styles, after RFC 6570."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import quote, quote_plus

import orjson

from cordboard.catalog.v1 import definition_pb2 as pb

Quote = Callable[[str], str]

# What a value may keep of RFC 3986's reserved set where it asks to. What would end the part that it stands in, or
# begin another parameter, is encoded all the same.
_PATH_RESERVED: Final = ":/@!$&'()*+,;="
_QUERY_RESERVED: Final = ":/?@!$'()*,;"

# What was encoded before, encoded once more.
_TRIPLET: Final = re.compile(r"%25([0-9A-Fa-f]{2})")
_DEEPEST: Final = 64

_DELIMITERS: Final[dict[int, str]] = {pb.STYLE_SPACE_DELIMITED: "%20", pb.STYLE_PIPE_DELIMITED: "%7C"}


def encode(value: str) -> str:
    """Returns the text with everything but RFC 3986's unreserved characters encoded."""
    return value if value.isascii() and value.isalnum() else quote(value, safe="")


def encode_form(value: str) -> str:
    """Returns the text as application/x-www-form-urlencoded has it."""
    return value if value.isascii() and value.isalnum() else quote_plus(value, safe="")


def keep_in_path(value: str) -> str:
    """Returns the text with the reserved characters left as they are that cannot end the path, and what is encoded
    already (RFC 6570 section 3.2.3).
    """
    return _TRIPLET.sub(r"%\1", quote(value, safe=_PATH_RESERVED))


def keep_in_query(value: str) -> str:
    """Returns the text with the reserved characters left as they are that cannot end the parameter, and what is encoded
    already.
    """
    return _TRIPLET.sub(r"%\1", quote(value, safe=_QUERY_RESERVED))


def text(value: Any) -> str:
    """Returns a JSON value as text: strings as they are, everything else as JSON has it."""
    if isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def _members(value: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    return ((key, member) for key, member in value.items() if member is not None)


def _items(value: list[Any]) -> Iterable[Any]:
    return (item for item in value if item is not None)


def _listed(value: Any, quoted: Quote, delimiter: str) -> str:
    if isinstance(value, dict):
        flat = (part for key, member in _members(value) for part in (key, text(member)))
        return delimiter.join(quoted(part) for part in flat)
    return delimiter.join(quoted(text(item)) for item in _items(value))


def simple(value: Any, *, explode: bool, quoted: Quote = encode) -> str:
    """Returns RFC 6570's simple expansion, `{name}`; for headers with a `quoted` that changes nothing."""
    if isinstance(value, dict) and explode:
        return ",".join(f"{quoted(key)}={quoted(text(member))}" for key, member in _members(value))
    if isinstance(value, (dict, list)):
        return _listed(value, quoted, ",")
    return quoted(text(value))


def label(value: Any, *, explode: bool, quoted: Quote = encode) -> str:
    """Returns RFC 6570's label expansion, `{.name}`."""
    if isinstance(value, dict) and explode:
        return "".join(f".{quoted(key)}={quoted(text(member))}" for key, member in _members(value))
    if isinstance(value, (dict, list)):
        return "." + _listed(value, quoted, "." if explode else ",") if value else ""
    return "." + quoted(text(value))


def matrix(name: str, value: Any, *, explode: bool, quoted: Quote = encode) -> str:
    """Returns RFC 6570's path-style expansion, `{;name}`."""
    if isinstance(value, dict) and explode:
        return "".join(f";{quoted(key)}={quoted(text(member))}" for key, member in _members(value))
    if isinstance(value, list) and explode:
        return "".join(f";{quoted(name)}={quoted(text(item))}" for item in _items(value))
    if isinstance(value, (dict, list)):
        return f";{quoted(name)}={_listed(value, quoted, ',')}" if value else ""
    written = quoted(text(value))
    return f";{quoted(name)}={written}" if written else f";{quoted(name)}"


def query(name: str, value: Any, style: int, *, explode: bool, quoted: Quote = encode) -> list[str]:
    """Returns the `name=value` pairs of a parameter, encoded; none for an empty array or object.

    Inside form and deepObject, what is nested deeper than the style has words for goes as JSON text. Raises TypeError
    for what is nested too deeply to be written.
    """
    if style == pb.STYLE_DEEP_OBJECT:
        return [f"{quoted(key)}={quoted(text(member))}" for key, member in _deep(name, value, _DEEPEST)]
    if not isinstance(value, (dict, list)):
        return [f"{quoted(name)}={quoted(text(value))}"]
    if explode:
        if isinstance(value, dict):
            return [f"{quoted(key)}={quoted(text(member))}" for key, member in _members(value)]
        return [f"{quoted(name)}={quoted(text(item))}" for item in _items(value)]
    if not value:
        return []
    return [f"{quoted(name)}={_listed(value, quoted, _DELIMITERS.get(style, ','))}"]


def _deep(name: str, value: Any, deeper: int) -> Iterable[tuple[str, Any]]:
    if not deeper:
        raise TypeError(f"nested deeper than {_DEEPEST} levels")
    if isinstance(value, dict):
        for key, member in _members(value):
            yield from _deep(f"{name}[{key}]", member, deeper - 1)
    elif isinstance(value, list):
        for index, item in enumerate(_items(value)):
            # Objects need their index, or their members would mix; plain items need none, and more servers read that.
            place = f"{name}[{index}]" if isinstance(item, (dict, list)) else f"{name}[]"
            yield from _deep(place, item, deeper - 1)
    else:
        yield name, value
