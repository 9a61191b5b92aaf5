"""Rollouts: plans with stages, and what moves them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final

import typer

from cordboard.cli.options import Output, Reason, target
from cordboard.cli.output import Format, show_fields, show_rows
from cordboard.cli.proposals import Propose, put_forward
from cordboard.cli.session import as_operator, run
from cordboard.client.paging import list_all
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.flags.v1 import proposal_service_pb2 as proposals_pb
from cordboard.flags.v1 import rollout_service_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Roll integrations, actions and versions out in stages, and stop them.")
Key = Annotated[
    str,
    typer.Argument(help="`integration.SLUG`, `action.SLUG.ACTION` or `version.SLUG`; a slug alone is an integration."),
]
Workspaces = Annotated[list[str] | None, typer.Option("--workspace", help="This workspace. Repeatable.")]
Customers = Annotated[list[str] | None, typer.Option("--customer", help="This customer. Repeatable.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for the history.")]


class OptIn(StrEnum):
    """Who gets an integration by a choice of their own."""

    NONE = "none"
    REACHED = "reached"
    EARLY = "early"


OPT_INS: Final = {
    OptIn.NONE: pb.OPT_IN_UNSPECIFIED,
    OptIn.REACHED: pb.OPT_IN_REACHED,
    OptIn.EARLY: pb.OPT_IN_EARLY,
}
OPT_IN_TEXTS: Final = {
    pb.OPT_IN_UNSPECIFIED: "",
    pb.OPT_IN_REACHED: "to switch it on where it reaches them",
    pb.OPT_IN_EARLY: "to switch it on ahead of their share",
}
# What a canary reaches before everybody, in production and elsewhere.
CANARY_SHARES: Final = (1, 10, 50)
CANARY_FIRST: Final = "staging=100"
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SOAK = re.compile(r"(\d{1,6})([smhdw])")


@app.command("put")
def put(
    context: typer.Context,
    key: Key,
    stage: Annotated[
        list[str],
        typer.Option(
            help="A stage: ENVIRONMENT=PERCENT by commas, `*` for all other environments, and after a slash how long "
            "it holds: `staging=100,production=1/2d`. Repeatable, in order.",
        ),
    ],
    minimum_tier: Annotated[str, typer.Option(help="The lowest tier.")] = "",
    region: Annotated[list[str] | None, typer.Option(help="Only this region. Repeatable.")] = None,
    segment: Annotated[list[str] | None, typer.Option(help="Only this segment. Repeatable.")] = None,
    workspace: Annotated[list[str] | None, typer.Option(help="From the first stage on. Repeatable.")] = None,
    customer: Annotated[list[str] | None, typer.Option(help="From the first stage on. Repeatable.")] = None,
    exclude_workspace: Annotated[list[str] | None, typer.Option(help="Never this one. Repeatable.")] = None,
    exclude_customer: Annotated[list[str] | None, typer.Option(help="Never this one. Repeatable.")] = None,
    version: Annotated[str, typer.Option(help="The definition version, with `version.SLUG`.")] = "",
    holdout: Annotated[float, typer.Option(help="The percentage of all workspaces to hold out.")] = 0.0,
    exclusive: Annotated[
        str, typer.Option(help="The slice of a group that is this rollout's: `checkout=0-50`, in percent.")
    ] = "",
    requires: Annotated[
        list[str] | None,
        typer.Option(help="What another flag has to give: `KEY=VARIANT`, or several by commas. Repeatable."),
    ] = None,
    opt_in: Annotated[
        OptIn,
        typer.Option(
            help="What is left to the workspaces' own administrators: `reached` have it once they switch it on; with "
            "`early` those whose share has not come yet may switch it on ahead of time."
        ),
    ] = OptIn.NONE,
    start: Annotated[str, typer.Option(help="When it begins, such as 2026-12-01T08:00:00Z. Default: now.")] = "",
    guard: Annotated[
        bool,
        typer.Option("--guard", help="Take it back by itself when the version's calls are worse; with `version.SLUG`."),
    ] = False,
    guard_failures: Annotated[
        float, typer.Option(help="By how many percentage points more calls have to fail for that.")
    ] = 1.0,
    guard_slowness: Annotated[
        float, typer.Option(help="By how many percentage points more calls have to be slow for that.")
    ] = 10.0,
    guard_false_alarm: Annotated[
        float, typer.Option(help="The percentage of versions as good as the active one that may be taken back.")
    ] = 5.0,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    etag: Annotated[str, typer.Option(help="Change only what has this etag.")] = "",
    reason: Reason = "",
    propose: Propose = False,
    output: Output = Format.TABLE,
) -> None:
    """Create a rollout, or replace its plan."""
    rollout = pb.Rollout(
        name=_name(key),
        description=description,
        version=version,
        audience=pb.Audience(
            minimum_tier=minimum_tier,
            regions=region or [],
            segments=segment or [],
            workspaces=workspace or [],
            customers=customer or [],
            excluded_workspaces=exclude_workspace or [],
            excluded_customers=exclude_customer or [],
        ),
        stages=[_stage(each) for each in stage],
        holdout_percent=holdout,
        exclusion=_exclusion(exclusive) if exclusive else None,
        guard=pb.Guard(
            failures_percent=guard_failures, slowness_percent=guard_slowness, false_alarm_percent=guard_false_alarm
        )
        if guard
        else None,
        prerequisites=[_prerequisite(each) for each in requires or []],
        opt_in=OPT_INS[opt_in],
        etag=etag,
    )
    if start:
        rollout.start_time.FromDatetime(_moment(start))

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.PutRolloutRequest(rollout=rollout, reason=reason)
            if propose:
                await put_forward(mesh, output, proposals_pb.ProposeChangeRequest(put_rollout=request))
                return
            _show(output, await mesh.rollouts.PutRollout(request))

    run(work)


@app.command("canary")
def canary(
    context: typer.Context,
    integration: Annotated[str, typer.Argument(help="The integration's id.")],
    version: Annotated[str, typer.Argument(help="The definition version.")],
    soak: Annotated[str, typer.Option(help="How long each stage holds: `30m`, `6h`, `1d`.")] = "1d",
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    reason: Reason = "",
    propose: Propose = False,
    output: Output = Format.TABLE,
) -> None:
    """Roll a version out by itself, under guard: all of staging and 1 % of production, then 10 %, 50 %, everybody."""
    rollout = pb.Rollout(
        name=f"rollouts/version.{integration}",
        description=description or f"A canary of {version}.",
        version=version,
        stages=[*(_stage(f"{CANARY_FIRST},production={share}/{soak}") for share in CANARY_SHARES), _stage("*=100")],
        guard=pb.Guard(),
    )

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.PutRolloutRequest(rollout=rollout, reason=reason or f"canary of {version}")
            if propose:
                await put_forward(mesh, output, proposals_pb.ProposeChangeRequest(put_rollout=request))
                return
            _show(output, await mesh.rollouts.PutRollout(request))

    run(work)


@app.command("list")
def list_rollouts(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List rollouts, and how far they have come."""

    async def work() -> None:
        request = pb.ListRolloutsRequest()
        async with as_operator(target(context)) as mesh:
            found: list[pb.Rollout] = await list_all(mesh.rollouts.ListRollouts, request)
        show_rows(
            output,
            found,
            ("key", "stage", "reaches", "next stage", "state"),
            (
                (
                    each.name.partition("/")[2],
                    f"{each.stage} of {len(each.stages)}",
                    _reaches(each.stages[each.stage - 1]) if each.stage else "nobody",
                    _next_stage(each),
                    _state(each),
                )
                for each in found
            ),
        )

    run(work)


