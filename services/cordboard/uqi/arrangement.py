"""How the fields of one object stand together: on tabs, under headings, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

from cordboard.uqi.fields import Field


@dataclass(frozen=True, slots=True)
class Columns:
    """Fields side by side, in rows of `count`."""

    count: int
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """What stands under a heading."""

    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Tabs:
    """Parts of which one is shown at a time."""

    tabs: tuple[Section, ...]


Part: TypeAlias = Field | Columns | Section | Tabs


def arranged(fields: Iterable[Field]) -> tuple[Part, ...]:
    """Returns the fields as they stand together; a tab and a heading stand where their first field does."""
    groups: dict[str, list[Field]] = {}
    plain: list[Field | None] = []
    for field in fields:
        if field.tab and not groups:
            # The place of the tabs.
            plain.append(None)
        if field.tab:
            groups.setdefault(field.tab, []).append(field)
        else:
            plain.append(field)
    tabs = Tabs(tuple(Section(title, _sections(members)) for title, members in groups.items()))
    return tuple(part for run in _around(plain) for part in ((tabs,) if run is None else _sections(run)))


def _around(plain: list[Field | None]) -> list[list[Field] | None]:
    at = plain.index(None) if None in plain else len(plain)
    before, after = ([field for field in run if field is not None] for run in (plain[:at], plain[at:]))
    return [before, None, after] if at < len(plain) else [before]


def _sections(fields: Iterable[Field]) -> tuple[Part, ...]:
    members: dict[str, list[Field]] = {}
    order: list[str | Field] = []
    for field in fields:
        if field.section and field.section not in members:
            order.append(field.section)
        if field.section:
            members.setdefault(field.section, []).append(field)
        else:
            order.append(field)
    parts: list[Part] = []
    for is_heading, run in groupby(order, key=lambda each: isinstance(each, str)):
        if is_heading:
            parts += [Section(str(title), _rows(members[str(title)])) for title in run]
        else:
            parts += _rows(each for each in run if isinstance(each, Field))
    return tuple(parts)


def _rows(fields: Iterable[Field]) -> tuple[Part, ...]:
    parts: list[Part] = []
    for count, run in groupby(fields, key=lambda field: field.columns):
        together = tuple(run)
        parts += [Columns(count, together)] if count > 1 else together
    return tuple(parts)
