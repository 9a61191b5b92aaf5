"""Ten thousand transactions of three workspaces on one pool, many of them cancelled or broken off.

Nobody sees a row of another workspace, code that forgot to say whose it is sees none, and no connection stays behind.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from typing import Final

import pytest
from sqlalchemy import text

from cordboard.core import database as transactions
from cordboard.core.database import Database
from tests.fixtures.postgres import ServiceDatabase
from tests.unit.core import test_database
from tests.unit.core.test_database import WORKSPACES, seen

TASKS: Final = int(os.environ.get("TASKS", "10000"))
POOL: Final = 8
# One in so many is cancelled at some moment, one is broken off by an error, and one forgets whose rows it asks for.
CANCELLED, BROKEN, FORGETFUL = 0.24, 0.08, 0.25

where = test_database.where


class Broken(Exception):
    """What a call is broken off with."""


async def stormed(data: Database, tasks: int, chance: random.Random) -> Counter[str]:
    """Runs so many calls at once; returns how they ended and what they saw, by name."""
    counts: Counter[str] = Counter()

    async def call(workspace: str, broken: bool) -> None:
        async with data.workspace(workspace) as connection:
            for _ in range(2):
                counts["foreign rows"] += len(set(await seen(connection)) - {workspace})
                await connection.execute(text("SELECT pg_sleep(0.001)"))
            if broken:
                raise Broken

    async def forgetful() -> None:
        async with data.shared() as connection:
            counts["rows without a workspace"] += sum((await seen(connection)).values())
        counts["forgetful calls"] += 1

    line = asyncio.Semaphore(200)
    loop = asyncio.get_running_loop()

    async def one(number: int) -> None:
        async with line:
            if chance.random() < FORGETFUL:
                await forgetful()
                return
            task = asyncio.ensure_future(call(WORKSPACES[number % 3], chance.random() < BROKEN))
            if chance.random() < CANCELLED:
                loop.call_later(chance.uniform(0, 0.2), task.cancel)
            [ended] = await asyncio.gather(task, return_exceptions=True)
            counts["done" if ended is None else type(ended).__name__] += 1

    await asyncio.gather(*(one(number) for number in range(tasks)))
    counts["connections still out"] = data._engine.pool.checkedout()  # type: ignore[attr-defined]
    return counts


def pooled(where: ServiceDatabase) -> Database:
    """Returns a pool in which the last in line may wait long: what is counted is not who gave up."""
    data = Database(where.url, pool_size=POOL)
    data._engine.pool._timeout = 120.0  # type: ignore[attr-defined]
    return data


async def test_no_call_sees_a_row_of_another_workspace(where: ServiceDatabase) -> None:
    data, begun = pooled(where), time.monotonic()
    try:
        counts = await stormed(data, TASKS, random.Random(2))
    finally:
        await data.close()
    print(f"\n{TASKS} calls in {time.monotonic() - begun:.0f} s on {POOL} connections: {dict(sorted(counts.items()))}")
    assert (counts["foreign rows"], counts["rows without a workspace"], counts["connections still out"]) == (0, 0, 0)
    ends = ("done", "CancelledError", "Broken")
    assert all(counts[each] > TASKS // 100 for each in (*ends, "forgetful calls"))
    assert sum(counts[each] for each in (*ends, "forgetful calls")) == TASKS


async def test_with_a_workspace_that_outlives_its_transaction_others_see_its_rows(
    where: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control: the setting of the session, which stays on a connection that goes back to the pool.
    monkeypatch.setattr(transactions, "_SET_WORKSPACE", text("SELECT set_config('app.ws', :workspace, false)"))
    data = pooled(where)
    try:
        counts = await stormed(data, TASKS // 10, random.Random(2))
    finally:
        await data.close()
    print(
        f"\nthe control, with a setting of the session: {counts['rows without a workspace']} rows without a workspace"
    )
    assert counts["rows without a workspace"] > 0
