"""Forms in a terminal."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table
from rich.text import Text

from cordboard.cli.failures import CommandFailed
from cordboard.cli.form_table import form_table
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, console, moment, plain, show_json, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.client.paging import list_all
from cordboard.uqi.v1 import form_pb2
from cordboard.uqi.v1 import form_service_pb2 as pb
from cordboard.uqi.v1 import query_editor_service_pb2 as editors

if TYPE_CHECKING:
    from cordboard.client import Client


class Renderer(StrEnum):
    """A program that draws forms."""

    JSON_FORMS = "json-forms"
    REACT = "react"
    APPSMITH = "appsmith"
    JSON_SCHEMA = "json-schema"


_TARGETS: Final = {
    Renderer.JSON_FORMS: form_pb2.FORM_TARGET_JSON_FORMS,
    Renderer.REACT: form_pb2.FORM_TARGET_REACT,
    Renderer.APPSMITH: form_pb2.FORM_TARGET_APPSMITH,
    Renderer.JSON_SCHEMA: form_pb2.FORM_TARGET_JSON_SCHEMA,
}


def form(
    context: typer.Context,
    integration: Annotated[str, typer.Argument(help="The integration's id.")],
    action: Annotated[
        str, typer.Argument(help="The action's id, or auth.SCHEME. Default: the editor over all actions.")
    ] = "",
    settings: Annotated[
        bool, typer.Option("--settings", help="What a workspace sets for the integration, in the place of an action.")
    ] = False,
    schema: Annotated[bool, typer.Option("--json-schema", help="Print the JSON Schema.")] = False,
    appsmith: Annotated[bool, typer.Option("--appsmith", help="Print the Appsmith UQI JSON.")] = False,
    target_format: Annotated[
        Renderer | None, typer.Option("--format", help="Print it for a form renderer.", show_default=False)
    ] = None,
    canonical: Annotated[bool, typer.Option("--document", help="Print the canonical form document.")] = False,
    choices: Annotated[
        str, typer.Option(help="Print the vendor's choices for the field with this id; needs --connection.")
    ] = "",
    connection: Annotated[
        str, typer.Option(help="The connection to ask with: workspaces/WORKSPACE/connections/ID.")
    ] = "",
    language: Annotated[
        str, typer.Option(help="The languages to have the texts in, the best first, such as 'de-CH,de'.")
    ] = "",
    output: Output = Format.TABLE,
) -> None:
    """Show what an action, a way to sign in or a workspace's settings ask for; or all actions, as one editor."""

    async def work() -> None:
        if action and settings:
            raise CommandFailed("name an action or --settings", 2)
        if not action and not settings:
            if schema or choices or target_format not in (None, Renderer.APPSMITH):
                raise CommandFailed("for all actions there is --format appsmith, and --document", 2)
            async with as_operator(target(context)) as mesh:
                whole = appsmith or target_format is not None
                await show_editor(mesh, integration, output, language=language, whole=whole, plainly=canonical)
            return
        kind = action if action.startswith("auth.") else f"action.{action.removeprefix('action.')}"
        kind = "settings" if settings else kind
        if sum((schema, appsmith, canonical, target_format is not None)) > 1:
            raise CommandFailed("print one of --json-schema, --appsmith, --format and --document", 2)
        name = f"integrations/{integration}/forms/{kind}"
        if bool(choices) != bool(connection):
            raise CommandFailed("--choices and --connection go together", 2)
        async with as_operator(target(context)) as mesh:
            if choices:
                asked = pb.ListFormOptionsRequest(connection=connection, form=name, field_id=choices, language=language)
                show_choices(await mesh.forms.ListFormOptions(asked), output)
                return
            if canonical:
                asked_document = pb.GetFormDocumentRequest(name=name, language=language)
                show_json(plain(await mesh.forms.GetFormDocument(asked_document)))
                return
            if target_format is not None:
                request = pb.RenderFormRequest(name=name, target=_TARGETS[target_format], language=language)
                show_json(json.loads((await mesh.forms.RenderForm(request)).document_json))
                return
            if schema or appsmith or output is Format.JSON:
                found = await mesh.forms.GetForm(pb.GetFormRequest(name=name, language=language))
                text = found.json_schema if schema else found.appsmith_uqi
                show_json(json.loads(text) if schema or appsmith else plain(found))
                return
            asked_document = pb.GetFormDocumentRequest(name=name, language=language)
            show_document(await mesh.forms.GetFormDocument(asked_document))

    run(work)


def forms(
    context: typer.Context,
    integration: Annotated[str, typer.Argument(help="The integration's id.")],
    output: Output = Format.TABLE,
) -> None:
    """Show how far the forms of each version of an integration are: made, being made, or why not."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            request = pb.ListFormSetsRequest(parent=f"integrations/{integration}")
            found: list[pb.FormSet] = await list_all(mesh.forms.ListFormSets, request)
        show_rows(output, found, ("version", "state", "forms", "since", "problems"), map(_progress, found))

    run(work)


def _progress(found: pb.FormSet) -> tuple[str, str, str, str, str]:
    version = found.name.rpartition("/")[2] + (" (active)" if found.active else "")
    state = pb.FormSet.State.Name(found.state).removeprefix("STATE_").lower()
    count = f"{found.made_count} of {found.total_count}" if found.total_count else "none yet"
    since = found.start_time if found.HasField("start_time") else found.update_time
    problems = [found.problem, *(f"{each.form}: {each.problem}" for each in found.failures[:3])]
    if found.failure_count > 3:
        problems.append(f"and {found.failure_count - 3} more")
    return version, state, count, moment(since) if since.seconds else "", "; ".join(filter(None, problems))


async def show_editor(
    mesh: Client, integration: str, output: Format, *, language: str, whole: bool, plainly: bool
) -> None:
    """Prints the commands of an editor, or the `whole` of it for Appsmith in one of its languages."""
    name = f"integrations/{integration}/queryEditor"
    if whole:
        appsmith = form_pb2.FORM_TARGET_APPSMITH
        request = editors.RenderQueryEditorRequest(name=name, target=appsmith, language=language)
        show_json(json.loads((await mesh.query_editors.RenderQueryEditor(request)).document_json))
        return
    found = await mesh.query_editors.GetQueryEditor(editors.GetQueryEditorRequest(name=name))
    if plainly:
        show_json(plain(found))
        return
    rows = ((each.action, each.title, each.command) for each in found.commands)
    show_rows(output, found.commands, ("action", "title", "command"), rows)


def show_choices(found: pb.ListFormOptionsResponse, output: Format) -> None:
    """Prints what can be chosen; raises CommandFailed with the reason when it cannot be had."""
    if output is Format.JSON:
        show_json(plain(found))
        return
    if found.problem:
        raise CommandFailed(f"no choices: {found.problem}")
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("value", overflow="fold")
    table.add_column("label", overflow="fold")
    for each in found.options:
        table.add_row(Text(each.value_json), Text(each.label))
    console.print(table)
    if found.more:
        console.print("There are more.", style="dim")


def show_document(found: form_pb2.FormDocument) -> None:
    """Prints a form as a person fills it in."""
    console.print(Text.assemble((found.title, "bold"), " ", (f"{found.name} of version {found.version}", "dim")))
    if found.description:
        console.print(Text(found.description))
    console.print(form_table(found))
    for loss in found.losses:
        if loss.target == form_pb2.FORM_TARGET_UNSPECIFIED:
            console.print(Text(loss.text, style="yellow"))
