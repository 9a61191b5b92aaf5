"""PostgreSQL is ended, not stopped in good order, and is away for a minute, under calls of every kind.

What is asserted: everything that is in memory goes on, all of it, and says how old it is; what changes something is
refused as unavailable; afterwards all goes well again without a restart. The time of refusals, of recovery, and how
often each service tried to connect are held against what the project promises, and said: `held` or `MISSED`.
OUTAGE_SECONDS in the environment says how long PostgreSQL is away.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from cordboard.core.settings import Settings
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.local.certificates import SERVICES
from cordboard.uqi.v1 import form_service_pb2 as forms
from tests.fixtures.desk import FLAG, INTEGRATION, Desk, rollout
from tests.fixtures.mesh import Backstage
from tests.fixtures.relayed import RelayedMesh, a_relayed_desk
from tests.soak.faulty import OURS, SECONDS, Ask, Call, Ended, Traffic, Writes, by_web, looking_up, reading

OUTAGE_SECONDS: Final = float(os.environ.get("OUTAGE_SECONDS", "60"))
REFUSED_SECONDS: Final = 0.1
RECOVERED_SECONDS: Final = 5.0
# The moment after it is back in which everybody connects again.
BACK_SECONDS: Final = 5.0
NOTICED_SECONDS: Final = 8.0
POOL: Final = Settings.model_fields["database_pool_size"].default
# Beside the pool: four for single statements, and one each for listening, recording, the queue and the like.
BESIDE: Final = 12
# Each of them looks whether it is back about once a second, and health as often.
TRIES_A_SECOND: Final = 32.0
READS: Final = ("catalog", "uqi", "flags", "read at the vendor")
# The others have their copies from these, who answer them: what they hold is as old, and they do not know it.
AGEING: Final = ("catalog", "flags")
WRITES: Final = ("write at the vendor", "change a flag")


@pytest.fixture(scope="module")
def relayed(backstage: Backstage, trust: None) -> Iterator[tuple[Desk, RelayedMesh]]:
    with a_relayed_desk(backstage, workspace_rate="100000", caller_rate="100000") as made:
        yield made


def evaluating(ask: Ask) -> Call:
    """Returns a call that Flags answers from memory."""
    request = flags.EvaluateFlagRequest(name=FLAG)
    return lambda: ask("/cordboard.flags.v1.FlagService/EvaluateFlag", request, SECONDS)


def showing(ask: Ask) -> Call:
    """Returns a call that UQI answers from memory."""
    name = f"{INTEGRATION}/forms/action.create_ticket"
    return lambda: ask("/cordboard.uqi.v1.FormService/GetForm", forms.GetFormRequest(name=name), SECONDS)


def changing(ask: Ask) -> Call:
    """Returns a call that changes a flag of its own."""
    numbers = itertools.count()

    async def change() -> tuple[str, str, str]:
        request = rollout("business")
        request.flag.name = "flags/outage"
        request.reason = f"change {next(numbers)}"
        return await ask("/cordboard.flags.v1.FlagService/PutFlag", request, SECONDS)

    return change


def word(held: bool) -> str:
    return "held" if held else "MISSED"


def share(times: list[float], part: float) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def tell_refusals(kind: str, refused: list[Ended]) -> None:
    times = [one.took for one in refused]
    p50, p99 = share(times, 0.5), share(times, 0.99)
    print(
        f"{word(p99 <= REFUSED_SECONDS):6} {kind}: {len(refused)} refused, p50 {p50 * 1000:.0f}, "
        f"p99 {p99 * 1000:.0f} ms; {dict(Counter(one.word for one in refused))}"
    )


def tell_connections(mesh: RelayedMesh, gone: float, back: float) -> dict[str, tuple[int, int]]:
    """Prints how often each service tried to connect while it was away and right after; returns both."""
    counted = {}
    for service in SERVICES:
        tried = mesh.to_database(service).accepted
        during = sum(1 for one in tried if gone <= one < back)
        after = sum(1 for one in tried if back <= one < back + BACK_SECONDS)
        counted[service] = during, after
        held = after <= POOL + BESIDE
        print(
            f"{word(held):6} {service}: {during} tries in {back - gone:.0f} s without, {after} in the "
            f"{BACK_SECONDS:.0f} s after, {mesh.to_database(service).open} open then"
        )
    return counted


@dataclass(frozen=True)
class Outage:
    """What an outage was like for those who called."""

    ended: list[Ended]
    gone: float
    """When PostgreSQL was about to be ended; it was when `without` began."""
    without: float
    starts: float
    back: float
    again: dict[str, float]

    def of(self, *kinds: str, after: float = 0.0) -> list[Ended]:
        """Returns the calls of these kinds that were begun and answered without PostgreSQL."""
        since = self.without + after
        found = (one for one in self.ended if one.kind in kinds and one.began >= since)
        return [one for one in found if one.began + one.took <= self.starts]


async def outage(desk: Desk, mesh: RelayedMesh, going: Traffic) -> Outage:
    """Ends PostgreSQL under these calls, and starts it again; returns when all go well."""
    backstage = desk.mesh.backstage
    going.begin()
    try:
        await going.well_again(time.monotonic(), in_a_row=5)
        gone = time.monotonic()
        await backstage.wait(mesh.end_database())
        without = time.monotonic()
        await asyncio.sleep(OUTAGE_SECONDS)
        starts = time.monotonic()
        await backstage.wait(mesh.begin_database())
        back = time.monotonic()
        again = await going.well_again(back)
        await asyncio.sleep(max(0.0, back + BACK_SECONDS - time.monotonic()))
    finally:
        await going.end()
    print(f"\nload {os.getloadavg()[0]:.1f}; away for {starts - without:.0f} s, ready {back - starts:.1f} s later")
    return Outage(going.ended, gone, without, starts, back, again)


async def test_an_outage_of_the_database_is_survived_by_all_that_needs_it_not(
    relayed: tuple[Desk, RelayedMesh],
) -> None:
    desk, mesh = relayed
    tenant = await desk.tenant()
    restarts = {name: mesh.restarts(name) for name in SERVICES}
    member, operator = by_web(desk, tenant.token), by_web(desk, await desk.mesh.token("operator", "publisher"))
    going, writes = Traffic(), Writes(desk, tenant, member)
    going.add("catalog", looking_up(member))
    going.add("uqi", showing(member))
    going.add("flags", evaluating(member))
    going.add("read at the vendor", reading(member, lambda: tenant.connection))
    going.add("write at the vendor", writes.one)
    going.add("change a flag", changing(operator))
    seen = await outage(desk, mesh, going)
    counted = tell_connections(mesh, seen.without, seen.back)
    await writes.again()
    for kind in READS:
        found = seen.of(kind)
        aged = sum(bool(one.stale) for one in found)
        good = sum(one.well for one in found)
        print(f"{word(good == len(found)):6} {kind}: {good} of {len(found)}, {aged} of them say how old they are")
    for kind in WRITES:
        tell_refusals(kind, seen.of(kind))
    times = ", ".join(f"{kind} {seconds:.1f}" for kind, seconds in seen.again.items())
    print(f"{word(max(seen.again.values()) <= RECOVERED_SECONDS):6} well again after {times} s")
    assert [one for one in seen.of(*READS) if not one.well] == []
    # Until a service has noticed, its answers are current: it asks once a second.
    assert [one for one in seen.of(*AGEING, after=NOTICED_SECONDS) if not one.stale] == []
    assert {one.code for one in seen.of(*WRITES)} == {"UNAVAILABLE"}
    assert [one for one in seen.ended if one.began >= seen.gone and one.code in (*OURS, "HANGS", "BROKEN")] == []
    # What a storm would be: everybody tries as fast as it can.
    for service, (during, after) in counted.items():
        assert during <= (seen.back - seen.without) * TRIES_A_SECOND, service
        assert after <= 4 * (POOL + BESIDE), service
    assert writes.twice() == {}
    assert writes.lost() == set()
    assert {name: mesh.restarts(name) for name in SERVICES} == restarts
