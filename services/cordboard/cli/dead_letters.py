"""What became of calls that could not be done."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cordboard.cli.calls import connection_name, read_input
from cordboard.cli.failures import CommandFailed
from cordboard.cli.jobs import full_name, short
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, show_fields, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.proxy.v1 import dead_letter_service_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Look at calls that could not be done; mend, replay or discard them.")

Name = Annotated[str, typer.Argument(metavar="LETTER", help="WORKSPACE/ID, or the whole resource name.")]
Which = Annotated[
    str, typer.Argument(metavar="WHICH", help="WORKSPACE/ID for one, or WORKSPACE with options for many.")
]
Connection = Annotated[str, typer.Option(help="Only those of this connection: its id.")]
Action = Annotated[str, typer.Option(help="Only those of this action.")]
Reason = Annotated[str, typer.Option(help="Only those with this reason, such as VENDOR_UNREACHABLE.")]


@app.command("list")
def list_letters(
    context: typer.Context,
    workspace: Annotated[str, typer.Argument(help="The workspace's id.")],
    connection: Connection = "",
    action: Action = "",
    reason: Reason = "",
    count: Annotated[int, typer.Option("--lines", "-n", help="How many.")] = 20,
    output: Output = Format.TABLE,
) -> None:
    """List a workspace's dead letters, newest first."""

    async def work() -> None:
        request = pb.ListDeadLettersRequest(
            parent=f"workspaces/{workspace}",
            page_size=count,
            filter=_filter(workspace, connection, action, reason),
        )
        async with as_operator(target(context)) as mesh:
            found = (await mesh.dead_letters.ListDeadLetters(request)).dead_letters
        show_rows(
            output,
            found,
            ("letter", "connection", "action", "reason", "in doubt", "ended", "trace"),
            (
                (
                    short(each.name),
                    each.job.connection.rpartition("/")[2],
                    each.job.action,
                    each.job.error_reason,
                    "yes" if each.in_doubt else "",
                    each.job.end_time.ToJsonString(),
                    each.job.trace_id,
                )
                for each in found
            ),
        )

    run(work)


@app.command("show")
def show(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Show a dead letter with its input."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.GetDeadLetterRequest(name=full_name(name, "deadLetters"))
            _show(output, await mesh.dead_letters.GetDeadLetter(request))

    run(work)


@app.command("edit")
def edit(
    context: typer.Context,
    name: Name,
    field: Annotated[list[str] | None, typer.Argument(help="What changes: NAME=VALUE, or NAME:=JSON.")] = None,
    body: Annotated[str, typer.Option("--input", help="The whole input as JSON, @FILE, or -.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Change the input of a dead letter: single values, or all of it."""

    async def work() -> None:
        full = full_name(name, "deadLetters")
        async with as_operator(target(context)) as mesh:
            known = await mesh.dead_letters.GetDeadLetter(pb.GetDeadLetterRequest(name=full))
            given = read_input(body or known.input_json, field or [])
            request = pb.EditDeadLetterRequest(name=full, input_json=json.dumps(given), etag=known.etag)
            _show(output, await mesh.dead_letters.EditDeadLetter(request))

    run(work)


@app.command("replay")
def replay(
    context: typer.Context,
    which: Which,
    connection: Connection = "",
    action: Action = "",
    reason: Reason = "",
    limit: Annotated[int, typer.Option(help="The most to replay, oldest first; 0: 1000.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Also what may have been done: it may be done twice.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Try dead letters again, under the keys they had."""

    async def work() -> None:
        workspace, name = _chosen(which, connection, action, reason)
        request = pb.ReplayDeadLettersRequest(
            parent=f"workspaces/{workspace}",
            name=name,
            filter=None if name else _filter(workspace, connection, action, reason),
            limit=limit,
            force=force,
        )
        async with as_operator(target(context)) as mesh:
            done = await mesh.dead_letters.ReplayDeadLetters(request)
        show_fields(output, done, {"replayed": len(done.jobs), "left out, in doubt": done.in_doubt_count or ""})

    run(work)


@app.command("discard")
def discard(
    context: typer.Context,
    which: Which,
    connection: Connection = "",
    action: Action = "",
    reason: Reason = "",
    output: Output = Format.TABLE,
) -> None:
    """Discard dead letters: nobody tries them again."""

    async def work() -> None:
        workspace, name = _chosen(which, connection, action, reason)
        request = pb.DiscardDeadLettersRequest(
            parent=f"workspaces/{workspace}",
            name=name,
            filter=None if name else _filter(workspace, connection, action, reason),
        )
        async with as_operator(target(context)) as mesh:
            done = await mesh.dead_letters.DiscardDeadLetters(request)
        show_fields(output, done, {"discarded": done.discarded_count})

    run(work)


def _chosen(which: str, *filters: str) -> tuple[str, str]:
    if "/" in which:
        name = full_name(which, "deadLetters")
        return name.split("/")[1], name
    if not any(filters):
        raise CommandFailed("say which: WORKSPACE/ID, or --connection, --action or --reason", 2)
    return which, ""


def _filter(workspace: str, connection: str, action: str, reason: str) -> pb.DeadLetterFilter:
    name = connection_name(f"{workspace}/{connection}") if connection else ""
    return pb.DeadLetterFilter(connection=name, action=action, error_reason=reason)


def _show(output: Format, letter: pb.DeadLetter) -> None:
    job = letter.job
    show_fields(
        output,
        letter,
        {
            "letter": letter.name,
            "call": f"{job.connection} {job.action}",
            "error": f"{job.error_reason}: {job.error_message}",
            "HTTP": job.vendor_status or "",
            "in doubt": "yes: the vendor may have done it" if letter.in_doubt else "",
            "attempts": job.attempts,
            "ended": job.end_time.ToJsonString(),
            "trace": job.trace_id,
            "submitted in trace": job.submit_trace_id,
            "input": letter.input_json,
        },
    )
