"""PostgreSQL: transactions that know their workspace, and wake-ups when another process committed.

Row-level security compares each row's workspace with `app.ws`, which lives as long as the transaction. A transaction
that forgot to say whose it is sees nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from cordboard.core.errors import DependencyUnavailable
from cordboard.core.statements import ANSWER_SECONDS, CONNECT_SECONDS, CONNECTION_LOST, Statements, place
from cordboard.core.telemetry import statement_span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from cordboard.core.measures import Histogram, Measures

logger = logging.getLogger(__name__)

EVERYWHERE: Final = "*"
# How long a listener that hears nothing believes it, and how long PostgreSQL may take to say that it is there.
LISTENS_SECONDS: Final = 10.0
ASKED_SECONDS: Final = 5.0
_SET_WORKSPACE = text("SELECT set_config('app.ws', :workspace, true)")
_NOTIFY = text("SELECT pg_notify(:channel, '')")
_NOW = text("SELECT now()")


class Database:
    """One service's schema, under its own role."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 8,
        statements: Histogram | None = None,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """Takes `postgresql+asyncpg://…` and what counts statements, if anything; connects when first used.

        `answer_seconds`: a connection on which a statement is not answered for so long is dead.
        """
        self.url = make_url(url)
        self._engine = create_async_engine(
            self.url,
            hide_parameters=True,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=5,
            pool_pre_ping=False,
            connect_args={
                "timeout": CONNECT_SECONDS,
                "command_timeout": answer_seconds,
                "server_settings": {"application_name": "cordboard"},
            },
        )
        self._autocommit = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._answer_seconds = answer_seconds
        self._statements = Statements(self.url, statements, answer_seconds=answer_seconds)
        _give_up_silent(self._engine)
        _trace_statements(self._engine)
        if statements is not None:
            _measure_statements(self._engine, statements)

    @contextlib.asynccontextmanager
    async def workspace(self, workspace: str) -> AsyncIterator[AsyncConnection]:
        """Opens a transaction that sees the rows of one workspace; commits at the end, rolls back on an error."""
        if not workspace or workspace == EVERYWHERE:
            raise ValueError("a transaction of a workspace needs its id")
        async with self._transaction(workspace) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def everywhere(self) -> AsyncIterator[AsyncConnection]:
        """Opens a transaction that sees all workspaces: for operators' lists and for the service's own jobs."""
        async with self._transaction(EVERYWHERE) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def shared(self) -> AsyncIterator[AsyncConnection]:
        """Opens a transaction that sees no workspace's rows: for tables that belong to none."""
        async with self._transaction("") as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def at_once(self) -> AsyncIterator[AsyncConnection]:
        """Opens a connection on which each statement is a transaction of its own, which sees no workspace's rows."""
        with _mapped:
            async with self._autocommit.connect() as connection:
                yield connection

    async def run(self, statement: str, *arguments: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        """Runs one statement as a transaction of its own, and returns its rows once it has committed.

        Its arguments are `$1`, `$2`. It sees no workspace's rows unless a function that it calls says whose it is.
        `timeout`: how long PostgreSQL may take for it, where that is less than for any.
        """
        with _mapped:
            return await self._statements.run(statement, *arguments, timeout=timeout)

    @contextlib.asynccontextmanager
    async def _transaction(self, workspace: str) -> AsyncIterator[AsyncConnection]:
        with _mapped:
            async with self._engine.begin() as connection:
                if workspace:
                    await connection.execute(_SET_WORKSPACE, {"workspace": workspace})
                yield connection

    async def check(self) -> None:
        """Asks PostgreSQL for an answer; raises DependencyUnavailable."""
        async with self.shared() as connection:
            await connection.execute(text("SELECT 1"))

    async def raw(self) -> asyncpg.Connection:
        """Opens a connection of its own, outside the pool, for LISTEN and COPY; the caller closes it."""
        return await asyncpg.connect(**place(self.url, self._answer_seconds))

    def connections(self) -> dict[str, tuple[int, int]]:
        """Returns, by the name of the pool, how many connections are in use and how many wait to be."""
        pool: Any = self._engine.pool
        return {"transactions": (pool.checkedout(), pool.checkedin()), "statements": self._statements.connections()}

    async def close(self) -> None:
        """Closes the connections."""
        await self._statements.close()
        await self._engine.dispose()


async def enter(connection: AsyncConnection, workspace: str) -> None:
    """Has the rest of a transaction see the rows of one workspace: one that changes what belongs to none first."""
    if not workspace or workspace == EVERYWHERE:
        raise ValueError("a transaction of a workspace needs its id")
    await connection.execute(_SET_WORKSPACE, {"workspace": workspace})


# PostgreSQL is starting, stopping or full; or it is too busy: a statement waited too long for a lock, ran too long,
# or lost to another transaction (https://www.postgresql.org/docs/current/errcodes-appendix.html).
_BUSY = ("08", "53", "57P", "55P03", "57014", "40001", "40P01")


def _away(error: BaseException | None) -> bool:
    """Tells whether the same statement may do later, which SQLAlchemy does not tell from a wrong statement."""
    return str(getattr(error, "sqlstate", None) or "").startswith(_BUSY)


class _Mapped:
    """Says DependencyUnavailable where the same statement may do later. It has no state: one serves all."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, DBAPIError):
            later = (
                error.connection_invalidated
                or isinstance(error, (OperationalError, InterfaceError))
                or _away(error.orig)
            )
        elif isinstance(error, (PoolTimeout, *CONNECTION_LOST)):
            later = True
        else:
            later = isinstance(error, asyncpg.PostgresError) and _away(error)
        if later:
            raise DependencyUnavailable("database") from error


_mapped: Final = _Mapped()


async def time_at(connection: AsyncConnection) -> datetime:
    """Returns the database's time, when the transaction began: the clock of this process may be wrong."""
    found: datetime = (await connection.execute(_NOW)).scalar_one()
    return found


async def notify(connection: AsyncConnection, channel: str) -> None:
    """Wakes the watchers of `channel`, in every process, once this transaction has committed."""
    await connection.execute(_NOTIFY, {"channel": channel})


class Subscription:
    """One watcher's place in line."""

    def __init__(self, poll: float) -> None:
        """Takes the longest time between two looks, in seconds."""
        self._event = asyncio.Event()
        self._poll = poll

    def wake(self) -> None:
        """Ends the wait."""
        self._event.set()

    async def wait(self, timeout: float | None = None) -> None:
        """Returns when something may have changed: after a notification, or when it is time to look anyway."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll if timeout is None else timeout):
                await self._event.wait()
        self._event.clear()


class Changes:
    """Wakes this process's watchers whenever any process notifies `channel`."""

    def __init__(self, database: Database, channel: str, *, poll: float = 1.0) -> None:
        """Takes where to listen; `poll` seconds is how long a lost notification can hide a change."""
        self._database = database
        self._channel = channel
        self._poll = poll
        self._subscriptions: set[Subscription] = set()

    @contextlib.asynccontextmanager
    async def subscription(self) -> AsyncIterator[Subscription]:
        """Gives a place in line, for as long as the block runs."""
        subscription = Subscription(self._poll)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def wake(self) -> None:
        """Wakes every watcher of this process."""
        for subscription in self._subscriptions:
            subscription.wake()

    async def run(self) -> None:
        """Listens for ever; reconnects by itself."""
        while True:
            try:
                await self._listen()
            except (*CONNECTION_LOST, asyncpg.PostgresError, TimeoutError) as error:
                logger.warning("listening was interrupted", extra={"problem": type(error).__name__})
            await asyncio.sleep(0.5)

    async def _listen(self) -> None:
        lost = asyncio.Event()
        connection = await self._database.raw()
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(self._channel, lambda *_: self.wake())
            # What was committed while nobody listened.
            self.wake()
            while not lost.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LISTENS_SECONDS):
                        await lost.wait()
                if not lost.is_set():
                    # Nobody tells a listener that the network has lost it: it would hear nothing for ever.
                    await connection.execute("SELECT 1", timeout=ASKED_SECONDS)
        finally:
            with contextlib.suppress(*CONNECTION_LOST):
                await asyncio.shield(connection.close(timeout=1))


