"""Requests that an edge has its hub forward: what the suite of Forward, which runs at an edge too, does not ask."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import forward_service_pb2 as pb
from cordboard.proxy.v1 import proxy_service_pb2 as proxy_pb
from cordboard.proxy.v1.proxy_service_pb2_grpc import ProxyServiceStub
from tests.contract.test_proxy_forward import KEY, Place, a_place, an_edge, echoing, forwarded, head, refused
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.hubs import Behave, Door, a_door, follow, hanging
from tests.unit.proxy.running import until


class Tier:
    """An edge, its hub, and the door between them."""

    def __init__(self, edge: Place, hub: Place, door: Door) -> None:
        self.edge = edge
        self.hub = hub
        self.door = door

    @staticmethod
    async def calls(place: Place) -> list[proxy_pb.Call]:
        stub: Any = ProxyServiceStub(place.served.as_role("reader", workspace="acme"))
        return list((await stub.ListCalls(proxy_pb.ListCallsRequest(parent="workspaces/acme"))).calls)


@pytest.fixture
async def tier(serving: Serving, identities: Identities, database: Databases) -> AsyncIterator[Tier]:
    async with (
        echoing() as vendor,
        a_place(serving, identities, vendor, database("proxy").url) as hub,
        an_edge(serving, identities, database, hub) as (edge, door),
    ):
        yield Tier(edge, hub, door)


def refusing(times: int, then: Behave) -> Behave:
    """Refuses the token so many times."""
    left = [times]

    async def behave(method: str, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        if left[0]:
            left[0] -= 1
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")
        async for answer in then(method, requests, context):
            yield answer

    return behave


async def test_both_keep_a_record_of_one_trace_and_the_credential_is_the_hubs(tier: Tier) -> None:
    answer, _ = await forwarded(tier.edge.stub(), head(method="POST"), b"a body")
    [seen] = tier.hub.vendor.seen
    assert seen.headers["X-Api-Key"] == KEY
    [here], [there] = await tier.calls(tier.edge), await tier.calls(tier.hub)
    assert (here.action, here.vendor_status, here.attempts) == ("forward.POST", 207, 1)
    assert (there.action, there.vendor_status) == ("forward.POST", 207)
    assert here.name == answer.call != there.name


async def test_a_method_that_need_not_have_a_body_may_have_one(tier: Tier) -> None:
    framed = head(method="DELETE", headers=[("Transfer-Encoding", "chunked")])
    await forwarded(tier.edge.stub(), framed, b"what to ", b"delete")
    assert tier.hub.vendor.digests == [hashlib.sha256(b"what to delete").hexdigest()]


async def test_a_token_that_the_hub_takes_no_more_is_replaced_once(tier: Tier) -> None:
    usual = tier.door.behave
    tier.door.behave = refusing(1, usual)
    answer, _ = await forwarded(tier.edge.stub(), head())
    assert answer.status == 207
    tier.door.behave = refusing(2, usual)
    found = await refused(tier.edge.stub(), head())
    assert (found.reason, found.metadata["problem"]) == ("VENDOR_UNREACHABLE", "hub")
    assert len(tier.hub.vendor.seen) == 1


async def test_a_hub_that_is_away_is_told_as_that(tier: Tier) -> None:
    async def away(_: str, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "upstream connect error")
        yield b""

    tier.door.behave = away
    found = await refused(tier.edge.stub(), head(method="POST"), b"x" * 100)
    assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, "VENDOR_UNREACHABLE")
    assert found.metadata["problem"] == "hub"
    assert tier.hub.vendor.seen == []


@pytest.mark.parametrize("seconds", [1.0, 30.0])
async def test_a_hub_that_has_moved_is_found_again(
    serving: Serving, identities: Identities, database: Databases, seconds: float
) -> None:
    """The first caller waits in vain, in a hurry or not; the next one is led to where it is."""
    async with (
        echoing() as vendor,
        a_place(serving, identities, vendor, database("proxy").url) as hub,
        an_edge(serving, identities, database, hub) as (edge, left),
    ):
        assert (await forwarded(edge.stub(), head()))[0].status == 207
        await left.close()
        async with a_door(identities, left.behave) as door:
            follow(edge.around, identities, door, edge.served.mint.token("member", workspace="acme"))
            found = await refused(edge.stub(), head(), timeout=seconds)
            assert found.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
            assert (await forwarded(edge.stub(), head()))[0].status == 207
            assert door.asked
            assert len(vendor.seen) == 2


async def test_the_hub_is_told_when_the_caller_leaves(tier: Tier) -> None:
    ended: list[tuple[float, float]] = []
    tier.door.behave = hanging(ended)
    call = asyncio.create_task(forwarded(tier.edge.stub(), head()))
    await until(lambda: any("Forward" in method for method, _ in tier.door.asked))
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await until(lambda: ended)
    # It had the caller's whole minute, and was told before that.
    assert ended[0][1] > 1.0


async def test_a_body_goes_on_while_its_answer_comes_back(tier: Tier) -> None:
    """Neither side waits for the other's end: what a vendor answers meanwhile is there before the body has ended."""
    more = asyncio.Event()

    async def mirror(_: str, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        yield pb.ForwardResponse(head=pb.ForwardAnswer(status=200)).SerializeToString()
        async for raw in requests:
            request = pb.ForwardRequest.FromString(raw)
            if request.chunk:
                yield pb.ForwardResponse(chunk=request.chunk).SerializeToString()

    async def requests() -> AsyncIterator[pb.ForwardRequest]:
        yield head(method="POST")
        yield pb.ForwardRequest(chunk=b"one")
        await more.wait()
        yield pb.ForwardRequest(chunk=b"two")

    tier.door.behave = mirror
    found = []
    async for answer in tier.edge.stub().Forward(requests(), timeout=60):
        if answer.chunk:
            found.append(answer.chunk)
            more.set()
    assert found == [b"one", b"two"]
