"""Plays flagd-testbed's scenarios with the provider for Node.js, as it is on npm."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from tests.conformance.acts import Act
from tests.conformance.clients import NODE
from tests.conformance.launchpad import Door
from tests.conformance.python_client import Ward
from tests.conformance.steps import Failed

SCRIPT: Final = "testbed.mjs"


class NodeClient:
    """Plays scenarios one after the other, in a process that stays."""

    def __init__(self, mode: str, process: subprocess.Popen[str]) -> None:
        """Takes `rpc` or `in-process`, and the script that runs."""
        self._mode = mode
        self._process = process

    def play(self, acts: list[Act], options: Mapping[str, Any], door: Door, ward: Ward) -> None:
        """Plays a scenario; raises Failed."""
        way = {"port": door.port, "ca": str(door.ca_file), "token": door.token}
        if door.identity_dir is not None:
            way |= {"key": str(door.identity_dir / "tls.key"), "certificate": str(door.identity_dir / "tls.crt")}
        self._say({"mode": self._mode, "acts": acts, "options": dict(options), "door": way})
        while True:
            said = self._hear()
            if "ward" not in said:
                break
            ward(said["ward"])
            self._say({})
        if said["failed"]:
            raise Failed(said["failed"])

    def _say(self, what: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{SCRIPT} has ended with {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found


@contextlib.asynccontextmanager
async def node(mode: str) -> AsyncIterator[NodeClient]:
    """Starts the script, and ends it."""
    program = shutil.which("node")
    if program is None:
        raise FileNotFoundError("Node.js is not installed")
    with subprocess.Popen(  # noqa: ASYNC220 - it is talked to from the thread that plays
        [program, SCRIPT], cwd=NODE, text=True, encoding="utf-8", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield NodeClient(mode, process)
        finally:
            process.kill()
