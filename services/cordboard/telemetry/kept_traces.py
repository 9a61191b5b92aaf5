"""Traces that were not picked and are kept all the same: who found a reason tells, and everybody else may ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from cordboard.core.telemetry import KEPT
from cordboard.telemetry.v1 import kept_trace_service_pb2 as pb
from cordboard.telemetry.v1.kept_trace_service_pb2_grpc import KeptTraceServiceServicer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from uuid import UUID

    from cordboard.core.database import Database
    from cordboard.telemetry.spans import SpanRow

MOST: Final = 4096
_MARK: Final = f'"{KEPT}":'

_NOTE = text("""
    INSERT INTO kept_trace (trace_id) SELECT unnest(CAST(:trace_ids AS uuid[])) ON CONFLICT DO NOTHING""")
_FORGET = text("DELETE FROM kept_trace WHERE keep_time < now() - interval '2 minutes'")
_RECENT = text("""
    SELECT trace_id FROM kept_trace WHERE keep_time > now() - interval '1 minute'
    ORDER BY keep_time DESC LIMIT :limit""")
_STORED = text("SELECT DISTINCT trace_id FROM span WHERE trace_id = ANY(CAST(:trace_ids AS uuid[]))")


def noted(rows: Iterable[SpanRow]) -> set[UUID]:
    """Returns the traces for which one of these spans says that they are kept, and why."""
    return {row.trace_id for row in rows if _MARK in row.attributes}


class KeptTraces:
    """Remembers them for a minute."""

    def __init__(self, database: Database) -> None:
        """Takes the database of the service."""
        self._database = database

    async def note(self, trace_ids: Collection[UUID]) -> None:
        """Remembers traces, and forgets those of before."""
        if not trace_ids:
            return
        async with self._database.shared() as connection:
            # In one order, so that two writers never wait for each other's rows.
            await connection.execute(_NOTE, {"trace_ids": sorted(trace_ids)})
            await connection.execute(_FORGET)

    async def recent(self) -> set[UUID]:
        """Returns what was noted within the last minute."""
        async with self._database.shared() as connection:
            return set((await connection.execute(_RECENT, {"limit": MOST})).scalars())

    async def stored(self, trace_ids: Collection[UUID]) -> set[UUID]:
        """Returns which of these traces have a span in the store."""
        if not trace_ids:
            return set()
        async with self._database.shared() as connection:
            return set((await connection.execute(_STORED, {"trace_ids": list(trace_ids)})).scalars())


class KeptTraceServicer(KeptTraceServiceServicer):
    """Answers the services of the mesh."""

    def __init__(self, kept: KeptTraces) -> None:
        """Takes what remembers."""
        self._kept = kept

    async def ListKeptTraces(  # noqa: N802
        self, _request: pb.ListKeptTracesRequest, _context: object
    ) -> pb.ListKeptTracesResponse:
        return pb.ListKeptTracesResponse(trace_ids=[each.bytes for each in await self._kept.recent()])
