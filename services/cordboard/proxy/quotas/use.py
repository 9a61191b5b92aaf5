"""What is used of vendors' limits, for those who look at it: read where replicas share it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from cordboard.proxy.quotas.bucket import APP

if TYPE_CHECKING:
    from cordboard.core.database import Database

# A window is 40 slots. A bucket of a workspace or of its connections is its own; of a shared one it has a row as soon
# as it has drawn on it.
_USED: Final = """
    (SELECT sum(one) FROM unnest(quota_slide({row}.used, {row}.slot, greatest(
        {row}.slot, CAST(floor(extract(epoch FROM clock_timestamp()) * 40 / seconds) AS bigint)
    ))) one)
"""
_LIST: Final = text(f"""
    SELECT whole.bucket, {_USED.format(row="whole")} AS used,
        CASE WHEN own.bucket IS NULL THEN 0 ELSE {_USED.format(row="own")} END AS own_used,
        CASE WHEN whole.held_until > now() THEN whole.held_until END AS held_until
    FROM quota_use whole
    CROSS JOIN LATERAL CAST(split_part(whole.bucket, ' ', 6) AS double precision) AS seconds
    LEFT JOIN quota_use own ON own.bucket = whole.bucket AND own.workspace_id = :workspace
    WHERE whole.workspace_id = '' AND whole.end_time > now() AND whole.bucket > :after
        AND (:integration = '' OR split_part(whole.bucket, ' ', 1) = :integration)
        AND CASE WHEN split_part(whole.bucket, ' ', 2) = '{APP}' THEN own.bucket IS NOT NULL
            ELSE split_part(whole.bucket, ' ', 3) || '/' LIKE :owner ESCAPE '!' END
    ORDER BY whole.bucket LIMIT :limit
""")  # noqa: S608 - nothing in it comes from outside


@dataclass(frozen=True, slots=True)
class Use:
    """What is used of one bucket."""

    key: str
    integration: str
    scope: str
    owner: str
    action: str
    """Empty: all."""
    limit: int
    window: float
    """Seconds."""
    used: int
    own_used: int
    held_until: datetime | None


class QuotaUses:
    """Reads what is used."""

    def __init__(self, database: Database) -> None:
        """Takes the Proxy's database."""
        self._database = database

    async def page(self, workspace: str, *, integration: str, after: str, limit: int) -> list[Use]:
        """Returns up to `limit` of a workspace's buckets with a key above `after`; raises DependencyUnavailable."""
        given = {
            "workspace": workspace,
            "owner": f"workspaces/{workspace}/%",
            "integration": integration,
            "after": after,
            "limit": limit,
        }
        async with self._database.everywhere() as connection:
            return [
                _read(row.bucket, row.used, row.own_used, row.held_until)
                for row in await connection.execute(_LIST, given)
            ]


def _read(key: str, used: int, own_used: int, held_until: datetime | None) -> Use:
    slug, scope, owner, action, calls, window = key.split(" ")
    # Of a bucket that is not shared everything is the workspace's, and counted once.
    own = own_used if scope == APP else used
    return Use(
        key, slug, scope, owner, "" if action == "*" else action, int(calls), float(window), used, own, held_until
    )
