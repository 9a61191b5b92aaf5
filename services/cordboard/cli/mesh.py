"""The mesh on this machine: up, down, status, logs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn

from cordboard.catalog.sync.bootstrap import Bootstrap
from cordboard.cli.failures import CommandFailed
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, console, marked, show_json
from cordboard.cli.session import run
from cordboard.local import probes
from cordboard.local.certificates import SERVICES
from cordboard.local.detached import spawn_detached, stop
from cordboard.local.envoy import RateLimit
from cordboard.local.failures import MeshFailure
from cordboard.local.mesh import Mesh
from cordboard.local.options import EdgeOptions, MeshOptions
from cordboard.local.settings_file import read_settings
from cordboard.local.state import MeshState, ProcessState, read_state

LOOPBACK = "127.0.0.0/8"


class Role(StrEnum):
    """What a mesh is to others."""

    HUB = "hub"
    EDGE = "edge"


def up(
    context: typer.Context,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Go on in the background once it is ready.")] = False,
    port: Annotated[int | None, typer.Option(help="Envoy's port. Default: a free one, the same every time.")] = None,
    rate: Annotated[int | None, typer.Option(help="Calls per second that each workspace may make.")] = None,
    burst: Annotated[int | None, typer.Option(help="Calls that each workspace may make at once.")] = None,
    allow_network: Annotated[
        list[str] | None,
        typer.Option(help=f"A private network, as CIDR, that vendors may be in, such as {LOOPBACK}. Repeatable."),
    ] = None,
    source_folder: Annotated[
        list[Path] | None,
        typer.Option(help="A folder that sources of definitions may be in. Repeatable."),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(help="A YAML file with more settings of services, such as where alerts go (docs/settings.md)."),
    ] = None,
    production: Annotated[bool, typer.Option("--production", help="As in production: no server reflection.")] = False,
    role: Annotated[Role, typer.Option(help="`hub`, or `edge`: a second tier that follows a hub.")] = Role.HUB,
    hub: Annotated[
        str, typer.Option(help="An edge's hub: HOST:PORT of its Envoy. Default: what --bootstrap says.")
    ] = "",
    bootstrap: Annotated[
        Path | None, typer.Option(help="What `cordboard edges register` wrote at the hub. Required for an edge.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="What `cordboard edges bundle` wrote, to begin with before the hub is reached.")
    ] = None,
) -> None:
    """Start the whole mesh on this machine and keep it running until Ctrl-C (or `down`, with --detach)."""
    limit = RateLimit()
    if rate is not None or burst is not None:
        per_second = rate if rate is not None else limit.per_second
        limit = RateLimit(per_second, burst if burst is not None else max(per_second, limit.burst))
    try:
        extra_env = read_settings(settings) if settings is not None else {}
    except MeshFailure as error:
        raise typer.BadParameter(str(error), param_hint="--settings") from None
    options = MeshOptions(
        state_dir=target(context).state_dir,
        extra_env=extra_env,
        rate_limit=limit,
        egress_allowed_networks=tuple(allow_network or ()),
        profile="production" if production else "development",
        public_port=port,
        edge=_edge(role, hub, bootstrap, bundle),
        source_folders=tuple(map(_folder, source_folder or ())),
    )
    began = time.monotonic()
    try:
        if detach:
            with progress() as told:
                state = spawn_detached(options, told)
            _ready(state, began)
        else:
            asyncio.run(_foreground(options, began))
    except MeshFailure as error:
        console.print(str(error), style="red")
        raise typer.Exit(1) from None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise typer.BadParameter(f"{path}: there is no such folder", param_hint="--source-folder")
    return path.resolve()


def _edge(role: Role, hub: str, bootstrap: Path | None, bundle: Path | None) -> EdgeOptions | None:
    if role is Role.HUB:
        if hub or bootstrap is not None or bundle is not None:
            raise typer.BadParameter("--hub, --bootstrap and --bundle go with --role edge")
        return None
    if bootstrap is None:
        raise typer.BadParameter("an edge needs --bootstrap: run `cordboard edges register` at the hub")
    try:
        Bootstrap.read(bootstrap)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{bootstrap}: {error}") from None
    if bundle is not None and not bundle.is_file():
        raise typer.BadParameter(f"{bundle}: there is no such file")
    return EdgeOptions(bootstrap.resolve(), hub, bundle.resolve() if bundle is not None else None)


async def _foreground(options: MeshOptions, began: float) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    with progress() as told:
        mesh = Mesh(options, told)
        starting = asyncio.ensure_future(mesh.__aenter__())
        waiting = asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not starting.done():
                starting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await starting
    if starting.cancelled():
        waiting.cancel()
        return
    starting.result()
    try:
        state = read_state(options.state_dir)
        if state is not None:
            _ready(state, began)
            console.print("Ctrl-C stops it.")
        await waiting
    finally:
        console.print("stopping")
        await mesh.stop()


@contextlib.contextmanager
def progress() -> Iterator[Any]:
    """Shows the steps of a start as they begin and end; yields what to tell them to."""
    with Progress(SpinnerColumn(finished_text="[green]✓"), TextColumn("{task.description}"), console=console) as shown:
        tasks: dict[str, Any] = {}

        def tell(name: str, seconds: float, state: str) -> None:
            if name not in tasks:
                tasks[name] = shown.add_task(name, total=1)
            if state == "done":
                shown.update(tasks[name], completed=1, description=f"{name} [dim]{seconds:.1f} s[/dim]")
            elif state == "failed":
                shown.update(tasks[name], completed=1, description=f"[red]{name} failed after {seconds:.1f} s")

        yield tell


def _ready(state: MeshState, began: float) -> None:
    console.print(marked("green", "the mesh is ready", f"after {time.monotonic() - began:.1f} s"))
    console.print(f"  gRPC   {state.public_address}\n  JSON   {state.public_url}/v1/\n  CA     {state.ca_file}")


def down(context: typer.Context) -> None:
    """Stop the mesh that runs on this machine."""
    try:
        stop(target(context).state_dir)
    except MeshFailure as error:
        console.print(str(error), style="red")
        raise typer.Exit(1) from None
    console.print("stopped")


def status(context: typer.Context, output: Output = Format.TABLE) -> None:
    """Show what runs: each process, where it listens, whether it is ready."""

    async def work() -> None:
        state = _state(target(context).state_dir)
        if output is Format.JSON:
            import json

            show_json(json.loads(state.to_json()))
            return
        from rich.table import Table
        from rich.text import Text

        identity = Path(state.client_identity_dir)
        missing = await asyncio.gather(*(_missing(identity, process) for process in state.processes.values()))
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in ("process", "ready", "address", "pid", "restarts", "misses"):
            table.add_column(column)
        for process, misses in zip(state.processes.values(), missing, strict=True):
            ready = Text("yes", "green") if process.ready else Text("no", "red")
            restarts = str(process.restarts)
            table.add_row(process.name, ready, process.address, str(process.pid or "-"), restarts, Text(misses, "red"))
        console.print(f"{state.phase}, for {time.time() - state.started_time:.0f} s, at {state.public_url}")
        console.print(table)

    run(work)


async def _missing(identity: Path, process: ProcessState) -> str:
    """Returns what a service says that it misses, such as its database."""
    if process.name not in SERVICES or not process.ready:
        return ""
    name = f"{process.name}.cordboard.internal"
    missing = await probes.away(process.address, name, identity)
    return "does not answer" if missing is None else ", ".join(missing)


def _state(directory: Path) -> MeshState:
    state = read_state(directory)
    if state is None:
        raise CommandFailed(f"no mesh runs in {directory}: start one with `cordboard up`", 6)
    return state
