"""What a source gives: documents, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

MAX_DOCUMENT_BYTES: Final = 16 * 1024 * 1024
MAX_DOCUMENTS: Final = 10_000
SUFFIXES: Final = (".yaml", ".yml", ".json")


class SourceUnreadable(Exception):
    """A source cannot be read at all."""


@dataclass(frozen=True)
class Found:
    """One document, or why there is none."""

    item: str
    """Where it was: a file's path, an entry's place."""
    document: str = ""
    problem: str = ""
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The source's other files that belong to it, by path; `item` is what it is called among them."""
    left: tuple[str, ...] = ()
    """The references to other documents that were not followed, each with the reason."""


class Reader(Protocol):
    """Reads a source."""

    revision: str
    """What was read: a commit, an ETag; known once reading has begun."""
    unchanged: bool
    """Whether the source says that nothing is new since `revision`; known once reading has ended."""

    def documents(self) -> AsyncIterator[Found]:
        """Yields the documents in a stable order; raises SourceUnreadable."""
        ...


def decoded(item: str, content: bytes) -> Found:
    """Returns a document of these bytes."""
    if len(content) > MAX_DOCUMENT_BYTES:
        return Found(item, problem=f"is larger than {MAX_DOCUMENT_BYTES // 1024 // 1024} MiB")
    try:
        return Found(item, content.decode())
    except UnicodeDecodeError:
        return Found(item, problem="is not UTF-8")
