"""An API description as plain values: careful access to its parts, and what its references lead to.

Documents are seldom valid. Nothing here trusts a value to have the type that it should have.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

from cordboard.core.json_pointers import pointer_to, unescape

MAX_CHAIN: Final = 32


class Unresolved(Exception):
    """A reference leads nowhere; the text says which."""


class OperationLost(Exception):
    """The operation cannot become an action; the text says why."""


def mapping(value: Any) -> dict[str, Any]:
    """Returns a mapping as it is, and an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """Returns a list as it is, and an empty one for anything else."""
    return value if isinstance(value, list) else []


def text(value: Any) -> str:
    """Returns a text without surrounding white space, and an empty one for anything but text."""
    return value.strip() if isinstance(value, str) else ""


def join(pointer: str, *steps: str | int) -> str:
    """Returns the JSON Pointer (RFC 6901) of a member."""
    return pointer + pointer_to(steps)


class Source:
    """A document and its references."""

    def __init__(self, root: dict[str, Any]) -> None:
        """Takes the whole document."""
        self.root = root
        self.is_3_0 = text(root.get("openapi")).startswith("3.0")
        self._targets: dict[str, tuple[Any, str]] = {}

    def follow(self, value: Any, pointer: str) -> tuple[Any, str]:
        """Returns what stands at the end of a chain of `$ref`, and its JSON Pointer; raises Unresolved."""
        for _ in range(MAX_CHAIN):
            reference = value.get("$ref") if isinstance(value, dict) else None
            if not isinstance(reference, str):
                return value, pointer
            value, pointer = self.target(reference)
        raise Unresolved(f"the reference at {pointer or '/'} leads in a circle")

    def target(self, reference: str) -> tuple[Any, str]:
        """Returns what a reference names, and its JSON Pointer; raises Unresolved."""
        known = self._targets.get(reference)
        if known is None:
            known = self._find(reference)
            self._targets[reference] = known
        return known

    def _find(self, reference: str) -> tuple[Any, str]:
        document, hash_sign, fragment = reference.partition("#")
        if document or not hash_sign:
            raise Unresolved(f"{reference[:150]!r} is in another file")
        if fragment and not fragment.startswith("/"):
            raise Unresolved(f"{reference[:150]!r} is not in the document")
        # Keys with a percent sign of their own exist beside percent-encoded references.
        for candidate in dict.fromkeys((unquote(fragment), fragment)):
            steps = [unescape(step) for step in candidate.split("/")[1:]]
            value: Any = self.root
            for step in steps:
                value = _member(value, step)
            if value is not _NOTHING:
                return value, join("", *steps)
        raise Unresolved(f"{reference[:150]!r} is not in the document")


_NOTHING: Final = object()


def _member(value: Any, step: str) -> Any:
    if isinstance(value, dict):
        return value.get(step, _NOTHING)
    if isinstance(value, list) and step.isascii() and step.isdigit() and int(step[:9]) < len(value):
        return value[int(step)]
    return _NOTHING
