"""Tenants and their tokens."""

from __future__ import annotations

import base64
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from google.protobuf.duration_pb2 import Duration

from cordboard.auth.v1 import token_service_pb2 as tokens
from cordboard.auth.v1 import workspace_service_pb2 as pb
from cordboard.cli.failures import CommandFailed
from cordboard.cli.options import Environment, Output, target
from cordboard.cli.output import Format, show_fields, show_json, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.client.paging import list_all
from cordboard.common.v1 import options_pb2

app = typer.Typer(no_args_is_help=True, help="Make and look at workspaces, the tenants of the mesh.")


class Role(StrEnum):
    """What a token may carry."""

    READER = "reader"
    MEMBER = "member"
    WORKSPACE_ADMIN = "workspace-admin"
    PUBLISHER = "publisher"
    OPERATOR = "operator"

    @property
    def value_type(self) -> options_pb2.Role.ValueType:
        """Returns the role as the API has it."""
        return options_pb2.Role.Value(f"ROLE_{self.name}")


@app.command("create")
def create_workspace(
    context: typer.Context,
    workspace: Annotated[str, typer.Argument(help="Its id.")],
    tier: Annotated[str, typer.Option(help="The customer's tier, such as `business`.")],
    customer: Annotated[str, typer.Option(help="The customer who owns it.")] = "",
    region: Annotated[str, typer.Option(help="Where its data lives.")] = "",
    title: Annotated[str, typer.Option(help="What people call it.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Create a workspace."""

    async def work() -> None:
        request = pb.CreateWorkspaceRequest(
            workspace_id=workspace,
            workspace=pb.Workspace(display_name=title, customer=customer or workspace, tier=tier, region=region),
        )
        async with as_operator(target(context)) as mesh:
            _show(output, await mesh.workspaces.CreateWorkspace(request))

    run(work)


@app.command("show")
def show_workspace(
    context: typer.Context, workspace: Annotated[str, typer.Argument(help="Its id.")], output: Output = Format.TABLE
) -> None:
    """Show a workspace."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.GetWorkspaceRequest(name=f"workspaces/{workspace}")
            _show(output, await mesh.workspaces.GetWorkspace(request))

    run(work)


@app.command("list")
def list_workspaces(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List workspaces."""

    async def work() -> None:
        request = pb.ListWorkspacesRequest()
        async with as_operator(target(context)) as mesh:
            found: list[pb.Workspace] = await list_all(mesh.workspaces.ListWorkspaces, request)
        show_rows(
            output,
            found,
            ("id", "title", "customer", "tier", "region"),
            ((each.name.partition("/")[2], each.display_name, each.customer, each.tier, each.region) for each in found),
        )

    run(work)


def token(
    context: typer.Context,
    workspace: Annotated[str, typer.Option("--workspace", "-w", help="The workspace; none: an operator's token.")] = "",
    environment: Environment = "production",
    role: Annotated[list[Role] | None, typer.Option(help="A role it carries. Repeatable. Default: member.")] = None,
    minutes: Annotated[int, typer.Option(help="How long it lives.", min=1, max=720)] = 15,
    subject: Annotated[str, typer.Option(help="Who it is for.")] = "",
    bind_to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A client certificate as PEM: without it the token is worth nothing (RFC 8705).",
        ),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Issue a token and print it. With no workspace it is an operator's."""

    async def work() -> None:
        ttl = Duration()
        ttl.FromTimedelta(timedelta(minutes=minutes))
        request = tokens.IssueTokenRequest(
            workspace=f"workspaces/{workspace}" if workspace else "",
            environment=environment if workspace else "",
            roles=[each.value_type for each in role or [Role.MEMBER if workspace else Role.OPERATOR]],
            subject=subject,
            ttl=ttl,
            certificate_thumbprint="" if bind_to is None else _thumbprint(bind_to),
        )
        async with as_operator(target(context)) as mesh:
            issued = await mesh.tokens.IssueToken(request)
        if output is Format.JSON:
            show_json(
                {
                    "accessToken": issued.access_token,
                    "expireTime": issued.expire_time.ToJsonString(),
                    "tokenType": "Bearer",
                }
            )
        else:
            typer.echo(issued.access_token)

    run(work)


def _thumbprint(file: Path) -> str:
    try:
        leaf = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError) as error:
        raise CommandFailed(f"{file} is no certificate as PEM: {error}", 2) from None
    return base64.urlsafe_b64encode(leaf.fingerprint(hashes.SHA256())).rstrip(b"=").decode()


def _show(output: Format, workspace: pb.Workspace) -> None:
    show_fields(
        output,
        workspace,
        {
            "workspace": workspace.name,
            "title": workspace.display_name,
            "customer": workspace.customer,
            "tier": workspace.tier,
            "region": workspace.region,
        },
    )
