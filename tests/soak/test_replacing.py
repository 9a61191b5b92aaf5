"""One integration vendor is replaced by another, and back, while callers go on: no call fails, and none is done twice.

Two replicas of the Proxy. The new way is first compared in the shadow. TURNS in the environment says how often the way
is changed; SHAPE is what the gateway is like.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from typing import Any, Final

import grpc
import pytest

from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import backend_service_pb2 as pb
from cordboard.proxy.v1.proxy_service_pb2_grpc import ProxyServiceStub
from tests.contract.test_proxy_backends import NAME, SHAPES, backends, connected, put, through, turn
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.gateways import a_gateway
from tests.unit.proxy.running import a_mesh, a_proxy, execute, is_ready, read, until

TURNS: Final = int(os.environ.get("TURNS", "20"))
# Calls of each kind between two turns.
BETWEEN: Final = 40
LANES: Final = 4
# Answers that are compared before the first turn.
COMPARED: Final = 20


class Callers:
    """Reads and writes without end, at both replicas."""

    def __init__(self, stubs: list[Any]) -> None:
        self._stubs = stubs
        self.calls = 0
        self.failures: Counter[str] = Counter()
        self.subjects: list[str] = []
        self.stopped = asyncio.Event()

    async def run(self, lane: int) -> None:
        number = 0
        while not self.stopped.is_set():
            number += 1
            stub = self._stubs[(lane + number) % len(self._stubs)]
            subject = f"lane {lane} number {number}"
            request = execute()
            if number % 2:
                values = {"subject": subject, "requester_id": "con_00000001"}
                request = execute("create_ticket", values, idempotency_key=subject.replace(" ", "-"))
            try:
                await stub.Execute(request, timeout=60)
            except grpc.aio.AioRpcError as error:
                self.failures[read(error).reason or error.code().name] += 1
            else:
                if number % 2:
                    self.subjects.append(subject)
            self.calls += 1

    async def more(self, count: int) -> None:
        wanted = self.calls + count
        await until(lambda: self.calls >= wanted, 300)


@pytest.mark.parametrize("shape", SHAPES)
async def test_no_call_fails_while_one_way_is_replaced_by_another(
    serving: Serving, identities: Identities, database: Databases, shape: str
) -> None:
    url, rates = database("proxy").url, {"workspace_rate": 100_000, "caller_rate": 100_000}
    async with (
        a_mesh(serving, identities, url, **rates) as mesh,
        a_gateway(f"{mesh.vendor.url}/v1", mesh.vendor.settings.api_key) as gateway,
    ):
        await connected(mesh, gateway, shape)
        async with a_proxy(serving, mesh.around, url, **rates) as second:
            await until(lambda: is_ready(second))
            callers = Callers([mesh.stub(), ProxyServiceStub(second.as_role("member", workspace="acme"))])
            candidate = through()
            candidate.gateway.connection = "workspaces/acme/connections/gate"
            await put(mesh, candidate=candidate, shadow_rate=0.5)
            asked = pb.GetComparisonRequest(name=f"{NAME}/comparison")
            begun = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for lane in range(LANES):
                    group.create_task(callers.run(lane))
                try:
                    compared: list[Any] = []

                    async def enough() -> bool:
                        report = await backends(mesh).GetComparison(asked)
                        compared[:] = [(one.action, one.calls, one.same, one.failed) for one in report.actions]
                        return bool(sum(one.calls for one in report.actions) >= COMPARED)

                    await until(enough, 300)
                    for number in range(TURNS):
                        await turn(mesh)
                        await callers.more(BETWEEN)
                        seen = len(gateway.seen)
                        await callers.more(BETWEEN)
                        # It is asked while it is the way, and by comparisons alone while it is not.
                        assert (len(gateway.seen) - seen > BETWEEN / 2) == (number % 2 == 0)
                finally:
                    callers.stopped.set()
            took = time.monotonic() - begun
        counts = Counter(ticket.subject for ticket in mesh.vendor.desk.tickets(after=""))
    wrong = {subject: counts[subject] for subject in callers.subjects if counts[subject] != 1}
    print(
        f"\n{shape}: {TURNS} turns in {took:.0f} s, {callers.calls} calls of which {len(callers.subjects)} wrote: "
        f"{callers.failures.total()} failed {dict(callers.failures)}, {len(wrong)} not done once; compared before "
        f"(action, calls, same, failed): {compared}; load {os.getloadavg()[0]:.1f}"
    )
    assert all(calls == same and not failed for _, calls, same, failed in compared)
    assert callers.failures.total() == 0
    assert wrong == {}
    # The control is in tests/contract: a way that cannot answer is seen to fail at the next call.
    assert callers.subjects
