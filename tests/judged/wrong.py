"""Inputs that are wrong on purpose, one thing at a time, and the field that has to be named for it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.judged.inputs import Schemas, Unmade

MAX_DEPTH: Final = 3
UNKNOWN: Final = "no_such_input"
_OTHERS: Final[tuple[tuple[str, Any], ...]] = (
    ("object", {"wrong": True}),
    ("string", "wrong"),
    ("array", [["wrong"]]),
    ("boolean", True),
)
_CHOICES: Final = ("oneOf", "anyOf", "not", "if")


@dataclass(frozen=True)
class Wrong:
    """An input that has to be refused."""

    kind: str
    field: str
    given: dict[str, Any]


def wrong_inputs(schema: Mapping[str, Any], schemas: Schemas, given: dict[str, Any]) -> Iterator[Wrong]:
    """Yields what can be made wrong about an input that fits the schema."""
    yield from _wrong(schema, schemas, given, (), given)


def _wrong(
    schema: Any, schemas: Schemas, whole: dict[str, Any], path: tuple[str, ...], here: dict[str, Any]
) -> Iterator[Wrong]:
    try:
        said = schemas.said(schema)
    except Unmade:
        return
    # Where there is a choice, what is wrong for one alternative may be right for another.
    if any(keyword in said for keyword in _CHOICES) or len(path) > MAX_DEPTH:
        return
    field = ".".join(("input", *path))
    if said.get("additionalProperties") is False and UNKNOWN not in said.get("properties", {}):
        yield Wrong("unknown", field, _changed(whole, (*path, UNKNOWN), "wrong"))
    for name in said.get("required", ()):
        if name in here:
            yield Wrong("missing", f"{field}.{name}", _changed(whole, (*path, name), None))
    for name, one in said.get("properties", {}).items():
        if name not in here:
            continue
        yield from _misfits(one, schemas, whole, (*path, name))
        if isinstance(here[name], dict):
            yield from _wrong(one, schemas, whole, (*path, name), here[name])


def _misfits(schema: Any, schemas: Schemas, whole: dict[str, Any], path: tuple[str, ...]) -> Iterator[Wrong]:
    try:
        said = schemas.said(schema)
    except Unmade:
        return
    if any(keyword in said for keyword in _CHOICES):
        return
    field = ".".join(("input", *path))
    kinds = said.get("type", ())
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    other = next((value for kind, value in _OTHERS if kind not in kinds), None) if kinds else None
    if other is not None:
        yield Wrong("type", field, _changed(whole, path, other))
    if "enum" in said or "const" in said:
        yield Wrong("enum", field, _changed(whole, path, "no-such-choice" if "string" in kinds else 987654321))


def _changed(whole: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Returns a copy with another value at a path; None takes it out."""
    changed = copy.deepcopy(whole)
    at = changed
    for step in path[:-1]:
        at = at[step]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return changed
