"""How integrations live: stages, pins, differences, inventory, reviews."""

from __future__ import annotations

import csv
import sys
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.text import Text

from cordboard.auth.v1.workspace_service_pb2 import GetWorkspaceRequest
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.catalog.v1 import governance_service_pb2 as pb
from cordboard.catalog.v1 import lifecycle_pb2 as lifecycle
from cordboard.cli.catalog import LONG, state_text
from cordboard.cli.differences import show_difference
from cordboard.cli.failures import USAGE, CommandFailed
from cordboard.cli.options import Environment, Output, target
from cordboard.cli.output import Format, console, marked, moment, plain, show_json, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.client.paging import list_all

Slug = Annotated[str, typer.Argument(help="The integration's id.")]
Version = Annotated[str, typer.Argument(help="The version, such as 1.4.0.")]
Workspace = Annotated[str, typer.Option("--workspace", "-w", help="The workspace's id.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for the journal and for whoever is told.")]


class InventoryFormat(StrEnum):
    """How to print the inventory."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def add_to(app: typer.Typer) -> None:
    """Adds the commands to the group of the catalog."""
    for name, command in (
        ("diff", diff),
        ("stage", stage),
        ("activate", activate),
        ("deprecate", deprecate),
        ("retire", retire),
        ("delete-draft", delete_draft),
        ("pin", pin),
        ("unpin", unpin),
        ("pins", pins),
        ("notices", notices),
        ("inventory", inventory),
        ("reviews", reviews),
        ("review", review),
        ("search", search),
        ("promote", promote),
    ):
        app.command(name)(command)


def diff(
    context: typer.Context,
    slug: Slug,
    old: Annotated[str, typer.Argument(help="The version to compare from, or `active`.")],
    new: Annotated[str, typer.Argument(help="The version to compare to, or `active`.")],
    output: Output = Format.TABLE,
) -> None:
    """Compare two versions: what is new, gone and changed, and whether the new one can stand in for the old one."""

    async def work() -> None:
        request = pb.DiffDefinitionVersionsRequest(parent=f"integrations/{slug}", old_version=old, new_version=new)
        async with as_operator(target(context)) as mesh:
            found = await mesh.governance.DiffDefinitionVersions(request, timeout=LONG)
        if output is Format.JSON:
            show_json(plain(found))
        else:
            show_difference(found)

    run(work)


def stage(
    context: typer.Context, slug: Slug, version: Version, reason: Why = "", output: Output = Format.TABLE
) -> None:
    """Let pins and rollouts lead to a draft, and nobody else."""
    _move(context, slug, version, output, state=lifecycle.VERSION_STATE_STAGED, reason=reason)


def activate(
    context: typer.Context, slug: Slug, version: Version, reason: Why = "", output: Output = Format.TABLE
) -> None:
    """Make a version the default; also the way back to an older one."""
    _move(context, slug, version, output, state=lifecycle.VERSION_STATE_ACTIVE, reason=reason)


def deprecate(
    context: typer.Context,
    slug: Slug,
    version: Version,
    successor: Annotated[str, typer.Option(help="What to use instead: a version, or integrations/SLUG.")] = "",
    sunset: Annotated[str, typer.Option(help="When it ends: 2027-01-31, or in how many days: 90d.")] = "",
    reason: Why = "",
    output: Output = Format.TABLE,
) -> None:
    """Tell those who use a version that it ends; it goes on working."""
    moment = _moment(sunset, "--sunset") if sunset else None
    state = lifecycle.VERSION_STATE_DEPRECATED
    _move(context, slug, version, output, state=state, reason=reason, successor=successor, sunset_time=moment)


def retire(
    context: typer.Context,
    slug: Slug,
    version: Version,
    successor: Annotated[str, typer.Option(help="What to use instead: a version, or integrations/SLUG.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Although workspaces are pinned or its sunset is ahead.")
    ] = False,
    reason: Why = "",
    output: Output = Format.TABLE,
) -> None:
    """End a version: calls to it are refused, with its successor's name."""
    state = lifecycle.VERSION_STATE_RETIRED
    _move(context, slug, version, output, state=state, reason=reason, successor=successor, force=force)


