"""What a process holds on to is counted: each task, descriptor, thread, and connection to the database."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from cordboard.core import vitals
from cordboard.core.database import Database
from cordboard.core.measures import Measures
from tests.fixtures.held import MEMORY, TASKS, UPTIME, Sample, leaks
from tests.fixtures.postgres import Databases

LINUX = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="NOT TESTED: there is no /proc here")


def counted(measures: Measures) -> dict[tuple[str, ...], float]:
    """Returns the gauges, by name and labels."""
    request = measures.collect()
    assert request is not None
    return {
        (metric.name, *(each.value.string_value for each in point.attributes)): point.as_double
        for metric in request.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.gauge.data_points
    }


@LINUX
async def test_what_a_process_takes_is_counted_until_it_lets_go() -> None:
    measures, ends = Measures("proxy"), threading.Event()
    vitals.watch(measures)
    before = counted(measures)
    tasks = [asyncio.create_task(asyncio.Event().wait()) for _ in range(7)]
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(5)]
    thread = threading.Thread(target=ends.wait)
    thread.start()
    held = counted(measures)
    ends.set()
    thread.join()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for file in files:
        os.close(file)
    after = counted(measures)
    for name, more in ((TASKS, 7), ("process.unix.file_descriptor.count", 5), ("process.thread.count", 1)):
        assert held[name,] - before[name,] == more, name
        assert after[name,] == before[name,], name
    assert after[UPTIME,] > before[UPTIME,] >= 0
    assert 1e6 < after[MEMORY,] < 1e11


async def test_connections_are_told_by_pool_and_whether_somebody_holds_them(database: Databases) -> None:
    measures, where = Measures("proxy"), Database(database("proxy").url, pool_size=3)
    vitals.watch_connections(measures, where)

    def told(pool: str) -> tuple[float, float]:
        found = counted(measures)
        used, idle = (found["db.client.connection.count", pool, state] for state in ("used", "idle"))
        return used, idle

    try:
        assert told("transactions") == told("statements") == (0, 0)
        async with where.shared() as connection, where.shared() as other:
            await connection.execute(text("SELECT 1"))
            await other.execute(text("SELECT 1"))
            assert told("transactions") == (2, 0)
        assert told("transactions") == (0, 2)
        running = asyncio.create_task(where.run("SELECT pg_sleep(60)"))
        async with asyncio.timeout(60):
            while told("statements") != (1, 0):  # noqa: ASYNC110 - the task begins
                await asyncio.sleep(0.01)
        # Whoever leaves in the middle leaves nothing behind: nobody can use that connection any more.
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert told("statements") == (0, 0)
        await where.run("SELECT 1")
        assert told("statements") == (0, 1)
    finally:
        await where.close()


def a_sample(at: float, **changed: float) -> Sample:
    values = {UPTIME: at, TASKS: 60.0, MEMORY: 150e6, "db.client.connection.count used transactions": 0.0} | changed
    return Sample(at, {("proxy", what): value for what, value in values.items()})


def test_what_only_rises_is_called_a_leak_and_what_comes_and_goes_is_none() -> None:
    calm = [a_sample(at) for at in (0.0, 60.0, 120.0)]
    assert leaks(calm) == []
    # For a moment somebody works.
    assert leaks([calm[0], a_sample(60.0, **{TASKS: 90.0, MEMORY: 151e6}), calm[2]]) == []
    rising = [a_sample(at, **{TASKS: 60 + at, MEMORY: 150e6 * (1 + at / 1000)}) for at in (0.0, 60.0, 120.0)]
    assert [each.split(" grew")[0].split(" rose")[0] for each in leaks(rising)] == [
        f"proxy: {TASKS}",
        f"proxy: {MEMORY}",
    ]
    held = a_sample(180.0, **{"db.client.connection.count used transactions": 1.0})
    assert leaks([*calm, held]) == ["proxy: 1 db.client.connection.count used transactions"]
    assert leaks([*calm, Sample(180.0, held.values | calm[0].values, ("auth: SELECT 1",))])[0].endswith("SELECT 1")
    assert leaks([a_sample(100.0), a_sample(160.0, **{UPTIME: 3.0})]) == ["proxy: it was started again"]
