"""Each service's main read, called at the service itself, against a bare echo of the same sizes and headers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import BytesValue

from bench import echo, load, processes, scene, startup
from bench.figures import Figure, Sample
from cordboard.auth.v1 import connection_service_pb2 as connections
from cordboard.auth.v1.connection_service_pb2_grpc import ConnectionServiceStub
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.flags.v1 import flag_service_pb2 as flags
from cordboard.flags.v1.flag_service_pb2_grpc import FlagServiceStub
from cordboard.proxy.v1 import proxy_service_pb2 as proxy
from cordboard.proxy.v1.proxy_service_pb2_grpc import ProxyServiceStub
from cordboard.uqi.v1 import form_service_pb2 as forms
from cordboard.uqi.v1.form_service_pb2_grpc import FormServiceStub

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import grpc
    from google.protobuf.message import Message

    from cordboard.local.mesh import Mesh

AIM = 0.4


@dataclass(frozen=True)
class Read:
    """One RPC: its service, its stub's method, and the request."""

    service: str
    name: str
    stub: Callable[[grpc.aio.Channel], Any]
    request: Message


def reads(stage: scene.Scene) -> list[Read]:
    """Returns the reads that are measured."""
    context = Struct()
    context.update({"tier": "business", "environment": scene.PRODUCTION, "workspace": scene.WORKSPACE})
    return [
        Read("catalog", "GetIntegration", CatalogServiceStub, catalog.GetIntegrationRequest(name=scene.INTEGRATION)),
        Read("auth", "GetConnection", ConnectionServiceStub, connections.GetConnectionRequest(name=scene.CONNECTION)),
        Read("uqi", "GetForm", FormServiceStub, forms.GetFormRequest(name=scene.FORM)),
        Read("flags", "EvaluateFlag", FlagServiceStub, flags.EvaluateFlagRequest(name=scene.FLAG, context=context)),
        Read("proxy", "GetCall", ProxyServiceStub, proxy.GetCallRequest(name=stage.call)),
    ]


async def measure(mesh: Mesh, stage: scene.Scene, folder: Path, *, rounds: int, seconds: float) -> list[Figure]:
    """Measures every read and its echo in turn, round by round."""
    identity = mesh.issue_identity("bench", "client/bench")
    figures = []
    async with processes.module("bench.echo", folder, "--identity", str(identity)) as (served, _):
        bare = processes.channel(f"127.0.0.1:{served['port']}", identity, "localhost")
        async with bare:
            found: dict[str, list[float]] = defaultdict(list)
            listed = reads(stage)
            for number in range(rounds):
                for read in listed if number % 2 == 0 else reversed(listed):
                    calls = await _round(mesh, stage, read, identity, bare, seconds, echo_first=number % 2 == 0)
                    for name, rate in calls.items():
                        found[name].append(rate)
            for read in listed:
                mine, other = (
                    Sample(name, "calls/s", tuple(found[name])) for name in (read.name, f"echo for {read.name}")
                )
                figures.append(Figure(f"{read.service} {read.name} / echo", mine, other, AIM))
    return figures


async def _round(
    mesh: Mesh,
    stage: scene.Scene,
    read: Read,
    identity: Path,
    bare: grpc.aio.Channel,
    seconds: float,
    *,
    echo_first: bool,
) -> dict[str, float]:
    metadata = (("authorization", f"Bearer {stage.member_token}"),)
    async with processes.channel(mesh.address(read.service), identity, f"{read.service}.cordboard.internal") as direct:
        call = partial(getattr(read.stub(direct), read.name), read.request, metadata=metadata, timeout=10)
        payload = echo.request_of(read.request.ByteSize(), (await call()).ByteSize())
        method = bare.unary_unary(echo.METHOD, BytesValue.SerializeToString, BytesValue.FromString)
        turns = [(f"echo for {read.name}", partial(method, payload, metadata=metadata, timeout=10)), (read.name, call)]
        rates = {}
        for name, each in turns if echo_first else reversed(turns):
            await load.idle(startup.servers(mesh))
            rates[name] = await load.rate(each, seconds)
    return rates
