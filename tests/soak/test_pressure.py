"""A Proxy under pressure for longer: what an outage costs a vendor, overload its callers, a loud neighbour a quiet one.

SECONDS in the environment says how long each load lasts; 60 is what the project promises. Latencies are those of a
machine that does nothing else: caller, Proxy and vendor share one process here, and what is compared is alike in that.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import proxy_service_pb2 as pb
from tests.contract.test_proxy_pressure import NO_BREAKER, OTHER, amplified
from tests.fixtures.postgres import Databases
from tests.fixtures.pressure import at_rate, busy
from tests.fixtures.serving import Serving
from tests.unit.proxy.raw_vendor import a_vendor, by_path, point
from tests.unit.proxy.running import a_mesh, execute, refusal
from tests.unit.proxy.samples import SLUG, an_action

SECONDS = float(os.environ.get("SECONDS", "60"))
# What the vendor of the overload can do: three at once, each for a tenth of a second. It is places that are short there
# and not processors, of which a machine may have few.
AT_ONCE, EACH = 3, 0.1
CAPACITY = AT_ONCE / EACH


async def test_an_outage_costs_a_vendor_a_tenth_more(
    serving: Serving, identities: Identities, database: Databases
) -> None:
    async with a_mesh(serving, identities, database("proxy").url, **NO_BREAKER) as mesh:
        factor = await amplified(mesh, 5_000)
    print(f"\nrequests for each call of a vendor that is down: {factor:.3f}")
    # The last window may be cut off before its calls came.
    assert round(factor, 2) <= 1.1


async def test_three_times_the_capacity_leaves_nine_tenths_of_the_goodput(
    serving: Serving, identities: Identities, database: Databases
) -> None:
    async with (
        a_mesh(serving, identities, database("proxy").url, **NO_BREAKER, process_calls=AT_ONCE) as mesh,
        a_vendor(busy(AT_ONCE, EACH)) as vendor,
    ):
        await point(mesh, vendor.url)
        stub = mesh.stub()

        async def call() -> Any:
            return await stub.Execute(execute("post", {"a": 1}), timeout=1.0)

        await at_rate(call, CAPACITY / 2, 2.0)
        peak = max([(await at_rate(call, CAPACITY * share, 10.0)).goodput for share in (0.8, 0.9, 1.0)])
        over = await at_rate(call, CAPACITY * 3, SECONDS)
        after = await at_rate(call, CAPACITY / 2, 5.0)
    print(
        f"\npeak {peak:.1f}/s, at three times the capacity {over.goodput:.1f}/s ({over.goodput / peak:.2f}), "
        f"refused after {over.percentile(0.5, 'refused') * 1000:.1f} ms (p99 "
        f"{over.percentile(0.99, 'refused') * 1000:.1f} ms): {dict(over.reasons)}; afterwards {dict(after.reasons)}"
    )
    assert over.goodput >= 0.9 * peak
    assert over.reasons["LIMIT_EXCEEDED"] >= 0.95 * over.reasons.total()
    assert len(after.good) >= 0.95 * (len(after.good) + after.reasons.total())


async def test_a_loud_neighbour_costs_a_quiet_one_little(
    serving: Serving, identities: Identities, database: Databases
) -> None:
    limits: dict[str, Any] = {"integration_calls": 16}
    async with a_mesh(serving, identities, database("proxy").url, **limits) as mesh:
        await mesh.around.connect(OTHER, integration=SLUG, api_key=mesh.vendor.settings.api_key)
        loud, quiet = mesh.stub(), mesh.stub(workspace="globex")
        # What the loud one calls hangs; what the quiet one calls takes its usual tenth of a second.
        async with a_vendor(by_path({"/x": busy(1_000, 0.1), "/hangs": busy(1_000, 3_600)})) as vendor:
            await point(mesh, vendor.url, an_action("get", path="/x"), an_action("hang", path="/hangs"))

            async def music() -> Any:
                return await quiet.Execute(execute("get", connection=OTHER), timeout=5)

            async def noise() -> Any:
                return await loud.Execute(execute("hang"), timeout=2.0)

            await at_rate(music, 5, 2.0)
            alone = await at_rate(music, 5, SECONDS)
            beside, loudly = await asyncio.gather(at_rate(music, 5, SECONDS), at_rate(noise, 50, SECONDS))
    ratio = beside.percentile(0.99) / alone.percentile(0.99)
    print(
        f"\np99 of the quiet one {alone.percentile(0.99) * 1000:.1f} ms alone, "
        f"{beside.percentile(0.99) * 1000:.1f} ms beside ten times as many of another ({ratio:.2f}); "
        f"the loud one: {len(loudly.good)} went well, {dict(loudly.reasons)}"
    )
    assert not alone.reasons
    assert not beside.reasons
    assert ratio <= 1.2


async def test_a_breaker_opens_within_twenty_calls_and_then_refuses_at_once(
    serving: Serving, identities: Identities, database: Databases
) -> None:
    async with a_mesh(serving, identities, database("proxy").url, breaker_open_seconds=600) as mesh:
        mesh.break_vendor(status=503)
        stub = mesh.stub()
        while (await refusal(stub.Execute(execute()))).reason != "BREAKER_OPEN":
            assert mesh.vendor.stats(last=1)["requests"] <= 20
        sent = mesh.vendor.stats(last=1)["requests"]
        took = []
        for _ in range(1_000):
            began = time.perf_counter()
            assert (await refusal(stub.Execute(execute()))).reason == "BREAKER_OPEN"
            took.append(time.perf_counter() - began)
        assert mesh.vendor.stats(last=1)["requests"] == sent
        listed = await mesh.stub("reader").ListCalls(pb.ListCallsRequest(parent="workspaces/acme", page_size=900))
        within = sorted(one.duration.ToNanoseconds() / 1e9 for one in listed.calls)
    took.sort()
    print(
        f"\nopen after {sent} requests; refused in {took[500] * 1000:.2f} ms (p99 {took[990] * 1000:.2f} ms) as the "
        f"caller sees it, {within[450] * 1000:.2f} ms (p99 {within[890] * 1000:.2f} ms) within the Proxy"
    )
    assert sent <= 20
    # The rest is what else the machine does.
    assert within[450] < 0.005
