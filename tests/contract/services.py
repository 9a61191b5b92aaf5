"""The services of the mesh as their descriptors tell them, and a way to call any method with any bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from cordboard.common.v1 import audit_service_pb2
from cordboard.local import envoy
from tests.fixtures.stubs import import_stubs

import_stubs()

EVERYWHERE: Final = (health_pb2, reflection_pb2)
# Who keeps a journal serves it.
JOURNALS: Final = ("catalog", "auth", "flags", "proxy", "telemetry")
TIMEOUT: Final = 20.0


@dataclass(frozen=True)
class Method:
    """One method of a service that runs in a process of the mesh."""

    descriptor: MethodDescriptor

    @property
    def path(self) -> str:
        """The path that gRPC calls."""
        return f"/{self.descriptor.containing_service.full_name}/{self.descriptor.name}"


def methods(process: str) -> list[Method]:
    """Returns every method that a process serves, by the descriptor set that is shipped with the mesh."""
    known = descriptor_pb2.FileDescriptorSet.FromString(envoy.descriptors().read_bytes())
    names = [
        f"{file.package}.{service.name}"
        for file in known.file
        if file.package.startswith(f"cordboard.{process}.")
        for service in file.service
    ]
    modules = [
        *EVERYWHERE,
        *([audit_service_pb2] if process in JOURNALS else []),
        *([trace_service_pb2, metrics_service_pb2] if process == "telemetry" else []),
    ]
    names += [service.full_name for module in modules for service in module.DESCRIPTOR.services_by_name.values()]
    pool = descriptor_pool.Default()
    return [Method(method) for name in names for method in pool.FindServiceByName(name).methods]


async def call(
    channel: grpc.aio.Channel,
    method: Method,
    request: bytes,
    token: str = "",
    timeout: float = TIMEOUT,
    more: tuple[tuple[str, str], ...] = (),
) -> grpc.StatusCode:
    """Sends bytes to a method; returns how it ended. A stream of answers counts as well once its first one is there."""
    metadata = ((("authorization", f"Bearer {token}"),) if token else ()) + more
    descriptor = method.descriptor
    raw: Any = channel  # of bytes, which its types do not foresee
    arguments: dict[str, Any] = {"metadata": metadata, "timeout": timeout}
    try:
        if descriptor.client_streaming:

            async def requests() -> AsyncIterator[bytes]:
                yield request

            streams: Any = raw.stream_stream(method.path)(requests(), **arguments)
            await streams.read()
        elif descriptor.server_streaming:
            streams = raw.unary_stream(method.path)(request, **arguments)
            await streams.read()
        else:
            await raw.unary_unary(method.path)(request, **arguments)
            return grpc.StatusCode.OK
        if streams.done():
            return grpc.StatusCode(await streams.code())
        streams.cancel()
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK
