"""Values that were filled into an older revision of a form, as the form of today takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from cordboard.core.errors import Violation
from cordboard.core.json_pointers import pointer_to
from cordboard.uqi.binding import Bound, Problem
from cordboard.uqi.fields import Entries, Field, Group, Items, Text
from cordboard.uqi.texts import json_text
from cordboard.uqi.v1 import form_pb2

REASON: Final = "REVISION"
_CHANGED: Final = "the form has changed since this was filled in"

Steps: TypeAlias = tuple[str | int, ...]
Wires: TypeAlias = Mapping[str, tuple[str, str]]
"""Where inputs go in the request: location and name there, by the inputs' own names."""


@dataclass(frozen=True, slots=True)
class Revision:
    """The fields of a form at one time, and where they go in the request."""

    id: str
    fields: tuple[Field, ...]
    wires: Wires


def wires_of(document: form_pb2.FormDocument) -> dict[str, tuple[str, str]]:
    """Returns where the inputs of a form go, by their names."""
    return {each.wire_name: (each.wire.location, each.wire.name) for each in document.fields if each.HasField("wire")}


def carried(found: Bound, old: Revision, new: Revision, bind: Callable[[Mapping[str, Any]], Bound]) -> Bound:
    """Returns what values that the old form takes mean to the new one; `bind` binds them by the API's names.

    A field that has another name now and goes to the same place keeps its value, one that is gone loses it, and what is
    a text now takes a number as text. Whatever else the new form does not take is a problem with the reason REVISION.
    """
    mover = _Mover()
    fits = bind(mover.members(old.fields, new.fields, found.input, (), renamed=_renamed(old, new)))
    return replace(
        fits,
        problems=tuple(_told(problem) for problem in fits.problems),
        dropped=(*found.dropped, *map(pointer_to, mover.dropped), *fits.dropped),
        moved=tuple(map(pointer_to, mover.moved)),
    )


def _told(problem: Problem) -> Problem:
    violation = problem.violation
    return replace(problem, violation=Violation(violation.field, f"{violation.description}: {_CHANGED}", REASON))


def _renamed(old: Revision, new: Revision) -> dict[str, str]:
    """Returns the new name of each input that is called otherwise and goes to the same place in the request."""
    before = {each.name for each in old.fields}
    arrivals = {new.wires[each.name]: each.name for each in new.fields if each.name in new.wires}
    now = {each.name for each in new.fields}
    found = {name: arrivals[place] for name, place in old.wires.items() if name not in now and place in arrivals}
    return {name: other for name, other in found.items() if other not in before}


@dataclass
class _Mover:
    dropped: list[Steps] = field(default_factory=list)
    moved: list[Steps] = field(default_factory=list)

    def members(
        self,
        old: Iterable[Field],
        new: Iterable[Field],
        values: Mapping[str, Any],
        steps: Steps,
        *,
        renamed: Mapping[str, str] | None = None,
        is_open: bool = False,
    ) -> dict[str, Any]:
        """Returns the members of an object as the new fields have them."""
        before, now = {each.name: each for each in old}, {each.name: each for each in new}
        found: dict[str, Any] = {}
        for name, value in values.items():
            target = (renamed or {}).get(name, name)
            here = (*steps, target)
            if name not in before or (target not in now and is_open):
                found[name] = value
            elif target not in now or (value is None and not now[target].nullable):
                self.dropped.append((*steps, name))
            else:
                found[target] = self.value(before[name], now[target], value, here)
                if target != name:
                    self.moved.append(here)
        return found

    def value(self, old: Field, new: Field, value: Any, steps: Steps) -> Any:
        """Returns a value as the new field has it; as it is where there is nothing to say about it."""
        match old.kind, new.kind, value:
            case Group(before), Group(now, is_open), dict():
                return self.members(before, now, value, steps, is_open=is_open)
            case Items(before), Items(now), list():
                return [self.value(before, now, item, (*steps, index)) for index, item in enumerate(value)]
            case Entries(before), Entries(now), dict():
                return {name: self.value(before, now, item, (*steps, name)) for name, item in value.items()}
            case _, Text(), bool() | int() | float():
                self.moved.append(steps)
                return json_text(value)
            case _:
                return value
