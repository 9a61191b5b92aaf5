"""A caller's deadline ends the work of every hop. The long form in tests/soak measures by how much it is late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cordboard.core.waiters import Waiters
from cordboard.local.certificates import Identities
from cordboard.proxy import connections
from cordboard.proxy.v1 import proxy_service_pb2 as pb
from tests.fixtures.deadlines import KEYED, LIMITS, PARTS, STREAMS, Scene, a_slow, measured
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.running import a_mesh

SECONDS = (0.5, 1.0, 2.0)
# What a busy machine may add. A hop that is not told of the deadline goes on for its own limit, or for ever.
LATEST = 10.0


@pytest.fixture
async def scene(
    serving: Serving, identities: Identities, database: Databases, spans: InMemorySpanExporter
) -> AsyncIterator[Scene]:
    own = database("proxy")
    async with a_mesh(serving, identities, own.url, **LIMITS) as mesh:
        one = Scene(mesh, identities, own, len(SECONDS))
        await one.connect()
        yield one


@pytest.mark.parametrize(
    ("part", "keyed"),
    [(part, keyed) for part in PARTS for keyed in (False, True) if part not in (STREAMS if keyed else KEYED)],
)
async def test_every_hop_ends_with_the_callers_deadline(
    scene: Scene, spans: InMemorySpanExporter, part: str, keyed: bool
) -> None:
    async with a_slow(scene, part, keyed=keyed) as slow:
        late = await measured(spans, slow, SECONDS)
    assert {name: max(times) for name, times in late.items() if max(times) > LATEST} == {}


@pytest.mark.parametrize("part", ["lease", "sealing"])
async def test_auth_is_told_that_nobody_waits_any_more(scene: Scene, spans: InMemorySpanExporter, part: str) -> None:
    async with a_slow(scene, part, keyed=True) as slow:
        await measured(spans, slow, SECONDS)
        # It had been given more time than the callers: it ended because it was told to.
        assert min(left for _, left in scene.mesh.around.ended.values()) > 1.0


async def test_without_that_auth_would_work_until_its_own_limit(
    scene: Scene, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a request that is not given up."""
    monkeypatch.setattr(connections, "LEASE_TIMEOUT", 4.0)
    monkeypatch.setattr(Waiters, "result", lambda _self, task, _forget: asyncio.shield(task))
    async with a_slow(scene, "lease", keyed=False) as slow:
        late = await measured(spans, slow, SECONDS)
        assert max(left for _, left in scene.mesh.around.ended.values()) < 1.0
    assert min(late["auth"]) > 1.0


async def test_a_vendor_that_hangs_counts_against_its_breaker_however_long_its_callers_waited(
    scene: Scene, spans: InMemorySpanExporter
) -> None:
    """The library rounds longer times up, and then the deadline ended these calls first, which says nothing of it."""
    async with a_slow(scene, "headers", keyed=False) as slow:
        await measured(spans, slow, (5.2, 5.4, 5.6))
        listed = await scene.mesh.stub().ListBreakers(pb.ListBreakersRequest())
    assert [(one.calls, one.failures) for one in listed.breakers] == [(3, 3)]
