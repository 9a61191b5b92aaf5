"""Log lines in PostgreSQL, one partition for each day, and the search in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import text

from cordboard.telemetry.log_lines import LogRow
from cordboard.telemetry.spans import DAY_NS
from cordboard.telemetry.store import FIRST_STEP_NS, STEP_GROWTH, Day

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from cordboard.core.database import Database

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_PUT = text("""
    INSERT INTO log_line (at_ns, id, service, severity, event, logger, trace_id, span_id, attributes)
    SELECT * FROM unnest(
        CAST(:ats AS bigint[]), CAST(:ids AS uuid[]), CAST(:services AS text[]), CAST(:severities AS smallint[]),
        CAST(:events AS text[]), CAST(:loggers AS text[]), CAST(:trace_ids AS uuid[]), CAST(:span_ids AS bigint[]),
        CAST(:attributes AS jsonb[]))
    ON CONFLICT DO NOTHING""")
_DAYS = text("""
    SELECT child.relname AS name, pg_total_relation_size(child.oid) AS bytes
    FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
    WHERE inhparent = CAST('log_line' AS regclass)""")
_KEEP_DAY = text("SELECT keep_log_day(:day)")
_DROP_DAY = text("SELECT drop_log_day(:day)")


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


class LogStore:
    """Keeps log lines and finds them."""

    def __init__(self, database: Database) -> None:
        """Takes the database of the service."""
        self._database = database
        self._days: set[int] = set()

    async def put(self, rows: Sequence[LogRow]) -> None:
        """Stores lines in one transaction; one that is there already stays as it is."""
        if not rows:
            return
        days = {row.at_ns // DAY_NS for row in rows}
        await self.keep_days(days - self._days)
        # In one order, so that two writers never wait for each other's rows.
        of = zip(*sorted(rows, key=lambda row: row[:2]), strict=True)
        names = ("ats", "ids", "services", "severities", "events", "loggers", "trace_ids", "span_ids", "attributes")
        try:
            async with self._database.shared() as connection:
                await connection.execute(_PUT, {name: list(column) for name, column in zip(names, of, strict=True)})
        except BaseException:
            # Another replica with another retention may have dropped what we took for known.
            self._days.clear()
            raise

    async def lines(self, search: LogSearch, *, before: tuple[int, UUID] | None, limit: int) -> list[LogHit]:
        """Returns up to `limit` lines that fit, newest first, that come after `before` in that order.

        It goes back in steps that grow, as the search of spans does; a trace's lines have an index of their own.
        """
        end = search.end if before is None else min(search.end, before[0] + 1)
        found: list[LogHit] = []
        step = FIRST_STEP_NS if search.trace_id is None else end - search.first
        while end > search.first and len(found) < limit:
            first = max(search.first, end - step)
            found += await self._lines(replace(search, first=first, end=end), before=before, limit=limit - len(found))
            end, step = first, step * STEP_GROWTH
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
        async with self._database.shared() as connection:
            found = await connection.execute(statement, {**values, "limit": limit})
            return [LogHit(LogRow._make([*tuple(row)[:-1], ""]), row.attributes) for row in found]

    async def days(self) -> list[Day]:
        """Returns the partitions that exist, oldest first."""
        async with self._database.shared() as connection:
            found = await connection.execute(_DAYS)
            return sorted((Day(_day(row.name), row.bytes) for row in found), key=lambda day: day.number)

    async def keep_days(self, days: Collection[int]) -> None:
        """Makes the partitions of these days where they are missing."""
        if not days:
            return
        async with self._database.shared() as connection:
            for day in sorted(days):
                await connection.execute(_KEEP_DAY, {"day": day})
        self._days.update(days)

    async def drop_day(self, day: int) -> None:
        """Drops a day with all of its lines; a day that is not there is no error."""
        self._days.discard(day)
        async with self._database.shared() as connection:
            await connection.execute(_DROP_DAY, {"day": day})


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


def _day(partition: str) -> int:
    return (datetime.strptime(partition, "log_line_%Y%m%d").replace(tzinfo=UTC) - _EPOCH).days
