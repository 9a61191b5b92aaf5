"""The log file of a child process: written by the child itself, bounded in size by the supervisor."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

LIMIT_BYTES = 16 * 1024 * 1024
TAIL_BYTES = 16 * 1024


class LogFile:
    """A file that a child appends to through its own descriptor, so that no line waits for the supervisor."""

    def __init__(self, path: Path, limit: int = LIMIT_BYTES) -> None:
        self.path = path
        self._limit = limit

    def open(self) -> int:
        """Returns a descriptor that appends; the caller closes it."""
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def bound(self) -> bool:
        """Moves the content to `<name>.1` when it has passed the limit, and says whether it did.

        The file is copied and cut, not renamed, because the child keeps its descriptor: a line written between the two
        is lost.
        """
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_size <= self._limit:
                return False
            previous = self.path.with_name(f"{self.path.name}.1")
            shutil.copyfile(self.path, previous)
            previous.chmod(0o600)
            os.truncate(self.path, 0)
            return True
        return False

    def tail(self, lines: int = 20) -> str:
        """Returns the last lines, for a person who wants to know why the child died."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])
