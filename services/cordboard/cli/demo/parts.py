"""The parts that the demo plays with: the mesh, the vendor, and who calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import aiohttp

from cordboard.auth.v1.token_service_pb2 import IssueTokenRequest
from cordboard.cli.demo.narrator import StepFailed
from cordboard.cli.session import operator_token
from cordboard.client import Client, CordboardError, NotFound, SwitchedOff, Unavailable
from cordboard.common.v1 import options_pb2
from cordboard.local.commands import launched
from cordboard.local.mesh import Mesh

T = TypeVar("T")
PATIENCE: Final = 30.0
PRODUCTION: Final = "production"


@dataclass(frozen=True)
class Vendor:
    """The sandbox vendor, in a process of its own."""

    url: str
    process: asyncio.subprocess.Process

    async def control(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Uses the vendor's switches, which are no part of its API; returns what they answer."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self.url}/_sandbox/{path}", json=body) as answer,
        ):
            answer.raise_for_status()
            text = await answer.text()
            return json.loads(text) if text else None

    async def document(self) -> str:
        """Returns the vendor's own OpenAPI document."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/openapi.json") as answer:
            answer.raise_for_status()
            return await answer.text()


@contextlib.asynccontextmanager
async def vendor(folder: Path) -> AsyncIterator[Vendor]:
    """Starts the sandbox vendor and ends it."""
    ready = folder / "vendor.json"
    ready.unlink(missing_ok=True)
    with (folder / "vendor.log").open("wb") as log:
        command = (sys.executable, "-m", "cordboard.sandbox", "--port", "0", "--ready-file", str(ready))
        process = await start(command, log)
        try:
            await until(lambda: _there(ready), "the sandbox vendor to start")
            yield Vendor(json.loads(ready.read_text())["url"], process)
        finally:
            await end(process)


async def start(command: tuple[str, ...], log: IO[bytes]) -> asyncio.subprocess.Process:
    """Starts a process of ours, which ends with us however we end."""
    return await asyncio.create_subprocess_exec(*launched(command, death_signal=signal.SIGTERM), stdout=log, stderr=log)


async def end(process: asyncio.subprocess.Process) -> None:
    """Ends a process of ours and waits until it is gone."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


class Callers:
    """Makes clients of the mesh: the operator, and workspaces."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._open: list[Client] = []

    async def operator(self) -> Client:
        """Returns the operator's client, through Envoy."""
        token = await operator_token(self._mesh.address("auth"), self._mesh.identity_dir("operator"))
        return self._client(token)

    async def workspace(self, operator: Client, workspace: str) -> Client:
        """Returns the client of a member of a workspace, in production."""
        request = IssueTokenRequest(
            workspace=f"workspaces/{workspace}", environment=PRODUCTION, roles=[options_pb2.ROLE_MEMBER]
        )
        return self._client((await operator.tokens.IssueToken(request)).access_token)

    async def close(self) -> None:
        """Closes every client."""
        for client in self._open:
            await client.close()

    def _client(self, token: str) -> Client:
        client = Client(self._mesh.public_address, token=token, ca_file=self._mesh.ca_file)
        self._open.append(client)
        return client

    def browser(self) -> aiohttp.ClientSession:
        """Returns a browser of sorts that trusts the mesh's certificate."""
        trust = ssl.create_default_context(cafile=str(self._mesh.ca_file))
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust))


async def _there(path: Path) -> bool:
    return await asyncio.to_thread(path.exists)


async def told(condition: bool) -> bool:
    """Returns what it is given, for `until` to wait on what nobody has to be asked for."""
    return condition


async def until(
    look: Callable[[], Awaitable[T | None]], what: str, *, patience: float = PATIENCE, every: float = 0.02
) -> T:
    """Returns the first true thing that `look` gives; what is not there yet is asked for again. Raises StepFailed."""
    deadline = time.monotonic() + patience
    problem: CordboardError | None = None
    while time.monotonic() < deadline:
        try:
            found = await look()
            if found:
                return found
        except (NotFound, SwitchedOff, Unavailable) as error:
            problem = error
        await asyncio.sleep(every)
    raise StepFailed(f"waited {patience:.0f} s for {what}" + (f": {problem}" if problem is not None else ""))
