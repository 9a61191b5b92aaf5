"""Paging, recognised by declared rules and never guessed: an input that asks for a page, and an answer that has one.

The rules, in this order; the first that holds is taken, and the report says on what evidence:

1. cursor: an input such as `cursor` or `page_token`, and a member of the answer such as `next_cursor`.
2. next URL: a member of the answer such as `next` or `links.next` that holds a URL.
3. Link header: the answer has the header `Link`, and is a list or is asked for by page.
4. offset: whole-number inputs such as `offset` or `startAt`.
5. page: a whole-number input such as `page`.

All of them need the list itself: the answer is a list, or has one member that is clearly the list.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.openapi.members import Members, has_type, plain
from cordboard.catalog.openapi.source import mapping, text
from cordboard.catalog.v1.definition_pb2 import (
    CursorPaging,
    LinkPaging,
    NextUrlPaging,
    OffsetPaging,
    PagePaging,
    Paging,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cordboard.catalog.openapi.inputs import Inputs
    from cordboard.catalog.openapi.members import Member
    from cordboard.catalog.openapi.report import Report
    from cordboard.catalog.openapi.responses import Answer
    from cordboard.catalog.openapi.source import Source

_CURSORS: Final = (
    *("cursor", "pagetoken", "nexttoken", "nextpagetoken", "nextcursor", "continuationtoken", "continuation"),
    *(
        "startcursor",
        "aftercursor",
        "pagecursor",
        "pageafter",
        "marker",
        "after",
        "startingtoken",
        "bookmark",
        "offset",
    ),
    *("startposition", "scrollid", "skiptoken", "pagemarker", "nextmarker"),
)
_NEXT_TOKENS: Final = (
    *("nextcursor", "nextpagetoken", "nexttoken", "nextmarker", "nextpagecursor", "continuationtoken", "endcursor"),
    *("aftercursor", "nextoffset", "nextpage", "scrollid", "nextbookmark", "cursornext", "after", "next", "cursor"),
    *("bookmark", "marker", "pagetoken", "offset"),
)
_NEXT_URLS: Final = (
    "next",
    "nextlink",
    "nexturl",
    "nextpageurl",
    "odatanextlink",
    "nexthref",
    "nextpage",
    "nextpageuri",
)
_OFFSETS: Final = ("offset", "startat", "skip", "start", "startindex", "firstresult", "pageoffset")
_PAGES: Final = ("page", "pagenumber", "pageno", "pagenum", "pageindex", "currentpage")
_SIZES: Final = (
    *("perpage", "pagesize", "limit", "maxresults", "size", "count", "pagelimit", "maxitems", "top", "rows"),
    *("results", "take", "pagecount", "numresults"),
)
_LISTS: Final = (
    *("data", "items", "results", "value", "values", "entries", "records", "list", "objects", "elements", "rows"),
    *("resources", "content", "edges", "nodes", "members", "result", "hits"),
)
# Objects that hold what a page says of itself, or the page.
_HOLDERS: Final = (
    *("meta", "metadata", "paging", "pagination", "links", "link", "responsemetadata", "pageinfo", "page", "cursors"),
    *("nextpage", "next", "response", "result", "data", "pages"),
)
_LISTS_ANYWHERE: Final = ("data", "result", "response", "results", "page", "embedded")
_ASKS: Final = re.compile(r"\{[^{}]*\}")


class PagingRules:
    """Applies the rules to one document's operations."""

    def __init__(self, source: Source, report: Report) -> None:
        """Takes the document, and where the evidence goes."""
        self._members = Members(source)
        self._report = report

    def recognise(self, method: str, path: str, inputs: Inputs, answer: Answer, pointer: str) -> Paging | None:
        """Returns the paging of an operation, or None where no rule holds."""
        if method not in ("GET", "POST") or answer.raw is None:
            return None
        asked = {plain(name): name for name in reversed(inputs.properties)}
        items = self._items(answer, path)
        if items is None:
            return None
        for rule in (self._cursor, self._next_url, self._link, self._offset, self._page):
            if method == "POST" and rule != self._cursor:
                continue
            paging = rule(asked, inputs, answer)
            if paging is not None:
                paging.items_pointer = items
                self._report.note(
                    pointer, f"{_described(paging)}; the list is {f'at {items!r}' if items else 'the answer'}"
                )
                return paging
        return None

    def _cursor(self, asked: dict[str, str], inputs: Inputs, answer: Answer) -> Paging | None:
        for wanted in _CURSORS:
            name = asked.get(wanted)
            if name is None or not self._accepts(inputs.properties[name], "string"):
                continue
            for token in _NEXT_TOKENS:
                # `offset` and the like are tokens only where the answer's member has the very same name.
                if token in ("offset", "marker", "bookmark", "cursor", "pagetoken") and token != wanted:
                    continue
                for member in self._named(answer, token):
                    if member.is_text and _is_next(member.pointer, token) and not _is_url(member.schema):
                        return Paging(cursor=CursorPaging(cursor_property=name, next_pointer=member.pointer))
        return None

    def _next_url(self, _asked: dict[str, str], _inputs: Inputs, answer: Answer) -> Paging | None:
        for token in _NEXT_URLS:
            for member in self._named(answer, token):
                if not member.is_text:
                    inner = next(self._members.called(member.schema, member.pointer, ("href", "url", "link")), None)
                    if inner is None or not inner.is_text:
                        continue
                    return Paging(next_url=NextUrlPaging(next_pointer=inner.pointer))
                if _is_url(member.schema) or token in (
                    "nextlink",
                    "nexturl",
                    "nextpageurl",
                    "odatanextlink",
                    "nexthref",
                ):
                    return Paging(next_url=NextUrlPaging(next_pointer=member.pointer))
        return None

    def _link(self, asked: dict[str, str], _inputs: Inputs, answer: Answer) -> Paging | None:
        paged = any(name in asked for name in (*_PAGES, *_SIZES, *_CURSORS))
        return Paging(link=LinkPaging()) if "link" in answer.headers and paged else None

    def _offset(self, asked: dict[str, str], inputs: Inputs, _answer: Answer) -> Paging | None:
        size = next((asked[name] for name in _SIZES if name in asked), "")
        for wanted in _OFFSETS:
            name = asked.get(wanted)
            if name is not None and size and self._accepts(inputs.properties[name], "integer", "number"):
                return Paging(offset=OffsetPaging(offset_property=name, limit_property=size))
        return None

    def _page(self, asked: dict[str, str], inputs: Inputs, _answer: Answer) -> Paging | None:
        for wanted in _PAGES:
            name = asked.get(wanted)
            if name is None or not self._accepts(inputs.properties[name], "integer", "number"):
                continue
            size = next((asked[one] for one in _SIZES if one in asked), "")
            schema = mapping(inputs.properties[name])
            first = next((schema[key] for key in ("default", "minimum") if schema.get(key) in (0, 1)), 1)
            return Paging(page=PagePaging(page_property=name, size_property=size, first_page=int(first)))
        return None

    def _accepts(self, schema: Any, *types: str) -> bool:
        return any(has_type(mapping(schema), one) for one in types)

    def _items(self, answer: Answer, path: str) -> str | None:
        """Returns where the list is, or None when that is not clear."""
        found = self._members.resolved(answer.raw, answer.pointer)
        if found is None:
            return None
        if has_type(found, "array"):
            return ""
        pointer = self._list_in(found, "", path)
        if pointer is not None:
            return pointer
        for holder in self._members.called(found, "", _LISTS_ANYWHERE):
            pointer = self._list_in(holder.schema, holder.pointer, path)
            if pointer is not None:
                return pointer
        return None

    def _list_in(self, schema: dict[str, Any], at: str, path: str) -> str | None:
        lists = {one.name: one for one in self._members.all(schema, at) if has_type(one.schema, "array")}
        if len(lists) == 1:
            return next(iter(lists.values())).pointer
        segments = [segment for segment in _ASKS.sub("", path).split("/") if segment]
        for wanted in (*((plain(segments[-1]),) if segments else ()), *_LISTS):
            if wanted in lists:
                return lists[wanted].pointer
        return None

    def _named(self, answer: Answer, wanted: str) -> Iterator[Member]:
        """Yields the members of that name: at the top of the answer, and one and two objects below it."""
        found = self._members.resolved(answer.raw, answer.pointer)
        if found is None:
            return
        yield from self._members.called(found, "", (wanted,))
        for holder in self._members.called(found, "", _HOLDERS):
            yield from self._members.called(holder.schema, holder.pointer, (wanted,))
            for inner in self._members.called(holder.schema, holder.pointer, _HOLDERS):
                yield from self._members.called(inner.schema, inner.pointer, (wanted,))


