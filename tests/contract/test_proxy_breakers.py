"""Breakers over replicas: who is held back for whose fault, who tries, what operators want, and who is told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from cordboard.common.v1 import audit_service_pb2
from cordboard.common.v1.audit_service_pb2_grpc import AuditServiceStub
from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import breaker_service_pb2 as breaker_pb
from cordboard.proxy.v1 import proxy_service_pb2 as pb
from cordboard.proxy.v1.breaker_service_pb2_grpc import BreakerServiceStub
from cordboard.proxy.v1.proxy_service_pb2_grpc import ProxyServiceStub
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving
from tests.unit.proxy.raw_vendor import a_vendor, by_path, in_turn, point, said
from tests.unit.proxy.running import CONNECTION, TICKET, Mesh, a_mesh, a_proxy, execute, is_ready, refusal, until
from tests.unit.proxy.samples import SLUG, an_action

Code = grpc.StatusCode
INTEGRATION = f"integrations/{SLUG}"
OPEN, CLOSED, HALF_OPEN = pb.Breaker.STATE_OPEN, pb.Breaker.STATE_CLOSED, pb.Breaker.STATE_HALF_OPEN
QUICK = {"breaker_open_seconds": 1.5}


@pytest.fixture
async def url(database: Databases) -> str:
    return database("proxy").url


@pytest.fixture
async def mesh(serving: Serving, identities: Identities, url: str) -> AsyncIterator[Mesh]:
    async with a_mesh(serving, identities, url, **QUICK) as one:
        yield one


@contextlib.asynccontextmanager
async def another(serving: Serving, mesh: Mesh, url: str) -> AsyncIterator[Served]:
    """Runs a second replica beside the mesh's own."""
    async with a_proxy(serving, mesh.around, url, **QUICK) as served:
        await until(lambda: is_ready(served))
        yield served


async def of(served: Served, integration: str = INTEGRATION) -> list[pb.Breaker]:
    request = pb.ListBreakersRequest(integration=integration)
    return list((await ProxyServiceStub(served.as_role("operator")).ListBreakers(request)).breakers)


async def broken(mesh: Mesh, action: str = "get_me", times: int = 25) -> None:
    """Calls until the breaker holds back."""
    for _ in range(times):
        if (await refusal(mesh.stub().Execute(execute(action)))).reason == "BREAKER_OPEN":
            return
    raise AssertionError("the breaker did not open")


def wanted(mesh: Mesh, override: Any, **fields: Any) -> Any:
    host = mesh.vendor.url.removeprefix("http://")
    stub = BreakerServiceStub(mesh.served.as_role("operator"))
    given: dict[str, Any] = {"integration": INTEGRATION, "host": host, "override": override, "reason": "an outage"}
    return stub.OverrideBreaker(breaker_pb.OverrideBreakerRequest(**given | fields))


# Over replicas.


async def test_an_open_breaker_is_open_in_every_replica_and_sheds_at_once(
    mesh: Mesh, serving: Serving, url: str
) -> None:
    async with another(serving, mesh, url) as second:
        mesh.break_vendor(status=503)
        await broken(mesh)
        sent = len(mesh.requests)
        assert sent <= 20

        async def is_open() -> bool:
            states = [one.state for one in await of(second) if one.cause == pb.Breaker.CAUSE_VENDOR]
            return len(states) == 1 and states != [CLOSED]

        await until(is_open)
        stub = ProxyServiceStub(second.as_role("member", workspace="acme"))
        refused = await refusal(stub.Execute(execute("create_ticket", TICKET)))
        # It may be the one that tries by now, and finds the vendor as it was.
        assert refused.code is Code.UNAVAILABLE
        assert len(mesh.requests) - sent <= 1


