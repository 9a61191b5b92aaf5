"""kill -9 of any one process while calls run: nothing acknowledged is lost, nothing is done twice, the mesh recovers.

Certificates are replaced under traffic here too: that is one more thing which must not be noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cordboard.auth.v1 import connection_service_pb2 as connections
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.client import Client, CordboardError, staleness
from cordboard.local import probes
from cordboard.local.certificates import SERVICES
from cordboard.proxy.v1 import proxy_service_pb2 as proxy
from tests.fixtures.desk import INTEGRATION, Desk, Tenant
from tests.fixtures.mesh import PROCESSES, RunningMesh, until

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
# As gateway-envoy/envoy.yaml has it.
ENVOY_KEEPS_KEYS = 5.0
LANES = 4
TICKET = {"subject": "while the database hangs", "requester_id": "con_00000001"}
# From the kill to the first call that is answered. PostgreSQL replays its log, Python starts anew.
RECOVERY_SECONDS = 30.0


@dataclass
class Ledger:
    """What a careful client knows: every key it used, and which of them were acknowledged, with the call's name."""

    prefix: str
    acknowledged: dict[str, str] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    problems: Counter[str] = field(default_factory=Counter)
    answered: list[float] = field(default_factory=list)

    async def create(self, client: Client, tenant: Tenant, number: int) -> None:
        """Creates one ticket, and tries again with the same key until it is acknowledged or said to be doubtful."""
        key = f"{self.prefix}-{number}"
        fields = {"subject": key, "requester_id": "con_00000001"}
        while key not in self.acknowledged and key not in self.doubtful:
            try:
                done = await client.execute(tenant.connection, "create_ticket", fields, idempotency_key=key, timeout=5)
            except CordboardError as error:
                self.problems[error.reason or error.code.name] += 1
                if error.reason == "INDETERMINATE":
                    self.doubtful.add(key)
                await asyncio.sleep(0.05)
            else:
                assert done.output["subject"] == key
                self.acknowledged[key] = done.call.name
                self.answered.append(time.monotonic())


async def lanes(ledger: Ledger, client: Client, tenant: Tenant, going: asyncio.Event) -> None:
    """Creates tickets in a few lanes until it is told to stop."""
    numbers = iter(range(1_000_000))

    async def lane() -> None:
        while going.is_set():
            await ledger.create(client, tenant, next(numbers))
            await asyncio.sleep(0.02)

    await asyncio.gather(*(lane() for _ in range(LANES)))


async def check(desk: Desk, ledger: Ledger, tenant: Tenant) -> None:
    """Compares the client's ledger with the vendor's tickets and the Proxy's records; fails where they differ."""
    tickets = {subject: count for subject, count in desk.tickets().items() if subject.startswith(f"{ledger.prefix}-")}
    lost = set(ledger.acknowledged) - set(tickets)
    assert not lost, f"acknowledged, and the vendor has no ticket: {sorted(lost)}"
    assert {subject for subject, count in tickets.items() if count > 1} == set(), "created twice"
    assert set(tickets) <= set(ledger.acknowledged) | ledger.doubtful
    async with desk.mesh.database() as database:
        rows = await database.fetch("SELECT id, outcome FROM proxy.call WHERE workspace_id = $1", tenant.workspace)
    ended = {row["id"] for row in rows if row["outcome"] == proxy.Call.OUTCOME_OK}
    unrecorded = {key for key, call in ledger.acknowledged.items() if call.rpartition("/")[2] not in ended}
    assert not unrecorded, f"acknowledged, and the Proxy has no record: {sorted(unrecorded)}"


