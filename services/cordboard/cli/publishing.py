"""How an integration comes: a definition is published, an API description is imported."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.catalog.v1 import governance_service_pb2 as governance
from cordboard.catalog.v1 import lifecycle_pb2 as lifecycle
from cordboard.cli.catalog import LONG, state_text
from cordboard.cli.check import definition_files
from cordboard.cli.differences import show_difference, show_refusals
from cordboard.cli.documents import read
from cordboard.cli.download import download, is_url
from cordboard.cli.failures import USAGE, CommandFailed, lines
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, console, errors, marked, plain, show_json
from cordboard.cli.session import as_operator, run
from cordboard.cli.shipped import shipped_file, shipped_folder
from cordboard.cli.spread import Spread, from_folder, from_server
from cordboard.client import AlreadyExists, Client, Conflict, CordboardError, InvalidRequest

Tried = governance.ValidateDefinitionResponse | governance.ValidateOpenApiResponse
# What a person reads at once; `cordboard catalog diff` shows all of it.
MAX_LINES = 200
MAX_LEFT = 10
SEVERITIES = {
    pb.ImportFinding.SEVERITY_NOTE: Text("note ", "dim"),
    pb.ImportFinding.SEVERITY_REPAIR: Text("repaired ", "yellow"),
    pb.ImportFinding.SEVERITY_LOSS: Text("left out ", "red"),
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


def add_to(app: typer.Typer) -> None:
    """Adds the commands to the group of the catalog."""
    app.command("publish")(publish)
    app.command("validate")(validate)


def validate(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A definition, YAML or JSON.")],
    workspace: Annotated[
        str, typer.Option("--workspace", "-w", help="Check it as this workspace's own, WORKSPACE--SLUG.")
    ] = "",
    output: Output = Format.TABLE,
) -> None:
    """Check a definition, and say what publishing it would change and whom it would hurt. Exits with 2 if refused."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            _show_tried(output, await _tried(mesh, read(file), workspace), Stage.ACTIVE)

    run(work)


def publish(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="A definition, YAML or JSON, or a folder of them; with --shipped a slug.")
    ] = None,
    shipped: Annotated[
        bool, typer.Option("--shipped", help="Publish what comes with this release: all of it, or the one named.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check only, and say what would change.")] = False,
    stage: Annotated[Stage, typer.Option(help="The state to publish it in.")] = Stage.ACTIVE,
    workspace: Annotated[
        str, typer.Option("--workspace", "-w", help="Publish it for this workspace alone, as WORKSPACE--SLUG.")
    ] = "",
    output: Output = Format.TABLE,
) -> None:
    """Publish a definition as a new version of its integration, or each that stands directly in a folder."""

    async def work() -> None:
        place = _place(file, shipped=shipped)
        if place.is_dir():
            if dry_run:
                raise CommandFailed(f"{place} is a folder: `cordboard check {place}` checks all of it", USAGE)
            files = {each: read(each) for each in definition_files(place)}
            async with as_operator(target(context)) as mesh:
                await _publish_all(output, files, lambda document: _published(mesh, document, workspace, stage))
            return
        document = read(place)
        async with as_operator(target(context)) as mesh:
            if dry_run:
                _show_tried(output, await _tried(mesh, document, workspace), stage)
            else:
                _show_version(output, await _published(mesh, document, workspace, stage))

    run(work)


def _place(file: Path | None, *, shipped: bool) -> Path:
    if shipped:
        return shipped_folder() if file is None else shipped_file(str(file))
    if file is None:
        raise CommandFailed("name a file or a folder, or say --shipped", USAGE)
    return file


async def _publish_all(
    output: Format, files: dict[Path, str], publish_one: Callable[[str], Awaitable[pb.DefinitionVersion]]
) -> None:
    """Publishes documents, bases before what extends them, and says of each what became of it."""
    if not files:
        raise CommandFailed("there is no definition in this folder", USAGE)
    waiting, done = list(files), []
    while True:
        refused: dict[Path, CordboardError] = {}
        for each in waiting:
            try:
                version = await publish_one(files[each])
            except (InvalidRequest, AlreadyExists, Conflict) as error:
                refused[each] = error
                continue
            version.ClearField("definition")
            done.append(version)
            if output is not Format.JSON:
                _show_version(output, version)
        # What was refused may build on what has come since; where nothing came, it would be refused again.
        if not refused or len(refused) == len(waiting):
            break
        waiting = list(refused)
    if output is Format.JSON:
        show_json([plain(version) for version in done])
    for each, problem in refused.items():
        errors.print(marked("red", "refused", f"{each}: {'; '.join(lines(problem))}"))
    if refused:
        raise CommandFailed(f"{len(refused)} of {len(files)} definitions were refused", USAGE)


async def _tried(mesh: Client, document: str, workspace: str) -> governance.ValidateDefinitionResponse:
    parent = f"workspaces/{workspace}" if workspace else ""
    request = governance.ValidateDefinitionRequest(document=document, parent=parent)
    return await mesh.governance.ValidateDefinition(request, timeout=LONG)


