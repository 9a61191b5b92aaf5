"""Runs the benchmarks: `python -m bench`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bench import execute, forward, leases, machine, processes, reads, scene, startup, tokens, tracing
from bench.figures import Figure, Sample, table
from cordboard.local.mesh import Mesh

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

UP_AIM_SECONDS = 6.0
WEIGHT_AIM_MIB = 900.0
PARTS = ("reads", "leases", "tokens", "execute", "forward", "tracing")
VENDOR = ("--port", "0", "--rate-limit", "1000000000")


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measures a mesh of its own and prints ratios of medians."
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each comparison (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.5, help="seconds of load in a round (default: %(default)s)")
    parser.add_argument("--starts", type=int, default=3, help="cold starts that are timed (default: %(default)s)")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="measure these alone (default: all)")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    given = parser.parse_args(arguments)
    if given.rounds < 1 or given.starts < 1 or given.seconds <= 0:
        parser.error("--rounds, --starts and --seconds must be positive")
    return given


async def bench(given: argparse.Namespace, progress: Console) -> list[Figure]:
    """Measures everything; the last of the cold starts is the mesh that the rest is measured on."""
    starts = []
    for number in range(given.starts - 1):
        starts.append(await startup.cold_start())
        progress.print(f"cold start {number + 1}: {starts[-1]:.1f} s")
    with startup.fresh_options() as fresh, TemporaryDirectory(prefix="cordboard-bench-") as place:
        folder, begun = Path(place), time.perf_counter()
        async with Mesh(fresh) as mesh:
            starts.append(time.perf_counter() - begun)
            progress.print(f"cold start {given.starts}: {starts[-1]:.1f} s")
            new = startup.weight(mesh)
            async with processes.module("cordboard.sandbox", folder, *VENDOR) as (vendor, _):
                stage = await scene.set_up(mesh, vendor["url"])
                measure: dict[str, Any] = {"rounds": given.rounds, "seconds": given.seconds}
                parts: dict[str, tuple[str, Callable[[], Awaitable[list[Figure]]]]] = {
                    "reads": ("reads against an echo", partial(reads.measure, mesh, stage, folder, **measure)),
                    "leases": ("leases of credentials", partial(leases.measure, mesh, folder, rounds=given.rounds)),
                    "tokens": ("tokens against bare signatures", partial(tokens.measure, mesh, rounds=given.rounds)),
                    "execute": (
                        "Execute against a bare vendor call",
                        partial(execute.measure, mesh, stage, folder, **measure),
                    ),
                    "forward": (
                        "what passes through against a bare Envoy",
                        partial(forward.measure, mesh, stage, folder, **measure),
                    ),
                    "tracing": ("calls with and without a trace", partial(tracing.measure, mesh, stage, **measure)),
                }
                figures: list[Figure] = []
                for name in given.only:
                    told, measured = parts[name]
                    progress.print(f"{told} …")
                    figures += await measured()
            used = startup.weight(mesh)
    up = Sample("up", "s", tuple(starts))
    return [*figures, Figure("cold up to ready", up, aim=UP_AIM_SECONDS, better="lower"), *_weights(new, used)]


def _weights(new: startup.Weight, used: startup.Weight) -> list[Figure]:
    figures = []
    for when, found in (("ready", new), ("loaded", used)):
        each = Sample("resident", "MiB", (found.resident,))
        once = None if found.proportional is None else Sample("proportional", "MiB", (found.proportional,))
        name = f"memory when {when}, {found.processes} processes"
        aim: dict[str, Any] = {"aim": WEIGHT_AIM_MIB, "better": "lower"}
        if once is not None:
            figures.append(Figure(f"{name}, shared pages once", once, **aim))
        # The sum that counts a shared page in every process is the stand-in where the kernel tells nothing better.
        figures.append(Figure(f"{name}, shared pages in each", each, **({} if once else aim)))
    return figures


def main() -> None:
    """Runs the command."""
    given = options(sys.argv[1:])
    progress = Console(stderr=True, style="dim", highlight=False)
    found = machine.facts()
    figures: list[Figure] = []

    async def work() -> None:
        figures.extend(await bench(given, progress))

    begun = time.perf_counter()
    processes.run(partial(work))
    took = time.perf_counter() - begun
    if given.output == "json":
        print(
            json.dumps(
                {"machine": found, "seconds": took, "figures": [figure.to_json() for figure in figures]}, indent=1
            )
        )
        return
    # A pipe has no width: nothing is to be cut there.
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(", ".join(f"{name}: {value}" for name, value in found.items()), style="dim")
    console.print(table("Benchmarks", figures))
    console.print(f"took {took:.0f} s; every call was traced that is not called untraced", style="dim")


if __name__ == "__main__":
    main()
