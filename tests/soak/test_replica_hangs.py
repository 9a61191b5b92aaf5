"""SIGSTOP to one of two Proxies behind Envoy for half a minute: it refuses nothing, answers nothing, and is not missed.

A caller does as the failure strategy says: what ended with UNAVAILABLE, or took longer than five seconds, is asked for
once more, under the same key. HANGS in the environment says how often.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final

from cordboard.client import Client, CordboardError, DeadlineExceeded, Unavailable
from tests.fixtures.desk import Desk, Tenant
from tests.soak.pairs import ONE, OTHER, Pair, two

HANGS: Final = int(os.environ.get("HANGS", "2"))
RATE: Final = float(os.environ.get("RATE", "20"))
HANG_SECONDS: Final = 30.0
# A call that was given to it in the last moment is asked for again then.
PATIENT_SECONDS: Final = 5.0
AIM: Final = 0.995
OUT_SECONDS: Final = 3.0
# What no load of a machine explains.
LATEST_SECONDS: Final = 12.0


async def load(
    pair: Pair, tenant: Tenant, hanging: Callable[[], Coroutine[Any, Any, None]]
) -> tuple[Counter[str], Counter[str]]:
    """Writes at a steady rate until `hanging` has returned; returns how calls ended at first, and in the end."""
    first: Counter[str] = Counter()
    last: Counter[str] = Counter()
    running: set[asyncio.Task[None]] = set()

    async def call(client: Client, number: int) -> None:
        subject = f"hang {number} of {tenant.workspace}"
        values, key = {"subject": subject, "requester_id": "con_00000001"}, subject.replace(" ", "-")
        for timeout in (PATIENT_SECONDS, 4 * PATIENT_SECONDS):
            again = False
            try:
                await client.execute(tenant.connection, "create_ticket", values, idempotency_key=key, timeout=timeout)
                ending = "OK"
            except (Unavailable, DeadlineExceeded) as error:
                ending, again = error.reason or error.code.name, True
            except CordboardError as error:
                ending = error.reason or error.code.name
            if timeout == PATIENT_SECONDS:
                first[ending] += 1
            if not again or timeout > PATIENT_SECONDS:
                last[ending] += 1
                return

    trust = pair.mesh.mesh.ca_file
    async with Client(f"localhost:{pair.public}", token=tenant.token, ca_file=trust) as client:
        await Desk.reach(client, tenant)
        hanger, begun, sent = asyncio.create_task(hanging()), time.monotonic(), 0
        while not hanger.done():
            task = asyncio.create_task(call(client, sent))
            running.add(task)
            task.add_done_callback(running.discard)
            sent += 1
            await asyncio.sleep(max(0.0, begun + sent / RATE - time.monotonic()))
        await asyncio.gather(hanger, *running)
    return first, last


def share(counts: Counter[str]) -> float:
    return counts["OK"] / counts.total()


async def test_nearly_every_call_goes_well_while_one_of_two_proxies_hangs(desk: Desk) -> None:
    tenant = await desk.tenant()
    out: dict[str, list[float]] = {"proxy": [], "forward": []}
    async with two(desk.mesh) as pair:

        async def hanging() -> None:
            for number in range(HANGS):
                which = OTHER if number % 2 == 0 else ONE
                await pair.both()
                with pair.hanging(which):
                    began = time.monotonic()
                    await asyncio.gather(*(gone(cluster, which, began) for cluster in out))
                    await asyncio.sleep(max(0.0, began + HANG_SECONDS - time.monotonic()))
                    for cluster in out:
                        assert which not in await pair.healthy(cluster)
            await pair.both()

        async def gone(cluster: str, which: str, began: float) -> None:
            await pair.without(which, cluster)
            out[cluster].append(time.monotonic() - began)

        first, last = await load(pair, tenant, hanging)
    twice = {subject: count for subject, count in desk.tickets().items() if tenant.workspace in subject and count > 1}
    print()
    for cluster, times in out.items():
        word = "held" if max(times) <= OUT_SECONDS else "MISSED"
        print(f"{word:6} {cluster}: out of rotation after {min(times):.1f} to {max(times):.1f} s")
    print(
        f"{HANGS} times {HANG_SECONDS:.0f} s, {first.total()} calls: at once {share(first):.5f} {dict(first)}, in the "
        f"end {share(last):.5f} {dict(last)}; twice {len(twice)}; load {os.getloadavg()[0]:.1f}"
    )
    assert share(last) >= AIM
    assert max(max(times) for times in out.values()) < LATEST_SECONDS
    assert twice == {}


async def test_a_proxy_that_hangs_alone_is_missed(desk: Desk) -> None:
    """The control: the same calls, with nobody to take over."""
    tenant = await desk.tenant()
    async with two(desk.mesh, replicas=1) as pair:

        async def hanging() -> None:
            with pair.hanging(ONE):
                await asyncio.sleep(HANG_SECONDS)

        first, last = await load(pair, tenant, hanging)
    print(f"\nalone, {first.total()} calls: at once {share(first):.5f}, in the end {share(last):.5f} {dict(last)}")
    assert share(last) < AIM
