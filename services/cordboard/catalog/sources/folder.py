"""A folder on disk as a source."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cordboard.catalog.sources.reading import (
    MAX_DOCUMENT_BYTES,
    MAX_DOCUMENTS,
    SUFFIXES,
    Found,
    SourceUnreadable,
    decoded,
)
from cordboard.catalog.sources.spread import gathered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path


def permitted(path: Path, roots: Sequence[Path]) -> Path:
    """Returns the folder that a path leads to; raises SourceUnreadable where it is not one or not below a root."""
    resolved = path.resolve()
    if not any(resolved.is_relative_to(root.resolve()) for root in roots):
        raise SourceUnreadable(f"{path} is not below a folder that the Catalog may read")
    if not resolved.is_dir():
        raise SourceUnreadable(f"{path} is not a folder")
    return resolved


class FolderReader:
    """Reads every definition and API description below a folder, but for hidden files."""

    def __init__(self, path: Path, roots: Sequence[Path]) -> None:
        """Takes the folder, and the folders that may be read at all."""
        self._path = path
        self._roots = roots
        self.revision = ""
        self.unchanged = False

    async def documents(self) -> AsyncIterator[Found]:
        """Yields the documents in order of path; raises SourceUnreadable."""
        folder = await asyncio.to_thread(permitted, self._path, self._roots)
        files = {str(file.relative_to(folder)): file for file in await asyncio.to_thread(_files, folder)}

        async def read(item: str) -> Found:
            return await asyncio.to_thread(_read, files[item], folder)

        async for found in gathered([*files], read):
            yield found


def _files(folder: Path) -> list[Path]:
    found = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix in SUFFIXES and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
    if len(found) > MAX_DOCUMENTS:
        raise SourceUnreadable(f"it has {len(found)} files; {MAX_DOCUMENTS} are taken at most")
    return found


def _read(file: Path, folder: Path) -> Found:
    item = str(file.relative_to(folder))
    # A link may lead anywhere: what it leads to must be in the folder too.
    if not file.resolve().is_relative_to(folder) or not file.is_file():
        return Found(item, problem="is no file of this folder")
    with file.open("rb") as opened:
        return decoded(item, opened.read(MAX_DOCUMENT_BYTES + 1))
