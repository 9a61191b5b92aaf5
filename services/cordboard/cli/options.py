"""The options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cordboard.cli.output import Format
from cordboard.cli.profiles import LOCAL, PROFILE_VARIABLE
from cordboard.cli.session import Target
from cordboard.local.state import default_directory

StateDir = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        envvar="CORDBOARD_STATE_DIR",
        help="Where the mesh on this machine keeps its state. Default: ./.cordboard",
        show_default=False,
    ),
]
Output = Annotated[Format, typer.Option("--output", "-o", help="How to print.")]
Workspace = Annotated[str, typer.Option("--workspace", "-w", help="The workspace's id.")]
Environment = Annotated[str, typer.Option("--environment", "-e", help="The environment.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the history.")]


def state_dir(given: Path | None) -> Path:
    """Returns the state directory to use."""
    return given.resolve() if given is not None else default_directory()


def target(context: typer.Context) -> Target:
    """Returns which mesh the command means, from the options before the command's name."""
    found = context.find_object(Target)
    return found if found is not None else Target(LOCAL, default_directory())


def top_level(
    context: typer.Context,
    profile: Annotated[
        str, typer.Option("--profile", envvar=PROFILE_VARIABLE, help="The mesh to talk to: `local`, or a profile.")
    ] = LOCAL,
    directory: StateDir = None,
) -> None:
    """Plugs any SaaS API into a product by configuration."""
    context.obj = Target(profile, state_dir(directory))
