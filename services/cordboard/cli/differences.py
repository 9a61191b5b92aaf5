"""How two versions of an integration differ, for people."""

from __future__ import annotations

from cordboard.catalog.v1 import governance_service_pb2 as pb
from cordboard.cli.output import console

SIGNS = {
    pb.DefinitionChange.KIND_ADDED: "[green]+[/green]",
    pb.DefinitionChange.KIND_REMOVED: "[red]-[/red]",
    pb.DefinitionChange.KIND_CHANGED: "[yellow]~[/yellow]",
}


def show_difference(found: pb.DefinitionDifference) -> None:
    """Shows what is new, gone and changed, and who can go from one version to the other."""
    if not found.changes:
        console.print("nothing differs")
    for change in found.changes:
        values = " -> ".join(value for value in (change.old_value, change.new_value) if value)
        console.print(f"{SIGNS.get(change.kind, '')} ", end="")
        console.print(f"{change.field}: {values}", markup=False, highlight=False)
    if not found.old_version:
        return
    for holds, mode, who in (
        (found.backward, "BACKWARD", f"users of {found.old_version} can use {found.new_version}"),
        (found.forward, "FORWARD", f"users of {found.new_version} can go back to {found.old_version}"),
    ):
        console.print(f"[green]{mode}[/green]: {who}" if holds else f"[red]not {mode}[/red]:")
        direction = getattr(pb.Incompatibility, f"DIRECTION_{mode}")
        for one in found.incompatibilities:
            if one.direction == direction:
                console.print(f"  {incompatibility_text(one)}", markup=False, highlight=False)


def incompatibility_text(one: pb.Incompatibility) -> str:
    """Returns what breaks whom, and by which rule."""
    return f"{one.field}: {one.description} ({one.rule})"
