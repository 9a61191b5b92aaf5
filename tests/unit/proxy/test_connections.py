"""Leases that this process holds, while the vendor refuses a token and Auth renews it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from cordboard.auth.v1 import connection_service_pb2 as connection_pb
from cordboard.auth.v1 import credential_service_pb2 as pb
from cordboard.auth.v1.credential_service_pb2_grpc import (
    CredentialServiceServicer,
    add_CredentialServiceServicer_to_server,
)
from cordboard.core.channel import Channels
from cordboard.core.errors import DependencyUnavailable, ReconnectRequired
from cordboard.core.times import to_duration, to_timestamp
from cordboard.proxy.connections import Connections
from tests.fixtures.ways import leading_to
from tests.unit.proxy.running import CONNECTION, until


@dataclass
class Auth(CredentialServiceServicer):
    """Auth, as the Proxy sees it: a token that was refused becomes a newer one, where it can."""

    generation: int = 1
    renewable: bool = True
    meanwhile: Callable[[], Awaitable[Any]] | None = None
    """What happens while a token is being renewed."""
    leasing: asyncio.Event | None = None
    """What a lease waits for."""
    about: dict[str, Any] = field(default_factory=dict)
    """What else a lease says."""
    asked: int = 0
    left: int = 0
    """Leases whose askers left before they were given."""

    async def LeaseCredential(self, request: pb.LeaseCredentialRequest, context: Any) -> pb.LeaseCredentialResponse:
        self.asked += 1
        try:
            if self.leasing is not None:
                await self.leasing.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        return pb.LeaseCredentialResponse(
            generation=self.generation, connection=connection_pb.Connection(name=request.connection), **self.about
        )

    async def ReportCredential(self, request: pb.ReportCredentialRequest, context: Any) -> pb.ReportCredentialResponse:
        if self.meanwhile is not None:
            await self.meanwhile()
        if self.renewable and request.generation == self.generation:
            self.generation += 1
        return pb.ReportCredentialResponse(generation=self.generation, state=connection_pb.Connection.STATE_READY)

    async def WatchConnections(
        self, request: pb.WatchConnectionsRequest, context: Any
    ) -> AsyncIterator[pb.WatchConnectionsResponse]:
        raise NotImplementedError
        yield


@dataclass(frozen=True)
class Scene:
    """What Auth does, and what the Proxy holds."""

    auth: Auth
    channels: Channels

    def connections(self) -> Connections:
        """Returns the leases of a Proxy."""
        return Connections(self.channels)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    auth = Auth()
    async with leading_to(add_CredentialServiceServicer_to_server, auth) as channels:
        yield Scene(auth, channels)


async def test_a_lease_that_somebody_takes_during_a_renewal_does_not_pass_for_the_newest(scene: Scene) -> None:
    connections = scene.connections()
    refused = await connections.lease(CONNECTION, 20)

    async def another_call() -> None:
        assert (await connections.lease(CONNECTION, 20)).generation == 1

    scene.auth.meanwhile = another_call
    assert (await connections.renew(refused, 20)).generation == 2
    held = connections.known(CONNECTION)
    assert held is not None
    assert held.generation == 2


async def test_whoever_comes_after_a_renewal_has_what_it_gave(scene: Scene) -> None:
    connections = scene.connections()
    refused = await connections.lease(CONNECTION, 20)
    await connections.renew(refused, 20)
    assert (await connections.renew(refused, 20)).generation == 2
    assert scene.auth.generation == 2, "one renewal for both"


async def test_what_cannot_be_renewed_has_to_be_connected_again(scene: Scene) -> None:
    scene.auth.renewable = False
    connections = scene.connections()
    refused = await connections.lease(CONNECTION, 20)
    with pytest.raises(ReconnectRequired):
        await connections.renew(refused, 20)


async def test_a_lease_is_asked_for_as_long_as_one_call_waits_for_it(scene: Scene) -> None:
    scene.auth.leasing = asyncio.Event()
    connections = scene.connections()
    patient = asyncio.create_task(connections.lease(CONNECTION, 60))
    with pytest.raises(DependencyUnavailable):
        await connections.lease(CONNECTION, 0.2)
    scene.auth.leasing.set()
    assert (await patient).generation == 1
    assert (scene.auth.asked, scene.auth.left) == (1, 0)


async def test_a_lease_that_nobody_waits_for_is_given_up_and_the_next_call_asks_anew(scene: Scene) -> None:
    scene.auth.leasing = asyncio.Event()
    connections = scene.connections()
    with pytest.raises(DependencyUnavailable):
        await connections.lease(CONNECTION, 0.2)
    await until(lambda: scene.auth.left == 1)
    scene.auth.leasing.set()
    assert (await connections.lease(CONNECTION, 60)).generation == 1
    assert scene.auth.asked == 2


@pytest.mark.parametrize("ahead", [7200.0, -7200.0])
async def test_a_lease_lasts_as_long_as_auth_says_whatever_the_time_of_day_is_thought_to_be(
    scene: Scene, ahead: float
) -> None:
    connections = scene.connections()
    # A clock that is ahead thinks that it has ended, one that is behind that it goes on for hours.
    scene.auth.about = {"expire_time": stamp(600 - ahead), "good_for": to_duration(600)}
    for _ in range(5):
        await connections.lease(CONNECTION, 5.0)
    assert scene.auth.asked == 1
    scene.auth.about["good_for"] = to_duration(0)
    other = f"{CONNECTION}-2"
    for _ in range(3):
        await connections.lease(other, 5.0)
    assert scene.auth.asked == 4


async def test_an_auth_that_says_by_what_time_alone_is_understood(scene: Scene) -> None:
    connections = scene.connections()
    scene.auth.about = {"expire_time": stamp(600)}
    for _ in range(3):
        await connections.lease(CONNECTION, 5.0)
    assert scene.auth.asked == 1
    scene.auth.about = {"expire_time": stamp(-1)}
    for _ in range(3):
        await connections.lease(f"{CONNECTION}-2", 5.0)
    assert scene.auth.asked == 4


def stamp(seconds: float) -> Timestamp:
    """Returns the time in so many seconds."""
    return to_timestamp(datetime.now(UTC) + timedelta(seconds=seconds))
