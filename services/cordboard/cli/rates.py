"""How much is called, how often it fails, how long it takes: once, live, and hour by hour for other programs."""

from __future__ import annotations

import asyncio
import csv
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, console, plain, show_json, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.cli.waterfall import length
from cordboard.client import Client
from cordboard.client.paging import list_all
from cordboard.telemetry.v1 import metrics_service_pb2 as pb

MOST_ROWS: Final = 1000
BREAKER: Final = "cordboard.breaker.state"
BREAKERS: Final = {0.0: "closed", 1.0: "half open", 2.0: "open"}
# Shares of failed calls from which a row is yellow and red.
UNWELL, BAD = 0.01, 0.05


class By(StrEnum):
    """What to tell apart."""

    SERVICE = "service"
    METHOD = "method"
    INTEGRATION = "integration"
    ACTION = "action"
    WORKSPACE = "workspace"
    VERSION = "version"
    FLAG = "flag"
    VARIANT = "variant"


class Export(StrEnum):
    """How to write what another program reads."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


Integration = Annotated[str, typer.Option(help="Only this integration.")]
Workspace = Annotated[str, typer.Option("--workspace", "-w", help="Only this workspace.")]


def rates(
    context: typer.Context,
    by: Annotated[list[By] | None, typer.Option(help="What to tell apart. Repeatable. Default: integration.")] = None,
    minutes: Annotated[int, typer.Option(help="Over how long.", min=1)] = 60,
    integration: Integration = "",
    workspace: Workspace = "",
    output: Output = Format.TABLE,
) -> None:
    """Show rates, errors and durations, with the trace of the slowest or the last failed call."""
    dimensions = by or [By.INTEGRATION]

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            subject = pb.Subject(integration=integration, workspace=workspace)
            found = await _rates(mesh, dimensions, minutes, subject)
        if output is Format.JSON:
            show_json([plain(rate) for rate in found])
        else:
            console.print(_table(found, dimensions, {}))

    run(work)


def usage(
    context: typer.Context,
    days: Annotated[int, typer.Option(help="How far back. Figures are kept for 13 months.", min=1, max=3650)] = 1,
    integration: Integration = "",
    workspace: Workspace = "",
    output: Annotated[Export, typer.Option("--output", "-o", help="How to print.")] = Export.TABLE,
) -> None:
    """Show or export calls, errors, data, durations and cost by hour, workspace, integration, action and version."""

    async def work() -> None:
        request = pb.ListUsageRequest(
            page_size=MOST_ROWS, filter=pb.Subject(integration=integration, workspace=workspace)
        )
        request.start_time.FromDatetime(datetime.now(UTC) - timedelta(days=days))
        request.end_time.FromDatetime(datetime.now(UTC))
        async with as_operator(target(context)) as mesh:
            rows: list[pb.Usage] = await list_all(mesh.metrics.ListUsage, request)
        if output is Export.CSV:
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(_cells(row) for row in rows)
        else:
            show_rows(Format(output), rows, COLUMNS, (_cells(row) for row in rows))

    run(work)


def health(
    context: typer.Context,
    minutes: Annotated[int, typer.Option(help="Over how long.", min=1)] = 15,
    output: Output = Format.TABLE,
) -> None:
    """Show how each integration is: well, unwell or down, and which trace shows why; exits with 1 when one is down."""

    async def work() -> bool:
        async with as_operator(target(context)) as mesh:
            found = await _rates(mesh, [By.INTEGRATION], minutes, pb.Subject())
            breakers = await _breakers(mesh)
        named = [rate for rate in found if rate.subject.integration]
        verdicts = {rate.subject.integration: verdict(rate, breakers) for rate in named}
        if output is Format.JSON:
            show_json([plain(rate) | {"health": verdicts[rate.subject.integration]} for rate in named])
        else:
            console.print(_table(named, [By.INTEGRATION], breakers, verdicts))
        return "down" in verdicts.values()

    if run(work):
        raise typer.Exit(1)


def top(
    context: typer.Context,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.5)] = 2.0,
    minutes: Annotated[int, typer.Option(help="Over how long.", min=1)] = 5,
    once: Annotated[bool, typer.Option("--once", help="Print it once, for scripts and logs.")] = False,
) -> None:
    """Watch integrations and services: calls, errors, durations, breakers, and where to look."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            if once:
                console.print(await _picture(mesh, minutes))
                return
            with Live(await _picture(mesh, minutes), console=console, screen=True, auto_refresh=False) as live:
                while True:
                    await asyncio.sleep(every)
                    live.update(await _picture(mesh, minutes), refresh=True)

    run(work)


