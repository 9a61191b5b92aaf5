"""An API description at a URL as a source: fetched within bounds, and not taken again while it is the same."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

from cordboard.catalog.sources.reading import MAX_DOCUMENT_BYTES, Found, SourceUnreadable, decoded
from cordboard.core.egress import ResponseTooLarge, check_url, host_key, read_limited
from cordboard.core.errors import EgressDenied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cordboard.catalog.v1.source_service_pb2 import OpenApiDescription
    from cordboard.core.egress import Egress

SECONDS: Final = 60.0
MAX_REDIRECTS: Final = 5
ACCEPT: Final = "application/vnd.oai.openapi+json, application/json, application/yaml, */*;q=0.5"
_MOVED: Final = (301, 302, 303, 307, 308)
# Stands before the hash of a document whose server gives no ETag: no server is asked whether it still has that.
_HASH: Final = "sha256:"


class OpenApiReader:
    """Reads one API description."""

    def __init__(self, egress: Egress, wanted: OpenApiDescription, etag: str) -> None:
        """Takes the way out, what to read, and the revision of what was read last."""
        self._egress = egress
        self._wanted = wanted
        self._known = etag
        self.revision = etag
        self.unchanged = False

    async def documents(self) -> AsyncIterator[Found]:
        """Yields the document, unless it is the one that was read last; raises SourceUnreadable."""
        try:
            async with asyncio.timeout(SECONDS), self._egress.session(timeout=SECONDS) as session:
                place, body = await self._fetched(session)
        except ResponseTooLarge:
            raise SourceUnreadable(f"it is larger than {MAX_DOCUMENT_BYTES // 1024 // 1024} MiB") from None
        except TimeoutError:
            raise SourceUnreadable(f"it did not arrive within {SECONDS:.0f} s") from None
        except aiohttp.ClientError as error:
            raise SourceUnreadable(f"it cannot be reached: {type(error).__name__}") from None
        except EgressDenied as error:
            raise SourceUnreadable(error.text) from None
        if not self.unchanged:
            yield decoded(place, body)

    async def _fetched(self, session: aiohttp.ClientSession) -> tuple[str, bytes]:
        """Returns where the document is, redirects followed, and its bytes; says whether it is the same."""
        url = check_url(self._wanted.url)
        for _ in range(MAX_REDIRECTS + 1):
            async with session.get(url, headers=self._headers(url), allow_redirects=False) as answer:
                if answer.status in _MOVED and "Location" in answer.headers:
                    url = _joined(url, answer.headers["Location"])
                    continue
                if answer.status == 304 and self._asks:
                    self.unchanged = True
                    return "", b""
                if answer.status != 200:
                    raise SourceUnreadable(f"it answers with HTTP status {answer.status}")
                body = await read_limited(answer, MAX_DOCUMENT_BYTES)
                etag = answer.headers.get("ETag", "")[:200]
                self.revision = etag or _HASH + hashlib.sha256(body).hexdigest()
                self.unchanged = self.revision == self._known
                return str(url), body
        raise SourceUnreadable(f"it redirects more than {MAX_REDIRECTS} times")

    @property
    def _asks(self) -> bool:
        return bool(self._known) and not self._known.startswith(_HASH)

    def _headers(self, url: URL) -> dict[str, str]:
        headers = {"Accept": ACCEPT}
        if host_key(url) == host_key(URL(self._wanted.url)):
            # What is said to one host is not said to another.
            headers |= dict(self._wanted.headers)
        if self._asks:
            headers["If-None-Match"] = self._known
        return headers


def _joined(url: URL, location: str) -> URL:
    following = check_url(str(url.join(URL(location, encoded=True))))
    if url.scheme == "https" and following.scheme != "https":
        raise SourceUnreadable("it redirects from https to something else")
    return following
