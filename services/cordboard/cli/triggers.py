"""Events of vendors that send no webhooks."""

from __future__ import annotations

from typing import Annotated

import typer

from cordboard.cli.calls import connection_name
from cordboard.cli.jobs import full_name, short
from cordboard.cli.options import Environment, Output, target
from cordboard.cli.output import Format, show_fields, show_rows
from cordboard.cli.session import as_operator, as_workspace, run
from cordboard.client.paging import list_all
from cordboard.core.times import to_duration
from cordboard.proxy.v1 import polling_trigger_service_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Have vendors asked for what is new, again and again.")

Name = Annotated[str, typer.Argument(metavar="TRIGGER", help="WORKSPACE/ID, or the whole resource name.")]
COLLECTION = "pollingTriggers"


@app.command("create")
def create(
    context: typer.Context,
    trigger: Annotated[str, typer.Argument(help="Its id.")],
    connection: Annotated[str, typer.Argument(help="WORKSPACE/CONNECTION, or the whole resource name.")],
    event_type: Annotated[str, typer.Argument(help="The id of the event type.")],
    every: Annotated[float, typer.Option(help="Seconds between two turns; as the definition says unless given.")] = 0,
    environment: Environment = "production",
    output: Output = Format.TABLE,
) -> None:
    """Create a trigger; it asks as a member of the connection's workspace."""

    async def work() -> None:
        name = connection_name(connection)
        workspace = name.split("/")[1]
        wanted = pb.PollingTrigger(
            connection=name, event_type=event_type, interval=to_duration(every) if every else None
        )
        request = pb.CreatePollingTriggerRequest(parent=f"workspaces/{workspace}", trigger_id=trigger, trigger=wanted)
        async with as_workspace(target(context), workspace, environment) as mesh:
            made = await mesh.polling_triggers.CreatePollingTrigger(request)
        show_fields(output, made, _fields(made))

    run(work)


@app.command("list")
def list_triggers(
    context: typer.Context,
    workspace: Annotated[str, typer.Argument(help="The workspace's id.")],
    output: Output = Format.TABLE,
) -> None:
    """List a workspace's triggers, and how each went last."""

    async def work() -> None:
        request = pb.ListPollingTriggersRequest(parent=f"workspaces/{workspace}")
        async with as_operator(target(context)) as mesh:
            found = await list_all(mesh.polling_triggers.ListPollingTriggers, request)
        show_rows(
            output,
            found,
            ("trigger", "connection", "event type", "every", "last", "failures", "reason"),
            (
                (
                    short(each.name),
                    each.connection.rpartition("/")[2],
                    each.event_type,
                    f"{each.interval.ToSeconds()} s",
                    each.last_time.ToJsonString() if each.HasField("last_time") else "",
                    str(each.failures),
                    each.error_reason,
                )
                for each in found
            ),
        )

    run(work)


@app.command("show")
def show(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Show a trigger."""

    async def work() -> None:
        request = pb.GetPollingTriggerRequest(name=full_name(name, COLLECTION))
        async with as_operator(target(context)) as mesh:
            found = await mesh.polling_triggers.GetPollingTrigger(request)
        show_fields(output, found, _fields(found))

    run(work)


@app.command("delete")
def delete(context: typer.Context, name: Name) -> None:
    """Delete a trigger with what it remembers. Events that it found stay."""

    async def work() -> None:
        request = pb.DeletePollingTriggerRequest(name=full_name(name, COLLECTION))
        async with as_operator(target(context)) as mesh:
            await mesh.polling_triggers.DeletePollingTrigger(request)

    run(work)


def _fields(found: pb.PollingTrigger) -> dict[str, object]:
    return {
        "trigger": found.name,
        "connection": found.connection,
        "event type": found.event_type,
        "every": f"{found.interval.ToSeconds()} s",
        "next": found.next_time.ToJsonString(),
        "last": found.last_time.ToJsonString() if found.HasField("last_time") else "",
        "failures": found.failures,
        "reason": found.error_reason,
        "for": found.submitter,
    }
