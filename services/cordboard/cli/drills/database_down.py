"""The database hangs: it refuses nothing, and answers nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cordboard.auth.v1 import connection_service_pb2 as connections
from cordboard.cli.demo.desk import connect_by_key
from cordboard.cli.demo.narrator import StepFailed
from cordboard.cli.drills.scene import CONNECTION, READ, WORKSPACE, Cause, becomes, refused
from cordboard.client import CordboardError
from cordboard.local import probes
from cordboard.local.certificates import SERVICES
from cordboard.local.mesh import POSTGRES

if TYPE_CHECKING:
    from cordboard.cli.drills.scene import Scene

SPARE: Final = f"workspaces/{WORKSPACE}/connections/spare"
TICKET: Final = {"subject": "A drill", "requester_id": "con_00000001"}


async def play(scene: Scene) -> None:
    """Plays it; raises StepFailed where it does not go as the runbook says."""
    process = scene.mesh.pid(POSTGRES)
    if process is None:
        raise StepFailed("the database is being started")
    await _settled(scene)
    async with scene.traffic() as calls:
        with hanging(process):
            began = time.monotonic()
            with scene.narrator.step("The database hangs", "A customer goes on calling, ten times a second."):
                pass
            with scene.narrator.step("It is noticed", "Runbook: ServiceFailing; `cordboard status`.") as step:
                for service in SERVICES:
                    await becomes(lambda name=service: _misses(scene, name), f"what {service} misses")  # type: ignore[misc]
                step.result(f"after {time.monotonic() - began:.1f} s every service says: database")
            with scene.narrator.step("What is in memory is served; what may change something is refused") as step:
                await calls.go_well(time.monotonic())
                step.result("a read goes well")
                error = await refused(scene.member.execute(CONNECTION, "create_ticket", TICKET, timeout=30))
                step.result(f"a write does not: {error.code.name}, {error.reason}")
            await scene.look(Cause("the database does not answer"))
        with scene.narrator.step("The database is back", "Runbook: services reconnect, nothing is restarted.") as step:
            healed = time.monotonic()
            await becomes(lambda: _written(scene), "a write that goes well")
            step.result(f"a write goes well {time.monotonic() - healed:.1f} s later")
            restarts = {name: scene.mesh.restarts(name) for name in SERVICES if scene.mesh.restarts(name)}
            if restarts:
                raise StepFailed(f"services were restarted: {restarts}")
            await scene.member.execute(CONNECTION, READ, {})


@contextlib.contextmanager
def hanging(pid: int) -> Iterator[None]:
    """Makes a process and its children hang inside the block."""
    children = (int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split())
    held = [pid, *children]
    for each in held:
        os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in reversed(held):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGCONT)


async def _settled(scene: Scene) -> None:
    """Returns when the Proxy has heard of every account until now: news of one ends what it holds of it."""
    await scene.member.execute(CONNECTION, READ, {})
    await connect_by_key(scene.operator, scene.member, scene.vendor, SPARE)
    await scene.member.execute(SPARE, READ, {})
    await scene.operator.connections.DeleteConnection(connections.DeleteConnectionRequest(name=SPARE))
    await becomes(lambda: _fails(scene), "the news of an account that is gone")


async def _fails(scene: Scene) -> bool:
    try:
        await scene.member.execute(SPARE, READ, {})
    except CordboardError:
        return True
    return False


async def _misses(scene: Scene, service: str) -> bool:
    address, identity = scene.mesh.address(service), scene.mesh.identity_dir("operator")
    return await probes.away(address, f"{service}.cordboard.internal", identity) == ["database"]


async def _written(scene: Scene) -> bool:
    try:
        done = await scene.member.execute(CONNECTION, "create_ticket", TICKET, timeout=10)
    except CordboardError:
        return False
    return done.vendor_status == 201
