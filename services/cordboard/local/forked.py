"""Processes that the fork server starts, as the supervisor sees them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from cordboard.local.commands import execute
from cordboard.local.failures import StartFailed
from cordboard.local.logs import LogFile

# Deaths in a row, a service's or the fork server's, after which a start has failed: its cause will not go away.
HOPELESS_STARTS = 5


class Forked:
    """One child of the fork server."""

    def __init__(self, pid: int, ended: asyncio.Future[int]) -> None:
        self.pid = pid
        self._ended = ended

    async def wait(self) -> int:
        """Returns the exit code once it has ended; negative for a signal."""
        return await asyncio.shield(self._ended)

    def send_signal(self, number: signal.Signals) -> None:
        """Sends it a signal; raises ProcessLookupError when it has ended."""
        if self._ended.done():
            raise ProcessLookupError(self.pid)
        os.kill(self.pid, number)


class ForkServerProcess:
    """The fork server of one mesh: started when it is first needed, and again when it has died."""

    def __init__(self, environment: Mapping[str, str], log: LogFile, modules: Sequence[str] = ()) -> None:
        """Takes its own environment and log, and the modules that it imports before it forks."""
        self._environment = environment
        self._modules = tuple(modules)
        self._log = log
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self._asked: deque[asyncio.Future[Forked]] = deque()
        self._running: dict[int, asyncio.Future[int]] = {}

    async def warm(self) -> None:
        """Has it begin to import what the services need."""
        async with self._turn:
            await self._connected()

    async def start(self, name: str, module: str, environment: Mapping[str, str], log: Path) -> Forked:
        """Runs a module's `main` in a new process; raises StartFailed when fork servers keep dying."""
        order = json.dumps({"name": name, "module": module, "environment": dict(environment), "log": str(log)})
        for _ in range(HOPELESS_STARTS):
            async with self._turn:
                writer = await self._connected()
                answer: asyncio.Future[Forked] = asyncio.get_running_loop().create_future()
                self._asked.append(answer)
                writer.write(order.encode() + b"\n")
            with contextlib.suppress(ConnectionError):
                return await answer
        raise StartFailed(f"the fork server died {HOPELESS_STARTS} times; the end of its log:\n{self._log.tail()}")

    async def close(self) -> None:
        """Ends it, and what still runs of its children."""
        async with self._turn:
            if self._writer is not None:
                self._writer.close()
            if self._process is not None:
                await self._process.wait()
            if self._listening is not None:
                await self._listening
            self._process = self._writer = self._listening = None

    async def _connected(self) -> asyncio.StreamWriter:
        if self._writer is not None and self._listening is not None and not self._listening.done():
            return self._writer
        ours, theirs = socket.socketpair()
        command = (sys.executable, "-m", "cordboard.local.fork_server", str(theirs.fileno()), *self._modules)
        with theirs:
            self._process = await execute(command, self._environment, self._log, descriptors=(theirs.fileno(),))
        reader, writer = await asyncio.open_connection(sock=ours)
        self._listening = asyncio.create_task(self._listen(reader, writer, self._process), name="hear the fork server")
        self._writer = writer
        return writer

    async def _listen(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, process: asyncio.subprocess.Process
    ) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                said = json.loads(line)
                if "started" in said:
                    ended = self._running[said["started"]] = loop.create_future()
                    answer = self._asked.popleft()
                    if not answer.done():
                        answer.set_result(Forked(said["started"], ended))
                else:
                    self._running.pop(said["ended"]).set_result(said["code"])
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await process.wait()
        # Its children have died with it.
        for ended in self._running.values():
            ended.set_result(-signal.SIGKILL)
        self._running.clear()
        while self._asked:
            answer = self._asked.popleft()
            if not answer.done():
                answer.set_exception(ConnectionResetError("the fork server has died"))
