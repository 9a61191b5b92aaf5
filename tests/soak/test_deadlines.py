"""By how much each hop of a call ends its work after the caller's deadline, while one part after the other is slow.

Each figure is held against 50 ms, and said: `held` or `MISSED`. A hop that is not told of the deadline misses it by
seconds, and fails. ROUNDS in the environment says how often each part is slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cordboard.auth.v1 import connect_service_pb2 as connecting
from cordboard.catalog.v1 import governance_service_pb2 as governance
from cordboard.client import Client, NotFound
from cordboard.core.waiters import Waiters
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.local.certificates import Identities
from cordboard.proxy import connections, sender
from cordboard.proxy.calls import Call
from cordboard.proxy.v1 import proxy_service_pb2 as proxy
from cordboard.telemetry.v1 import trace_service_pb2 as traces
from tests.fixtures.deadlines import CALLER, KEYED, LIMITS, PARTS, STREAMS, Scene, a_slow, measured
from tests.fixtures.desk import INTEGRATION, Desk, Tenant
from tests.fixtures.mesh import new_traceparent, until
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.running import a_mesh

ROUNDS: Final = int(os.environ.get("ROUNDS", "3"))
# Of many lengths: some end before a lease would, some after what a library rounds up.
SECONDS: Final = (0.1, 0.2, 0.35, 0.5, 0.8, 1.3, 2.1, 3.4, 5.3)
AIM: Final = 0.05
# What no load of a machine explains.
LATEST: Final = 10.0

Late = dict[str, list[float]]


def tell(part: str, late: Late) -> float:
    """Prints the figures of a part, hop by hop; returns the largest."""
    for hop, times in sorted(late.items()):
        ordered = sorted(times)
        p50, p99 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 for share in (0.5, 0.99))
        most = ordered[-1] * 1000
        word = "held" if most <= AIM * 1000 else "MISSED"
        print(f"{word:6} {part}: {hop}: {len(times)} calls, p50 {p50:.1f}, p99 {p99:.1f}, max {most:.1f} ms late")
    return max(map(max, late.values()))


@pytest.fixture
async def scene(
    serving: Serving, identities: Identities, database: Databases, spans: InMemorySpanExporter
) -> AsyncIterator[Scene]:
    own = database("proxy")
    async with a_mesh(serving, identities, own.url, **LIMITS) as mesh:
        one = Scene(mesh, identities, own, len(SECONDS))
        await one.connect()
        yield one


async def rounds(scene: Scene, spans: InMemorySpanExporter, part: str, *, keyed: bool, times: int = ROUNDS) -> Late:
    """Returns by how many seconds each hop was late in all rounds."""
    late: Late = defaultdict(list)
    for _ in range(times):
        spans.clear()
        async with a_slow(scene, part, keyed=keyed) as slow:
            for hop, found in (await measured(spans, slow, SECONDS)).items():
                late[hop] += found
    return late


@pytest.mark.parametrize(
    ("part", "keyed"),
    [(part, keyed) for part in PARTS for keyed in (False, True) if part not in (STREAMS if keyed else KEYED)],
)
async def test_every_hop_ends_with_the_callers_deadline(
    scene: Scene, spans: InMemorySpanExporter, part: str, keyed: bool
) -> None:
    late = await rounds(scene, spans, part, keyed=keyed)
    print(f"\nload {os.getloadavg()[0]:.1f}")
    assert tell(f"slow {part}{', with a key' if keyed else ''}", late) < LATEST


async def test_a_hop_that_is_not_told_misses_by_far(
    scene: Scene, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: requests to Auth that are not given up when the last call leaves."""
    monkeypatch.setattr(Waiters, "result", lambda _self, task, _forget: asyncio.shield(task))
    late = await rounds(scene, spans, "lease", keyed=False, times=1)
    print()
    tell("control, not given up", {"auth": late["auth"]})
    assert min(late["auth"]) > connections.LEASE_TIMEOUT - max(SECONDS) - 1


