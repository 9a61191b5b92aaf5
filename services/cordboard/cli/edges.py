"""Edges: meshes that follow this one, and how far this one follows another."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from cordboard.catalog.sync.bootstrap import Bootstrap
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.cli.failures import CommandFailed
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, console, plain, show_fields, show_json, show_rows
from cordboard.cli.session import as_operator, endpoint, run
from cordboard.client.paging import list_all
from cordboard.core.secrets import Secret

app = typer.Typer(no_args_is_help=True, help="Let other meshes follow this one, and see how far they are.")

EdgeId = Annotated[str, typer.Argument(metavar="EDGE", help="Its id.")]


@app.command("register")
def register_edge(
    context: typer.Context,
    edge: EdgeId,
    file: Annotated[Path, typer.Option("--file", "-f", help="Where to write what the edge begins with.")],
    workspace: Annotated[
        list[str] | None,
        typer.Option("--workspace", "-w", help="A workspace whose private definitions it gets. Repeatable."),
    ] = None,
    title: Annotated[str, typer.Option(help="What people call it.")] = "",
    output: Output = Format.TABLE,
) -> None:
    """Register an edge and write the file that it begins with. Its key is in there, and nowhere else."""

    async def work() -> None:
        if file.exists():
            raise CommandFailed(f"{file} exists: name another file", 2)
        found = await endpoint(target(context))
        request = pb.RegisterEdgeRequest(edge_id=edge, edge=pb.Edge(title=title, workspaces=workspace or []))
        async with found.client() as mesh:
            made = await mesh.sync.RegisterEdge(request)
        write_private(file, bootstrap_of(made, found.address, found.ca_file).to_json())
        if output is Format.JSON:
            show_json({"edge": plain(made.edge), "file": str(file)})
            return
        console.print(f"registered {edge}; give {file} to it and to nobody else")
        console.print(f"there: cordboard up --role edge --bootstrap {file.name}")

    run(work)


def bootstrap_of(made: pb.RegisterEdgeResponse, address: str, ca_file: Path | None) -> Bootstrap:
    """Returns what an edge begins with: who it is, and its hub, at this address where the hub says no other."""
    return Bootstrap(
        hub=made.hub,
        edge=made.edge.name.partition("/")[2],
        address=made.address or address,
        authority=ca_file.read_bytes() if ca_file is not None else b"",
        hub_key=made.hub_key.public_key,
        private_key=Secret(made.private_key),
    )


@app.command("list")
def list_edges(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List edges: how far each is, how stale, and what it rejected last."""

    async def work() -> None:
        request = pb.ListEdgesRequest()
        async with as_operator(target(context)) as mesh:
            found: list[pb.Edge] = await list_all(mesh.sync.ListEdges, request)
        show_rows(
            output,
            found,
            ("edge", "has", "of", "stale for", "release", "problem"),
            (
                (
                    each.name.partition("/")[2],
                    each.sequence,
                    each.target_sequence,
                    _age(each),
                    each.release,
                    "revoked" if each.HasField("revoke_time") else each.last_error or _unknown(each),
                )
                for each in found
            ),
        )

    run(work)


@app.command("revoke")
def revoke_edge(context: typer.Context, edge: EdgeId) -> None:
    """Take an edge's right to follow away, for good. What it has, it keeps."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            await mesh.sync.RevokeEdge(pb.RevokeEdgeRequest(name=f"edges/{edge}"))
        console.print(f"revoked {edge}")

    run(work)


@app.command("bundle")
def export_bundle(
    context: typer.Context,
    edge: EdgeId,
    file: Annotated[Path, typer.Option("--file", "-f", help="Where to write the bundle.")],
) -> None:
    """Write all that an edge may have into a file, signed for it: what it begins with where it reaches no hub."""

    async def work() -> None:
        size = 0
        partial = file.with_name(f".{file.name}.partial")
        try:
            async with as_operator(target(context)) as mesh:
                with partial.open("wb") as written:
                    async for part in mesh.sync.ExportBundle(pb.ExportBundleRequest(name=f"edges/{edge}")):
                        size += written.write(part.data)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
        console.print(f"wrote {file}: {size} bytes")

    run(work)


@app.command("rotate-key")
def rotate_key(context: typer.Context) -> None:
    """Make a new signing key, signed by the present one. Edges follow by themselves, cut off or not."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            key = await mesh.sync.RotateHubKey(pb.RotateHubKeyRequest())
        console.print(f"signing with {key.id}")

    run(work)


@app.command("restart-log")
def restart_log(context: typer.Context) -> None:
    """Begin the log anew, after this hub was restored from a backup: edges take everything again."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            restarted = await mesh.sync.RestartLog(pb.RestartLogRequest())
        console.print(f"the log is in epoch {restarted.epoch}")

    run(work)


@app.command("state")
def sync_state(context: typer.Context, output: Output = Format.TABLE) -> None:
    """Show which hub this mesh follows, how far it is, and how old that is."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            state = await mesh.sync.GetSyncState(pb.GetSyncStateRequest())
        if not state.hub and output is Format.TABLE:
            console.print("it follows no hub")
            return
        age = f"{state.age.ToTimedelta().total_seconds():.0f} s" if state.HasField("age") else "never current"
        show_fields(
            output,
            state,
            {
                "hub": state.hub,
                "edge": state.edge,
                "has": f"{state.sequence} of {state.target_sequence}, epoch {state.epoch}",
                "age": age,
                "connected": "yes" if state.connected else "no",
                "last error": state.last_error or "none",
            },
        )
        if output is Format.TABLE and (hint := hint_of(state)):
            console.print(hint)

    run(work)


def hint_of(state: pb.SyncState) -> str:
    """Returns what somebody has to know of an edge that has nothing yet; empty: it has something."""
    if not state.hub or state.sequence:
        return ""
    return (
        "nothing has come from the hub yet, so there are no integrations here: mend the link, or begin with what "
        "`cordboard edges bundle` writes at the hub (`cordboard up --bundle`)"
    )


def _unknown(edge: pb.Edge) -> str:
    names = ", ".join(edge.unknown_workspaces)
    return f"no such workspace here: {names}" if names else ""


def _age(edge: pb.Edge) -> str:
    return f"{edge.staleness.ToTimedelta().total_seconds():.0f} s" if edge.HasField("staleness") else "never current"


def write_private(file: Path, content: bytes) -> None:
    """Writes a new file that its owner alone can read."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(content)
