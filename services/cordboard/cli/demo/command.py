"""`cordboard demo`: starts a mesh and a vendor of its own, tells the story, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from cordboard.cli.demo import real
from cordboard.cli.demo.narrator import Narrator, StepFailed
from cordboard.cli.demo.parts import Callers, vendor
from cordboard.cli.demo.story import tell
from cordboard.cli.failures import lines
from cordboard.cli.mesh import LOOPBACK, progress
from cordboard.cli.options import target
from cordboard.cli.output import console, errors
from cordboard.client import CordboardError
from cordboard.local.envoy import RateLimit
from cordboard.local.failures import MeshFailure
from cordboard.local.mesh import Mesh
from cordboard.local.options import MeshOptions


def demo(
    context: typer.Context,
    openapi: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="A real vendor's API description: it is imported, and three of its actions are run against a mock "
            "server of that description. Repeatable. Needs Node.js and prism.",
        ),
    ] = None,
    prism: Annotated[
        Path | None, typer.Option(help="The prism program. Default: tests/node, then PATH.", show_default=False)
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the mesh running afterwards, until Ctrl-C.")] = False,
) -> None:
    """Do the main job end to end on a mesh of its own, step by step, with real parts."""
    folder = target(context).state_dir / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        asyncio.run(_demo(folder, openapi or [], prism, keep=keep))
    except (StepFailed, MeshFailure) as error:
        errors.print(f"the demo failed: {error}", style="red")
        errors.print(f"the logs are in {folder / 'logs'}", style="red")
        raise typer.Exit(1) from None
    except CordboardError as error:
        for line in ("the demo failed:", *lines(error)):
            errors.print(line, style="red")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


async def _demo(folder: Path, documents: list[Path], prism: Path | None, *, keep: bool) -> None:
    # Half of what is the default, so that a slow machine calls more often too.
    limit = RateLimit(per_second=50)
    options = MeshOptions(state_dir=folder, rate_limit=limit, egress_allowed_networks=(LOOPBACK,))
    narrator = Narrator(console)
    console.print("Cordboard plugs any SaaS API into a product by configuration.", style="bold")
    console.print("This demo runs a whole mesh on this machine, and a stand-in vendor, Acme Desk, to talk to.")
    async with vendor(folder) as acme:
        with narrator.step(
            "The mesh starts", "PostgreSQL, six services with certificates of their own, and Envoy in front."
        ) as step:
            began = time.monotonic()
            with progress() as told:
                mesh = Mesh(options, told)
                await mesh.__aenter__()
            step.result(f"ready after {time.monotonic() - began:.1f} s at {mesh.public_url}")
        callers = Callers(mesh)
        try:
            cast = await tell(narrator, acme, callers, limit.burst)
            await real.tell(cast, documents, prism, folder)
            narrator.summary()
            if keep:
                console.print(f"The mesh goes on: cordboard --state-dir {folder} status. Ctrl-C stops it.")
                await asyncio.Event().wait()
        finally:
            await callers.close()
            await mesh.stop()
    shutil.rmtree(folder, ignore_errors=True)
