"""Flags with everything that they say, for another mesh."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final

from google.protobuf import json_format

from cordboard.cli.foreign_flags.words import Unsayable
from cordboard.cli.segments import PREFIX
from cordboard.flags.v1 import flag_service_pb2 as pb

# What a mesh says of its own history with a flag.
_HERE: Final = ("revision", "etag", "create_time", "update_time")


def to_own(flags: Iterable[pb.Flag]) -> dict[str, Any]:
    """Returns flags as a document that `from_own` reads."""
    written = []
    for flag in flags:
        kept = pb.Flag()
        kept.CopyFrom(flag)
        for field in _HERE:
            kept.ClearField(field)
        written.append(json_format.MessageToDict(kept))
    return {"flags": written}


def from_own(_key: str, content: Any) -> pb.Flag:
    """Returns a flag; raises Unsayable where it has a field that flags do not have here."""
    try:
        flag = json_format.ParseDict(content, pb.Flag())
    except (json_format.ParseError, AttributeError, TypeError) as problem:
        raise Unsayable(f"is no flag: {problem}"[:300]) from None
    for field in _HERE:
        flag.ClearField(field)
    return flag


def named(content: Sequence[Any]) -> Iterable[tuple[str, Any]]:
    """Yields the flags of a document with their keys; what has none is named by its place."""
    for place, each in enumerate(content):
        name = each.get("name") if isinstance(each, Mapping) else None
        collection, _, key = name.partition("/") if isinstance(name, str) else ("", "", "")
        yield (key if collection == "flags" and key else f"flags[{place}]"), each


def in_order(flags: Iterable[pb.Flag]) -> tuple[pb.Flag, ...]:
    """Returns flags so that each comes after those that it needs; in a circle they stay as they are."""
    by_name = {flag.name: flag for flag in flags}
    needed: TopologicalSorter[str] = TopologicalSorter()
    for flag in by_name.values():
        segments = (f"{PREFIX}{name}" for rule in flag.rules for name in rule.segments)
        needed.add(flag.name, *(each.flag for each in flag.prerequisites), *segments)
    try:
        order = tuple(needed.static_order())
    except CycleError:
        return tuple(by_name.values())
    return tuple(by_name[name] for name in order if name in by_name)
