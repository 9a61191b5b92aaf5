"""A Proxy under pressure, in short: outages, overload, loud neighbours. The long forms are in tests/soak."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cordboard.local.certificates import Identities
from tests.fixtures.postgres import Databases
from tests.fixtures.pressure import Tally, at_rate, busy
from tests.fixtures.serving import Serving
from tests.unit.proxy.raw_vendor import a_vendor, point
from tests.unit.proxy.running import Mesh, a_mesh, execute, refusal
from tests.unit.proxy.samples import SLUG

NO_BREAKER = {"breaker_min_calls": 10_000}
OTHER = "workspaces/globex/connections/main"


async def amplified(mesh: Mesh, calls: int) -> float:
    """Returns how many requests reach a vendor that is down, for each call."""
    mesh.break_vendor(status=503)
    before = mesh.vendor.stats(last=1)["requests"]
    stub = mesh.stub()
    for _ in range(calls // 10):
        await asyncio.gather(*(refusal(stub.Execute(execute())) for _ in range(10)))
    return float(mesh.vendor.stats(last=1)["requests"] - before) / calls


@pytest.mark.parametrize(("ratio", "least", "most"), [(0.1, 1.0, 1.1), (1.0, 1.5, 3.0)])
async def test_an_outage_is_amplified_by_a_tenth_at_most_and_by_more_without_a_budget(
    serving: Serving, identities: Identities, database: Databases, ratio: float, least: float, most: float
) -> None:
    url = database("proxy").url
    async with a_mesh(serving, identities, url, **NO_BREAKER, retry_ratio=ratio, retry_floor=0) as mesh:
        assert least <= await amplified(mesh, 200) <= most


async def overloaded(mesh: Mesh, seconds: float, per_second: float) -> Tally:
    """Offers more calls than the vendor has room for, each with a second to end in."""
    async with a_vendor(busy(4, 0.1)) as vendor:
        await point(mesh, vendor.url)
        stub = mesh.stub()
        return await at_rate(lambda: stub.Execute(execute("post", {"a": 1}), timeout=1.0), per_second, seconds)


async def test_what_is_too_much_is_refused_so_that_the_rest_goes_well(
    serving: Serving, identities: Identities, database: Databases
) -> None:
    # Four at once, each for a tenth of a second: forty in a second.
    async with a_mesh(serving, identities, database("proxy").url, **NO_BREAKER, process_calls=4) as mesh:
        bounded = await overloaded(mesh, 3.0, 120)
    async with a_mesh(serving, identities, database("proxy").url, **NO_BREAKER, process_calls=10_000) as mesh:
        unbounded = await overloaded(mesh, 3.0, 120)
    # Where the machine is busy itself, one that was let in may come too late all the same.
    assert set(bounded.reasons) <= {"LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"}
    assert bounded.reasons["LIMIT_EXCEEDED"] > 10 * bounded.reasons["DEADLINE_EXCEEDED"]
    assert bounded.goodput >= 20
    # With everybody let in the vendor works for those who have left.
    assert unbounded.goodput < bounded.goodput


async def test_a_loud_workspace_whose_vendor_hangs_takes_no_place_of_another(
    serving: Serving, identities: Identities, database: Databases
) -> None:
    limits: dict[str, Any] = {"process_calls": 32, "integration_calls": 8}
    async with a_mesh(serving, identities, database("proxy").url, **limits) as mesh:
        await mesh.around.connect(OTHER, integration=SLUG, api_key=mesh.vendor.settings.api_key)
        mesh.break_vendor(latency_ms=700, path="/v1/me")
        loud, quiet = mesh.stub(), mesh.stub(workspace="globex")
        ticket = {"ticket_id": "tkt_00000001"}
        await quiet.Execute(execute("get_ticket", ticket, connection=OTHER))
        noise, music = await asyncio.gather(
            at_rate(lambda: loud.Execute(execute(), timeout=5), 60, 2.0),
            at_rate(lambda: quiet.Execute(execute("get_ticket", ticket, connection=OTHER), timeout=5), 5, 2.0),
        )
        assert noise.reasons["LIMIT_EXCEEDED"] > 0
        assert not music.reasons
        assert len(music.good) == 10
