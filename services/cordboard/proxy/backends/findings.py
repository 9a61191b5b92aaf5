"""Keeps what comparisons of two backends showed, in PostgreSQL: sums, not calls, and no value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cordboard.core.errors import NotFound
from cordboard.proxy.backends.difference import Difference

if TYPE_CHECKING:
    from cordboard.core.database import Database
    from cordboard.proxy.backends.route import Route

# Rows of one action; what is more is counted in the sums alone.
MOST: Final = 200
FAILED: Final = "failed"

_WHERE: Final = ("workspace_id", "integration", "action")
_COUNTS: Final = ("calls", "same", "failed", "primary_milliseconds", "candidate_milliseconds")
_comparison = sa.Table(
    "backend_comparison",
    sa.MetaData(),
    *(sa.Column(name, sa.Text, primary_key=True) for name in _WHERE),
    sa.Column("era", sa.BigInteger),
    *(sa.Column(name, sa.BigInteger) for name in _COUNTS),
)
_difference = sa.Table(
    "backend_difference",
    sa.MetaData(),
    *(sa.Column(name, sa.Text, primary_key=True) for name in (*_WHERE, "kind", "pointer")),
    *(sa.Column(name, sa.BigInteger) for name in ("era", "calls")),
    *(sa.Column(name, sa.Text) for name in ("primary_value", "candidate_value", "last_call")),
)
_route = sa.table("backend_route", *(sa.column(name) for name in ("workspace_id", "integration", "era")))


@dataclass(frozen=True, slots=True)
class Finding:
    """What one call showed."""

    route: Route
    action: str
    call: str
    primary_seconds: float
    candidate_seconds: float
    differences: Sequence[Difference] = ()
    failure: str = ""
    """The reason for which the candidate failed; empty: it did not."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One field that differs, and in how many calls."""

    action: str
    kind: str
    pointer: str
    primary: str
    candidate: str
    calls: int
    last_call: str


@dataclass(frozen=True, slots=True)
class Sums:
    """What was seen of one action."""

    action: str
    calls: int
    same: int
    failed: int
    primary_milliseconds: int
    candidate_milliseconds: int


class Findings:
    """The tables of comparisons."""

    def __init__(self, database: Database) -> None:
        """Takes the Proxy's database."""
        self._database = database

    async def add(self, finding: Finding) -> None:
        """Counts a finding, unless its route's report was begun anew since; raises DependencyUnavailable."""
        route = finding.route
        here = {"workspace_id": route.workspace, "integration": route.integration, "action": finding.action}
        counts = {
            "calls": 1,
            "same": int(not finding.failure and not finding.differences),
            "failed": int(bool(finding.failure)),
            "primary_milliseconds": round(finding.primary_seconds * 1000),
            "candidate_milliseconds": round(finding.candidate_seconds * 1000),
        }
        current = sa.select(_route.c.era).where(
            _route.c.workspace_id == route.workspace, _route.c.integration == route.integration
        )
        async with self._database.workspace(route.workspace) as connection:
            if (await connection.execute(current.with_for_update(read=True))).scalar() != route.era:
                return
            await connection.execute(_counted(_comparison, {**here, "era": route.era}, counts))
            known = sa.select(sa.func.count()).where(
                *(_difference.c[name] == value for name, value in here.items()), _difference.c.era == route.era
            )
            room = MOST - ((await connection.execute(known)).scalar() or 0)
            rows = [
                ({"kind": one.manner.value, "pointer": one.pointer}, one.primary, one.candidate)
                for one in finding.differences
            ]
            if finding.failure:
                rows.append(({"kind": FAILED, "pointer": finding.failure}, "", ""))
            # In one order, so that two replicas never wait for each other.
            for key, primary, candidate in sorted(rows, key=lambda row: sorted(row[0].items()))[: max(room, 1)]:
                values = {**here, **key, "era": route.era}
                told = {"primary_value": primary, "candidate_value": candidate, "last_call": finding.call}
                await connection.execute(_counted(_difference, values, {"calls": 1}, told))

    async def of(self, workspace: str, integration: str) -> tuple[list[Sums], list[Seen]]:
        """Returns what was seen since the report began, by action; raises NotFound where there is no route."""
        async with self._database.workspace(workspace) as connection:
            current = sa.select(_route.c.era).where(
                _route.c.workspace_id == workspace, _route.c.integration == integration
            )
            era = (await connection.execute(current)).scalar()
            if era is None:
                raise NotFound(f"workspaces/{workspace}/backendRoutes/{integration}/comparison")
            sums = await connection.execute(_of(_comparison, workspace, integration, era).order_by("action"))
            found = [Sums(row["action"], *(row[name] for name in _COUNTS)) for row in sums.mappings()]
            order = (_difference.c.calls.desc(), _difference.c.pointer, _difference.c.kind)
            fields = await connection.execute(_of(_difference, workspace, integration, era).order_by(*order))
            return found, [_seen(row) for row in fields.mappings()]


def _of(table: sa.Table, workspace: str, integration: str, era: int) -> sa.Select[tuple[object, ...]]:
    return sa.select(table).where(
        table.c.workspace_id == workspace, table.c.integration == integration, table.c.era == era
    )


def _counted(
    table: sa.Table, values: Mapping[str, object], counts: Mapping[str, int], told: Mapping[str, str] | None = None
) -> sa.Insert:
    """Returns what adds counts to a row; one of an era before begins anew."""
    first = insert(table).values(**values, **counts, **(told or {}))
    again = first.excluded.era == table.c.era
    return first.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={
            "era": first.excluded.era,
            **{name: sa.case((again, table.c[name]), else_=0) + value for name, value in counts.items()},
            **(told or {}),
        },
    )


def _seen(row: sa.RowMapping) -> Seen:
    return Seen(
        row["action"],
        row["kind"],
        row["pointer"],
        row["primary_value"],
        row["candidate_value"],
        row["calls"],
        row["last_call"],
    )
