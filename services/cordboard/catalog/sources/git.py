"""A commit of a Git repository on disk as a source. Objects are read as they are: no hook, no filter, no network."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cordboard.catalog.sources.folder import permitted
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

SECONDS: Final = 60.0
REGULAR: Final = (b"100644", b"100755")
# Nothing of the machine's or the repository's own settings can start a program or fetch anything.
ENVIRONMENT: Final = {
    "PATH": os.defpath,
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_ALLOW_PROTOCOL": "none",
}


class GitReader:
    """Reads every definition and API description of one commit, in one folder of it."""

    def __init__(self, path: Path, revision: str, folder: str, roots: Sequence[Path]) -> None:
        """Takes the repository, a branch, tag or commit, the folder in it, and the folders that may be read at all."""
        self._path = path
        self._asked = revision or "HEAD"
        self._folder = folder.strip("/")
        self._roots = roots
        self.revision = ""
        self.unchanged = False

    async def documents(self) -> AsyncIterator[Found]:
        """Yields the documents in order of path; raises SourceUnreadable."""
        repository = await asyncio.to_thread(permitted, self._path, self._roots)
        if self._asked.startswith("-"):
            raise SourceUnreadable("a revision does not begin with a hyphen")
        commit = await _git(repository, "rev-parse", "--verify", "--end-of-options", f"{self._asked}^{{commit}}")
        self.revision = commit.decode().strip()
        listing = await _git(repository, "ls-tree", "-r", "-z", "-l", "--full-tree", self.revision)
        files = [entry for entry in map(_entry, listing.split(b"\0")) if entry is not None and self._wanted(entry[0])]
        if len(files) > MAX_DOCUMENTS:
            raise SourceUnreadable(f"it has {len(files)} files; {MAX_DOCUMENTS} are taken at most")
        places = {path: (blob, size) for path, blob, size in sorted(files)}

        async def read(path: str) -> Found:
            blob, size = places[path]
            if size > MAX_DOCUMENT_BYTES:
                return Found(path, problem=f"is larger than {MAX_DOCUMENT_BYTES // 1024 // 1024} MiB")
            return decoded(path, await _git(repository, "cat-file", "blob", blob))

        async for found in gathered([*places], read):
            yield found

    def _wanted(self, path: str) -> bool:
        inside = not self._folder or path.startswith(f"{self._folder}/")
        hidden = any(part.startswith(".") for part in path.split("/"))
        return inside and not hidden and Path(path).suffix in SUFFIXES


def _entry(line: bytes) -> tuple[str, str, int] | None:
    head, _, path = line.partition(b"\t")
    fields = head.split()
    # A link's blob is the path that it leads to, and a submodule has none here.
    if len(fields) != 4 or fields[0] not in REGULAR:
        return None
    return path.decode("utf-8", "replace"), fields[2].decode(), int(fields[3])


async def _git(repository: Path, *arguments: str) -> bytes:
    command = (
        "git",
        "-c",
        "core.hooksPath=/dev/null",
        "-c",
        "core.fsmonitor=false",
        "-c",
        f"safe.directory={repository}",
    )
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            "-C",
            str(repository),
            *arguments,
            env=ENVIRONMENT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise SourceUnreadable("git is not installed here") from None
    try:
        async with asyncio.timeout(SECONDS):
            output, problem = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise SourceUnreadable("git takes too long") from None
    if process.returncode:
        first = problem.decode("utf-8", "replace").strip().partition("\n")[0]
        raise SourceUnreadable(f"git {arguments[0]}: {first[:200]}")
    return output
