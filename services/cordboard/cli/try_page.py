"""Trying an action by hand, in a browser."""

from __future__ import annotations

import webbrowser
from typing import Annotated, Final
from urllib.parse import urlencode

import typer
from google.protobuf.duration_pb2 import Duration

from cordboard.auth.v1.connection_service_pb2 import GetConnectionRequest
from cordboard.auth.v1.token_service_pb2 import IssueTokenRequest
from cordboard.cli.failures import CommandFailed
from cordboard.cli.options import Environment, Output, Workspace, target
from cordboard.cli.output import Format, errors, show_json
from cordboard.cli.session import MEMBER, endpoint, run
from cordboard.uqi.v1.form_service_pb2 import GetFormRequest, ListFormsRequest

# The link is opened at once; the page goes on with a token of its own.
LINK_SECONDS: Final = 120


def open_page(
    context: typer.Context,
    workspace: Workspace,
    integration: Annotated[
        str, typer.Argument(help="The integration's id. Default: the page lists those that the workspace may use.")
    ] = "",
    action: Annotated[str, typer.Option(help="The action's id. Default: the page lists the integration's.")] = "",
    connection: Annotated[str, typer.Option(help="The id of the connection to begin with.")] = "",
    environment: Environment = "production",
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    output: Output = Format.TABLE,
) -> None:
    """Fill in the form of an action on a page in a browser, and call it, as a member of a workspace."""

    async def work() -> None:
        if (action or connection) and not integration:
            raise CommandFailed("--action and --connection need an INTEGRATION", 2)
        found = await endpoint(target(context))
        request = IssueTokenRequest(
            workspace=f"workspaces/{workspace}",
            environment=environment,
            roles=list(MEMBER),
            ttl=Duration(seconds=LINK_SECONDS),
        )
        async with found.client() as operator:
            issued = await operator.tokens.IssueToken(request)
        async with found.client(issued.access_token) as member:
            # What is not there is said here, and not on a page that has taken the link.
            if action:
                await member.forms.GetForm(GetFormRequest(name=f"integrations/{integration}/forms/action.{action}"))
            elif integration:
                await member.forms.ListForms(ListFormsRequest(parent=f"integrations/{integration}", page_size=1))
            if connection:
                name = f"workspaces/{workspace}/connections/{connection}"
                await member.connections.GetConnection(GetConnectionRequest(name=name))
        begin = {"integration": integration, "action": action, "connection": connection}
        said = {name: value for name, value in begin.items() if value}
        host = found.address.removesuffix(":443")
        # What follows the # is sent to nobody.
        url = f"https://{host}/try#{urlencode({**said, 'token': issued.access_token})}"
        if output is Format.JSON:
            show_json({"url": url, "expireTime": issued.expire_time.ToJsonString()})
        else:
            errors.print("Open this page within two minutes, and give the link to nobody: it acts for the workspace.")
            typer.echo(url)
        if browser:
            webbrowser.open(url)

    run(work)
