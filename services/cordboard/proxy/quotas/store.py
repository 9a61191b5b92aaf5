"""Keeps in PostgreSQL what of each bucket is used; each question is one statement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from cordboard.core.database import Database
    from cordboard.proxy.quotas.bucket import Bucket

_TAKE: Final = text(
    "SELECT granted, wait, free, reset FROM quota_take("
    ":bucket, :workspace, :want, :least, :calls, :window, :shared, :yielding)"
)
_CORRECT: Final = text("SELECT quota_correct(:bucket, :calls, :window, :remaining, :hold)")
_SWEEP: Final = text(
    "DELETE FROM quota_use WHERE (bucket, workspace_id) IN "
    "(SELECT bucket, workspace_id FROM quota_use WHERE end_time < now() - interval '1 minute' LIMIT 5000)"
)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a bucket gave. Times are seconds from now."""

    granted: int
    wait: float
    """After which to ask again, where it gave nothing."""
    free: int
    """What is left in it, for all who draw on it."""
    reset: float
    """After which more is left."""


class QuotaStore:
    """The table of what is used."""

    def __init__(self, database: Database) -> None:
        """Takes the Proxy's database."""
        self._database = database

    async def take(self, bucket: Bucket, *, want: int, least: int, yielding: bool) -> Grant:
        """Takes from `least` to `want` out of a bucket, or nothing; raises DependencyUnavailable.

        `yielding` leaves a fifth of it to others.
        """
        given = {
            "bucket": bucket.key,
            "workspace": bucket.workspace,
            "want": want,
            "least": least,
            "calls": bucket.limit.calls,
            "window": bucket.limit.window,
            "shared": bucket.shared,
            "yielding": yielding,
        }
        async with self._database.everywhere() as connection:
            row = (await connection.execute(_TAKE, given)).one()
        return Grant(row.granted, row.wait, row.free, row.reset)

    async def correct(self, bucket: Bucket, *, left: int, hold: float = 0.0) -> None:
        """Notes that no more than `left` calls are left, and none for `hold` seconds; raises DependencyUnavailable."""
        given = {
            "bucket": bucket.key,
            "calls": bucket.limit.calls,
            "window": bucket.limit.window,
            "remaining": left,
            "hold": hold,
        }
        async with self._database.everywhere() as connection:
            await connection.execute(_CORRECT, given)

    async def sweep(self) -> int:
        """Deletes some of what no window reaches any more; returns how many rows."""
        async with self._database.everywhere() as connection:
            return (await connection.execute(_SWEEP)).rowcount
