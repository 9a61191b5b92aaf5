"""Circuit breakers: how they stand, and what operators want of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from google.protobuf import json_format

from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, moment, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.client.paging import list_all
from cordboard.proxy.v1 import breaker_service_pb2 as breaker_pb
from cordboard.proxy.v1 import proxy_service_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Look at circuit breakers, and override them.")

COLUMNS = ("integration", "host", "cause", "of", "state", "tries again", "calls", "failures", "override")

Integration = Annotated[str, typer.Argument(help="The integration's slug.")]
Host = Annotated[str, typer.Argument(help="The host as `breakers list` shows it, with its port unless that is 443.")]
Action = Annotated[str, typer.Option(help="Only this action; without it the whole host.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for the journal.")]
Of = Annotated[str, typer.Option("--integration", help="Only those of this integration.")]


@app.command("list")
def list_breakers(context: typer.Context, integration: Of = "", output: Output = Format.TABLE) -> None:
    """List the breakers: one for each host that was called, and all that hold something back."""

    async def work() -> None:
        request = pb.ListBreakersRequest(integration=_name(integration))
        async with as_operator(target(context)) as mesh:
            found = await list_all(mesh.proxy.ListBreakers, request)
        show_rows(output, found, COLUMNS, map(_row, found))

    run(work)


@app.command("watch")
def watch(context: typer.Context, integration: Of = "", output: Output = Format.TABLE) -> None:
    """Follow the breakers: first all of them, then each that changes, until it is stopped."""

    async def work() -> None:
        request = breaker_pb.WatchBreakersRequest(integration=_name(integration))
        async with as_operator(target(context)) as mesh:
            async for told in mesh.breakers.WatchBreakers(request):
                for breaker in told.breakers:
                    typer.echo(_line(breaker, output))

    run(work)


@app.command("open")
def hold_back(
    context: typer.Context,
    integration: Integration,
    host: Host,
    action: Action = "",
    reason: Why = "",
    output: Output = Format.TABLE,
) -> None:
    """Hold all calls back, until it is closed or let judge by itself again."""
    _override(context, _asked(integration, host, action, reason, pb.Breaker.OVERRIDE_OPEN), output)


@app.command("close")
def let_through(
    context: typer.Context,
    integration: Integration,
    host: Host,
    action: Action = "",
    reason: Why = "",
    output: Output = Format.TABLE,
) -> None:
    """Let all calls through, however many fail."""
    _override(context, _asked(integration, host, action, reason, pb.Breaker.OVERRIDE_CLOSED), output)


@app.command("auto")
def let_judge(
    context: typer.Context,
    integration: Integration,
    host: Host,
    action: Action = "",
    reason: Why = "",
    output: Output = Format.TABLE,
) -> None:
    """Let it judge by itself again."""
    _override(context, _asked(integration, host, action, reason, pb.Breaker.OVERRIDE_AUTO), output)


def _asked(
    integration: str, host: str, action: str, reason: str, override: pb.Breaker.Override.ValueType
) -> breaker_pb.OverrideBreakerRequest:
    return breaker_pb.OverrideBreakerRequest(
        integration=_name(integration), host=host, action=action, override=override, reason=reason
    )


def _override(context: typer.Context, request: breaker_pb.OverrideBreakerRequest, output: Format) -> None:
    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            breaker = await mesh.breakers.OverrideBreaker(request)
        show_rows(output, [breaker], COLUMNS, [_row(breaker)])

    run(work)


def _name(slug: str) -> str:
    return f"integrations/{slug.removeprefix('integrations/')}" if slug else ""


def _row(breaker: pb.Breaker) -> tuple[Any, ...]:
    return (
        breaker.integration.partition("/")[2],
        breaker.host,
        pb.Breaker.Cause.Name(breaker.cause).removeprefix("CAUSE_").lower(),
        " ".join(part for part in (breaker.connection, breaker.action) if part),
        pb.Breaker.State.Name(breaker.state).removeprefix("STATE_").lower().replace("_", " "),
        moment(breaker.retry_time) if breaker.HasField("retry_time") else "",
        breaker.calls,
        breaker.failures,
        pb.Breaker.Override.Name(breaker.override).removeprefix("OVERRIDE_").lower(),
    )


def _line(breaker: pb.Breaker, output: Format) -> str:
    if output is Format.JSON:
        return json_format.MessageToJson(breaker, indent=None)
    integration, host, cause, of, state, _, calls, failures, override = _row(breaker)
    seen = f"{failures} of {calls} failed" if calls else ""
    wanted = "" if override == "auto" else f"override {override}"
    now = datetime.now(UTC).strftime("%H:%M:%SZ")
    return "  ".join(part for part in (now, integration, host, cause, of, state, seen, wanted) if part)
