"""Gathers the files that an API description is spread over: those below its folder, or those of its own server.

A description may be somebody else's. Its references choose what is read here, so they lead to YAML and JSON alone, and
never out of the folder or to another server; to so many files and bytes, and no more. What is not read is told.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from cordboard.catalog.openapi.bundle import MAX_FILES, is_below, named, references
from cordboard.catalog.text import MAX_BYTES, parse
from cordboard.cli.download import download
from cordboard.cli.failures import CommandFailed
from cordboard.core.errors import DocumentInvalid

SUFFIXES: Final = (".yaml", ".yml", ".json")
MAX_SECONDS: Final = 120.0
AT_ONCE: Final = 8

Reader = Callable[[str], Awaitable[str]]


class NotRead(Exception):
    """A file is left where it is; the text says why."""


@dataclass(frozen=True)
class Spread:
    """A description's other files by their paths, what it is called itself, and which references were not followed."""

    path: str = ""
    files: dict[str, str] = field(default_factory=dict, repr=False)
    left: dict[str, str] = field(default_factory=dict)
    """Why each of them was not, by reference."""


async def from_folder(document: Path, text: str) -> Spread:
    """Returns the files that a document refers to below its own folder."""
    place = _place(document)

    async def read(path: str) -> str:
        return _read(place.parent, path)

    return await _gathered(place.name, text, read)


async def from_server(url: str, text: str) -> Spread:
    """Returns the files that a document refers to on the server that it came from."""
    origin = _origin(url)

    async def read(path: str) -> str:
        try:
            content, found = await download(f"{origin}/{quote(path)}")
        except CommandFailed as problem:
            raise NotRead(str(problem)) from None
        if _origin(found) != origin:
            raise NotRead("it is on another server")
        return content

    path = unquote(urlsplit(url).path).lstrip("/")
    # A document that a folder's own URL gives has no name, and what it refers to stands in that folder.
    return await _gathered(path if is_below(path) else posixpath.join(path, "document"), text, read)


def _place(document: Path) -> Path:
    return document.resolve()


def _origin(url: str) -> str:
    return "/".join(url.split("/")[:3])


async def _gathered(path: str, text: str, read: Reader) -> Spread:
    found = Spread(path)
    if "$ref" not in text or not is_below(path):
        return found
    asked = {path}
    waiting = _wanted(found, asked, path, text)
    room = MAX_BYTES - len(text)
    try:
        async with asyncio.timeout(MAX_SECONDS):
            while waiting:
                now, waiting = waiting[:AT_ONCE], waiting[AT_ONCE:]
                for one, content in zip(now, await asyncio.gather(*(_tried(read, one) for one in now)), strict=True):
                    problem = _problem(content, room, len(found.files))
                    if problem:
                        found.left[one] = problem
                    else:
                        room -= len(str(content))
                        found.files[one] = str(content)
                        waiting += _wanted(found, asked, one, str(content))
    except TimeoutError:
        found.left.update((one, f"there was no time left after {MAX_SECONDS:.0f} s") for one in [*now, *waiting])
    return found


def _problem(content: str | NotRead, room: int, count: int) -> str:
    if isinstance(content, NotRead):
        return str(content)
    if len(content) > room:
        return f"the description would be larger than {MAX_BYTES // 1024 // 1024} MiB with it"
    return "" if count < MAX_FILES else f"there are {MAX_FILES} files already"


async def _tried(read: Reader, path: str) -> str | NotRead:
    if not path.endswith(SUFFIXES) or any(part.startswith(".") for part in path.split("/")):
        return NotRead(f"it is no file that ends in {', '.join(SUFFIXES)}, or it is hidden")
    try:
        return await read(path)
    except NotRead as problem:
        return problem


def _wanted(found: Spread, asked: set[str], path: str, text: str) -> list[str]:
    """Returns the files that one of them refers to and nobody has asked for yet."""
    try:
        value = parse(text, refuse_duplicates=False).value
    except DocumentInvalid:
        return []  # The import says where it cannot be read.
    wanted = []
    for reference in references(value):
        name = named(reference, path)
        if name is None:
            found.left[reference.partition("#")[0]] = "it leads out of the folder, or to another server"
        elif name not in asked:
            asked.add(name)
            wanted.append(name)
    return wanted


def _read(folder: Path, path: str) -> str:
    file = folder / path
    try:
        # A link that leads out of the folder is a way out like any other.
        if not file.resolve(strict=True).is_relative_to(folder):
            raise NotRead("it is a link that leads out of the folder")
        if not file.is_file():
            raise NotRead("it is no file")
        if file.stat().st_size > MAX_BYTES:
            raise NotRead(f"it is larger than {MAX_BYTES // 1024 // 1024} MiB")
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotRead("it is not there") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise NotRead(f"it cannot be read: {error}") from None
