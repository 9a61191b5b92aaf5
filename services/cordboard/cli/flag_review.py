"""Flags before and after a change: whom it would move, why somebody gets what they get, what is stale."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from rich.text import Text

from cordboard.cli import proposals
from cordboard.cli.failures import CommandFailed
from cordboard.cli.flag_difference import difference, show_difference
from cordboard.cli.options import Output, Reason, target
from cordboard.cli.output import Format, console, moment, show_fields, show_json, show_rows
from cordboard.cli.proposals import Propose, all_workspaces, context_of, put_forward
from cordboard.cli.session import as_operator, run
from cordboard.client import Client
from cordboard.client.paging import list_all
from cordboard.flags.v1 import choice_service_pb2 as choice_pb
from cordboard.flags.v1 import flag_service_pb2 as pb
from cordboard.flags.v1 import history_service_pb2 as history_pb
from cordboard.flags.v1 import proposal_service_pb2 as proposals_pb

Key = Annotated[str, typer.Argument(help="The flag's key, such as `integration.github`.")]
File = Annotated[Path, typer.Argument(help="The flag as `cordboard flag show -o json` prints it.")]
Environments = Annotated[list[str] | None, typer.Option("--environment", "-e", help="Repeatable. Default: production.")]
# Contexts of one preview, as the service takes them.
MOST_CONTEXTS = 10_000
# Flags that say what workspaces have chosen.
CHOICES = "flags/choice."


def add_to(app: typer.Typer) -> None:
    """Adds these commands to those of flags."""
    for name, function in (
        ("put", put),
        ("preview", preview),
        ("explain", explain),
        ("diff", diff),
        ("stale", stale),
    ):
        app.command(name)(function)
    app.add_typer(proposals.app, name="proposals")


def put(
    context: typer.Context, file: File, reason: Reason = "", propose: Propose = False, output: Output = Format.TABLE
) -> None:
    """Create a flag, or replace its content. With an etag in the file, only if nobody changed it since."""
    flag = _flag_in(file)

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.PutFlagRequest(flag=flag, reason=reason)
            if propose:
                await put_forward(mesh, output, proposals_pb.ProposeChangeRequest(put_flag=request))
                return
            done = await mesh.flags.PutFlag(request)
        show_fields(output, done, {"flag": done.name, "revision": done.revision, "etag": done.etag})

    run(work)


def preview(
    context: typer.Context, file: File, environment: Environments = None, output: Output = Format.TABLE
) -> None:
    """Say which workspaces would get another variant if a flag were put. Nothing is put."""
    flag = _flag_in(file)
    places = environment or ["production"]

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            subjects = [(each, place) for each in await all_workspaces(mesh) for place in places]
            moved: list[tuple[str, str, str, str, str]] = []
            for start in range(0, len(subjects), MOST_CONTEXTS):
                part = subjects[start : start + MOST_CONTEXTS]
                request = history_pb.PreviewFlagRequest(flag=flag, contexts=[context_of(*each) for each in part])
                found = await mesh.flag_history.PreviewFlag(request)
                moved += [
                    (
                        part[each.index][0].name.partition("/")[2],
                        part[each.index][1],
                        each.before,
                        each.after,
                        each.flag,
                    )
                    for each in found.changes
                ]
        _show_moved(output, moved, len(subjects))

    run(work)


def explain(
    context: typer.Context,
    key: Key,
    field: Annotated[list[str] | None, typer.Argument(help="What is known: NAME=VALUE.")] = None,
    revision: Annotated[int, typer.Option(help="At this revision. Default: the newest.", min=0)] = 0,
    output: Output = Format.TABLE,
) -> None:
    """Say why a flag gives what it gives: which rule matched, which did not and why, and where the workspace lies."""

    async def work() -> None:
        known = Struct()
        known.update(dict(each.partition("=")[::2] for each in field or []))
        request = history_pb.ExplainFlagRequest(name=f"flags/{key}", context=known, revision=revision)
        async with as_operator(target(context)) as mesh:
            found = await mesh.flag_history.ExplainFlag(request)
        if output is Format.JSON:
            show_fields(output, found, {})
            return
        decision = found.decision
        console.print(f"{key} gives {decision.variant!r} at revision {decision.revision}: {decision.reason}")
        for rule in found.rules:
            place = f", the workspace lies at {rule.place_percent:.2f} %" if rule.HasField("place_percent") else ""
            why = "; ".join(rule.mismatches)
            mark = ("matches", "green") if rule.matched else ("does not match", "dim")
            console.print(Text.assemble(f"  rule {rule.index + 1} ", mark), end="")
            console.print(f"{f' ({rule.description})' if rule.description else ''}{place}", end="")
            console.print(f": {why}" if why else "", highlight=False)
        for unmet in found.unmet_prerequisites:
            console.print(f"  needs what does not hold: {unmet}", highlight=False)
        if found.choice == choice_pb.CHOICE_ON:
            console.print("  the workspace's own administrator has switched it on")
        if found.killed:
            console.print("  it is killed: no rule is asked")
        elif found.choice == choice_pb.CHOICE_OFF:
            console.print("  the workspace's own administrator has switched it off: no rule is asked")
        elif not found.unmet_prerequisites and not any(rule.matched for rule in found.rules):
            console.print("  no rule matches: everybody else's variant")

    run(work)


def diff(
    context: typer.Context,
    key: Key,
    old: Annotated[int, typer.Argument(help="A revision.", min=1)],
    new: Annotated[int, typer.Argument(help="Another one. Default: the newest.", min=0)] = 0,
    output: Output = Format.TABLE,
) -> None:
    """Show what differs between two revisions of a flag."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            revisions = await _revisions(mesh, key, {old, new})
        newer = new or max(revisions)
        before, after = (_known(revisions, key, number) for number in (old, newer))
        lines = difference(before, after, (f"revision {old}", f"revision {newer}"))
        if output is Format.JSON:
            show_json(lines)
            return
        show_difference(lines or ["nothing differs"])

    run(work)


