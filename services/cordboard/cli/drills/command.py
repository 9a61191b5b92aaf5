"""`cordboard drill`: makes a failure on a mesh of its own, and checks that it is noticed and mended."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table

from cordboard.cli.demo.narrator import Narrator, StepFailed
from cordboard.cli.drills import bad_rollout, database_down, edge_cut_off, key_leak, token_storm, vendor_down
from cordboard.cli.drills.looking import Looking
from cordboard.cli.drills.scene import nobody_looks, scene
from cordboard.cli.failures import lines
from cordboard.cli.mesh import progress
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, console, errors, show_json
from cordboard.cli.session import run
from cordboard.client import CordboardError
from cordboard.local.failures import MeshFailure

if TYPE_CHECKING:
    from cordboard.cli.drills.scene import Scene

EVERY: Final = "all"
COLUMNS: Final = ("drill", "failure", "runbook")


@dataclass(frozen=True)
class Drill:
    """A failure, and where the runbook has what to do."""

    play: Callable[[Scene], Awaitable[None]]
    failure: str
    runbook: str


DRILLS: Final[Mapping[str, Drill]] = {
    "vendor-down": Drill(vendor_down.play, "a vendor answers 503 to everything", "IntegrationFailing"),
    "token-storm": Drill(token_storm.play, "tokens end at once, and cannot be renewed", "RefreshFailing"),
    "edge-cut-off": Drill(edge_cut_off.play, "the line between an edge and its hub is cut", "EdgeStale"),
    "database-down": Drill(database_down.play, "the database hangs", "ServiceFailing"),
    "bad-rollout": Drill(bad_rollout.play, "a version that cannot work is rolled out", "IntegrationFailing"),
    "key-leak": Drill(key_leak.play, "an API key and a signing key leak", "A key has leaked"),
}


def drill(
    context: typer.Context,
    name: Annotated[list[str] | None, typer.Argument(help="Which, or `all`. Default: list them.")] = None,
    look: Annotated[
        bool, typer.Option("--look", help="Wait while the failure is there, and let you find its cause at the console.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Make a failure on a mesh of its own, and check that it is noticed and mended as the runbook says."""
    if not name:
        rows = [(each, one.failure, one.runbook) for each, one in DRILLS.items()]
        if output is Format.JSON:
            show_json([dict(zip(COLUMNS, row, strict=True)) for row in rows])
        else:
            table = Table(*COLUMNS, box=None, header_style="bold", pad_edge=False)
            for row in rows:
                table.add_row(*row)
            console.print(table)
        return
    wanted = list(DRILLS) if EVERY in name else list(dict.fromkeys(name))
    unknown = [each for each in wanted if each not in DRILLS]
    if unknown:
        raise typer.BadParameter(f"no such drill: {', '.join(unknown)}; there are {', '.join(DRILLS)}")
    folder = target(context).state_dir / "drill"
    failed = run(lambda: _failed(folder, wanted, look=look))
    if failed:
        errors.print(f"failed: {', '.join(failed)}", style="red")
        raise typer.Exit(1)


async def _failed(folder: Path, names: list[str], *, look: bool) -> list[str]:
    return [each for each in names if not await _well(folder, each, look=look)]


async def _well(folder: Path, name: str, *, look: bool) -> bool:
    """Plays a drill, tells it, and returns whether it went as the runbook says."""
    shutil.rmtree(folder, ignore_errors=True)
    narrator, one = Narrator(console), DRILLS[name]
    console.print(f"\nDrill {name}: {one.failure}.", style="bold", highlight=False)
    looking = Looking(console) if look else None
    try:
        async with contextlib.AsyncExitStack() as stack:
            with progress() as told:
                played = await stack.enter_async_context(scene(folder, narrator, told, looking or nobody_looks))
            if looking is not None:
                await looking.begin(played)
            await one.play(played)
    except (StepFailed, MeshFailure) as problem:
        errors.print(f"the drill failed: {problem}", style="red")
        return False
    except CordboardError as problem:
        for line in ("the drill failed:", *lines(problem)):
            errors.print(line, style="red")
        return False
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    narrator.summary()
    return True
