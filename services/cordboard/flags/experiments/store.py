"""Keeps experiments, who is in them, and what was measured; decides nothing."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError

from cordboard.core.database import notify
from cordboard.core.errors import AlreadyExists, StateConflict
from cordboard.flags.experiments.figures import Sums
from cordboard.flags.experiments.plan import BY_EVENT, Kind, Metric, Plan
from cordboard.flags.experiments.population import Population
from cordboard.flags.store import CHANNEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database

# The most workspaces of one experiment.
MAX_SUBJECTS: Final = 100_000

_metadata = sa.MetaData()
_experiment = sa.Table(
    "experiment",
    _metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("flag", sa.Text),
    sa.Column("plan", sa.JSON),
    sa.Column("population", sa.JSON),
    sa.Column("flag_revision", sa.BigInteger),
    sa.Column("creator", sa.Text),
    sa.Column("create_time", sa.DateTime(timezone=True)),
    sa.Column("stop_time", sa.DateTime(timezone=True)),
    sa.Column("stop_reason", sa.Text),
    sa.Column("exposures", sa.BigInteger),
)
_exposure = sa.Table(
    "experiment_exposure",
    _metadata,
    sa.Column("experiment", sa.Text, primary_key=True),
    sa.Column("workspace_id", sa.Text, primary_key=True),
    sa.Column("variant", sa.Text, primary_key=True),
    sa.Column("expose_time", sa.DateTime(timezone=True)),
)
_measurement = sa.Table(
    "experiment_measurement",
    _metadata,
    sa.Column("experiment", sa.Text, primary_key=True),
    sa.Column("workspace_id", sa.Text, primary_key=True),
    sa.Column("metric", sa.Integer, primary_key=True),
    sa.Column("count", sa.BigInteger),
    sa.Column("total", sa.Double),
)
_reporter = sa.Table(
    "experiment_reporter",
    _metadata,
    sa.Column("reporter", sa.Text, primary_key=True),
    sa.Column("sequence", sa.BigInteger),
    sa.Column("report_time", sa.DateTime(timezone=True)),
)


@dataclass(frozen=True)
class ExperimentRecord:
    """An experiment as it is."""

    key: str
    plan: Plan
    population: Population
    flag_revision: int
    creator: str
    create_time: datetime
    stop_time: datetime | None = None
    stop_reason: str = ""

    @property
    def name(self) -> str:
        """Returns the resource name."""
        return f"experiments/{self.key}"


@dataclass(frozen=True)
class Exposure:
    """A workspace that got a variant."""

    experiment: str
    workspace: str
    variant: str
    time: datetime


@dataclass(frozen=True)
class Measured:
    """How often something happened to a workspace, and how much of it."""

    metric: int
    """The metric's index in the plan."""
    count: int
    total: float


@dataclass(frozen=True)
class Subject:
    """What is known of a workspace in an experiment."""

    workspace: str
    variants: tuple[str, ...]
    time: datetime
    measured: Mapping[int, Measured]