def verdict(rate: pb.Rate, breakers: dict[str, str]) -> str:
    """Returns `down`, `unwell` or `well`, by the share of failed calls and the breaker."""
    share = rate.errors / rate.calls if rate.calls else 0.0
    breaker = breakers.get(rate.subject.integration, "")
    if breaker == "open" or (share >= 0.5 and rate.calls >= 2):
        return "down"
    return "unwell" if share >= UNWELL or breaker == "half open" else "well"


COLUMNS: Final = (
    "hour", "workspace", "integration", "action", "version",
    "calls", "errors", "received_bytes", "mean_ms", "p95_ms", "longest_ms", "cost_units",
)  # fmt: skip


def _cells(row: pb.Usage) -> Sequence[str]:
    rate, subject = row.rate, row.rate.subject
    return (
        row.hour.ToDatetime(UTC).strftime("%Y-%m-%dT%H:00Z"),
        _unformula(subject.workspace),
        _unformula(subject.integration),
        _unformula(subject.action),
        _unformula(subject.version),
        str(rate.calls),
        str(rate.errors),
        str(rate.received_bytes),
        *(f"{each.ToNanoseconds() / 1e6:.1f}" for each in (rate.mean, rate.p95, rate.longest)),
        f"{row.cost_units:.6g}",
    )


def _unformula(text: str) -> str:
    # A spreadsheet runs what begins with these.
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


async def _rates(mesh: Client, by: Sequence[By], minutes: int, subject: pb.Subject) -> list[pb.Rate]:
    request = pb.ListRatesRequest(
        page_size=MOST_ROWS,
        dimensions=[pb.Dimension.Value(f"DIMENSION_{each.upper()}") for each in by],
        filter=subject,
    )
    request.start_time.FromDatetime(datetime.now(UTC) - timedelta(minutes=minutes))
    answer = await mesh.metrics.ListRates(request)
    return sorted(answer.rates, key=lambda rate: (-rate.errors, -rate.calls))


async def _breakers(mesh: Client) -> dict[str, str]:
    answer = await mesh.metrics.ListReadings(pb.ListReadingsRequest(page_size=MOST_ROWS, metrics=[BREAKER]))
    return {
        reading.attributes["cordboard.integration"]: BREAKERS.get(reading.value, "")
        for reading in answer.readings
        if "cordboard.integration" in reading.attributes
    }


async def _picture(mesh: Client, minutes: int) -> Group:
    integrations, services, breakers = await asyncio.gather(
        _rates(mesh, [By.INTEGRATION], minutes, pb.Subject()),
        _rates(mesh, [By.SERVICE], minutes, pb.Subject()),
        _breakers(mesh),
    )
    heading = Text(f"{datetime.now(UTC):%H:%M:%S} UTC, the last {minutes} min", style="dim")
    return Group(
        heading,
        Text(),
        _table(integrations, [By.INTEGRATION], breakers),
        Text(),
        _table(services, [By.SERVICE], {}),
    )


def _table(
    found: Iterable[pb.Rate], by: Sequence[By], breakers: dict[str, str], verdicts: dict[str, str] | None = None
) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for each in by:
        table.add_column(each.value, no_wrap=True, min_width=12)
    for name in ("calls", "calls/s", "errors", "p50", "p95"):
        table.add_column(name, justify="right", no_wrap=True)
    if breakers:
        table.add_column("breaker", no_wrap=True)
    if verdicts is not None:
        table.add_column("health", no_wrap=True)
    table.add_column("look at", no_wrap=True)
    for rate in found:
        share = rate.errors / rate.calls if rate.calls else 0.0
        style = "red" if share >= BAD else "yellow" if share >= UNWELL else ""
        shown = rate.failed_exemplars or rate.slow_exemplars
        row = [Text(str(getattr(rate.subject, each.value)) or "-") for each in by]
        row += [Text(str(rate.calls)), Text(f"{rate.calls_per_second:.2f}")]
        row += [Text(f"{rate.errors} ({share:.1%})" if rate.errors else "-", style=style)]
        row += [Text(length(each)) for each in (rate.p50, rate.p95)]
        if breakers:
            state = breakers.get(rate.subject.integration, "-")
            row.append(Text(state, style="red" if state == "open" else "yellow" if state == "half open" else ""))
        if verdicts is not None:
            row.append(_coloured(verdicts[rate.subject.integration]))
        row.append(Text(shown[0].trace.removeprefix("traces/") if shown else "", style="dim"))
        table.add_row(*row)
    if not table.row_count:
        table.add_row(Text("none", style="dim"), *[""] * (len(table.columns) - 1))
    return table


def _coloured(word: str) -> Text:
    return Text(word, style={"down": "bold red", "unwell": "yellow"}.get(word, "green"))
