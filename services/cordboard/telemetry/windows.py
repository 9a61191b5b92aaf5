"""The times that a question is about, and where its next page begins."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from cordboard.core.errors import InvalidFields
from cordboard.telemetry.spans import NANOS

DEFAULT_WINDOW_NS: Final = 3600 * NANOS
LATEST: Final = (1 << 63) - 1
"""The last nanosecond since 1970 that the database can say."""


def bounded(first: int, end: int) -> tuple[int, int]:
    """Returns a window in nanoseconds within what the database can say."""
    return max(0, min(first, LATEST)), max(0, min(end, LATEST))


def page_key(first: int, end: int, at: int, last: UUID) -> str:
    """Returns what a page token says: the window, and the time and the id of the last one that was shown.

    The window is part of it: an open end would move between two pages.
    """
    return f"{first}:{end}:{at}:{last.hex}"


def from_page_key(key: str) -> tuple[tuple[int, int], tuple[int, UUID]]:
    """Returns the window and the last one that was shown; raises InvalidFields."""
    try:
        first, end, at, last = key.split(":")
        window, before = (int(first), int(end)), (int(at), UUID(hex=last))
    except ValueError:
        raise InvalidFields.one("page_token", "is not a token of this list") from None
    if not all(0 <= number <= LATEST for number in (*window, before[0])):
        raise InvalidFields.one("page_token", "is not a token of this list")
    return window, before
