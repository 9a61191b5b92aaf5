"""Metrics in PostgreSQL: series, and their figures by minute and by hour, in partitions."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from sqlalchemy import text

from cordboard.telemetry.points import GAUGE, MAX_EXEMPLARS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from cordboard.core.database import Database
    from cordboard.telemetry.points import Measured, Point, Series

MINUTES_OF_DAY: Final = 1440
MAX_KNOWN: Final = 50_000

_TAKE = text("INSERT INTO taken_export (hash) VALUES (:hash) ON CONFLICT DO NOTHING RETURNING hash")
_FORGET_TAKEN = text("DELETE FROM taken_export WHERE take_time < now() - interval '1 hour'")
_COUNT_SERIES = text("SELECT count(*) FROM series")
_KNOWN_SERIES = text("SELECT hash, id FROM series WHERE hash = ANY(CAST(:hashes AS uuid[]))")
_PUT_SERIES = text("""
    INSERT INTO series (hash, service, name, unit, kind, bounds, attributes, last_day)
    SELECT hash, service, name, unit, kind, ARRAY(SELECT jsonb_array_elements_text(bounds)::float8), attributes, :day
    FROM unnest(
        CAST(:hashes AS uuid[]), CAST(:services AS text[]), CAST(:names AS text[]), CAST(:units AS text[]),
        CAST(:kinds AS smallint[]), CAST(:bounds AS jsonb[]), CAST(:attributes AS jsonb[]))
        AS given(hash, service, name, unit, kind, bounds, attributes)
    ON CONFLICT (hash) DO UPDATE SET last_day = greatest(series.last_day, excluded.last_day)
    RETURNING hash, id""")
_PUT_POINTS = """
    INSERT INTO {table} AS kept (at, series_id, count, total, low, high, buckets, exemplars)
    SELECT at, series_id, count, total, low, high, ARRAY(SELECT jsonb_array_elements_text(buckets)::bigint), exemplars
    FROM unnest(
        CAST(:ats AS int[]), CAST(:ids AS int[]), CAST(:counts AS bigint[]), CAST(:totals AS float8[]),
        CAST(:lows AS float8[]), CAST(:highs AS float8[]), CAST(:buckets AS jsonb[]), CAST(:exemplars AS jsonb[]))
        AS given(at, series_id, count, total, low, high, buckets, exemplars)
    ON CONFLICT (at, series_id) DO UPDATE SET
        count = CASE WHEN excluded.series_id = ANY(CAST(:gauges AS int[])) THEN 1 ELSE kept.count + excluded.count END,
        total = CASE WHEN excluded.series_id = ANY(CAST(:gauges AS int[]))
            THEN excluded.total ELSE kept.total + excluded.total END,
        low = least(kept.low, excluded.low),
        high = greatest(kept.high, excluded.high),
        buckets = add_buckets(kept.buckets, excluded.buckets),
        exemplars = (
            SELECT coalesce(jsonb_agg(pair ORDER BY (pair->>0)::float8 DESC), '[]') FROM (
                SELECT pair FROM jsonb_array_elements(kept.exemplars || excluded.exemplars) AS pair
                ORDER BY (pair->>0)::float8 DESC LIMIT :most) AS largest)"""
_PUT_MINUTES = text(_PUT_POINTS.format(table="point_minute"))
_PUT_HOURS = text(_PUT_POINTS.format(table="point_hour"))
_KEEP_POINTS = text("SELECT keep_points(:day)")
_DROP_POINTS = text("SELECT drop_points(:minutes_before, :hours_before)")
_DROP_SERIES = text("DELETE FROM series WHERE last_day < :day")


@dataclass(frozen=True)
class Figures:
    """The figures of one series over a time: `at` is its beginning in minutes since 1970 where times are apart."""

    metric: str
    service: str
    attributes: Mapping[str, str]
    bounds: tuple[float, ...]
    at: int
    count: int
    total: float
    low: float
    high: float
    buckets: tuple[int, ...]
    exemplars: tuple[tuple[float, str], ...]


class MetricStore:
    """Keeps metrics and adds them up."""

    def __init__(self, database: Database, *, max_series: int) -> None:
        """Takes the database of the service, and how many series there may be."""
        self._database = database
        self._max_series = max_series
        self._ids: OrderedDict[tuple[UUID, int], int] = OrderedDict()
        self._days: set[int] = set()

    async def put(self, export: UUID, measured: Measured) -> int:
        """Adds an export's points, once however often it comes; returns how many found no room for their series."""
        if not measured.points:
            return 0
        days = {at // MINUTES_OF_DAY for _, at in measured.points}
        try:
            async with self._database.shared() as connection:
                for day in sorted(days - self._days):
                    await connection.execute(_KEEP_POINTS, {"day": day})
                if (await connection.execute(_TAKE, {"hash": export})).first() is None:
                    return 0
                ids = await self._series(connection, measured.series, max(days))
                minutes = [
                    (ids[key], point, measured.series[key].kind)
                    for (key, _), point in measured.points.items()
                    if key in ids
                ]
                if minutes:
                    # In one order, so that two writers never wait for each other's rows.
                    minutes.sort(key=lambda one: (one[1].at, one[0]))
                    await connection.execute(_PUT_MINUTES, _columns([(i, p.at, p, k) for i, p, k in minutes]))
                    await connection.execute(_PUT_HOURS, _columns(_hours(minutes)))
        except BaseException:
            # Another replica with another retention may have dropped what we took for known.
            self._ids.clear()
            self._days.clear()
            raise
        self._days |= days
        return len(measured.points) - len(minutes)

    async def figures(
        self,
        names: Sequence[str],
        *,
        first: int,
        end: int,
        conditions: Mapping[str, str],
        service: str = "",
        hours: bool = False,
        each: bool = False,
    ) -> list[Figures]:
        """Returns the figures of the series of these names with these labels, from the minute `first` to before `end`.

        `hours`: from the figures by hour. `each`: every minute or hour apart; otherwise added up.
        """
        table, width = ("point_hour", 60) if hours else ("point_minute", 1)
        statement = text(f"""
            SELECT name, service, attributes, bounds, {"at" if each else "max(at)"} AS at, sum(count)::bigint AS count,
                   sum(total) AS total, min(low) AS low, max(high) AS high, sum_buckets(buckets) AS buckets,
                   jsonb_agg(exemplars) FILTER (WHERE exemplars <> '[]') AS exemplars,
                   (array_agg(total ORDER BY at DESC))[1] AS newest, kind
            FROM {table} JOIN series ON id = series_id
            WHERE at >= :first AND at < :end AND name = ANY(CAST(:names AS text[]))
              AND attributes @> CAST(:conditions AS jsonb) AND (:service = '' OR service = :service)
            GROUP BY id{", at" if each else ""}
            """)  # noqa: S608 - fixed texts only
        values = {
            "first": first // width,
            "end": -(-end // width),
            "names": list(names),
            "conditions": orjson.dumps(dict(conditions)).decode(),
            "service": service,
        }
        async with self._database.shared() as connection:
            return [_figures(row, width) for row in await connection.execute(statement, values)]

    async def keep_days(self, days: Sequence[int]) -> None:
        """Makes the partitions of these days where they are missing."""
        async with self._database.shared() as connection:
            for day in sorted(days):
                await connection.execute(_KEEP_POINTS, {"day": day})
        self._days.update(days)

    async def drop(self, *, minutes_before: int, hours_before: int) -> int:
        """Drops what ended before these days (of minutes, of hours); returns how many partitions went."""
        async with self._database.shared() as connection:
            await connection.execute(_FORGET_TAKEN)
            values = {"minutes_before": minutes_before, "hours_before": hours_before}
            dropped = int((await connection.execute(_DROP_POINTS, values)).scalar_one())
            await connection.execute(_DROP_SERIES, {"day": hours_before})
        if dropped:
            self._days.clear()
            self._ids.clear()
        return dropped

    async def _series(self, connection: AsyncConnection, wanted: Mapping[UUID, Series], day: int) -> dict[UUID, int]:
        ids = {key: known for key in wanted if (known := self._ids.get((key, day))) is not None}
        unknown = sorted((one for key, one in wanted.items() if key not in ids), key=lambda one: one.hash)
        if not unknown:
            return ids
        there = {row.hash for row in await connection.execute(_KNOWN_SERIES, {"hashes": [one.hash for one in unknown]})}
        room = self._max_series - int((await connection.execute(_COUNT_SERIES)).scalar_one())
        fresh = [one for one in unknown if one.hash not in there]
        put = [one for one in unknown if one.hash in there] + fresh[: max(0, room)]
        if put:
            values = {
                "hashes": [one.hash for one in put],
                "services": [one.service for one in put],
                "names": [one.name for one in put],
                "units": [one.unit for one in put],
                "kinds": [one.kind for one in put],
                "bounds": [orjson.dumps(one.bounds).decode() for one in put],
                "attributes": [one.attributes for one in put],
                "day": day,
            }
            for row in await connection.execute(_PUT_SERIES, values):
                ids[row.hash] = self._ids[row.hash, day] = row.id
        while len(self._ids) > MAX_KNOWN:
            self._ids.popitem(last=False)
        return ids


def _hours(minutes: Sequence[tuple[int, Point, int]]) -> list[tuple[int, int, Point, int]]:
    added: dict[tuple[int, int], tuple[int, int, Point, int]] = {}
    for series, point, kind in minutes:
        hour = point.at // 60
        known = added.get((hour, series))
        if known is None:
            copy = type(point)(
                hour, point.count, point.total, point.low, point.high, list(point.buckets), list(point.exemplars)
            )
            added[hour, series] = (series, hour, copy, kind)
        else:
            known[2].add(point, kind)
    return list(added.values())


def _columns(points: Sequence[tuple[int, int, Point, int]]) -> dict[str, Any]:
    return {
        "ats": [at for _, at, _, _ in points],
        "ids": [series for series, _, _, _ in points],
        "counts": [point.count for _, _, point, _ in points],
        "totals": [point.total for _, _, point, _ in points],
        "lows": [point.low for _, _, point, _ in points],
        "highs": [point.high for _, _, point, _ in points],
        "buckets": [orjson.dumps(point.buckets).decode() for _, _, point, _ in points],
        "exemplars": [orjson.dumps(point.exemplars).decode() for _, _, point, _ in points],
        "gauges": sorted({series for series, _, _, kind in points if kind == GAUGE}),
        "most": MAX_EXEMPLARS,
    }


def _figures(row: Any, width: int) -> Figures:
    pairs = [(float(value), str(trace)) for group in row.exemplars or [] for value, trace in group]
    return Figures(
        row.name,
        row.service,
        row.attributes,
        tuple(row.bounds),
        row.at * width,
        row.count,
        row.newest if row.kind == GAUGE else row.total,
        row.low,
        row.high,
        tuple(row.buckets),
        tuple(sorted(set(pairs), reverse=True)[:MAX_EXEMPLARS]),
    )
