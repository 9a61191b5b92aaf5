"""Reads a document of flags, whoever wrote it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from cordboard.cli.foreign_flags.admission import set_problems
from cordboard.cli.foreign_flags.flagd import from_flagd, keyed
from cordboard.cli.foreign_flags.own import from_own, in_order, named
from cordboard.cli.foreign_flags.unleash import features_of, from_unleash
from cordboard.cli.foreign_flags.words import KEY, Unsayable
from cordboard.flags.v1 import flag_service_pb2 as pb


@dataclass(frozen=True)
class Reading:
    """What was read of a document."""

    flags: tuple[pb.Flag, ...]
    """Each after those that it needs."""
    left_out: Mapping[str, str]
    """The flags that ours cannot say, each with the reason."""


def read(document: Any) -> Reading:
    """Returns the flags of a document of ours, flagd's or Unleash's; raises Unsayable where it is none of them."""
    if _is_flagd(document):
        for problem in set_problems(document):
            raise Unsayable(f"is not as flagd has it: {problem}")
        flags = document["flags"]
        convert = partial(from_flagd, evaluators=document.get("$evaluators", {}))
        return _reading(flags.items() if isinstance(flags, dict) else keyed(flags), convert)
    if isinstance(document, dict) and isinstance(document.get("flags"), list):
        return _reading(named(document["flags"]), from_own)
    if isinstance(document, dict) and isinstance(document.get("features"), list):
        return _reading(features_of(document), from_unleash)
    raise Unsayable("has no flags: ours are a list `flags`, flagd's an object `flags`, Unleash's a list `features`")


def _is_flagd(document: Any) -> bool:
    flags = document.get("flags") if isinstance(document, dict) else None
    # Ours are a list too, whose members have a name and no key.
    return isinstance(flags, dict) or (
        isinstance(flags, list) and any(isinstance(each, dict) and "key" in each for each in flags)
    )


def _reading(named: Iterable[tuple[str, Any]], convert: Callable[[str, Any], pb.Flag]) -> Reading:
    flags: dict[str, pb.Flag] = {}
    left_out = {}
    for key, content in named:
        try:
            if not KEY.fullmatch(key):
                raise Unsayable("its name is no key: letters, digits, dots, underscores and hyphens, at most 200")
            if key in flags:
                raise Unsayable("stands in the document twice; the first one is taken")
            flags[key] = convert(key, content)
        except Unsayable as problem:
            left_out[key] = str(problem)
    return Reading(in_order(flags.values()), left_out)
