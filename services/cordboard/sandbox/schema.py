"""Checks values against the JSON Schemas of the vendor's own OpenAPI document, so that the two cannot disagree.

It knows the keywords which that document uses, and refuses to be made from any other.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cordboard.sandbox.refusals import Invalid, Violation

_NOTES = {"description", "default", "example", "examples", "readOnly", "contentMediaType"}
_CHECKED = {
    "$ref", "type", "enum", "anyOf", "format",
    "minLength", "maxLength", "pattern", "minimum", "maximum",
    "items", "maxItems", "uniqueItems",
    "properties", "required", "additionalProperties", "minProperties", "maxProperties",
}  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: _is_number(value) and value == int(value),
    "number": _is_number,
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}

_EMAIL = re.compile(r"[^@\s<>\"(),:;\\\[\]]+@[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)


def _is_date(value: str) -> bool:
    if not _DATE.fullmatch(value):
        return False
    try:
        datetime.date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_date_time(value: str) -> bool:
    if not _DATE_TIME.fullmatch(value):
        return False
    try:
        datetime.datetime.fromisoformat(value.upper())
    except ValueError:
        return False
    return True


_FORMATS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "email": ("must be an e-mail address", lambda value: _EMAIL.fullmatch(value) is not None),
    "date": ("must be a date such as 2026-01-31", _is_date),
    "date-time": ("must be a moment such as 2026-01-31T12:00:00Z (RFC 3339)", _is_date_time),
}


class Schema:
    """A JSON Schema, ready to check values; `document` is where its references lead."""

    def __init__(self, source: Mapping[str, Any], document: Mapping[str, Any]) -> None:
        unknown = source.keys() - _CHECKED - _NOTES
        if unknown:
            raise ValueError(f"the schema keyword {min(unknown)!r} is not known here")
        self._source = source
        self._target = Schema(resolve(source, document), document) if "$ref" in source else None
        declared = source.get("type", ())
        self._types: tuple[str, ...] = (declared,) if isinstance(declared, str) else tuple(declared)
        self._choices = [Schema(choice, document) for choice in source.get("anyOf", ())]
        self._pattern = (
            re.compile(source["pattern"].removeprefix("^").removesuffix("$")) if "pattern" in source else None
        )
        self._properties = {name: Schema(each, document) for name, each in source.get("properties", {}).items()}
        self.items = Schema(source["items"], document) if "items" in source else None
        others = source.get("additionalProperties", True)
        self._closed = others is False
        self._others = Schema(others, document) if isinstance(others, dict) else None

    @property
    def types(self) -> tuple[str, ...]:
        """The types it allows, its own or those of what it refers to; none when it allows every type."""
        return self._types or (self._target.types if self._target is not None else ())

    @property
    def names(self) -> frozenset[str]:
        """The names of the properties it describes."""
        return frozenset(self._properties)

    def check(self, value: Any, name: str) -> None:
        """Raises Invalid with every violation in `value`, which the caller knows as `name`."""
        found = [*self.violations(value, name)]
        if found:
            raise Invalid(*found)

    def violations(self, value: Any, path: str = "") -> Iterator[Violation]:
        """Yields everything that is wrong with `value`; field paths begin with `path`."""
        if self._target is not None:
            yield from self._target.violations(value, path)
        if self._types and not any(_TYPES[each](value) for each in self._types):
            yield Violation(path or "body", f"must be {' or '.join(self._types)}")
            return
        if self._choices:
            yield from self._best_choice(value, path)
        if "enum" in self._source and value not in self._source["enum"]:
            yield Violation(path, f"must be one of {', '.join(self._source['enum'])}")
        if isinstance(value, str):
            yield from self._in_text(value, path)
        elif isinstance(value, list):
            yield from self._in_list(value, path)
        elif isinstance(value, dict):
            yield from self._in_object(value, path)
        elif _is_number(value):
            yield from self._in_number(value, path)

    def _best_choice(self, value: Any, path: str) -> Iterator[Violation]:
        attempts = [[*choice.violations(value, path)] for choice in self._choices]
        if not all(attempts):
            return
        # The choice that was meant is the one whose type fits; its violations say most.
        meant = (
            attempt
            for choice, attempt in zip(self._choices, attempts, strict=True)
            if any(_TYPES[each](value) for each in choice.types)
        )
        allowed = " or ".join(each for choice in self._choices for each in choice.types)
        yield from next(meant, [Violation(path, f"must be {allowed}")])

    def _in_text(self, value: str, path: str) -> Iterator[Violation]:
        least, most = self._source.get("minLength", 0), self._source.get("maxLength")
        if len(value) < least:
            yield Violation(path, "must not be empty" if least == 1 else f"must have at least {least} characters")
        elif most is not None and len(value) > most:
            yield Violation(path, f"must have at most {most} characters")
        elif self._pattern is not None and not self._pattern.fullmatch(value):
            yield Violation(path, f"must match {self._source['pattern']}")
        elif self._source.get("format") in _FORMATS:
            demand, holds = _FORMATS[self._source["format"]]
            if not holds(value):
                yield Violation(path, demand)

    def _in_number(self, value: float, path: str) -> Iterator[Violation]:
        least, most = self._source.get("minimum"), self._source.get("maximum")
        if least is not None and value < least:
            yield Violation(path, f"must be at least {least}")
        if most is not None and value > most:
            yield Violation(path, f"must be at most {most}")

    def _in_list(self, value: list[Any], path: str) -> Iterator[Violation]:
        most = self._source.get("maxItems")
        if most is not None and len(value) > most:
            yield Violation(path, f"must have at most {most} items")
        elif self._source.get("uniqueItems") and any(item in value[:index] for index, item in enumerate(value)):
            yield Violation(path, "must not have an item twice")
        elif self.items is not None:
            for index, item in enumerate(value):
                yield from self.items.violations(item, f"{path}[{index}]")

    def _in_object(self, value: dict[str, Any], path: str) -> Iterator[Violation]:
        within = f"{path}." if path else ""
        for name in self._source.get("required", ()):
            if name not in value:
                yield Violation(f"{within}{name}", "is required")
        least, most = self._source.get("minProperties", 0), self._source.get("maxProperties")
        if len(value) < least:
            yield Violation(path or "body", f"must have at least {least} of its fields")
        if most is not None and len(value) > most:
            yield Violation(path, f"must have at most {most} fields")
        for name, item in value.items():
            known = self._properties.get(name, self._others)
            if known is not None:
                yield from known.violations(item, f"{within}{name}")
            elif self._closed:
                yield Violation(f"{within}{name}", "is not a field of this")


def resolve(node: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns what `node` refers to inside `document`, or `node` itself when it is no reference."""
    while "$ref" in node:
        found: Any = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        node = found
    return node
