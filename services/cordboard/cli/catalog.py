"""What the mesh can reach: publish, import, integrations."""

from __future__ import annotations

import json
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.catalog.v1 import governance_service_pb2 as governance
from cordboard.catalog.v1 import lifecycle_pb2 as lifecycle
from cordboard.cli.differences import show_difference
from cordboard.cli.download import download, is_url
from cordboard.cli.failures import CommandFailed
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, console, errors, moment, plain, show_fields, show_json, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.client import Client

app = typer.Typer(no_args_is_help=True, help="Look at integrations, their versions and their actions.")
LONG = 300.0
SEVERITIES = {
    pb.ImportFinding.SEVERITY_NOTE: "[dim]note[/dim]",
    pb.ImportFinding.SEVERITY_REPAIR: "[yellow]repaired[/yellow]",
    pb.ImportFinding.SEVERITY_LOSS: "[red]left out[/red]",
}


class Stage(StrEnum):
    """The states that a version can be published in."""

    DRAFT = "draft"
    STAGED = "staged"
    ACTIVE = "active"

    @property
    def number(self) -> lifecycle.VersionState.ValueType:
        """Returns the state as it goes over the wire."""
        return lifecycle.VersionState.Value(f"VERSION_STATE_{self.name}")


def state_text(state: lifecycle.VersionState.ValueType) -> str:
    """Returns a state as people read it."""
    return lifecycle.VersionState.Name(state).removeprefix("VERSION_STATE_").lower() if state else ""


def read(path: Path) -> str:
    """Returns a document's text; raises CommandFailed."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{path}: {error}", 2) from None


def publish(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A definition, YAML or JSON.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check only.")] = False,
    stage: Annotated[Stage, typer.Option(help="The state to publish it in.")] = Stage.ACTIVE,
    workspace: Annotated[
        str, typer.Option("--workspace", "-w", help="Publish it for this workspace alone, as WORKSPACE--SLUG.")
    ] = "",
    output: Output = Format.TABLE,
) -> None:
    """Publish a definition as a new version of its integration."""

    async def work() -> None:
        document = read(file)
        async with as_operator(target(context)) as mesh:
            if workspace:
                private = governance.PublishPrivateDefinitionRequest(
                    parent=f"workspaces/{workspace}", document=document, validate_only=dry_run, stage=stage.number
                )
                version = await mesh.governance.PublishPrivateDefinition(private, timeout=LONG)
            else:
                request = pb.PublishDefinitionRequest(document=document, validate_only=dry_run, stage=stage.number)
                version = await mesh.catalog.PublishDefinition(request, timeout=LONG)
        _show_version(output, version, "would be published" if dry_run else "published")

    run(work)


def import_openapi(
    context: typer.Context,
    document: Annotated[
        str, typer.Argument(metavar="FILE|URL", help="An OpenAPI 3.x or Swagger 2.0 document, JSON or YAML.")
    ],
    slug: Annotated[str, typer.Option(help="The integration's id. Default: made from the title.")] = "",
    owner: Annotated[str, typer.Option(help="The team that answers for it.")] = "",
    server: Annotated[str, typer.Option(help="A base URL instead of the document's servers.")] = "",
    source: Annotated[
        str, typer.Option(help="Where the document came from; relative server URLs need it. Default: the URL.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Import only, and publish nothing.")] = False,
    notes: Annotated[bool, typer.Option("--notes", help="Show notes too, not only repairs and losses.")] = False,
    report_file: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write the whole report here, as JSON.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --output json.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Turn an API description into an integration."""
    format_ = Format.JSON if as_json else output

    async def work() -> None:
        errors.print(f"[dim]reading {escape(document)}[/dim]")
        if is_url(document):
            text, found = await download(document)
        else:
            text, found = read(Path(document)), ""
        request = pb.ImportOpenApiRequest(
            document=text,
            slug=slug,
            owner=owner,
            server_url=server,
            source_uri=source or found,
            validate_only=dry_run,
        )
        async with as_operator(target(context)) as mesh:
            with errors.status(f"importing {len(text) / 1e6:.1f} MB"):
                answer = await mesh.catalog.ImportOpenApi(request, timeout=LONG)
            since = None if dry_run or format_ is Format.JSON else await _since(mesh, answer.definition_version)
        if report_file is not None:
            try:
                report_file.write_text(json.dumps(plain(answer.report), indent=2, ensure_ascii=False) + "\n")
            except OSError as error:
                raise CommandFailed(f"{report_file}: {error}", 2) from None
        if format_ is Format.JSON:
            answer.definition_version.ClearField("definition")
            show_json(plain(answer))
            return
        _show_report(answer.report, notes)
        _show_version(format_, answer.definition_version, "would be published" if dry_run else "published")
        if since is not None:
            console.print(f"since version {since.old_version}:")
            show_difference(since)

    run(work)


