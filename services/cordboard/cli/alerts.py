"""What is wrong now: attention, alerts, their rules, and silences."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from cordboard.cli.failures import USAGE, CommandFailed
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, console, moment, show_json, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.client.paging import list_all
from cordboard.telemetry.v1 import alert_service_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="See what is wrong, and who is told of it.")
silences = typer.Typer(no_args_is_help=True, help="List silences, and end them.")
app.add_typer(silences, name="silences")

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@app.command("list")
def list_alerts(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Also what is not firing: pending, and resolved.")] = False,
    rule: Annotated[str, typer.Option(help="Only those of this rule.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """List the alerts that fire."""

    async def work() -> None:
        state = pb.Alert.STATE_UNSPECIFIED if everything else pb.Alert.STATE_FIRING
        async with as_operator(target(context)) as mesh:
            found = await list_all(mesh.alerts.ListAlerts, pb.ListAlertsRequest(state=state, rule=rule))
        columns = ("rule", "state", "severity", "since", "summary", "trace", "silence")
        show_rows(output, found, columns, map(_alert, found))

    run(work)


@app.command("attention")
def attention(context: typer.Context, output: Output = Format.TABLE) -> None:
    """Show what needs somebody now, the most urgent first; exits with 1 when there is anything that is not silenced."""

    async def work() -> bool:
        async with as_operator(target(context)) as mesh:
            items = (await mesh.alerts.ListAttention(pb.ListAttentionRequest())).items
        show_rows(output, items, ("severity", "what", "since", "trace", "runbook"), map(_item, items))
        return any(not item.silenced for item in items)

    if run(work):
        raise typer.Exit(1)


@app.command("rules")
def rules(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List the rules, and when each was last evaluated."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            found = (await mesh.alerts.ListAlertRules(pb.ListAlertRulesRequest())).rules
        show_rows(output, found, ("rule", "severity", "meaning", "for", "evaluated"), map(_rule, found))

    run(work)


@app.command("silence")
def silence(
    context: typer.Context,
    rule: Annotated[str, typer.Argument(help="The rule; - for any, which needs a label.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    lasting: Annotated[str, typer.Option("--for", help="For how long: 30m, 2h, 1d.")] = "2h",
    label: Annotated[
        list[str] | None, typer.Option(help="A label that the alert has to have: NAME=VALUE. Repeatable.")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Keep alerts from being told for a time. They are listed all the same."""
    labels = dict(_label(each) for each in label or [])
    seconds = duration(lasting)

    async def work() -> None:
        request = pb.SilenceAlertRequest(
            rule="" if rule == "-" else rule, labels=labels, duration=Duration(seconds=seconds), reason=reason
        )
        async with as_operator(target(context)) as mesh:
            _show([await mesh.alerts.SilenceAlert(request)], output)

    run(work)


@silences.command("list")
def list_silences(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List the silences that hold, and those that ended within a week."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            found = await list_all(mesh.alerts.ListSilences, pb.ListSilencesRequest())
        _show(found, output)

    run(work)


@silences.command("end")
def end_silence(
    context: typer.Context, name: Annotated[str, typer.Argument(help="The silence, as `alerts silences list` has it.")]
) -> None:
    """End a silence now."""

    async def work() -> None:
        full = f"silences/{name.removeprefix('silences/')}"
        async with as_operator(target(context)) as mesh:
            await mesh.alerts.DeleteSilence(pb.DeleteSilenceRequest(name=full))
        console.print(f"{full} has ended", highlight=False)

    run(work)


@app.command("test")
def send_test(context: typer.Context, output: Output = Format.TABLE) -> None:
    """Send a test to every channel that is set up; exits with 1 when one does not take it."""

    async def work() -> bool:
        async with as_operator(target(context)) as mesh:
            results = (await mesh.alerts.TestAlert(pb.TestAlertRequest())).results
        if output is Format.JSON:
            show_json([{"channel": one.channel, "delivered": one.delivered, "problem": one.problem} for one in results])
        elif not results:
            console.print("no channel is set up: see CORDBOARD_ALERT_* in docs/settings.md", highlight=False)
        else:
            rows = [(one.channel, "delivered" if one.delivered else one.problem) for one in results]
            show_rows(output, results, ("channel", "result"), rows)
        return all(one.delivered for one in results)

    if not run(work):
        raise typer.Exit(1)


def duration(text: str) -> int:
    """Returns the seconds of 30m, 2h or 1d; raises CommandFailed."""
    match = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", text)
    if match is None:
        raise CommandFailed(f"{text!r} is no time: say 30m, 2h or 1d", USAGE)
    return int(match[1]) * _UNITS[match[2]]


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise CommandFailed(f"{text!r} is no label: say NAME=VALUE", USAGE)
    return name, value


def _show(found: list[pb.Silence], output: Format) -> None:
    show_rows(output, found, ("silence", "rule", "labels", "until", "by", "reason"), map(_silence, found))


def _alert(alert: pb.Alert) -> tuple[Any, ...]:
    state = pb.Alert.State.Name(alert.state).removeprefix("STATE_").lower()
    trace = alert.trace.removeprefix("traces/")
    severity = pb.Severity.Name(alert.severity).removeprefix("SEVERITY_").lower()
    return alert.rule, state, severity, _ago(alert.start_time), alert.summary, trace, alert.silence.partition("/")[2]


def _item(item: pb.AttentionItem) -> tuple[Any, ...]:
    severity = pb.Severity.Name(item.severity).removeprefix("SEVERITY_").lower()
    since = _ago(item.start_time) if item.HasField("start_time") else ""
    return (
        "silenced" if item.silenced else severity,
        item.summary,
        since,
        item.trace.removeprefix("traces/"),
        item.runbook,
    )


def _rule(rule: pb.AlertRule) -> tuple[Any, ...]:
    severity = pb.Severity.Name(rule.severity).removeprefix("SEVERITY_").lower()
    hold = f"{rule.hold_duration.seconds} s" if rule.hold_duration.seconds else ""
    evaluated = _ago(rule.evaluate_time) if rule.HasField("evaluate_time") else "never"
    return rule.rule, severity, rule.meaning, hold, evaluated


def _silence(silence: pb.Silence) -> tuple[Any, ...]:
    labels = " ".join(f"{name}={value}" for name, value in sorted(silence.labels.items()))
    name = silence.name.partition("/")[2]
    return name, silence.rule or "any", labels, moment(silence.end_time), silence.creator, silence.reason


def _ago(time: Timestamp) -> str:
    seconds = max(0, int((datetime.now(UTC) - time.ToDatetime(UTC)).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
