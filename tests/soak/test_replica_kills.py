"""kill -9 of one of two Proxies behind Envoy every ten seconds, while callers go on.

KILLS in the environment says how often; 30, five minutes, is what the project promises. RATE says how many calls there
are a second: fewer than the machine can do, for what is counted is what the kills cost. A caller does as the failure
strategy says: what ended with UNAVAILABLE is asked for once more, under the same key.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cordboard.client import Client, CordboardError, Unavailable
from cordboard.local import environment, envoy, probes
from cordboard.local.certificates import SERVICES
from cordboard.local.ports import Ports
from tests.fixtures.desk import Desk, Tenant
from tests.fixtures.mesh import RunningMesh, until

KILLS: Final = int(os.environ.get("KILLS", "30"))
EVERY_SECONDS: Final = 10.0
RATE: Final = float(os.environ.get("RATE", "20"))
AIM: Final = 0.999
ONE, OTHER = "proxy", "the other proxy"


class Pair:
    """Two Proxies of one mesh, its own and one of this test's, with an Envoy of its configuration before them."""

    def __init__(self, mesh: RunningMesh, folder: Path, replicas: int) -> None:
        self.mesh = mesh
        self.folder = folder
        self.replicas = replicas
        self.ports = Ports()
        self.public = self.ports.claim()
        self.addresses = {name: f"127.0.0.1:{self.ports.claim()}" for name in ("proxy", envoy.FORWARD)}
        self.other: asyncio.subprocess.Process | None = None
        self.envoy: asyncio.subprocess.Process | None = None

    async def begin(self) -> None:
        """Starts the second Proxy and the Envoy, and returns when both answer."""
        if self.replicas > 1:
            await self.begin_other()
        command = envoy.command(await asyncio.to_thread(self._configured))
        with (self.folder / "envoy.log").open("wb") as log:
            self.envoy = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        trust = self.mesh.mesh.ca_file
        await until(lambda: probes.answers_over_tls(self.public, "/readyz", trust), "Envoy to be ready")

    async def begin_other(self) -> None:
        """Starts the second Proxy."""
        mesh = self.mesh.mesh
        given = environment.of_service(
            "proxy",
            mesh.options,
            addresses={name: mesh.address(name) for name in SERVICES} | self.addresses,
            identity=mesh.identity_dir("proxy"),
            database_url=mesh.database_url("proxy"),
            public_url=mesh.public_url,
            key_encryption_keys=self.folder,
            hub_key=self.folder,
        )
        with (self.folder / "proxy.log").open("ab") as log:
            self.other = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "cordboard.proxy", env=given, stdout=log, stderr=log
            )
        name, probing_as = "proxy.cordboard.internal", mesh.identity_dir("operator")
        await until(lambda: probes.serving(self.addresses["proxy"], name, probing_as), "the second Proxy", patience=60)

    async def kill(self, which: str) -> None:
        """Kills one of them, and returns when its successor answers."""
        mesh = self.mesh.mesh
        if which == OTHER:
            assert self.other is not None
            self.other.kill()
            await self.other.wait()
            await self.begin_other()
            return
        pid = mesh.pid("proxy")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        name, probing_as = "proxy.cordboard.internal", mesh.identity_dir("operator")

        async def anew() -> bool:
            return mesh.pid("proxy") not in (None, pid) and await probes.serving(
                mesh.address("proxy"), name, probing_as
            )

        await until(anew, "the mesh's Proxy", patience=60)

    async def end(self) -> None:
        for process in (self.envoy, self.other):
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()
        self.ports.release()

    def _configured(self) -> Path:
        mesh = self.mesh.mesh
        layout = envoy.EnvoyLayout(
            public_port=self.public,
            services={name: int(mesh.address(name).rpartition(":")[2]) for name in SERVICES},
            identities=mesh.identity_dir("proxy").parent,
            sockets=self.folder,
            directory=self.folder / "envoy",
            descriptors=envoy.descriptors(),
            rate_limit=envoy.RateLimit(per_second=10_000, burst=10_000),
        )
        file = envoy.fit(layout)
        if self.replicas > 1:
            fitted = json.loads(file.read_text())
            [cluster] = [each for each in fitted["static_resources"]["clusters"] if each["name"] == "proxy"]
            port = int(self.addresses["proxy"].rpartition(":")[2])
            address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
            cluster["load_assignment"]["endpoints"][0]["lb_endpoints"].append({"endpoint": {"address": address}})
            file.write_text(json.dumps(fitted))
        return file


