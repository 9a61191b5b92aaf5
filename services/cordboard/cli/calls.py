"""Running actions."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cordboard.cli.failures import CommandFailed
from cordboard.cli.options import Environment, Output, target
from cordboard.cli.output import Format, errors, marked, moment, plain, show_json, show_rows
from cordboard.cli.session import as_operator, as_workspace, run
from cordboard.proxy.v1 import proxy_service_pb2 as pb
from cordboard.proxy.v1 import sealed_input_service_pb2 as sealed_pb

app = typer.Typer(no_args_is_help=True, help="Look at calls that were made, and seal secrets of inputs.")


def call(
    context: typer.Context,
    connection: Annotated[str, typer.Argument(help="WORKSPACE/CONNECTION, or the whole resource name.")],
    action: Annotated[str, typer.Argument(help="The action's id.")],
    field: Annotated[list[str] | None, typer.Argument(help="The input: NAME=VALUE, or NAME:=JSON.")] = None,
    body: Annotated[str, typer.Option("--input", help="The input as JSON, @FILE, or - for standard input.")] = "",
    pages: Annotated[int | None, typer.Option(help="Stream this many pages, or pieces of a stream; 0: all.")] = None,
    idempotency_key: Annotated[str, typer.Option(help="Makes the call at most once.")] = "",
    environment: Environment = "production",
    output: Output = Format.TABLE,
) -> None:
    """Run an action as a member of the connection's workspace. The output goes to standard output as JSON."""

    async def work() -> None:
        name = connection_name(connection)
        values = read_input(body, field or [])
        async with as_workspace(target(context), name.split("/")[1], environment) as mesh:
            if pages is not None:
                count = 0
                async for items in mesh.pages(name, action, values, max_pages=pages):
                    count += 1
                    errors.print(f"page {count}: {len(items)} items", style="dim")
                    show_json(items)
                return
            result = await mesh.execute(name, action, values, idempotency_key=idempotency_key)
        if isinstance(result.output, bytes):
            sys.stdout.buffer.write(result.output)
        else:
            show_json(result.output)
        if output is Format.TABLE:
            tries = "1 attempt" if result.call.attempts == 1 else f"{result.call.attempts} attempts"
            took = result.call.duration.ToMilliseconds()
            version, trace = result.call.definition_version, result.call.trace_id
            told = f"HTTP {result.vendor_status}, {tries}, {took} ms, version {version}, trace {trace}"
            errors.print(told, style="dim")
            if result.stale:
                errors.print(marked("yellow", "from copies, for their source is away:", result.stale))

    run(work)


@app.command("list")
def list_calls(
    context: typer.Context,
    workspace: Annotated[str, typer.Argument(help="The workspace's id.")],
    count: Annotated[int, typer.Option("--lines", "-n", help="How many.")] = 20,
    output: Output = Format.TABLE,
) -> None:
    """List a workspace's latest calls, newest first."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            page = await mesh.proxy.ListCalls(pb.ListCallsRequest(parent=f"workspaces/{workspace}", page_size=count))
        show_rows(
            output,
            page.calls,
            ("time", "integration", "action", "outcome", "HTTP", "ms", "trace"),
            (
                (
                    moment(each.create_time),
                    each.integration.partition("/")[2],
                    each.action,
                    each.error_reason or pb.Call.Outcome.Name(each.outcome).removeprefix("OUTCOME_").lower(),
                    each.vendor_status or "",
                    each.duration.ToMilliseconds(),
                    each.trace_id,
                )
                for each in page.calls
            ),
        )

    run(work)


@app.command("seal")
def seal(
    context: typer.Context,
    workspace: Annotated[str, typer.Argument(help="The workspace's id.")],
    integration: Annotated[str, typer.Argument(help="The integration's slug.")],
    action: Annotated[str, typer.Argument(help="The action's id.")],
    pointer: Annotated[str, typer.Argument(help="Where the secret stands in the input: a JSON Pointer, as /password.")],
    environment: Environment = "production",
    output: Output = Format.TABLE,
) -> None:
    """Read a secret from standard input, or ask for it, and print a reference to write in its place."""
    piped = None if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    secret: str = piped if piped is not None else typer.prompt("secret", hide_input=True, err=True)

    async def work() -> None:
        request = sealed_pb.SealInputRequest(
            parent=f"workspaces/{workspace}",
            integration=f"integrations/{integration}",
            action=action,
            secrets=[sealed_pb.InputSecret(pointer=pointer, secret=secret)],
        )
        async with as_workspace(target(context), workspace, environment) as mesh:
            answer = await mesh.sealed_inputs.SealInput(request)
        if output is Format.JSON:
            show_json(plain(answer))
        else:
            typer.echo(answer.references[0])

    run(work)


def connection_name(given: str) -> str:
    """Returns the resource name of `acme/desk`; raises CommandFailed."""
    parts = given.split("/")
    if len(parts) == 2:
        return f"workspaces/{parts[0]}/connections/{parts[1]}"
    if len(parts) == 4 and parts[0] == "workspaces" and parts[2] == "connections":
        return given
    raise CommandFailed(f"{given!r} is not a connection: write WORKSPACE/CONNECTION", 2)


def read_input(body: str, fields: list[str]) -> dict[str, Any]:
    """Returns an input from a JSON text, a file or standard input, and from NAME=VALUE and NAME:=JSON on top."""
    text = body
    if body == "-":
        text = sys.stdin.read()
    elif body.startswith("@"):
        try:
            text = Path(body[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandFailed(f"{body[1:]}: {error}", 2) from None
    try:
        values = json.loads(text or "{}")
    except ValueError as error:
        raise CommandFailed(f"the input is not JSON: {error}", 2) from None
    if not isinstance(values, dict):
        raise CommandFailed("the input must be a JSON object", 2)
    for field in fields:
        name, separator, value = field.partition("=")
        if not separator or not name:
            raise CommandFailed(f"{field!r} is not NAME=VALUE or NAME:=JSON", 2)
        if name.endswith(":"):
            try:
                values[name[:-1]] = json.loads(value)
            except ValueError:
                raise CommandFailed(f"the value of {name[:-1]!r} is not JSON", 2) from None
        else:
            values[name] = value
    return values
