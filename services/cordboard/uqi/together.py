"""What a schema asks of several members of one object at once, as far as people can be told it.

What is not understood here is still in the schema, and so still checked when values are bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, Literal, TypeAlias

from cordboard.uqi.conditions import Compare, Condition, either
from cordboard.uqi.dependence import branches, condition_of
from cordboard.uqi.fields import Field

Count: TypeAlias = Literal["some", "one", "most one", "all"]

# Words beside which a branch still asks for nothing but that members are there.
_WITHOUT_EFFECT: Final = frozenset({"required", "title", "description", "type"})


@dataclass(frozen=True, slots=True)
class Together:
    """How many of some groups of members have to be there whole: at least one, exactly one, one at most, or all.

    It is asked where `when` holds; None: always.
    """

    groups: tuple[tuple[str, ...], ...]
    count: Count
    when: Condition | None = None


def asked(schema: Mapping[str, Any], fields: tuple[Field, ...]) -> Iterator[Together]:
    """Yields what the keywords of an object ask of its members, each once."""
    known = {field.name: field for field in fields}
    seen: set[tuple[Any, ...]] = set()
    for found in _asked(schema, known):
        told = (found.groups, found.count, repr(found.when))
        if told not in seen and all(set(group) <= set(known) for group in found.groups):
            seen.add(told)
            yield found


def _asked(schema: Mapping[str, Any], fields: Mapping[str, Field]) -> Iterator[Together]:
    for part in _parts(schema):
        yield from _of(part, None)
        yield from _mutual(part, fields)
    for branch in branches(schema):
        when = condition_of(branch, fields)
        if when is not None:
            for part in _parts(branch.schema):
                yield from _of(part, when)


def _parts(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield schema
    yield from (each for each in schema.get("allOf", ()) if isinstance(each, dict))


def _of(part: Mapping[str, Any], when: Condition | None) -> Iterator[Together]:
    groups = _required(part.get("anyOf", ()))
    if groups:
        yield Together(groups, "some", when)
    groups = _required(part.get("oneOf", ()))
    if groups:
        yield Together(groups, "one", when)
    elif "oneOf" in part:
        yield from _one_or_none(part["oneOf"], when)
    names = _excluded(part.get("not"))
    if names:
        yield Together(tuple((name,) for name in names), "most one", when)


def _required(branches_: Any) -> tuple[tuple[str, ...], ...]:
    """Returns what each branch asks to be there, where all of them ask for nothing else."""
    groups = [_names(branch) for branch in branches_]
    return tuple(groups) if all(groups) else ()


def _names(branch: Any) -> tuple[str, ...]:
    alone = isinstance(branch, dict) and not set(branch) - _WITHOUT_EFFECT
    return tuple(branch.get("required", ())) if alone else ()


def _one_or_none(branches_: list[Any], when: Condition | None) -> Iterator[Together]:
    """Reads one of several, or none of them: the last case is written as what must not be there."""
    groups = [_names(branch) for branch in branches_]
    rest = [branch for branch, group in zip(branches_, groups, strict=True) if not group]
    told = tuple(group for group in groups if group)
    if len(rest) != 1 or not told or not isinstance(rest[0], dict) or set(rest[0]) - {"not", "title", "description"}:
        return
    forbidden = rest[0].get("not", {})
    none = _required(forbidden.get("anyOf", [forbidden])) if isinstance(forbidden, dict) else ()
    if set(none) == {(name,) for group in told for name in group}:
        yield Together(told, "most one", when)


def _excluded(schema: Any) -> tuple[str, ...]:
    """Returns the members of which no two may be there, where a schema that must not hold names every pair of them."""
    if not isinstance(schema, dict):
        return ()
    pairs = _required(schema.get("anyOf", [schema]))
    if not pairs or any(len(set(pair)) != 2 for pair in pairs):
        return ()
    names = tuple(dict.fromkeys(name for pair in pairs for name in pair))
    wanted = {frozenset(pair) for pair in combinations(names, 2)}
    return names if wanted == {frozenset(pair) for pair in pairs} else ()


def _mutual(part: Mapping[str, Any], fields: Mapping[str, Field]) -> Iterator[Together]:
    """Yields members that are there together or not at all: each asks for all the others."""
    asked_by = {name: {name, *others} for name, others in part.get("dependentRequired", {}).items()}
    seen: set[str] = set()
    for name, together in asked_by.items():
        if name in seen or len(together) < 2 or not all(asked_by.get(each) == together for each in together):
            continue
        seen |= together
        names = [each for each in fields if each in together]
        if len(names) == len(together):
            present = either(*(Compare(fields[each].id, "present") for each in names))
            yield Together(tuple((each,) for each in names), "all", present)
