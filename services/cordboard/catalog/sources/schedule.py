"""Reads sources when they are due, once however many replicas there are: by a queue of jobs in PostgreSQL.

Every replica puts the sources that are due into the queue under a key of source and time, which the queue holds once.
One replica takes the job; if it dies, the job is taken again, and finds that it was or was not done.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import asyncpg
import orjson
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from cordboard.core.caller import Caller, set_caller
from cordboard.core.errors import CordboardError
from cordboard.core.statements import CONNECTION_LOST

if TYPE_CHECKING:
    from cordboard.catalog.sources.sources import Sources
    from cordboard.core.database import Database

logger = logging.getLogger(__name__)

ENTRYPOINT: Final = "read_source"
LOOK_EVERY: Final = 5.0
PAUSE: Final = 2.0
# A replica that gave no sign for so long is dead, and its job is another's.
DEAD_AFTER: Final = timedelta(seconds=60)


class Schedule:
    """Keeps sources fresh."""

    def __init__(self, database: Database, sources: Sources, *, look_every: float = LOOK_EVERY) -> None:
        """Takes the database, the sources, and after how many seconds to look for those that are due."""
        self._database = database
        self._sources = sources
        self._look_every = look_every

    async def run(self) -> None:
        """Reads sources for ever; connects again by itself."""
        while True:
            try:
                await self._work()
            except (*CONNECTION_LOST, asyncpg.PostgresError, CordboardError) as error:
                logger.warning("the schedule was interrupted", extra={"problem": type(error).__name__})
            await asyncio.sleep(PAUSE)

    async def _work(self) -> None:
        connection = await self._database.raw()
        try:
            # One driver for both: it keeps their statements on the one connection apart.
            driver = AsyncpgDriver(connection)
            queue = PgQueuer(driver)
            queue.entrypoint(ENTRYPOINT, concurrency_limit=1)(self._read)
            connection.add_termination_listener(lambda _: queue.shutdown.set())
            looking = asyncio.create_task(self._look(Queries(driver)))
            working = asyncio.create_task(
                queue.run(dequeue_timeout=timedelta(seconds=LOOK_EVERY), heartbeat_timeout=DEAD_AFTER)
            )
            try:
                await asyncio.wait({looking, working}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                # A job that is cut off here is taken again by another replica, or by this one when it is back.
                looking.cancel()
                working.cancel()
                await asyncio.gather(looking, working, return_exceptions=True)
        finally:
            with contextlib.suppress(Exception):
                await asyncio.shield(connection.close(timeout=1))

    async def _look(self, queries: Queries) -> None:
        while True:
            for name, due in await self._sources.due():
                payload = orjson.dumps({"source": name, "due": due.isoformat()})
                key = f"{name} {due.isoformat()}"
                await queries.enqueue(ENTRYPOINT, payload, dedupe_key=key, on_conflict="skip")
            await asyncio.sleep(self._look_every)

    async def _read(self, job: Job) -> None:
        told = orjson.loads(job.payload or b"{}")
        set_caller(Caller(peer="catalog", subject=f"sources/{told['source']}"))
        await self._sources.run_due(told["source"], datetime.fromisoformat(told["due"]))
