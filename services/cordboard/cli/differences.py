"""How two versions of an integration differ, for people."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from rich.text import Text

from cordboard.catalog.v1 import governance_service_pb2 as pb
from cordboard.cli.output import console

_ACTION: Final = re.compile(r"actions\[([^\]]+)\]")
_WORDS: Final = {pb.DefinitionChange.KIND_ADDED: "added", pb.DefinitionChange.KIND_REMOVED: "removed"}
SIGNS = {
    pb.DefinitionChange.KIND_ADDED: Text("+ ", "green"),
    pb.DefinitionChange.KIND_REMOVED: Text("- ", "red"),
    pb.DefinitionChange.KIND_CHANGED: Text("~ ", "yellow"),
}


def show_difference(found: pb.DefinitionDifference, *, limit: int = 0) -> None:
    """Shows what is new, gone and changed, and who can go from one version to the other.

    Above a limit, where there is one, the rest of the changes is only counted.
    """
    console.print(summary(found.changes), highlight=False)
    shown = found.changes[: limit or None]
    for change in shown:
        values = " -> ".join(value for value in (change.old_value, change.new_value) if value)
        console.print(SIGNS.get(change.kind, " "), end="")
        console.print(f"{change.field}: {values}", highlight=False)
    if len(found.changes) > len(shown):
        console.print(f"and {len(found.changes) - len(shown)} more; `-o json` has all of them", style="dim")
    if not found.old_version:
        return
    for holds, mode, who in (
        (found.backward, "BACKWARD", f"users of {found.old_version} can use {found.new_version}"),
        (found.forward, "FORWARD", f"users of {found.new_version} can go back to {found.old_version}"),
    ):
        console.print(
            Text.assemble((mode, "green"), f": {who}") if holds else Text.assemble((f"not {mode}", "red"), ":")
        )
        direction = getattr(pb.Incompatibility, f"DIRECTION_{mode}")
        for one in found.incompatibilities:
            if one.direction == direction:
                console.print(f"  {incompatibility_text(one)}", highlight=False)


def summary(changes: Iterable[pb.DefinitionChange]) -> str:
    """Returns how many actions are new, gone and changed, and how many other parts are."""
    counted: dict[str, set[str]] = {"added": set(), "removed": set(), "changed": set()}
    others = 0
    for change in changes:
        found = _ACTION.match(change.field)
        if found is None:
            others += 1
        elif found.end() == len(change.field) and change.kind in _WORDS:
            counted[_WORDS[change.kind]].add(found[1])
        else:
            counted["changed"].add(found[1])
    parts = [f"{len(ids)} {word}" for word, ids in counted.items() if ids]
    told = [f"actions: {', '.join(parts)}"] if parts else []
    told += [f"other parts: {others} changed"] if others else []
    return "; ".join(told) or "nothing differs"


def show_refusals(compatibility: str, refusals: Iterable[pb.Incompatibility]) -> None:
    """Shows what a definition promises, and what of it this one breaks."""
    console.print(f"declared compatibility: {compatibility}")
    for one in refusals:
        console.print("refused ", style="red", end="")
        console.print(incompatibility_text(one), highlight=False)


def incompatibility_text(one: pb.Incompatibility) -> str:
    """Returns what breaks whom, and by which rule."""
    return f"{one.field}: {one.description} ({one.rule})"
