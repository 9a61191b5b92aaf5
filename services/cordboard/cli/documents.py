"""Reads a document that a person names on the command line."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Final

from cordboard.cli.failures import USAGE, CommandFailed

MAX_BYTES: Final = 16 * 1024 * 1024
# UTF-32 before UTF-16: the mark of the one begins with that of the other.
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read(path: Path) -> str:
    """Returns a document's text; raises CommandFailed."""
    try:
        with path.open("rb") as file:
            # No more than that is read, whatever the size of the file is said to be.
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CommandFailed(f"{path}: {(error.strerror or str(error)).lower()}", USAGE) from None
    return text_of(content, str(path))


def text_of(content: bytes, name: str) -> str:
    """Returns what a document of this name says; raises CommandFailed where it is too large or no UTF-8."""
    if len(content) > MAX_BYTES:
        raise CommandFailed(f"{name}: the document is larger than {MAX_BYTES // 1024 // 1024} MiB", USAGE)
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            raise CommandFailed(f"{name}: the document is {encoding}; save it as UTF-8", USAGE)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = place(content[: error.start])
        text = f"{name}: the document is not UTF-8: byte 0x{content[error.start]:02x} at line {line}, column {column}"
        raise CommandFailed(text, USAGE) from None


def place(before: bytes) -> tuple[int, int]:
    """Returns the line and the column that follow some UTF-8, counted from 1."""
    return before.count(b"\n") + 1, len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
