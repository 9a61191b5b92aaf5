"""What happened: traces."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from google.protobuf.duration_pb2 import Duration
from rich.text import Text

from cordboard.cli.failures import CommandFailed
from cordboard.cli.logs import newest, written
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, console, plain, printable, show_json, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.cli.trace_comparison import Step, compare, heaviest
from cordboard.cli.waterfall import length, table, waterfall
from cordboard.client import Client
from cordboard.telemetry.v1 import trace_service_pb2 as pb
from cordboard.telemetry.v1.log_service_pb2 import ListLogLinesRequest

app = typer.Typer(no_args_is_help=True, help="Search traces, look at them, compare them.")

HEAVIEST: Final = 5
MOST_LINES: Final = 200
TAIL_SECONDS: Final = 1.0
# Spans come in up to a second after they ended: what began before is looked at again.
TAIL_OVERLAP: Final = timedelta(seconds=30)

Service = Annotated[str, typer.Option(help="A span of this service.")]
Operation = Annotated[str, typer.Option(help="A span whose name contains this.")]
Attribute = Annotated[list[str] | None, typer.Option(help="A span with NAME=VALUE. Repeatable.")]
Integration = Annotated[str, typer.Option(help="A span of a call of this integration.")]
Workspace = Annotated[str, typer.Option("--workspace", "-w", help="A span of this workspace's call.")]
Errors = Annotated[bool, typer.Option("--errors", help="A span that failed.")]
SlowerThan = Annotated[int, typer.Option(help="A span that took at least this many milliseconds.", min=0)]
FasterThan = Annotated[int, typer.Option(help="A span that took at most this many milliseconds.", min=0)]
Id = Annotated[str, typer.Argument(help="The trace's id, 32 hex digits.")]


class FileFormat(StrEnum):
    """Which program is to read the file."""

    OTLP = "otlp"
    PERFETTO = "perfetto"


@app.command("list")
def list_traces(
    context: typer.Context,
    service: Service = "",
    operation: Operation = "",
    attribute: Attribute = None,
    integration: Integration = "",
    workspace: Workspace = "",
    errors: Errors = False,
    slower_than: SlowerThan = 0,
    faster_than: FasterThan = 0,
    minutes: Annotated[int, typer.Option(help="How far back to look.", min=1)] = 60,
    count: Annotated[int, typer.Option("--lines", "-n", help="How many.", min=1, max=1000)] = 20,
    output: Output = Format.TABLE,
) -> None:
    """List traces that have a span which fits all of it, newest first."""

    async def work() -> None:
        request = pb.ListTracesRequest(page_size=count, service=service, operation=operation, errors_only=errors)
        _put_conditions(request, attribute or [], integration, workspace)
        _put_durations(request, slower_than, faster_than)
        request.start_time.FromDatetime(datetime.now(UTC) - timedelta(minutes=minutes))
        async with as_operator(target(context)) as mesh:
            page = await mesh.traces.ListTraces(request)
        if output is Format.JSON:
            show_json([plain(trace) for trace in page.traces])
        else:
            console.print(table(page.traces))

    run(work)


@app.command("tail")
def tail_traces(
    context: typer.Context,
    service: Service = "",
    operation: Operation = "",
    attribute: Attribute = None,
    integration: Integration = "",
    workspace: Workspace = "",
    errors: Errors = False,
    slower_than: SlowerThan = 0,
) -> None:
    """Print traces as they come, until Ctrl-C."""

    async def work() -> None:
        request = pb.ListTracesRequest(page_size=200, service=service, operation=operation, errors_only=errors)
        _put_conditions(request, attribute or [], integration, workspace)
        _put_durations(request, slower_than, 0)
        since, known = datetime.now(UTC), dict[str, datetime]()
        async with as_operator(target(context)) as mesh:
            while True:
                now = datetime.now(UTC)
                request.start_time.FromDatetime(max(since, now - TAIL_OVERLAP))
                page = await mesh.traces.ListTraces(request)
                fresh = [trace for trace in reversed(page.traces) if trace.name not in known]
                known = {name: seen for name, seen in known.items() if now - seen < 3 * TAIL_OVERLAP}
                known |= {trace.name: now for trace in page.traces}
                if fresh:
                    console.print(table(fresh, heading=False))
                await asyncio.sleep(TAIL_SECONDS)

    run(work)


@app.command("show")
def show_trace(context: typer.Context, trace: Id, output: Output = Format.TABLE) -> None:
    """Show a trace as a waterfall, what its time went into, and what was logged meanwhile."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            found = await _trace(mesh, trace)
            lines = await newest(mesh, ListLogLinesRequest(trace=_name(trace)), MOST_LINES)
        if output is Format.JSON:
            show_json(plain(found) | {"lines": [plain(line) for line in lines]})
            return
        console.print(waterfall(found))
        console.print(_critical_path(found))
        if lines:
            console.print(Text("what was logged", style="dim"))
            console.print(written(lines), soft_wrap=True)

    run(work)