def _trace_statements(engine: AsyncEngine) -> None:
    # SQLAlchemy's contrib instrumentation also opens root spans for every background poll; these two hooks make a
    # span only inside a traced call.
    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def before(_c: Any, _cursor: Any, statement: str, _p: Any, context: Any, _many: Any) -> None:
        context.cordboard_span = statement_span(statement)

    @event.listens_for(engine.sync_engine, "after_cursor_execute")
    def after(_c: Any, _cursor: Any, _statement: str, _p: Any, context: Any, _many: Any) -> None:
        if context.cordboard_span is not None:
            context.cordboard_span.end()

    @event.listens_for(engine.sync_engine, "handle_error")
    def failed(failure: Any) -> None:
        span = getattr(failure.execution_context, "cordboard_span", None)
        if span is not None:
            span.set_attribute("error.type", type(failure.original_exception).__name__)
            span.end()


def _give_up_silent(engine: AsyncEngine) -> None:
    # What took longer than PostgreSQL lets anything take was lost by the network: that connection is closed, and those
    # that are as old are not used again.
    @event.listens_for(engine.sync_engine, "handle_error")
    def silent(failure: Any) -> None:
        if isinstance(failure.original_exception, TimeoutError):
            failure.is_disconnect = failure.invalidate_pool_on_disconnect = True


def statement_durations(measures: Measures) -> Histogram:
    """Returns the measure of statements (semantic conventions: db.client.operation.duration, in seconds)."""
    return measures.histogram(
        "db.client.operation.duration", "s", ("db.system.name", "db.operation.name", "error.type")
    )


def _measure_statements(engine: AsyncEngine, statements: Histogram) -> None:
    def record(context: Any, statement: str, problem: str) -> None:
        operation = statement.split(None, 1)[0].upper() if statement else ""
        statements.record(time.monotonic() - context.cordboard_began, ("postgresql", operation, problem))

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def before(_c: Any, _cursor: Any, _s: str, _p: Any, context: Any, _many: Any) -> None:
        context.cordboard_began = time.monotonic()

    @event.listens_for(engine.sync_engine, "after_cursor_execute")
    def after(_c: Any, _cursor: Any, statement: str, _p: Any, context: Any, _many: Any) -> None:
        record(context, statement, "")

    @event.listens_for(engine.sync_engine, "handle_error")
    def failed(failure: Any) -> None:
        if hasattr(failure.execution_context, "cordboard_began"):
            problem = type(failure.original_exception).__name__
            record(failure.execution_context, failure.statement or "", problem)
