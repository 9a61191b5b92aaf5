"""What the mesh can reach: integrations, their versions and their actions."""

from __future__ import annotations

from typing import Annotated

import typer

from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.catalog.v1 import lifecycle_pb2 as lifecycle
from cordboard.cli.failures import CommandFailed
from cordboard.cli.options import Environment, Output, target
from cordboard.cli.output import Format, moment, show_fields, show_rows
from cordboard.cli.session import as_operator, as_workspace, run
from cordboard.client.paging import list_all

app = typer.Typer(no_args_is_help=True, help="Look at integrations, their versions and their actions.")
LONG = 300.0


def state_text(state: lifecycle.VersionState.ValueType) -> str:
    """Returns a state as people read it."""
    return lifecycle.VersionState.Name(state).removeprefix("VERSION_STATE_").lower() if state else ""


@app.command("list")
def list_integrations(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="Only those with these words.")] = "",
    state: Annotated[str, typer.Option(help="Only those that are draft, staged, active, deprecated or retired.")] = "",
    owner: Annotated[str, typer.Option(help="Only those of this owner.")] = "",
    tag: Annotated[str, typer.Option(help="Only those with this tag.")] = "",
    available_to: Annotated[
        str, typer.Option(metavar="WORKSPACE", help="Only those that this workspace may use in the environment.")
    ] = "",
    environment: Environment = "production",
    output: Output = Format.TABLE,
) -> None:
    """List integrations."""
    where = target(context)
    session = as_workspace(where, available_to, environment) if available_to else as_operator(where)

    async def work() -> None:
        request = pb.ListIntegrationsRequest(query=query, owner=owner, tag=tag, available_only=bool(available_to))
        if state:
            request.state = _state(state)
        async with session as mesh:
            found: list[pb.Integration] = await list_all(mesh.catalog.ListIntegrations, request)
        columns = ("slug", "title", "version", "state", "actions", "sign-in", "owner")
        show_rows(
            output,
            found,
            columns,
            (
                (
                    each.name.partition("/")[2],
                    each.title,
                    each.active_version,
                    state_text(each.state),
                    each.action_count,
                    ", ".join(each.auth_schemes),
                    each.owner,
                )
                for each in found
            ),
        )

    run(work)


@app.command("show")
def show_integration(
    context: typer.Context, slug: Annotated[str, typer.Argument(help="Its id.")], output: Output = Format.TABLE
) -> None:
    """Show an integration."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            found = await mesh.catalog.GetIntegration(pb.GetIntegrationRequest(name=f"integrations/{slug}"))
        fields = {
            "title": found.title,
            "description": found.description,
            "owner": found.owner,
            "version": found.active_version,
            "state": state_text(found.state),
            "workspace": found.workspace,
            "actions": found.action_count,
            "sign-in": ", ".join(found.auth_schemes),
            "tags": ", ".join(found.tags),
            "created": moment(found.create_time),
            "updated": moment(found.update_time),
        }
        show_fields(output, found, fields)

    run(work)


@app.command("actions")
def list_actions(
    context: typer.Context,
    slug: Annotated[str, typer.Argument(help="The integration's id.")],
    query: Annotated[str, typer.Argument(help="Only those with this text.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """List what an integration can do."""

    async def work() -> None:
        request = pb.ListActionsRequest(parent=f"integrations/{slug}", query=query)
        async with as_operator(target(context)) as mesh:
            found: list[pb.ActionSummary] = await list_all(mesh.catalog.ListActions, request)
        show_rows(
            output,
            found,
            ("action", "request", "title", "pages"),
            ((each.id, f"{each.method} {each.path}", each.title, "yes" if each.paged else "") for each in found),
        )

    run(work)


@app.command("versions")
def list_versions(
    context: typer.Context,
    slug: Annotated[str, typer.Argument(help="The integration's id.")],
    output: Output = Format.TABLE,
) -> None:
    """List the versions of an integration, newest first."""

    async def work() -> None:
        request = pb.ListDefinitionVersionsRequest(parent=f"integrations/{slug}")
        async with as_operator(target(context)) as mesh:
            found: list[pb.DefinitionVersion] = await list_all(mesh.catalog.ListDefinitionVersions, request)
        show_rows(
            output,
            found,
            ("version", "state", "default", "published", "by", "content", "use instead"),
            (
                (
                    each.name.rpartition("/")[2],
                    state_text(each.state),
                    "yes" if each.active else "",
                    moment(each.create_time),
                    each.creator,
                    each.content_hash[:12],
                    each.successor,
                )
                for each in found
            ),
        )

    run(work)


def _state(word: str) -> lifecycle.VersionState.ValueType:
    names = {state_text(number): number for number in lifecycle.VersionState.values() if number}
    if word not in names:
        raise CommandFailed(f"--state must be one of {', '.join(names)}", 2)
    return names[word]
