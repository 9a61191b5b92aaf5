"""JSON Pointers (RFC 6901) into documents. Pure."""

from __future__ import annotations

from typing import Any

from cordboard.core.json_pointers import unescape


def pointed(document: Any, pointer: str, default: Any = None) -> Any:
    """Returns what an RFC 6901 JSON Pointer leads to, or `default` where it leads nowhere."""
    if not pointer:
        return document
    for raw in pointer.removeprefix("/").split("/"):
        part = unescape(raw)
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and len(part) <= 9 and part.isascii() and part.isdigit():
            if int(part) >= len(document):
                return default
            document = document[int(part)]
        else:
            return default
    return document
