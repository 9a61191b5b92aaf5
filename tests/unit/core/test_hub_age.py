"""What a service says of the hub of an edge, as its Catalog tells it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import pytest

from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.core.copies import HUB_ANSWERS_WITHIN, Copies
from cordboard.core.hub_age import HubAge
from cordboard.core.times import SystemClock


class Moved(SystemClock):
    """A clock that stands until it is moved on."""

    seconds = 1000.0

    def monotonic(self) -> float:
        """Returns what it was moved to."""
        return self.seconds


class Catalog:
    """Answers with the state that a test has set."""

    state = pb.SyncState()

    async def answer(self, _request: pb.GetSyncStateRequest, _context: Any) -> pb.SyncState:
        """Returns the state."""
        return self.state


@pytest.fixture
def told() -> Catalog:
    return Catalog()


@pytest.fixture
async def channel(told: Catalog) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a Catalog that answers one question."""
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(
        told.answer, pb.GetSyncStateRequest.FromString, pb.SyncState.SerializeToString
    )
    handler = grpc.method_handlers_generic_handler("cordboard.catalog.v1.SyncService", {"GetSyncState": method})
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    await server.stop(0)


def cut_off_for(age: timedelta) -> pb.SyncState:
    """Returns the state of an edge that was up to date so long ago."""
    state = pb.SyncState(hub="hub-1")
    state.age.FromTimedelta(age)
    return state


async def test_a_mesh_that_follows_no_hub_says_nothing_of_one(channel: grpc.aio.Channel) -> None:
    copies, clock = Copies(), Moved()
    age = HubAge(lambda: channel, copies, clock)
    await age.look()
    clock.seconds += 1_000_000
    assert copies.stale() == ""


async def test_an_edge_that_is_cut_off_says_since_when_and_that_it_is_over(
    channel: grpc.aio.Channel, told: Catalog
) -> None:
    copies, clock = Copies(), Moved()
    age = HubAge(lambda: channel, copies, clock)
    told.state = cut_off_for(timedelta(seconds=9))
    await age.look()
    assert copies.stale() == ""
    told.state = cut_off_for(timedelta(days=31))
    await age.look()
    assert copies.stale() == "hub;age=2678400"
    # Also while nobody can be asked.
    clock.seconds += 100
    assert copies.stale() == "hub;age=2678500"
    told.state = cut_off_for(timedelta(seconds=1))
    await age.look()
    assert copies.stale() == ""
    clock.seconds += HUB_ANSWERS_WITHIN
    assert copies.stale() == f"hub;age={HUB_ANSWERS_WITHIN + 1:.0f}"
