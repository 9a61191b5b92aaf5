"""Single statements on connections of their own: for the few on which a caller waits, and which have no company.

SQLAlchemy costs such a statement several times what PostgreSQL does. Each is a transaction of its own, and is planned
once for each connection.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from cordboard.core.telemetry import statement_span

if TYPE_CHECKING:
    from sqlalchemy import URL

    from cordboard.core.measures import Histogram

CONNECT_SECONDS: Final = 5.0
LARGEST: Final = 4


class Statements:
    """Runs statements one by one. What it raises is asyncpg's."""

    def __init__(self, url: URL, durations: Histogram | None = None) -> None:
        """Takes the database and what measures statements, if anything; connects when first used."""
        self._place = place(url)
        self._durations = durations
        self._opening = asyncio.Lock()
        self._pool: asyncpg.Pool | None = None

    async def run(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Returns the rows of one statement once it has committed."""
        pool = self._pool or await self._opened()
        began, problem, span = time.monotonic(), "", statement_span(statement)
        try:
            async with pool.acquire(timeout=CONNECT_SECONDS) as connection:
                rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
                return rows
        except BaseException as error:
            problem = type(error).__name__
            raise
        finally:
            if span is not None:
                if problem:
                    span.set_attribute("error.type", problem)
                span.end()
            if self._durations is not None:
                operation = statement.split(None, 1)[0].upper()
                self._durations.record(time.monotonic() - began, ("postgresql", operation, problem))

    async def close(self) -> None:
        """Closes the connections."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    async def _opened(self) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                # A statement leaves nothing behind on its connection that would have to be cleared away.
                self._pool = await asyncpg.create_pool(**self._place, min_size=0, max_size=LARGEST, reset=_nothing)
            return self._pool


def place(url: URL) -> dict[str, Any]:
    """Returns the arguments with which asyncpg connects."""
    return {
        "host": url.host,
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "database": url.database,
        "timeout": CONNECT_SECONDS,
    }


async def _nothing(_connection: asyncpg.Connection) -> None:
    return None
