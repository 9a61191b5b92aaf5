"""Execute through Envoy, against the same Envoy in front of a handler that makes the vendor call and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import os
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bench import baseline, load, processes, scene, startup
from bench.figures import Figure, Sample
from cordboard.client import Client, CordboardError
from cordboard.local import envoy, probes
from cordboard.local.certificates import SERVICES
from cordboard.local.ports import Ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cordboard.local.mesh import Mesh

AIM = 0.5


async def measure(mesh: Mesh, stage: scene.Scene, folder: Path, *, rounds: int, seconds: float) -> list[Figure]:
    """Measures both in turn, round by round; each call is traced from Envoy to the vendor."""
    found: dict[str, list[float]] = {"Execute": [], "baseline": []}
    async with _second_door(mesh, stage, folder) as other:
        doors = {"baseline": other, "Execute": mesh.public_address}
        for number in range(rounds):
            for name in doors if number % 2 == 0 else reversed(doors):
                async with Client(doors[name], token=stage.member_token, ca_file=mesh.ca_file) as member:
                    call = partial(member.execute, scene.CONNECTION, scene.ACTION, {"ticket_id": stage.ticket_id})
                    await _check(call, stage)
                    await load.idle(startup.servers(mesh))
                    found[name].append(await load.rate(call, seconds))
    mine, bare = (Sample(name, "calls/s", tuple(found[name])) for name in ("Execute", "baseline"))
    return [Figure("Execute / bare vendor call, both through Envoy", mine, bare, AIM)]


async def _check(call: Any, stage: scene.Scene) -> None:
    async def answered() -> bool:
        try:
            return str((await call()).output["id"]) == stage.ticket_id
        except CordboardError:
            return False

    await processes.until(answered, "a first answer")


@contextlib.asynccontextmanager
async def _second_door(mesh: Mesh, stage: scene.Scene, folder: Path) -> AsyncIterator[str]:
    """Runs the baseline and an Envoy of the mesh's own configuration whose Proxy it is; gives that Envoy's address."""
    os.environ[baseline.API_KEY_VARIABLE] = stage.api_key
    collector = ("--vendor", stage.vendor, "--collector", mesh.address("telemetry"))
    identity = mesh.identity_dir("proxy")
    ports = Ports()
    with TemporaryDirectory(prefix="cordboard-") as sockets:
        async with processes.module("bench.baseline", folder, "--identity", str(identity), *collector) as (served, _):
            services = {name: int(mesh.address(name).rpartition(":")[2]) for name in SERVICES}
            layout = envoy.EnvoyLayout(
                public_port=ports.claim(),
                services=services | {"proxy": served["port"]},
                identities=identity.parent,
                sockets=Path(sockets),
                directory=folder / "envoy",
                descriptors=envoy.descriptors(),
                rate_limit=mesh.options.rate_limit,
            )
            command = envoy.command(await asyncio.to_thread(envoy.fit, layout))
            async with processes.running(*command, log=folder / "envoy.log"):
                ready = partial(probes.answers_over_tls, layout.public_port, "/readyz", mesh.ca_file)
                await processes.until(ready, f"the second Envoy; see {folder / 'envoy.log'}")
                yield f"localhost:{layout.public_port}"
    ports.release()