class ExperimentStore:
    """Keeps experiments; a change of one wakes those who follow the flags."""

    def __init__(self, database: Database) -> None:
        """Takes the database of the service."""
        self._database = database

    @contextlib.asynccontextmanager
    async def change(self) -> AsyncIterator[AsyncConnection]:
        """Opens a transaction that starts or stops an experiment."""
        async with self._database.shared() as connection:
            yield connection
            await notify(connection, CHANNEL)

    async def add(self, connection: AsyncConnection, record: ExperimentRecord) -> None:
        """Adds an experiment; raises AlreadyExists, and StateConflict where its flag is in one that runs."""
        statement = sa.insert(_experiment).values(
            key=record.key,
            flag=record.plan.flag,
            plan=record.plan.to_json(),
            population=record.population.to_json(),
            flag_revision=record.flag_revision,
            creator=record.creator,
            create_time=record.create_time,
            stop_reason="",
        )
        try:
            await connection.execute(statement)
        except IntegrityError as error:
            if "experiment_running" in str(error.orig):
                text = f"'flags/{record.plan.flag}' is in another experiment that runs"
                raise StateConflict(f"flags/{record.plan.flag}", "in-experiment", text) from None
            raise AlreadyExists(record.name) from None

    async def stop(self, connection: AsyncConnection, key: str, time: datetime, reason: str) -> bool:
        """Ends an experiment; returns False where there is none that runs."""
        running = sa.update(_experiment).where(_experiment.c.key == key, _experiment.c.stop_time.is_(None))
        done = await connection.execute(running.values(stop_time=time, stop_reason=reason))
        return done.rowcount == 1

    async def experiment(self, key: str) -> ExperimentRecord | None:
        """Returns the experiment, or None when there is none."""
        async with self._database.shared() as connection:
            row = (await connection.execute(sa.select(_experiment).where(_experiment.c.key == key))).one_or_none()
        return None if row is None else _record(row)

    async def experiments(self, *, after: str, limit: int) -> list[ExperimentRecord]:
        """Returns up to `limit` experiments with a key above `after`, in order of key."""
        statement = sa.select(_experiment).where(_experiment.c.key > after).order_by(_experiment.c.key).limit(limit)
        async with self._database.shared() as connection:
            return [_record(row) for row in await connection.execute(statement)]

    async def running(self) -> list[ExperimentRecord]:
        """Returns the experiments that run."""
        async with self._database.shared() as connection:
            statement = sa.select(_experiment).where(_experiment.c.stop_time.is_(None))
            return [_record(row) for row in await connection.execute(statement)]

    async def expose(self, exposures: Collection[Exposure]) -> None:
        """Adds the exposures that are new, of experiments that run and are not full."""
        # Rows of many workspaces: a job of the service's own.
        async with self._database.everywhere() as connection:
            # In one order, because two that lock the same rows by turns would wait for each other.
            for key in sorted({each.experiment for each in exposures}):
                await _expose(connection, key, [each for each in exposures if each.experiment == key])

    async def measure(self, workspace: str, measured: Mapping[str, Sequence[Measured]]) -> int:
        """Adds to what was measured of a workspace, by experiment, where it is in it; returns how many changed."""
        async with self._database.workspace(workspace) as connection:
            done = [await _measure(connection, key, workspace, measured[key]) for key in sorted(measured)]
        return sum(done)

    async def report(
        self,
        reporter: str,
        sequence: int,
        now: datetime,
        exposures: Collection[Exposure],
        measured: Mapping[tuple[str, str], Sequence[Measured]],
        *,
        forget: datetime,
    ) -> None:
        """Adds what a Proxy has told, by experiment and workspace, once. Reporters silent since `forget` go."""
        values = {"reporter": reporter, "sequence": sequence, "report_time": now}
        insert = postgresql.insert(_reporter).values(values)
        once = insert.on_conflict_do_update(
            index_elements=[_reporter.c.reporter], set_=values, where=_reporter.c.sequence < sequence
        )
        async with self._database.everywhere() as connection:
            if (await connection.execute(once.returning(_reporter.c.sequence))).one_or_none() is None:
                return
            await connection.execute(sa.delete(_reporter).where(_reporter.c.report_time < forget))
            for key in sorted({each.experiment for each in exposures}):
                await _expose(connection, key, [each for each in exposures if each.experiment == key])
            for key, workspace in sorted(measured):
                await _measure(connection, key, workspace, measured[key, workspace])

    async def sums(self, record: ExperimentRecord) -> tuple[int, dict[str, int], list[dict[str, Sums]]]:
        """Returns how many workspaces crossed over, how many got each variant, and each metric's sums by variant."""
        subjects = _subjects(record.key)
        counts = sa.select(subjects.c.variant, subjects.c.variants, sa.func.count().label("amount")).group_by(
            subjects.c.variant, subjects.c.variants
        )
        async with self._database.everywhere() as connection:
            rows = (await connection.execute(counts)).all()
            found = [
                {row.variant: _sums(row) for row in await connection.execute(_of_metric(record.key, index, metric))}
                for index, metric in enumerate(record.plan.metrics)
            ]
        crossed = sum(row.amount for row in rows if row.variants > 1)
        return crossed, {row.variant: row.amount for row in rows if row.variants == 1}, found

    async def subjects(self, key: str, *, after: str, limit: int) -> list[Subject]:
        """Returns up to `limit` workspaces of an experiment with an id above `after`, in order of id."""
        page = (
            sa.select(
                _exposure.c.workspace_id,
                sa.func.array_agg(postgresql.aggregate_order_by(_exposure.c.variant, _exposure.c.variant)).label("got"),
                sa.func.min(_exposure.c.expose_time).label("time"),
            )
            .where(_exposure.c.experiment == key, _exposure.c.workspace_id > after)
            .group_by(_exposure.c.workspace_id)
            .order_by(_exposure.c.workspace_id)
            .limit(limit)
        )
        async with self._database.everywhere() as connection:
            rows = (await connection.execute(page)).all()
            ids = [row.workspace_id for row in rows]
            known = sa.select(_measurement).where(
                _measurement.c.experiment == key, _measurement.c.workspace_id.in_(ids)
            )
            measured: dict[str, dict[int, Measured]] = {each: {} for each in ids}
            for row in await connection.execute(known):
                measured[row.workspace_id][row.metric] = Measured(row.metric, row._mapping["count"], row.total)
        return [Subject(row.workspace_id, tuple(row.got), row.time, measured[row.workspace_id]) for row in rows]


