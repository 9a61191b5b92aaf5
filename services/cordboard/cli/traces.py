"""What happened: traces."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cordboard.cli.failures import CommandFailed
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, console, plain, show_json
from cordboard.cli.session import as_operator, run
from cordboard.cli.waterfall import table, waterfall
from cordboard.telemetry.v1 import trace_service_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Search traces and look at them.")


@app.command("list")
def list_traces(
    context: typer.Context,
    service: Annotated[str, typer.Option(help="A span of this service.")] = "",
    operation: Annotated[str, typer.Option(help="A span whose name contains this.")] = "",
    attribute: Annotated[list[str] | None, typer.Option(help="A span with NAME=VALUE. Repeatable.")] = None,
    errors: Annotated[bool, typer.Option("--errors", help="A span that failed.")] = False,
    slower_than: Annotated[int, typer.Option(help="A span that took at least this many milliseconds.")] = 0,
    minutes: Annotated[int, typer.Option(help="How far back to look.", min=1)] = 60,
    count: Annotated[int, typer.Option("--lines", "-n", help="How many.", min=1, max=1000)] = 20,
    output: Output = Format.TABLE,
) -> None:
    """List traces that have a span which fits all of it, newest first."""

    async def work() -> None:
        request = pb.ListTracesRequest(page_size=count, service=service, operation=operation, errors_only=errors)
        for each in attribute or []:
            name, separator, value = each.partition("=")
            if not separator:
                raise CommandFailed(f"{each!r} is not NAME=VALUE", 2)
            request.attributes[name] = value
        request.min_duration.FromMilliseconds(slower_than)
        request.start_time.FromDatetime(datetime.now(UTC) - timedelta(minutes=minutes))
        async with as_operator(target(context)) as mesh:
            page = await mesh.traces.ListTraces(request)
        if output is Format.JSON:
            show_json([plain(trace) for trace in page.traces])
        else:
            console.print(table(page.traces))

    run(work)


@app.command("show")
def show_trace(
    context: typer.Context,
    trace: Annotated[str, typer.Argument(help="The trace's id, 32 hex digits.")],
    output: Output = Format.TABLE,
) -> None:
    """Show a trace as a waterfall."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            found = await mesh.traces.GetTrace(pb.GetTraceRequest(name=f"traces/{trace.removeprefix('traces/')}"))
        if output is Format.JSON:
            show_json(plain(found))
        else:
            console.print(waterfall(found))

    run(work)
