"""Which way calls take to a vendor, and how a workspace moves from one to another."""

from __future__ import annotations

from typing import Annotated

import typer

from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, moment, show_fields, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.client.paging import list_all
from cordboard.proxy.v1 import backend_service_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Choose the way to a vendor, compare two, and move calls over and back.")

Workspace = Annotated[str, typer.Argument(help="The workspace's id.")]
Integration = Annotated[str, typer.Argument(help="The integration's slug.")]
Answers = Annotated[bool, typer.Option("--answers", help="It answers from the first call on.")]
Compare = Annotated[float, typer.Option(help="The share of reads to compare, from 0 to 1.")]
Etag = Annotated[str, typer.Option(help="Only where the route still has this etag.")]


@app.command("list")
def list_routes(context: typer.Context, workspace: Workspace, output: Output = Format.TABLE) -> None:
    """List a workspace's routes; an integration that is not there is called directly."""

    async def work() -> None:
        request = pb.ListBackendRoutesRequest(parent=f"workspaces/{workspace}")
        async with as_operator(target(context)) as mesh:
            found = await list_all(mesh.backends.ListBackendRoutes, request)
        columns = ("integration", "answers", "candidate", "compared", "cut over")
        rows = [
            (
                one.name.rpartition("/")[2],
                _shown(one.primary),
                _shown(one.candidate) if one.HasField("candidate") else "",
                f"{one.shadow_rate:.0%}" if one.shadow_rate else "",
                moment(one.cut_over_time) if one.HasField("cut_over_time") else "",
            )
            for one in found
        ]
        show_rows(output, found, columns, rows)

    run(work)


@app.command("show")
def show(context: typer.Context, workspace: Workspace, integration: Integration, output: Output = Format.TABLE) -> None:
    """Show a route."""

    async def work() -> None:
        request = pb.GetBackendRouteRequest(name=_name(workspace, integration))
        async with as_operator(target(context)) as mesh:
            _show(output, await mesh.backends.GetBackendRoute(request))

    run(work)


@app.command("gateway")
def through_gateway(
    context: typer.Context,
    workspace: Workspace,
    integration: Integration,
    connection: Annotated[str, typer.Argument(help="The id of the workspace's connection at the gateway.")],
    name: Annotated[str, typer.Option(help="What the gateway calls the integration; its slug unless given.")] = "",
    account: Annotated[
        list[str] | None,
        typer.Option(help="CONNECTION=NAME: what the gateway calls a connection of the workspace. Repeatable."),
    ] = None,
    only: Annotated[
        str, typer.Option(help="The accounts are at the gateway alone: the environment that they are of.")
    ] = "",
    answers: Answers = False,
    compare: Compare = 0.0,
    output: Output = Format.TABLE,
) -> None:
    """Make the proxy of an integration vendor the candidate of a route, or what answers where there is no route yet."""
    backend = pb.Backend(
        gateway=pb.GatewayBackend(connection=f"workspaces/{workspace}/connections/{connection}", integration=name),
        connections=_accounts(account, only),
    )
    _put(context, _name(workspace, integration), backend, answers=answers, compare=compare, output=output)


@app.command("hub")
def at_the_hub(
    context: typer.Context,
    workspace: Workspace,
    integration: Integration,
    account: Annotated[
        list[str] | None,
        typer.Option(help="CONNECTION=NAME: the id at the hub of a connection of the workspace. Repeatable."),
    ] = None,
    only: Annotated[
        str, typer.Option(help="The accounts are at the hub alone: the environment that they are of.")
    ] = "",
    answers: Answers = False,
    compare: Compare = 0.0,
    output: Output = Format.TABLE,
) -> None:
    """Make the hub that this edge follows the candidate of a route, or what answers where there is no route yet."""
    backend = pb.Backend(hub=pb.HubBackend(), connections=_accounts(account, only))
    _put(context, _name(workspace, integration), backend, answers=answers, compare=compare, output=output)


@app.command("direct")
def directly(
    context: typer.Context,
    workspace: Workspace,
    integration: Integration,
    compare: Compare = 0.0,
    output: Output = Format.TABLE,
) -> None:
    """Make the vendor itself the candidate of a route."""
    backend = pb.Backend(direct=pb.DirectBackend())
    _put(context, _name(workspace, integration), backend, answers=False, compare=compare, output=output)


