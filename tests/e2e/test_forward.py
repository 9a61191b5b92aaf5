"""Forward through Envoy, by plain HTTP and by gRPC: to the vendor as it is, traced, recorded, and for members alone."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import AsyncIterator
from typing import Final

from cordboard.proxy.v1 import forward_service_pb2 as pb
from cordboard.proxy.v1 import proxy_service_pb2 as proxy
from tests.fixtures.desk import CONNECTION, Desk, Tenant
from tests.fixtures.mesh import RunningMesh, new_traceparent

PATH: Final = f"/proxy/{CONNECTION}"
TICKET: Final = {"subject": "Forwarded as it is", "requester_id": "con_00000001"}


def as_member(tenant: Tenant, **headers: str) -> dict[str, str]:
    return {"authorization": f"Bearer {tenant.token}", **headers}


async def test_a_request_reaches_the_vendor_and_its_record_says_so(
    running_mesh: RunningMesh, desk: Desk, northwind: Tenant
) -> None:
    trace_id, header = new_traceparent()
    headers = as_member(northwind, traceparent=header)
    answer = await running_mesh.http("POST", f"{PATH}/tickets", json=TICKET, headers=headers)
    assert (answer.status, answer.json()["subject"]) == (201, TICKET["subject"]), answer.text
    assert desk.tickets()[TICKET["subject"]] == 1
    assert northwind.token not in json.dumps(desk.requests())
    async with running_mesh.client(northwind.token) as client:
        listed = await client.proxy.ListCalls(proxy.ListCallsRequest(parent=f"workspaces/{northwind.workspace}"))
    [record] = [call for call in listed.calls if call.trace_id == trace_id]
    assert (record.action, record.vendor_status) == ("forward.POST", 201)


async def test_what_the_vendor_refuses_is_told_from_what_the_mesh_refuses(
    running_mesh: RunningMesh, northwind: Tenant
) -> None:
    vendor = await running_mesh.http("GET", f"{PATH}/tickets/tkt_99999999", headers=as_member(northwind))
    assert (vendor.status, "x-cordboard-error" in vendor.headers) == (404, False)
    ours = await running_mesh.http("GET", "/proxy/none/tickets", headers=as_member(northwind))
    assert (ours.status, ours.headers["x-cordboard-error"]) == (404, "RESOURCE_NOT_FOUND")


async def test_without_a_token_there_is_no_way_through(
    running_mesh: RunningMesh, desk: Desk, northwind: Tenant
) -> None:
    before = len(desk.requests())
    for headers in ({}, {"authorization": "Bearer x.y.z"}):
        assert (await running_mesh.http("GET", f"{PATH}/me", headers=headers)).status == 401
    reader = await running_mesh.token("reader", workspace=northwind.workspace)
    answer = await running_mesh.http("GET", f"{PATH}/me", headers={"authorization": f"Bearer {reader}"})
    assert answer.status == 403
    assert len(desk.requests()) == before


async def test_bodies_above_the_limit_of_other_paths_stream_through(
    running_mesh: RunningMesh, northwind: Tenant
) -> None:
    body = bytes(range(256)) * 4096 * 8
    headers = as_member(northwind, **{"content-type": "application/octet-stream"})
    limited = await running_mesh.http("POST", "/v1/integrations:other", data=io.BytesIO(body), headers=headers)
    assert limited.status == 413, "the control: 8 MiB are too much elsewhere"
    answer = await running_mesh.http("POST", f"{PATH}/echo-nowhere", data=io.BytesIO(body), headers=headers)
    assert answer.status == 404, "it reached the vendor, which has no such path"
    assert "x-cordboard-error" not in answer.headers


async def test_by_grpc_it_is_the_same(running_mesh: RunningMesh, northwind: Tenant) -> None:
    async def requests() -> AsyncIterator[pb.ForwardRequest]:
        yield pb.ForwardRequest(head=pb.ForwardHead(connection=northwind.connection, method="GET", path="/me"))

    async with running_mesh.client(northwind.token) as client:
        answers = [answer async for answer in client.forwarding.Forward(requests())]
    by_http = await running_mesh.http("GET", f"{PATH}/me", headers=as_member(northwind))
    body = b"".join(answer.chunk for answer in answers)
    assert (answers[0].head.status, by_http.status) == (200, 200)
    assert hashlib.sha256(body).digest() == hashlib.sha256(by_http.body).digest()
