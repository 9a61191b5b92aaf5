"""Keeps a few connections for each connection of a workspace: made when they are wanted, closed when they are idle."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from cordboard.proxy.databases.link import Link

MOST: Final = 4
IDLE_SECONDS: Final = 60.0
_LOOK_EVERY: Final = 15.0

Key = tuple[str, int, str]


@dataclass(slots=True)
class _Shelf:
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST))
    idle: list[tuple[float, Link]] = field(default_factory=list)
    used: int = 0


class Pool:
    """The connections of this process."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Takes a clock; `run` has to run, and `close` at the end."""
        self._monotonic = monotonic
        self._shelves: dict[Key, _Shelf] = {}

    async def run(self) -> None:
        """Closes what is idle, for ever."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            await self._sweep(self._monotonic() - IDLE_SECONDS)

    async def close(self) -> None:
        """Closes everything."""
        await self._sweep(float("inf"))

    @contextlib.asynccontextmanager
    async def link(self, key: Key, make: Callable[[], Awaitable[Link]]) -> AsyncIterator[Link]:
        """Lends a connection as long as the block runs; one that a block failed with is closed.

        The key has whose it is, the generation of its credential, and where it goes: nothing else is ever lent to it.
        """
        shelf = self._shelves.setdefault(key, _Shelf())
        shelf.used += 1
        try:
            async with shelf.places:
                link = shelf.idle.pop()[1] if shelf.idle else await make()
                try:
                    yield link
                    await link.reset()
                except BaseException:
                    await link.close()
                    raise
                shelf.idle.append((self._monotonic(), link))
        finally:
            shelf.used -= 1

    async def _sweep(self, before: float) -> None:
        for key, shelf in tuple(self._shelves.items()):
            old = [link for since, link in shelf.idle if since < before]
            shelf.idle = [(since, link) for since, link in shelf.idle if since >= before]
            for link in old:
                await link.close()
            if not shelf.idle and not shelf.used:
                self._shelves.pop(key, None)