@app.command("show")
def show(context: typer.Context, key: Key, output: Output = Format.TABLE) -> None:
    """Show a rollout."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            _show(output, await mesh.rollouts.GetRollout(pb.GetRolloutRequest(name=_name(key))))

    run(work)


@app.command("move")
def move(
    context: typer.Context,
    key: Key,
    stage: Annotated[int, typer.Argument(help="The stage, counted from 1; 0: nobody gets it.", min=0)],
    reason: Reason = "",
    propose: Propose = False,
    output: Output = Format.TABLE,
) -> None:
    """Take a rollout to a stage now, further or back."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.MoveRolloutRequest(name=_name(key), stage=stage, reason=reason)
            if propose:
                await put_forward(mesh, output, proposals_pb.ProposeChangeRequest(move_rollout=request))
                return
            _show(output, await mesh.rollouts.MoveRollout(request))

    run(work)


@app.command("include")
def include(
    context: typer.Context,
    key: Key,
    workspace: Workspaces = None,
    customer: Customers = None,
    reason: Reason = "",
    propose: Propose = False,
    output: Output = Format.TABLE,
) -> None:
    """Give it to some workspaces or customers now, whatever stage it is at."""
    _name_them(context, key, (workspace or [], customer or []), "", reason, propose=propose, output=output)


