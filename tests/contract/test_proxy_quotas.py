"""Declared rate limits: what is taken, by whom, over all replicas, and what callers are told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from cordboard.catalog.v1 import definition_pb2 as catalog_pb
from cordboard.core.database import Database
from cordboard.core.errors import LimitExceeded
from cordboard.core.times import to_duration
from cordboard.local.certificates import Identities
from cordboard.planning.answers import Answer
from cordboard.planning.dialect import Quota
from cordboard.proxy.quotas.bucket import APP, CONNECTION, ENDPOINT, WORKSPACE, Bucket, Draw, Limit, draw
from cordboard.proxy.quotas.quotas import Quotas
from cordboard.proxy.quotas.store import QuotaStore
from cordboard.proxy.v1 import proxy_service_pb2 as pb
from cordboard.proxy.v1 import quota_service_pb2 as quota_pb
from cordboard.proxy.v1.quota_service_pb2_grpc import QuotaServiceStub
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.raw_vendor import a_vendor, in_turn, point, said
from tests.unit.proxy.running import Mesh, a_mesh, execute, refusal, until
from tests.unit.proxy.samples import an_action

Code = grpc.StatusCode


@pytest.fixture
async def mesh(serving: Serving, identities: Identities, database: Databases) -> AsyncIterator[Mesh]:
    async with a_mesh(serving, identities, database("proxy").url) as one:
        yield one


@pytest.fixture
async def url(database: Databases) -> str:
    return database("proxy").url


@contextlib.asynccontextmanager
async def a_store(url: str) -> AsyncIterator[QuotaStore]:
    database = Database(url, pool_size=4)
    try:
        yield QuotaStore(database)
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def replicas(url: str, count: int = 2) -> AsyncIterator[list[Quotas]]:
    """Gives as many Quotas as there would be replicas, each with a pool of its own."""
    async with contextlib.AsyncExitStack() as stack:
        made = [Quotas(await stack.enter_async_context(a_store(url))) for _ in range(count)]
        for one in made:
            stack.push_async_callback(one.close)
        yield made


def of(limit: Limit, workspace: str = "acme") -> Draw:
    owner = "integrations/desk" if limit.scope == APP else f"workspaces/{workspace}/connections/main"
    return Draw((Bucket(f"desk {limit.scope} {owner}", limit, owner, workspace),))


async def taken(quotas: Quotas, draw: Draw, seconds: float, at_once: int = 8) -> list[float]:
    """Takes as fast as it goes for so long; returns when each one was had."""
    times: list[float] = []
    end = time.monotonic() + seconds

    async def ask() -> None:
        while (left := end - time.monotonic()) > 0:
            try:
                await quotas.take(draw, lambda: left)
            except LimitExceeded:
                return
            times.append(time.monotonic())

    await asyncio.gather(*(ask() for _ in range(at_once)))
    return times


def most_in(times: list[float], window: float) -> int:
    times = sorted(times)
    return max(sum(begin <= one < begin + window for one in times[index:]) for index, begin in enumerate(times))


@pytest.fixture
async def watched(serving: Serving, identities: Identities, database: Databases) -> AsyncIterator[tuple[Mesh, Quotas]]:
    """A mesh, and another replica that spends."""
    url = database("proxy").url
    async with a_mesh(serving, identities, url) as one, replicas(url, 1) as (other,):
        yield one, other


async def listed(mesh: Mesh, workspace: str, **fields: Any) -> list[tuple[Any, ...]]:
    """Returns what a member of a workspace is shown, page by page of two."""
    stub: Any = QuotaServiceStub(mesh.served.as_role("reader", workspace=workspace))
    found: list[tuple[Any, ...]] = []
    token = ""
    while True:
        request = quota_pb.ListQuotasRequest(parent=f"workspaces/{workspace}", page_size=2, page_token=token, **fields)
        answer = await stub.ListQuotas(request)
        assert len(answer.quotas) <= 2
        found += [(one.integration, one.scope, one.owner, one.action, one.used, one.own_used) for one in answer.quotas]
        token = answer.next_page_token
        if not token:
            return found


# What buckets give.


async def test_two_replicas_together_take_what_the_limit_says_and_no_more_in_any_window(url: str) -> None:
    limit = Limit(100, 2.0, CONNECTION)
    async with replicas(url) as (one, other):
        both = await asyncio.gather(*(taken(each, of(limit), 5.0) for each in (one, other)))
        alone = await asyncio.gather(taken(one, of(limit, "a"), 1.0), taken(other, of(limit, "b"), 1.0))
    times, apart = [*both[0], *both[1]], [*alone[0], *alone[1]]
    # What is leased may be spent a little later than it was counted.
    assert most_in(times, 1.6) <= 100
    assert most_in(times, 2.0) <= 110
    assert 200 < len(times) <= 350
    # Two that each had a bucket of their own would go far beyond it.
    assert most_in(apart, 2.0) > 150


async def test_a_bucket_that_is_used_costs_few_statements(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Counter[str]()
    real = QuotaStore.take

    async def counted(self: QuotaStore, bucket: Bucket, **given: Any) -> Any:
        asked[bucket.key] += 1
        return await real(self, bucket, **given)

    monkeypatch.setattr(QuotaStore, "take", counted)
    async with replicas(url, 1) as (quotas,):
        draw = of(Limit(10_000, 60.0, CONNECTION))
        for _ in range(5_000):
            await quotas.take(draw, lambda: 5.0)
    assert sum(asked.values()) <= 30


async def test_what_does_not_fit_into_the_deadline_is_refused_at_once_with_the_time(url: str) -> None:
    async with replicas(url, 1) as (quotas,):
        draw = of(Limit(2, 60.0, CONNECTION))
        await quotas.take(draw, lambda: 5.0)
        await quotas.take(draw, lambda: 5.0)
        with pytest.raises(LimitExceeded) as refused:
            await quotas.take(draw, lambda: 5.0)
    assert refused.value.metadata["limit"] == "quota"
    assert refused.value.retry_after is not None
    assert 50 < refused.value.retry_after <= 62


async def test_a_short_wait_is_waited(url: str) -> None:
    async with replicas(url, 1) as (quotas,):
        draw = of(Limit(2, 0.4, CONNECTION))
        began = time.monotonic()
        for _ in range(3):
            await quotas.take(draw, lambda: 5.0)
        assert time.monotonic() - began >= 0.35


async def test_weight_counts(url: str) -> None:
    async with replicas(url, 1) as (quotas,):
        bucket = of(Limit(10, 60.0, CONNECTION)).buckets
        await quotas.take(Draw(bucket, 7), lambda: 5.0)
        with pytest.raises(LimitExceeded):
            await quotas.take(Draw(bucket, 4), lambda: 5.0)
        await quotas.take(Draw(bucket, 3), lambda: 5.0)


async def test_where_one_bucket_lacks_nothing_is_taken_from_the_others(url: str) -> None:
    async with replicas(url, 1) as (quotas,):
        [wide] = of(Limit(3, 60.0, APP)).buckets
        [narrow] = of(Limit(1, 60.0, CONNECTION)).buckets
        await quotas.take(Draw((wide, narrow)), lambda: 5.0)
        with pytest.raises(LimitExceeded):
            await quotas.take(Draw((wide, narrow)), lambda: 5.0)
        await quotas.take(Draw((wide,)), lambda: 5.0)


# Fairness.


async def test_nobody_gets_all_of_the_apps_bucket_and_a_neighbour_finds_its_share(url: str) -> None:
    limit = Limit(100, 60.0, APP)
    async with a_store(url) as store:
        [noisy], [quiet] = of(limit, "noisy").buckets, of(limit, "quiet").buckets
        got = await store.take(noisy, want=1000, least=1, yielding=False)
        assert got.granted == 80
        assert (await store.take(noisy, want=1, least=1, yielding=False)).granted == 0
        assert (await store.take(quiet, want=1000, least=1, yielding=False)).granted == 20
    # Alone on a bucket of its own it may have it all.
    async with a_store(url) as store:
        [own] = of(Limit(100, 60.0, CONNECTION), "noisy").buckets
        assert (await store.take(own, want=1000, least=1, yielding=False)).granted == 100


async def test_two_that_want_all_of_it_get_half_each_however_loud_one_of_them_is(url: str) -> None:
    limit = Limit(100, 0.5, APP)
    async with replicas(url) as (one, other):
        loud = asyncio.create_task(taken(one, of(limit, "noisy"), 4.0, at_once=40))
        times = await taken(other, of(limit, "quiet"), 4.0, at_once=8)
        share = len(times) / (len(times) + len(await loud))
    assert 0.38 <= share <= 0.62


async def test_work_that_nobody_waits_for_leaves_a_fifth_to_callers(url: str) -> None:
    async with a_store(url) as store:
        [bucket] = of(Limit(100, 60.0, CONNECTION)).buckets
        assert (await store.take(bucket, want=1000, least=1, yielding=True)).granted == 80
        assert (await store.take(bucket, want=1000, least=1, yielding=False)).granted == 20


# What the vendor says.


async def test_the_vendors_count_corrects_ours_in_every_replica(url: str) -> None:
    async with replicas(url) as (one, other):
        draw = of(Limit(100, 60.0, CONNECTION))
        await one.take(draw, lambda: 5.0)
        one.learn(draw, Answer(200, quota=Quota(limit=100, remaining=3)))
        await asyncio.gather(*one._corrections)
        for _ in range(3):
            await other.take(draw, lambda: 5.0)
        with pytest.raises(LimitExceeded):
            await other.take(draw, lambda: 5.0)


async def test_a_window_of_another_size_says_nothing_about_this_one(url: str) -> None:
    async with replicas(url, 1) as (quotas,):
        [first] = of(Limit(100, 60.0, CONNECTION)).buckets
        [second] = of(Limit(7, 60.0, APP)).buckets
        draw = Draw((first, second))
        await quotas.take(draw, lambda: 5.0)
        quotas.learn(draw, Answer(200, quota=Quota(limit=5000, remaining=0)))
        await quotas.take(draw, lambda: 5.0)


async def test_without_the_database_calls_go(database: Databases) -> None:
    async with replicas("postgresql+asyncpg://nobody:x@127.0.0.1:1/none", 1) as (quotas,):
        for _ in range(3):
            await quotas.take(of(Limit(1, 60.0, CONNECTION)), lambda: 5.0)


async def test_old_counts_are_deleted(url: str) -> None:
    async with a_store(url) as store:
        [bucket] = of(Limit(5, 1.0, APP)).buckets
        await store.take(bucket, want=1, least=1, yielding=False)
        assert await store.sweep() == 0
        async with store._database.everywhere() as connection:
            await connection.exec_driver_sql("UPDATE quota_use SET end_time = now() - interval '2 minutes'")
        assert await store.sweep() == 2


# Through a call.


def limited(calls: int, seconds: float, **fields: Any) -> catalog_pb.RateLimit:
    return catalog_pb.RateLimit(calls=calls, window=to_duration(seconds), **fields)


async def test_a_call_beyond_a_declared_limit_never_reaches_the_vendor(mesh: Mesh) -> None:
    async with a_vendor() as vendor:
        await point(mesh, vendor.url, rate_limits=[limited(2, 60)])
        for left in (1, 0):
            quota = (await mesh.stub().Execute(execute("get"))).quota
            assert (quota.limit, quota.remaining, quota.source) == (2, left, pb.Quota.SOURCE_DEFINITION)
        refused = await refusal(mesh.stub().Execute(execute("get"), timeout=10))
        assert (refused.code, refused.reason) == (Code.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")
        assert refused.metadata == {"limit": "quota", "scope": "workspaces/acme/connections/main"}
        assert refused.retry_after is not None
        assert refused.retry_after > 30
        assert len(vendor.arrivals) == 2


async def test_an_actions_own_limit_and_weight_hold_for_it_alone(mesh: Mesh) -> None:
    heavy = an_action("heavy", path="/x", rate_limits=[limited(10, 60)], quota_weight=6)
    async with a_vendor() as vendor:
        await point(mesh, vendor.url, heavy, an_action("light", path="/y"))
        await mesh.stub().Execute(execute("heavy"))
        assert (await refusal(mesh.stub().Execute(execute("heavy"), timeout=10))).reason == "LIMIT_EXCEEDED"
        for _ in range(3):
            answer = await mesh.stub().Execute(execute("light"))
            assert not answer.HasField("quota")


async def test_what_the_vendor_says_of_its_limit_comes_first(mesh: Mesh) -> None:
    headers = catalog_pb.RateLimitHeaders(limit="X-Limit", remaining="X-Left")
    answer = said(200, {}, **{"X-Limit": "100", "X-Left": "1"})
    async with a_vendor(in_turn(answer, answer, answer)) as vendor:
        await point(mesh, vendor.url, rate_limits=[limited(100, 60)], rate_limit_headers=headers)
        quota = (await mesh.stub().Execute(execute("get"))).quota
        assert (quota.limit, quota.remaining, quota.source) == (100, 1, pb.Quota.SOURCE_VENDOR)
        await mesh.stub().Execute(execute("get"))
        assert (await refusal(mesh.stub().Execute(execute("get"), timeout=10))).reason == "LIMIT_EXCEEDED"
        assert len(vendor.arrivals) == 2


async def test_a_vendor_that_refuses_for_its_limit_is_left_alone_until_it_said(mesh: Mesh) -> None:
    async with a_vendor(in_turn(said(429, {}, **{"Retry-After": "60"}))) as vendor:
        await point(mesh, vendor.url, rate_limits=[limited(100, 60)])
        first = await refusal(mesh.stub().Execute(execute("get"), timeout=10))
        second = await refusal(mesh.stub().Execute(execute("get"), timeout=10))
        # The breaker of what the connection may call, or the count that the answer corrected: whichever looks first.
        assert first.metadata["limit"] == "vendor"
        assert second.metadata["limit"] in {"vendor", "quota"}
        assert len(vendor.arrivals) == 1
        assert second.retry_after is not None
        assert 50 < second.retry_after <= 60
        assert len(vendor.arrivals) == 1


async def test_what_is_used_is_listed_for_who_draws_on_it(watched: tuple[Mesh, Quotas]) -> None:
    mesh, other = watched
    limits = (Limit(1, 600, APP), Limit(1, 600, WORKSPACE), Limit(1, 600, CONNECTION), Limit(1, 600, ENDPOINT))
    main = "workspaces/acme/connections/main"
    await other.take(draw(limits, slug="desk", connection=main, action="find"), lambda: 5.0)
    theirs = draw(
        (Limit(10, 600, APP), limits[2]), slug="till", connection="workspaces/beta/connections/main", action="x"
    )
    await other.take(theirs, lambda: 5.0)
    desk = "integrations/desk"
    assert await listed(mesh, "acme") == [
        (desk, catalog_pb.RATE_LIMIT_SCOPE_APP, desk, "", 1, 1),
        (desk, catalog_pb.RATE_LIMIT_SCOPE_CONNECTION, main, "", 1, 1),
        (desk, catalog_pb.RATE_LIMIT_SCOPE_ENDPOINT, main, "find", 1, 1),
        (desk, catalog_pb.RATE_LIMIT_SCOPE_WORKSPACE, "workspaces/acme", "", 1, 1),
    ]
    assert await listed(mesh, "acme", integration="integrations/till") == []
    # It never drew on the app's bucket at the till, and what its neighbour did is nobody else's business.
    assert [one[0] for one in await listed(mesh, "beta")] == ["integrations/till"] * 2
    assert await listed(mesh, "gamma") == []
    request = quota_pb.ListQuotasRequest(parent="workspaces/beta")
    stub: Any = QuotaServiceStub(mesh.served.as_role("reader", workspace="acme"))
    assert (await refusal(stub.ListQuotas(request))).code is Code.NOT_FOUND


async def test_of_a_shared_limit_the_sum_and_the_own_part_are_told(watched: tuple[Mesh, Quotas]) -> None:
    mesh, other = watched
    for workspace, times in (("acme", 2), ("beta", 3)):
        connection = f"workspaces/{workspace}/connections/main"
        for _ in range(times):
            await other.take(draw([Limit(20, 600, APP)], slug="desk", connection=connection, action="x"), lambda: 5.0)
    assert [one[4:] for one in await listed(mesh, "acme")] == [(5, 2)]
    assert [one[4:] for one in await listed(mesh, "beta")] == [(5, 3)]


async def test_a_limit_that_the_vendor_holds_says_until_when(watched: tuple[Mesh, Quotas]) -> None:
    mesh, other = watched
    one = draw([Limit(20, 60, CONNECTION)], slug="desk", connection="workspaces/acme/connections/main", action="x")
    await other.take(one, lambda: 5.0)
    other.learn(one, Answer(429), 600.0)
    stub: Any = QuotaServiceStub(mesh.served.as_role("reader", workspace="acme"))

    async def is_held() -> bool:
        (found,) = (await stub.ListQuotas(quota_pb.ListQuotasRequest(parent="workspaces/acme"))).quotas
        return bool(found.HasField("held_until") and found.held_until.ToSeconds() > time.time() + 60)

    await until(is_held)
