"""Tables with a partition for each day: the days that there are, and going back through them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from cordboard.core.database import Database

# A search looks at an hour first, then at six before it, and so on.
FIRST_STEP_NS: Final = 3_600_000_000_000
STEP_GROWTH: Final = 6
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Day:
    """One day's partition: days since 1970 (UTC), and its size on disk with its indexes."""

    number: int
    bytes: int


class ByDay:
    """A table whose days are made when they come, and dropped as a whole."""

    def __init__(self, database: Database, table: str, *, keep: str, drop: str) -> None:
        """Takes the database of the service, the table, and the functions that make and drop a day of it."""
        self.database = database
        self._prefix = f"{table}_"
        self._known: set[int] = set()
        self._keep = text(f"SELECT {keep}(:day)")
        self._drop = text(f"SELECT {drop}(:day)")
        self._days = text(
            "SELECT child.relname AS name, pg_total_relation_size(child.oid) AS bytes "  # noqa: S608 - fixed texts only
            "FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid "
            f"WHERE inhparent = CAST('{table}' AS regclass)"
        )

    async def days(self) -> list[Day]:
        """Returns the partitions that exist, oldest first."""
        async with self.database.shared() as connection:
            found = await connection.execute(self._days)
            return sorted((Day(self._day(row.name), row.bytes) for row in found), key=lambda day: day.number)

    async def keep_days(self, days: Collection[int]) -> None:
        """Makes the partitions of these days where they are missing."""
        if not days:
            return
        async with self.database.shared() as connection:
            for day in sorted(days):
                await connection.execute(self._keep, {"day": day})
        self._known.update(days)

    async def keep_new(self, days: Collection[int]) -> None:
        """Makes the partitions of those of these days that are not known to be there."""
        await self.keep_days(set(days) - self._known)

    async def drop_day(self, day: int) -> None:
        """Drops a day with all that is in it; a day that is not there is no error."""
        self._known.discard(day)
        async with self.database.shared() as connection:
            await connection.execute(self._drop, {"day": day})

    def forget_days(self) -> None:
        """Takes no day for known: another replica with another retention may have dropped it."""
        self._known.clear()

    def _day(self, partition: str) -> int:
        # Partitions are named by their date, for people who look with psql.
        return (datetime.strptime(partition.removeprefix(self._prefix), "%Y%m%d").replace(tzinfo=UTC) - _EPOCH).days


def steps_back(first: int, end: int, step: int = FIRST_STEP_NS) -> Iterator[tuple[int, int]]:
    """Yields the parts of a time in nanoseconds, the last one first, each of them longer than the one before.

    What is rare is found in a few of them, and of what is frequent the days before are not looked at.
    """
    while end > first:
        begin = max(first, end - step)
        yield begin, end
        end, step = begin, step * STEP_GROWTH