def stale(
    context: typer.Context,
    days: Annotated[int, typer.Option(help="How long it was not changed.", min=0)] = 30,
    output: Output = Format.TABLE,
) -> None:
    """List flags that decide nothing any more: for so long killed, or the same for everybody."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            flags = await all_flags(mesh)
        limit = datetime.now(UTC) - timedelta(days=days)
        found = [
            (flag, why) for flag in flags if flag.update_time.ToDatetime(UTC) <= limit and (why := staleness(flag))
        ]
        show_rows(
            output,
            [flag for flag, _ in found],
            ("key", "since", "why"),
            ((flag.name.partition("/")[2], moment(flag.update_time), why) for flag, why in found),
        )

    run(work)


def staleness(flag: pb.Flag) -> str:
    """Returns why a flag decides nothing; empty where it decides."""
    if flag.name.startswith(CHOICES):
        # What workspaces choose waits for them.
        return ""
    if flag.killed:
        return "killed"
    first = flag.rules[0] if flag.rules else None
    if first is None:
        return f"{flag.default_variant!r} for everybody"
    named = (first.tiers, first.workspaces, first.customers, first.environments, first.regions)
    if not any((*named, first.slices, first.segments, first.split, first.opt_in)):
        return f"{first.variant!r} for everybody"
    given = {*(rule.variant for rule in flag.rules), *(share.variant for rule in flag.rules for share in rule.split)}
    if given <= {"", flag.default_variant}:
        return f"{flag.default_variant!r} for everybody"
    return ""


def _flag_in(file: Path) -> pb.Flag:
    try:
        return json_format.ParseDict(document(file), pb.Flag())
    except json_format.ParseError as problem:
        raise typer.BadParameter(f"{file} is no flag: {problem}", param_hint="FILE") from None


def document(file: Path) -> Any:
    """Returns what a file of JSON says; raises BadParameter."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as problem:
        raise typer.BadParameter(f"{file} cannot be read as JSON: {problem}", param_hint="FILE") from None


def _show_moved(output: Format, moved: Sequence[tuple[str, str, str, str, str]], asked: int) -> None:
    names = ("workspace", "environment", "before", "after")
    if output is Format.JSON:
        # Whose flag it is where it is not this one.
        shown = [dict(zip(names, each[:4], strict=True)) | ({"flag": each[4]} if each[4] else {}) for each in moved]
        show_json(shown)
        return
    for each in moved:
        of = f" of {each[4]}" if each[4] else ""
        console.print(f"{each[0]} in {each[1]}: {each[2] or 'none'} -> {each[3] or 'none'}{of}")
    console.print(f"{sum(not each[4] for each in moved)} of {asked} would get another variant")
    others = sorted({each[4] for each in moved} - {""})
    if others:
        console.print(f"and so would some of {', '.join(others)}, which need it")


async def all_flags(mesh: Client) -> list[pb.Flag]:
    """Returns every flag of a mesh."""
    return await list_all(mesh.flags.ListFlags, pb.ListFlagsRequest())


async def _revisions(mesh: Client, key: str, wanted: set[int]) -> dict[int, pb.Flag]:
    """Returns the newest revision and those that are wanted, by number."""
    found: dict[int, pb.Flag] = {}
    request = pb.ListFlagRevisionsRequest(parent=f"flags/{key}")
    for each in await list_all(mesh.flags.ListFlagRevisions, request):
        number = int(each.name.rpartition("/")[2])
        if not found or number in wanted:
            found[number] = each.flag
    return found


def _known(revisions: dict[int, pb.Flag], key: str, number: int) -> pb.Flag:
    if number not in revisions:
        raise CommandFailed(f"'flags/{key}' has no revision {number}", 5)
    return revisions[number]
