"""Connecting accounts."""

from __future__ import annotations

import asyncio
import json
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from cordboard.auth.v1 import connect_link_service_pb2 as links
from cordboard.auth.v1 import connect_service_pb2 as connecting
from cordboard.auth.v1 import connection_service_pb2 as pb
from cordboard.catalog.v1 import catalog_service_pb2 as catalog_pb
from cordboard.cli.calls import connection_name
from cordboard.cli.failures import CommandFailed
from cordboard.cli.options import Environment, Output, Workspace, target
from cordboard.cli.output import Format, console, errors, marked, show_fields, show_rows
from cordboard.cli.session import as_operator, as_workspace, run
from cordboard.client import Client, CordboardError, InvalidRequest
from cordboard.client.paging import list_all
from cordboard.common.v1 import options_pb2
from cordboard.uqi.v1 import form_service_pb2 as forms

app = typer.Typer(no_args_is_help=True, help="Look at connections, and remove them.")
Name = Annotated[str, typer.Argument(help="WORKSPACE/CONNECTION.")]
POLL_SECONDS = 0.5
CHECK_POLLS = 50
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
    value_file: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FILE: the value is what the file holds, such as a key or a certificate. Repeatable."),
    ] = None,
    configure: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of a variable of the definition. Repeatable.")
    ] = None,
    configure_secret: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of a secret variable of the definition. Repeatable.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="A scope to ask for. Default: the definition's. Repeatable.")
    ] = None,
    page: Annotated[
        bool, typer.Option("--page", help="Print a link to the connect page, for whoever has the account, and wait.")
    ] = False,
    origin: Annotated[
        str, typer.Option(help="With --page: the only web origin that may show the page in a frame and hears of it.")
    ] = "",
    return_url: Annotated[str, typer.Option(help="With --page: where the person goes at the end.")] = "",
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    check: Annotated[bool, typer.Option(help="Make the definition's check call once it is connected.")] = True,
    output: Output = Format.TABLE,
) -> None:
    """Connect an account of a workspace: by the vendor's page, by a device code, or by values that are asked for."""

    async def work() -> None:
        given = _pairs(value or []) | _files(value_file or [])
        if page and given:
            raise CommandFailed("--page asks the person for values: leave out --value and --value-file", 2)
        if (origin or return_url) and not page:
            raise CommandFailed("--origin and --return-url need --page", 2)
        async with as_workspace(target(context), workspace, environment) as mesh:
            if page:
                wanted = links.CreateConnectLinkRequest(
                    parent=f"workspaces/{workspace}",
                    integration=f"integrations/{integration}",
                    auth_schemes=[scheme] if scheme else [],
                    environment=environment,
                    connection_id=name,
                    scopes=scope or [],
                    configuration=_pairs(configure or []),
                    secret_configuration=_pairs(configure_secret or []),
                    origin=origin,
                    return_url=return_url,
                )
                made = await _by_link(mesh, wanted, browser=browser)
                _show(output, await _checked(mesh, made) if check else made)
                return
            request = connecting.CreateConnectSessionRequest(
                parent=f"workspaces/{workspace}",
                integration=f"integrations/{integration}",
                auth_scheme=scheme,
                environment=environment,
                connection_id=name,
                scopes=scope or [],
                configuration=_pairs(configure or []),
                secret_configuration=_pairs(configure_secret or []),
            )
            session = await _begun(mesh, request, given)
            if session.authorization_url or session.user_code:
                made = await _by_page(mesh, session, browser=browser)
            else:
                values = await _values(mesh, session, given)
                submit = connecting.SubmitConnectSessionRequest(name=session.name)
                submit.values.update(values)
                made = await mesh.connect.SubmitConnectSession(submit)
            if check:
                made = await _checked(mesh, made)
        _show(output, made)

    run(work)


async def _begun(
    mesh: Client, request: connecting.CreateConnectSessionRequest, given: dict[str, str]
) -> connecting.ConnectSession:
    """Begins to connect. Where the scheme takes values before the person consents, they are asked for."""
    try:
        return await mesh.connect.CreateConnectSession(request)
    except InvalidRequest as error:
        asked = [each.field.removeprefix("values.") for each in error.violations if each.field.startswith("values.")]
        if not asked or len(asked) != len(error.violations):
            raise
    for field in asked:
        if field not in given:
            given[field] = typer.prompt(field, hide_input=True, err=True)
    request.values.update(given)
    return await mesh.connect.CreateConnectSession(request)


async def _by_page(mesh: Client, session: connecting.ConnectSession, *, browser: bool) -> pb.Connection:
    page = session.authorization_url or session.verification_uri_complete or session.verification_uri
    errors.print("Open this page and allow the access:")
    errors.print(session.verification_uri or page, highlight=False, soft_wrap=True)
    if session.user_code:
        errors.print(Text.assemble("and type in this code: ", (session.user_code, "bold")))
    if browser:
        webbrowser.open(page)
    with errors.status("waiting for the vendor's answer"):
        while session.state == State.STATE_PENDING:
            await asyncio.sleep(POLL_SECONDS)
            session = await mesh.connect.GetConnectSession(connecting.GetConnectSessionRequest(name=session.name))
    if session.state != State.STATE_CONNECTED:
        raise CommandFailed(
            f"not connected: {session.error or State.Name(session.state).removeprefix('STATE_').lower()}"
        )
    return await mesh.connections.GetConnection(pb.GetConnectionRequest(name=session.connection))


