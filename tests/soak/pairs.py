"""Two Proxies of one mesh with an Envoy before them: the scene of what happens when one of them goes, or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from cordboard.local import environment, envoy, probes
from cordboard.local.certificates import SERVICES
from cordboard.local.ports import Ports
from tests.fixtures.mesh import RunningMesh, until

ONE, OTHER = "proxy", "the other proxy"
PATIENCE: Final = 180.0
NAME: Final = "proxy.cordboard.internal"


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
        # What the second Proxy's process has in its environment beside its settings, and the module that it is.
        self.environment: dict[str, str] = {}
        self.module = "cordboard.proxy"
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

    async def begin_other(self, **settings: str) -> None:
        """Starts the second Proxy; `settings` are its own, by field name."""
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
        given |= {f"CORDBOARD_{name.upper()}": value for name, value in settings.items()}
        given |= self.environment
        with (self.folder / "proxy.log").open("ab") as log:
            self.other = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self.module, env=given, stdout=log, stderr=log
            )
        await until(lambda: self._serves(self.addresses["proxy"]), "the second Proxy", patience=PATIENCE)

    def pid(self, which: str) -> int:
        """Returns the process id of one of them, which runs."""
        if which == OTHER:
            assert self.other is not None
            return self.other.pid
        found = self.mesh.mesh.pid("proxy")
        assert found is not None
        return found

    async def kill(self, which: str) -> None:
        """Kills one of them, and returns when its successor answers."""
        await self.end_one(which, signal.SIGKILL)

    async def stop(self, which: str, **settings: str) -> float:
        """Has one of them end by itself; returns, when its successor answers, the seconds that the end took."""
        return await self.end_one(which, signal.SIGTERM, **settings)

    async def end_one(self, which: str, by: signal.Signals, **settings: str) -> float:
        """Sends one of them a signal that ends it; returns how long that took, when its successor answers."""
        mesh, pid = self.mesh.mesh, self.pid(which)
        began = time.monotonic()
        os.kill(pid, by)
        if which == OTHER:
            assert self.other is not None
            await self.other.wait()
            took = time.monotonic() - began
            await self.begin_other(**settings)
            return took

        async def gone() -> bool:
            return mesh.pid("proxy") != pid

        await until(gone, "the mesh's Proxy to end", patience=PATIENCE)
        took = time.monotonic() - began

        async def anew() -> bool:
            return mesh.pid("proxy") not in (None, pid) and await self._serves(mesh.address("proxy"))

        await until(anew, "the mesh's Proxy", patience=PATIENCE)
        return took

    @contextlib.contextmanager
    def hanging(self, which: str) -> Iterator[None]:
        """Makes one of them hang inside the block: it refuses nothing, and answers nothing."""
        pid = self.pid(which)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    async def healthy(self, cluster: str = "proxy") -> set[str]:
        """Returns which of them Envoy sends calls to."""
        answer = await probes.answer_of_socket(self.folder / envoy.ADMIN_SOCKET, "/clusters?format=json")
        if answer is None:
            return set()
        others = int(self.addresses[cluster].rpartition(":")[2])
        [found] = [each for each in json.loads(answer)["cluster_statuses"] if each["name"] == cluster]
        taken = [host for host in found["host_statuses"] if not _out(host["health_status"])]
        return {OTHER if _port(host) == others else ONE for host in taken}

    async def both(self) -> None:
        """Returns when Envoy sends calls to both."""

        async def taken() -> bool:
            return await self.healthy() == {ONE, OTHER}

        await until(taken, "both Proxies behind Envoy", patience=PATIENCE)

    async def without(self, which: str, cluster: str = "proxy") -> None:
        """Returns when Envoy sends calls to the other one, and to this one no more."""

        async def out() -> bool:
            return await self.healthy(cluster) == {ONE, OTHER} - {which}

        await until(out, f"{which} out of rotation", patience=PATIENCE)

    async def _serves(self, address: str) -> bool:
        return await probes.serving(address, NAME, self.mesh.mesh.identity_dir("operator"))

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
            services={name: int(mesh.address(name).rpartition(":")[2]) for name in (envoy.FORWARD, *SERVICES)},
            identities=mesh.identity_dir("proxy").parent,
            sockets=self.folder,
            directory=self.folder / "envoy",
            descriptors=envoy.descriptors(),
            rate_limit=envoy.RateLimit(per_second=10_000, burst=10_000),
        )
        file = envoy.fit(layout)
        if self.replicas > 1:
            fitted = json.loads(file.read_text())
            for cluster in fitted["static_resources"]["clusters"]:
                if cluster["name"] in self.addresses:
                    port = int(self.addresses[cluster["name"]].rpartition(":")[2])
                    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
                    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"].append(
                        {"endpoint": {"address": address}}
                    )
            file.write_text(json.dumps(fitted))
        return file


def _port(host: dict[str, Any]) -> int:
    return int(host["address"]["socket_address"]["port_value"])


def _out(status: dict[str, Any]) -> bool:
    return bool(status.get("failed_active_health_check") or status.get("failed_outlier_check"))


@contextlib.asynccontextmanager
async def two(
    mesh: RunningMesh, replicas: int = 2, *, environment: dict[str, str] | None = None, module: str = "cordboard.proxy"
) -> AsyncIterator[Pair]:
    """Runs them; `environment` and `module` are the second Proxy's."""
    with TemporaryDirectory(prefix="cb-", dir="/tmp") as folder:
        pair = Pair(mesh, Path(folder), replicas)
        pair.environment, pair.module = environment or {}, module
        try:
            await pair.begin()
            yield pair
        finally:
            await pair.end()
