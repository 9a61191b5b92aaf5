"""Keeps in PostgreSQL where answers are not as the definitions say; decides nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cordboard.catalog.tables import state, version

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
_edge_drift = sa.Table(
    "edge_drift",
    _metadata,
    sa.Column("workspace_id", sa.Text),
    sa.Column("edge_id", sa.Text, primary_key=True),
    *(sa.Column(one.name, one.type, primary_key=one.primary_key) for one in _drift.c if one.name != "workspace_id"),
    sa.Column("looked", sa.BigInteger),
)
_LOOKED: Final = ("slug", "version", "action")
_SIGN: Final = (*_LOOKED, "kind", "place", "rule")
_ORDER: Final = (*_SIGN, "edge_id")
_TABLES: Final = (_look, _edge_drift)
_TICK: Final = timedelta(microseconds=1)

Place = tuple[str, str, str, int, str, str, str]
"""What tells a sign from others: slug, version, action, kind, place, rule, and the edge that saw it, if one did."""


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
    looked: int = 0
    """How many answers to the action were looked at; 0: not known."""
    edge_id: str = ""
    """The edge that saw it; empty: this mesh did."""

    @property
    def key(self) -> Place:
        """Returns what tells it from others, and where it stands in a list."""
        return self.slug, self.version, self.action, self.kind, self.place, self.rule, self.edge_id


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
                await connection.execute(more_signs, [_row(one, _drift) for one in sorted(signs, key=_key)])
            for table in (_look, _drift, _edge_drift):
                await connection.execute(sa.delete(table).where(table.c.last_time < forget_before))

    async def put_edge(
        self, edge: str, workspaces: Sequence[str], signs: Sequence[Sign], *, forget_before: datetime, limit: int
    ) -> None:
        """Writes what an edge saw over what it told before, as far as it is of versions that are here, shared or
        private to one of the workspaces; forgets what it has not seen since a time, and the oldest of more than
        `limit`.
        """
        written = insert(_edge_drift)
        changed = [one.name for one in _edge_drift.c if not one.primary_key]
        replaced = written.on_conflict_do_update(
            index_elements=["edge_id", *_SIGN], set_={name: written.excluded[name] for name in changed}
        )
        keys = sorted({(one.slug, one.version) for one in signs})
        known = sa.select(version.c.slug, version.c.version, version.c.workspace_id).where(
            sa.tuple_(version.c.slug, version.c.version).in_(keys),
            version.c.workspace_id.in_(["", *workspaces]),
        )
        mine = _edge_drift.c.edge_id == edge
        newest = sa.select(_edge_drift.c.last_time).where(mine).order_by(_edge_drift.c.last_time.desc())
        async with self._database.everywhere() as connection:
            owners = {(row.slug, row.version): row.workspace_id for row in await connection.execute(known)}
            rows = [
                _row(replace(one, workspace_id=owners[one.slug, one.version], edge_id=edge), _edge_drift)
                for one in sorted(signs, key=_key)
                if (one.slug, one.version) in owners
            ]
            if rows:
                await connection.execute(replaced, rows)
            past = (await connection.execute(newest.offset(limit).limit(1))).scalar_one_or_none()
            oldest = forget_before if past is None else max(past + _TICK, forget_before)
            await connection.execute(sa.delete(_edge_drift).where(mine, _edge_drift.c.last_time < oldest))

    async def newest(self, *, since: datetime, limit: int) -> list[Sign]:
        """Returns up to `limit` signs that this mesh itself saw since a time, those that it saw last first."""
        own = _own()
        chosen = sa.select(*_columns(own)).where(own.c.last_time >= since).order_by(own.c.last_time.desc())
        async with self._database.everywhere() as connection:
            return [Sign(*row) for row in await connection.execute(chosen.limit(limit))]

    async def signs(self, wanted: Wanted, *, after: Place, limit: int) -> list[Sign]:
        """Returns up to `limit` signs behind a place, in order, of this mesh and of its edges."""
        signs = _all()
        lives = sa.exists().where(
            state.c.slug == signs.c.slug,
            state.c.version == signs.c.version,
            state.c.state.not_in((0, wanted.retired)),
        )
        chosen = (
            sa.select(*_columns(signs))
            .where(
                signs.c.slug == sa.any_(sa.cast(list(wanted.slugs), sa.ARRAY(sa.Text))),
                signs.c.last_time >= wanted.since,
                sa.tuple_(*(signs.c[name] for name in _ORDER)) > after,
                lives,
            )
            .order_by(*(signs.c[name] for name in _ORDER))
            .limit(limit)
        )
        if wanted.kind:
            chosen = chosen.where(signs.c.kind == wanted.kind)
        async with self._database.everywhere() as connection:
            return [Sign(*row) for row in await connection.execute(chosen)]

    async def actions(self, slugs: Sequence[str], *, since: datetime) -> dict[tuple[str, str], tuple[int, int]]:
        """Returns, by slug and version, of how many actions answers were looked at since a time, and how many of these
        show a sign.
        """
        found: dict[tuple[str, str], tuple[int, int]] = {}
        looked = sa.union_all(*(sa.select(*(one.c[name] for name in _LOOKED), one.c.last_time) for one in _TABLES))
        async with self._database.everywhere() as connection:
            # An edge tells of nothing but what drifts: that it looked at an action is known of no other.
            for place, table in enumerate((looked.subquery("looked"), _all())):
                counted = (
                    sa.select(table.c.slug, table.c.version, sa.func.count(table.c.action.distinct()))
                    .where(table.c.slug == sa.any_(sa.cast(list(slugs), sa.ARRAY(sa.Text))), table.c.last_time >= since)
                    .group_by(table.c.slug, table.c.version)
                )
                for slug, number, count in await connection.execute(counted):
                    looks, drifted = found.get((slug, number), (0, 0))
                    found[slug, number] = (count, drifted) if place == 0 else (looks, count)
        return found

    async def drifting(self, *, since: datetime, states: Sequence[int], limit: int) -> dict[str, int]:
        """Returns of how many actions each integration shows a sign since a time, here or at an edge, in versions in
        these states; of `limit` integrations, those with most first.
        """
        signs = _all()
        actions = sa.func.count(signs.c.action.distinct()).label("actions")
        counted = (
            sa.select(signs.c.slug, actions)
            .join(state, sa.and_(state.c.slug == signs.c.slug, state.c.version == signs.c.version))
            .where(signs.c.last_time >= since, state.c.state.in_(states))
            .group_by(signs.c.slug)
            .order_by(actions.desc(), signs.c.slug)
            .limit(limit)
        )
        async with self._database.everywhere() as connection:
            return {row.slug: row.actions for row in await connection.execute(counted)}


def _key(sign: Sign) -> Place:
    return sign.key


def _row(sign: Sign, table: sa.Table) -> dict[str, object]:
    return {name: value for name, value in asdict(sign).items() if name in table.c}


def _own() -> sa.Subquery:
    """Returns the signs that this mesh saw, with how many answers were looked at."""
    looked = sa.and_(*(_look.c[name] == _drift.c[name] for name in _LOOKED))
    answers = sa.func.coalesce(_look.c.answers, 0).label("looked")
    nowhere = sa.cast("", sa.Text).label("edge_id")
    return sa.select(_drift, answers, nowhere).select_from(_drift.outerjoin(_look, looked)).subquery("own")


def _all() -> sa.Subquery:
    """Returns the signs that this mesh and its edges saw."""
    own = _own()
    edges = sa.select(*_columns(_edge_drift))
    return sa.union_all(sa.select(*_columns(own)), edges).subquery("signs")


def _columns(table: sa.FromClause) -> list[sa.ColumnElement[Any]]:
    """Returns the columns of a table in the order of the fields of Sign."""
    return [table.c[one.name] for one in fields(Sign)]
