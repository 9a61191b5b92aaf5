"""A Proxy that runs, with the sandbox vendor on one side and neighbours that say what they are told on the other."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from cordboard.core.status import DETAILS_KEY
from cordboard.local.certificates import Identities
from cordboard.proxy.__main__ import start
from cordboard.proxy.settings import ProxySettings
from cordboard.proxy.v1 import proxy_service_pb2 as pb
from cordboard.proxy.v1.proxy_service_pb2_grpc import ProxyServiceStub
from cordboard.sandbox import Fault, Vendor
from cordboard.sandbox import serving as vendor_serving
from tests.fixtures.serving import Served, Serving
from tests.unit.proxy.neighbours import Neighbours, neighbours
from tests.unit.proxy.samples import SLUG, acme_desk

CONNECTION = "workspaces/acme/connections/main"
INTEGRATION_FLAG = f"integration__{SLUG.replace('-', '___')}"
ON = {INTEGRATION_FLAG: True}
TICKET = {"subject": "The printer is on fire", "requester_id": "con_00000001"}


@dataclass
class Mesh:
    """A Proxy that runs, and what stands around it."""

    served: Served
    around: Neighbours
    vendor: Vendor

    def stub(self, *roles: str, workspace: str = "acme", **claims: Any) -> Any:
        """Returns the service as a caller with these roles sees it; a member when none is named."""
        return ProxyServiceStub(self.served.as_role(*(roles or ("member",)), workspace=workspace, **claims))

    @property
    def requests(self) -> list[tuple[str, str]]:
        """Returns method and path of every request that reached the vendor."""
        return [(seen["method"], seen["path"]) for seen in self.seen]

    @property
    def seen(self) -> list[dict[str, Any]]:
        """Returns what the vendor noted of every request."""
        return list(self.vendor.stats(last=1000)["recent"])

    def break_vendor(self, **fault: Any) -> None:
        """Has the vendor fail from now on."""
        self.vendor.faults.put(Fault(**fault))

    def mend_vendor(self) -> None:
        """Has the vendor work again."""
        self.vendor.faults.clear()


@dataclass(frozen=True)
class Refusal:
    """An error as a client reads it."""

    code: grpc.StatusCode
    text: str
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    retry_after: float | None = None


async def refusal(call: Awaitable[Any]) -> Refusal:
    """Returns the error of a call that is to fail."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return read(error)
    raise AssertionError(f"it did not fail: {answer}")


def read(error: grpc.aio.AioRpcError) -> Refusal:
    """Returns an error with its details."""
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    has_retry = False
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                detail.Unpack(info)
                detail.Unpack(bad)
                has_retry = bool(detail.Unpack(retry)) or has_retry
    return Refusal(
        code=error.code(),
        text=error.details() or "",
        reason=info.reason,
        metadata=dict(info.metadata),
        fields={violation.field: violation.description for violation in bad.field_violations},
        retry_after=retry.retry_delay.ToNanoseconds() / 1e9 if has_retry else None,
    )


async def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Returns what the condition gives as soon as that is true."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.01)


async def is_ready(served: Served) -> bool:
    """Tells whether every readiness check passes."""
    try:
        await asyncio.gather(*(check() for check in served.process._checks.values()))
    except Exception:
        return False
    return True


@contextlib.asynccontextmanager
async def a_proxy(serving: Serving, around: Neighbours, url: str, **settings: Any) -> AsyncIterator[Served]:
    """Runs a Proxy beside these neighbours."""
    given = {"egress_allowed_networks": ("127.0.0.0/8",), **around.addresses, **settings}
    async with serving("proxy", ProxySettings, start, database_url=url, **given) as served:
        yield served


@contextlib.asynccontextmanager
async def a_mesh(serving: Serving, identities: Identities, url: str, **settings: Any) -> AsyncIterator[Mesh]:
    """Runs a Proxy with the sandbox vendor connected, and switched on for everybody."""
    async with vendor_serving() as vendor, neighbours(identities) as around:
        await around.publish(acme_desk(vendor.url))
        await around.catch_up()
        await around.set_flags(**ON)
        await around.connect(CONNECTION, integration=SLUG, api_key=vendor.settings.api_key)
        async with a_proxy(serving, around, url, **settings) as served:
            await until(lambda: is_ready(served))
            yield Mesh(served, around, vendor)


def execute(action: str = "get_me", values: dict[str, Any] | None = None, **fields: Any) -> pb.ExecuteRequest:
    """Makes an Execute request with this input."""
    request = pb.ExecuteRequest(**{"connection": CONNECTION, "action": action} | fields)
    if values is not None:
        request.input.update(values)
    return request


def stream(action: str, values: dict[str, Any] | None = None, **fields: Any) -> pb.ExecuteStreamRequest:
    """Makes an ExecuteStream request with this input."""
    request = pb.ExecuteStreamRequest(**{"connection": CONNECTION, "action": action} | fields)
    if values is not None:
        request.input.update(values)
    return request


async def calls(mesh: Mesh) -> list[pb.Call]:
    """Returns the workspace's records, newest first."""
    listed = await mesh.stub("reader").ListCalls(pb.ListCallsRequest(parent="workspaces/acme"))
    return list(listed.calls)


async def last_call(mesh: Mesh) -> pb.Call:
    """Returns the workspace's newest record."""
    return (await calls(mesh))[0]
