"""Flags that other flags have to give something for: who refers to whom, and the definitions that follow from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cordboard.core.errors import Violation
from cordboard.flags.compilation import compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from cordboard.flags.content import Content
    from cordboard.flags.store import FlagRecord

# Flags in a row, the first one too: each one's rules have those of the next in them.
MAX_CHAIN: Final = 5

Graph = dict[str, tuple[str, ...]]
"""The prerequisites of each flag that has any, by key."""


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


def graph_of(contents: Iterable[tuple[str, Content]]) -> Graph:
    """Returns who refers to whom, from keys and contents."""
    return {
        key: tuple(each.key for each in content.prerequisites) for key, content in contents if content.prerequisites
    }


def dependents(keys: Iterable[str], graph: Graph) -> set[str]:
    """Returns the flags that refer to one of these, directly or by way of others."""
    found: set[str] = set()
    wanted = set(keys)
    while wanted:
        wanted = {key for key, others in graph.items() if wanted.intersection(others)} - found
        found |= wanted
    return found


def violations(key: str, content: Content, graph: Graph, flags: Mapping[str, Content]) -> Iterator[Violation]:
    """Yields what is wrong with the prerequisites of a flag; `graph` is that of all flags, and `flags` those that the
    content names and that there are.
    """
    new = {**graph, **graph_of([(key, content)])}
    for index, each in enumerate(content.prerequisites):
        path, other = f"flag.prerequisites[{index}]", flags.get(each.key)
        if other is None:
            yield Violation(f"{path}.flag", f"names {each.key!r}, which is no flag", "UNKNOWN_FLAG")
            continue
        for number, variant in enumerate(each.variants):
            if variant not in other.variants:
                text = f"names {variant[:100]!r}, which is none of its variants"
                yield Violation(f"{path}.variants[{number}]", text, "UNKNOWN_VARIANT")
        if key in _reached(each.key, new):
            yield Violation(f"{path}.flag", f"names {each.key!r}, which needs {key!r} itself", "CYCLE")
            return
    above: dict[str, list[str]] = {}
    for name, others in new.items():
        for one in others:
            above.setdefault(one, []).append(name)
    if _longest(key, new, MAX_CHAIN) + _longest(key, above, MAX_CHAIN) - 1 > MAX_CHAIN:
        yield Violation("flag.prerequisites", f"must be {MAX_CHAIN} flags in a row at most", "TOO_DEEP")


def _reached(key: str, graph: Graph) -> set[str]:
    found: set[str] = set()
    wanted = {key}
    while wanted:
        found |= wanted
        wanted = {other for each in wanted for other in graph.get(each, ())} - found
    return found


def _longest(key: str, graph: Mapping[str, Iterable[str]], left: int) -> int:
    """Returns how many flags follow each other from this one on, no further than is asked: a graph may have a circle
    where flags came from elsewhere.
    """
    return 1 + (max((_longest(other, graph, left - 1) for other in graph.get(key, ())), default=0) if left else 0)
