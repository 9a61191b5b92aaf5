"""How long the Proxy waits for a credential: out of its own memory, and from Auth with its vault and its journal."""

from __future__ import annotations

import time
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from bench import processes, scene
from bench.figures import Figure, Sample
from cordboard.auth.v1 import credential_service_pb2 as pb
from cordboard.auth.v1.credential_service_pb2_grpc import CredentialServiceStub
from cordboard.core.channel import Channels
from cordboard.core.identity import Identity
from cordboard.proxy.connections import Connections

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cordboard.local.mesh import Mesh

CACHE_AIM_MICROSECONDS = 50.0
AUTH_AIM_MILLISECONDS = 3.0
CALLS = 300
LOOKUPS = 20_000


async def measure(mesh: Mesh, *, rounds: int) -> list[Figure]:
    """Measures medians, one caller at a time, as the Proxy."""
    identity = mesh.issue_identity("bench-proxy", "proxy")
    cached, asked = [], []
    channels = Channels(Identity(identity), {"auth": mesh.address("auth")})
    try:
        held = Connections(channels)
        await held.lease(scene.CONNECTION, 10)
        async with processes.channel(mesh.address("auth"), identity, "auth.cordboard.internal") as direct:
            call = CredentialServiceStub(direct).LeaseCredential
            request = pb.LeaseCredentialRequest(connection=scene.CONNECTION)
            for _ in range(20):
                await call(request, timeout=10)
            for _ in range(rounds):
                cached.append(await _cached(held))
                asked.append(await _asked(partial(call, request, timeout=10)))
    finally:
        await channels.close()
    return [
        Figure(
            "lease from the Proxy's memory, p50",
            Sample("lease", "µs", tuple(cached)),
            aim=CACHE_AIM_MICROSECONDS,
            better="lower",
        ),
        Figure(
            "lease from Auth, p50",
            Sample("LeaseCredential", "ms", tuple(asked)),
            aim=AUTH_AIM_MILLISECONDS,
            better="lower",
        ),
    ]


async def _cached(held: Connections) -> float:
    times = []
    for _ in range(LOOKUPS):
        begun = time.perf_counter_ns()
        await held.lease(scene.CONNECTION, 10)
        times.append(time.perf_counter_ns() - begun)
    return median(times) / 1e3


async def _asked(call: Callable[[], Awaitable[Any]]) -> float:
    times = []
    for _ in range(CALLS):
        begun = time.perf_counter_ns()
        await call()
        times.append(time.perf_counter_ns() - begun)
    return median(times) / 1e6
