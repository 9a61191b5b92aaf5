"""Who gets what."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct, Value
from rich.text import Text

from cordboard.cli.options import Output, Reason, target
from cordboard.cli.output import Format, console, moment, show_fields, show_rows
from cordboard.cli.proposals import Propose, put_forward
from cordboard.cli.session import as_operator, run
from cordboard.client.paging import list_all
from cordboard.flags.v1 import flag_service_pb2 as pb
from cordboard.flags.v1 import history_service_pb2 as history_pb
from cordboard.flags.v1 import proposal_service_pb2 as proposals_pb

app = typer.Typer(no_args_is_help=True, help="Roll integrations out and back, and look at flags.")
Key = Annotated[str, typer.Argument(help="The flag's key, such as `integration.github`.")]


@app.command("rollout")
def rollout(
    context: typer.Context,
    integration: Annotated[str, typer.Argument(help="The integration's id.")],
    tier: Annotated[list[str] | None, typer.Option(help="Only this tier. Repeatable.")] = None,
    environment: Annotated[list[str] | None, typer.Option(help="Only this environment. Repeatable.")] = None,
    workspace: Annotated[list[str] | None, typer.Option(help="Only this workspace. Repeatable.")] = None,
    customer: Annotated[list[str] | None, typer.Option(help="Only this customer. Repeatable.")] = None,
    region: Annotated[list[str] | None, typer.Option(help="Only this region. Repeatable.")] = None,
    percent: Annotated[int, typer.Option(help="The share of the workspaces that fit.", min=0, max=100)] = 100,
    reason: Reason = "",
    output: Output = Format.TABLE,
) -> None:
    """Switch an integration on for those who fit all conditions, and off for everybody else."""

    async def work() -> None:
        rule = pb.Rule(
            tiers=tier or [],
            environments=environment or [],
            workspaces=workspace or [],
            customers=customer or [],
            regions=region or [],
        )
        if percent == 100:
            rule.variant = "on"
        else:
            rule.split.add(variant="on", weight=percent)
            rule.split.add(variant="off", weight=100 - percent)
        flag = pb.Flag(
            name=f"flags/integration.{integration}",
            description=f"Who may use {integration}.",
            variants={"on": Value(bool_value=True), "off": Value(bool_value=False)},
            rules=[rule],
            default_variant="off",
            off_variant="off",
        )
        async with as_operator(target(context)) as mesh:
            _show(output, await mesh.flags.PutFlag(pb.PutFlagRequest(flag=flag, reason=reason or "rollout")))

    run(work)


@app.command("list")
def list_flags(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List flags."""

    async def work() -> None:
        request = pb.ListFlagsRequest()
        async with as_operator(target(context)) as mesh:
            found: list[pb.Flag] = await list_all(mesh.flags.ListFlags, request)
        show_rows(
            output,
            found,
            ("key", "revision", "state", "rules", "otherwise"),
            (
                (
                    each.name.partition("/")[2],
                    each.revision,
                    Text("killed", "red") if each.killed else "live",
                    "; ".join(rule_text(rule) for rule in each.rules),
                    each.default_variant,
                )
                for each in found
            ),
        )

    run(work)


@app.command("show")
def show_flag(context: typer.Context, key: Key, output: Output = Format.TABLE) -> None:
    """Show a flag."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            _show(output, await mesh.flags.GetFlag(pb.GetFlagRequest(name=f"flags/{key}")))

    run(work)


@app.command("kill")
def kill(
    context: typer.Context,
    key: Key,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the history.")],
    output: Output = Format.TABLE,
) -> None:
    """Switch a flag off for everybody, now."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            _show(output, await mesh.flags.KillFlag(pb.KillFlagRequest(name=f"flags/{key}", reason=reason)))

    run(work)


