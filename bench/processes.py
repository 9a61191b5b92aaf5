"""Processes that a benchmark starts beside the mesh, and how to reach what they serve."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import grpc
import uvloop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

START_SECONDS = 30.0


@contextlib.asynccontextmanager
async def running(*command: str, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs a program for as long as the block runs."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()


@contextlib.asynccontextmanager
async def module(name: str, folder: Path, *arguments: str) -> AsyncIterator[tuple[dict[str, Any], int]]:
    """Runs `python -m name --ready-file …`; gives what it wrote there once it served, and its process id."""
    ready = folder / f"{name}.ready.json"
    command = (sys.executable, "-m", name, "--ready-file", str(ready), *arguments)
    async with running(*command, log=folder / f"{name}.log") as process:
        await until(lambda: _exists(ready), f"{name} to start; see {folder / name}.log")
        yield json.loads(ready.read_text(encoding="utf-8")), process.pid


async def until(look: Callable[[], Awaitable[Any]], what: str, *, seconds: float = START_SECONDS) -> Any:
    """Returns the first true thing that `look` gives; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := await look():
            return found
        await asyncio.sleep(0.05)
    raise TimeoutError(f"waited {seconds:g} s for {what}")


def channel(address: str, identity: Path, name: str) -> grpc.aio.Channel:
    """Returns a channel with the certificate of `identity` to the server whose certificate says `name`."""
    return grpc.aio.secure_channel(
        address,
        grpc.ssl_channel_credentials(
            *((identity / file).read_bytes() for file in ("ca.crt", "tls.key", "tls.crt")),
        ),
        options=[("grpc.ssl_target_name_override", name), ("grpc.use_local_subchannel_pool", 1)],
    )


async def serve(server: grpc.aio.Server, identity: Path, ready_file: Path) -> None:
    """Serves with mutual TLS on a free port, says which in `ready_file`, and ends with the process."""
    credentials = grpc.ssl_server_credentials(
        [((identity / "tls.key").read_bytes(), (identity / "tls.crt").read_bytes())],
        (identity / "ca.crt").read_bytes(),
        require_client_auth=True,
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    await asyncio.to_thread(tell, ready_file, port)
    await server.wait_for_termination()


def tell(ready_file: Path, port: int) -> None:
    """Says at which port this process serves."""
    draft = ready_file.with_suffix(".tmp")
    draft.write_text(json.dumps({"port": port}), encoding="utf-8")
    draft.replace(ready_file)


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Runs a benchmark's process on the event loop that the services run on."""
    uvloop.run(work())  # type: ignore[arg-type]


async def _exists(path: Path) -> bool:
    return await asyncio.to_thread(path.exists)