@pytest.mark.parametrize("name", PROCESSES)
async def test_whoever_is_killed_nothing_acknowledged_is_lost(desk: Desk, running_mesh: RunningMesh, name: str) -> None:
    tenant = await desk.tenant()
    ledger = Ledger(f"kill-{name}-{uuid4().hex[:8]}")
    restarts, victim = running_mesh.restarts(), running_mesh.mesh.pid(name)
    assert victim is not None
    going = asyncio.Event()
    going.set()
    async with running_mesh.client(tenant.token) as client:
        traffic = asyncio.create_task(lanes(ledger, client, tenant, going))
        try:
            await until(lambda: _are(len(ledger.answered) > 20), "traffic")
            os.kill(victim, signal.SIGKILL)
            killed = time.monotonic()
            await until(lambda: _are(running_mesh.mesh.pid(name) not in (victim, None)), f"{name} to be started again")
            await running_mesh.backstage.wait(running_mesh.mesh.wait_ready(RECOVERY_SECONDS))
            ready = time.monotonic()
            # What counts is that calls are answered again, and go on being so.
            await until(
                lambda: _are(sum(1 for moment in ledger.answered if moment > ready) > 20),
                "calls to be answered again",
                patience=RECOVERY_SECONDS,
            )
        finally:
            going.clear()
            await traffic
    await check(desk, ledger, tenant)
    pause = max(after - before for before, after in zip(ledger.answered, ledger.answered[1:], strict=False))
    print(
        f"\nkill -9 {name}: ready after {ready - killed:.1f} s, longest pause {pause:.2f} s, "
        f"{len(ledger.acknowledged)} acknowledged, 0 lost, {len(ledger.doubtful)} doubtful, {dict(ledger.problems)}"
    )
    # A fault of a neighbour is UNAVAILABLE or a deadline; it never is INTERNAL.
    assert not {"INTERNAL", "UNKNOWN"} & set(ledger.problems)
    expected = restarts | {name: restarts[name] + 1}
    assert running_mesh.restarts() == expected, "somebody else fell over too"


