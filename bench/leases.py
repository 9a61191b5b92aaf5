"""How long the Proxy waits for a credential: out of its own memory, and from Auth with its vault and its journal; and
what the second one costs above a bare RPC that commits one row in the same database.
"""

from __future__ import annotations

import os
import time
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import psutil
from google.protobuf.wrappers_pb2 import BytesValue

from bench import commit, processes, scene
from bench.figures import Figure, Sample
from cordboard.auth.v1 import credential_service_pb2 as pb
from cordboard.auth.v1.credential_service_pb2_grpc import CredentialServiceStub
from cordboard.core.channel import Channels
from cordboard.core.identity import Identity
from cordboard.proxy.connections import Connections

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from cordboard.local.mesh import Mesh

CACHE_AIM_MICROSECONDS = 50.0
AUTH_AIM_MILLISECONDS = 3.0
CALLS = 300
LOOKUPS = 20_000


async def measure(mesh: Mesh, folder: Path, *, rounds: int) -> list[Figure]:
    """Measures medians, one caller at a time, as the Proxy."""
    identity = mesh.issue_identity("bench-proxy", "proxy")
    found: dict[str, list[float]] = {name: [] for name in ("cached", "asked", "bare", "processor")}
    # The schema that the bare server makes is nobody's of the mesh.
    os.environ[commit.URL_VARIABLE] = mesh.database_url("superuser").replace("+asyncpg", "")
    channels = Channels(Identity(identity), {"auth": mesh.address("auth")})
    try:
        held = Connections(channels)
        await held.lease(scene.CONNECTION, 10)
        async with (
            processes.module("bench.commit", folder, "--identity", str(identity)) as (served, _),
            processes.channel(f"127.0.0.1:{served['port']}", identity, "localhost") as bare,
            processes.channel(mesh.address("auth"), identity, "auth.cordboard.internal") as direct,
        ):
            request = pb.LeaseCredentialRequest(connection=scene.CONNECTION)
            lease = partial(CredentialServiceStub(direct).LeaseCredential, request, timeout=10)
            committed = bare.unary_unary(
                commit.METHOD,
                request_serializer=BytesValue.SerializeToString,
                response_deserializer=BytesValue.FromString,
            )
            bare_call = partial(committed, BytesValue(value=request.SerializeToString()), timeout=10)
            for call in (lease, bare_call):
                for _ in range(20):
                    await call()
            auth = psutil.Process(mesh.pid("auth"))
            for _ in range(rounds):
                found["cached"].append(await _cached(held))
                found["bare"].append(await _asked(bare_call))
                before = auth.cpu_times()
                found["asked"].append(await _asked(lease))
                after = auth.cpu_times()
                used = after.user + after.system - before.user - before.system
                found["processor"].append(used / CALLS * 1e3)
    finally:
        await channels.close()
    lower: dict[str, Any] = {"better": "lower"}
    asked, bare_one = Sample("LeaseCredential", "ms", tuple(found["asked"])), Sample("bare", "ms", tuple(found["bare"]))
    cached, used_each = Sample("lease", "µs", tuple(found["cached"])), Sample("Auth", "ms", tuple(found["processor"]))
    return [
        Figure("lease from the Proxy's memory, p50", cached, aim=CACHE_AIM_MICROSECONDS, **lower),
        Figure("lease from Auth, p50", asked, aim=AUTH_AIM_MILLISECONDS, **lower),
        Figure("lease from Auth, over a bare RPC with a commit", asked, bare_one, **lower),
        Figure("processor time of a lease, in Auth", used_each, **lower),
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
