"""An answer that is still coming: open from its head to its last piece, or to when nobody wants it any more."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp


@dataclass(slots=True)
class Feed:
    """Holds the response that one exchange ended with; at its end the connection is closed."""

    longest: float
    """Seconds until the call has to be done."""
    _response: aiohttp.ClientResponse | None = None
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def __aenter__(self) -> Self:
        """Returns it, with nothing in it yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the connection."""
        await self.close()

    def open(self, response: aiohttp.ClientResponse, stack: contextlib.AsyncExitStack) -> None:
        """Takes a response, and what ends it."""
        self._response, self._stack = response, stack

    async def close(self) -> None:
        """Ends the response; a part that was not read is not waited for."""
        if self._response is not None:
            self._response.close()
            self._response = None
        await self._stack.aclose()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yields the body as it comes; raises what the session raises."""
        if self._response is not None:
            async for piece in self._response.content.iter_any():
                yield piece
