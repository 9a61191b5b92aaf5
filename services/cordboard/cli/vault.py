"""The vault: its keys rotated, proven, destroyed, and credentials moved to another installation."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import grpc
import typer

from cordboard.auth.v1 import vault_service_pb2 as pb
from cordboard.cli.failures import CommandFailed
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, console, plain, show_fields, show_json, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.client.errors import from_rpc

app = typer.Typer(no_args_is_help=True, help="Look after the vault's keys, and move credentials.")

Only = Annotated[str, typer.Option("--workspace", "-w", help="Only this workspace. Default: all.")]


class Level(StrEnum):
    """Which keys."""

    KEK = "kek"
    WORKSPACE = "workspace"
    DATA = "data"


@app.command("status")
def status(context: typer.Context, workspace: Only = "", output: Output = Format.TABLE) -> None:
    """Show the key provider, and what lies under which key, by the ciphertexts' own headers."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            found = await mesh.vault.GetVaultStatus(pb.GetVaultStatusRequest(workspace=_name(workspace)))
        if output is Format.JSON:
            show_json(plain(found))
            return
        state = "answers" if found.key_provider_healthy else "DOES NOT ANSWER: keys in memory serve for five minutes"
        console.print(f"key provider {found.key_provider}: {state}")
        show_rows(
            output,
            found.key_uses,
            ("level", "workspace", "key", "ciphertexts", ""),
            ((_level(each.level), each.workspace, each.key_id, each.count, _age(each)) for each in found.key_uses),
        )
        console.print(f"under an old key: {found.stale_count}")
        for each in found.rotations[:3]:
            console.print(_line(each))

    run(work)


@app.command("rotate")
def rotate(
    context: typer.Context,
    level: Annotated[Level, typer.Option(help="Which keys: the one above, workspaces' own, or every credential's.")],
    workspace: Only = "",
    output: Output = Format.TABLE,
) -> None:
    """Rotate keys while everything runs. It goes on when this command is ended: `vault status` shows how far it is."""

    async def work() -> None:
        request = pb.RotateKeysRequest(level=pb.KeyLevel.Value(f"KEY_LEVEL_{level.name}"), workspace=_name(workspace))
        last = pb.KeyRotation()
        async with as_operator(target(context)) as mesh:
            async for step in mesh.vault.RotateKeys(request):
                last = step.rotation
                if output is Format.TABLE:
                    console.print(_line(last))
        if output is Format.JSON:
            show_json(plain(last))
        if last.state != pb.KeyRotation.STATE_DONE:
            raise CommandFailed(f"the rotation did not end well: {last.problem or 'it still runs'}")

    run(work)


@app.command("shred")
def shred(
    context: typer.Context,
    workspace: Annotated[str, typer.Argument(help="The workspace's id.")],
    reason: Annotated[str, typer.Option(help="Why, for the journal.")],
    force: Annotated[bool, typer.Option(help="Also while revocations at vendors are still to be made.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Destroy a workspace's keys: nothing of its can be read again, here or in a backup. There is no way back."""
    if not yes:
        typer.confirm(f"Destroy the keys of {workspace} for ever?", abort=True)

    async def work() -> None:
        request = pb.ShredWorkspaceRequest(name=f"workspaces/{workspace}", reason=reason, force=force)
        async with as_operator(target(context)) as mesh:
            done = await mesh.vault.ShredWorkspace(request)
        fields = {"destroyed keys": done.destroyed_keys, "removed connections": done.removed_connections}
        show_fields(output, done, fields)

    run(work)


@app.command("transfer-key")
def transfer_key(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Where to write the public half: hand it to the other installation.")],
) -> None:
    """Make a pair of keys for moving credentials; the private half stays in this installation's vault."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            made = await mesh.vault.CreateTransferKey(pb.CreateTransferKeyRequest())
        file.write_text(made.public_key + "\n")
        console.print(f"{made.key_id}: its public half is in {file}")

    run(work)


@app.command("export")
def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Where to write them.")],
    to: Annotated[Path, typer.Option(help="The other installation's public key: its `vault transfer-key` made it.")],
    signing_key: Annotated[str, typer.Option(help="The id of this installation's transfer key, which signs.")],
    workspace: Only = "",
) -> None:
    """Export connections with their credentials, encrypted to another installation."""

    async def work() -> None:
        request = pb.ExportCredentialsRequest(
            public_key=_text(to), workspace=_name(workspace), signing_key_id=signing_key
        )
        part = file.with_name(f"{file.name}.part")
        count = 0
        async with as_operator(target(context)) as mesh:
            with part.open("w") as lines:
                part.chmod(0o600)
                async for record in mesh.vault.ExportCredentials(request):
                    lines.write(record.line + "\n")
                    count += 1
        part.replace(file)
        console.print(f"{max(0, count - 2)} connections are in {file}")

    run(work)


@app.command("import")
def import_credentials(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="What the other installation exported.")],
    source: Annotated[Path, typer.Option(help="The public key of the installation that exported.")],
    output: Output = Format.TABLE,
) -> None:
    """Import connections. Workspaces have to be there; connections that are there already stay as they are."""

    async def work() -> None:
        public = _text(source)
        _text(file)

        def requests() -> Iterator[pb.ImportCredentialsRequest]:
            with file.open() as lines:
                for number, line in enumerate(lines):
                    yield pb.ImportCredentialsRequest(source_public_key="" if number else public, line=line.strip())

        async with as_operator(target(context)) as mesh:
            try:
                done = await mesh.vault.ImportCredentials(requests())
            except grpc.aio.AioRpcError as error:
                raise from_rpc(error) from None
        show_fields(output, done, {"imported": done.imported_count, "there already": done.present_count})

    run(work)


def _name(workspace: str) -> str:
    return f"workspaces/{workspace}" if workspace else ""


def _level(level: pb.KeyLevel.ValueType) -> str:
    return pb.KeyLevel.Name(level).removeprefix("KEY_LEVEL_").lower()


def _age(use: pb.KeyUse) -> str:
    return "newest" if use.current else "OLD"


def _line(rotation: pb.KeyRotation) -> str:
    state = pb.KeyRotation.State.Name(rotation.state).removeprefix("STATE_").lower()
    problem = f": {rotation.problem}" if rotation.problem else ""
    counts = f"{rotation.done_count} of {rotation.total_count}"
    return f"{rotation.name} {_level(rotation.level)} {state}, {counts}{problem}"


def _text(path: Path) -> str:
    try:
        with path.open() as file:
            return file.readline().strip()
    except (OSError, UnicodeDecodeError):
        raise CommandFailed(f"{path} cannot be read") from None
