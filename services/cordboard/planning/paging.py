"""How to get the next page of a list, for each of the ways in which vendors page; and when to stop. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final
from urllib.parse import urljoin

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.errors import EgressDenied, StateConflict
from cordboard.planning.pointers import pointed

_LINK: Final = re.compile(
    r"\s*<([^<>]*)>((?:\s*;\s*[\w!#$&+\-.^`|~*]+(?:\s*=\s*(?:\"[^\"]*\"|[^\s;,\"]+))?)*)\s*(?:,|$)"
)
_PARAMETER: Final = re.compile(r";\s*([\w!#$&+\-.^`|~*]+)(?:\s*=\s*(?:\"([^\"]*)\"|([^\s;,\"]+)))?")


@dataclass(frozen=True, slots=True)
class Step:
    """How the next page is asked for: with another input, or at a URL that the vendor gave."""

    given: Mapping[str, Any] | None = None
    url: str = ""


def next_link(header: str) -> str:
    """Returns the target of a Link header's rel="next" (RFC 8288), or an empty text."""
    position = 0
    while match := _LINK.match(header, position):
        for name, quoted, plain in _PARAMETER.findall(match[2]):
            if name.lower() == "rel" and "next" in (quoted or plain).lower().split():
                return match[1]
        position = match.end()
    return ""


def joined(base: str, reference: str) -> str:
    """Returns where a reference leads from a URL (RFC 3986 section 5), without a fragment; raises EgressDenied."""
    try:
        return urljoin(base, reference).partition("#")[0]
    except ValueError:
        raise EgressDenied("") from None


class Pages:
    """One walk through a list."""

    def __init__(self, paging: pb.Paging | None, given: Mapping[str, Any], resource: str) -> None:
        """Takes how the list is paged (None: one page), the input, and the name to give in errors."""
        self._kind = paging.WhichOneof("kind") if paging is not None else None
        self._paging = paging or pb.Paging()
        self._given = dict(given)
        self._resource = resource
        self._seen: set[Any] = set()
        self._last_body = b""
        self._repeats = 0
        self._full = False
        if self._kind == "cursor":
            self._seen.add(given.get(self._paging.cursor.cursor_property))

    def first(self) -> Mapping[str, Any]:
        """Returns the input of the first page."""
        if self._kind == "page":
            page = self._paging.page
            self._given.setdefault(page.page_property, page.first_page)
        return self._given

    def items(self, document: Any) -> list[Any] | None:
        """Returns the items of a page, or None where the definition's place for them holds no list."""
        if self._kind is None and not self._paging.items_pointer:
            return document if isinstance(document, list) else [document]
        found = pointed(document, self._paging.items_pointer)
        return found if isinstance(found, list) else None

    def following(self, document: Any, items: list[Any], body: bytes, *, url: str, link: str) -> Step | None:
        """Returns how to ask for the page after this one, or None at the end.

        Raises StateConflict when the vendor leads back to a page that was read: its pages go in a circle.
        """
        if self._kind == "cursor":
            return self._after_cursor(pointed(document, self._paging.cursor.next_pointer))
        if self._kind == "page":
            return self._after_page(items, body)
        if self._kind == "offset":
            return self._after_offset(items, body)
        if self._kind == "link":
            return self._at(next_link(link), url)
        if self._kind == "next_url":
            target = pointed(document, self._paging.next_url.next_pointer)
            return self._at(target if isinstance(target, str) else "", url)
        return None

    def _after_cursor(self, cursor: Any) -> Step | None:
        if cursor is None or cursor == "" or cursor is False or isinstance(cursor, (dict, list)):
            return None
        self._pass(cursor)
        return Step(given={**self._given, self._paging.cursor.cursor_property: cursor})

    def _after_page(self, items: list[Any], body: bytes) -> Step | None:
        page = self._paging.page
        if self._ends(items, page.size_property):
            return None
        self._turn(body)
        number = self._given[page.page_property]
        if isinstance(number, bool) or not isinstance(number, int):
            return None
        self._given[page.page_property] = number + 1
        return Step(given=self._given)

    def _after_offset(self, items: list[Any], body: bytes) -> Step | None:
        offset = self._paging.offset
        if self._ends(items, offset.limit_property):
            return None
        self._turn(body)
        begin = self._given.get(offset.offset_property, 0)
        if isinstance(begin, bool) or not isinstance(begin, int):
            return None
        self._given[offset.offset_property] = begin + len(items)
        return Step(given=self._given)

    def _ends(self, items: list[Any], size_property: str) -> bool:
        size = self._given.get(size_property) if size_property else None
        # A first page shorter than asked for may be all that there is, or all that the vendor gives at once: only an
        # empty one, or a short one after a full one, is the last.
        if not items or (self._full and isinstance(size, int) and len(items) < size):
            return True
        self._full = self._full or len(items) == size
        return False

    def _at(self, target: str, url: str) -> Step | None:
        if not target:
            return None
        self._seen.add(url)
        absolute = joined(url, target)
        self._pass(absolute)
        return Step(url=absolute)

    def _pass(self, mark: Any) -> None:
        if mark in self._seen:
            raise self._circle()
        self._seen.add(mark)

    def _turn(self, body: bytes) -> None:
        # A vendor that takes no notice of the page number gives the same page for ever. Twice can be a coincidence.
        digest = blake2b(body, digest_size=16).digest()
        self._repeats = self._repeats + 1 if digest == self._last_body else 0
        if self._repeats == 2:
            raise self._circle()
        self._last_body = digest

    def _circle(self) -> StateConflict:
        return StateConflict(self._resource, "paging_circle", "the vendor's pages go in a circle")