@app.command("exclude")
def exclude(
    context: typer.Context,
    key: Key,
    workspace: Workspaces = None,
    customer: Customers = None,
    reason: Reason = "",
    propose: Propose = False,
    output: Output = Format.TABLE,
) -> None:
    """Take it from some workspaces or customers now, and keep it from them."""
    _name_them(context, key, (workspace or [], customer or []), "excluded_", reason, propose=propose, output=output)


@app.command("release")
def release(
    context: typer.Context,
    key: Key,
    workspace: Workspaces = None,
    customer: Customers = None,
    reason: Reason = "",
    propose: Propose = False,
    output: Output = Format.TABLE,
) -> None:
    """Name some workspaces or customers no more: the stages reach them as they reach others."""
    _name_them(context, key, (workspace or [], customer or []), None, reason, propose=propose, output=output)


@app.command("freeze")
def freeze(context: typer.Context, key: Key, reason: Why, output: Output = Format.TABLE) -> None:
    """Stop a rollout where it is."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.FreezeRolloutRequest(name=_name(key), reason=reason)
            _show(output, await mesh.rollouts.FreezeRollout(request))

    run(work)


@app.command("thaw")
def thaw(context: typer.Context, key: Key, reason: Reason = "", output: Output = Format.TABLE) -> None:
    """End a freeze."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.ThawRolloutRequest(name=_name(key), reason=reason)
            _show(output, await mesh.rollouts.ThawRollout(request))

    run(work)


@app.command("unlock")
def unlock(context: typer.Context, key: Key, reason: Why, output: Output = Format.TABLE) -> None:
    """Agree that a rollout which its guard has taken back may move again. Nobody gets it before `rollout move`."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.UnlockRolloutRequest(name=_name(key), reason=reason)
            _show(output, await mesh.rollouts.UnlockRollout(request))

    run(work)


@app.command("kill")
def kill(context: typer.Context, key: Key, reason: Why, output: Output = Format.TABLE) -> None:
    """Take it from everybody, now; its stages wait until `cordboard flag restore`."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            killed = await mesh.flags.KillFlag(flags.KillFlagRequest(name=f"flags/{_key(key)}", reason=reason))
        show_fields(output, killed, {"flag": killed.name, "state": "killed", "revision": killed.revision})

    run(work)


def _name_them(
    context: typer.Context,
    key: str,
    whom: tuple[list[str], list[str]],
    prefix: str | None,
    reason: str,
    *,
    propose: bool,
    output: Format,
) -> None:
    """Puts the plan as it is with some workspaces and customers among those that are named, or excluded (the prefix of
    the field says which; None: neither), unless somebody else changes it meanwhile.
    """
    if not any(whom):
        raise typer.BadParameter("name a --workspace or a --customer")

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            rollout = await mesh.rollouts.GetRollout(pb.GetRolloutRequest(name=_name(key)))
            for kind, names in zip(("workspaces", "customers"), whom, strict=True):
                for each in ("", "excluded_"):
                    named = getattr(rollout.audience, f"{each}{kind}")
                    kept = [one for one in named if one not in names]
                    named[:] = [*kept, *names] if each == prefix else kept
            request = pb.PutRolloutRequest(rollout=rollout, reason=reason)
            if propose:
                await put_forward(mesh, output, proposals_pb.ProposeChangeRequest(put_rollout=request))
                return
            _show(output, await mesh.rollouts.PutRollout(request))

    run(work)


def _key(given: str) -> str:
    return given if "." in given else f"integration.{given}"


def _name(given: str) -> str:
    return f"rollouts/{_key(given)}"


