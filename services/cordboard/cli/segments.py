"""Segments: workspaces with a name, which flags and rollouts are for."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from google.protobuf.struct_pb2 import Value

from cordboard.cli.failures import CommandFailed
from cordboard.cli.flags import rule_text
from cordboard.cli.options import Output, Reason, target
from cordboard.cli.output import Format, show_fields, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.client.paging import list_all
from cordboard.flags.v1 import flag_service_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Name workspaces that flags and rollouts are for.")
Name = Annotated[str, typer.Argument(metavar="SEGMENT", help="Its name.")]
PREFIX: Final = "flags/segment."


@app.command("put")
def put(
    context: typer.Context,
    name: Name,
    tier: Annotated[list[str] | None, typer.Option(help="Only this tier. Repeatable.")] = None,
    environment: Annotated[list[str] | None, typer.Option(help="Only this environment. Repeatable.")] = None,
    workspace: Annotated[list[str] | None, typer.Option(help="Only this workspace. Repeatable.")] = None,
    customer: Annotated[list[str] | None, typer.Option(help="Only this customer. Repeatable.")] = None,
    region: Annotated[list[str] | None, typer.Option(help="Only this region. Repeatable.")] = None,
    segment: Annotated[list[str] | None, typer.Option(help="Only who is in this segment too. Repeatable.")] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    reason: Reason = "",
    output: Output = Format.TABLE,
) -> None:
    """Say who is in a segment: whoever fits all conditions. Without any it is everybody."""
    rule = pb.Rule(
        tiers=tier or [],
        environments=environment or [],
        workspaces=workspace or [],
        customers=customer or [],
        regions=region or [],
        segments=segment or [],
        variant="in",
    )
    flag = pb.Flag(
        name=f"{PREFIX}{name}",
        description=description,
        variants={"in": Value(bool_value=True), "out": Value(bool_value=False)},
        rules=[rule],
        default_variant="out",
        off_variant="out",
    )

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            done = await mesh.flags.PutFlag(pb.PutFlagRequest(flag=flag, reason=reason))
        show_fields(output, done, {"segment": name, "flag": done.name.partition("/")[2], "revision": done.revision})

    run(work)


@app.command("list")
def list_segments(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List segments, who is in them, and which flags name them."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            flags: list[pb.Flag] = await list_all(mesh.flags.ListFlags, pb.ListFlagsRequest())
        found = [each for each in flags if each.name.startswith(PREFIX)]
        show_rows(
            output,
            found,
            ("segment", "revision", "who", "named by"),
            (
                (
                    each.name.removeprefix(PREFIX),
                    each.revision,
                    _who(each),
                    ", ".join(_users(each, flags)),
                )
                for each in found
            ),
        )

    run(work)


@app.command("show")
def show_segment(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Show a segment, and which flags name it."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            flags: list[pb.Flag] = await list_all(mesh.flags.ListFlags, pb.ListFlagsRequest())
        found = next((each for each in flags if each.name == f"{PREFIX}{name}"), None)
        if found is None:
            raise CommandFailed(f"there is no segment {name!r}", 5)
        fields = {
            "segment": name,
            "description": found.description,
            "revision": found.revision,
            "who": _who(found),
            "named by": ", ".join(_users(found, flags)),
        }
        show_fields(output, found, fields)

    run(work)


def _who(segment: pb.Flag) -> str:
    return "nobody: killed" if segment.killed else "; ".join(map(rule_text, segment.rules))


def _users(segment: pb.Flag, flags: list[pb.Flag]) -> list[str]:
    name = segment.name.removeprefix(PREFIX)
    return [each.name.partition("/")[2] for each in flags if any(name in rule.segments for rule in each.rules)]
