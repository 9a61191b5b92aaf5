"""A vendor's catalog over HTTP as a source: pages of entries of any shape, mapped to definitions by JSON Pointers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson
import yaml
from yarl import URL

from cordboard.catalog.sources.reading import MAX_DOCUMENT_BYTES, MAX_DOCUMENTS, Found, SourceUnreadable
from cordboard.core.egress import ResponseTooLarge, check_url, host_key, read_limited
from cordboard.core.errors import EgressDenied
from cordboard.core.json_pointers import unescape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from cordboard.catalog.v1.source_service_pb2 import RestCatalog
    from cordboard.core.egress import Egress

MAX_PAGES: Final = 1_000
SECONDS: Final = 60.0
_NOT_SLUG: Final = re.compile(r"[^a-z0-9]+")


class RestReader:
    """Reads a vendor's catalog."""

    def __init__(self, egress: Egress, rest: RestCatalog, etag: str) -> None:
        """Takes the way out, where to read and how, and the ETag of what was read last."""
        self._egress = egress
        self._rest = rest
        self._etag = etag
        self.revision = etag
        self.unchanged = False

    async def documents(self) -> AsyncIterator[Found]:
        """Yields a definition document for each entry, in the vendor's order; raises SourceUnreadable."""
        template = self._template()
        seen: set[str] = set()
        count = 0
        url = self._checked(self._rest.url)
        async with self._egress.session(timeout=SECONDS) as session:
            while str(url) not in seen:
                if len(seen) >= MAX_PAGES or count >= MAX_DOCUMENTS:
                    raise SourceUnreadable(f"it does not end after {len(seen)} pages and {count} entries")
                page = await self._page(session, url, first=not seen)
                if self.unchanged:
                    return
                seen.add(str(url))
                entries = at(page, self._rest.items_pointer)
                if not isinstance(entries, list):
                    raise SourceUnreadable(f"there is no list at {self._rest.items_pointer!r}")
                for entry in entries:
                    yield self._mapped(f"entry {count}", entry, template)
                    count += 1
                following = self._next(page, url)
                if following is None:
                    return
                url = following

    async def _page(self, session: aiohttp.ClientSession, url: URL, *, first: bool) -> Any:
        headers = {"Accept": "application/json", **self._rest.headers}
        if first and self._etag:
            headers["If-None-Match"] = self._etag
        try:
            async with session.get(url, headers=headers, allow_redirects=False) as answer:
                if answer.status == 304 and first and self._etag:
                    self.unchanged = True
                    return None
                if answer.status != 200:
                    raise SourceUnreadable(f"it answers with HTTP status {answer.status}")
                if first:
                    self.revision = answer.headers.get("ETag", "")[:200]
                body = await read_limited(answer, MAX_DOCUMENT_BYTES)
        except ResponseTooLarge:
            raise SourceUnreadable(f"a page is larger than {MAX_DOCUMENT_BYTES // 1024 // 1024} MiB") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SourceUnreadable(f"it cannot be reached: {type(error).__name__}") from None
        except EgressDenied as error:
            raise SourceUnreadable(error.text) from None
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            raise SourceUnreadable("it answers with something that is no JSON") from None

    def _next(self, page: Any, url: URL) -> URL | None:
        if not self._rest.next_pointer:
            return None
        found = at(page, self._rest.next_pointer)
        if found is None or found in ("", False):
            return None
        if self._rest.cursor_parameter:
            return url.update_query({self._rest.cursor_parameter: str(found)})
        return self._checked(str(url.join(URL(str(found)))))

    def _checked(self, url: str) -> URL:
        try:
            # Pages of one catalog are on one host: an answer cannot send us elsewhere.
            return check_url(url, [host_key(URL(self._rest.url))])
        except (EgressDenied, ValueError):
            raise SourceUnreadable("a page is on another host") from None

    def _template(self) -> dict[str, Any]:
        try:
            template = yaml.safe_load(self._rest.template) if self._rest.template else {}
        except yaml.YAMLError:
            template = None
        if not isinstance(template, dict):
            raise SourceUnreadable("its template is no document")
        return template

    def _mapped(self, item: str, entry: Any, template: Mapping[str, Any]) -> Found:
        document: Any = orjson.loads(orjson.dumps(template))
        for path, pointer in sorted(self._rest.fields.items()):
            value = at(entry, pointer)
            if value is None:
                continue
            put(document, path.split("."), slug_of(value) if path == "slug" else value)
        return Found(f"{item} {document.get('slug', '')}".strip(), orjson.dumps(document).decode())


def at(value: Any, pointer: str) -> Any:
    """Returns what is at a JSON Pointer (RFC 6901), or None."""
    for token in pointer.split("/")[1:] if pointer else ():
        name = unescape(token)
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isascii() and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def put(document: Any, path: list[str], value: Any) -> None:
    """Puts a value at a dotted path; numbers in it are places of lists, which grow as far as the next one."""
    for index, step in enumerate(path):
        last = index == len(path) - 1
        empty: Any = [] if not last and path[index + 1].isdigit() else {}
        if isinstance(document, list):
            if not step.isdigit() or int(step) > len(document):
                return
            if int(step) == len(document):
                document.append(empty)
            if last:
                document[int(step)] = value
            document = document[int(step)]
        elif isinstance(document, dict):
            if last:
                document[step] = value
            else:
                document = document.setdefault(step, empty)


def slug_of(value: Any) -> str:
    """Returns a vendor's name for an integration as a slug."""
    return _NOT_SLUG.sub("-", str(value).casefold()).strip("-")[:63]
