"""Proxies that a test kills: each successor is forked from one process that has imported what it needs.

To start Python and import a Proxy takes most of what a start takes, and on a busy machine many times that; a fork takes
milliseconds, so that 200 kills are minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import grpc

from cordboard.local.certificates import Identities
from cordboard.local.forked import Forked, ForkServerProcess
from cordboard.local.logs import LogFile
from tests.fixtures.serving import TokenMint
from tests.soak.proxy_process import SETTINGS
from tests.unit.proxy.running import until

START_SECONDS: Final = 180.0
_PORT: Final = re.compile(r"^port (\d+)$", re.MULTILINE)
CARELESS: Final = "tests.soak.careless_proxy_process"
MODULES: Final = ("tests.soak.proxy_process", "tests.soak.hasty_proxy_process", CARELESS)


class Nursery:
    """Where Proxies come from."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._forks = ForkServerProcess(dict(os.environ), LogFile(folder / "forks.log"), MODULES)
        self._started = 0

    async def start(self, module: str, settings: dict[str, Any]) -> tuple[Forked, int]:
        """Starts a Proxy; returns it and its port once it serves."""
        self._started += 1
        log = self._folder / f"{self._started}.log"
        given = {**os.environ, SETTINGS: json.dumps(settings)}
        process = await self._forks.start("proxy", module, given, log)
        found: list[int] = []

        async def serves() -> bool:
            text = await asyncio.to_thread(log.read_text, errors="replace") if log.exists() else ""
            found.extend(int(port) for port in _PORT.findall(text))
            return bool(found)

        try:
            await until(serves, START_SECONDS)
        except TimeoutError:
            raise AssertionError(f"a Proxy did not start:\n{LogFile(log).tail(50)}") from None
        return process, found[0]

    async def close(self) -> None:
        await self._forks.close()


@contextlib.asynccontextmanager
async def a_nursery() -> AsyncIterator[Nursery]:
    with TemporaryDirectory(prefix="cb-", dir="/tmp") as folder:
        nursery = Nursery(Path(folder))
        try:
            yield nursery
        finally:
            await nursery.close()


@dataclass
class KilledProxy:
    """One process of the Proxy, and its successors."""

    nursery: Nursery
    settings: dict[str, Any]
    identities: Identities
    mint: TokenMint
    module: str = MODULES[0]
    process: Forked | None = None
    channel: Any = None
    # Calls may still be on their way in those of a process that is gone: they are closed at the end.
    channels: list[grpc.aio.Channel] = field(default_factory=list)

    async def begin(self) -> None:
        """Starts it, and returns when it serves."""
        self.process, port = await self.nursery.start(self.module, self.settings)
        directory = self.identities.directory("envoy")
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(
                (directory / "ca.crt").read_bytes(),
                (directory / "tls.key").read_bytes(),
                (directory / "tls.crt").read_bytes(),
            ),
            grpc.access_token_call_credentials(self.mint.token("member", workspace="acme")),
        )
        options = [("grpc.ssl_target_name_override", "proxy.cordboard.internal")]
        self.channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)
        self.channels.append(self.channel)

    async def kill(self) -> None:
        """Kills it, and returns when it is gone."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGKILL)
            await self.process.wait()

    async def end(self) -> None:
        await self.kill()
        for channel in self.channels:
            await channel.close()
