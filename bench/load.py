"""Closed-loop load: so many callers at once, each calling again as soon as it was answered."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

CONCURRENCY = 16
WARM_UP_SECONDS = 0.4
# A process that is done with the last round's work uses less of a core than this.
IDLE_SHARE = 0.04
IDLE_PATIENCE_SECONDS = 3.0


async def rate(call: Callable[[], Awaitable[Any]], seconds: float, *, concurrency: int = CONCURRENCY) -> float:
    """Returns answered calls a second. A call that fails fails the benchmark."""
    await _run(call, WARM_UP_SECONDS, concurrency)
    begun = time.perf_counter()
    answered = await _run(call, seconds, concurrency)
    return answered / (time.perf_counter() - begun)


async def idle(pids: Iterable[int]) -> None:
    """Returns when these processes have gone quiet, so that one round does not pay for another's spans."""
    processes = [psutil.Process(pid) for pid in pids]
    deadline = time.perf_counter() + IDLE_PATIENCE_SECONDS
    # What was traced leaves its process within half a second.
    await asyncio.sleep(0.6)
    while time.perf_counter() < deadline:
        before, begun = _used(processes), time.perf_counter()
        await asyncio.sleep(0.25)
        if (_used(processes) - before) / (time.perf_counter() - begun) < IDLE_SHARE * len(processes):
            return


async def _run(call: Callable[[], Awaitable[Any]], seconds: float, concurrency: int) -> int:
    end = time.perf_counter() + seconds

    async def caller() -> int:
        answered = 0
        while time.perf_counter() < end:
            await call()
            answered += 1
        return answered

    return sum(await asyncio.gather(*(caller() for _ in range(concurrency))))


def _used(processes: Iterable[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        times = process.cpu_times()
        total += times.user + times.system
    return total
