"""flagd's evaluation by the Connect protocol through Envoy, as flagd's provider for Go speaks it."""

from __future__ import annotations

import asyncio
import struct
from typing import Final
from uuid import uuid4

from openfeature.schemas.protobuf.flagd.evaluation.v2 import evaluation_pb2 as v2

from cordboard.client import Client
from cordboard.core.structs import to_value
from cordboard.flags.v1 import flag_service_pb2 as pb
from tests.fixtures.desk import Tenant
from tests.fixtures.mesh import RunningMesh

BOOLEAN: Final = "/flagd.evaluation.v2.Service/ResolveBoolean"
EVENTS: Final = "/flagd.evaluation.v2.Service/EventStream"
CONNECT: Final = {"connect-protocol-version": "1"}


async def test_a_unary_call_is_answered_and_refused_in_connect_s_words(
    running_mesh: RunningMesh, operator: Client, northwind: Tenant
) -> None:
    key = f"go-{uuid4().hex[:8]}"
    flag = pb.Flag(name=f"flags/{key}", variants={"on": to_value(True)}, default_variant="on")
    await operator.flags.PutFlag(pb.PutFlagRequest(flag=flag))
    headers = {"authorization": f"Bearer {northwind.token}", "content-type": "application/proto", **CONNECT}

    async def resolve(name: str) -> tuple[int, bytes, str]:
        data = v2.ResolveBooleanRequest(flag_key=name).SerializeToString()
        answer = await running_mesh.http("POST", BOOLEAN, data=data, headers=headers)
        return answer.status, answer.body, answer.headers["content-type"]

    status, body, kind = await resolve(key)
    found = v2.ResolveBooleanResponse.FromString(body)
    assert (status, kind, found.value, found.variant, found.reason) == (200, "application/proto", True, "on", "STATIC")
    status, body, kind = await resolve(f"{key}-none")
    assert (status, kind) == (404, "application/json")
    assert b'"not_found"' in body
    del headers["authorization"]
    assert (await resolve(key))[0] == 401


async def test_a_stream_of_events_begins_ready(running_mesh: RunningMesh, northwind: Tenant) -> None:
    headers = {"authorization": f"Bearer {northwind.token}", "content-type": "application/connect+proto", **CONNECT}
    enveloped = struct.pack(">BI", 0, 0)

    async def first() -> tuple[int, str, v2.EventStreamResponse]:
        url = running_mesh.mesh.public_url + EVENTS
        async with running_mesh.browser.post(url, data=enveloped, headers=headers) as answer:
            flags, size = struct.unpack(">BI", await answer.content.readexactly(5))
            assert flags == 0
            message = v2.EventStreamResponse.FromString(await answer.content.readexactly(size))
            return answer.status, answer.headers["content-type"], message

    async with asyncio.timeout(50):
        status, kind, message = await running_mesh.backstage.wait(first())
    assert (status, kind, message.type) == (200, "application/connect+proto", "provider_ready")


async def test_no_other_service_speaks_connect(running_mesh: RunningMesh, northwind: Tenant) -> None:
    headers = {"authorization": f"Bearer {northwind.token}", "content-type": "application/proto", **CONNECT}
    path = "/cordboard.catalog.v1.CatalogService/ListIntegrations"
    answer = await running_mesh.http("POST", path, data=b"", headers=headers)
    assert answer.status != 200
