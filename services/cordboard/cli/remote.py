"""Profiles: meshes elsewhere."""

from __future__ import annotations

from typing import Annotated

import typer

from cordboard.cli import profiles
from cordboard.cli.failures import CommandFailed
from cordboard.cli.options import Output
from cordboard.cli.output import Format, console, errors, show_json

app = typer.Typer(no_args_is_help=True, help="Name meshes elsewhere, for --profile.")


@app.command("add")
def add_profile(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    address: Annotated[str, typer.Argument(help="HOST:PORT of its Envoy.")],
    ca_file: Annotated[str, typer.Option(help="The certificate authority to trust. Default: the system's.")] = "",
    token_file: Annotated[
        str, typer.Option(help=f"A file with the token. {profiles.TOKEN_VARIABLE} in the environment wins.")
    ] = "",
    identity_dir: Annotated[
        str,
        typer.Option(help="A directory with tls.crt and tls.key, a client certificate for tokens bound to it."),
    ] = "",
) -> None:
    """Add a profile, or replace the one of that name."""
    if name == profiles.LOCAL:
        raise typer.BadParameter(f"{profiles.LOCAL!r} is the mesh on this machine")
    profiles.add(profiles.RemoteProfile(name, address, ca_file, token_file, identity_dir))
    console.print(f"added {name} to {profiles.path()}")


@app.command("list")
def list_profiles(output: Output = Format.TABLE) -> None:
    """List profiles."""
    try:
        known = profiles.all_profiles()
    except CommandFailed as error:
        errors.print(str(error), style="red")
        raise typer.Exit(error.exit_code) from None
    if output is Format.JSON:
        show_json([vars(each) for each in known.values()])
        return
    console.print(f"{profiles.LOCAL}  the mesh on this machine")
    for each in known.values():
        console.print(f"{each.name}  {each.address}")
