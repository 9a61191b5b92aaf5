"""Batches on a running Proxy: an outcome for each call, some at once, and places left for others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import batch_service_pb2 as pb
from cordboard.proxy.v1 import proxy_service_pb2 as proxy_pb
from cordboard.proxy.v1.batch_service_pb2_grpc import BatchServiceStub
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.running import CONNECTION, TICKET, Mesh, a_mesh, calls, execute, refusal, until


@pytest.fixture
async def mesh(serving: Serving, identities: Identities, database: Databases) -> AsyncIterator[Mesh]:
    async with a_mesh(serving, identities, database("proxy").url, workspace_calls=8, batch_calls=4) as one:
        yield one


def call(action: str = "get_me", values: dict[str, Any] | None = None, **fields: Any) -> pb.BatchCall:
    return pb.BatchCall(**{"connection": CONNECTION, "action": action, "input_json": json.dumps(values or {})} | fields)


def batch(*wanted: pb.BatchCall, **fields: Any) -> pb.ExecuteBatchRequest:
    return pb.ExecuteBatchRequest(**{"parent": "workspaces/acme", "calls": wanted} | fields)


def stub(mesh: Mesh, **claims: Any) -> Any:
    return BatchServiceStub(mesh.served.as_role("member", **({"workspace": "acme"} | claims)))


async def outcomes(mesh: Mesh, request: pb.ExecuteBatchRequest) -> dict[int, pb.ExecuteBatchResponse]:
    return {outcome.index: outcome async for outcome in stub(mesh).ExecuteBatch(request, timeout=30)}


def reason_of(outcome: pb.ExecuteBatchResponse) -> str:
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in outcome.error.details)
    return info.reason


async def test_each_call_has_its_own_outcome_and_one_that_fails_keeps_no_other_back(mesh: Mesh) -> None:
    found = await outcomes(
        mesh,
        batch(
            call(),
            call("create_ticket", {"subject": ""}),
            call("no_such_action"),
            call("create_ticket", TICKET, idempotency_key="one"),
            call("create_ticket", TICKET | {"requester_id": "con_99999999"}),
            call(connection="workspaces/acme/connections/none"),
            output_format=proxy_pb.OUTPUT_FORMAT_JSON,
        ),
    )
    assert sorted(found) == [0, 1, 2, 3, 4, 5]
    assert json.loads(found[3].response.output_json)["subject"] == TICKET["subject"]
    assert found[0].response.vendor_status == 200
    assert reason_of(found[1]) == "INVALID_FIELDS"
    assert [reason_of(found[index]) for index in (2, 5)] == ["RESOURCE_NOT_FOUND"] * 2
    assert (reason_of(found[4]), found[4].error.code) == ("VENDOR_ERROR", grpc.StatusCode.INVALID_ARGUMENT.value[0])
    assert len(await calls(mesh)) == 6


async def test_what_is_wrong_with_the_batch_is_told_before_anything_is_sent(mesh: Mesh) -> None:
    for request, fields in (
        (batch(), {"calls"}),
        (batch(*[call()] * 1001), {"calls"}),
        (batch(call(), concurrency=33), {"concurrency"}),
        (
            batch(call(), call("a b"), call(input_json="["), call(connection="workspaces/globex/connections/main")),
            {"calls[1].action", "calls[2].input_json", "calls[3].connection"},
        ),
    ):
        refused = await refusal(stub(mesh).ExecuteBatch(request).read())
        assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
        assert set(refused.fields) == fields
    foreign = stub(mesh, workspace="globex").ExecuteBatch(batch(call())).read()
    assert (await refusal(foreign)).code is grpc.StatusCode.NOT_FOUND
    assert mesh.requests == []


async def test_batches_together_leave_places_for_those_who_wait(mesh: Mesh) -> None:
    mesh.break_vendor(latency_ms=300)
    running = [asyncio.create_task(outcomes(mesh, batch(*[call()] * 8))) for _ in range(2)]
    await until(lambda: len(mesh.requests) >= 4)
    # The control: 16 calls of batches are under way, and there are 8 places.
    answers = await asyncio.gather(*(mesh.stub().Execute(execute()) for _ in range(4)))
    assert [answer.vendor_status for answer in answers] == [200] * 4
    for found in await asyncio.gather(*running):
        assert [outcome.response.vendor_status for outcome in found.values()] == [200] * 8


async def test_a_batch_waits_while_others_have_all_places(mesh: Mesh) -> None:
    mesh.break_vendor(latency_ms=1500)
    others = [asyncio.ensure_future(mesh.stub().Execute(execute())) for _ in range(8)]
    await until(lambda: len(mesh.requests) >= 8)
    refused = await refusal(mesh.stub().Execute(execute()))
    assert refused.reason == "LIMIT_EXCEEDED", "the control: there is no place"
    found = await outcomes(mesh, batch(*[call()] * 3))
    assert [outcome.response.vendor_status for outcome in found.values()] == [200] * 3
    await asyncio.gather(*others)


async def test_what_has_not_begun_when_the_caller_leaves_is_left_out(mesh: Mesh) -> None:
    mesh.break_vendor(latency_ms=200)
    stream = stub(mesh).ExecuteBatch(batch(*[call()] * 50, concurrency=2))
    await stream.read()
    stream.cancel()
    seen = -1
    # Three times as long as a call takes, and nothing more is sent.
    while seen < len(mesh.requests):
        seen = len(mesh.requests)
        await asyncio.sleep(0.6)
    assert seen < 25


async def test_a_batch_never_takes_the_places_of_those_who_wait_for_one_call(
    serving: Serving, identities: Identities, database: Databases
) -> None:
    limits = {"process_calls": 4, "batch_calls": 4}
    async with a_mesh(serving, identities, database("proxy").url, **limits) as mesh:
        mesh.break_vendor(latency_ms=200)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(outcomes(mesh, batch(*(call() for _ in range(12)), concurrency=8)))
            await until(lambda: len(mesh.requests) >= 2)
            # Both places that batches may not have are free all the time.
            for _ in range(3):
                await asyncio.gather(*(mesh.stub().Execute(execute()) for _ in range(2)))
        found = running.result()
        assert len(found) == 12
        assert all(not outcome.HasField("error") for outcome in found.values())
