"""How long a mesh takes from nothing to ready, and what it weighs."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import psutil

from cordboard.local.certificates import SERVICES
from cordboard.local.envoy import RateLimit
from cordboard.local.mesh import ENVOY, POSTGRES, Mesh
from cordboard.local.options import EVERY_SERVICE, MeshOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1024 * 1024
# The benchmark measures the mesh and not its brakes.
UNLIMITED = RateLimit(per_second=1_000_000, burst=1_000_000)


@dataclass(frozen=True)
class Weight:
    """The memory of all processes of a mesh, in MiB."""

    processes: int
    resident: float
    """Sum of resident set sizes: a page that processes share counts in each of them."""
    proportional: float | None
    """Sum of proportional set sizes: a shared page counts once in all; None where the kernel does not tell us."""


@contextlib.contextmanager
def fresh_options() -> Iterator[MeshOptions]:
    """Gives the options of a mesh with nothing before it, which may reach a vendor on this machine."""
    with TemporaryDirectory(prefix="cordboard-bench-") as folder:
        yield MeshOptions(
            state_dir=Path(folder) / "state",
            rate_limit=UNLIMITED,
            egress_allowed_networks=("127.0.0.0/8",),
            retain_data=False,
            # What tracing costs is measured with calls that ask for no trace.
            extra_env={EVERY_SERVICE: {"CORDBOARD_TRACE_CALLERS_DECIDE": "true"}},
        )


async def cold_start() -> float:
    """Returns the seconds from an empty state directory to a mesh that is ready."""
    with fresh_options() as options:
        begun = time.perf_counter()
        async with Mesh(options):
            return time.perf_counter() - begun


def servers(mesh: Mesh) -> list[int]:
    """Returns the process ids of the services and of Envoy."""
    return [pid for name in (*SERVICES, ENVOY) if (pid := mesh.pid(name)) is not None]


def processes_of(mesh: Mesh) -> list[psutil.Process]:
    """Returns every process of a mesh, with the children of each."""
    found = []
    for name in (*SERVICES, ENVOY, POSTGRES):
        pid = mesh.pid(name)
        if pid is not None:
            parent = psutil.Process(pid)
            found += [parent, *parent.children(recursive=True)]
    return found


def weight(mesh: Mesh) -> Weight:
    """Returns what the mesh weighs now."""
    processes = processes_of(mesh)
    resident = sum(process.memory_info().rss for process in processes)
    try:
        proportional: float | None = sum(process.memory_full_info().pss for process in processes) / MIB
    except psutil.AccessDenied:
        # The services forbid looking into their memory; only root may.
        proportional = None
    return Weight(len(processes), resident / MIB, proportional)
