"""A workspace's rate holds over replicas: counted together, refused with the time to come again, and told as a limit.

In short; `tests/soak/test_limits_accuracy.py` does it for longer, and has two Envoys beside.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from sqlalchemy import text

from cordboard.core.database import Database
from cordboard.core.errors import LimitExceeded
from cordboard.local.certificates import Identities
from cordboard.proxy.quotas import pace as pace_module
from cordboard.proxy.quotas.bucket import Bucket
from cordboard.proxy.quotas.pace import SharedPace
from cordboard.proxy.quotas.store import QuotaStore
from cordboard.proxy.quotas.use import QuotaUses
from tests.fixtures.paces import paces
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.running import a_mesh, a_proxy, execute, is_ready, refusal, until

LIMIT = 100
NOWHERE = "postgresql+asyncpg://nobody:x@127.0.0.1:1/none"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The buckets that the database was asked for, in order."""
    buckets: list[str] = []
    real = QuotaStore.take

    async def counted(self: QuotaStore, bucket: Bucket, **named: Any) -> Any:
        buckets.append(bucket.key)
        return await real(self, bucket, **named)

    monkeypatch.setattr(QuotaStore, "take", counted)
    return buckets


@pytest.fixture
def url(database: Databases) -> str:
    return database("proxy").url


async def let_through(replicas: list[SharedPace], calls: int, *whose: str) -> tuple[int, list[float]]:
    """Asks so often, of each replica in turn; returns how often it was let through, and when the others may come."""

    async def one(number: int) -> float | None:
        try:
            await replicas[number % len(replicas)].take("acme", whose[number % len(whose)], "workspaces/acme")
        except LimitExceeded as error:
            assert error.metadata == {"limit": "workspace_rate", "scope": "workspaces/acme"}
            return error.retry_after
        return None

    ends = await asyncio.gather(*(one(number) for number in range(calls)))
    refused = [end for end in ends if end is not None]
    return calls - len(refused), refused


async def test_two_replicas_let_through_what_the_limit_says_together(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A window that no busy machine is too slow for, and a database that may take its time.
    monkeypatch.setattr(pace_module, "_STORE_SECONDS", 60.0)
    async with paces(url, LIMIT, window=120.0) as replicas:
        together, refused = await let_through(replicas, 5 * LIMIT, "together")
        # The control: what each replica would let through if it counted for itself.
        apart, _ = await let_through(replicas, 5 * LIMIT, "one", "other")
    assert 0.95 * LIMIT <= together <= 1.1 * LIMIT
    assert 0 < min(refused) <= max(refused) <= 125
    assert apart >= 1.8 * LIMIT


async def test_who_calls_little_costs_the_database_nothing(url: str, asked: list[str]) -> None:
    async with paces(url, 2000, 1) as (pace,):
        for _ in range(50):
            await pace.take("acme", "", "workspaces/acme")
        assert len(asked) == 0
        for _ in range(510):
            await pace.take("acme", "", "workspaces/acme")
        assert 1 <= len(asked) <= 11
        # Another workspace, and another caller, owe nothing of it.
        for number in range(50):
            await pace.take("globex", f"one {number}", "globex")
        assert len(asked) <= 11


async def test_without_the_database_calls_go_and_it_is_not_asked_each_time(asked: list[str]) -> None:
    async with paces(NOWHERE, LIMIT, 1) as (pace,):
        for _ in range(50):
            await pace.take("acme", "", "workspaces/acme")
    assert len(asked) == 1


async def test_what_is_counted_of_callers_is_no_vendors_limit_and_goes_with_the_others(url: str) -> None:
    async with paces(url, 1, 1) as (pace,):
        await pace.take("acme", "a caller with spaces", "x")
        with pytest.raises(LimitExceeded):
            await pace.take("acme", "a caller with spaces", "x")
    database = Database(url)
    try:
        assert await QuotaUses(database).page("acme", integration="", after="", limit=10) == []
        async with database.everywhere() as connection:
            await connection.execute(text("UPDATE quota_use SET end_time = now() - interval '2 minutes'"))
        assert await QuotaStore(database).sweep() == 1
    finally:
        await database.close()


async def test_a_caller_of_two_proxies_is_refused_by_both_with_the_time_to_come_again(
    serving: Serving, identities: Identities, url: str
) -> None:
    limits = {"workspace_rate": 3, "caller_rate": 1000}
    async with (
        a_mesh(serving, identities, url, **limits) as mesh,
        a_proxy(serving, mesh.around, url, **limits) as other,
    ):
        await until(lambda: is_ready(other))
        stubs = [mesh.stub(), type(mesh)(other, mesh.around, mesh.vendor).stub()]
        begun, refused = time.monotonic(), [0, 0]
        while min(refused) < 5 and time.monotonic() < begun + 180:
            found = await asyncio.gather(
                *(stub.Execute(execute(), timeout=60) for stub in stubs * 10), return_exceptions=True
            )
            for number, one in enumerate(found):
                refused[number % 2] += isinstance(one, grpc.aio.AioRpcError)
        assert min(refused) >= 5
        last = await refusal(_until_refused(stubs[1]))
    assert (last.code, last.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")
    assert last.metadata == {"limit": "workspace_rate", "scope": "workspaces/acme"}
    assert last.retry_after is not None
    assert 0 < last.retry_after <= 1.1


async def _until_refused(stub: object) -> object:
    while True:
        await asyncio.gather(*(stub.Execute(execute(), timeout=60) for _ in range(20)))  # type: ignore[attr-defined]
