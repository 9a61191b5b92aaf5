"""What processes logged: the file of one on this machine, or a search in what Telemetry keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from cordboard.cli.failures import CommandFailed
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, console, plain, printable, show_json
from cordboard.cli.session import as_operator, run
from cordboard.cli.waterfall import colour_of
from cordboard.client import Client
from cordboard.local.state import StateDirectory
from cordboard.telemetry.v1 import log_service_pb2 as pb

MOST: Final = 1000
_STYLES: Final = {
    pb.LogLine.SEVERITY_WARN: "yellow",
    pb.LogLine.SEVERITY_ERROR: "bold red",
    pb.LogLine.SEVERITY_FATAL: "bold red",
}


class Severity(StrEnum):
    """How grave a line is at least."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


def logs(  # one keyword for each condition
    context: typer.Context,
    process: Annotated[
        str,
        typer.Argument(help="A service, `envoy`, `postgres`, `migrations` or `fork-server`; of a search, a service."),
    ] = "",
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.", min=1)] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing as lines come, until Ctrl-C.")] = False,
    trace: Annotated[str, typer.Option(help="Search: lines of this trace.")] = "",
    severity: Annotated[Severity | None, typer.Option(help="Search: lines as grave as this, or graver.")] = None,
    text: Annotated[str, typer.Option("--text", "-t", help="Search: lines that contain this.")] = "",
    minutes: Annotated[int | None, typer.Option(help="Search: how far back. Default: 60.", min=1)] = None,
    output: Output = Format.TABLE,
) -> None:
    """Print what a process of the mesh on this machine logged, or search the lines of all of them, oldest first."""
    is_search = bool(trace or severity or text or minutes) or not process

    async def work() -> None:
        if is_search and follow:
            raise CommandFailed("--follow goes with the log of one process, not with a search", 2)
        if not is_search:
            await _file(StateDirectory(target(context).state_dir).logs, process, lines, follow=follow)
            return
        request = pb.ListLogLinesRequest(service=process, text=text, trace=_name(trace))
        if severity is not None:
            request.min_severity = pb.LogLine.Severity.Value(f"SEVERITY_{severity.name}")
        if minutes is not None or not trace:
            request.start_time.FromDatetime(datetime.now(UTC) - timedelta(minutes=minutes or 60))
        async with as_operator(target(context)) as mesh:
            found = await newest(mesh, request, lines)
        if output is Format.JSON:
            show_json([plain(line) for line in found])
        else:
            console.print(written(found), soft_wrap=True)

    run(work)


async def newest(mesh: Client, request: pb.ListLogLinesRequest, most: int) -> list[pb.LogLine]:
    """Returns the newest lines that fit, oldest first."""
    found: list[pb.LogLine] = []
    while len(found) < most:
        request.page_size = min(MOST, most - len(found))
        page = await mesh.logs.ListLogLines(request)
        found += page.lines
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    return found[::-1]


def written(lines: Iterable[pb.LogLine]) -> Text:
    """Returns lines as people read them."""
    shown = Text("\n").join(_line(line) for line in lines)
    return shown or Text("no line fits", style="dim")


def _line(line: pb.LogLine) -> Text:
    told = Text(f"{line.time.ToDatetime(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3], style="dim")
    told.append(f"  {printable(line.service):<10} ", style=colour_of(line.service))
    severity = pb.LogLine.Severity.Name(line.severity).removeprefix("SEVERITY_").lower()
    style = _STYLES.get(line.severity, "")
    told.append(f"{'' if severity == 'unspecified' else severity:<6}", style=style)
    told.append(printable(line.event), style=style or "default")
    for name, value in sorted(line.attributes.items()):
        told.append(f" {printable(name)}=", style="dim")
        told.append(printable(value))
    if line.trace:
        told.append(f" {line.trace}", style="dim")
    return told


def _name(trace: str) -> str:
    return f"traces/{trace.removeprefix('traces/')}" if trace else ""


async def _file(directory: Path, process: str, lines: int, *, follow: bool) -> None:
    with _path(directory, process).open(errors="replace") as file:
        for line in file.readlines()[-lines:]:
            typer.echo(line, nl=False)
        while follow:
            line = file.readline()
            if line:
                typer.echo(line, nl=False)
            else:
                await asyncio.sleep(0.2)


def _path(directory: Path, process: str) -> Path:
    path = directory / f"{Path(process).name}.log"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in directory.glob("*.log"))) or "none yet"
        raise CommandFailed(f"there is no log of {process!r}; there are: {known}", 3)
    return path
