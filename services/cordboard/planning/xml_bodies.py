"""How a JSON value becomes XML: objects become elements, members with `@` attributes, `#text` the text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from cordboard.planning import styles

MAX_DEPTH: Final = 64

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}(?::[A-Za-z_][A-Za-z0-9_.-]{0,127})?", re.ASCII)
# What XML 1.0 has no way to write, not even escaped (section 2.2).
_UNWRITABLE: Final = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# A reader takes it for a line end of its own unless it is escaped (section 2.11).
_ESCAPED: Final = {"\r": "&#13;"}


class Unwritable(ValueError):
    """A value has no form in XML; the text says why and never quotes it."""


def is_name(text: str) -> bool:
    """Tells whether a text can be the name of an element or an attribute here: ASCII, with at most one prefix."""
    return _NAME.fullmatch(text) is not None


def xml(root: str, value: Any) -> bytes:
    """Returns the document whose root element holds a JSON value; raises Unwritable.

    Each item of a list is an element of the list's name, `null` is none at all. Nothing refers to anything outside:
    there is no document type, and there are no entities but the five that XML knows.
    """
    if isinstance(value, list):
        raise Unwritable("must be an object or a text: a document has one root")
    parts: list[str] = []
    _element(root, value, parts, MAX_DEPTH)
    return "".join(parts).encode()


def _element(name: str, value: Any, parts: list[str], deeper: int) -> None:
    if not deeper:
        raise Unwritable(f"is nested deeper than {MAX_DEPTH} levels")
    if not is_name(name):
        raise Unwritable("has a member whose name is no name of an XML element")
    if not isinstance(value, Mapping):
        text = "" if value is None else _text(value)
        parts.append(f"<{name}>{text}</{name}>" if text else f"<{name}/>")
        return
    members = {key: member for key, member in value.items() if member is not None}
    parts.append(f"<{name}")
    parts.extend(f" {_attribute(key[1:], member)}" for key, member in members.items() if key.startswith("@"))
    inner: list[str] = []
    for key, member in members.items():
        if key == "#text":
            inner.append(_text(member))
        elif not key.startswith("@"):
            for item in member if isinstance(member, list) else [member]:
                if item is not None:
                    _element(key, item, inner, deeper - 1)
    parts.extend((">", *inner, f"</{name}>") if inner else ("/>",))


def _attribute(name: str, value: Any) -> str:
    if not is_name(name):
        raise Unwritable("has a member whose name is no name of an XML attribute")
    return f"{name}={quoteattr(_plain(value))}"


def _text(value: Any) -> str:
    return escape(_plain(value), _ESCAPED)


def _plain(value: Any) -> str:
    if isinstance(value, (dict, list)):
        raise Unwritable("has an object or a list where XML has room for text alone")
    try:
        text = styles.text(value)
    except TypeError:
        raise Unwritable("holds a number that cannot be written") from None
    if _UNWRITABLE.search(text):
        raise Unwritable("holds a character that XML cannot carry")
    return text
