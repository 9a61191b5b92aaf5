"""Ends tokens before their time."""

from __future__ import annotations

from typing import Annotated

import typer

from cordboard.auth.v1 import revocation_service_pb2 as pb
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, errors, moment, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.client.paging import list_all

app = typer.Typer(no_args_is_help=True, help="End tokens before their time: within five seconds no service takes them.")

Why = Annotated[str, typer.Option("--reason", help="Why, for the journal.")]


@app.command("token")
def revoke_token(
    context: typer.Context, token_id: Annotated[str, typer.Argument(help="Its id, the `jti` in it.")], reason: Why = ""
) -> None:
    """Revoke one token, with those that were refreshed from it."""

    async def work() -> None:
        request = pb.RevokeTokenRequest(name=f"tokens/{token_id.removeprefix('tokens/')}", reason=reason)
        async with as_operator(target(context)) as mesh:
            done = await mesh.revocations.RevokeToken(request)
        errors.print(f"tokens/{done.subject} is revoked")

    run(work)


@app.command("workspace")
def revoke_workspace(
    context: typer.Context,
    workspace: Annotated[str, typer.Argument(help="Its id.")],
    api_keys: Annotated[bool, typer.Option("--api-keys", help="Revoke its API keys too.")] = False,
    reason: Why = "",
) -> None:
    """Revoke every token that a workspace has. New ones are good."""

    async def work() -> None:
        request = pb.RevokeAllTokensRequest(workspace=f"workspaces/{workspace}", api_keys=api_keys, reason=reason)
        async with as_operator(target(context)) as mesh:
            done = await mesh.revocations.RevokeAllTokens(request)
        errors.print(f"tokens of {done.workspace} below generation {done.generation} are revoked")

    run(work)


@app.command("operators")
def revoke_operators(context: typer.Context, reason: Why = "") -> None:
    """Revoke every token that belongs to no workspace: those of operators and publishers, yours among them."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            await mesh.revocations.RevokeAllTokens(pb.RevokeAllTokensRequest(operators=True, reason=reason))
        errors.print("the tokens of operators and publishers are revoked")

    run(work)


@app.command("list")
def list_revocations(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List what was revoked and has not expired, the newest first."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            found = await list_all(mesh.revocations.ListRevocations, pb.ListRevocationsRequest())
        show_rows(
            output,
            found,
            ("what", "whose", "id", "since", "reason"),
            (
                (
                    pb.Revocation.Kind.Name(each.kind).removeprefix("KIND_").lower().replace("_", " "),
                    each.workspace.partition("/")[2],
                    each.subject or f"below generation {each.generation}",
                    moment(each.create_time),
                    each.reason,
                )
                for each in found
            ),
        )

    run(work)