async def test_one_call_of_all_replicas_tries(mesh: Mesh, serving: Serving, url: str) -> None:
    async with another(serving, mesh, url) as second:
        mesh.break_vendor(status=503)
        await broken(mesh)

        async def is_known() -> bool:
            return any(one.state != CLOSED for one in await of(second))

        await until(is_known)
        # Whoever tries finds a vendor that is slow, so that all others come while it does.
        mesh.break_vendor(status=503, latency_ms=400)
        sent = len(mesh.requests)
        stubs = [mesh.stub(), ProxyServiceStub(second.as_role("member", workspace="acme"))]
        end = time.monotonic() + 1.0
        while time.monotonic() < end and len(mesh.requests) == sent:
            await asyncio.gather(*(refusal(stub.Execute(execute("create_ticket"))) for stub in stubs for _ in range(5)))
        await asyncio.gather(*(refusal(stub.Execute(execute("get_me"))) for stub in stubs for _ in range(10)))
        assert len(mesh.requests) - sent <= 1


async def test_a_vendor_that_is_well_again_gets_everything_in_every_replica(
    mesh: Mesh, serving: Serving, url: str
) -> None:
    async with another(serving, mesh, url) as second:
        mesh.break_vendor(status=503)
        await broken(mesh)
        mesh.mend_vendor()

        async def closed() -> bool:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await mesh.stub().Execute(execute())
            states = [one.state for served in (mesh.served, second) for one in await of(served)]
            return bool(states) and set(states) == {CLOSED}

        await until(closed, seconds=20)


async def test_a_replica_that_starts_finds_what_is_open(mesh: Mesh, serving: Serving, url: str) -> None:
    await wanted(mesh, pb.Breaker.OVERRIDE_OPEN)
    async with another(serving, mesh, url) as late:

        async def is_open() -> bool:
            return [one.state for one in await of(late)] == [OPEN]

        await until(is_open)


# Whose fault.


async def test_an_action_that_fails_is_held_back_and_others_go(mesh: Mesh) -> None:
    bad, good = an_action("bad", path="/bad"), an_action("good", path="/good")
    async with a_vendor(by_path({"/bad": said(500, {}), "/good": said(200, {})})) as vendor:
        await point(mesh, vendor.url, bad, good)
        for _ in range(3):
            await mesh.stub().Execute(execute("good"))
        for _ in range(20):
            refused = await refusal(mesh.stub().Execute(execute("bad")))
            await mesh.stub().Execute(execute("good"))
        assert (refused.reason, refused.metadata["cause"]) == ("BREAKER_OPEN", "endpoint")
        states = {one.action: one.state for one in await of(mesh.served)}
        assert states["bad"] != CLOSED
        assert {state for action, state in states.items() if action != "bad"} == {CLOSED}


async def test_a_connection_whose_quota_is_used_is_left_alone_and_others_go(mesh: Mesh) -> None:
    other = "workspaces/globex/connections/main"
    await mesh.around.connect(other, integration=SLUG, api_key="k")
    limited = said(429, {}, **{"Retry-After": "3600"})
    async with a_vendor(in_turn(limited, said(200, {}), said(200, {}))) as vendor:
        await point(mesh, vendor.url, an_action("get", path="/x"), an_action("more", path="/y"))
        await refusal(mesh.stub().Execute(execute("get"), timeout=10))
        held = await refusal(mesh.stub().Execute(execute("get"), timeout=10))
        assert (held.reason, held.metadata["limit"]) == ("LIMIT_EXCEEDED", "vendor")
        assert len(vendor.arrivals) == 1
        await mesh.stub(workspace="globex").Execute(execute("get", connection=other))
        await mesh.stub().Execute(execute("more"))
        quota = [one for one in await of(mesh.served) if one.cause == pb.Breaker.CAUSE_QUOTA]
        assert [(one.connection, one.action, one.state) for one in quota] == [(CONNECTION, "get", OPEN)]
        # Of another workspace's connection nobody is told.
        seen = await mesh.stub(workspace="globex").ListBreakers(pb.ListBreakersRequest())
        assert {one.cause for one in seen.breakers} == {pb.Breaker.CAUSE_VENDOR}


async def test_a_short_rest_that_a_vendor_wants_is_waited_for(mesh: Mesh) -> None:
    async with a_vendor(in_turn(said(429, {}, **{"Retry-After": "1"}), said(200, {}))) as vendor:
        await point(mesh, vendor.url)
        answers = [mesh.stub().Execute(execute("get"), timeout=10)]
        await until(lambda: vendor.arrivals)
        began = time.monotonic()
        answers.append(mesh.stub().Execute(execute("get"), timeout=10))
        await asyncio.gather(*answers)
        assert time.monotonic() - began >= 0.7


