"""Calls through the real server and its layers, to the sandbox vendor, with neighbours that say what they are told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from cordboard.core.status import DETAILS_KEY
from cordboard.local.certificates import Identities
from cordboard.proxy.__main__ import start
from cordboard.proxy.settings import ProxySettings
from cordboard.proxy.v1 import proxy_service_pb2 as pb
from cordboard.proxy.v1.proxy_service_pb2_grpc import ProxyServiceStub
from cordboard.sandbox import Vendor
from cordboard.sandbox import serving as vendor_serving
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving
from tests.unit.proxy.neighbours import Neighbours, neighbours
from tests.unit.proxy.samples import SLUG, acme_desk

CONNECTION = "workspaces/acme/connections/main"
ON = {f"integration__{SLUG.replace('-', '___')}": True}


@dataclass
class Mesh:
    """A Proxy that runs, and what stands around it."""

    served: Served
    around: Neighbours
    vendor: Vendor

    def stub(self, role: str = "member", workspace: str = "acme", **claims: Any) -> ProxyServiceStub:
        """Returns the service as a caller of this role sees it."""
        return ProxyServiceStub(self.served.as_role(role, workspace=workspace, **claims))


async def until(condition: Callable[[], Any], seconds: float = 5.0) -> None:
    """Returns as soon as the condition holds."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.01)


async def ready(served: Served) -> None:
    """Returns when the Proxy has its first copies."""

    async def passes() -> bool:
        try:
            await asyncio.gather(*(check() for check in served.process._checks.values()))
        except Exception:
            return False
        return True

    await until(passes)


@contextlib.asynccontextmanager
async def a_mesh(serving: Serving, identities: Identities, url: str, **settings: Any) -> AsyncIterator[Mesh]:
    """Runs a Proxy with the sandbox vendor connected and switched on for everybody."""
    async with vendor_serving() as vendor, neighbours(identities) as around:
        await around.publish(acme_desk(vendor.url))
        await around.catch_up()
        await around.set_flags(**ON)
        await around.connect(CONNECTION, integration=SLUG, api_key=vendor.settings.api_key)
        async with serving(
            "proxy", ProxySettings, start,
            database_url=url, egress_allowed_networks=("127.0.0.0/8",), **around.addresses, **settings,
        ) as served:  # fmt: skip
            await ready(served)
            yield Mesh(served, around, vendor)


@pytest.fixture
async def mesh(serving: Serving, identities: Identities, database: Databases) -> AsyncIterator[Mesh]:
    async with a_mesh(serving, identities, database("proxy").url) as one:
        yield one


def execute(action: str = "get_me", **fields: Any) -> pb.ExecuteRequest:
    return pb.ExecuteRequest(connection=CONNECTION, action=action, **fields)


async def test_a_read_gives_the_vendors_answer(mesh: Mesh) -> None:
    answer = await mesh.stub().Execute(execute())
    assert answer.vendor_status == 200
    assert answer.output.struct_value["authenticated_by"] == "api_key"
    assert answer.quota.limit == mesh.vendor.settings.rate_limit
    assert answer.call.attempts == 1
    assert DETAILS_KEY