@app.command("compare")
def compare(
    context: typer.Context,
    workspace: Workspace,
    integration: Integration,
    rate: Annotated[float, typer.Argument(help="The share of reads to compare, from 0 (none) to 1 (all).")],
    output: Output = Format.TABLE,
) -> None:
    """Compare the candidate's answers with those that calls get."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            route = await mesh.backends.GetBackendRoute(pb.GetBackendRouteRequest(name=_name(workspace, integration)))
            route.shadow_rate = rate
            _show(output, await mesh.backends.PutBackendRoute(pb.PutBackendRouteRequest(route=route)))

    run(work)


@app.command("report")
def report(
    context: typer.Context, workspace: Workspace, integration: Integration, output: Output = Format.TABLE
) -> None:
    """Show where the candidate's answers differ, field by field. Values are not kept, only of what kind they are."""

    async def work() -> None:
        request = pb.GetComparisonRequest(name=f"{_name(workspace, integration)}/comparison")
        async with as_operator(target(context)) as mesh:
            found = await mesh.backends.GetComparison(request)
        sums = ("action", "calls", "same", "failed", "primary", "candidate", "reasons")
        rows = [
            (
                one.action,
                one.calls,
                one.same,
                one.failed,
                f"{one.primary_milliseconds // max(one.calls, 1)} ms",
                f"{one.candidate_milliseconds // max(one.calls, 1)} ms",
                ", ".join(f"{reason} {count}" for reason, count in sorted(one.reasons.items())),
            )
            for one in found.actions
        ]
        show_rows(output, found.actions, sums, rows)
        if output is Format.JSON or not any(one.differences for one in found.actions):
            return
        fields = ("action", "field", "differs by", "primary", "candidate", "calls", "last call")
        typer.echo()
        show_rows(
            output,
            [],
            fields,
            [
                (
                    one.action,
                    each.pointer or "/",
                    pb.FieldDifference.Kind.Name(each.kind).removeprefix("KIND_").lower(),
                    each.primary,
                    each.candidate,
                    each.calls,
                    each.last_call.rpartition("/")[2],
                )
                for one in found.actions
                for each in one.differences
            ],
        )

    run(work)


@app.command("cut-over")
def cut_over(
    context: typer.Context,
    workspace: Workspace,
    integration: Integration,
    etag: Etag = "",
    output: Output = Format.TABLE,
) -> None:
    """Have the candidate answer from the next call on. The same again is the way back."""

    async def work() -> None:
        request = pb.CutOverRequest(name=_name(workspace, integration), etag=etag)
        async with as_operator(target(context)) as mesh:
            _show(output, await mesh.backends.CutOver(request))

    run(work)


@app.command("delete")
def delete(context: typer.Context, workspace: Workspace, integration: Integration, etag: Etag = "") -> None:
    """Delete a route: calls go directly again."""

    async def work() -> None:
        request = pb.DeleteBackendRouteRequest(name=_name(workspace, integration), etag=etag)
        async with as_operator(target(context)) as mesh:
            await mesh.backends.DeleteBackendRoute(request)

    run(work)


def _accounts(given: list[str] | None, environment: str) -> list[pb.RemoteConnection]:
    accounts = [one.partition("=") for one in given or []]
    if any(not mark for _, mark, _ in accounts):
        raise typer.BadParameter("must look like CONNECTION=NAME", param_hint="--account")
    return [pb.RemoteConnection(connection=own, remote=there, environment=environment) for own, _, there in accounts]


def _put(
    context: typer.Context, name: str, backend: pb.Backend, *, answers: bool, compare: float, output: Format
) -> None:
    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            workspace = name.rpartition("/backendRoutes/")[0]
            listed = await list_all(mesh.backends.ListBackendRoutes, pb.ListBackendRoutesRequest(parent=workspace))
            route = next((one for one in listed if one.name == name), pb.BackendRoute(name=name))
            if answers:
                route.primary.CopyFrom(backend)
                route.ClearField("candidate")
            else:
                route.candidate.CopyFrom(backend)
            route.shadow_rate = compare
            _show(output, await mesh.backends.PutBackendRoute(pb.PutBackendRouteRequest(route=route)))

    run(work)


def _name(workspace: str, integration: str) -> str:
    return f"workspaces/{workspace}/backendRoutes/{integration.removeprefix('integrations/')}"


def _shown(backend: pb.Backend) -> str:
    kind = backend.WhichOneof("kind")
    if kind != "gateway":
        return kind or "direct"
    return f"gateway {backend.gateway.connection.rpartition('/')[2]}"


def _show(output: Format, route: pb.BackendRoute) -> None:
    fields = {
        "route": route.name,
        "answers": _shown(route.primary),
        "candidate": _shown(route.candidate) if route.HasField("candidate") else "",
        "compared": f"{route.shadow_rate:.0%}" if route.shadow_rate else "",
        "cut over": moment(route.cut_over_time) if route.HasField("cut_over_time") else "",
        "etag": route.etag,
    }
    show_fields(output, route, fields)
