"""Log lines in PostgreSQL, one partition for each day, and the search in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text

from cordboard.telemetry.by_day import FIRST_STEP_NS, ByDay, steps_back
from cordboard.telemetry.log_lines import LogRow
from cordboard.telemetry.spans import DAY_NS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cordboard.core.database import Database

_PUT = text("""
    INSERT INTO log_line (at_ns, id, service, severity, event, logger, trace_id, span_id, attributes)
    SELECT * FROM unnest(
        CAST(:ats AS bigint[]), CAST(:ids AS uuid[]), CAST(:services AS text[]), CAST(:severities AS smallint[]),
        CAST(:events AS text[]), CAST(:loggers AS text[]), CAST(:trace_ids AS uuid[]), CAST(:span_ids AS bigint[]),
        CAST(:attributes AS jsonb[]))
    ON CONFLICT DO NOTHING""")


@dataclass(frozen=True)
class LogSearch:
    """Conditions that a line must meet; times are nanoseconds, `first` inclusive, `end` exclusive."""

    first: int
    end: int
    service: str = ""
    severity: int = 0
    text: str = ""
    trace_id: UUID | None = None


@dataclass(frozen=True)
class LogHit:
    """A line, and its fields as they were kept."""

    row: LogRow
    attributes: Mapping[str, str]

    @property
    def key(self) -> tuple[int, UUID]:
        """Returns its place in lists."""
        return self.row.at_ns, self.row.id


class LogStore(ByDay):
    """Keeps log lines and finds them."""

    def __init__(self, database: Database) -> None:
        """Takes the database of the service."""
        super().__init__(database, "log_line", keep="keep_log_day", drop="drop_log_day")

    async def put(self, rows: Sequence[LogRow]) -> None:
        """Stores lines in one transaction; one that is there already stays as it is."""
        if not rows:
            return
        days = {row.at_ns // DAY_NS for row in rows}
        await self.keep_new(days)
        # In one order, so that two writers never wait for each other's rows.
        of = zip(*sorted(rows, key=lambda row: row[:2]), strict=True)
        names = ("ats", "ids", "services", "severities", "events", "loggers", "trace_ids", "span_ids", "attributes")
        try:
            async with self.database.shared() as connection:
                await connection.execute(_PUT, {name: list(column) for name, column in zip(names, of, strict=True)})
        except BaseException:
            self.forget_days()
            raise

    async def lines(self, search: LogSearch, *, before: tuple[int, UUID] | None, limit: int) -> list[LogHit]:
        """Returns up to `limit` lines that fit, newest first, that come after `before` in that order.

        A trace's lines have an index of their own, and need no steps back.
        """
        last = search.end if before is None else min(search.end, before[0] + 1)
        step = FIRST_STEP_NS if search.trace_id is None else last - search.first
        found: list[LogHit] = []
        for first, end in steps_back(search.first, last, step):
            found += await self._lines(replace(search, first=first, end=end), before=before, limit=limit - len(found))
            if len(found) >= limit:
                break
        return found

    async def _lines(self, search: LogSearch, *, before: tuple[int, UUID] | None, limit: int) -> list[LogHit]:
        conditions, values = _conditions(search)
        if before is not None:
            conditions.append("(at_ns, id) < (:at, CAST(:id AS uuid))")
            values |= {"at": before[0], "id": before[1]}
        statement = text(
            f"SELECT {', '.join(LogRow._fields)} FROM log_line WHERE {' AND '.join(conditions)} "  # noqa: S608 - fixed texts only
            "ORDER BY at_ns DESC, id DESC LIMIT :limit"
        )
        async with self.database.shared() as connection:
            found = await connection.execute(statement, {**values, "limit": limit})
            return [LogHit(LogRow._make([*tuple(row)[:-1], ""]), row.attributes) for row in found]


def _conditions(search: LogSearch) -> tuple[list[str], dict[str, Any]]:
    conditions = ["at_ns >= :first", "at_ns < :end"]
    values: dict[str, Any] = {"first": search.first, "end": search.end}
    if search.service:
        conditions.append("service = :service")
        values["service"] = search.service
    if search.severity:
        # The number is written out, for the planner to see that the index of warnings has them.
        conditions.append(f"severity >= {int(search.severity)}")
    if search.text:
        # strpos and not LIKE: what people type has no wildcards.
        conditions.append("strpos(lower(event || ' ' || logger || ' ' || attributes::text), lower(:text)) > 0")
        values["text"] = search.text
    if search.trace_id is not None:
        conditions.append("trace_id = CAST(:trace_id AS uuid)")
        values["trace_id"] = search.trace_id
    return conditions, values