@app.command("restore")
def restore(
    context: typer.Context, key: Key, reason: Reason = "", propose: Propose = False, output: Output = Format.TABLE
) -> None:
    """End a kill."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.RestoreFlagRequest(name=f"flags/{key}", reason=reason)
            if propose:
                await put_forward(mesh, output, proposals_pb.ProposeChangeRequest(restore_flag=request))
                return
            _show(output, await mesh.flags.RestoreFlag(request))

    run(work)


@app.command("history")
def history(context: typer.Context, key: Key, output: Output = Format.TABLE) -> None:
    """List the revisions of a flag, newest first."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.ListFlagRevisionsRequest(parent=f"flags/{key}", page_size=100)
            page = await mesh.flags.ListFlagRevisions(request)
        show_rows(
            output,
            page.flag_revisions,
            ("revision", "time", "by", "what", "rules"),
            (
                (
                    each.name.rpartition("/")[2],
                    moment(each.create_time),
                    each.creator,
                    each.reason,
                    "killed" if each.flag.killed else "; ".join(rule_text(rule) for rule in each.flag.rules),
                )
                for each in page.flag_revisions
            ),
        )

    run(work)


@app.command("rollback")
def rollback(
    context: typer.Context,
    key: Key,
    revision: Annotated[int, typer.Argument(help="The revision to go back to.")],
    reason: Reason = "",
    propose: Propose = False,
    output: Output = Format.TABLE,
) -> None:
    """Make an earlier revision the newest one."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.RollbackFlagRequest(name=f"flags/{key}/revisions/{revision}", reason=reason)
            if propose:
                await put_forward(mesh, output, proposals_pb.ProposeChangeRequest(rollback_flag=request))
                return
            _show(output, await mesh.flags.RollbackFlag(request))

    run(work)


@app.command("evaluate")
def evaluate(
    context: typer.Context,
    key: Key,
    field: Annotated[list[str] | None, typer.Argument(help="What is known: NAME=VALUE.")] = None,
    revision: Annotated[int | None, typer.Option(help="As of this revision.", min=1)] = None,
    time: Annotated[str, typer.Option(help="As of this time, such as 2026-12-01T08:00:00Z.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Say what a flag gives in a context, such as `workspace=acme tier=business environment=production`."""
    past = _past(key, revision, time)

    async def work() -> None:
        known = Struct()
        known.update(dict(each.partition("=")[::2] for each in field or []))
        async with as_operator(target(context)) as mesh:
            if past is not None:
                past.context.CopyFrom(known)
                found = await mesh.flag_history.EvaluateFlagAsOf(past)
            else:
                request = pb.EvaluateFlagRequest(name=f"flags/{key}", context=known)
                found = await mesh.flags.EvaluateFlag(request)
        show_fields(
            output,
            found,
            {
                "value": json.dumps(json_format.MessageToDict(found.value)),
                "variant": found.variant,
                "reason": found.reason,
                "revision": found.revision,
            },
        )

    run(work)


def _past(key: str, revision: int | None, time: str) -> history_pb.EvaluateFlagAsOfRequest | None:
    if revision and time:
        raise typer.BadParameter("is for a revision or for a time, not for both", param_hint="--time")
    if not revision and not time:
        return None
    request = history_pb.EvaluateFlagAsOfRequest(name=f"flags/{key}")
    if revision:
        request.revision = revision
        return request
    try:
        request.time.FromJsonString(time)
    except ValueError:
        raise typer.BadParameter(f"{time!r} is no time of RFC 3339", param_hint="--time") from None
    return request


def _show(output: Format, flag: pb.Flag) -> None:
    if output is Format.TABLE:
        state = ("killed", "red") if flag.killed else ("live", "green")
        console.print(Text.assemble(f"{flag.name} revision {flag.revision} is ", state))
        for rule in flag.rules:
            console.print(f"  {rule_text(rule)}")
        console.print(f"  everybody else: {flag.default_variant}")
    else:
        show_fields(output, flag, {})


def rule_text(rule: pb.Rule) -> str:
    """Returns a rule in one line: its conditions, and what it gives."""
    conditions = [
        f"{name} {'/'.join(values)}"
        for name, values in (
            ("tier", rule.tiers),
            ("environment", rule.environments),
            ("workspace", rule.workspaces),
            ("customer", rule.customers),
            ("region", rule.regions),
        )
        if values
    ]
    if rule.segments:
        conditions.append(f"segment {'/'.join(rule.segments)}")
    conditions += [f"{each.group} {each.begin / 100:g}-{each.end / 100:g} %" for each in rule.slices]
    if rule.opt_in:
        conditions.append("own choice")
    given: Any = rule.variant or ", ".join(f"{share.variant} {share.weight}" for share in rule.split)
    return f"{', '.join(conditions) or 'everybody'}: {given}"
