"""What tracing costs: Execute through Envoy, traced, against calls whose caller asked for no trace.

That a caller may do so is a setting of the mesh that is measured (`CORDBOARD_TRACE_CALLERS_DECIDE`).
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from bench import load, processes, scene, startup
from bench.figures import Figure, Sample
from cordboard.client import Client, CordboardError

if TYPE_CHECKING:
    from cordboard.local.mesh import Mesh

# At most 15 of 100 calls a second.
AIM = 0.85


def unsampled() -> str:
    """Returns a W3C `traceparent` that asks for no record."""
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-00"


async def measure(mesh: Mesh, stage: scene.Scene, *, rounds: int, seconds: float) -> list[Figure]:
    """Measures both in turn, round by round: spans are made, sent and stored for the one, and not for the other."""
    found: dict[str, list[float]] = {"traced": [], "untraced": []}
    for number in range(rounds):
        for name in found if number % 2 == 0 else reversed(found):
            asked = unsampled if name == "untraced" else None
            async with Client(
                mesh.public_address, token=stage.member_token, ca_file=mesh.ca_file, traceparent=asked
            ) as member:
                call = partial(member.execute, scene.CONNECTION, scene.ACTION, {"ticket_id": stage.ticket_id})
                await processes.until(partial(_answered, call), "a first answer")
                await load.idle(startup.servers(mesh))
                found[name].append(await load.rate(call, seconds))
    traced, untraced = (Sample(name, "calls/s", tuple(found[name])) for name in ("traced", "untraced"))
    return [Figure("Execute, traced / untraced", traced, untraced, AIM)]


async def _answered(call: Any) -> bool:
    try:
        await call()
    except CordboardError:
        return False
    return True
