"""Who has called which version, as the Proxy counts it, in PostgreSQL."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cordboard.core.database import Database

RECENT: Final = timedelta(days=30)
"""How long a call counts as use."""

_metadata = sa.MetaData()
_usage = sa.Table(
    "usage",
    _metadata,
    sa.Column("workspace_id", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("slug", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("calls", sa.BigInteger),
    sa.Column("last_call_time", sa.DateTime(timezone=True)),
)
_KEY: Final = ("workspace_id", "environment", "slug", "version")


@dataclass(frozen=True)
class UseRecord:
    """The calls of one environment of a workspace to one version."""

    workspace_id: str
    environment: str
    slug: str
    version: str
    calls: int
    last_call_time: datetime


@dataclass(frozen=True)
class Callers:
    """How many workspaces have called a version lately, and when it was called last."""

    workspaces: int
    last_call_time: datetime


class Usage:
    """Counts calls."""

    def __init__(self, database: Database) -> None:
        """Takes the service's database."""
        self._database = database

    async def add(self, counts: Sequence[UseRecord]) -> None:
        """Adds calls to what is known, all or none."""
        totals: dict[tuple[str, str, str, str], UseRecord] = {}
        for one in counts:
            key = (one.workspace_id, one.environment, one.slug, one.version)
            known = totals.get(key)
            if known is not None:
                last = max(one.last_call_time, known.last_call_time)
                one = UseRecord(*key, one.calls + known.calls, last)  # noqa: PLW2901 - the sum of both
            totals[key] = one
        if not totals:
            return
        # In one order for everybody, so that two reports cannot wait for each other.
        written = insert(_usage)
        added = written.on_conflict_do_update(
            index_elements=list(_KEY),
            set_={
                "calls": _usage.c.calls + written.excluded.calls,
                "last_call_time": sa.func.greatest(_usage.c.last_call_time, written.excluded.last_call_time),
            },
        )
        async with self._database.everywhere() as connection:
            await connection.execute(added, [asdict(totals[key]) for key in sorted(totals)])

    async def of_workspace(self, workspace: str, *, since: datetime) -> list[UseRecord]:
        """Returns what a workspace has called since a time."""
        async with self._database.workspace(workspace) as connection:
            found = await connection.execute(sa.select(_usage).where(_usage.c.last_call_time >= since))
            return [UseRecord(*row) for row in found]

    async def callers(self, slugs: Sequence[str], *, since: datetime) -> dict[tuple[str, str], Callers]:
        """Returns, by slug and version, who has called versions of integrations since a time."""
        wanted = (
            sa.select(
                _usage.c.slug,
                _usage.c.version,
                sa.func.count(_usage.c.workspace_id.distinct()),
                sa.func.max(_usage.c.last_call_time),
            )
            .where(_usage.c.slug == sa.any_(sa.cast(list(slugs), sa.ARRAY(sa.Text))), _usage.c.last_call_time >= since)
            .group_by(_usage.c.slug, _usage.c.version)
        )
        async with self._database.everywhere() as connection:
            found = await connection.execute(wanted)
            return {(slug, version): Callers(count, last) for slug, version, count, last in found}