async def test_a_task_without_a_caller_misses_by_far(
    scene: Scene, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: calls with a key, which no caller cancels, without an end of their own."""

    @contextlib.asynccontextmanager
    async def for_ever(_: Call) -> AsyncIterator[None]:
        yield

    monkeypatch.setattr(Call, "in_time", for_ever)
    # The library's rounding stands for whatever takes longer than it was told.
    monkeypatch.setattr(sender, "_EXACT", 0.0)
    late = await rounds(scene, spans, "headers", keyed=True, times=1)
    print()
    most = tell("control, without an end", {name: late[name] for name in ("proxy.send", "vendor")})
    assert most > AIM


async def connected(desk: Desk, client: Client, tenant: Tenant, number: int) -> str:
    """Connects the workspace once more; returns the connection's name. Nothing has been called on it."""
    session = await client.connect.CreateConnectSession(
        connecting.CreateConnectSessionRequest(
            parent=f"workspaces/{tenant.workspace}",
            integration=INTEGRATION,
            auth_scheme=desk.schemes["api_key"],
            connection_id=f"new-{number}",
        )
    )
    request = connecting.SubmitConnectSessionRequest(name=session.name)
    request.values.update({"api_key": desk.vendor.settings.api_key})
    await client.connect.SubmitConnectSession(request)
    return f"workspaces/{tenant.workspace}/connections/new-{number}"


class Said:
    """Calls through Envoy whose deadline is said and not kept by the caller: only the mesh can end them."""

    def __init__(self, desk: Desk, token: str) -> None:
        self.desk = desk
        self.token = token
        self.late: Late = defaultdict(list)

    async def call(self, path: str, request: Any, seconds: float) -> None:
        message = request.SerializeToString()
        trace_id, header = new_traceparent()
        ends = time.time() + seconds
        answer = await self.desk.mesh.http(
            "POST",
            path,
            data=b"\0" + len(message).to_bytes(4) + message,
            headers={
                "content-type": "application/grpc-web+proto",
                "authorization": f"Bearer {self.token}",
                "grpc-timeout": f"{round(seconds * 1000)}m",
                "traceparent": header,
            },
        )
        self.late[CALLER].append(max(0.0, time.time() - ends))
        told = answer.body.partition(b"grpc-status:")[2].partition(b"\r\n")[0].strip().decode()
        status = answer.headers.get("grpc-status") or told
        # DEADLINE_EXCEEDED, or UNAVAILABLE where the time ended in a wait for Auth.
        assert status in ("4", "14"), (answer.status, answer.headers, answer.body)
        async with self.desk.mesh.operator() as operator:
            for span in await self._spans(operator, trace_id):
                hop = f"{span.service} {traces.Span.Kind.Name(span.kind).removeprefix('KIND_').lower()} {span.name}"
                ended = span.start_time.ToNanoseconds() / 1e9 + span.duration.ToNanoseconds() / 1e9
                self.late[hop].append(max(0.0, ended - ends))

    @staticmethod
    async def _spans(operator: Client, trace_id: str) -> list[traces.Span]:
        found: list[traces.Span] = []

        async def whole() -> bool:
            known = len(found)
            with contextlib.suppress(NotFound):
                trace = await operator.traces.GetTrace(traces.GetTraceRequest(name=f"traces/{trace_id}"))
                found[:] = trace.spans
            services = {span.service for span in found}
            # Spans are sent once a second: when none has come for longer than that, all have.
            await asyncio.sleep(2.5)
            return "envoy" in services and len(services) > 1 and len(found) == known

        await until(whole, f"the trace {trace_id}", patience=120)
        return found


@contextlib.asynccontextmanager
async def locked(desk: Desk, table: str) -> AsyncIterator[None]:
    async with desk.mesh.database() as holder, holder.transaction():
        await holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


async def test_every_hop_of_the_composed_system_ends_with_a_deadline_that_was_only_said(desk: Desk) -> None:
    tenant = await desk.tenant()
    said = Said(desk, tenant.token)
    seconds = (0.3, 0.6, 1.2, 2.4)
    execute = "/cordboard.proxy.v1.ProxyService/Execute"
    async with desk.mesh.client(tenant.token) as client:
        names = [await connected(desk, client, tenant, number) for number in range(len(seconds))]
    async with locked(desk, "auth.connection"):
        asked = [proxy.ExecuteRequest(connection=name, action="get_me") for name in names]
        await asyncio.gather(*(said.call(execute, *one) for one in zip(asked, seconds, strict=True)))
    print(f"\nload {os.getloadavg()[0]:.1f}")
    most = [tell("slow database of Auth, through Envoy and Proxy", said.late)]
    assert any(hop.startswith("auth server") for hop in said.late)

    said = Said(desk, tenant.token)
    with desk.broken(latency_ms=30_000):
        one = proxy.ExecuteRequest(connection=tenant.connection, action="get_me")
        await asyncio.gather(*(said.call(execute, one, left) for left in seconds))
    most.append(tell("slow vendor, through Envoy and Proxy", said.late))
    assert any("proxy.send" in hop for hop in said.late)

    pins = governance.ListPinsRequest(parent="workspaces/-")
    reads: tuple[tuple[str, str, Any], ...] = (
        ("catalog.pin", "/cordboard.catalog.v1.GovernanceService/ListPins", pins),
        ("flags.flag", "/cordboard.flags.v1.FlagService/ListFlags", flags.ListFlagsRequest()),
    )
    for table, path, request in reads:
        said = Said(desk, await desk.mesh.token("operator", "publisher"))
        async with locked(desk, table):
            await asyncio.gather(*(said.call(path, request, left) for left in seconds))
        most.append(tell(f"slow database of {table.partition('.')[0]}, through Envoy", said.late))
    assert max(most) < LATEST
