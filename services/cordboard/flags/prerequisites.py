"""Flags that other flags have to give something for: who refers to whom, and the definitions that follow from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cordboard.core.errors import Violation
from cordboard.flags.compilation import compiled
from cordboard.flags.content import choice_key, segment_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    from cordboard.flags.content import Content
    from cordboard.flags.store import FlagRecord

# Flags in a row, the first one too: each one's rules have those of the next in them.
MAX_CHAIN: Final = 5

Graph = dict[str, tuple[str, ...]]
"""The flags that decide each flag too, by key, of those that have any."""


class Definitions:
    """The flagd definitions of some flags, each with those that it refers to worked in."""

    def __init__(self, records: Mapping[str, FlagRecord], known: Callable[[str], Mapping[str, Any] | None]) -> None:
        """Takes the flags to work out, and what gives the definitions of others, None for none."""
        self._records = records
        self._known = known
        self._made: dict[str, dict[str, Any]] = {}
        self._open: set[str] = set()

    def of(self, key: str) -> Mapping[str, Any] | None:
        """Returns the definition of a flag; None where there is none, and for one that refers to itself."""
        if key in self._made:
            return self._made[key]
        record = self._records.get(key)
        if record is None:
            return self._known(key)
        if key in self._open:
            return None
        self._open.add(key)
        made = compiled(key, record.content, killed=record.killed, revision=record.revision, others=self.of)
        self._open.discard(key)
        self._made[key] = made
        return made


def deciding(key: str, content: Content) -> tuple[str, ...]:
    """Returns the keys of the flags that decide a flag too: those that it needs, and what workspaces have chosen."""
    return tuple(filter(None, (*content.needs, choice_key(key))))


async def needed(
    key: str, content: Content, flag: Callable[[str], Awaitable[FlagRecord | None]]
) -> dict[str, FlagRecord]:
    """Returns the flags that decide a flag with this content too, and those that decide them; `flag` gives a flag by
    key, None for none.
    """
    found: dict[str, FlagRecord] = {}
    wanted = [*deciding(key, content)]
    while wanted:
        other = wanted.pop()
        record = None if other in found else await flag(other)
        if record is not None:
            found[other] = record
            wanted += deciding(other, record.content)
    return found


def graph_of(contents: Iterable[tuple[str, Content]]) -> Graph:
    """Returns who refers to whom, from keys and contents: what was written into the flags."""
    return {key: content.needs for key, content in contents if content.needs}


def influences_of(contents: Iterable[tuple[str, Content]]) -> Graph:
    """Returns whom the flags follow, from keys and contents: those that they need, and what workspaces have chosen."""
    return {key: others for key, content in contents if (others := deciding(key, content))}


def dependents(keys: Iterable[str], graph: Graph) -> set[str]:
    """Returns the flags that refer to one of these, directly or by way of others."""
    turned = _turned(graph)
    return _reached((flag for key in keys for flag in turned.get(key, ())), turned)


def violations(key: str, content: Content, graph: Graph, flags: Mapping[str, Content]) -> Iterator[Violation]:
    """Yields what is wrong with the prerequisites and the segments of a flag.

    `graph` is that of all flags, and `flags` those that the content names and that there are.
    """
    new = {**graph, **graph_of([(key, content)])}
    circles = {other for other in content.needs if key in _reached([other], new)}
    for path, other, kind in _named(content):
        if other not in flags:
            yield Violation(path, f"names {other!r}, which is no flag", f"UNKNOWN_{kind}")
        elif other in circles:
            yield Violation(path, f"names {other!r}, which needs {key!r} itself", "CYCLE")
    for index, each in enumerate(content.prerequisites):
        known = flags[each.key].variants if each.key in flags else each.variants
        for number, variant in enumerate(each.variants):
            if variant not in known:
                path = f"flag.prerequisites[{index}].variants[{number}]"
                yield Violation(path, f"names {variant[:100]!r}, which is none of its variants", "UNKNOWN_VARIANT")
    if not circles and _longest(key, new, MAX_CHAIN) + _longest(key, _turned(new), MAX_CHAIN) - 1 > MAX_CHAIN:
        field = "flag.prerequisites" if content.prerequisites else "flag.rules"
        yield Violation(field, f"must need {MAX_CHAIN} flags in a row at most, this one too", "TOO_DEEP")


def _named(content: Content) -> Iterator[tuple[str, str, str]]:
    """Yields each place where a flag names another one: its path, the other's key, and what the other is to be."""
    for index, each in enumerate(content.prerequisites):
        yield f"flag.prerequisites[{index}].flag", each.key, "FLAG"
    for index, rule in enumerate(content.rules):
        for number, name in enumerate(rule.segments):
            yield f"flag.rules[{index}].segments[{number}]", segment_key(name), "SEGMENT"


def _turned(graph: Graph) -> dict[str, list[str]]:
    """Returns the flags that refer to each flag, by key, of those that others refer to."""
    turned: dict[str, list[str]] = {}
    for key, others in graph.items():
        for other in others:
            turned.setdefault(other, []).append(key)
    return turned


def _reached(keys: Iterable[str], graph: Mapping[str, Iterable[str]]) -> set[str]:
    """Returns these flags, and those that they lead to in a graph."""
    found: set[str] = set()
    wanted = set(keys)
    while wanted:
        found |= wanted
        wanted = {other for each in wanted for other in graph.get(each, ())} - found
    return found


def _longest(key: str, graph: Mapping[str, Iterable[str]], left: int) -> int:
    """Returns how many flags follow each other from this one on, no further than is asked: a graph may have a circle
    where flags came from elsewhere.
    """
    return 1 + (max((_longest(other, graph, left - 1) for other in graph.get(key, ())), default=0) if left else 0)
