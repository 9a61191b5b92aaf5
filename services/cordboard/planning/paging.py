"""How to get the next page of a list, for each of the ways in which vendors page; and when to stop. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, TypeGuard
from urllib.parse import urljoin

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.errors import EgressDenied, StateConflict
from cordboard.planning.answers import Answer
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
        if self._kind in ("cursor", "last_item"):
            self._seen.add(given.get(getattr(self._paging, self._kind).cursor_property))

    def first(self) -> Mapping[str, Any]:
        """Returns the input of the first page."""
        if self._kind == "page":
            page = self._paging.page
            self._given.setdefault(page.page_property, page.first_page)
        return self._given

    def items(self, document: Any, *, single: bool = False) -> list[Any] | None:
        """Returns the items of a page, or None where the definition's place for them holds no list.

        `single` tells that one item stands alone and no item is nothing, as in XML.
        """
        if self._kind is None and not self._paging.items_pointer:
            return document if isinstance(document, list) else [document]
        found = pointed(document, self._paging.items_pointer)
        if isinstance(found, list):
            return found
        if single:
            return [] if found is None else [found]
        return None

    def following(self, document: Any, items: list[Any], answer: Answer, *, url: str) -> Step | None:
        """Returns how to ask for the page after this one, or None at the end.

        Raises StateConflict when the vendor leads back to a page that was read: its pages go in a circle.
        """
        more = pointed(document, self._paging.more_pointer) if self._paging.more_pointer else None
        if more is False or (isinstance(more, str) and more.lower() == "false"):
            return None
        match self._kind:
            case "cursor":
                return self._after_cursor(self._cursor(document, answer), self._paging.cursor.cursor_property)
            case "last_item":
                last = self._paging.last_item
                found = pointed(items[-1], last.item_pointer) if items else None
                return self._after_cursor(found, last.cursor_property)
            case "page":
                return self._after_page(document, items, answer, told=more is True)
            case "offset":
                return self._after_offset(document, items, answer, told=more is True)
            case "link":
                return self._at(next_link(answer.link), url)
            case "next_url":
                target = pointed(document, self._paging.next_url.next_pointer)
                return self._at(target if isinstance(target, str) else "", url)
        return None

    def _cursor(self, document: Any, answer: Answer) -> Any:
        cursor = self._paging.cursor
        return answer.headers.get(cursor.next_header) if cursor.next_header else pointed(document, cursor.next_pointer)

    def _after_cursor(self, cursor: Any, property_name: str) -> Step | None:
        if cursor is None or cursor == "" or cursor is False or isinstance(cursor, (dict, list)):
            return None
        self._pass(cursor)
        return Step(given={**self._given, property_name: cursor})

    def _after_page(self, document: Any, items: list[Any], answer: Answer, *, told: bool) -> Step | None:
        page = self._paging.page
        number = self._given[page.page_property]
        if not _is_count(number):
            return None
        pages = pointed(document, page.page_count_pointer) if page.page_count_pointer else None
        if _is_count(pages):
            if number + 1 - page.first_page >= pages:
                return None
        elif not told and self._ends(items, page.size_property):
            return None
        self._turn(answer.body)
        self._given[page.page_property] = number + 1
        return Step(given=self._given)

    def _after_offset(self, document: Any, items: list[Any], answer: Answer, *, told: bool) -> Step | None:
        offset = self._paging.offset
        begin = self._given.get(offset.offset_property, 0)
        if not items or not _is_count(begin):
            return None
        total = pointed(document, offset.total_pointer) if offset.total_pointer else None
        if _is_count(total):
            if begin + len(items) >= total:
                return None
        elif not told and self._ends(items, offset.limit_property):
            return None
        self._turn(answer.body)
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


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
