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
from cordboard.common.v1 import options_pb2
from cordboard.uqi.v1.form_service_pb2 import GetFormRequest, ListFormsRequest

# The link is opened at once; the page goes on with a token of its own.
LINK_SECONDS: Final = 120
ADMIN: Final = (options_pb2.ROLE_WORKSPACE_ADMIN,)


def open_page(
    context: typer.Context,
    workspace: Workspace,
    integration: Annotated[
        str, typer.Argument(help="The integration's id. Default: the page lists those that the workspace may use.")
    ] = "",
    action: Annotated[str, typer.Option(help="The action's id. Default: the page lists the integration's.")] = "",
    connection: Annotated[str, typer.Option(help="The id of the connection to begin with.")] = "",
    settings: Annotated[
        bool,
        typer.Option("--settings", help="Begin with what the workspace sets for it, as an administrator of it."),
    ] = False,
    environment: Environment = "production",
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    output: Output = Format.TABLE,
) -> None:
    """Fill in the form of an action on a page in a browser, and call it, as a member of a workspace.

    With --settings: set its config variables there, as an administrator of the workspace; without an integration,
    switch integrations on and off for it.
    """

    async def work() -> None:
        if (action or connection) and not integration:
            raise CommandFailed("--action and --connection need an INTEGRATION", 2)
        if settings and action:
            raise CommandFailed("begin with --settings or with --action", 2)
        found = await endpoint(target(context))
        request = IssueTokenRequest(
            workspace=f"workspaces/{workspace}",
            environment=environment,
            roles=[*MEMBER, *(ADMIN if settings else ())],
            ttl=Duration(seconds=LINK_SECONDS),
        )
        async with found.client() as operator:
            issued = await operator.tokens.IssueToken(request)
        async with found.client(issued.access_token) as member:
            # What is not there is said here, and not on a page that has taken the link.
            if action or (settings and integration):
                form = "settings" if settings else f"action.{action}"
                await member.forms.GetForm(GetFormRequest(name=f"integrations/{integration}/forms/{form}"))
            elif integration:
                await member.forms.ListForms(ListFormsRequest(parent=f"integrations/{integration}", page_size=1))
            if connection:
                name = f"workspaces/{workspace}/connections/{connection}"
                await member.connections.GetConnection(GetConnectionRequest(name=name))
        begin = {"integration": integration, "action": action, "connection": connection}
        begin["settings"] = "1" if settings else ""
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
