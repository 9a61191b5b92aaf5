"""XML as JSON: elements are objects, attributes members with `@`, text the member `#text`. Pure.

An element that holds text alone is that text, an empty one is null, and elements of one name beside each other are a
list. Names are as they are written, with their prefixes. A document type is refused before anything in it is read, so
there is no entity that could name a file or grow.
"""

from __future__ import annotations

from typing import Any, Final
from xml.parsers import expat

MAX_DEPTH: Final = 128

_CHARSETS: Final = frozenset({"utf-8", "utf-16", "iso-8859-1", "us-ascii"})
_ATTRIBUTE: Final = "@"
_TEXT: Final = "#text"


class Malformed(ValueError):
    """The bytes are no XML that is read here; the text says why in a few fixed words, and nothing of the bytes."""


def read_xml(body: bytes, charset: str = "", *, most: int) -> Any:
    """Returns an object with the root element, or None where there are no bytes; raises Malformed.

    `charset` is what the transport says; empty: the document says it. `most` bounds elements and attributes together.
    """
    if not body.strip():
        return None
    lower = charset.lower()
    parser = expat.ParserCreate(lower if lower in _CHARSETS else None)
    parser.buffer_text = True
    parser.ordered_attributes = True
    builder = _Builder(most)
    parser.StartDoctypeDeclHandler = builder.doctype
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, UnicodeError):
        raise Malformed("is not XML") from None
    return builder.root


class _Builder:
    """Puts elements together as they come."""

    def __init__(self, most: int) -> None:
        self.root: dict[str, Any] = {}
        self._most = most
        # The root's parent, then each open element.
        self._open: list[tuple[dict[str, Any], list[str]]] = [(self.root, [])]

    def doctype(self, *_: object) -> None:
        raise Malformed("has a document type, which is not read")

    def start(self, _: str, attributes: list[str]) -> None:
        self._most -= 1 + len(attributes) // 2
        if self._most < 0:
            raise Malformed("has more elements than are taken")
        if len(self._open) > MAX_DEPTH:
            raise Malformed("is nested more deeply than is taken")
        given = {f"{_ATTRIBUTE}{key}": value for key, value in zip(attributes[::2], attributes[1::2], strict=True)}
        self._open.append((given, []))

    def text(self, data: str) -> None:
        self._open[-1][1].append(data)

    def end(self, name: str) -> None:
        members, pieces = self._open.pop()
        text = "".join(pieces)
        value: Any = members
        if not members:
            value = text if text.strip() else None
        elif text.strip():
            members[_TEXT] = text.strip()
        parent = self._open[-1][0]
        if name not in parent:
            parent[name] = value
        elif isinstance(parent[name], list):
            parent[name].append(value)
        else:
            parent[name] = [parent[name], value]
