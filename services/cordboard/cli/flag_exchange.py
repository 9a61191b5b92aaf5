"""Flags out of a mesh and into one: as they are here, and as other tools write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cordboard.cli.failures import USAGE, CommandFailed
from cordboard.cli.flag_review import CHOICES, all_flags, document
from cordboard.cli.foreign_flags.documents import read
from cordboard.cli.foreign_flags.own import to_own
from cordboard.cli.foreign_flags.unleash import to_unleash
from cordboard.cli.foreign_flags.words import Unsayable
from cordboard.cli.options import Output, Reason, target
from cordboard.cli.output import Format, show_json, show_rows
from cordboard.cli.session import as_operator, run
from cordboard.client import Client, NotFound
from cordboard.flags.v1 import flag_service_pb2 as pb


class Written(StrEnum):
    """Whose format."""

    CORDBOARD = "cordboard"
    FLAGD = "flagd"
    UNLEASH = "unleash"


def add_to(app: typer.Typer) -> None:
    """Adds these commands to those of flags."""
    app.command("export")(export)
    app.command("import")(import_flags)


def export(
    context: typer.Context,
    key: Annotated[list[str] | None, typer.Argument(help="Only these flags. Default: all.")] = None,
    format_: Annotated[
        Written, typer.Option("--format", help="Whose format. `cordboard` has everything that a flag says.")
    ] = Written.FLAGD,
) -> None:
    """Print flags as they are here, as flagd's flag definitions, or as Unleash's features."""

    async def work() -> None:
        async with as_operator(target(context)) as mesh:
            if format_ is Written.FLAGD:
                watch = mesh.flags.WatchFlags(pb.WatchFlagsRequest())
                whole = json.loads((await anext(aiter(watch))).flag_configuration)["flags"]
                watch.cancel()
                show_json({"$schema": "https://flagd.dev/schema/v0/flags.json", "flags": _known(whole, key)})
                return
            flags = {flag.name.partition("/")[2]: flag for flag in await all_flags(mesh)}
        wanted = list(_known(flags, key).values())
        try:
            show_json(to_own(wanted) if format_ is Written.CORDBOARD else to_unleash(wanted))
        except Unsayable as problem:
            raise CommandFailed(f"Unleash cannot say it: {problem}", USAGE) from None

    run(work)


def import_flags(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="What `export` printed, or what flagd or Unleash has.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be put.")] = False,
    reason: Reason = "",
    output: Output = Format.TABLE,
) -> None:
    """Put flags of another mesh, or those of another tool that can be said here, and say why the others cannot."""
    try:
        reading = read(document(file))
    except Unsayable as problem:
        raise typer.BadParameter(f"{file} {problem}", param_hint="FILE") from None

    chosen = {flag.name.partition("/")[2] for flag in reading.flags if flag.name.startswith(CHOICES)}
    flags = [flag for flag in reading.flags if flag.name.partition("/")[2] not in chosen]
    left_out = {**reading.left_out, **dict.fromkeys(sorted(chosen), "is what workspaces choose themselves")}

    async def work() -> None:
        why = reason or f"imported from {file.name}"
        if not dry_run:
            async with as_operator(target(context)) as mesh:
                for flag in flags:
                    await _put(mesh, flag, why)
        rows = [(flag.name.partition("/")[2], _outcome(flag, dry_run)) for flag in flags]
        rows += [(key, f"left out: {why}") for key, why in left_out.items()]
        if output is Format.JSON:
            show_json([{"key": key, "outcome": outcome} for key, outcome in rows])
        else:
            show_rows(output, flags, ("key", "outcome"), rows)
        if left_out:
            raise typer.Exit(1)

    run(work)


async def _put(mesh: Client, flag: pb.Flag, reason: str) -> None:
    """Puts a flag; one that is killed decides at no moment by its rules."""
    if flag.killed:
        kill = pb.KillFlagRequest(name=flag.name, reason=reason)
        try:
            await mesh.flags.KillFlag(kill)
        except NotFound:
            off = pb.Flag(name=flag.name, variants=flag.variants, default_variant=flag.off_variant)
            off.default_variant = off.default_variant or flag.default_variant
            await mesh.flags.PutFlag(pb.PutFlagRequest(flag=off, reason=reason))
            await mesh.flags.KillFlag(kill)
    await mesh.flags.PutFlag(pb.PutFlagRequest(flag=flag, reason=reason))


def _outcome(flag: pb.Flag, dry_run: bool) -> str:
    return f"{'would be put' if dry_run else 'put'}{', killed' if flag.killed else ''}"


def _known(flags: dict[str, Any], wanted: Sequence[str] | None) -> dict[str, Any]:
    # What workspaces choose is theirs, where they chose it.
    every = [key for key in flags if not f"flags/{key}".startswith(CHOICES)]
    return {key: flags[key] for key in (wanted or every) if key in flags}
