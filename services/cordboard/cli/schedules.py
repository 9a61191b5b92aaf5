"""Jobs that are submitted again and again."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cordboard.cli.calls import connection_name, read_input
from cordboard.cli.jobs import PRIORITIES, Priority, chosen, full_name, short
from cordboard.cli.options import Environment, Output, target
from cordboard.cli.output import Format, show_fields, show_rows
from cordboard.cli.session import as_operator, as_workspace, run
from cordboard.client.paging import list_all
from cordboard.proxy.v1 import schedule_service_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Run calls by the clock.")

Name = Annotated[str, typer.Argument(metavar="SCHEDULE", help="WORKSPACE/SCHEDULE, or the whole resource name.")]


@app.command("create")
def create(
    context: typer.Context,
    schedule: Annotated[str, typer.Argument(help="Its id.")],
    cron: Annotated[str, typer.Argument(help="When: minute, hour, day, month, day of the week. '0 6 * * 1-5'.")],
    connection: Annotated[str, typer.Argument(help="WORKSPACE/CONNECTION, or the whole resource name.")],
    action: Annotated[str, typer.Argument(help="The action's id.")],
    field: Annotated[list[str] | None, typer.Argument(help="The input: NAME=VALUE, or NAME:=JSON.")] = None,
    body: Annotated[str, typer.Option("--input", help="The input as JSON, @FILE, or - for standard input.")] = "",
    zone: Annotated[str, typer.Option("--time-zone", help="Such as Europe/Berlin; UTC unless it is given.")] = "",
    priority: Priority = "normal",
    environment: Environment = "production",
    output: Output = Format.TABLE,
) -> None:
    """Create a schedule; its calls run as a member of the connection's workspace."""

    async def work() -> None:
        name = connection_name(connection)
        workspace = name.split("/")[1]
        request = pb.CreateScheduleRequest(
            parent=f"workspaces/{workspace}",
            schedule_id=schedule,
            schedule=pb.Schedule(
                connection=name,
                action=action,
                input_json=json.dumps(read_input(body, field or [])),
                cron=cron,
                time_zone=zone,
                priority=chosen(PRIORITIES, priority, "--priority"),
            ),
        )
        async with as_workspace(target(context), workspace, environment) as mesh:
            _show(output, await mesh.schedules.CreateSchedule(request))

    run(work)


@app.command("list")
def list_schedules(
    context: typer.Context,
    workspace: Annotated[str, typer.Argument(help="The workspace's id.")],
    output: Output = Format.TABLE,
) -> None:
    """List a workspace's schedules."""

    async def work() -> None:
        request = pb.ListSchedulesRequest(parent=f"workspaces/{workspace}")
        async with as_operator(target(context)) as mesh:
            found = await list_all(mesh.schedules.ListSchedules, request)
        show_rows(
            output,
            found,
            ("schedule", "cron", "time zone", "connection", "action", "next", "last job"),
            (
                (
                    short(each.name),
                    each.cron,
                    each.time_zone or "UTC",
                    each.connection.rpartition("/")[2],
                    each.action,
                    "paused" if each.paused else each.next_time.ToJsonString(),
                    short(each.last_job) if each.last_job else "",
                )
                for each in found
            ),
        )

    run(work)


@app.command("show")
def show(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Show a schedule with its input."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.GetScheduleRequest(name=full_name(name, "schedules"))
            _show(output, await mesh.schedules.GetSchedule(request))

    run(work)


@app.command("pause")
def pause(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Pause a schedule."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.PauseScheduleRequest(name=full_name(name, "schedules"))
            _show(output, await mesh.schedules.PauseSchedule(request))

    run(work)


@app.command("resume")
def resume(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Resume a schedule with its next time."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.ResumeScheduleRequest(name=full_name(name, "schedules"))
            _show(output, await mesh.schedules.ResumeSchedule(request))

    run(work)


@app.command("delete")
def delete(context: typer.Context, name: Name) -> None:
    """Delete a schedule. Jobs that it submitted stay."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            await mesh.schedules.DeleteSchedule(pb.DeleteScheduleRequest(name=full_name(name, "schedules")))
        typer.echo(f"deleted {name}")

    run(work)


def _show(output: Format, schedule: pb.Schedule) -> None:
    show_fields(
        output,
        schedule,
        {
            "schedule": schedule.name,
            "cron": f"{schedule.cron} ({schedule.time_zone or 'UTC'})",
            "call": f"{schedule.connection} {schedule.action}",
            "next": "paused" if schedule.paused else schedule.next_time.ToJsonString(),
            "last job": schedule.last_job,
            "runs as": schedule.submitter,
            "input": schedule.input_json,
        },
    )
