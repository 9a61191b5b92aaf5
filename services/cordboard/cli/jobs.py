"""Calls that run later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, TypeVar

import typer

from cordboard.cli.calls import connection_name, read_input
from cordboard.cli.options import Environment, Output, target
from cordboard.cli.output import Format, errors, show_fields, show_rows
from cordboard.cli.session import as_operator, as_workspace, run
from cordboard.proxy.v1 import job_service_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Submit calls that run later, and see how far they are.")

PRIORITIES = {"low": pb.JOB_PRIORITY_LOW, "normal": pb.JOB_PRIORITY_NORMAL, "high": pb.JOB_PRIORITY_HIGH}
STATES = {name.removeprefix("STATE_").lower(): number for name, number in pb.Job.State.items() if number}

T = TypeVar("T")
Name = Annotated[str, typer.Argument(metavar="JOB", help="WORKSPACE/JOB, or the whole resource name.")]
Priority = Annotated[str, typer.Option(help="low, normal or high.")]


@app.command("submit")
def submit(
    context: typer.Context,
    connection: Annotated[str, typer.Argument(help="WORKSPACE/CONNECTION, or the whole resource name.")],
    action: Annotated[str, typer.Argument(help="The action's id.")],
    field: Annotated[list[str] | None, typer.Argument(help="The input: NAME=VALUE, or NAME:=JSON.")] = None,
    body: Annotated[str, typer.Option("--input", help="The input as JSON, @FILE, or - for standard input.")] = "",
    idempotency_key: Annotated[str, typer.Option(help="Makes the job, and its call, at most once.")] = "",
    priority: Priority = "normal",
    ordering_key: Annotated[str, typer.Option(help="Jobs of one key run one after the other.")] = "",
    max_attempts: Annotated[int, typer.Option(help="How often it may be tried; 0: 10 times.")] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it until it has ended.")] = False,
    environment: Environment = "production",
    output: Output = Format.TABLE,
) -> None:
    """Submit a call as a member of the connection's workspace. It is kept when this returns."""

    async def work() -> None:
        name = connection_name(connection)
        request = pb.SubmitJobRequest(
            connection=name,
            action=action,
            input_json=json.dumps(read_input(body, field or [])),
            idempotency_key=idempotency_key,
            priority=chosen(PRIORITIES, priority, "--priority"),
            ordering_key=ordering_key,
            max_attempts=max_attempts,
        )
        async with as_workspace(target(context), name.split("/")[1], environment) as mesh:
            job = await mesh.jobs.SubmitJob(request)
            if wait:
                async for told in mesh.jobs.WatchJob(pb.WatchJobRequest(name=job.name)):
                    errors.print(state_of(told.job), style="dim")
                job = await mesh.jobs.GetJob(pb.GetJobRequest(name=job.name))
        show_job(output, job)

    run(work)


@app.command("list")
def list_jobs(
    context: typer.Context,
    workspace: Annotated[str, typer.Argument(help="The workspace's id.")],
    state: Annotated[str, typer.Option(help=f"Only those that are {', '.join(STATES)}.")] = "",
    count: Annotated[int, typer.Option("--lines", "-n", help="How many.")] = 20,
    output: Output = Format.TABLE,
) -> None:
    """List a workspace's latest jobs, newest first."""

    async def work() -> None:
        wanted = chosen(STATES, state, "--state") if state else pb.Job.STATE_UNSPECIFIED
        request = pb.ListJobsRequest(parent=f"workspaces/{workspace}", page_size=count, state=wanted)
        async with as_operator(target(context)) as mesh:
            found = (await mesh.jobs.ListJobs(request)).jobs
        show_rows(
            output,
            found,
            ("job", "connection", "action", "state", "attempts", "due", "reason"),
            (
                (
                    short(each.name),
                    each.connection.rpartition("/")[2],
                    each.action,
                    state_of(each),
                    f"{each.attempts}/{each.max_attempts}",
                    each.due_time.ToJsonString(),
                    each.error_reason,
                )
                for each in found
            ),
        )

    run(work)


@app.command("show")
def show(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Show a job, with what the vendor gave."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            show_job(output, await mesh.jobs.GetJob(pb.GetJobRequest(name=full_name(name, "jobs"))))

    run(work)


@app.command("watch")
def watch(context: typer.Context, name: Name) -> None:
    """Follow a job until it has ended."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            async for told in mesh.jobs.WatchJob(pb.WatchJobRequest(name=full_name(name, "jobs"))):
                job = told.job
                typer.echo(f"{state_of(job)}  attempt {job.attempts}  {job.error_reason}".rstrip())

    run(work)


@app.command("cancel")
def cancel(context: typer.Context, name: Name, output: Output = Format.TABLE) -> None:
    """Cancel a job that has not begun, or keep one that runs from being tried again."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            show_job(output, await mesh.jobs.CancelJob(pb.CancelJobRequest(name=full_name(name, "jobs"))))

    run(work)


def show_job(output: Format, job: pb.Job) -> None:
    """Prints a job."""
    show_fields(
        output,
        job,
        {
            "job": job.name,
            "call": f"{job.connection} {job.action}",
            "state": state_of(job),
            "attempts": f"{job.attempts} of {job.max_attempts}",
            "error": f"{job.error_reason}: {job.error_message}" if job.error_reason else "",
            "HTTP": job.vendor_status or "",
            "due": job.due_time.ToJsonString() if not job.HasField("end_time") else "",
            "ended": job.end_time.ToJsonString() if job.HasField("end_time") else "",
            "ordering key": job.ordering_key,
            "idempotency key": job.idempotency_key,
            "schedule": job.schedule,
            "trace": job.trace_id,
            "submitted in trace": job.submit_trace_id,
            "output": job.output_json or (f"{len(job.output_bytes)} bytes" if job.output_bytes else ""),
        },
    )


def state_of(job: pb.Job) -> str:
    """Returns a job's state in a word."""
    return pb.Job.State.Name(job.state).removeprefix("STATE_").lower()


def short(name: str) -> str:
    """Returns `acme/ID` of a resource name in a workspace."""
    parts = name.split("/")
    return f"{parts[1]}/{parts[3]}"


def full_name(given: str, collection: str) -> str:
    """Returns the resource name of `acme/ID`; raises typer.BadParameter."""
    parts = given.split("/")
    if len(parts) == 2:
        return f"workspaces/{parts[0]}/{collection}/{parts[1]}"
    if len(parts) == 4 and parts[0] == "workspaces" and parts[2] == collection:
        return given
    raise typer.BadParameter(f"{given!r} is not a name: write WORKSPACE/ID")


def chosen(known: Mapping[str, T], given: str, option: str) -> T:
    """Returns what a word stands for; raises typer.BadParameter."""
    if given not in known:
        raise typer.BadParameter(f"{option} must be one of {', '.join(known)}")
    return known[given]