async def _published(mesh: Client, document: str, workspace: str, stage: Stage) -> pb.DefinitionVersion:
    if workspace:
        private = governance.PublishPrivateDefinitionRequest(
            parent=f"workspaces/{workspace}", document=document, stage=stage.number
        )
        return await mesh.governance.PublishPrivateDefinition(private, timeout=LONG)
    request = pb.PublishDefinitionRequest(document=document, stage=stage.number)
    return await mesh.catalog.PublishDefinition(request, timeout=LONG)


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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Publish nothing, and say what would change.")] = False,
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
        errors.print(f"reading {document}", style="dim")
        if is_url(document):
            text, found = await download(document)
            spread = await from_server(found, text)
        else:
            text, found = read(Path(document)), ""
            spread = await from_folder(Path(document), text)
        _show_spread(spread)
        request = pb.ImportOpenApiRequest(
            document=text,
            slug=slug,
            owner=owner,
            server_url=server,
            source_uri=source or found,
            files=[pb.DescriptionFile(path=path, content=content) for path, content in spread.files.items()],
            path=spread.path if spread.files else "",
        )
        async with as_operator(target(context)) as mesh:
            with errors.status(f"importing {len(text) / 1e6:.1f} MB"):
                answer = await _imported(mesh, request, dry_run)
            _write_report(report_file, answer.report)
            if format_ is Format.TABLE:
                _show_report(answer.report, notes)
            if isinstance(answer, governance.ValidateOpenApiResponse):
                _show_tried(format_, answer, Stage.ACTIVE)
            elif format_ is Format.JSON:
                answer.definition_version.ClearField("definition")
                show_json(plain(answer))
            else:
                await _show_imported(mesh, answer)

    run(work)


def _show_spread(spread: Spread) -> None:
    if spread.files:
        errors.print(f"{len(spread.files)} more files belong to it", style="dim")
    for reference, problem in list(spread.left.items())[:MAX_LEFT]:
        errors.print(f"not read: {reference}: {problem}", style="yellow", highlight=False)
    if len(spread.left) > MAX_LEFT:
        errors.print(f"not read: {len(spread.left) - MAX_LEFT} more", style="yellow")


async def _imported(
    mesh: Client, request: pb.ImportOpenApiRequest, dry_run: bool
) -> pb.ImportOpenApiResponse | governance.ValidateOpenApiResponse:
    if dry_run:
        tried = governance.ValidateOpenApiRequest(import_request=request)
        return await mesh.governance.ValidateOpenApi(tried, timeout=LONG)
    return await mesh.catalog.ImportOpenApi(request, timeout=LONG)


async def _show_imported(mesh: Client, answer: pb.ImportOpenApiResponse) -> None:
    parent, _, version = answer.definition_version.name.partition("/versions/")
    if answer.previous_version == version:
        console.print(f"nothing differs from version {version}, which is active: there is no new version")
        return
    _show_version(Format.TABLE, answer.definition_version)
    if answer.previous_version and answer.definition_version.active:
        request = governance.DiffDefinitionVersionsRequest(
            parent=parent, old_version=answer.previous_version, new_version=version
        )
        found = await mesh.governance.DiffDefinitionVersions(request, timeout=LONG)
        console.print(f"since version {found.old_version}:")
        show_difference(found, limit=MAX_LINES)


def _write_report(file: Path | None, report: pb.ImportReport) -> None:
    if file is None:
        return
    try:
        file.write_text(json.dumps(plain(report), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"{file}: {error}", 2) from None


def _show_report(report: pb.ImportReport, notes: bool) -> None:
    counted = Counter(finding.severity for finding in report.findings)
    console.print(f"{report.action_count} of {report.operation_count} operations became actions")
    if not report.action_count:
        console.print("nothing can be called: there is no action", style="yellow")
    console.print(
        f"{counted[pb.ImportFinding.SEVERITY_LOSS]} left out, {counted[pb.ImportFinding.SEVERITY_REPAIR]} repaired, "
        f"{counted[pb.ImportFinding.SEVERITY_NOTE]} notes"
    )
    for finding in report.findings:
        if notes or finding.severity != pb.ImportFinding.SEVERITY_NOTE:
            console.print(Text.assemble("  ", SEVERITIES.get(finding.severity, "")), end="")
            console.print(f"{finding.pointer or 'the document'}: {finding.text}", highlight=False)


def _show_tried(output: Format, found: Tried, stage: Stage) -> None:
    """Shows what publishing would do; ends the command where it would be refused."""
    found.definition_version.ClearField("definition")
    version = found.definition_version
    refused = bool(found.refusals) and stage is not Stage.DRAFT
    if output is Format.JSON:
        show_json(plain(found))
    else:
        colour, how = ("red", "would be refused") if refused else ("green", "would be published")
        console.print(marked(colour, how, f"{version.name} ({version.content_hash[:12]}, {stage})"))
        if found.difference.old_version:
            console.print(f"since version {found.difference.old_version}, which is active:")
            show_difference(found.difference, limit=MAX_LINES)
        else:
            console.print("no version is active that it could differ from")
        show_refusals(found.compatibility, found.refusals)
        if found.refusals and not refused:
            console.print("a draft may break its promise; it cannot be staged or activated")
    if refused:
        raise typer.Exit(USAGE)


def _show_version(output: Format, version: pb.DefinitionVersion) -> None:
    version.ClearField("definition")
    if output is Format.JSON:
        show_json(plain(version))
        return
    told = f"{version.name} ({version.content_hash[:12]}, {state_text(version.state)})"
    console.print(marked("green", "published", told))
    if version.state == lifecycle.VERSION_STATE_ACTIVE and not version.active:
        slug, number = version.name.split("/")[1::2]
        console.print(
            "this version was there already, and another one is the default: "
            f"`cordboard catalog activate {slug} {number}` goes back to it"
        )
