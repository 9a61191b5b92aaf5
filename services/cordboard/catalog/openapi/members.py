"""The members of the objects that a document describes, for rules that look for some of them by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.openapi.source import Unresolved, join, mapping, sequence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cordboard.catalog.openapi.source import Source

# How many parts one object may be put together of.
MAX_SCHEMAS: Final = 200

_SPELLING: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Member:
    """A member of an object: its JSON Pointer there, and its schema."""

    pointer: str
    schema: dict[str, Any]

    @property
    def name(self) -> str:
        """Returns its name without case and punctuation."""
        return plain(self.pointer.rpartition("/")[2])

    @property
    def is_text(self) -> bool:
        """Tells whether it holds text."""
        return has_type(self.schema, "string")


class Members:
    """Finds the members of one document's objects."""

    def __init__(self, source: Source) -> None:
        """Takes the document."""
        self._source = source

    def called(self, schema: dict[str, Any], at: str, wanted: tuple[str, ...]) -> Iterator[Member]:
        """Yields the members of an object at a pointer that have one of these names."""
        for member in self.all(schema, at):
            if member.name in wanted:
                yield member

    def all(self, schema: dict[str, Any], at: str) -> Iterator[Member]:
        """Yields the members of an object, those of its `allOf` and of its first alternative among them."""
        waiting, seen = [schema], {id(schema)}
        while waiting and len(seen) < MAX_SCHEMAS:
            one = waiting.pop()
            for name, declared in mapping(one.get("properties")).items():
                found = self.resolved(declared, "")
                if found is not None:
                    yield Member(join(at, name), found)
            inner = [*sequence(one.get("allOf")), *sequence(one.get("anyOf"))[:1], *sequence(one.get("oneOf"))[:1]]
            for part in reversed(inner):
                found = self.resolved(part, "")
                # The parts of the document live as long as it does: an id names one of them.
                if found is not None and id(found) not in seen:
                    seen.add(id(found))
                    waiting.append(found)

    def resolved(self, schema: Any, pointer: str) -> dict[str, Any] | None:
        """Returns what stands at the end of a schema's references, or None where that is no schema."""
        try:
            found, _ = self._source.follow(schema, pointer)
        except Unresolved:
            return None
        return found if isinstance(found, dict) else None


def plain(name: str) -> str:
    """Returns a name without case and punctuation."""
    return _SPELLING.sub("", name.lower())


def has_type(schema: dict[str, Any], wanted: str) -> bool:
    """Tells whether a schema is about values of a type."""
    kind = schema.get("type")
    if kind is None and wanted == "array":
        return "items" in schema
    if kind is None and wanted == "string":
        return any(has_type(mapping(one), wanted) for key in ("anyOf", "oneOf") for one in sequence(schema.get(key)))
    return kind == wanted or (isinstance(kind, list) and wanted in kind)
