"""Which integrations workspaces have switched on or off themselves."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from rich.text import Text

from cordboard.cli.failures import CommandFailed
from cordboard.cli.options import Environment, Output, Reason, Workspace, target
from cordboard.cli.output import Format, moment, show_fields, show_rows
from cordboard.cli.session import as_operator, as_workspace, run
from cordboard.client.paging import list_all
from cordboard.common.v1 import options_pb2
from cordboard.flags.v1 import choice_service_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Switch integrations as a workspace's own administrator, and look at it.")
Integration = Annotated[str, typer.Argument(help="The integration's id.")]

ADMIN: Final = (options_pb2.ROLE_WORKSPACE_ADMIN,)
WORDS: Final = {pb.CHOICE_UNSPECIFIED: "", pb.CHOICE_ON: "on", pb.CHOICE_OFF: "off"}


@app.command("off")
def switch_off(
    context: typer.Context,
    integration: Integration,
    workspace: Workspace,
    environment: Environment = "production",
    reason: Reason = "",
    output: Output = Format.TABLE,
) -> None:
    """Switch an integration off for a workspace, whatever operators decide."""
    _choose(context, (integration, workspace, environment), pb.CHOICE_OFF, reason, output)


@app.command("on")
def switch_on(
    context: typer.Context,
    integration: Integration,
    workspace: Workspace,
    environment: Environment = "production",
    reason: Reason = "",
    output: Output = Format.TABLE,
) -> None:
    """Switch an integration on for a workspace, where operators leave that to it."""
    _choose(context, (integration, workspace, environment), pb.CHOICE_ON, reason, output)


@app.command("clear")
def clear(
    context: typer.Context,
    integration: Integration,
    workspace: Workspace,
    environment: Environment = "production",
    reason: Reason = "",
    output: Output = Format.TABLE,
) -> None:
    """Take a choice back: what operators decide holds again."""
    _choose(context, (integration, workspace, environment), pb.CHOICE_UNSPECIFIED, reason, output)


@app.command("list")
def list_choices(
    context: typer.Context,
    workspace: Annotated[
        str, typer.Option("--workspace", "-w", help="What this workspace has and may choose. Default: all choices.")
    ] = "",
    environment: Environment = "production",
    integration: Annotated[str, typer.Option(help="Only choices about this integration, of all workspaces.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """List what workspaces have chosen, or what one of them has and may choose."""
    if workspace and integration:
        raise typer.BadParameter("name a workspace or an integration", param_hint="--integration")

    async def work() -> None:
        found: list[pb.IntegrationChoice]
        if workspace:
            async with as_workspace(target(context), workspace, environment, ADMIN) as mesh:
                request = pb.ListIntegrationChoicesRequest(parent=f"workspaces/{workspace}")
                found = await list_all(mesh.choices.ListIntegrationChoices, request)
            own = ((_slug(each), _state(each), _may(each), *_how(each)) for each in found)
            show_rows(output, found, ("integration", "now", "may", "chosen", "by", "when", "why"), own)
            return
        async with as_operator(target(context)) as mesh:
            every = pb.SearchIntegrationChoicesRequest(integration=integration)
            found = await list_all(mesh.choices.SearchIntegrationChoices, every)
        rows = ((_slug(each), each.name.split("/")[1], each.environment, *_how(each)) for each in found)
        show_rows(output, found, ("integration", "workspace", "environment", "chosen", "by", "when", "why"), rows)

    run(work)


def _choose(
    context: typer.Context, where: tuple[str, str, str], choice: pb.Choice.ValueType, reason: str, output: Format
) -> None:
    integration, workspace, environment = where

    async def work() -> None:
        name = f"workspaces/{workspace}/integrations/{integration}/choice"
        request = pb.SetIntegrationChoiceRequest(name=name, choice=choice, reason=reason)
        if not workspace or not integration:
            raise CommandFailed("a choice is a workspace's, about an integration", 2)
        async with as_workspace(target(context), workspace, environment, ADMIN) as mesh:
            done = await mesh.choices.SetIntegrationChoice(request)
        fields = {
            "integration": integration,
            "workspace": workspace,
            "environment": done.environment,
            "chosen": WORDS[done.choice] or "nothing",
            "now": "on" if done.on else "off",
        }
        show_fields(output, done, fields)

    run(work)


def _slug(choice: pb.IntegrationChoice) -> str:
    return choice.name.split("/")[3]


def _state(choice: pb.IntegrationChoice) -> Text:
    return Text("on", "green") if choice.on else Text("off", "dim")


def _may(choice: pb.IntegrationChoice) -> str:
    """Returns what the workspace may do beside what is."""
    if choice.on:
        return "switch it off"
    return "switch it on" if choice.choosable else ""


def _how(choice: pb.IntegrationChoice) -> tuple[str, str, str, str]:
    when = moment(choice.update_time) if choice.HasField("update_time") else ""
    return WORDS[choice.choice], choice.creator, when, choice.reason
