"""What happened at vendors."""

from __future__ import annotations

from typing import Annotated

import typer

from cordboard.cli import subscriptions, triggers
from cordboard.cli.calls import connection_name
from cordboard.cli.jobs import full_name, short
from cordboard.cli.options import Environment, Output, target
from cordboard.cli.output import Format, show_fields, show_rows
from cordboard.cli.session import as_operator, as_workspace, endpoint, run
from cordboard.client.paging import list_all
from cordboard.proxy.v1 import event_service_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="See what happened at vendors, and have it handed on.")
endpoints = typer.Typer(no_args_is_help=True, help="The addresses that vendors send webhooks to.")
app.add_typer(endpoints, name="endpoints")
app.add_typer(subscriptions.app, name="subscriptions")
app.add_typer(triggers.app, name="triggers")

Workspace = Annotated[str, typer.Argument(help="The workspace's id.")]


@endpoints.command("create")
def create_endpoint(
    context: typer.Context,
    endpoint_id: Annotated[str, typer.Argument(metavar="ID", help="The address's id.")],
    connection: Annotated[str, typer.Argument(help="WORKSPACE/CONNECTION, or the whole resource name.")],
    environment: Environment = "production",
    output: Output = Format.TABLE,
) -> None:
    """Create an address for a connection's webhooks. It is shown once: tell it to the vendor."""

    async def work() -> None:
        name = connection_name(connection)
        workspace = name.split("/")[1]
        request = pb.CreateWebhookEndpointRequest(
            parent=f"workspaces/{workspace}", endpoint_id=endpoint_id, connection=name
        )
        async with as_workspace(target(context), workspace, environment) as mesh:
            made = await mesh.events.CreateWebhookEndpoint(request)
        where = await endpoint(target(context))
        address = f"https://{where.address}{made.path}"
        show_fields(output, made, {"endpoint": made.endpoint.name, "connection": name, "address": address})

    run(work)


@endpoints.command("list")
def list_endpoints(context: typer.Context, workspace: Workspace, output: Output = Format.TABLE) -> None:
    """List a workspace's addresses, without the addresses themselves."""

    async def work() -> None:
        request = pb.ListWebhookEndpointsRequest(parent=f"workspaces/{workspace}")
        async with as_operator(target(context)) as mesh:
            found = await list_all(mesh.events.ListWebhookEndpoints, request)
        show_rows(
            output,
            found,
            ("endpoint", "connection", "integration", "created"),
            (
                (
                    short(each.name),
                    each.connection.rpartition("/")[2],
                    each.integration,
                    each.create_time.ToJsonString(),
                )
                for each in found
            ),
        )

    run(work)


@endpoints.command("delete")
def delete_endpoint(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ENDPOINT", help="WORKSPACE/ID, or the whole resource name.")],
) -> None:
    """Delete an address; nothing that is sent there is taken any more."""

    async def work() -> None:
        request = pb.DeleteWebhookEndpointRequest(name=full_name(name, "webhookEndpoints"))
        async with as_operator(target(context)) as mesh:
            await mesh.events.DeleteWebhookEndpoint(request)

    run(work)


@app.command("list")
def list_events(
    context: typer.Context,
    workspace: Workspace,
    connection: Annotated[str, typer.Option(help="Only those of WORKSPACE/CONNECTION.")] = "",
    drifted: Annotated[bool, typer.Option("--drifted", help="Only those that are not as their schema says.")] = False,
    count: Annotated[int, typer.Option("--lines", "-n", help="How many.")] = 20,
    output: Output = Format.TABLE,
) -> None:
    """List a workspace's latest events, newest first."""

    async def work() -> None:
        request = pb.ListEventsRequest(
            parent=f"workspaces/{workspace}",
            page_size=count,
            connection=connection_name(connection) if connection else "",
            drifted=drifted,
        )
        async with as_operator(target(context)) as mesh:
            found = (await mesh.events.ListEvents(request)).events
        show_rows(
            output,
            found,
            ("event", "type", "id", "order", "time", "drift"),
            (
                (
                    short(each.name),
                    each.type,
                    each.id,
                    each.ordering_key,
                    each.time.ToJsonString(),
                    ", ".join(each.drift),
                )
                for each in found
            ),
        )

    run(work)


@app.command("show")
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="EVENT", help="WORKSPACE/OFFSET, or the whole resource name.")],
    output: Output = Format.TABLE,
) -> None:
    """Show an event with its data."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            event = await mesh.events.GetEvent(pb.GetEventRequest(name=full_name(name, "events")))
        show_fields(
            output,
            event,
            {
                "event": event.name,
                "id": event.id,
                "type": event.type,
                "source": event.source,
                "time": event.time.ToJsonString(),
                "schema": event.data_schema,
                "order": event.ordering_key,
                "drift": ", ".join(event.drift),
                "trace": event.trace_id,
                "data": event.data_json,
            },
        )

    run(work)
