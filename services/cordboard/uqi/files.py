"""Which files a field takes: what a definition says of it, and whether a file that somebody sends is one of them."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterable
from typing import Final

# What browsers and programs say of a file that they know nothing of.
_UNKNOWN: Final = frozenset({"", "application/octet-stream"})
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")


def of_media_type(text: str) -> tuple[str, ...]:
    """Returns what a field takes whose schema names a media type: files of that alone, where it says something."""
    told = text.strip().lower()
    return (told,) if _MEDIA_TYPE.fullmatch(told) and told not in _UNKNOWN else ()


def is_accepted(accept: Iterable[str], media_type: str, name: str) -> bool:
    """Tells whether a file is one of those; a file of which neither type nor name is known may be.

    `accept` are media types, such as `image/png` and `image/*`, and endings, such as `.pdf`.
    """
    told = media_type.partition(";")[0].strip().lower()
    known = "" if told in _UNKNOWN else told
    known = known or (mimetypes.guess_type(name)[0] or "")
    entries = [each.lower() for each in accept]
    if not entries or not (known or name):
        return True
    return any(_is_one(each, known, name.lower()) for each in entries)


def base64_length(size: int) -> int:
    """Returns how long the base64 text of so many bytes is."""
    return -(-size // 3) * 4


def _is_one(entry: str, media_type: str, name: str) -> bool:
    if entry.startswith("."):
        same = mimetypes.guess_type(f"file{entry}")[0]
        return name.endswith(entry) if name else same is not None and same == media_type
    if entry.endswith("/*"):
        return media_type.startswith(entry[:-1])
    return media_type == entry
