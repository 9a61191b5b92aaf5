"""Writes the record of every call: many in one commit, each caller waiting for its own.

The rows are the audit of calls. The journal takes one entry a batch with the digest of its rows, so that a later change
of any row shows. A call that may change something at the vendor is noted before it is sent, without an outcome: if its
end is never recorded, that shows too. When the database is away, such calls are refused; calls that only read go on,
and their rows wait in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Final

import asyncpg
import orjson

from cordboard.core.audit import Entry
from cordboard.core.errors import AuditUnavailable
from cordboard.core.names import new_id
from cordboard.proxy.calls import CallRecord
from cordboard.proxy.v1 import proxy_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cordboard.core.audit import Journal
    from cordboard.core.database import Database

logger = logging.getLogger(__name__)

BATCH_ROWS: Final = 200
# How long a row waits for company while other calls are under way, in seconds.
LINGER: Final = 0.002
WAITING_ROWS: Final = 20_000
# How long a call that may change something waits to be noted before it is refused, in seconds.
INTENT_PATIENCE: Final = 1.0
# How long a call waits for its row before it gives its answer all the same, in seconds: the row stays in line.
PATIENCE: Final = 2.0
_RETRY_SECONDS: Final = 0.2

_TYPES: Final = {"int": "bigint", "datetime": "timestamptz", "str": "text"}
_NARROW: Final = {"outcome": "smallint", "vendor_status": "integer", "attempts": "integer"}
_FIELDS: Final = tuple(field.name for field in fields(CallRecord))
_COLUMNS: Final = (*_FIELDS, "batch")
_ARRAYS: Final = ", ".join(
    f"${number}::{_NARROW.get(field.name) or _TYPES[str(field.type)]}[]"
    for number, field in enumerate(fields(CallRecord), 1)
)
_CHANGED: Final = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in ("workspace_id", "id"))
_BATCH: Final = f"${len(_FIELDS) + 1}::text"
_ENTRY: Final = f"${len(_FIELDS) + 2}::text"
# One statement, one round trip, one commit. The names are this module's own.
_WRITE: Final = f"""
    WITH written AS (
        INSERT INTO call ({", ".join(_COLUMNS)})
        SELECT *, {_BATCH} FROM unnest({_ARRAYS})
        ON CONFLICT (workspace_id, id) DO UPDATE SET {_CHANGED})
    SELECT CASE WHEN {_ENTRY} = '' THEN 0 ELSE audit_append('', ARRAY[{_ENTRY}]) END
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class _Waiting:
    row: CallRecord
    done: asyncio.Future[None]
    intent: bool


def digest(rows: Sequence[CallRecord]) -> str:
    """Returns the SHA-256, in hex, of rows in order of id: what the journal says of a batch."""
    ordered = sorted(rows, key=lambda row: (row.workspace_id, row.id))
    return hashlib.sha256(orjson.dumps([_values(row) for row in ordered], option=orjson.OPT_UTC_Z)).hexdigest()


class Recorder:
    """The one writer of this process's call records."""

    def __init__(self, database: Database, journal: Journal) -> None:
        """Takes the Proxy's database and journal; nothing is written before `open`."""
        self._database = database
        self._journal = journal
        self._waiting: deque[_Waiting] = deque()
        self._wanted = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._connection: asyncpg.Connection | None = None
        self._writer: asyncio.Task[None] | None = None
        self._away = False
        self._underway = 0

    async def intend(self, row: CallRecord) -> None:
        """Notes a call before it is sent; raises AuditUnavailable when that cannot be done, and soon."""
        waiting = self._enter(row, intent=True)
        try:
            async with asyncio.timeout(INTENT_PATIENCE):
                await waiting
        except TimeoutError:
            raise AuditUnavailable from None

    def submit(self, row: CallRecord) -> asyncio.Future[None]:
        """Puts a row in line; what it returns is done once the row is committed, or has failed to be for now."""
        return self._enter(row, intent=False)

    async def record(self, row: CallRecord) -> None:
        """Returns once the row is committed, or when it shows that the database is away: then it stays in line."""
        if self._away:
            self.submit(row)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await asyncio.shield(self.submit(row))

    @contextlib.contextmanager
    def expecting(self) -> Iterator[None]:
        """Counts a call that will have a row; raises AuditUnavailable when no more rows can wait."""
        if len(self._waiting) >= WAITING_ROWS:
            raise AuditUnavailable
        self._underway += 1
        try:
            yield
        finally:
            self._underway -= 1

    def _enter(self, row: CallRecord, *, intent: bool) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(row, done, intent))
        self._idle.clear()
        self._wanted.set()
        return done

    def open(self) -> None:
        """Begins to write. A task of its own, for calls end after the process's jobs have."""
        self._writer = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Writes what is in line, if that can be done within a second, and ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._idle.wait()
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        if self._connection is not None:
            self._connection.terminate()

    async def _run(self) -> None:
        with contextlib.suppress(Exception):
            # The first call need not wait for the connection; what fails here is told when there are rows.
            await self._connected()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._waiting:
                if self._underway and len(self._waiting) < BATCH_ROWS:
                    # Others are about to end: one commit for all of them costs less than one for each.
                    await asyncio.sleep(LINGER)
                await self._write_some()
            self._idle.set()

    async def _write_some(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_ROWS))]
        # One row can be in a batch twice, noted and ended: the end is what counts, and the statement takes one.
        latest = {(each.row.workspace_id, each.row.id): each for each in batch if not _given_up(each)}
        try:
            if latest:
                await self._write([each.row for each in latest.values()])
        except Exception as error:
            # Whatever it is, rows must not be lost for it, and the writer must not end.
            if not self._away:
                logger.error("call records cannot be written", extra={"rows": len(batch)}, exc_info=error)
            await self._put_back(batch)
            return
        self._away = False
        for each in batch:
            if not each.done.done():
                each.done.set_result(None)

    async def _put_back(self, batch: list[_Waiting]) -> None:
        self._away = True
        self._waiting.extendleft(reversed([each for each in batch if not each.intent]))
        for each in batch:
            if each.done.done():
                continue
            if each.intent:
                each.done.set_exception(AuditUnavailable())
            else:
                each.done.set_result(None)
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
        await asyncio.sleep(_RETRY_SECONDS)

    async def _write(self, rows: list[CallRecord]) -> None:
        connection = await self._connected()
        batch = new_id()
        ended = [row for row in rows if row.outcome != pb.Call.OUTCOME_UNSPECIFIED]
        entry = ""
        if ended:
            details = {"batch": batch, "calls": len(ended), "sha256": digest(ended)}
            entry = self._journal.body(Entry("proxy.calls.record", "calls", actor="peer:proxy", details=details))
        columns = zip(*(_values(row) for row in rows), strict=True)
        await connection.execute(_WRITE, *map(list, columns), batch, entry, timeout=PATIENCE)

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.raw()
            await self._connection.execute("SELECT set_config('app.ws', '*', false)")
        return self._connection


def _values(row: CallRecord) -> tuple[str | int | datetime, ...]:
    """Returns the values of a row in the order of its columns."""
    return tuple(getattr(row, name) for name in _FIELDS)


def _given_up(waiting: _Waiting) -> bool:
    # Nobody waits for an intent that timed out: its call was refused.
    return waiting.intent and waiting.done.done()
