"""Incidents: cuts off at once what may be in wrong hands."""

from __future__ import annotations

from typing import Annotated

import typer

from cordboard.auth.v1 import incident_service_pb2 as pb
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, moment, show_fields, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.client.paging import list_all

app = typer.Typer(no_args_is_help=True, help="Cut off a workspace, an integration or everything, and bring it back.")


@app.command("cut-off")
def cut_off(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Why, for the journal.")],
    workspace: Annotated[str, typer.Option("--workspace", "-w", help="A workspace's id.")] = "",
    integration: Annotated[str, typer.Option(help="An integration's slug.")] = "",
    everything: Annotated[bool, typer.Option("--everything", help="Every connection there is.")] = False,
    revoke: Annotated[
        bool, typer.Option(help="Have vendors revoke what they can; people connect those again afterwards.")
    ] = True,
    output: Output = Format.TABLE,
) -> None:
    """Cut off at once: nothing is leased any more, and the Proxy drops what it holds within a second."""

    async def work() -> None:
        request = pb.CutOffAccessRequest(
            workspace=f"workspaces/{workspace}" if workspace else "",
            integration=f"integrations/{integration}" if integration else "",
            everything=everything,
            reason=reason,
            revoke=revoke,
        )
        async with as_operator(target(context)) as mesh:
            _show(output, await mesh.incidents.CutOffAccess(request))

    run(work)


@app.command("restore")
def restore(
    context: typer.Context,
    cut_off_id: Annotated[str, typer.Argument(metavar="CUT_OFF", help="Its id, as `incident list` shows it.")],
    output: Output = Format.TABLE,
) -> None:
    """End a cut-off. What was not revoked works again."""

    async def work() -> None:
        request = pb.RestoreAccessRequest(name=f"cutOffs/{cut_off_id.removeprefix('cutOffs/')}")
        async with as_operator(target(context)) as mesh:
            _show(output, await mesh.incidents.RestoreAccess(request))

    run(work)


@app.command("list")
def list_cut_offs(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List cut-offs, the newest first."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            found = await list_all(mesh.incidents.ListCutOffs, pb.ListCutOffsRequest())
        show_rows(
            output,
            found,
            ("id", "workspace", "integration", "since", "until", "reason"),
            (
                (
                    each.name.removeprefix("cutOffs/"),
                    each.workspace or "all",
                    each.integration or "all",
                    moment(each.create_time),
                    moment(each.restore_time) if each.HasField("restore_time") else "it holds",
                    each.reason,
                )
                for each in found
            ),
        )

    run(work)


@app.command("alerts")
def list_alerts(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List alerts of mass reads, the newest first."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            found = await list_all(mesh.incidents.ListReadAlerts, pb.ListReadAlertsRequest())
        show_rows(
            output,
            found,
            ("time", "workspace", "caller", "connections", "seconds"),
            (
                (moment(each.create_time), each.workspace, each.caller, each.connection_count, each.seconds)
                for each in found
            ),
        )

    run(work)


def _show(output: Format, message: pb.CutOff) -> None:
    show_fields(
        output,
        message,
        {
            "cut-off": message.name,
            "workspace": message.workspace or "all",
            "integration": message.integration or "all",
            "connections": message.connection_count,
            "revocations queued": message.revocation_count,
            "reason": message.reason,
        },
    )
