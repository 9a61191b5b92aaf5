"""What rules are judged by: stored figures, added up by one label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Collection

    from cordboard.core.database import Database

SERVICE: Final = "service.name"
"""The label that stands for the service that sent a figure."""
LOOKBACK_MINUTES: Final = 5
"""A gauge that said nothing for so long has no state (Prometheus looks back as far)."""
_KEY: Final = "CASE WHEN :label = 'service.name' THEN service ELSE coalesce(attributes->>:label, '') END"

_SUMS: Final = """
    SELECT * FROM (
        SELECT {key} AS key, sum(count)::bigint AS count, sum(total) AS total,
               coalesce(sum(count) FILTER (WHERE attributes ? 'error.type'), 0)::bigint AS failed
        FROM {table} JOIN series ON id = series_id
        WHERE at >= :first AND at < :end AND name = :measure GROUP BY 1) AS added
    WHERE CAST(:only AS text[]) IS NULL OR key = ANY(CAST(:only AS text[]))"""
_MINUTES = text(_SUMS.format(key=_KEY, table="point_minute"))
_HOURS = text(_SUMS.format(key=_KEY, table="point_hour"))
_STATES = text(f"""
    SELECT key, min(newest) AS low, max(newest) AS high FROM (
        SELECT DISTINCT ON (id) {_KEY} AS key, total AS newest
        FROM point_minute JOIN series ON id = series_id
        WHERE at >= :first AND at < :end AND name = :measure ORDER BY id, at DESC) AS state
    GROUP BY key""")  # noqa: S608 - fixed texts only
_GROWTH = text(f"""
    SELECT key, max(growth) AS growth FROM (
        SELECT {_KEY} AS key, (array_agg(total ORDER BY at DESC))[1] - (array_agg(total ORDER BY at))[1] AS growth
        FROM point_minute JOIN series ON id = series_id
        WHERE at >= :first AND at < :end AND name = :measure GROUP BY id) AS grown
    GROUP BY key""")  # noqa: S608 - fixed texts only


@dataclass(frozen=True)
class Sum:
    """How many were counted over a time, how much they add up to, and how many of them failed."""

    count: int
    total: float
    failed: int


@dataclass(frozen=True)
class State:
    """The newest values of a gauge: the lowest and the highest of its series."""

    low: float
    high: float


class Figures:
    """Adds up figures for rules. Times are minutes since 1970; `end` is left out."""

    def __init__(self, database: Database) -> None:
        """Takes the database of the service."""
        self._database = database

    async def sums(
        self, measure: str, label: str, *, first: int, end: int, only: Collection[str] | None = None
    ) -> dict[str, Sum]:
        """Returns what was counted, by the label's value; a time of more than a day is added up from whole hours."""
        hours = end - first > 24 * 60
        values = {
            "first": -(-first // 60) if hours else first,
            "end": -(-end // 60) if hours else end,
            "measure": measure,
            "label": label,
            "only": None if only is None else sorted(only),
        }
        rows = await self._rows(_HOURS if hours else _MINUTES, values)
        return {row.key: Sum(row.count, row.total, row.failed) for row in rows}

    async def states(self, measure: str, label: str, *, end: int) -> dict[str, State]:
        """Returns how a gauge stood before the minute `end`, by the label's value."""
        values = {"first": end - LOOKBACK_MINUTES, "end": end, "measure": measure, "label": label}
        return {row.key: State(row.low, row.high) for row in await self._rows(_STATES, values)}

    async def growth(self, measure: str, label: str, *, first: int, end: int) -> dict[str, float]:
        """Returns by how much a gauge grew from its first to its last reading of the time, by the label's value."""
        values = {"first": first, "end": end, "measure": measure, "label": label}
        return {row.key: float(row.growth) for row in await self._rows(_GROWTH, values)}

    async def _rows(self, statement: Any, values: dict[str, Any]) -> list[Any]:
        async with self._database.shared() as connection:
            return list(await connection.execute(statement, values))
