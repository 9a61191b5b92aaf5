"""Keeps in PostgreSQL where answers are not as the definitions say; decides nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cordboard.catalog.tables import state

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cordboard.core.database import Database

_metadata = sa.MetaData()
_look = sa.Table(
    "answer_look",
    _metadata,
    sa.Column("workspace_id", sa.Text),
    sa.Column("slug", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("action", sa.Text, primary_key=True),
    sa.Column("answers", sa.BigInteger),
    sa.Column("last_time", sa.DateTime(timezone=True)),
)
_drift = sa.Table(
    "drift",
    _metadata,
    sa.Column("workspace_id", sa.Text),
    sa.Column("slug", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("action", sa.Text, primary_key=True),
    sa.Column("kind", sa.Integer, primary_key=True),
    sa.Column("place", sa.Text, primary_key=True),
    sa.Column("rule", sa.Text, primary_key=True),
    sa.Column("answers", sa.BigInteger),
    sa.Column("first_time", sa.DateTime(timezone=True)),
    sa.Column("last_time", sa.DateTime(timezone=True)),
    sa.Column("trace_id", sa.Text),
)
_LOOKED: Final = ("slug", "version", "action")
_SIGN: Final = (*_LOOKED, "kind", "place", "rule")

Place = tuple[str, str, str, int, str, str]
"""What tells a sign from others: slug, version, action, kind, place and rule."""


@dataclass(frozen=True)
class Look:
    """How many answers to an action of a version were looked at, and when last."""

    workspace_id: str
    slug: str
    version: str
    action: str
    answers: int
    last_time: datetime


@dataclass(frozen=True)
class Sign:
    """One thing in which the answers to an action are not as its version says."""

    workspace_id: str
    slug: str
    version: str
    action: str
    kind: int
    place: str
    rule: str
    answers: int
    first_time: datetime
    last_time: datetime
    trace_id: str

    @property
    def key(self) -> Place:
        """Returns what tells it from others, and where it stands in a list."""
        return self.slug, self.version, self.action, self.kind, self.place, self.rule


@dataclass(frozen=True)
class Wanted:
    """Which signs are asked for."""

    slugs: Sequence[str]
    kind: int
    """0: every kind."""
    since: datetime
    retired: int
    """The state of versions whose signs are of no use any more."""


class DriftStore:
    """The tables of drift."""

    def __init__(self, database: Database) -> None:
        """Takes the service's database."""
        self._database = database

    async def add(self, looks: Sequence[Look], signs: Sequence[Sign], *, forget_before: datetime) -> None:
        """Adds to what is known, all or none, and forgets what nobody has seen since a time. Of looks and signs that
        mean the same there is one.
        """
        looked, seen = insert(_look), insert(_drift)
        more_looks = looked.on_conflict_do_update(
            index_elements=list(_LOOKED),
            set_={
                "answers": _look.c.answers + looked.excluded.answers,
                "last_time": sa.func.greatest(_look.c.last_time, looked.excluded.last_time),
            },
        )
        more_signs = seen.on_conflict_do_update(
            index_elements=list(_SIGN),
            set_={
                "answers": _drift.c.answers + seen.excluded.answers,
                "last_time": sa.func.greatest(_drift.c.last_time, seen.excluded.last_time),
                "trace_id": seen.excluded.trace_id,
            },
        )
        async with self._database.everywhere() as connection:
            # In one order for everybody, so that two reports cannot wait for each other.
            ordered = sorted(looks, key=lambda one: (one.slug, one.version, one.action))
            if ordered:
                await connection.execute(more_looks, [asdict(one) for one in ordered])
            if signs:
                await connection.execute(more_signs, [asdict(one) for one in sorted(signs, key=lambda one: one.key)])
            for table in (_look, _drift):
                await connection.execute(sa.delete(table).where(table.c.last_time < forget_before))

    async def signs(self, wanted: Wanted, *, after: Place, limit: int) -> list[tuple[Sign, int]]:
        """Returns up to `limit` signs behind a place, in order, each with how many answers were looked at."""
        looked = sa.and_(*(_look.c[name] == _drift.c[name] for name in _LOOKED))
        lives = sa.exists().where(
            state.c.slug == _drift.c.slug,
            state.c.version == _drift.c.version,
            state.c.state.not_in((0, wanted.retired)),
        )
        chosen = (
            sa.select(_drift, sa.func.coalesce(_look.c.answers, 0))
            .select_from(_drift.outerjoin(_look, looked))
            .where(
                _drift.c.slug == sa.any_(sa.cast(list(wanted.slugs), sa.ARRAY(sa.Text))),
                _drift.c.last_time >= wanted.since,
                sa.tuple_(*(_drift.c[name] for name in _SIGN)) > after,
                lives,
            )
            .order_by(*(_drift.c[name] for name in _SIGN))
            .limit(limit)
        )
        if wanted.kind:
            chosen = chosen.where(_drift.c.kind == wanted.kind)
        async with self._database.everywhere() as connection:
            return [(Sign(*row[:-1]), row[-1]) for row in await connection.execute(chosen)]

    async def actions(self, slugs: Sequence[str], *, since: datetime) -> dict[tuple[str, str], tuple[int, int]]:
        """Returns, by slug and version, of how many actions answers were looked at since a time, and how many of these
        show a sign.
        """
        found: dict[tuple[str, str], tuple[int, int]] = {}
        async with self._database.everywhere() as connection:
            for place, table in enumerate((_look, _drift)):
                counted = (
                    sa.select(table.c.slug, table.c.version, sa.func.count(table.c.action.distinct()))
                    .where(table.c.slug == sa.any_(sa.cast(list(slugs), sa.ARRAY(sa.Text))), table.c.last_time >= since)
                    .group_by(table.c.slug, table.c.version)
                )
                for slug, version, count in await connection.execute(counted):
                    looked, drifted = found.get((slug, version), (0, 0))
                    found[slug, version] = (count, drifted) if place == 0 else (looked, count)
        return found
