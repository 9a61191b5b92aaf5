"""Runs a mesh in the foreground: `python -m cordboard.local [OPTIONS]`, the options as JSON, or `-` to read them.

Writes one JSON object a line: each step as it begins and ends, `ready` with what to know, `failed` with the reason.
SIGTERM, SIGINT and SIGHUP stop the mesh.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from cordboard.local.failures import MeshFailure
from cordboard.local.mesh import Mesh
from cordboard.local.options import MeshOptions


def tell(event: str, **facts: Any) -> None:
    """Writes one line."""
    print(json.dumps({"event": event, **facts}), flush=True)


async def run(options: MeshOptions) -> int:
    """Runs the mesh until a signal; returns the exit code."""
    loop = asyncio.get_running_loop()
    running = asyncio.current_task()
    stopped = asyncio.Event()

    def stop() -> None:
        # Before the mesh is ready there is a start to interrupt; afterwards somebody waits for the event.
        if running is not None and not ready.is_set():
            running.cancel()
        stopped.set()

    ready = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop)

    def on_progress(name: str, seconds: float, state: str) -> None:
        tell("step", name=name, seconds=round(seconds, 3), state=state)

    try:
        async with Mesh(options, on_progress) as mesh:
            ready.set()
            tell("ready", public_url=mesh.public_url, ca_file=str(mesh.ca_file))
            release_output()
            await stopped.wait()
    except MeshFailure as failure:
        tell("failed", message=str(failure))
        return 1
    except asyncio.CancelledError:
        return 130
    return 0


def release_output() -> None:
    """Sends what comes after `ready` to the log when our reader is a pipe: whoever waited for `ready` goes away."""
    if not sys.stdout.isatty():
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


def main() -> None:
    """Reads the options and runs."""
    argument = sys.argv[1] if len(sys.argv) > 1 else "{}"
    try:
        options = MeshOptions.from_json(sys.stdin.read() if argument == "-" else argument)
    except (ValueError, TypeError) as error:
        tell("failed", message=f"the options are not usable: {error}")
        raise SystemExit(2) from None
    raise SystemExit(asyncio.run(run(options)))


if __name__ == "__main__":
    main()
