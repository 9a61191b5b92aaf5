"""Where vendors' answers are no longer as the definitions say."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from cordboard.catalog.v1 import drift_service_pb2 as pb
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, console, moment, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.client.paging import list_all


class Kind(StrEnum):
    """What has moved."""

    OUTPUT = "output"
    DEPRECATION = "deprecation"
    SCOPE = "scope"
    ENDPOINT = "endpoint"


def add_to(app: typer.Typer) -> None:
    """Adds the command to the group of the catalog."""
    app.command("drift")(drift)


def drift(
    context: typer.Context,
    slug: Annotated[str, typer.Argument(help="The integration's id. Default: all of them.")] = "-",
    owner: Annotated[str, typer.Option(help="Only those of this owner.")] = "",
    kind: Annotated[Kind | None, typer.Option(help="Only what has moved in this way.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """List where vendors' answers of the last 30 days were not as the definitions say."""
    number = pb.DriftKind.Value(f"DRIFT_KIND_{kind.name}") if kind is not None else 0

    async def work() -> None:
        request = pb.ListDriftsRequest(parent=f"integrations/{slug}", owner=owner, kind=number)  # type: ignore[arg-type]
        async with as_operator(target(context)) as mesh:
            found: list[pb.Drift] = await list_all(mesh.drifts.ListDrifts, request)
        if not found and output is Format.TABLE:
            console.print("no drift was seen in the answers of the last 30 days that were looked at")
            return
        # The rest, such as the trace, is in the JSON: lines that are too long are read by nobody.
        columns = ("version", "action", "what", "where", "rule", "answers", "last", "edge")
        show_rows(output, found, columns, map(_row, found))

    run(work)


def _row(each: pb.Drift) -> tuple[str, ...]:
    _, slug, _, version = each.definition_version.split("/")
    return (
        f"{slug} {version}",
        each.action,
        pb.DriftKind.Name(each.kind).removeprefix("DRIFT_KIND_").lower(),
        each.place,
        each.rule,
        f"{each.answers} of {each.answers_looked_at}",
        moment(each.last_time),
        each.edge.removeprefix("edges/"),
    )
