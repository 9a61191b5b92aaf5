"""Sources: where the catalog's definitions come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from google.protobuf import json_format

from cordboard.catalog.v1 import source_service_pb2 as pb
from cordboard.cli.differences import show_difference
from cordboard.cli.failures import CommandFailed
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, console, moment, plain, show_json, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.client.paging import list_all

SHOWN = 40
"""Changes that are printed of one description."""

app = typer.Typer(no_args_is_help=True, help="Read definitions from folders, Git checkouts and vendors.")

SourceId = Annotated[str, typer.Argument(metavar="SOURCE", help="Its id.")]


@app.command("apply")
def apply_source(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A YAML or JSON file with the source.")],
    output: Output = Format.TABLE,
) -> None:
    """Create a source from a file, or replace it. It is read at once and then on schedule."""

    async def work() -> None:
        source = _read(file)
        async with as_operator(target(context)) as mesh:
            written = await mesh.sources.PutSource(pb.PutSourceRequest(source=source))
        _show(output, [written])

    run(work)


@app.command("list")
def list_sources(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List sources and what their last runs gave."""

    async def work() -> None:
        request = pb.ListSourcesRequest()
        async with as_operator(target(context)) as mesh:
            found: list[pb.Source] = await list_all(mesh.sources.ListSources, request)
        _show(output, found)

    run(work)


@app.command("run")
def run_source(context: typer.Context, source: SourceId, output: Output = Format.TABLE) -> None:
    """Read a source now and print each thing that it has."""

    async def work() -> None:
        failed = ""
        async with as_operator(target(context)) as mesh:
            async for told in mesh.sources.RunSource(pb.RunSourceRequest(name=f"sources/{source}")):
                if output is Format.JSON:
                    show_json(plain(told))
                elif told.HasField("run"):
                    done = told.run
                    console.print(
                        f"{done.found_count} found: {done.published_count} published, "
                        f"{done.unchanged_count} unchanged, {done.failed_count} failed"
                    )
                else:
                    console.print(f"{told.outcome:10} {told.item}: {told.text}")
                    if told.file_count:
                        console.print(f"{'':10} with {told.file_count} other documents")
                    for reference in told.left_references:
                        console.print(f"{'':10} not followed: {reference}")
                    if told.HasField("difference"):
                        show_difference(told.difference, limit=SHOWN)
                if told.HasField("run"):
                    failed = told.run.error
        if failed:
            raise CommandFailed(failed, 1)

    run(work)


@app.command("delete")
def delete_source(context: typer.Context, source: SourceId) -> None:
    """Delete a source. What came from it stays."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            await mesh.sources.DeleteSource(pb.DeleteSourceRequest(name=f"sources/{source}"))
        console.print(f"deleted {source}")

    run(work)


def _read(file: Path) -> pb.Source:
    try:
        content: Any = yaml.safe_load(file.read_text())
        if not isinstance(content, dict):
            raise CommandFailed(f"{file} is no source", 2)
        return json_format.ParseDict(content, pb.Source())
    except OSError as error:
        raise CommandFailed(f"{file}: {error.strerror}", 2) from None
    except (yaml.YAMLError, json_format.ParseError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{file}: {error}", 2) from None


def _show(output: Format, found: list[pb.Source]) -> None:
    show_rows(
        output,
        found,
        ("source", "kind", "found", "published", "failed", "next", "error or notice"),
        (
            (
                each.name.partition("/")[2],
                each.WhichOneof("kind"),
                each.last_run.found_count,
                each.last_run.published_count,
                each.last_run.failed_count,
                moment(each.next_run_time) if each.HasField("next_run_time") else "paused",
                each.last_run.error or f"{each.last_run.held_version} {each.last_run.notice}".strip(),
            )
            for each in found
        ),
    )
