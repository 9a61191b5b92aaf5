"""A description that is spread over several files, as one document. Nothing is fetched: the files are given.

The other files come to stand under one member of the document, by path, and each reference between them becomes one
within the document. A reference to a file that was not given stays as it is, and costs what it stands in.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urldefrag, urljoin

from cordboard.catalog.openapi.source import join, mapping
from cordboard.catalog.text import MAX_BYTES, MAX_NODES, parse
from cordboard.core.errors import DocumentInvalid, InvalidFields
from cordboard.core.json_pointers import unescape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cordboard.catalog.openapi.report import Report

MAX_FILES: Final = 2000
MEMBER: Final = "x-cordboard-files"
_PREFIX: Final = f"/{MEMBER}/"
_SHOWN: Final = 5


@dataclass(frozen=True)
class Files:
    """The files beside a document, by their paths, and what the document itself is called there; or all by URL."""

    texts: Mapping[str, str] = field(default_factory=dict, repr=False)
    path: str = ""

    @classmethod
    def of(cls, path: str, files: Iterable[tuple[str, str]]) -> Files:
        """Returns files by path and text, in the order in which they are given; raises InvalidFields."""
        if path and not is_below(path):
            raise InvalidFields.one("path", "must be a relative path without `..`")
        texts: dict[str, str] = {}
        for index, (name, text) in enumerate(files):
            if index == MAX_FILES:
                raise InvalidFields.one("files", f"must be at most {MAX_FILES}")
            if not is_below(name):
                raise InvalidFields.one(f"files[{index}].path", "must be a relative path without `..`")
            if name == path or name in texts:
                raise InvalidFields.one(f"files[{index}].path", "stands twice")
            texts[name] = text
        if sum(map(len, texts.values())) > MAX_BYTES:
            raise InvalidFields.one("files", f"must be at most {MAX_BYTES // 1024 // 1024} MiB together")
        return cls(texts, path)


def is_below(path: str) -> bool:
    """Tells whether a path leads to something below where it begins, and is written in the plainest way."""
    return path == posixpath.normpath(path) and not path.startswith("/") and path.partition("/")[0] not in (".", "..")


def named(reference: str, holder: str) -> str | None:
    """Returns the path of the file that a reference in the file `holder` names; None: it names none below the folder.

    A reference within the same file names that file. A file that is called by its URL refers to URLs (RFC 3986, 5.2).
    """
    if "://" in holder:
        return _joined(reference, holder)
    document = unquote(reference.partition("#")[0])
    if not document:
        return holder
    if "://" in document or document.startswith("/") or "?" in document or "\\" in document:
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(holder), document))
    return path if is_below(path) else None


def _joined(reference: str, holder: str) -> str | None:
    try:
        url = urldefrag(urljoin(holder, reference.strip())).url
    except ValueError:
        return None
    return url if url.startswith(("https://", "http://")) else None


def references(value: Any) -> Iterator[str]:
    """Yields every reference in a document to another file or place, in its order."""
    waiting, seen = [value], set()
    while waiting:
        one = waiting.pop()
        if not isinstance(one, (dict, list)) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, dict):
            reference = one.get("$ref")
            if isinstance(reference, str) and reference.partition("#")[0]:
                yield reference
        waiting.extend(reversed(list(one.values()) if isinstance(one, dict) else one))


def bundled(root: dict[str, Any], files: Files, report: Report) -> dict[str, Any]:
    """Returns a document with its files in it; raises DocumentInvalid where all of it is too large."""
    if not files.texts:
        return root
    values = {}
    for path in sorted(files.texts):
        try:
            parsed = parse(files.texts[path], refuse_duplicates=False)
        except DocumentInvalid as problem:
            report.loss(join("", MEMBER, path), f"the file cannot be read: {problem.text}")
            continue
        values[path] = parsed.value
        for key in parsed.duplicates:
            report.twice(join("", MEMBER, path, *key), key)
    shown = ", ".join(list(values)[:_SHOWN]) + (" and others" if len(values) > _SHOWN else "")
    report.note("", f"{len(values)} files belong to the document: {shown}")
    relocation = _Relocation(files.path, frozenset(values))
    inside = {path: relocation.moved(value, path) for path, value in values.items()}
    return {**mapping(relocation.moved(root, files.path)), MEMBER: inside}


def told(pointer: str) -> str:
    """Returns a JSON Pointer as people read it: what stands in another file with that file's path before it."""
    if not pointer.startswith(_PREFIX):
        return pointer
    name, slash, rest = pointer.removeprefix(_PREFIX).partition("/")
    return f"{unescape(name)}#{slash}{rest}"


def plain_name(pointer: str) -> str:
    """Returns what a thing is called by where it stands: its key, or the name of the file that it is."""
    last = unescape(pointer.rpartition("/")[2])
    if pointer.startswith(_PREFIX) and "/" not in pointer.removeprefix(_PREFIX):
        return posixpath.splitext(posixpath.basename(last))[0]
    return last


class _Relocation:
    """Makes every reference of a file one within the whole document."""

    def __init__(self, main: str, paths: frozenset[str]) -> None:
        self._main = main
        self._paths = paths
        self._nodes = 0

    def moved(self, value: Any, path: str) -> Any:
        """Returns a file's value with its references made anew; raises DocumentInvalid."""
        return self._copy(value, path, {})

    def _copy(self, value: Any, path: str, known: dict[int, tuple[Any, int]]) -> Any:
        # What aliases repeat is counted each time, and copied once: it grows no more here than it did in its file.
        if not isinstance(value, (dict, list)):
            return value
        if id(value) in known:
            copied, nodes = known[id(value)]
            self._count(nodes)
            return copied
        before = self._nodes
        self._count(1 + len(value))
        if isinstance(value, list):
            copied = [self._copy(one, path, known) for one in value]
        else:
            copied = {name: self._copy(one, path, known) for name, one in value.items()}
            if isinstance(value.get("$ref"), str):
                copied["$ref"] = self._reference(value["$ref"], path)
        known[id(value)] = (copied, self._nodes - before)
        return copied

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise DocumentInvalid(f"the document has more than {MAX_NODES} values with its files")

    def _reference(self, reference: str, path: str) -> str:
        wanted = named(reference, path)
        fragment = reference.partition("#")[2]
        if wanted == self._main:
            return f"#{fragment}"
        if wanted not in self._paths or (fragment and not fragment.startswith("/")):
            return reference
        return f"#{join('', MEMBER, wanted)}{fragment}"
