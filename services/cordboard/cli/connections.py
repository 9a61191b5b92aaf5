"""Connecting accounts."""

from __future__ import annotations

import asyncio
import json
import webbrowser
from typing import Annotated, Any

import typer

from cordboard.auth.v1 import connect_service_pb2 as connecting
from cordboard.auth.v1 import connection_service_pb2 as pb
from cordboard.cli.calls import connection_name
from cordboard.cli.failures import CommandFailed
from cordboard.cli.options import Environment, Output, Workspace, target
from cordboard.cli.output import Format, console, errors, show_fields, show_rows
from cordboard.cli.session import as_operator, as_workspace, run
from cordboard.client import Client
from cordboard.common.v1 import options_pb2
from cordboard.uqi.v1 import form_service_pb2 as forms

app = typer.Typer(no_args_is_help=True, help="Look at connections, and remove them.")
Name = Annotated[str, typer.Argument(help="WORKSPACE/CONNECTION.")]
POLL_SECONDS = 0.5
State = connecting.ConnectSession.State


def connect(
    context: typer.Context,
    integration: Annotated[str, typer.Argument(help="The integration's id.")],
    workspace: Workspace,
    environment: Environment = "production",
    scheme: Annotated[str, typer.Option(help="The way to sign in. Default: the definition's first.")] = "",
    name: Annotated[str, typer.Option("--id", help="The connection's id. Default: one is made.")] = "",
    value: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE of the sign-in form; what is missing is asked for. Repeatable."),
    ] = None,
    configure: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of a variable of the server's URL. Repeatable.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the vendor's page in a browser.")] = True,
    output: Output = Format.TABLE,
) -> None:
    """Connect an account of a workspace: by the vendor's page (OAuth), or by values that are asked for."""

    async def work() -> None:
        async with as_workspace(target(context), workspace, environment) as mesh:
            session = await mesh.connect.CreateConnectSession(
                connecting.CreateConnectSessionRequest(
                    parent=f"workspaces/{workspace}",
                    integration=f"integrations/{integration}",
                    auth_scheme=scheme,
                    environment=environment,
                    connection_id=name,
                    configuration=_pairs(configure or []),
                )
            )
            if session.authorization_url:
                made = await _by_page(mesh, session, browser=browser)
            else:
                values = await _values(mesh, session, _pairs(value or []))
                request = connecting.SubmitConnectSessionRequest(name=session.name)
                request.values.update(values)
                made = await mesh.connect.SubmitConnectSession(request)
        _show(output, made)

    run(work)


async def _by_page(mesh: Client, session: connecting.ConnectSession, *, browser: bool) -> pb.Connection:
    errors.print("Open this page and allow the access:")
    errors.print(session.authorization_url, markup=False, highlight=False, soft_wrap=True)
    if browser:
        webbrowser.open(session.authorization_url)
    with errors.status("waiting for the vendor's answer"):
        while session.state == State.STATE_PENDING:
            await asyncio.sleep(POLL_SECONDS)
            session = await mesh.connect.GetConnectSession(connecting.GetConnectSessionRequest(name=session.name))
    if session.state != State.STATE_CONNECTED:
        raise CommandFailed(
            f"not connected: {session.error or State.Name(session.state).removeprefix('STATE_').lower()}"
        )
    return await mesh.connections.GetConnection(pb.GetConnectionRequest(name=session.connection))


async def _values(mesh: Client, session: connecting.ConnectSession, given: dict[str, str]) -> dict[str, Any]:
    form = await mesh.forms.GetForm(
        forms.GetFormRequest(name=f"{session.integration}/forms/auth.{session.auth_scheme}")
    )
    properties = json.loads(form.json_schema).get("properties", {})
    unknown = set(given) - set(properties)
    if unknown:
        raise CommandFailed(f"the form has no {', '.join(sorted(unknown))}; it has: {', '.join(properties)}", 2)
    for name, schema in properties.items():
        if name not in given:
            secret = bool(schema.get("writeOnly")) or schema.get("format") == "password"
            given[name] = typer.prompt(schema.get("title") or name, hide_input=secret, err=True)
    return given


def set_oauth_client(
    context: typer.Context,
    integration: Annotated[str, typer.Argument(help="The integration's id.")],
    client_id: Annotated[str, typer.Option(help="The client id that the vendor gave.")],
    secret: Annotated[
        str,
        typer.Option(envvar="CORDBOARD_CLIENT_SECRET", prompt=True, hide_input=True, help="The secret it gave."),
    ],
    output: Output = Format.TABLE,
) -> None:
    """Set the OAuth client that workspaces use at an integration; prints the redirect URI to register."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            found = await mesh.connect.SetOAuthClient(
                connecting.SetOAuthClientRequest(
                    name=f"integrations/{integration}/oauthClient", client_id=client_id, client_secret=secret
                )
            )
        show_fields(output, found, {"client": found.client_id, "redirect URI": found.redirect_uri})

    run(work)


@app.command("list")
def list_connections(
    context: typer.Context,
    workspace: Annotated[str, typer.Argument(help="The workspace's id.")],
    output: Output = Format.TABLE,
) -> None:
    """List a workspace's connections."""

    async def work() -> None:
        found: list[pb.Connection] = []
        request = pb.ListConnectionsRequest(parent=f"workspaces/{workspace}", page_size=1000)
        async with as_operator(target(context)) as mesh:
            while True:
                page = await mesh.connections.ListConnections(request)
                found += page.connections
                if not page.next_page_token:
                    break
                request.page_token = page.next_page_token
        show_rows(
            output,
            found,
            ("id", "integration", "environment", "sign-in", "state", "generation"),
            (
                (
                    each.name.rpartition("/")[2],
                    each.integration.partition("/")[2],
                    each.environment,
                    each.auth_scheme,
                    _state(each),
                    each.credential_generation,
                )
                for each in found
            ),
        )

    run(work)


@app.command("show")
def show_connection(context: typer.Context, connection: Name, output: Output = Format.TABLE) -> None:
    """Show a connection, without its secrets."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            _show(
                output, await mesh.connections.GetConnection(pb.GetConnectionRequest(name=connection_name(connection)))
            )

    run(work)


@app.command("delete")
def delete_connection(context: typer.Context, connection: Name) -> None:
    """Remove a connection and its credential, here and at the vendor."""

    async def work() -> None:
        name = connection_name(connection)
        admin = (options_pb2.ROLE_WORKSPACE_ADMIN,)
        async with as_workspace(target(context), name.split("/")[1], "production", admin) as mesh:
            await mesh.connections.DeleteConnection(pb.DeleteConnectionRequest(name=name))
        console.print(f"deleted {name}")

    run(work)


def _show(output: Format, connection: pb.Connection) -> None:
    show_fields(
        output,
        connection,
        {
            "connection": connection.name,
            "integration": connection.integration,
            "environment": connection.environment,
            "sign-in": connection.auth_scheme,
            "state": _state(connection),
            "scopes": " ".join(connection.scopes),
            "generation": connection.credential_generation,
        },
    )


def _state(connection: pb.Connection) -> str:
    return pb.Connection.State.Name(connection.state).removeprefix("STATE_").lower().replace("_", " ")


def _pairs(given: list[str]) -> dict[str, str]:
    pairs = {}
    for each in given:
        name, separator, value = each.partition("=")
        if not separator or not name:
            raise CommandFailed(f"{each!r} is not NAME=VALUE", 2)
        pairs[name] = value
    return pairs
