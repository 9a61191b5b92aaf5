"""What is wrong with flag definitions that say to be flagd's, by the format that flagd and its providers agree on.

A provider refuses a whole set for one flag that is not as it should be, or takes it and gives something that nobody
meant. Here each flag is looked at by itself, and what is said names the place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

MAX_DEPTH: Final = 100
MAX_WEIGHT_SUM: Final = 2**31 - 1
STATES: Final = ("ENABLED", "DISABLED")
FACTS: Final = ("$flagd.flagKey", "$flagd.timestamp")
COMPARISONS: Final = ("=", "!=", ">", "<", ">=", "<=", "~", "^")
# How few and how many arguments an operator has, where these may be anything.
ARGUMENTS: Final[Mapping[str, tuple[int, int | None]]] = {
    **dict.fromkeys(("==", "===", "!=", "!==", ">", ">=", "%", "/"), (2, 2)),
    **dict.fromkeys(("map", "filter", "all", "none", "some", "in"), (2, 2)),
    **dict.fromkeys(("substr", "<", "<="), (2, 3)),
    **dict.fromkeys(("if", "or", "and", "+", "-", "max", "min", "merge", "cat"), (1, None)),
    "*": (2, None),
    "reduce": (3, 3),
}
# These take their only argument with or without a list around it.
ALONE: Final = ("!", "!!")
# By https://semver.org.
_NUMBER: Final = r"(?:0|[1-9][0-9]*)"
_PART: Final = rf"(?:{_NUMBER}|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_VERSION: Final = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_PART}(?:\.{_PART})*)?(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?"
)


def set_problems(document: Mapping[str, Any], *, lists: bool = True) -> Iterator[str]:
    """Yields what is wrong with a set of flags beside the flags. `lists`: they may be a list, as flagd takes them."""
    flags = document.get("flags")
    if not isinstance(flags, dict) and not (lists and isinstance(flags, list)):
        yield f"flags must be an object{' or a list' if lists else ''}"
    yield from _metadata(document.get("metadata", {}))
    evaluators = document.get("$evaluators", {})
    if not isinstance(evaluators, dict):
        yield "$evaluators must be an object"
        return
    for name, rule in evaluators.items():
        yield from targeting_problems(rule, f"$evaluators.{name}")


def flag_problems(flag: Any) -> Iterator[str]:
    """Yields what is wrong with the definition of a flag."""
    if not isinstance(flag, dict):
        yield "must be an object"
        return
    if flag.get("state") not in STATES:
        yield f"state must be one of {', '.join(STATES)}"
    yield from _variants(flag.get("variants"), flag.get("defaultVariant"))
    yield from _metadata(flag.get("metadata", {}))
    yield from targeting_problems(flag.get("targeting", {}), "targeting")


def targeting_problems(rule: Any, path: str) -> Iterator[str]:
    """Yields what is wrong with a rule: JsonLogic with flagd's operators."""
    if not isinstance(rule, dict):
        yield f"{path} must be an object"
    elif rule:
        yield from _value(rule, path, 0)


def _variants(variants: Any, default: Any) -> Iterator[str]:
    if not isinstance(variants, dict) or not variants:
        yield "variants must be an object with at least one variant"
        return
    if "" in variants:
        yield "variants must have names"
    kinds = {_kind(value) for value in variants.values()}
    if None in kinds:
        yield "variants must be booleans, numbers, texts or objects"
    elif len(kinds) > 1:
        yield f"variants must all be of one type, and are: {', '.join(sorted(map(str, kinds)))}"
    if default is not None and not isinstance(default, str):
        yield "defaultVariant must be text or null"
    elif default and default not in variants:
        yield f"defaultVariant names {default[:100]!r}, which is none of the variants"


def _kind(value: Any) -> str | None:
    for kind, types in (("boolean", bool), ("number", int | float), ("text", str), ("object", dict)):
        if isinstance(value, types):
            return kind
    return None


def _metadata(metadata: Any) -> Iterator[str]:
    if not isinstance(metadata, dict):
        yield "metadata must be an object"
        return
    for name, value in metadata.items():
        if not isinstance(value, str | int | float):
            yield f"metadata.{name} must be text, a number or a boolean"


def _rule(rule: Mapping[str, Any], path: str, depth: int) -> Iterator[str]:
    if len(rule) != 1:
        yield f"{path} must have one operator, and has {len(rule)}"
        return
    ((name, given),) = rule.items()
    inside = f"{path}.{name[:64]}"
    if name in _OWN:
        yield from _OWN[name](given, inside, depth + 1)
    elif name in ALONE:
        yield from _only(given, inside, depth + 1)
    elif name in ARGUMENTS:
        yield from _arguments(given, inside, depth + 1, *ARGUMENTS[name])
    else:
        yield f"{path} has the operator {name[:64]!r}, which there is not"