@app.command("compare")
def compare_traces(
    context: typer.Context,
    first: Id,
    second: Annotated[str, typer.Argument(help="The id of the one to hold against it.")],
    output: Output = Format.TABLE,
) -> None:
    """Compare two traces step by step: what takes longer, what is new, what is gone; the largest change first."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            left, right = await asyncio.gather(_trace(mesh, first), _trace(mesh, second))
        steps = compare(left, right)
        if output is Format.JSON:
            show_json([step.plain() for step in steps])
            return
        console.print(f"{length(left.duration)} against {length(right.duration)}", highlight=False)
        show_rows(output, [left, right], ("step", "spans", "own time", "change", "failed"), map(_step, steps))

    run(work)


@app.command("export")
def export_trace(
    context: typer.Context,
    trace: Id,
    format: Annotated[FileFormat, typer.Option(help="otlp: for other backends; perfetto: for ui.perfetto.dev.")] =  # noqa: A002
    FileFormat.OTLP,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Where to write it. Default: print it.")] = None,
) -> None:
    """Write a trace as a file for another program."""

    async def work() -> None:
        request = pb.ExportTraceRequest(name=_name(trace), format=f"FORMAT_{format.upper()}")  # type: ignore[arg-type]
        async with as_operator(target(context)) as mesh:
            body = await mesh.traces.ExportTrace(request)
        if file is None:
            typer.echo(body.data)
        else:
            file.write_bytes(body.data)

    run(work)


@app.command("graph")
def show_graph(
    context: typer.Context,
    minutes: Annotated[int, typer.Option(help="How far back to look.", min=1)] = 60,
    output: Output = Format.TABLE,
) -> None:
    """Show who calls whom: services, and the integrations at the end."""

    async def work() -> None:
        request = pb.ListDependenciesRequest()
        request.start_time.FromDatetime(datetime.now(UTC) - timedelta(minutes=minutes))
        async with as_operator(target(context)) as mesh:
            found = (await mesh.traces.ListDependencies(request)).dependencies
        rows = ((one.caller, one.callee, one.calls, one.errors or "-", length(one.p95)) for one in found)
        show_rows(output, found, ("caller", "calls", "times", "failed", "p95"), rows)

    run(work)


def _name(trace: str) -> str:
    return f"traces/{trace.removeprefix('traces/')}"


async def _trace(mesh: Client, trace: str) -> pb.Trace:
    return await mesh.traces.GetTrace(pb.GetTraceRequest(name=_name(trace)))


def _put_conditions(request: pb.ListTracesRequest, attributes: Sequence[str], integration: str, workspace: str) -> None:
    for each in attributes:
        name, separator, value = each.partition("=")
        if not separator:
            raise CommandFailed(f"{each!r} is not NAME=VALUE", 2)
        request.attributes[name] = value
    if integration:
        request.attributes["cordboard.integration"] = integration
    if workspace:
        request.attributes["cordboard.workspace"] = workspace


def _put_durations(request: pb.ListTracesRequest, slower_than: int, faster_than: int) -> None:
    request.min_duration.FromMilliseconds(slower_than)
    if faster_than:
        request.max_duration.FromMilliseconds(faster_than)


def _critical_path(trace: pb.Trace) -> Text:
    whole = sum(span.critical_duration.ToNanoseconds() for span in trace.spans)
    told = Text("\nwhat it waited for\n", style="dim")
    for span in heaviest(trace.spans, HEAVIEST):
        share = span.critical_duration.ToNanoseconds() / whole
        told.append(f"  {share:4.0%}  {length(span.critical_duration):>8}  {span.service} ")
        told.append(printable(span.name))
        told.append("\n")
    return told


def _step(step: Step) -> Sequence[str]:
    before, after = step.nanoseconds
    change = Duration()
    change.FromNanoseconds(abs(step.change))
    shown = "new" if not step.spans[0] else "gone" if not step.spans[1] else f"{'-+'[step.change > 0]}{length(change)}"
    first, second = Duration(), Duration()
    first.FromNanoseconds(before)
    second.FromNanoseconds(after)
    return (
        "  " * (len(step.path) - 1) + step.path[-1],
        f"{step.spans[0]} → {step.spans[1]}",
        f"{length(first)} → {length(second)}",
        shown,
        f"{step.errors[0]} → {step.errors[1]}" if any(step.errors) else "",
    )
