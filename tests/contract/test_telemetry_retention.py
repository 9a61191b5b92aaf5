"""Days of spans are made ahead and dropped when their time has come; one export's fault is not another's."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from cordboard.core.database import Database
from cordboard.telemetry.intake import Intake
from cordboard.telemetry.log_store import LogStore
from cordboard.telemetry.metric_store import MetricStore
from cordboard.telemetry.redaction import Redaction
from cordboard.telemetry.retention import Retention
from cordboard.telemetry.spans import DAY_NS, Harvest, Window, harvest
from cordboard.telemetry.store import SpanStore
from tests.fixtures.otlp import a_span, an_export
from tests.fixtures.postgres import Databases

EVER = Window(0, 1 << 62)
TODAY = time.time_ns() // DAY_NS


@dataclass
class HeldClock:
    """A clock that stands still."""

    days_ahead: int = 0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self.days_ahead)

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.fixture
async def database_(database: Databases) -> AsyncIterator[Database]:
    opened = Database(database("telemetry").url)
    yield opened
    await opened.close()


@pytest.fixture
def store(database_: Database) -> SpanStore:
    return SpanStore(database_)


def a_harvest(*spans: Span, service: str = "proxy") -> Harvest:
    return harvest(an_export(*spans, service=service).resource_spans, EVER, Redaction())


def days_old(days: int, **fields: Any) -> Span:
    return a_span(start=(TODAY - days) * DAY_NS + 5, **fields)


def retention(store: SpanStore, clock: HeldClock, *, days: int, max_bytes: int) -> Retention:
    metrics = MetricStore(store.database, max_series=100)
    logs = LogStore(store.database)
    return Retention(
        store, metrics, logs, clock, days=days, max_bytes=max_bytes, log_max_bytes=max_bytes, usage_days=60
    )


async def put(store: SpanStore, *spans: Span) -> None:
    taken = a_harvest(*spans)
    await store.put(taken.rows, taken.resources)


async def numbers(store: SpanStore) -> list[int]:
    return [day.number - TODAY for day in await store.days()]


async def test_today_and_tomorrow_are_made_ahead(store: SpanStore) -> None:
    await retention(store, HeldClock(), days=7, max_bytes=1 << 40).keep()
    assert await numbers(store) == [0, 1]


async def test_a_day_that_is_over_goes_with_its_spans_and_later_ones_stay(store: SpanStore) -> None:
    gone, kept = days_old(3), days_old(2)
    await put(store, gone, kept, days_old(0))
    await retention(store, HeldClock(), days=2, max_bytes=1 << 40).keep()
    assert await numbers(store) == [-2, 0, 1]
    ids = [row.trace_id for row in a_harvest(gone, kept).rows]
    assert set(await store.summaries(ids)) == {ids[1]}


async def test_links_go_with_the_days_of_the_spans_that_have_them(store: SpanStore, database_: Database) -> None:
    target = a_span()
    for days in (3, 2, 0):
        linking = days_old(days)
        linking.links.add(trace_id=target.trace_id, span_id=target.span_id)
        await put(store, linking)
    await retention(store, HeldClock(), days=2, max_bytes=1 << 40).keep()
    async with database_.shared() as connection:
        starts = (await connection.execute(text("SELECT start_ns FROM span_link ORDER BY start_ns"))).scalars().all()
    assert [start // DAY_NS - TODAY for start in starts] == [-2, 0]
    [linked] = a_harvest(target).rows
    assert len(await store.linked_from(linked.trace_id, limit=10)) == 2


async def test_days_go_by_size_but_never_today(store: SpanStore) -> None:
    await put(store, *(days_old(days) for days in range(4)))
    await retention(store, HeldClock(), days=7, max_bytes=1).keep()
    assert await numbers(store) == [0, 1]


async def test_a_dropped_day_comes_back_when_a_span_needs_it(store: SpanStore, database_: Database) -> None:
    await put(store, days_old(2))
    # Another replica, which this one knows nothing of, drops the day.
    await SpanStore(database_).drop_day(TODAY - 2)
    late = days_old(2)
    with pytest.raises(DBAPIError):
        await put(store, late)
    await put(store, late)
    assert await numbers(store) == [-2]


async def test_senders_that_fell_silent_are_forgotten(store: SpanStore, database_: Database) -> None:
    old, new = a_harvest(days_old(5), service="gone"), a_harvest(days_old(0), service="here")
    for each in (old, new):
        await store.put(each.rows, each.resources)
    await store.drop_resources(before=TODAY - 2)
    async with database_.shared() as connection:
        found = await connection.execute(text("SELECT service FROM resource"))
        assert found.scalars().all() == ["here"]


@pytest.mark.parametrize("day", [TODAY + 30, TODAY - 5000, -1])
async def test_nobody_can_make_a_thousand_days(store: SpanStore, day: int) -> None:
    with pytest.raises(DBAPIError, match="too far from today"):
        await store.keep_days([day])


async def test_replicas_make_the_same_days_at_once(database_: Database) -> None:
    stores = [SpanStore(database_) for _ in range(6)]
    await asyncio.gather(*(each.keep_days(range(TODAY - 3, TODAY + 2)) for each in stores))
    assert await numbers(stores[0]) == [-3, -2, -1, 0, 1]


async def test_the_service_can_change_no_table_by_itself(store: SpanStore, database_: Database) -> None:
    await store.keep_days([TODAY])
    for statement in ("DROP TABLE span", "ALTER TABLE span ADD COLUMN x int", "TRUNCATE span"):
        with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
            async with database_.shared() as connection:
                await connection.execute(text(statement))


async def test_an_export_that_the_database_refuses_takes_no_other_with_it(store: SpanStore) -> None:
    intake = Intake(store, max_spans=100, max_bytes=1 << 20)
    good, bad, better = a_harvest(a_span()), a_harvest(a_span()), a_harvest(a_span())
    bad.rows[0] = bad.rows[0]._replace(name="a\0b")
    waiting = [asyncio.ensure_future(intake.keep(each, 10)) for each in (good, bad, better)]
    await asyncio.sleep(0)
    writer = asyncio.create_task(intake.run())
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(result, DBAPIError) for result in results] == [False, True, False]
    ids = [each.rows[0].trace_id for each in (good, bad, better)]
    assert set(await store.summaries(ids)) == {ids[0], ids[2]}
    assert (intake.counts["stored"], intake.counts["failed"]) == (2, 1)
    # The writer goes on.
    await intake.keep(a_harvest(a_span()), 10)
    writer.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writer


async def test_the_window_follows_the_clock_and_the_retention(store: SpanStore) -> None:
    window = retention(store, HeldClock(days_ahead=2), days=3, max_bytes=1).window()
    assert (window.first, window.end) == ((TODAY - 1) * DAY_NS, (TODAY + 4) * DAY_NS)