async def _expose(connection: AsyncConnection, key: str, exposures: Sequence[Exposure]) -> None:
    held = (
        sa.select(_experiment.c.exposures)
        .where(_experiment.c.key == key, _experiment.c.stop_time.is_(None))
        .with_for_update()
    )
    known = (await connection.execute(held)).scalar_one_or_none()
    if known is None or known >= MAX_SUBJECTS:
        return
    rows = [
        {"experiment": key, "workspace_id": each.workspace, "variant": each.variant, "expose_time": each.time}
        for each in exposures[: MAX_SUBJECTS - known]
    ]
    insert = postgresql.insert(_exposure).values(rows).on_conflict_do_nothing()
    added = len((await connection.execute(insert.returning(_exposure.c.workspace_id))).all())
    grown = sa.update(_experiment).where(_experiment.c.key == key).values(exposures=known + added)
    await connection.execute(grown)


async def _measure(connection: AsyncConnection, key: str, workspace: str, measured: Sequence[Measured]) -> int:
    exposed = sa.exists().where(_exposure.c.experiment == key, _exposure.c.workspace_id == workspace)
    runs = sa.exists().where(_experiment.c.key == key, _experiment.c.stop_time.is_(None))
    if not (await connection.execute(sa.select(sa.and_(exposed, runs)))).scalar_one():
        return 0
    rows = [
        {
            "experiment": key,
            "workspace_id": workspace,
            "metric": each.metric,
            "count": each.count,
            "total": each.total,
        }
        for each in sorted(measured, key=lambda each: each.metric)
    ]
    insert = postgresql.insert(_measurement).values(rows)
    await connection.execute(
        insert.on_conflict_do_update(
            index_elements=[_measurement.c.experiment, _measurement.c.workspace_id, _measurement.c.metric],
            set_={
                "count": _measurement.c.count + insert.excluded.count,
                "total": _measurement.c.total + insert.excluded.total,
            },
        )
    )
    return len(rows)


def _subjects(key: str) -> sa.Subquery:
    return (
        sa.select(
            _exposure.c.workspace_id,
            sa.func.min(_exposure.c.variant).label("variant"),
            sa.func.count().label("variants"),
        )
        .where(_exposure.c.experiment == key)
        .group_by(_exposure.c.workspace_id)
        .subquery()
    )


def _of_metric(key: str, index: int, metric: Metric) -> sa.Select[Any]:
    subjects = _subjects(key)
    own = sa.and_(
        _measurement.c.workspace_id == subjects.c.workspace_id,
        _measurement.c.experiment == key,
        _measurement.c.metric == index,
    )
    count, total = sa.func.coalesce(_measurement.c.count, 0), sa.func.coalesce(_measurement.c.total, 0.0)
    x: Any = sa.case((count > 0, 1.0), else_=0.0) if metric.kind is Kind.CONVERSION else total
    y: Any = sa.literal(1.0) if metric.kind in BY_EVENT else sa.cast(count, sa.Double)
    return (
        sa.select(
            subjects.c.variant,
            sa.func.count().label("subjects"),
            sa.func.sum(x).label("x"),
            sa.func.sum(y).label("y"),
            sa.func.sum(x * x).label("xx"),
            sa.func.sum(y * y).label("yy"),
            sa.func.sum(x * y).label("xy"),
        )
        .select_from(subjects.outerjoin(_measurement, own))
        .where(subjects.c.variants == 1)
        .group_by(subjects.c.variant)
    )


def _sums(row: Any) -> Sums:
    return Sums(row.subjects, float(row.x), float(row.y), float(row.xx), float(row.yy), float(row.xy))


def _record(row: Any) -> ExperimentRecord:
    return ExperimentRecord(
        key=row.key,
        plan=Plan.from_json(row.plan),
        population=Population.from_json(row.population),
        flag_revision=row.flag_revision,
        creator=row.creator,
        create_time=row.create_time,
        stop_time=row.stop_time,
        stop_reason=row.stop_reason,
    )