def _is_url(schema: dict[str, Any]) -> bool:
    if text(schema.get("format")) in ("uri", "url", "uri-reference"):
        return True
    said = f"{text(schema.get('description'))} {text(schema.get('example'))}".lower()
    return "url" in said or "http" in said or " link" in said


def _is_next(pointer: str, token: str) -> bool:
    """Tells whether a member is the next position: by its own name, or by the object that it stands in."""
    holders = [plain(step) for step in pointer.split("/")[1:-1]]
    if "previous" in holders or "prev" in holders:
        return False
    return token not in ("after", "cursor", "marker", "offset", "bookmark") or bool(
        holders and ({"next", "nextpage", "cursors", "paging", "pagination", "responsemetadata", "meta"} & set(holders))
    )


def _described(paging: Paging) -> str:
    kind = paging.WhichOneof("kind")
    if kind == "cursor":
        return f"pages by cursor: {paging.cursor.cursor_property!r} takes what is at {paging.cursor.next_pointer!r}"
    if kind == "next_url":
        return f"pages by URL: the next one is at {paging.next_url.next_pointer!r}"
    if kind == "link":
        return "pages by the header Link"
    if kind == "offset":
        return f"pages by offset: {paging.offset.offset_property!r} and {paging.offset.limit_property!r}"
    return f"pages by number: {paging.page.page_property!r}"