async def _since(mesh: Client, version: pb.DefinitionVersion) -> governance.DefinitionDifference | None:
    """Returns what a version has otherwise than the newest one before it, or None where there is none."""
    parent, _, own = version.name.partition("/versions/")
    known = await mesh.catalog.ListDefinitionVersions(pb.ListDefinitionVersionsRequest(parent=parent))
    versions = [one.name.rpartition("/")[2] for one in known.definition_versions]
    before = versions[versions.index(own) + 1 :] if own in versions else []
    if not before:
        return None
    request = governance.DiffDefinitionVersionsRequest(parent=parent, old_version=before[0], new_version=own)
    return await mesh.governance.DiffDefinitionVersions(request, timeout=LONG)


def _show_report(report: pb.ImportReport, notes: bool) -> None:
    counted = Counter(finding.severity for finding in report.findings)
    console.print(f"{report.action_count} of {report.operation_count} operations became actions")
    console.print(
        f"{counted[pb.ImportFinding.SEVERITY_LOSS]} left out, {counted[pb.ImportFinding.SEVERITY_REPAIR]} repaired, "
        f"{counted[pb.ImportFinding.SEVERITY_NOTE]} notes"
    )
    for finding in report.findings:
        if notes or finding.severity != pb.ImportFinding.SEVERITY_NOTE:
            console.print(f"  {SEVERITIES.get(finding.severity, '')} ", end="")
            console.print(f"{finding.pointer}: {finding.text}", markup=False, highlight=False)


@app.command("list")
def list_integrations(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="Only those with these words.")] = "",
    state: Annotated[str, typer.Option(help="Only those that are draft, staged, active, deprecated or retired.")] = "",
    owner: Annotated[str, typer.Option(help="Only those of this owner.")] = "",
    tag: Annotated[str, typer.Option(help="Only those with this tag.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """List integrations."""

    async def work() -> None:
        found: list[pb.Integration] = []
        request = pb.ListIntegrationsRequest(query=query, owner=owner, tag=tag, page_size=1000)
        if state:
            request.state = _state(state)
        async with as_operator(target(context)) as mesh:
            while True:
                page = await mesh.catalog.ListIntegrations(request)
                found += page.integrations
                if not page.next_page_token:
                    break
                request.page_token = page.next_page_token
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
        found: list[pb.ActionSummary] = []
        request = pb.ListActionsRequest(parent=f"integrations/{slug}", query=query, page_size=1000)
        async with as_operator(target(context)) as mesh:
            while True:
                page = await mesh.catalog.ListActions(request)
                found += page.actions
                if not page.next_page_token:
                    break
                request.page_token = page.next_page_token
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
        request = pb.ListDefinitionVersionsRequest(parent=f"integrations/{slug}", page_size=1000)
        async with as_operator(target(context)) as mesh:
            page = await mesh.catalog.ListDefinitionVersions(request)
        show_rows(
            output,
            page.definition_versions,
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
                for each in page.definition_versions
            ),
        )

    run(work)


def _show_version(output: Format, version: pb.DefinitionVersion, verb: str) -> None:
    version.ClearField("definition")
    if output is Format.JSON:
        show_json(plain(version))
    else:
        state = state_text(version.state)
        console.print(f"[green]{verb}[/green] {version.name} ({version.content_hash[:12]}, {state})")


def _state(word: str) -> lifecycle.VersionState.ValueType:
    names = {state_text(number): number for number in lifecycle.VersionState.values() if number}
    if word not in names:
        raise CommandFailed(f"--state must be one of {', '.join(names)}", 2)
    return names[word]
