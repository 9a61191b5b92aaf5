"""Inputs of thousands of nodes in three shapes, described at length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tests.unit.uqi.samples import an_input

NODES: Final = 2_114
SAID: Final = "What it is for, as descriptions of vendors say it: at the length of several lines. " * 12


def a_node(number: int) -> dict[str, Any]:
    """A scalar of one of four types, with a long description."""
    return {"type": ("string", "integer", "boolean", "number")[number % 4], "description": SAID}


def flat() -> dict[str, Any]:
    """All beside each other."""
    return an_input("f0", **{f"f{number}": a_node(number) for number in range(NODES)})


def wide() -> dict[str, Any]:
    """Objects of 45 members each."""
    members = {f"m{number}": a_node(number) for number in range(45)}
    rest = {f"r{number}": a_node(number) for number in range(NODES - 45 * 46)}
    return an_input("o0", **{f"o{number}": an_input(**members) for number in range(45)}, **rest)


def deep() -> dict[str, Any]:
    """Objects within objects, four in each."""
    left = NODES

    def grown(levels: int) -> dict[str, Any]:
        nonlocal left
        members = {}
        for number in range(4):
            if left:
                left -= 1
                members[f"m{number}"] = grown(levels - 1) if levels else a_node(number)
        return an_input(**members)

    return an_input(**{f"n{number}": grown(4) for number in range(2)})


SHAPES: Final[list[Callable[[], dict[str, Any]]]] = [flat, wide, deep]


def nodes(schema: dict[str, Any]) -> int:
    """How many schemas stand below an object."""
    return sum(1 + nodes(member) for member in schema.get("properties", {}).values())
