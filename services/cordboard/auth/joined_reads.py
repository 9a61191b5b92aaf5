"""Reads that callers share: a thousand who ask for one thing at the same time need two reads of it, not a thousand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from cordboard.core.waiters import Waiters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable

Key = TypeVar("Key", bound="Hashable")
Value = TypeVar("Value")


class JoinedReads(Generic[Key, Value]):
    """Reads each key once at a time; whoever asks while it is being read shares the next read.

    A read begins after everybody who gets its result has asked: nobody is told what was true before the question.
    """

    def __init__(self, read: Callable[[Key], Awaitable[Value]]) -> None:
        """Takes what reads one key."""
        self._read = read
        self._next: dict[Key, asyncio.Task[Value]] = {}
        self._running: dict[Key, asyncio.Task[Value]] = {}
        self._waiters: Waiters[Value] = Waiters()

    async def get(self, key: Key) -> Value:
        """Returns what is read, and raises what the read raises.

        Who stops waiting ends it for nobody else; the last one who does ends the read.
        """
        task = self._next.get(key)
        if task is None:
            task = self._next[key] = asyncio.create_task(self._take_turn(key))
            task.add_done_callback(_look_at)
        return await self._waiters.result(task, lambda: self._forget(key, task))

    def _forget(self, key: Key, task: asyncio.Task[Value]) -> None:
        if self._next.get(key) is task:
            del self._next[key]

    async def _take_turn(self, key: Key) -> Value:
        if key in self._running:
            await asyncio.wait([self._running[key]])
        # From here on whoever asks wants to know more than this read can tell.
        task = self._running[key] = self._next.pop(key)
        try:
            return await self._read(key)
        finally:
            if self._running.get(key) is task:
                del self._running[key]


def _look_at(task: asyncio.Task[Value]) -> None:
    # It may be that everybody who wanted to know has gone.
    if not task.cancelled():
        task.exception()
