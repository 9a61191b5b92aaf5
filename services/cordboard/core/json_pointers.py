"""The two characters that a JSON pointer writes otherwise (RFC 6901, section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def escape(step: str | int) -> str:
    """Returns a step as it stands in a pointer."""
    return str(step).replace("~", "~0").replace("/", "~1")


def unescape(token: str) -> str:
    """Returns the step that stands in a pointer so."""
    return token.replace("~1", "/").replace("~0", "~")


def pointer_to(steps: Iterable[str | int]) -> str:
    """Returns the pointer that leads by these steps; empty without any."""
    return "".join("/" + escape(step) for step in steps)