def _stage(given: str) -> pb.Stage:
    reaches, _, soak = given.partition("/")
    stage = pb.Stage()
    for each in reaches.split(","):
        environment, _, percent = each.partition("=")
        try:
            stage.reaches.add(environment="" if environment == "*" else environment, percent=float(percent))
        except ValueError:
            raise typer.BadParameter(f"{each!r} is not ENVIRONMENT=PERCENT", param_hint="--stage") from None
    if soak:
        found = _SOAK.fullmatch(soak)
        if found is None:
            raise typer.BadParameter(f"{soak!r} is not a number with one of s m h d w", param_hint="--stage")
        stage.soak_duration.seconds = int(found[1]) * _UNITS[found[2]]
    return stage


def _exclusion(given: str) -> pb.Exclusion:
    group, _, part = given.partition("=")
    begin, _, end = part.partition("-")
    try:
        return pb.Exclusion(group=group, begin_percent=float(begin), end_percent=float(end))
    except ValueError:
        raise typer.BadParameter(f"{given!r} is not GROUP=BEGIN-END", param_hint="--exclusive") from None


def _moment(given: str) -> datetime:
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise typer.BadParameter(f"{given!r} is no time of ISO 8601", param_hint="--start") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _reaches(stage: pb.Stage) -> str:
    return ", ".join(f"{reach.environment or 'others'} {reach.percent:g} %" for reach in stage.reaches)


def _next_stage(rollout: pb.Rollout) -> str:
    return rollout.next_stage_time.ToJsonString() if rollout.HasField("next_stage_time") else ""


def _state(rollout: pb.Rollout) -> str:
    if rollout.HasField("lock"):
        return f"taken back: {rollout.lock.reason}"
    return f"frozen: {rollout.freeze_reason}" if rollout.freeze_reason else ""


def _guard_text(guard: pb.Guard) -> str:
    return (
        f"failures +{guard.failures_percent:g} %, slowness +{guard.slowness_percent:g} %, "
        f"false alarms {guard.false_alarm_percent:g} %"
    )


def _comparison_text(found: pb.Comparison) -> str:
    lines = []
    for name, figures in (("reached", found.reached), ("others", found.others)):
        causes = ", ".join(f"{cause} {count}" for cause, count in sorted(figures.causes.items()))
        failed = f"{figures.failures} failed{f' ({causes})' if causes else ''}"
        lines.append(f"{name}: {figures.calls} calls, {failed}, {figures.slow_calls} of {figures.timed_calls} slow")
    lines.append(f"evidence: failures {found.failure_evidence:.3g}, slowness {found.slowness_evidence:.3g}")
    return "\n".join(lines)


def _lock_text(lock: pb.Lock) -> str:
    when = lock.create_time.ToJsonString()
    return f"for its {lock.reason}, {when}\n{_comparison_text(lock.comparison)}\nuntil `cordboard rollout unlock`"


def _show(output: Format, rollout: pb.Rollout) -> None:
    audience = rollout.audience
    stages = (
        f"{'> ' if number == rollout.stage else '  '}{number}: {_reaches(stage)}"
        + (f", for {stage.soak_duration.ToJsonString()}" if stage.HasField("soak_duration") else "")
        for number, stage in enumerate(rollout.stages, start=1)
    )
    show_fields(
        output,
        rollout,
        {
            "rollout": rollout.name.partition("/")[2],
            "description": rollout.description,
            "version": rollout.version,
            "tier": f"{audience.minimum_tier} and above" if audience.minimum_tier else "",
            "regions": ", ".join(audience.regions),
            "segments": ", ".join(audience.segments),
            "named": ", ".join([*audience.workspaces, *audience.customers]),
            "excluded": ", ".join([*audience.excluded_workspaces, *audience.excluded_customers]),
            "left to workspaces": OPT_IN_TEXTS[rollout.opt_in],
            "stages": "\n".join(stages),
            "next stage": _next_stage(rollout),
            "frozen": rollout.freeze_reason,
            "guard": _guard_text(rollout.guard) if rollout.HasField("guard") else "",
            "comparison": _comparison_text(rollout.comparison) if rollout.HasField("comparison") else "",
            "taken back": _lock_text(rollout.lock) if rollout.HasField("lock") else "",
            "etag": rollout.etag,
        },
    )


def _prerequisite(text: str) -> flags.Prerequisite:
    key, _, variants = text.partition("=")
    if not key or not variants:
        raise typer.BadParameter(f"{text!r} is not KEY=VARIANT", param_hint="--requires")
    return flags.Prerequisite(flag=f"flags/{key}", variants=variants.split(","))
