"""A network that is slow, narrow, silent, half open or cut between each two parts of a mesh, under calls of every kind.

A relay of bytes stands between each pair. What is asserted: no call takes longer than its deadline and a generous
bound, none ends with a fault of the mesh's own, nothing is done twice under one key, and afterwards all goes well
again. How long that took is held against five seconds, and said: `held` or `MISSED`. FAULT_SECONDS in the environment
says how long each fault lasts, FAULTS which of them (names, with commas between).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Final

import grpc
import pytest

from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.client import Client
from tests.fixtures.desk import INTEGRATION, Desk, Tenant
from tests.fixtures.mesh import Backstage
from tests.fixtures.relayed import AUTH, CLIENT, DATABASE, PAIRS, RelayedMesh, a_relayed_desk
from tests.fixtures.relays import Fault
from tests.soak.faulty import (
    OURS,
    SECONDS,
    Ended,
    Traffic,
    Writes,
    by_client,
    by_web,
    fresh_connections,
    listing,
    looking_up,
    paging,
    reading,
)

FAULT_SECONDS: Final = float(os.environ.get("FAULT_SECONDS", "8"))
AIM: Final = 5.0
# What no load of a machine explains.
LATEST: Final = 10.0
FAULTS: Final = {
    "slow": Fault(latency=0.15, jitter=0.1),
    "narrow": Fault(bytes_per_second=6_000),
    "silent": Fault(stalled=True),
    "half open": Fault(swallowed=True),
    "answers lost": Fault(answers_swallowed=True),
    "cut in place of the answer": Fault(reset_after=0),
    "cut in the middle": Fault(reset_after=9_000),
}
CHOSEN: Final = [name for name in FAULTS if name in os.environ.get("FAULTS", ",".join(FAULTS)).split(",")]


@pytest.fixture(scope="module")
def relayed(backstage: Backstage, trust: None) -> Iterator[tuple[Desk, RelayedMesh]]:
    # Breakers have a measurement of their own: here they would hide what the network costs.
    limits = {"workspace_rate": "100000", "caller_rate": "100000", "breaker_min_calls": "10000"}
    with a_relayed_desk(backstage, **limits) as made:
        yield made


@contextlib.asynccontextmanager
async def traffic(desk: Desk, mesh: RelayedMesh, tenant: Tenant, pair: str) -> AsyncIterator[tuple[Traffic, Writes]]:
    """Calls of every kind that the pair can hurt."""
    [relay] = mesh.relays[CLIENT]
    address = f"localhost:{relay.port}" if pair == CLIENT else mesh.public_address
    going = Traffic()
    async with Client(address, token=tenant.token, ca_file=mesh.ca_file) as client:
        ask = by_client(client) if pair == CLIENT else by_web(desk, tenant.token)
        writes = Writes(desk, tenant, ask)
        going.add("read", reading(ask, lambda: tenant.connection))
        going.add("write", writes.one)
        going.add("look-up", looking_up(ask))
        going.add("stream", paging(client, tenant.connection))
        if pair in (AUTH, DATABASE):
            names = await fresh_connections(desk, tenant, 60)
            supply = iter(names)
            # When none is left, one that the Proxy knows serves as well: what counts then is that it goes well.
            going.add("first read", reading(ask, lambda: next(supply, names[-1])))
        if pair == DATABASE:
            going.add("list", listing(by_web(desk, await desk.mesh.token("operator"))))
        going.begin()
        try:
            yield going, writes
        finally:
            await going.end()


def late(ended: list[Ended]) -> float:
    """Returns by how many seconds the latest call missed its deadline."""
    return max((one.took - SECONDS for one in ended), default=0.0)


def tell(pair: str, name: str, ended: list[Ended], again: dict[str, float]) -> None:
    counts = {
        kind: dict(Counter(one.word for one in ended if one.kind == kind))
        for kind in sorted({one.kind for one in ended})
    }
    word = "held" if max(again.values()) <= AIM else "MISSED"
    times = ", ".join(f"{kind} {seconds:.1f}" for kind, seconds in again.items())
    print(f"{word:6} {pair}, {name}: well again after {times} s; latest {max(0.0, late(ended)):.2f} s late; {counts}")


@pytest.mark.parametrize("name", CHOSEN)
@pytest.mark.parametrize("pair", PAIRS)
async def test_a_bad_network_hangs_nobody_and_does_nothing_twice(
    relayed: tuple[Desk, RelayedMesh], pair: str, name: str
) -> None:
    desk, mesh = relayed
    tenant = await desk.tenant()
    restarts = desk.mesh.restarts()
    async with traffic(desk, mesh, tenant, pair) as (going, writes):
        await going.well_again(time.monotonic(), in_a_row=3)
        with mesh.broken(pair, FAULTS[name]):
            begun = time.monotonic()
            await asyncio.sleep(FAULT_SECONDS)
        ended = time.monotonic()
        again = await going.well_again(ended)
        await going.end()
        during = [one for one in going.ended if one.began >= begun]
        await writes.again()
    print(f"\nload {os.getloadavg()[0]:.1f}")
    tell(pair, name, during, again)
    assert [one for one in during if one.code in OURS] == []
    assert [one for one in during if one.code in ("HANGS", "BROKEN")] == []
    assert late(during) < LATEST
    assert writes.twice() == {}
    assert writes.lost() == set()
    assert desk.mesh.restarts() == restarts


async def test_a_channel_that_is_told_nothing_hangs(relayed: tuple[Desk, RelayedMesh]) -> None:
    """The control: the same half open network, for a client without a deadline and without keepalive."""
    desk, mesh = relayed
    tenant = await desk.tenant()
    [relay] = mesh.relays[CLIENT]
    credentials = grpc.ssl_channel_credentials(mesh.ca_file.read_bytes())
    metadata = (("authorization", f"Bearer {tenant.token}"),)
    async with grpc.aio.secure_channel(f"localhost:{relay.port}", credentials) as channel:
        stub = CatalogServiceStub(channel)
        request = catalog.GetIntegrationRequest(name=INTEGRATION)
        await stub.GetIntegration(request, metadata=metadata)
        with mesh.broken(CLIENT, FAULTS["half open"]):
            call = asyncio.ensure_future(stub.GetIntegration(request, metadata=metadata))
            await asyncio.wait({call}, timeout=FAULT_SECONDS)
        # The network is well again, and this call hears nothing of it.
        _, pending = await asyncio.wait({call}, timeout=SECONDS + LATEST)
        assert pending
        call.cancel()