def _value(value: Any, path: str, depth: int) -> Iterator[str]:
    """Yields what is wrong with an argument that may be anything."""
    if depth > MAX_DEPTH:
        yield f"{path[:200]} is nested more than {MAX_DEPTH} levels deep"
    elif isinstance(value, dict):
        yield from _rule(value, path, depth)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _value(each, f"{path}[{index}]", depth + 1)


def _arguments(given: Any, path: str, depth: int, least: int, most: int | None) -> Iterator[str]:
    if not isinstance(given, list) or len(given) < least or (most is not None and len(given) > most):
        count = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        yield f"{path} must be a list of {count}"
        return
    yield from _value(given, path, depth)


def _only(given: Any, path: str, depth: int) -> Iterator[str]:
    if isinstance(given, list) and len(given) != 1:
        yield f"{path} must have one argument"
    else:
        yield from _value(given, path, depth)


def _reference(given: Any, path: str, _depth: int) -> Iterator[str]:
    if not isinstance(given, str):
        yield f"{path} must be text"


def _var(given: Any, path: str, depth: int) -> Iterator[str]:
    if isinstance(given, list) and not given:
        yield f"{path} must name what is read"
        return
    name = given[0] if isinstance(given, list) else given
    if isinstance(name, str) and name.startswith("$flagd.") and name not in FACTS:
        yield f"{path} reads {name[:64]!r}, and there are {' and '.join(FACTS)}"
    yield from _value(given, path, depth)


def _missing(given: Any, path: str, _depth: int) -> Iterator[str]:
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        yield f"{path} must be a list of names"


def _missing_some(given: Any, path: str, depth: int) -> Iterator[str]:
    if not isinstance(given, list) or len(given) != 2 or _kind(given[0]) != "number":
        yield f"{path} must be a number and a list of names"
    else:
        yield from _missing(given[1], f"{path}[1]", depth)


def _texts(given: Any, path: str, depth: int) -> Iterator[str]:
    if not isinstance(given, list) or len(given) != 2:
        yield f"{path} must be a list of 2"
        return
    for index, each in enumerate(given):
        if not isinstance(each, str | dict):
            yield f"{path}[{index}] must be text or a rule"
        else:
            yield from _value(each, f"{path}[{index}]", depth)


def _versions(given: Any, path: str, depth: int) -> Iterator[str]:
    if not isinstance(given, list) or len(given) != 3:
        yield f"{path} must be a list of 3"
        return
    if given[1] not in COMPARISONS:
        yield f"{path}[1] must be one of {' '.join(COMPARISONS)}"
    for index in (0, 2):
        each = given[index]
        if isinstance(each, dict) and list(each) == ["var"]:
            yield from _value(each, f"{path}[{index}]", depth)
        elif not isinstance(each, str) or not _VERSION.fullmatch(each):
            yield f"{path}[{index}] must be a semantic version or a var"


def _fractional(given: Any, path: str, depth: int) -> Iterator[str]:
    if not isinstance(given, list) or not given:
        yield f"{path} must be a list of shares"
        return
    total = 0
    for index, each in enumerate(given):
        here = f"{path}[{index}]"
        if index == 0 and isinstance(each, dict):
            yield from _value(each, here, depth)
            continue
        if not isinstance(each, list) or not 1 <= len(each) <= 2:
            yield f"{here} must be a variant and its weight{', or a rule that gives whom to place' * (index == 0)}"
            continue
        yield from _value(each[0], f"{here}[0]", depth)
        weight = each[1] if len(each) == 2 else 1
        if isinstance(weight, dict):
            yield from _value(weight, f"{here}[1]", depth)
        elif _kind(weight) != "number" or weight < 0 or not float(weight).is_integer():
            yield f"{here}[1] must be a whole number from 0, or a rule that gives one"
        else:
            total += int(weight)
    if total > MAX_WEIGHT_SUM:
        yield f"{path} has weights that add up to {total}, and must have at most {MAX_WEIGHT_SUM}"


_OWN: Final[Mapping[str, Callable[[Any, str, int], Iterator[str]]]] = {
    "$ref": _reference,
    "var": _var,
    "missing": _missing,
    "missing_some": _missing_some,
    "starts_with": _texts,
    "ends_with": _texts,
    "sem_ver": _versions,
    "fractional": _fractional,
}
