"""What the mesh can reach: publish, import, integrations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.cli.failures import CommandFailed
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, console, plain, show_fields, show_json, show_rows
from cordboard.cli.session import as_operator, run

app = typer.Typer(no_args_is_help=True, help="Look at integrations, their versions and their actions.")
LONG = 300.0
SEVERITIES = {
    pb.ImportFinding.SEVERITY_NOTE: "[dim]note[/dim]",
    pb.ImportFinding.SEVERITY_REPAIR: "[yellow]repaired[/yellow]",
    pb.ImportFinding.SEVERITY_LOSS: "[red]left out[/red]",
}


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
    output: Output = Format.TABLE,
) -> None:
    """Publish a definition as a new version of its integration."""

    async def work() -> None:
        request = pb.PublishDefinitionRequest(document=read(file), validate_only=dry_run)
        async with as_operator(target(context)) as mesh:
            version = await mesh.catalog.PublishDefinition(request, timeout=LONG)
        _show_version(output, version, "would be published" if dry_run else "published")

    run(work)


def import_openapi(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="An OpenAPI 3.x document, JSON or YAML.")],
    slug: Annotated[str, typer.Option(help="The integration's id. Default: made from the title.")] = "",
    owner: Annotated[str, typer.Option(help="The team that answers for it.")] = "",
    server: Annotated[str, typer.Option(help="A base URL instead of the document's servers.")] = "",
    source: Annotated[str, typer.Option(help="Where the document came from; relative server URLs need it.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Import only, and publish nothing.")] = False,
    notes: Annotated[bool, typer.Option("--notes", help="Show notes too, not only repairs and losses.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Turn an API description into an integration."""

    async def work() -> None:
        request = pb.ImportOpenApiRequest(
            document=read(file),
            slug=slug,
            owner=owner,
            server_url=server,
            source_uri=source,
            validate_only=dry_run,
        )
        async with as_operator(target(context)) as mesh:
            with console.status(f"importing {file.name}") if output is Format.TABLE else console.capture():
                answer = await mesh.catalog.ImportOpenApi(request, timeout=LONG)
        if output is Format.JSON:
            answer.definition_version.ClearField("definition")
            show_json(plain(answer))
            return
        report = answer.report
        console.print(f"{report.action_count} of {report.operation_count} operations became actions")
        for finding in report.findings:
            if notes or finding.severity != pb.ImportFinding.SEVERITY_NOTE:
                console.print(f"  {SEVERITIES.get(finding.severity, '')} ", end="")
                console.print(f"{finding.pointer}: {finding.text}", markup=False, highlight=False)
        _show_version(output, answer.definition_version, "would be published" if dry_run else "published")

    run(work)


@app.command("list")
def list_integrations(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="Only those with this text.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """List integrations."""

    async def work() -> None:
        found: list[pb.Integration] = []
        request = pb.ListIntegrationsRequest(query=query, page_size=1000)
        async with as_operator(target(context)) as mesh:
            while True:
                page = await mesh.catalog.ListIntegrations(request)
                found += page.integrations
                if not page.next_page_token:
                    break
                request.page_token = page.next_page_token
        columns = ("slug", "title", "version", "actions", "sign-in", "owner")
        show_rows(
            output,
            found,
            columns,
            (
                (
                    each.name.partition("/")[2],
                    each.title,
                    each.active_version,
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
            "actions": found.action_count,
            "sign-in": ", ".join(found.auth_schemes),
            "tags": ", ".join(found.tags),
            "created": found.create_time.ToJsonString(),
            "updated": found.update_time.ToJsonString(),
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
            ("version", "active", "published", "by", "content"),
            (
                (
                    each.name.rpartition("/")[2],
                    "yes" if each.active else "",
                    each.create_time.ToJsonString(),
                    each.creator,
                    each.content_hash[:12],
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
        console.print(f"[green]{verb}[/green] {version.name} ({version.content_hash[:12]})")