async def test_a_credential_that_is_refused_is_not_shown_for_ever(mesh: Mesh) -> None:
    async with a_vendor(said(401, {})) as vendor:
        await point(mesh, vendor.url)
        for _ in range(6):
            refused = await refusal(mesh.stub().Execute(execute("get")))
            assert refused.reason == "RECONNECT_REQUIRED"
        assert len(vendor.arrivals) < 6
        [held] = [one for one in await of(mesh.served) if one.cause == pb.Breaker.CAUSE_CREDENTIAL]
        assert (held.connection, held.state) == (CONNECTION, OPEN)


# Operators.


async def test_an_operator_opens_closes_and_lets_it_judge_again(mesh: Mesh) -> None:
    await mesh.stub().Execute(execute())
    told = await wanted(mesh, pb.Breaker.OVERRIDE_OPEN)
    assert (told.state, told.override) == (OPEN, pb.Breaker.OVERRIDE_OPEN)
    assert (await refusal(mesh.stub().Execute(execute()))).reason == "BREAKER_OPEN"
    told = await wanted(mesh, pb.Breaker.OVERRIDE_CLOSED)
    assert told.state == CLOSED
    mesh.break_vendor(status=503)
    for _ in range(25):
        assert (await refusal(mesh.stub().Execute(execute()))).reason == "VENDOR_ERROR"
    mesh.mend_vendor()
    await wanted(mesh, pb.Breaker.OVERRIDE_AUTO)
    await mesh.stub().Execute(execute())
    entries = await AuditServiceStub(mesh.served.as_role("operator")).ListAuditEntries(
        audit_service_pb2.ListAuditEntriesRequest(action_prefix="proxy.breaker")
    )
    mine = [one for one in entries.entries if one.action == "proxy.breaker.override"]
    assert len(mine) == 3


async def test_one_action_is_stopped_without_the_others(mesh: Mesh) -> None:
    await wanted(mesh, pb.Breaker.OVERRIDE_OPEN, action="get_me")
    refused = await refusal(mesh.stub().Execute(execute("get_me")))
    assert (refused.reason, refused.metadata["cause"]) == ("BREAKER_OPEN", "endpoint")
    await mesh.stub().Execute(execute("list_contacts"))


async def test_only_operators_override_and_what_they_say_is_checked(mesh: Mesh) -> None:
    request = breaker_pb.OverrideBreakerRequest(integration=INTEGRATION, host="a:1", override=pb.Breaker.OVERRIDE_OPEN)
    stub = BreakerServiceStub(mesh.served.as_role("workspace-admin", workspace="acme"))
    assert (await refusal(stub.OverrideBreaker(request))).code is Code.PERMISSION_DENIED
    refused = await refusal(wanted(mesh, 9, host="no host", reason="a\nb"))
    assert (refused.code, set(refused.fields)) == (Code.INVALID_ARGUMENT, {"host", "override", "reason"})


# Watching.


async def test_watchers_are_told_what_is_and_what_changes(mesh: Mesh, serving: Serving, url: str) -> None:
    await mesh.stub().Execute(execute())
    async with another(serving, mesh, url) as second:
        stub = ProxyServiceStub(second.as_role("member", workspace="acme"))
        await stub.Execute(execute())
        watch: Any = BreakerServiceStub(second.as_role("operator")).WatchBreakers(
            breaker_pb.WatchBreakersRequest(integration=INTEGRATION)
        )
        first = await watch.read()
        assert [(one.state, one.cause) for one in first.breakers] == [(CLOSED, pb.Breaker.CAUSE_VENDOR)]
        await wanted(mesh, pb.Breaker.OVERRIDE_OPEN)
        changed = await watch.read()
        assert [(one.state, one.override) for one in changed.breakers] == [(OPEN, pb.Breaker.OVERRIDE_OPEN)]
        watch.cancel()
