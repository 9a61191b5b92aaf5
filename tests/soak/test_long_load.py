"""A whole mesh under a mixed load for long, a third of whose callers leave midway: what it holds on to stays as it was.

SECONDS in the environment says for how long; ten minutes without it, and an hour (3600) is what the project promises.
RATE says how many calls there are a second. A minute of load and a rest take turns: figures are taken at rest, where
nothing but a leak is held. The first third of the run is there to warm up; then the slope of memory is told, and a leak
of it is more than what caches take that still fill.
"""

from __future__ import annotations

import os
import re
import sys
from functools import partial
from typing import Final

from cordboard.local.mesh import Mesh
from tests.fixtures.desk import Desk, a_desk
from tests.fixtures.held import CONNECTIONS, DESCRIPTORS, MEMORY, TASKS, Callers, Sample, at_rest, leaks, told
from tests.fixtures.mesh import Backstage, RunningMesh, a_mesh

SECONDS: Final = float(os.environ.get("SECONDS", "600"))
RATE: Final = float(os.environ.get("RATE", "20"))
ROUND_SECONDS: Final = 45.0
CONTROL_SECONDS: Final = 30.0
WARM: Final = 1 / 3


async def loaded(desk: Desk, mesh: RunningMesh, callers: Callers, seconds: float, each: float) -> list[Sample]:
    """Calls for so long in rounds; returns what was held before the first and after each of them."""
    samples = []
    async with mesh.operator() as operator:
        with desk.broken(latency_ms=30):
            await callers.go_on(each / 3)
        samples.append(await at_rest(mesh, operator))
        while samples[-1].at < samples[0].at + seconds:
            with desk.broken(latency_ms=30):
                await callers.go_on(each)
            samples.append(await at_rest(mesh, operator))
            print(f"{samples[-1].at - samples[0].at:.0f} s: {callers.told()}\n{told(samples)}", flush=True)
    return samples


async def test_what_a_mesh_holds_on_to_stays_as_it_was(running_mesh: RunningMesh, desk: Desk) -> None:
    callers = Callers(desk, await desk.tenant(), RATE)
    samples = await loaded(desk, running_mesh, callers, SECONDS, ROUND_SECONDS)
    warm = next(number for number, one in enumerate(samples) if one.at >= samples[0].at + SECONDS * WARM)
    print(
        f"\n{samples[-1].at - samples[0].at:.0f} s, {len(samples)} samples at rest, {callers.told()}; "
        f"load {os.getloadavg()[0]:.1f}; after a third of the time:\n{told(samples[warm:])}"
    )
    assert leaks(samples[warm:]) == []
    # Who writes a batch at that very moment holds a connection; one that leaks is held in every sample since.
    assert sum(bool(sample.used() or sample.in_transaction) for sample in samples) <= len(samples) / 4


async def test_a_proxy_that_leaks_is_seen(backstage: Backstage, trust: None) -> None:
    """The control: connections, transactions, tasks, descriptors and memory that calls leave when callers do."""

    def command(service: str) -> tuple[str, ...]:
        module = "tests.soak.leaking_proxy_process" if service == "proxy" else f"cordboard.{service}"
        return (sys.executable, "-m", module)

    with a_mesh(backstage, kind=partial(Mesh, service_command=command)) as mesh, a_desk(mesh, backstage) as desk:
        callers = Callers(desk, await backstage.wait(desk.tenant()), RATE)
        samples = await loaded(desk, mesh, callers, CONTROL_SECONDS, CONTROL_SECONDS)
        seen = leaks(samples)
    print("\nthe control leaks:", *seen, sep="\n")
    for what in (f"proxy: .* {CONNECTIONS} used", f"proxy: {TASKS}", f"proxy: {DESCRIPTORS}", f"proxy: {MEMORY}"):
        assert any(re.match(what, each) for each in seen), what
    # Memory of others still grows while caches fill: this load has nothing to warm up with.
    assert all(each.startswith("proxy") or MEMORY in each for each in seen)
