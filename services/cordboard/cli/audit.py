"""The audit journals: shown, verified and exported, of every service."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from cordboard.cli.failures import CommandFailed
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, console, moment, show_json, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.client.paging import list_all
from cordboard.common.v1 import audit_service_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Show, verify and export the audit journals.")

HEADER: Final = "audit-service"
Chain = Annotated[str, typer.Option("--workspace", "-w", help="A workspace's chain. Default: what belongs to none.")]


class Service(StrEnum):
    """Who keeps a journal."""

    CATALOG = "catalog"
    AUTH = "auth"
    FLAGS = "flags"
    PROXY = "proxy"
    TELEMETRY = "telemetry"


class Shape(StrEnum):
    """What a line of an export is."""

    JOURNAL = "journal"
    OCSF = "ocsf"


@app.command("list")
def list_entries(
    context: typer.Context,
    service: Annotated[Service, typer.Argument(help="Whose journal.")],
    workspace: Chain = "",
    action: Annotated[str, typer.Option(help="Only actions that begin with this.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """List entries of one chain, in order."""

    async def work() -> None:
        request = pb.ListAuditEntriesRequest(chain=workspace, action_prefix=action)
        async with as_operator(target(context)) as mesh:
            found: list[pb.AuditEntry] = await list_all(
                mesh.audit.ListAuditEntries, request, metadata=((HEADER, service),)
            )
        show_rows(
            output,
            found,
            ("number", "time", "actor", "action", "resource", "outcome"),
            (
                (each.sequence, moment(each.time), each.actor, each.action, each.resource, each.outcome)
                for each in found
            ),
        )

    run(work)


@app.command("verify")
def verify(
    context: typer.Context,
    anchors: Annotated[
        list[Path] | None, typer.Option(help="A file of anchors, as a service wrote it. Repeatable.")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Recompute every chain of every service; ends with 1 where one does not hold."""

    async def work() -> None:
        noted = [anchor for path in anchors or () for anchor in _anchors(path)]
        broken, summaries = 0, []
        async with as_operator(target(context)) as mesh:
            for service in Service:
                own = [anchor for name, anchor in noted if name == service]
                found = await mesh.audit.VerifyAudit(pb.VerifyAuditRequest(anchors=own), metadata=((HEADER, service),))
                broken += len(found.breaks)
                summaries.append(_summary(service, found))
        if output is Format.JSON:
            show_json(summaries)
        else:
            for each in summaries:
                _tell(each)
        if broken:
            raise CommandFailed(f"{broken} chains do not hold", 1)

    run(work)


@app.command("export")
def export(
    context: typer.Context,
    service: Annotated[Service, typer.Argument(help="Whose journal.")],
    shape: Annotated[Shape, typer.Option(help="The journal's own lines, or OCSF events.")] = Shape.JOURNAL,
    workspace: Annotated[str, typer.Option("--workspace", "-w", help="Only a workspace's chain.")] = "",
    after: Annotated[int, typer.Option(help="Begin after this number, with --workspace.")] = 0,
) -> None:
    """Print a journal as lines of JSON."""

    async def work() -> None:
        request = pb.ExportAuditRequest(chain=workspace, one_chain=bool(workspace), after_sequence=after)
        if shape is Shape.OCSF:
            request.format = pb.ExportAuditRequest.FORMAT_OCSF
        async with as_operator(target(context)) as mesh:
            async for record in mesh.audit.ExportAudit(request, metadata=((HEADER, service),)):
                sys.stdout.write(record.line + "\n")

    run(work)


def _anchors(path: Path) -> list[tuple[str, pb.AuditAnchor]]:
    try:
        found = [json.loads(line) for line in path.read_text().splitlines() if line]
        return [
            (
                str(each["service"]),
                pb.AuditAnchor(chain=each["chain"], sequence=each["sequence"], hash=bytes.fromhex(each["hash"])),
            )
            for each in found
        ]
    except OSError:
        raise CommandFailed(f"{path} cannot be read") from None
    except (ValueError, KeyError, TypeError):
        raise CommandFailed(f"{path} is not a file of anchors") from None


def _summary(service: str, found: pb.VerifyAuditResponse) -> dict[str, Any]:
    return {
        "service": service,
        "chains": found.chain_count,
        "entries": found.entry_count,
        "anchors": found.anchor_count,
        "breaks": [{"chain": each.chain, "sequence": each.sequence, "problem": each.problem} for each in found.breaks],
    }


def _tell(summary: dict[str, Any]) -> None:
    state = "does NOT hold" if summary["breaks"] else "holds"
    counts = f"{summary['chains']} chains, {summary['entries']} entries, {summary['anchors']} anchors"
    console.print(f"{summary['service']}: {state} ({counts})")
    for each in summary["breaks"]:
        place = f"chain {each['chain'] or '(none)'}, entry {each['sequence']}"
        console.print(f"  {place}: {each['problem']}", style="red")
