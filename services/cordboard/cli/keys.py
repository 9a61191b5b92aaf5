"""API keys of machines, and the keys that sign tokens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cordboard.auth.v1 import api_key_service_pb2 as pb
from cordboard.auth.v1 import token_service_pb2 as tokens
from cordboard.cli.options import Environment, Output, Workspace, target
from cordboard.cli.output import Format, errors, moment, plain, show_json, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.cli.workspaces import Role
from cordboard.client.paging import list_all
from cordboard.common.v1 import options_pb2

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys, for machines.")
signing = typer.Typer(no_args_is_help=True, help="Look after the keys that sign tokens.")

Why = Annotated[str, typer.Option("--reason", help="Why, for the journal.")]


@app.command("create")
def create_key(
    context: typer.Context,
    workspace: Workspace,
    title: Annotated[str, typer.Option(help="What people call it.")] = "",
    environment: Environment = "production",
    role: Annotated[list[Role] | None, typer.Option(help="A role it carries. Repeatable. Default: member.")] = None,
    days: Annotated[int, typer.Option(help="After how many days it ends. 0: never.", min=0, max=3650)] = 90,
    output: Output = Format.TABLE,
) -> None:
    """Create a key and print it. It is shown this once."""

    async def work() -> None:
        request = pb.CreateApiKeyRequest(
            parent=f"workspaces/{workspace}",
            display_name=title,
            environment=environment,
            roles=[each.value_type for each in role or [Role.MEMBER]],
        )
        if days:
            request.expire_time.FromDatetime(datetime.now(UTC) + timedelta(days=days))
        async with as_operator(target(context)) as mesh:
            made = await mesh.api_keys.CreateApiKey(request)
        if output is Format.JSON:
            show_json(plain(made))
        else:
            errors.print(f"{made.api_key.name}: keep it now, for it cannot be read again")
            typer.echo(made.secret)

    run(work)


@app.command("list")
def list_keys(context: typer.Context, workspace: Workspace, output: Output = Format.TABLE) -> None:
    """List a workspace's keys, without themselves."""

    async def work() -> None:
        request = pb.ListApiKeysRequest(parent=f"workspaces/{workspace}")
        async with as_operator(target(context)) as mesh:
            found: list[pb.ApiKey] = await list_all(mesh.api_keys.ListApiKeys, request)
        show_rows(
            output,
            found,
            ("id", "title", "environment", "roles", "last used", "state"),
            (
                (
                    each.name.rpartition("/")[2],
                    each.display_name,
                    each.environment,
                    ", ".join(_role(role) for role in each.roles),
                    moment(each.last_use_time) if each.HasField("last_use_time") else "never",
                    _state(each),
                )
                for each in found
            ),
        )

    run(work)


@app.command("revoke")
def revoke_key(
    context: typer.Context,
    workspace: Workspace,
    key: Annotated[str, typer.Argument(help="Its id, as `keys list` shows it.")],
    reason: Why = "",
) -> None:
    """Revoke a key: within five seconds no service accepts it, or a token that it got."""

    async def work() -> None:
        request = pb.RevokeApiKeyRequest(name=f"workspaces/{workspace}/apiKeys/{key.rpartition('/')[2]}", reason=reason)
        async with as_operator(target(context)) as mesh:
            done = await mesh.api_keys.RevokeApiKey(request)
        errors.print(f"{done.name} is revoked")

    run(work)


@signing.command("list")
def list_signing_keys(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List the keys that sign tokens, the newest first."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            found = (await mesh.tokens.ListSigningKeys(tokens.ListSigningKeysRequest())).signing_keys
        show_rows(
            output,
            found,
            ("key", "state", "made", "leaves"),
            (
                (
                    each.name.partition("/")[2],
                    tokens.SigningKey.State.Name(each.state).removeprefix("STATE_").lower(),
                    moment(each.create_time),
                    moment(each.expire_time) if each.HasField("expire_time") else "",
                )
                for each in found
            ),
        )

    run(work)


@signing.command("rotate")
def rotate_signing_key(context: typer.Context) -> None:
    """Make a new key. It signs as soon as every verifier has it; no token stops working."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            made = await mesh.tokens.RotateSigningKey(tokens.RotateSigningKeyRequest())
        errors.print(f"{made.name} is published")

    run(work)


@signing.command("revoke")
def revoke_signing_key(
    context: typer.Context, key: Annotated[str, typer.Argument(help="Its id.")], reason: Why = ""
) -> None:
    """Revoke a key that is in wrong hands: everything that it signed ends at once."""

    async def work() -> None:
        request = tokens.RevokeSigningKeyRequest(name=f"signingKeys/{key.rpartition('/')[2]}", reason=reason)
        async with as_operator(target(context)) as mesh:
            done = await mesh.tokens.RevokeSigningKey(request)
        errors.print(f"revoked; {done.signing_key.name} signs now")

    run(work)


def _role(role: options_pb2.Role.ValueType) -> str:
    return options_pb2.Role.Name(role).removeprefix("ROLE_").lower().replace("_", "-")


def _state(key: pb.ApiKey) -> str:
    if key.HasField("revoke_time"):
        return "revoked"
    if not key.HasField("expire_time"):
        return "good"
    ended = key.expire_time.ToDatetime(UTC) <= datetime.now(UTC)
    return "ended" if ended else f"good until {moment(key.expire_time)}"
