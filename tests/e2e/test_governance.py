"""What governs calls, under traffic: the rollout, the kill switch, the rate limit of each workspace, the breaker."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import grpc
import pytest

from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.client import Client, CordboardError, LimitExceeded, SwitchedOff, Unavailable
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.proxy.v1 import proxy_service_pb2 as proxy
from tests.fixtures.desk import FLAG, INTEGRATION, Desk, Tenant
from tests.fixtures.mesh import LIMIT, RunningMesh, until


async def are(condition: bool) -> bool:
    """Returns a condition as something to wait for."""
    return condition


@dataclass
class Traffic:
    """Calls of one workspace, one after the other in each of a few lanes, with the moment and end of each."""

    client: Client
    tenant: Tenant
    outcomes: list[tuple[float, str]] = field(default_factory=list)
    going: bool = True

    async def lane(self) -> None:
        """Calls until it is told to stop; notes when each call began that was answered."""
        while self.going:
            began = time.monotonic()
            try:
                await self.client.execute(self.tenant.connection, "get_me")
                self.outcomes.append((began, "ok"))
            except CordboardError as error:
                self.outcomes.append((began, error.reason or error.code.name))
            await asyncio.sleep(0.02)

    def last(self, count: int) -> set[str]:
        """Returns how the last calls ended."""
        return {outcome for _, outcome in self.outcomes[-count:]}


async def test_the_kill_switch_takes_effect_within_a_second(
    desk: Desk, running_mesh: RunningMesh, operator: Client
) -> None:
    tenant = await desk.tenant()
    async with running_mesh.client(tenant.token) as client:
        traffic = Traffic(client, tenant)
        lanes = [asyncio.create_task(traffic.lane()) for _ in range(3)]
        try:
            await until(lambda: are(len(traffic.outcomes) > 30), "traffic")
            killed = await operator.flags.KillFlag(flags.KillFlagRequest(name=FLAG, reason="a drill"))
            answered = time.monotonic()
            assert killed.killed
            await until(lambda: are(len(traffic.outcomes) > 20 and traffic.last(15) == {"SWITCHED_OFF"}), "the kill")
            last = max(began for began, outcome in traffic.outcomes if outcome == "ok")
        finally:
            await operator.flags.RestoreFlag(flags.RestoreFlagRequest(name=FLAG, reason="the drill is over"))
        restored = time.monotonic()
        try:
            await until(lambda: are(traffic.last(5) == {"ok"}), "the restored rollout")
        finally:
            traffic.going = False
            await asyncio.gather(*lanes)
        first = min(began for began, outcome in traffic.outcomes if outcome == "ok" and began > restored - 0.5)
    off, on = max(0.0, last - answered) * 1000, max(0.0, first - restored) * 1000
    print(f"\nkill switch: the last call began {off:.0f} ms after the kill, the first one {on:.0f} ms after its end")
    assert last - answered < 1.0
    assert {outcome for _, outcome in traffic.outcomes} == {"ok", "SWITCHED_OFF"}


async def test_a_workspace_outside_the_rollout_is_refused(desk: Desk, running_mesh: RunningMesh) -> None:
    starter, business = await desk.tenant(tier="starter"), await desk.tenant(tier="business")
    async with running_mesh.client(starter.token) as client:
        with pytest.raises(SwitchedOff) as refused:
            await client.execute(starter.connection, "get_me")
    assert refused.value.metadata["integration"] == "acme-desk"
    async with running_mesh.client(business.token) as client:
        assert (await client.execute(business.connection, "get_me")).vendor_status == 200


async def test_a_workspace_over_its_limit_is_refused_and_another_feels_nothing(
    desk: Desk, running_mesh: RunningMesh
) -> None:
    greedy, modest = await desk.tenant(), await desk.tenant()
    request = catalog.GetIntegrationRequest(name=INTEGRATION)
    refused: list[LimitExceeded] = []
    answered = 0

    async def grab(client: Client) -> None:
        nonlocal answered
        while not refused and answered < 4 * LIMIT.burst:
            try:
                await client.catalog.GetIntegration(request)
                answered += 1
            except LimitExceeded as error:
                refused.append(error)

    async with running_mesh.client(greedy.token) as first, running_mesh.client(modest.token) as second:
        began = time.monotonic()
        await asyncio.gather(*(grab(first) for _ in range(40)))
        took = time.monotonic() - began
        assert refused, f"{answered} calls in {took:.1f} s and none refused"
        assert refused[0].code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused[0].retry_after is not None
        # The bucket is what it was said to be: a full one, and what dripped in meanwhile.
        assert LIMIT.burst * 0.9 < answered < LIMIT.burst + LIMIT.per_second * (took + 2)
        # At the same moment the other workspace is answered, every time.
        for _ in range(20):
            await second.catalog.GetIntegration(request)
    headers = await _refusal(running_mesh, greedy.token)
    assert headers["x-ratelimit-remaining"] == "0"
    assert headers["x-ratelimit-limit"].startswith(str(LIMIT.burst))
    assert {"retry-after", "x-ratelimit-reset"} <= set(headers)
    print(f"\nrate limit: {answered} calls in {took:.1f} s, then refusals; try again in {headers['retry-after']} s")


async def _refusal(mesh: RunningMesh, token: str) -> dict[str, str]:
    """Returns the metadata of a refusal of Envoy's rate limit."""
    method = "/cordboard.catalog.v1.CatalogService/ListIntegrations"
    async with mesh.edge() as channel:
        raw: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        for _ in range(200):
            metadata = (("authorization", f"Bearer {token}"),)
            calls = [raw(b"", metadata=metadata, timeout=20) for _ in range(20)]
            for call in calls:
                if await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    found = (*await call.initial_metadata(), *await call.trailing_metadata())
                    return {key: value for key, value in found if isinstance(value, str)}
    pytest.fail("nothing was refused")


async def test_the_breaker_opens_for_a_vendor_that_fails_and_closes_by_itself(
    desk: Desk, running_mesh: RunningMesh, operator: Client
) -> None:
    tenant = await desk.tenant()

    async def states() -> set[int]:
        page = await operator.proxy.ListBreakers(proxy.ListBreakersRequest(integration=INTEGRATION))
        # What other tests left of connections is none of the vendor's.
        return {one.state for one in page.breakers if not one.connection}

    async with running_mesh.client(tenant.token) as client:

        async def opened() -> bool:
            try:
                await client.execute(tenant.connection, "get_me", timeout=5)
            except Unavailable as error:
                return error.reason == "BREAKER_OPEN"
            except CordboardError:
                return False
            return False

        with desk.broken(status=503, path="/v1/me"):
            await until(opened, "the breaker to open", every=0.0)
            assert proxy.Breaker.STATE_OPEN in await states()
            seen = len(desk.requests())
            with pytest.raises(Unavailable) as refused:
                await client.execute(tenant.connection, "get_me")
            assert refused.value.reason == "BREAKER_OPEN"
            assert refused.value.retry_after is not None
            # Nothing went out.
            assert len(desk.requests()) == seen

        async def closed() -> bool:
            await desk.reach(client, tenant)
            return await states() == {proxy.Breaker.STATE_CLOSED}

        await until(closed, "the breaker to close")
