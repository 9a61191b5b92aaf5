"""What a hub writes down of its edges, of many of them at once: it costs by the changes, and hardly by the edges."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Note(Protocol):
    """Something to be written of an edge."""

    @property
    def edge(self) -> str:
        """Returns whose it is."""


Written = TypeVar("Written")
OneNote = TypeVar("OneNote", bound=Note)


class Notes(Generic[OneNote, Written]):
    """Gathers notes while others are being written, and writes those together."""

    def __init__(self, write: Callable[[list[OneNote]], Awaitable[Written]]) -> None:
        """Takes what writes notes, of no edge more than one."""
        self._write = write
        self._waiting: list[tuple[OneNote, asyncio.Future[Written]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def put(self, note: OneNote) -> Written:
        """Returns once the note is written, what writing it and those beside it gave; raises what writing raised."""
        done: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        self._waiting.append((note, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._run())
        return await done

    async def close(self) -> None:
        """Ends the writing."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _run(self) -> None:
        while self._waiting:
            first: dict[str, tuple[OneNote, asyncio.Future[Written]]] = {}
            for one in self._waiting:
                first.setdefault(one[0].edge, one)
            self._waiting = [one for one in self._waiting if first[one[0].edge] is not one]
            # Whoever waits may have gone: its future is done.
            try:
                written = await self._write([note for note, _ in first.values()])
            except asyncio.CancelledError:
                for _, done in (*first.values(), *self._waiting):
                    done.cancel()
                raise
            except Exception as error:
                for _, done in first.values():
                    if not done.done():
                        done.set_exception(error)
            else:
                for _, done in first.values():
                    if not done.done():
                        done.set_result(written)
