"""Several who wait for one task: who stops waiting ends it for nobody else, and the last one who does ends it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Value = TypeVar("Value")


class Waiters(Generic[Value]):
    """Knows how many wait for each task."""

    def __init__(self) -> None:
        """Begins with nobody who waits."""
        self._waiting: Counter[asyncio.Task[Value]] = Counter()

    async def result(self, task: asyncio.Task[Value], forget: Callable[[], None]) -> Value:
        """Returns the task's result, and raises what it raises.

        `forget` is called before a task ends that nobody waits for any more: who comes now begins another one.
        """
        self._waiting[task] += 1
        try:
            return await asyncio.shield(task)
        finally:
            self._waiting[task] -= 1
            if not self._waiting[task]:
                del self._waiting[task]
                if not task.done():
                    forget()
                    task.cancel()
