"""Keeps child processes alive: starts them, restarts the ones that die, stops them in reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cordboard.local.commands import Account, execute
from cordboard.local.failures import StartFailed
from cordboard.local.forked import HOPELESS_STARTS, Forked, ForkServerProcess
from cordboard.local.logs import LogFile

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
PROBE_INTERVAL_SECONDS = 0.05
LOG_INTERVAL_SECONDS = 5.0


@dataclass(frozen=True)
class Program:
    """What to run, and how to tell that it can serve."""

    name: str
    command: tuple[str, ...]
    """What to execute; from a fork server: the module whose `main` to run."""
    environment: Mapping[str, str] = field(repr=False)
    log: LogFile
    ready: Callable[[], Awaitable[bool]]
    address: str = ""
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends it when the supervisor dies without a word."""
    stop_seconds: float = 10.0
    directory: Path | None = None
    forked_from: ForkServerProcess | None = None


class Child:
    """One program, run again whenever it dies, until it is stopped."""

    def __init__(self, program: Program, on_change: Callable[[], None]) -> None:
        self.program = program
        self.restarts = 0
        self.pid: int | None = None
        self._on_change = on_change
        self._ready = asyncio.Event()
        self._stopping = asyncio.Event()
        self._was_ready = False
        self._hopeless: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Kept for its result, which nobody may ask for.
        self._hopeless.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._task = asyncio.create_task(self._keep_alive(), name=f"supervise {program.name}")

    @property
    def ready(self) -> bool:
        """Whether the process that runs now has been ready."""
        return self._ready.is_set()

    async def wait_ready(self, timeout: float) -> None:
        """Returns once the process is ready; raises StartFailed, with the end of its log, when that does not happen."""
        ready: asyncio.Future[Any] = asyncio.create_task(self._ready.wait())
        try:
            async with asyncio.timeout(timeout):
                ends: set[asyncio.Future[Any]] = {ready, self._hopeless, self._task}
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise StartFailed(self._complaint(f"is not ready after {timeout:g} s")) from None
        finally:
            ready.cancel()
        if self._task.done() and not self._task.cancelled():
            self._task.result()
        if not self.ready:
            raise StartFailed(self._complaint(f"died {self.restarts} times before it was ready"))

    async def stop(self) -> None:
        """Ends the process: its stop signal, then, after its time, a kill."""
        self._stopping.set()
        with contextlib.suppress(ProcessLookupError):
            if self.pid is not None:
                os.kill(self.pid, self.program.stop_signal)
        done, _ = await asyncio.wait({self._task}, timeout=self.program.stop_seconds)
        if not done:
            self._kill()
            await asyncio.wait({self._task})

    async def _keep_alive(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            process = await self._start()
            probing = asyncio.create_task(self._probe())
            try:
                await process.wait()
            finally:
                probing.cancel()
                self._kill()  # whatever it left in its process group
            served = self.ready
            self.pid = None
            self._ready.clear()
            if self._stopping.is_set():
                break
            self.restarts += 1
            if self.restarts >= HOPELESS_STARTS and not self._was_ready and not self._hopeless.done():
                self._hopeless.set_result(None)
            self._on_change()
            pause = FIRST_PAUSE_SECONDS if served else pause
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        self._on_change()

    async def _start(self) -> asyncio.subprocess.Process | Forked:
        program = self.program
        if program.forked_from is not None:
            (module,) = program.command
            process: Forked | asyncio.subprocess.Process = await program.forked_from.start(
                program.name, module, program.environment, program.log.path
            )
        else:
            process = await _execute(program)
        self.pid = process.pid
        self._on_change()
        if self._stopping.is_set():
            # `stop` came while the process was being made, and had nobody to signal.
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(program.stop_signal)
        return process

    async def _probe(self) -> None:
        # Nobody tells: what is asked is another process.
        while not await self.program.ready():  # noqa: ASYNC110
            await asyncio.sleep(PROBE_INTERVAL_SECONDS)
        self._was_ready = True
        self._ready.set()
        self._on_change()

    def _kill(self) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def _complaint(self, fact: str) -> str:
        tail = self.program.log.tail()
        return (
            f"{self.program.name} {fact}; the end of {self.program.log.path}:\n{tail}"
            if tail
            else (f"{self.program.name} {fact}, and wrote nothing to {self.program.log.path}")
        )


class Supervisor:
    """The children of one mesh, in the order of their start."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._on_change = on_change
        self._children: dict[str, Child] = {}
        self._bounding: asyncio.Task[None] | None = None

    @property
    def children(self) -> Mapping[str, Child]:
        """Every child by name, in the order of their start."""
        return self._children

    def start(self, program: Program) -> Child:
        """Begins to run `program` and returns at once."""
        if self._bounding is None:
            self._bounding = asyncio.create_task(self._bound_logs(), name="bound logs")
        child = Child(program, self._on_change)
        self._children[program.name] = child
        return child

    async def run_once(self, program: Program, timeout: float) -> None:
        """Runs `program` to its end; raises StartFailed, with the end of its log, unless it exits with 0."""
        process = await _execute(program)
        try:
            code = await asyncio.wait_for(process.wait(), timeout)
        except TimeoutError:
            raise StartFailed(f"{program.name} took longer than {timeout:g} s; see {program.log.path}") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if code != 0:
            raise StartFailed(
                f"{program.name} ended with code {code}; the end of {program.log.path}:\n{program.log.tail()}"
            )

    async def stop(self, *stages: tuple[str, ...]) -> None:
        """Stops the named children stage by stage, those of one stage together, and then whoever is left."""
        for stage in stages:
            await self._stop_together(stage)
        await self._stop_together(tuple(reversed(self._children)))
        if self._bounding is not None:
            self._bounding.cancel()
            await asyncio.wait({self._bounding})
            self._bounding = None

    async def _stop_together(self, names: tuple[str, ...]) -> None:
        children = [self._children.pop(name) for name in names if name in self._children]
        await asyncio.gather(*(child.stop() for child in children))

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_INTERVAL_SECONDS)
            for child in tuple(self._children.values()):
                await asyncio.to_thread(child.program.log.bound)


async def _execute(program: Program) -> asyncio.subprocess.Process:
    return await execute(
        program.command,
        program.environment,
        program.log,
        death_signal=program.death_signal,
        account=program.account,
        directory=program.directory,
    )


def end(pid: int, timeout: float) -> None:
    """Waits for a process that is already ending, and kills it after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.kill(pid, signal.SIGKILL if time.monotonic() > deadline else 0)
            time.sleep(0.02)