@contextlib.asynccontextmanager
async def two(mesh: RunningMesh, replicas: int = 2) -> AsyncIterator[Pair]:
    with TemporaryDirectory(prefix="cb-", dir="/tmp") as folder:
        pair = Pair(mesh, Path(folder), replicas)
        try:
            await pair.begin()
            yield pair
        finally:
            await pair.end()


async def load(pair: Pair, tenant: Tenant, kills: int) -> tuple[Counter[str], Counter[str]]:
    """Calls at a steady rate while Proxies are killed; returns how calls ended at first, and in the end."""
    first: Counter[str] = Counter()
    last: Counter[str] = Counter()
    running: set[asyncio.Task[None]] = set()
    killing = True

    async def call(client: Client, number: int) -> None:
        subject = f"call {number} of {tenant.workspace}"
        values = {"subject": subject, "requester_id": "con_00000001"}
        for counts in (first, last):
            try:
                await client.execute(
                    tenant.connection, "create_ticket", values, idempotency_key=subject.replace(" ", "-"), timeout=20
                )
            except Unavailable as error:
                counts[ending(error)] += 1
                continue
            except CordboardError as error:
                counts[ending(error)] += 1
                last.update({ending(error): 1} if counts is first else {})
                return
            counts["OK"] += 1
            last.update({"OK": 1} if counts is first else {})
            return

    async def kill() -> None:
        nonlocal killing
        for number in range(kills):
            await asyncio.sleep(EVERY_SECONDS)
            await pair.kill(OTHER if number % 2 and pair.replicas > 1 else ONE)
        await asyncio.sleep(EVERY_SECONDS / 2)
        killing = False

    trust = pair.mesh.mesh.ca_file
    async with Client(f"localhost:{pair.public}", token=tenant.token, ca_file=trust) as client:
        await Desk.reach(client, tenant)
        killer = asyncio.create_task(kill())
        begun, sent = time.monotonic(), 0
        while killing:
            task = asyncio.create_task(call(client, sent))
            running.add(task)
            task.add_done_callback(running.discard)
            sent += 1
            await asyncio.sleep(max(0.0, begun + sent / RATE - time.monotonic()))
        await asyncio.gather(killer, *running)
    return first, last


def ending(error: CordboardError) -> str:
    """Returns how a call ended: the mesh's reason, or what Envoy says of it."""
    return error.reason or f"{error.code.name} {error}"[:100]


def share(counts: Counter[str]) -> float:
    return counts["OK"] / counts.total()


def told(counts: Counter[str]) -> str:
    return f"{share(counts):.5f} {dict(counts)}"


async def test_nearly_every_call_goes_well_while_one_of_two_proxies_is_killed_again_and_again(desk: Desk) -> None:
    tenant = await desk.tenant()
    async with two(desk.mesh) as pair:
        first, last = await load(pair, tenant, KILLS)
    twice = {subject: count for subject, count in desk.tickets().items() if tenant.workspace in subject and count > 1}
    print(f"\n{KILLS} kills, {first.total()} calls: at once {told(first)}, in the end {told(last)}; twice {len(twice)}")
    assert share(last) >= AIM
    assert twice == {}


async def test_a_proxy_that_is_alone_is_missed(desk: Desk) -> None:
    """The control: the same calls, with nobody to take over."""
    tenant = await desk.tenant()
    async with two(desk.mesh, replicas=1) as pair:
        first, last = await load(pair, tenant, 3)
    print(f"\nalone, 3 kills, {first.total()} calls: at once {told(first)}, in the end {told(last)}")
    assert share(last) < AIM
