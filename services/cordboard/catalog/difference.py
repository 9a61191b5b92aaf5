"""What is new, gone and changed between two definitions, part by part, as people read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.compatibility.values import short, text_of
from cordboard.catalog.document import to_plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cordboard.catalog.v1.definition_pb2 import Definition

ADDED: Final = "added"
REMOVED: Final = "removed"
CHANGED: Final = "changed"

MAX_CHANGES: Final = 5000
# What names an element of a list, in this order.
_IDS: Final = ("id", "property", "name", "url")
# The version is what is compared, and no difference.
_LEFT_OUT: Final = frozenset({"version"})


@dataclass(frozen=True)
class Change:
    """One difference; the values are short JSON, empty where there is nothing."""

    kind: str
    field: str
    old: str
    new: str


def differences(old: Definition, new: Definition) -> list[Change]:
    """Returns the differences in the order of the definition, at most MAX_CHANGES."""
    found: list[Change] = []
    for change in _mapping("", _plain(old), _plain(new)):
        found.append(change)
        if len(found) == MAX_CHANGES:
            break
    return found


def _plain(definition: Definition) -> dict[str, Any]:
    return {name: value for name, value in to_plain(definition).items() if name not in _LEFT_OUT}


def _mapping(path: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    for name in [*old, *(name for name in new if name not in old)]:
        below = f"{path}.{name}" if path else name
        if name not in new:
            yield Change(REMOVED, below, short(old[name]), "")
        elif name not in old:
            yield from _added(below, new[name])
        else:
            yield from _value(below, old[name], new[name])


def _added(path: str, value: Any) -> Iterator[Change]:
    named = _named(value)
    if named is None or not named:
        yield Change(ADDED, path, "", short(value))
        return
    for name, each in named.items():
        yield Change(ADDED, f"{path}[{name}]", "", short(each))


def _value(path: str, old: Any, new: Any) -> Iterator[Change]:
    if text_of(old) == text_of(new):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _mapping(path, old, new)
        return
    before, after = _named(old), _named(new)
    if before is None or after is None:
        yield Change(CHANGED, path, short(old), short(new))
        return
    found = False
    for name in [*before, *(name for name in after if name not in before)]:
        below = f"{path}[{name}]"
        if name not in after:
            change = [Change(REMOVED, below, short(before[name]), "")]
        elif name not in before:
            change = [Change(ADDED, below, "", short(after[name]))]
        else:
            change = list(_value(below, before[name], after[name]))
        found = found or bool(change)
        yield from change
    if not found:
        yield Change(CHANGED, path, f"order {short(list(before))}", f"order {short(list(after))}")


def _named(value: Any) -> dict[str, Any] | None:
    """Returns the elements of a list by what names each, or None where they have no names of their own."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        return None
    for key in _IDS:
        names = [each.get(key) for each in value]
        if all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names):
            return dict(zip((str(name) for name in names), value, strict=True))
    return None
