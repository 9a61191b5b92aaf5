"""Single statements on connections of their own: for the few on which a caller waits, and which have no company.

SQLAlchemy costs such a statement several times what PostgreSQL does, and asyncpg's pool as much as the statement. Each
is a transaction of its own, and is planned once for each connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from cordboard.core.telemetry import statement_span

if TYPE_CHECKING:
    from sqlalchemy import URL

    from cordboard.core.measures import Histogram

CONNECT_SECONDS: Final = 5.0
# PostgreSQL gives up after ten seconds, whatever it was that took so long (local.roles): a connection on which nothing
# has come by then is dead, and nobody has told us.
ANSWER_SECONDS: Final = 12.0
CLOSE_SECONDS: Final = 1.0
# A connection that nobody has needed for so long is closed.
IDLE_SECONDS: Final = 300.0
LARGEST: Final = 4
CONNECTION_LOST: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # What asyncpg trips over when the server dies between two messages of one statement.
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
)


class Statements:
    """Runs statements one by one. What it raises is asyncpg's."""

    def __init__(
        self,
        url: URL,
        durations: Histogram | None = None,
        *,
        largest: int = LARGEST,
        idle_seconds: float = IDLE_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """Takes the database and what measures statements, if anything; connects when first used."""
        self._place = place(url, answer_seconds)
        self._durations = durations
        self._idle_seconds = idle_seconds
        self._largest = largest
        self._room = asyncio.Semaphore(largest)
        self._used = 0
        # The one used last is used next: the others get old enough to be closed.
        self._idle: list[tuple[asyncpg.Connection, float]] = []
        self._sweep: asyncio.TimerHandle | None = None

    async def run(self, statement: str, *arguments: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        """Returns the rows of one statement once it has committed.

        `timeout`: how long PostgreSQL may take for it, where that is less than for any. Raises TimeoutError then.
        """
        began, problem, span = time.monotonic(), "", statement_span(statement)
        try:
            if self._room.locked():
                async with asyncio.timeout(CONNECT_SECONDS):
                    await self._room.acquire()
            else:
                await self._room.acquire()
            self._used += 1
            try:
                return await self._run(statement, arguments, timeout)
            finally:
                self._used -= 1
                self._room.release()
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

    def connections(self) -> tuple[int, int]:
        """Returns how many connections are in use, and how many wait to be."""
        return self._used, len(self._idle)

    async def close(self) -> None:
        """Closes the connections, once nobody uses them."""
        for _ in range(self._largest):
            await self._room.acquire()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        while self._idle:
            connection, _ = self._idle.pop()
            with contextlib.suppress(*CONNECTION_LOST, asyncpg.PostgresError):
                await connection.close(timeout=CLOSE_SECONDS)
        for _ in range(self._largest):
            self._room.release()

    async def _run(self, statement: str, arguments: tuple[Any, ...], timeout: float | None) -> list[asyncpg.Record]:
        connection = await self._connection()
        kept = False
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments, timeout=timeout)
            kept = True
            return rows
        except TimeoutError:
            # The network has lost it, and the others with it: they were opened on the same way.
            self._drop_idle()
            raise
        except asyncpg.PostgresError:
            # An answer: what it was about is over, and the connection is as before.
            kept = True
            raise
        finally:
            # Of any other end nobody knows what is still to come on this connection.
            if not kept:
                connection.terminate()
            elif not connection.is_closed():
                self._keep(connection)

    async def _connection(self) -> asyncpg.Connection:
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.is_closed():
                return connection
        return await asyncpg.connect(**self._place)

    def _keep(self, connection: asyncpg.Connection) -> None:
        loop = asyncio.get_running_loop()
        self._idle.append((connection, loop.time()))
        if self._sweep is None:
            self._sweep = loop.call_later(self._idle_seconds, self._close_old)

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop()[0].terminate()

    def _close_old(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time() - self._idle_seconds
        while self._idle and self._idle[0][1] <= last:
            self._idle.pop(0)[0].terminate()
        wait = self._idle[0][1] - last if self._idle else 0.0
        self._sweep = loop.call_later(wait, self._close_old) if self._idle else None


def place(url: URL, answer_seconds: float = ANSWER_SECONDS) -> dict[str, Any]:
    """Returns the arguments with which asyncpg connects."""
    return {
        "host": url.host,
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "database": url.database,
        "timeout": CONNECT_SECONDS,
        "command_timeout": answer_seconds,
    }