def delete_draft(context: typer.Context, slug: Slug, version: Version) -> None:
    """Delete a version that is still a draft."""

    async def work() -> None:
        name = f"integrations/{slug}/versions/{version}"
        async with as_operator(target(context)) as mesh:
            await mesh.governance.DeleteDefinitionVersion(pb.DeleteDefinitionVersionRequest(name=name))
        console.print(marked("green", "deleted", name))

    run(work)


def pin(
    context: typer.Context,
    slug: Slug,
    version: Version,
    workspace: Workspace,
    environment: Environment = "production",
    reason: Why = "",
    output: Output = Format.TABLE,
) -> None:
    """Hold an environment of a workspace to a version, whatever rollouts and the default say."""

    async def work() -> None:
        wanted = lifecycle.Pin(name=_pin_name(workspace, environment, slug), version=version, reason=reason)
        async with as_operator(target(context)) as mesh:
            # The Catalog knows no workspaces: a pin of one that does not exist would wait for it unseen.
            await mesh.workspaces.GetWorkspace(GetWorkspaceRequest(name=f"workspaces/{workspace}"))
            found = await mesh.governance.SetPin(pb.SetPinRequest(pin=wanted))
        if output is Format.JSON:
            show_json(plain(found))
        else:
            told = f"{workspace} ({environment}) to {slug} {found.version}"
            console.print(marked("green", "pinned", told))

    run(work)


def unpin(context: typer.Context, slug: Slug, workspace: Workspace, environment: Environment = "production") -> None:
    """Take a pin away: rollouts and the default hold again."""

    async def work() -> None:
        name = _pin_name(workspace, environment, slug)
        async with as_operator(target(context)) as mesh:
            await mesh.governance.DeletePin(pb.DeletePinRequest(name=name))
        console.print(marked("green", "unpinned", f"{workspace} ({environment}) from {slug}"))

    run(work)


