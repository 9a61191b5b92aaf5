"""The ways in which the vendor's lists are paged: by opaque cursor, by page number, and by `Link` header."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from cordboard.sandbox.refusals import Invalid, Violation


class Cursor:
    """Makes and reads opaque cursors, which work with the filters they were made for and no others."""

    def __init__(self, filters: Mapping[str, Any]) -> None:
        asked = repr(sorted((name, value) for name, value in filters.items() if value is not None))
        self._mark = hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def after(self, last_id: str) -> str:
        """Returns the cursor that goes on after `last_id`."""
        return base64.urlsafe_b64encode(f"{self._mark}:{last_id}".encode()).decode().rstrip("=")

    def read(self, cursor: str | None) -> str:
        """Returns the id after which to go on, or "" for the beginning; raises Invalid."""
        if cursor is None:
            return ""
        try:
            padded = cursor + "=" * (-len(cursor) % 4)
            text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
        except ValueError:
            raise Invalid(Violation("cursor", "is not a next_cursor of this list")) from None
        mark, _, last_id = text.partition(":")
        if mark != self._mark:
            raise Invalid(Violation("cursor", "is not a next_cursor of this list with these filters"))
        return last_id


def page_count(total: int, size: int) -> int:
    """Returns how many pages of `size` hold `total` items."""
    return -(-total // size)


def links(url: str, filters: Mapping[str, str | None], *, offset: int, limit: int, total: int) -> str:
    """Returns the `Link` header (RFC 8288) of a page: first, and prev and next where there are such pages."""
    targets = {"first": 0}
    if offset > 0:
        targets["prev"] = max(0, min(offset, total) - limit)
    if offset + limit < total:
        targets["next"] = offset + limit
    kept = {name: value for name, value in filters.items() if value is not None}
    return ", ".join(
        f'<{url}?{urlencode({**kept, "offset": target, "limit": limit})}>; rel="{relation}"'
        for relation, target in targets.items()
    )
