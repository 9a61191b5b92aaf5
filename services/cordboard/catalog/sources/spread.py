"""API descriptions that are spread over several files of a source: each is one document with the files that belong to
it, and those are none by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import orjson

from cordboard.catalog.openapi.bundle import MAX_FILES, named, references
from cordboard.catalog.text import MAX_BYTES, parse
from cordboard.core.errors import DocumentInvalid

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence

    from cordboard.catalog.sources.reading import Found

KEPT_BYTES: Final = 64 * 1024 * 1024
_DESCRIPTION: Final = re.compile(r"^[\"']?(openapi|swagger)[\"']?\s*:", re.MULTILINE)


def describes_api(document: str) -> bool:
    """Tells whether a document is an API description."""
    if document.lstrip().startswith("{"):
        with contextlib.suppress(orjson.JSONDecodeError):
            found = orjson.loads(document)
            return isinstance(found, dict) and ("openapi" in found or "swagger" in found)
    return _DESCRIPTION.search(document) is not None


async def gathered(items: Sequence[str], read: Callable[[str], Awaitable[Found]]) -> AsyncIterator[Found]:
    """Yields the documents among a source's items in their order, each description with what it refers to, directly or
    not, among the items.
    """
    there = frozenset(items)
    parts: dict[str, list[str]] = {}
    kept: dict[str, Found] = {}
    room = KEPT_BYTES
    for item in items:
        found = await read(item)
        # Most sources are small: what was read is not read again. A large one is, for it need not fit into memory.
        room -= len(found.document)
        if room >= 0:
            kept[item] = found
        if "$ref" in found.document and await asyncio.to_thread(describes_api, found.document):
            parts[item] = await _parts(found, there, read)
    # A description that another one refers to is one all the same.
    inner = {one for found in parts.values() for one in found} - parts.keys()
    for item in items:
        if item in inner:
            continue
        found = kept.pop(item) if item in kept else await read(item)
        others = [kept.get(one) or await read(one) for one in parts.get(item, ())]
        yield replace(found, files={one.item: one.document for one in others if not one.problem})


async def _parts(whole: Found, there: Collection[str], read: Callable[[str], Awaitable[Found]]) -> list[str]:
    known, waiting, room = [whole.item], [whole], MAX_BYTES
    while waiting and room >= 0:
        one = waiting.pop()
        room -= len(one.document)
        for name in await asyncio.to_thread(_named, one):
            # What is more is left out, and the import says so of what refers to it.
            if name in there and name not in known and len(known) <= MAX_FILES:
                known.append(name)
                waiting.append(await read(name))
    return known[1:]


def _named(one: Found) -> list[str]:
    try:
        value = parse(one.document, refuse_duplicates=False).value
    except DocumentInvalid:
        return []  # The import says where it cannot be read.
    return [name for reference in references(value) if (name := named(reference, one.item)) is not None]