def family(pid: int) -> list[int]:
    """Returns a process and its children."""
    children = (int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [pid, *children]


@contextlib.contextmanager
def hanging(pid: int) -> Iterator[None]:
    """Makes a process and its children hang, which is worse than being gone: nothing is refused, nothing answers."""
    held = family(pid)
    for each in held:
        os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in reversed(held):
            os.kill(each, signal.SIGCONT)


async def test_what_is_in_memory_is_served_while_the_database_hangs(desk: Desk, running_mesh: RunningMesh) -> None:
    """The controls: each service says that its database is away, and what needs it is refused as such."""
    tenant = await desk.tenant()
    postgres = running_mesh.mesh.pid("postgres")
    assert postgres is not None
    async with running_mesh.client(tenant.token) as client, _healths(running_mesh) as healths:
        await _news_reached_the_proxy(desk, running_mesh)
        await client.execute(tenant.connection, "get_me", {})
        with hanging(postgres):
            for health in healths.values():
                await until(partial(_status_is, health, "database", NOT_SERVING), "the check to fail")
            hung = time.monotonic()
            # For longer than Envoy keeps the keys that it verifies tokens with.
            while time.monotonic() < hung + 1.5 * ENVOY_KEEPS_KEYS:
                done = await client.execute(tenant.connection, "get_me", {}, timeout=RECOVERY_SECONDS)
                assert done.vendor_status == 200
                call = client.catalog.GetIntegration(catalog.GetIntegrationRequest(name=INTEGRATION), timeout=20)
                found = await call
                assert found.name == INTEGRATION
                stale = staleness(await call.trailing_metadata())
                await asyncio.sleep(0.1)
            source, _, age = stale.partition(";age=")
            assert source == "database"
            assert int(age) >= 5
            for name, health in healths.items():
                assert await _status_is(health, "", SERVING)
                server, operator = f"{name}.cordboard.internal", running_mesh.mesh.identity_dir("operator")
                assert await probes.away(running_mesh.mesh.address(name), server, operator) == ["database"]
            with pytest.raises(CordboardError) as refused:
                await client.execute(tenant.connection, "create_ticket", TICKET, timeout=RECOVERY_SECONDS)
            assert refused.value.reason == "AUDIT_UNAVAILABLE"
        for health in healths.values():
            await until(partial(_status_is, health, "database", SERVING), "the database", patience=RECOVERY_SECONDS)
        done = await client.execute(tenant.connection, "create_ticket", TICKET, timeout=RECOVERY_SECONDS)
        assert done.vendor_status == 201
        await until(partial(_is_fresh, client), "answers that are not stale")


async def test_a_ledger_that_does_not_fit_is_noticed(desk: Desk, running_mesh: RunningMesh) -> None:
    tenant = await desk.tenant()
    ledger = Ledger(f"control-{uuid4().hex[:8]}")
    async with running_mesh.client(tenant.token) as client:
        for number in range(3):
            await ledger.create(client, tenant, number)
        await check(desk, ledger, tenant)
        lost = Ledger(ledger.prefix, ledger.acknowledged | {f"{ledger.prefix}-9": f"{tenant.connection}/calls/none"})
        with pytest.raises(AssertionError, match="the vendor has no ticket"):
            await check(desk, lost, tenant)
        async with running_mesh.database() as database:
            last = ledger.acknowledged[f"{ledger.prefix}-2"].rpartition("/")[2]
            await database.execute("DELETE FROM proxy.call WHERE id = $1", last)
        with pytest.raises(AssertionError, match="the Proxy has no record"):
            await check(desk, ledger, tenant)
        fields = {"subject": f"{ledger.prefix}-1", "requester_id": "con_00000001"}
        await client.execute(tenant.connection, "create_ticket", fields)
        with pytest.raises(AssertionError, match="created twice"):
            await check(desk, ledger, tenant)


async def test_certificates_are_replaced_under_traffic_and_no_call_fails(desk: Desk, running_mesh: RunningMesh) -> None:
    tenant = await desk.tenant()
    restarts = running_mesh.restarts()
    failures: list[str] = []
    calls = 0
    going = True

    def serials() -> dict[str, bytes]:
        return {
            name: (running_mesh.mesh.identity_dir(name) / "tls.crt").read_bytes()
            for name in (*PROCESSES[1:-1], "envoy", "envoy-public", "operator")
        }

    async def lane() -> None:
        nonlocal calls
        async with running_mesh.client(tenant.token) as client:
            while going:
                try:
                    await client.execute(tenant.connection, "get_me")
                    # A connection of its own now and then: whoever comes now sees the new certificate.
                    if calls % 25 == 0:
                        async with running_mesh.client(tenant.token) as newcomer:
                            await newcomer.execute(tenant.connection, "get_me")
                except CordboardError as error:
                    failures.append(f"{error.code.name} {error.reason}: {error}")
                calls += 1
                await asyncio.sleep(0.01)

    running = [asyncio.create_task(lane()) for _ in range(3)]
    try:
        before = serials()
        for _ in range(3):
            seen = calls
            await running_mesh.rotate_certificates()
            await until(lambda limit=seen + 60: _are(calls > limit), "calls")  # type: ignore[misc]
        after = serials()
    finally:
        going = False
        await asyncio.gather(*running)
    print(f"\ncertificates: replaced 3 times under {calls} calls, {len(failures)} failed")
    assert all(after[name] != before[name] for name in before)
    assert failures == []
    assert running_mesh.restarts() == restarts
    # A service shows the new one to whoever connects now, Envoy too.
    for name in (*SERVICES, "envoy-public"):
        await until(partial(_shows_its_own, running_mesh, name), f"{name} to show its certificate")


async def _shows_its_own(mesh: RunningMesh, name: str) -> bool:
    """Tells whether the certificate that a server shows is the one that lies in its directory now."""
    address = mesh.mesh.public_address if name == "envoy-public" else mesh.mesh.address(name)
    client = mesh.mesh.identity_dir("operator")
    trust = ssl.create_default_context(cafile=str(mesh.mesh.ca_file))
    trust.load_cert_chain(client / "tls.crt", client / "tls.key")
    trust.set_alpn_protocols(["h2"])

    def shown() -> bytes:
        host, _, port = address.partition(":")
        with (
            socket.create_connection((host, int(port)), timeout=10) as plain,
            trust.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            return secured.getpeercert(binary_form=True) or b""

    own = (mesh.mesh.identity_dir(name) / "tls.crt").read_text()
    return await asyncio.to_thread(shown) == ssl.PEM_cert_to_DER_cert(own)


async def _are(condition: bool) -> bool:
    return condition


async def _news_reached_the_proxy(desk: Desk, mesh: RunningMesh) -> None:
    """Returns when the Proxy has heard of every connection that was made until now: news of one ends what it holds."""
    last = await desk.tenant()
    async with mesh.client(last.token) as client, mesh.operator() as operator:
        await client.execute(last.connection, "get_me", {})
        await operator.connections.DeleteConnection(connections.DeleteConnectionRequest(name=last.connection))

        async def heard() -> bool:
            try:
                await client.execute(last.connection, "get_me", {})
            except CordboardError:
                return True
            return False

        await until(heard, "the news")


async def _is_fresh(client: Client) -> bool:
    call = client.catalog.GetIntegration(catalog.GetIntegrationRequest(name=INTEGRATION), timeout=20)
    await call
    return not staleness(await call.trailing_metadata())


@contextlib.asynccontextmanager
async def _healths(mesh: RunningMesh) -> AsyncIterator[dict[str, Any]]:
    """Gives a stub of every service's health."""
    async with contextlib.AsyncExitStack() as stack:
        channels = {name: await stack.enter_async_context(mesh.channel(name)) for name in SERVICES}
        yield {name: health_pb2_grpc.HealthStub(channel) for name, channel in channels.items()}


async def _status_is(health: Any, service: str, wanted: int) -> bool:
    try:
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
    except grpc.aio.AioRpcError:
        return False
    return bool(answer.status == wanted)
