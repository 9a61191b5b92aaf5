"""An API description at a URL as a source: fetched within bounds, with what it refers to at other URLs, and not taken
again while all of it is the same.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

from cordboard.catalog.openapi.bundle import named, references
from cordboard.catalog.sources.reading import MAX_DOCUMENT_BYTES, Found, SourceUnreadable, decoded
from cordboard.catalog.text import parse
from cordboard.core.egress import ResponseTooLarge, check_url, host_key, read_limited
from cordboard.core.errors import DocumentInvalid, EgressDenied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cordboard.catalog.v1.source_service_pb2 import OpenApiDescription
    from cordboard.core.egress import Egress

SECONDS: Final = 60.0
PARTS_SECONDS: Final = 120.0
MAX_REDIRECTS: Final = 5
MAX_PARTS: Final = 500
AT_ONCE: Final = 4
MAX_LEFT: Final = 100
ACCEPT: Final = "application/vnd.oai.openapi+json, application/json, application/yaml, */*;q=0.5"
_MOVED: Final = (301, 302, 303, 307, 308)
_GONE: Final = (404, 410)
# Stands before the hash of a document whose server gives no ETag, or that has parts: no server is asked whether it
# still has that.
_HASH: Final = "sha256:"


class NotFollowed(Exception):
    """A reference to another document is left alone; the text says why."""


@dataclass(frozen=True, slots=True)
class _Way:
    """How redirects are followed."""

    onward: Callable[[URL, str], URL]
    """Returns where one leads, from where and where to it says; or raises."""
    refused: type[SourceUnreadable | NotFollowed]
    asks: bool = False
    """Whether only what is not as it was is wanted."""


@dataclass
class _Parts:
    """What belongs to a document, and which references were not followed."""

    texts: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    room: int = MAX_DOCUMENT_BYTES

    def told(self) -> tuple[str, ...]:
        """Returns what is said of the references that were not followed."""
        return tuple(f"{url[:300]}: {problem}" for url, problem in sorted(self.left.items())[:MAX_LEFT])


class OpenApiReader:
    """Reads one API description."""

    def __init__(self, egress: Egress, wanted: OpenApiDescription, etag: str) -> None:
        """Takes the way out, what to read, and the revision of what was read last."""
        self._egress = egress
        self._wanted = wanted
        self._known = etag
        self._hosts = {host_key(URL(wanted.url)), *wanted.reference_hosts}
        self.revision = etag
        self.unchanged = False

    async def documents(self) -> AsyncIterator[Found]:
        """Yields the document, unless it is the one that was read last; raises SourceUnreadable."""
        found = None
        try:
            async with self._egress.session(timeout=SECONDS) as session:
                async with asyncio.timeout(SECONDS):
                    place, body = await self._fetched(session)
                if not self.unchanged:
                    found = await self._whole(session, decoded(place, body), body)
        except ResponseTooLarge:
            raise SourceUnreadable(f"it is larger than {MAX_DOCUMENT_BYTES // 1024 // 1024} MiB") from None
        except TimeoutError:
            raise SourceUnreadable(f"it did not arrive within {SECONDS:.0f} s") from None
        except aiohttp.ClientError as error:
            raise SourceUnreadable(f"it cannot be reached: {type(error).__name__}") from None
        except EgressDenied as error:
            raise SourceUnreadable(error.text) from None
        self.unchanged = self.unchanged or self.revision == self._known
        if found is not None and not self.unchanged:
            yield found

    async def _fetched(self, session: aiohttp.ClientSession) -> tuple[str, bytes]:
        """Returns where the document is, redirects followed, and its bytes; says whether it is the same."""
        way = _Way(_secure, SourceUnreadable, asks=self._asks)
        async with self._answer(session, check_url(self._wanted.url), way) as (url, answer):
            if answer.status == 304 and self._asks:
                self.unchanged = True
                return "", b""
            if answer.status != 200:
                raise SourceUnreadable(f"it answers with HTTP status {answer.status}")
            body = await read_limited(answer, MAX_DOCUMENT_BYTES)
            etag = answer.headers.get("ETag", "")[:200]
            self.revision = etag or _HASH + hashlib.sha256(body).hexdigest()
            return str(url), body

    @asynccontextmanager
    async def _answer(
        self, session: aiohttp.ClientSession, url: URL, way: _Way
    ) -> AsyncIterator[tuple[URL, aiohttp.ClientResponse]]:
        """Yields the answer at the end of the redirects, and where that is."""
        for _ in range(MAX_REDIRECTS + 1):
            headers = self._headers(url, asks=way.asks)
            async with session.get(url, headers=headers, allow_redirects=False) as answer:
                if answer.status not in _MOVED or "Location" not in answer.headers:
                    yield url, answer
                    return
                url = way.onward(url, str(url.join(URL(answer.headers["Location"], encoded=True))))
        raise way.refused(f"it redirects more than {MAX_REDIRECTS} times")

    async def _whole(self, session: aiohttp.ClientSession, found: Found, body: bytes) -> Found:
        """Returns the document with what it refers to at other URLs, directly or not."""
        if found.problem or "$ref" not in found.document:
            return found
        parts = _Parts(room=MAX_DOCUMENT_BYTES - len(body), asked={found.item})
        try:
            async with asyncio.timeout(PARTS_SECONDS):
                await self._gather(session, parts, found)
        except TimeoutError:
            raise SourceUnreadable(f"what it refers to did not arrive within {PARTS_SECONDS:.0f} s") from None
        if parts.texts:
            # No ETag speaks for all of them.
            self.revision = _HASH + _hash(body, parts.texts)
        return replace(found, files=parts.texts, left=parts.told())

    async def _gather(self, session: aiohttp.ClientSession, parts: _Parts, found: Found) -> None:
        waiting = await asyncio.to_thread(_wanted, parts, found.item, found.document)
        while waiting:
            now, waiting = waiting[:AT_ONCE], waiting[AT_ONCE:]
            answers = await asyncio.gather(*(self._part(session, one) for one in now), return_exceptions=True)
            for url, text in zip(now, answers, strict=True):
                if isinstance(text, NotFollowed):
                    parts.left[url] = str(text)
                elif isinstance(text, BaseException):
                    raise text
                elif len(parts.texts) == MAX_PARTS or len(text) > parts.room:
                    parts.left[url] = "the description would be too large with it"
                else:
                    parts.room -= len(text)
                    parts.texts[url] = text
                    waiting += await asyncio.to_thread(_wanted, parts, url, text)

    async def _part(self, session: aiohttp.ClientSession, place: str) -> str:
        """Returns a document that is referred to; raises NotFollowed. One that may only be away for a moment makes the
        source unreadable: without it a version would be published that lacks what it describes.
        """
        try:
            url = self._permitted(URL(self._wanted.url), place)
            async with self._answer(session, url, _Way(self._permitted, NotFollowed)) as (_, answer):
                if answer.status in _GONE:
                    raise NotFollowed("it is not there")
                if answer.status != 200:
                    raise SourceUnreadable(f"{place[:300]} answers with HTTP status {answer.status}")
                return (await read_limited(answer, MAX_DOCUMENT_BYTES)).decode()
        except EgressDenied:
            raise NotFollowed("it is no URL that may be asked") from None
        except ResponseTooLarge:
            raise NotFollowed("the description would be too large with it") from None
        except UnicodeDecodeError:
            raise NotFollowed("it is not UTF-8") from None

    def _permitted(self, holder: URL, place: str) -> URL:
        url = check_url(place)
        if host_key(url) not in self._hosts:
            raise NotFollowed("its host is not among the `reference_hosts`")
        if holder.scheme == "https" and url.scheme != "https":
            raise NotFollowed("it leads from https to something else")
        return url

    @property
    def _asks(self) -> bool:
        return bool(self._known) and not self._known.startswith(_HASH)

    def _headers(self, url: URL, *, asks: bool = False) -> dict[str, str]:
        headers = {"Accept": ACCEPT}
        if host_key(url) == host_key(URL(self._wanted.url)):
            # What is said to one host is not said to another.
            headers |= dict(self._wanted.headers)
        if asks:
            headers["If-None-Match"] = self._known
        return headers


def _secure(holder: URL, place: str) -> URL:
    following = check_url(place)
    if holder.scheme == "https" and following.scheme != "https":
        raise SourceUnreadable("it redirects from https to something else")
    return following


def _wanted(parts: _Parts, place: str, text: str) -> list[str]:
    """Returns the documents that one of them refers to and nobody has asked for yet."""
    try:
        value = parse(text, refuse_duplicates=False).value
    except DocumentInvalid:
        return []  # The import says where it cannot be read.
    wanted = []
    for reference in references(value):
        url = named(reference, place)
        if url is None:
            parts.left[reference] = "it is no URL that may be asked"
        elif url not in parts.asked:
            parts.asked.add(url)
            wanted.append(url)
    return wanted


def _hash(body: bytes, parts: dict[str, str]) -> str:
    whole = hashlib.sha256(body)
    for url in sorted(parts):
        for one in (url.encode(), parts[url].encode()):
            whole.update(len(one).to_bytes(8, "big") + one)
    return whole.hexdigest()