async def _by_link(mesh: Client, wanted: links.CreateConnectLinkRequest, *, browser: bool) -> pb.Connection:
    link = await mesh.connect_links.CreateConnectLink(wanted)
    errors.print("Open this page, or send it to whoever has the account; it works once, for half an hour:")
    errors.print(link.url, highlight=False, soft_wrap=True)
    if browser:
        webbrowser.open(link.url)
    with errors.status("waiting for the person"):
        while link.state == links.ConnectLink.STATE_PENDING:
            await asyncio.sleep(POLL_SECONDS)
            link = await mesh.connect_links.GetConnectLink(links.GetConnectLinkRequest(name=link.name))
    if link.state != links.ConnectLink.STATE_CONNECTED:
        raise CommandFailed(f"not connected: {link.error or 'nobody came in time'}")
    return await mesh.connections.GetConnection(pb.GetConnectionRequest(name=link.connection))


async def _checked(mesh: Client, made: pb.Connection) -> pb.Connection:
    """Makes the definition's check call, and returns the connection as it is after it."""
    if made.state != pb.Connection.STATE_UNVERIFIED:
        return made
    version = await mesh.catalog.GetDefinitionVersion(
        catalog_pb.GetDefinitionVersionRequest(name=f"{made.integration}/versions/active")
    )
    try:
        await mesh.execute(made.name, version.definition.check_action, {})
    except CordboardError as error:
        errors.print(marked("yellow", "the check call failed:", error.message))
    get = pb.GetConnectionRequest(name=made.name)
    # The news goes its own way from the Proxy to Auth.
    for _ in range(CHECK_POLLS):
        made = await mesh.connections.GetConnection(get)
        if made.state != pb.Connection.STATE_UNVERIFIED:
            break
        await asyncio.sleep(POLL_SECONDS / 5)
    return made


async def _values(mesh: Client, session: connecting.ConnectSession, given: dict[str, str]) -> dict[str, Any]:
    form = await mesh.forms.GetForm(
        forms.GetFormRequest(name=f"{session.integration}/forms/auth.{session.auth_scheme}")
    )
    schema = json.loads(form.json_schema)
    properties = schema.get("properties", {})
    unknown = set(given) - set(properties)
    if unknown:
        raise CommandFailed(f"the form has no {', '.join(sorted(unknown))}; it has: {', '.join(properties)}", 2)
    for name, about in properties.items():
        if name not in given and name in schema.get("required", []):
            secret = bool(about.get("writeOnly")) or about.get("format") == "password"
            given[name] = typer.prompt(about.get("title") or name, hide_input=secret, err=True)
    return given


def _files(given: list[str]) -> dict[str, str]:
    found = {}
    for name, path in _pairs(given).items():
        try:
            found[name] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise CommandFailed(f"{path} cannot be read as text", 2) from None
    return found


def set_oauth_client(
    context: typer.Context,
    integration: Annotated[str, typer.Argument(help="The integration's id.")],
    client_id: Annotated[str, typer.Option(help="The client id that the vendor gave.")],
    secret: Annotated[
        str,
        typer.Option(envvar="CORDBOARD_CLIENT_SECRET", prompt=True, hide_input=True, help="The secret it gave."),
    ],
    workspace: Annotated[
        str, typer.Option("--workspace", "-w", help="Only for this workspace, in place of the platform's client.")
    ] = "",
    output: Output = Format.TABLE,
) -> None:
    """Set the OAuth client that workspaces use at an integration; prints the redirect URI to register."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            if workspace:
                own = await mesh.connect.SetWorkspaceOAuthClient(
                    connecting.SetWorkspaceOAuthClientRequest(
                        name=f"workspaces/{workspace}/integrations/{integration}/oauthClient",
                        client_id=client_id,
                        client_secret=secret,
                    )
                )
                show_fields(output, own, {"client": own.client_id, "redirect URI": own.redirect_uri})
                return
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
        request = pb.ListConnectionsRequest(parent=f"workspaces/{workspace}")
        async with as_operator(target(context)) as mesh:
            found: list[pb.Connection] = await list_all(mesh.connections.ListConnections, request)
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


@app.command("configure")
def configure_workspace(
    context: typer.Context,
    integration: Annotated[str, typer.Argument(help="The integration's id.")],
    workspace: Annotated[str, typer.Option("--workspace", "-w", help="The workspace's id.")],
    value: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of a variable. Repeatable.")] = None,
    secret: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of a secret variable; NAME= keeps what is set. Repeatable.")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Set all variables that a workspace's connections to an integration share; without any, show them."""

    async def work() -> None:
        name = f"workspaces/{workspace}/integrations/{integration}/configuration"
        async with as_operator(target(context)) as mesh:
            if value or secret:
                found = await mesh.connections.SetWorkspaceConfiguration(
                    pb.SetWorkspaceConfigurationRequest(
                        name=name, values=_pairs(value or []), secret_values=_pairs(secret or [])
                    )
                )
            else:
                found = await mesh.connections.GetWorkspaceConfiguration(pb.GetWorkspaceConfigurationRequest(name=name))
        show_fields(output, found, {**found.values, **dict.fromkeys(found.secret_names, "(secret)")})

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
            **({"problem": connection.problem} if connection.problem else {}),
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
