"""kill -9 of one of two Proxies behind Envoy every ten seconds, while callers go on.

KILLS in the environment says how often; 30, five minutes, is what the project promises. RATE says how many calls there
are a second: fewer than the machine can do, for what is counted is what the kills cost. A caller does as the failure
strategy says: what ended with UNAVAILABLE is asked for once more, under the same key.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from typing import Final

from cordboard.client import Client, CordboardError, Unavailable
from tests.fixtures.desk import Desk, Tenant
from tests.soak.pairs import ONE, OTHER, Pair, two

KILLS: Final = int(os.environ.get("KILLS", "30"))
EVERY_SECONDS: Final = 10.0
RATE: Final = float(os.environ.get("RATE", "20"))
AIM: Final = 0.999


async def load(pair: Pair, tenant: Tenant, kills: int) -> tuple[Counter[str], Counter[str]]:
    """Calls at a steady rate while Proxies are killed; returns how calls ended at first, and in the end."""
    first: Counter[str] = Counter()
    last: Counter[str] = Counter()
    running: set[asyncio.Task[None]] = set()
    killing = True

    async def call(client: Client, number: int) -> None:
        subject = f"call {number} of {tenant.workspace}"
        values = {"subject": subject, "requester_id": "con_00000001"}
        for counts in (first, last):
            try:
                await client.execute(
                    tenant.connection, "create_ticket", values, idempotency_key=subject.replace(" ", "-"), timeout=20
                )
            except Unavailable as error:
                counts[ending(error)] += 1
                continue
            except CordboardError as error:
                counts[ending(error)] += 1
                last.update({ending(error): 1} if counts is first else {})
                return
            counts["OK"] += 1
            last.update({"OK": 1} if counts is first else {})
            return

    async def kill() -> None:
        nonlocal killing
        for number in range(kills):
            await asyncio.sleep(EVERY_SECONDS)
            await pair.kill(OTHER if number % 2 and pair.replicas > 1 else ONE)
        await asyncio.sleep(EVERY_SECONDS / 2)
        killing = False

    trust = pair.mesh.mesh.ca_file
    async with Client(f"localhost:{pair.public}", token=tenant.token, ca_file=trust) as client:
        await Desk.reach(client, tenant)
        killer = asyncio.create_task(kill())
        begun, sent = time.monotonic(), 0
        while killing:
            task = asyncio.create_task(call(client, sent))
            running.add(task)
            task.add_done_callback(running.discard)
            sent += 1
            await asyncio.sleep(max(0.0, begun + sent / RATE - time.monotonic()))
        await asyncio.gather(killer, *running)
    return first, last


def ending(error: CordboardError) -> str:
    """Returns how a call ended: the mesh's reason, or what Envoy says of it."""
    return error.reason or f"{error.code.name} {error}"[:100]


def share(counts: Counter[str]) -> float:
    return counts["OK"] / counts.total()


def told(counts: Counter[str]) -> str:
    return f"{share(counts):.5f} {dict(counts)}"


async def test_nearly_every_call_goes_well_while_one_of_two_proxies_is_killed_again_and_again(desk: Desk) -> None:
    tenant = await desk.tenant()
    async with two(desk.mesh) as pair:
        first, last = await load(pair, tenant, KILLS)
    twice = {subject: count for subject, count in desk.tickets().items() if tenant.workspace in subject and count > 1}
    print(f"\n{KILLS} kills, {first.total()} calls: at once {told(first)}, in the end {told(last)}; twice {len(twice)}")
    assert share(last) >= AIM
    assert twice == {}


async def test_a_proxy_that_is_alone_is_missed(desk: Desk) -> None:
    """The control: the same calls, with nobody to take over."""
    tenant = await desk.tenant()
    async with two(desk.mesh, replicas=1) as pair:
        first, last = await load(pair, tenant, 3)
    print(f"\nalone, 3 kills, {first.total()} calls: at once {told(first)}, in the end {told(last)}")
    assert share(last) < AIM