def pins(
    context: typer.Context,
    slug: Annotated[str, typer.Argument(help="Only those of this integration.")] = "",
    workspace: Annotated[str, typer.Option("--workspace", "-w", help="Only those of this workspace.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """List pins."""

    async def work() -> None:
        request = pb.ListPinsRequest(
            parent=f"workspaces/{workspace or '-'}", integration=f"integrations/{slug}" if slug else ""
        )
        async with as_operator(target(context)) as mesh:
            found = await list_all(mesh.governance.ListPins, request)
        columns = ("workspace", "environment", "integration", "version", "state", "set", "since", "by", "reason")
        rows = (
            (
                *each.name.split("/")[1::2],
                each.version,
                state_text(each.state),
                place(each),
                moment(each.update_time),
                each.creator,
                each.reason,
            )
            for each in found
        )
        show_rows(output, found, columns, rows)

    run(work)


def notices(context: typer.Context, workspace: Workspace, output: Output = Format.TABLE) -> None:
    """List the versions that a workspace uses and that end."""

    async def work() -> None:
        request = pb.ListNoticesRequest(parent=f"workspaces/{workspace}")
        async with as_operator(target(context)) as mesh:
            found = await list_all(mesh.governance.ListNotices, request)
        columns = ("version", "state", "ends", "use instead", "pinned in", "called from", "why")
        rows = (
            (
                each.definition_version,
                state_text(each.state),
                moment(each.sunset_time) if each.HasField("sunset_time") else "",
                each.successor,
                ", ".join(each.pinned_environments),
                ", ".join(each.calling_environments),
                each.reason,
            )
            for each in found
        )
        show_rows(output, found, columns, rows)

    run(work)


INVENTORY_COLUMNS = (
    "integration",
    "state",
    "version",
    "owner",
    "criticality",
    "hosts",
    "data classes",
    "traits",
    "capabilities",
    "versions in use",
    "pinned workspaces",
    "calling workspaces",
    "drifted actions",
    "review due",
)


def inventory(
    context: typer.Context,
    owner: Annotated[str, typer.Option(help="Only those of this owner.")] = "",
    host: Annotated[str, typer.Option(help="Only those that reach this host.")] = "",
    data_class: Annotated[str, typer.Option(help="Only those that touch this class of data.")] = "",
    output: Annotated[InventoryFormat, typer.Option("--output", "-o", help="How to print.")] = InventoryFormat.TABLE,
) -> None:
    """List all integrations with what they reach, who answers for them, and how much each is used."""

    async def work() -> None:
        request = pb.ListInventoryRequest(owner=owner, host=host, data_class=data_class)
        async with as_operator(target(context)) as mesh:
            found = await list_all(mesh.governance.ListInventory, request)
        if output is InventoryFormat.CSV:
            writer = csv.writer(sys.stdout)
            writer.writerow(INVENTORY_COLUMNS)
            writer.writerows([_safe_cell(cell) for cell in _inventory_row(each)] for each in found)
            return
        form = Format.JSON if output is InventoryFormat.JSON else Format.TABLE
        show_rows(form, found, INVENTORY_COLUMNS, (_inventory_row(each) for each in found))

    run(work)


def reviews(
    context: typer.Context,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only those that are due by now.")] = False,
    owner: Annotated[str, typer.Option(help="Only those of this owner.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """List when integrations are due for a review, the most overdue first."""

    async def work() -> None:
        request = pb.ListReviewsRequest(overdue=overdue, owner=owner)
        async with as_operator(target(context)) as mesh:
            found = await list_all(mesh.governance.ListReviews, request)
        columns = ("integration", "owner", "due", "reviewed", "by", "note")
        rows = (
            (
                each.integration.partition("/")[2],
                each.owner,
                marked("red", "overdue", _day(each, "due_time")) if each.overdue else _day(each, "due_time"),
                _day(each, "review_time"),
                each.reviewer,
                each.note,
            )
            for each in found
        )
        show_rows(output, found, columns, rows)

    run(work)


def review(
    context: typer.Context,
    slug: Slug,
    due: Annotated[
        str, typer.Option("--next", help="When it is due again: 2027-01-31, or 180d. Default: as its definition says.")
    ] = "",
    note: Annotated[str, typer.Option(help="What was found.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Note that an integration was reviewed."""
    moment = _moment(due, "--next") if due else None

    async def work() -> None:
        request = pb.RecordReviewRequest(integration=f"integrations/{slug}", due_time=moment, note=note)
        async with as_operator(target(context)) as mesh:
            found = await mesh.governance.RecordReview(request)
        if output is Format.JSON:
            show_json(plain(found))
        else:
            console.print(marked("green", "reviewed", f"{slug}, due again on {_day(found, 'due_time')}"))

    run(work)


def search(
    context: typer.Context,
    words: Annotated[list[str], typer.Argument(help="Words that the action has, all of them.")],
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many.", min=1, max=1000)] = 50,
    output: Output = Format.TABLE,
) -> None:
    """Find actions of all integrations."""

    async def work() -> None:
        request = pb.SearchActionsRequest(query=" ".join(words), page_size=lines)
        async with as_operator(target(context)) as mesh:
            page = await mesh.governance.SearchActions(request)
        rows = (
            (
                each.integration.partition("/")[2],
                each.action.id,
                f"{each.action.method} {each.action.path}",
                each.action.title,
            )
            for each in page.actions
        )
        show_rows(output, page.actions, ("integration", "action", "request", "title"), rows)

    run(work)


def promote(
    context: typer.Context,
    slug: Annotated[str, typer.Argument(help="The private integration: WORKSPACE--NAME.")],
    into: Annotated[str, typer.Option("--as", help="Its id in the shared catalog. Default: NAME.")] = "",
    version: Annotated[str, typer.Option(help="Which version. Default: the active one.")] = "",
    active: Annotated[
        bool, typer.Option("--activate", help="Make it the default at once, and not only staged.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Make it the next version of a shared integration that has the id already.")
    ] = False,
    reason: Why = "",
    output: Output = Format.TABLE,
) -> None:
    """Publish a workspace's private integration in the shared catalog, held to what holds for publishing."""

    async def work() -> None:
        chosen = lifecycle.VERSION_STATE_ACTIVE if active else lifecycle.VERSION_STATE_STAGED
        request = pb.PromoteIntegrationRequest(
            name=f"integrations/{slug}", slug=into, version=version, stage=chosen, reason=reason, update=update
        )
        async with as_operator(target(context)) as mesh:
            found = await mesh.governance.PromoteIntegration(request, timeout=LONG)
        _show_moved(output, found)

    run(work)


def _move(context: typer.Context, slug: str, version: str, output: Format, **fields: Any) -> None:
    async def work() -> None:
        name = f"integrations/{slug}/versions/{version}"
        request = pb.TransitionDefinitionVersionRequest(name=name, **fields)
        async with as_operator(target(context)) as mesh:
            _show_moved(output, await mesh.governance.TransitionDefinitionVersion(request, timeout=LONG))

    run(work)


def _show_moved(output: Format, found: catalog.DefinitionVersion) -> None:
    found.ClearField("definition")
    if output is Format.JSON:
        show_json(plain(found))
        return
    ends = found.state == lifecycle.VERSION_STATE_DEPRECATED and found.HasField("sunset_time")
    until = f" until {_day(found, 'sunset_time')}" if ends else ""
    instead = f", use {found.successor} instead" if found.successor else ""
    default = ", the default" if found.active else ""
    state = (state_text(found.state), "green")
    console.print(Text.assemble(f"{found.name} is ", state, f"{default}{until}{instead}"))


def _inventory_row(each: pb.InventoryEntry) -> tuple[Any, ...]:
    one = each.integration
    used = [version for version in each.versions if version.pinned_workspaces or version.calling_workspaces]
    return (
        one.name.partition("/")[2],
        state_text(one.state),
        one.active_version,
        one.owner,
        _short(one.DESCRIPTOR.fields_by_name["criticality"].enum_type, one.criticality, "CRITICALITY_"),
        ", ".join(each.hosts),
        ", ".join(each.data_classes),
        ", ".join(each.traits),
        ", ".join(each.required_capabilities),
        ", ".join(version.version for version in used),
        sum(version.pinned_workspaces for version in used),
        sum(version.calling_workspaces for version in used),
        sum(version.drifted_actions for version in each.versions),
        _day(each, "review_due_time"),
    )


def _short(descriptor: Any, number: int, prefix: str) -> str:
    name: str = descriptor.values_by_number[number].name
    return name.removeprefix(prefix).lower()


def _safe_cell(cell: Any) -> Any:
    # A spreadsheet takes text that begins like this for a formula.
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t")) else cell


def _day(message: Any, field: str) -> str:
    if not message.HasField(field):
        return ""
    day: str = getattr(message, field).ToJsonString()[:10]
    return day


def _moment(text: str, option: str) -> Timestamp:
    try:
        if text.endswith("d"):
            moment = datetime.now(UTC) + timedelta(days=int(text[:-1]))
        else:
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        stamp = Timestamp()
        stamp.FromDatetime(moment)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            "must be a day such as 2027-01-31, or a count of days such as 90d", param_hint=option
        ) from None
    return stamp


def place(pin: lifecycle.Pin) -> str:
    """Returns where a pin was set, and what it goes before."""
    if pin.from_hub:
        return "at the hub" if pin.version == pin.hub_version else f"at the hub; {pin.hub_version} is to come"
    return f"here; at the hub {pin.hub_version}" if pin.hub_version else "here"


def _pin_name(workspace: str, environment: str, slug: str) -> str:
    for value, what in ((workspace, "workspace"), (environment, "environment"), (slug, "integration")):
        if not value or "/" in value:
            raise CommandFailed(f"{value!r} is not the id of a {what}", USAGE)
    return f"workspaces/{workspace}/environments/{environment}/pins/{slug}"
