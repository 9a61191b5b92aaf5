"""Backends: calls through gateways, what a comparison shows, and how a workspace moves over and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from cordboard.catalog.definition import problems
from cordboard.catalog.document import read as read_document
from cordboard.common.v1 import audit_service_pb2
from cordboard.common.v1.audit_service_pb2_grpc import AuditServiceStub
from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import backend_service_pb2 as pb
from cordboard.proxy.v1 import forward_service_pb2 as forward_pb
from cordboard.proxy.v1 import proxy_service_pb2 as proxy_pb
from cordboard.proxy.v1.backend_service_pb2_grpc import BackendServiceStub
from cordboard.proxy.v1.forward_service_pb2_grpc import ForwardServiceStub
from cordboard.proxy.v1.proxy_service_pb2_grpc import ProxyServiceStub
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.gateways import ACCOUNT, FOLDER, KEY, NAMED, StandInGateway, a_gateway, shipped
from tests.unit.proxy.running import (
    CONNECTION,
    INTEGRATION_FLAG,
    TICKET,
    Mesh,
    a_mesh,
    a_proxy,
    execute,
    is_ready,
    refusal,
    until,
)
from tests.unit.proxy.samples import SLUG

Code = grpc.StatusCode
NAME = f"workspaces/acme/backendRoutes/{SLUG}"
GATE = "workspaces/acme/connections/gate"
ELSEWHERE = "workspaces/acme/connections/elsewhere"
SHAPES = ("nango-like", "paragon-like")


@pytest.fixture
async def url(database: Databases) -> str:
    return database("proxy").url


@pytest.fixture
async def mesh(serving: Serving, identities: Identities, url: str) -> AsyncIterator[Mesh]:
    async with a_mesh(serving, identities, url, workspace_rate=100_000, caller_rate=100_000) as one:
        yield one


@pytest.fixture
async def gateway(mesh: Mesh) -> AsyncIterator[StandInGateway]:
    async with a_gateway(f"{mesh.vendor.url}/v1", mesh.vendor.settings.api_key) as one:
        await connected(mesh, one, SHAPES[0])
        yield one


async def connected(mesh: Mesh, gateway: StandInGateway, shape: str, key: str = KEY) -> None:
    """Has the workspace connected to a gateway of this shape."""
    await mesh.around.publish(shipped(shape, gateway.url))
    await mesh.around.set_flags(**{INTEGRATION_FLAG: True, f"integration__{shape.replace('-', '___')}": True})
    await mesh.around.connect(GATE, integration=shape, api_key=key, configuration={"project": "p-1"})


def backends(mesh: Mesh, *roles: str, **claims: Any) -> Any:
    return BackendServiceStub(mesh.served.as_role(*(roles or ("workspace-admin",)), **({"workspace": "acme"} | claims)))


def through(connection: str = GATE, **remote: Any) -> pb.Backend:
    """Names the gateway as a backend."""
    told = {"connection": "main", "remote": ACCOUNT} | remote
    gateway = pb.GatewayBackend(connection=connection, integration=NAMED)
    return pb.Backend(gateway=gateway, connections=[pb.RemoteConnection(**told)])


async def put(mesh: Mesh, **fields: Any) -> pb.BackendRoute:
    route = pb.BackendRoute(**{"name": NAME} | fields)
    found: pb.BackendRoute = await backends(mesh).PutBackendRoute(pb.PutBackendRouteRequest(route=route))
    return found


async def turn(mesh: Mesh, **fields: Any) -> pb.BackendRoute:
    found: pb.BackendRoute = await backends(mesh).CutOver(pb.CutOverRequest(name=NAME, **fields))
    return found


async def compared(mesh: Mesh, calls: int) -> pb.ActionComparison:
    """Returns what is known of `get_me` once so many calls were compared."""
    request = pb.GetComparisonRequest(name=f"{NAME}/comparison")

    async def known() -> pb.ActionComparison | None:
        actions = (await backends(mesh).GetComparison(request)).actions
        return next((one for one in actions if one.action == "get_me" and one.calls >= calls), None)

    found: pb.ActionComparison = await until(known)
    return found


# Through gateways.


@pytest.mark.parametrize("shape", SHAPES)
def test_the_shipped_gateways_can_be_published(shape: str) -> None:
    assert problems(read_document((FOLDER / f"{shape}.yaml").read_text()).definition) == []


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_call_goes_through_a_gateway_of_either_shape(mesh: Mesh, gateway: StandInGateway, shape: str) -> None:
    direct = await mesh.stub().Execute(execute())
    await connected(mesh, gateway, shape)
    await mesh.around.change(GATE, 1)
    await put(mesh, primary=through())
    answered = await mesh.stub().Execute(execute())
    assert answered.output == direct.output
    made = await mesh.stub().Execute(execute("create_ticket", TICKET, idempotency_key="order-1"))
    assert made.output.struct_value["subject"] == TICKET["subject"]
    listed = await mesh.stub().Execute(execute("list_tickets", {"limit": 2, "status": ["open"]}))
    assert len(listed.output.struct_value["data"]) == 2
    assert len(gateway.seen) == 3
    assert all(mesh.vendor.settings.api_key not in str(seen) for seen in gateway.seen)


async def test_pages_are_walked_through_a_gateway(mesh: Mesh, gateway: StandInGateway) -> None:
    await put(mesh, primary=through())
    pages = [
        page
        async for page in mesh.stub().ExecuteStream(
            proxy_pb.ExecuteStreamRequest(connection=CONNECTION, action="list_events", max_pages=3)
        )
    ]
    assert [page.page for page in pages] == [1, 2, 3]
    assert len(gateway.seen) == 3


async def test_a_connection_that_the_gateway_alone_has_is_called_without_one_here(
    mesh: Mesh, gateway: StandInGateway
) -> None:
    assert (await refusal(mesh.stub().Execute(execute(connection=ELSEWHERE)))).code is Code.NOT_FOUND
    primary = through(environment="production")
    primary.connections[0].connection = "elsewhere"
    await put(mesh, primary=primary)
    answered = await mesh.stub().Execute(execute(connection=ELSEWHERE))
    assert answered.output.struct_value["id"]
    # Of another environment it is not there, and in another workspace neither.
    staging = mesh.stub("member", environment="staging")
    assert (await refusal(staging.Execute(execute(connection=ELSEWHERE)))).code is Code.NOT_FOUND
    assert len(gateway.seen) == 1


async def test_a_gateways_own_refusal_is_not_taken_for_the_vendors(mesh: Mesh, gateway: StandInGateway) -> None:
    await put(mesh, primary=through(remote="nobody"))
    refused = await refusal(mesh.stub().Execute(execute()))
    assert (refused.reason, refused.metadata["problem"]) == ("VENDOR_UNREACHABLE", "gateway")
    assert gateway.seen
    # The vendor's own answers are told as ever.
    await turn_to_known(mesh)
    missing = await refusal(mesh.stub().Execute(execute("get_ticket", {"ticket_id": "tic_none"})))
    assert (missing.reason, missing.metadata["vendor_status"]) == ("VENDOR_ERROR", "404")


async def turn_to_known(mesh: Mesh) -> None:
    await put(mesh, primary=through(remote="nobody"), candidate=through())
    await turn(mesh)


async def test_an_integration_that_is_no_gateway_is_none(mesh: Mesh) -> None:
    await put(mesh, primary=through(connection=CONNECTION))
    refused = await refusal(mesh.stub().Execute(execute()))
    assert (refused.reason, refused.metadata["state"]) == ("STATE_CONFLICT", "gateway")
    assert mesh.requests == []


async def test_a_gateway_that_is_switched_off_is_not_asked(mesh: Mesh, gateway: StandInGateway) -> None:
    await mesh.around.set_flags(**{INTEGRATION_FLAG: True})
    await put(mesh, primary=through())

    async def is_off() -> bool:
        return (await refusal(mesh.stub().Execute(execute()))).reason == "SWITCHED_OFF"

    await until(is_off)
    assert gateway.seen == []


async def test_what_is_forwarded_goes_directly_or_not_at_all(mesh: Mesh, gateway: StandInGateway) -> None:
    await put(mesh, primary=through())
    head = forward_pb.ForwardHead(connection=CONNECTION, method="GET", path="/me")

    async def sent() -> AsyncIterator[Any]:
        yield forward_pb.ForwardRequest(head=head)

    async def forwarded() -> list[Any]:
        stub = ForwardServiceStub(mesh.served.as_role("member", workspace="acme"))
        return [part async for part in stub.Forward(sent())]

    refused = await refusal(forwarded())
    assert (refused.reason, refused.metadata["state"]) == ("STATE_CONFLICT", "backend")
    assert gateway.seen == []


# Moving.


async def test_a_comparison_tells_fields_apart_and_keeps_no_value(mesh: Mesh, gateway: StandInGateway) -> None:
    await put(mesh, candidate=through(), shadow_rate=1.0)
    for _ in range(3):
        await mesh.stub().Execute(execute())
    seen = await compared(mesh, 3)
    assert (seen.same, seen.failed, list(seen.differences)) == (3, 0, [])
    gateway.change = {"id": 7, "secret": "somebody-else@gateway.example", "added": [1, 2]}
    await mesh.stub().Execute(execute())
    seen = await compared(mesh, 4)
    assert seen.same == 3
    told = {one.pointer: one for one in seen.differences}
    kinds = {pointer: pb.FieldDifference.Kind.Name(one.kind) for pointer, one in told.items()}
    assert (kinds["/id"], kinds["/added"]) == ("KIND_TYPE", "KIND_EXTRA")
    assert told["/added"].candidate == "array(2)"
    assert all(one.calls == 1 and one.last_call.startswith("workspaces/acme/calls/") for one in told.values())
    assert "gateway.example" not in str(seen)


async def test_a_candidate_that_fails_harms_no_call_and_is_counted(mesh: Mesh, gateway: StandInGateway) -> None:
    await put(mesh, candidate=through(remote="nobody"), shadow_rate=1.0)
    await mesh.stub().Execute(execute())
    seen = await compared(mesh, 1)
    assert (seen.failed, dict(seen.reasons)) == (1, {"VENDOR_UNREACHABLE": 1})
    calls = (await mesh.stub().ListCalls(proxy_pb.ListCallsRequest(parent="workspaces/acme"))).calls
    assert sorted(call.action for call in calls) == ["get_me", "shadow.get_me"]


async def test_what_changes_something_is_asked_of_the_primary_alone(mesh: Mesh, gateway: StandInGateway) -> None:
    await put(mesh, candidate=through(), shadow_rate=1.0)
    await mesh.stub().Execute(execute("create_ticket", TICKET))
    await mesh.stub().Execute(execute())
    await compared(mesh, 1)
    # The control: the read was asked of both, and the change of one.
    assert [seen["path"] for seen in gateway.seen] == ["/proxy/me"]


async def test_a_new_candidate_begins_with_an_empty_report(mesh: Mesh, gateway: StandInGateway) -> None:
    await put(mesh, candidate=through(remote="nobody"), shadow_rate=1.0)
    await mesh.stub().Execute(execute())
    await compared(mesh, 1)
    await put(mesh, candidate=through(), shadow_rate=0.5)
    found = await backends(mesh).GetComparison(pb.GetComparisonRequest(name=f"{NAME}/comparison"))
    assert list(found.actions) == []


async def test_a_workspace_moves_over_and_back_under_load_without_a_failed_call(
    mesh: Mesh, gateway: StandInGateway
) -> None:
    await put(mesh, candidate=through())
    stop, failures, calls = asyncio.Event(), [], [0]

    async def caller() -> None:
        while not stop.is_set():
            try:
                await mesh.stub().Execute(execute(), timeout=20)
            except grpc.aio.AioRpcError as error:
                failures.append(error.code())
            calls[0] += 1

    async def more(count: int) -> None:
        wanted = calls[0] + count
        await until(lambda: calls[0] >= wanted)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(caller())
        try:
            for number in range(6):
                await turn(mesh)
                # Those that were under way end where they began.
                await more(10)
                before, asked = len(gateway.seen), calls[0]
                await more(10)
                by_gateway = len(gateway.seen) - before
                assert by_gateway <= calls[0] - asked + 4
                assert (by_gateway >= 6) if number % 2 == 0 else (by_gateway == 0)
        finally:
            stop.set()
    assert failures == []
    # The control: a backend that cannot answer is seen to fail.
    await put(mesh, candidate=through(remote="nobody"))
    await turn(mesh)
    assert (await refusal(mesh.stub().Execute(execute()))).reason == "VENDOR_UNREACHABLE"
    await turn(mesh)
    await mesh.stub().Execute(execute())


async def test_a_cut_over_holds_in_every_replica_and_after_a_start(
    mesh: Mesh, gateway: StandInGateway, serving: Serving, url: str
) -> None:
    async with a_proxy(serving, mesh.around, url) as second:
        await until(lambda: is_ready(second))
        await put(mesh, candidate=through())
        await turn(mesh)
        stub = ProxyServiceStub(second.as_role("member", workspace="acme"))

        async def moved() -> bool:
            await stub.Execute(execute())
            return bool(gateway.seen)

        await until(moved)
    async with a_proxy(serving, mesh.around, url) as late:
        await until(lambda: is_ready(late))
        seen = len(gateway.seen)
        await ProxyServiceStub(late.as_role("member", workspace="acme")).Execute(execute())
        assert len(gateway.seen) == seen + 1


async def test_another_workspace_is_not_moved(mesh: Mesh, gateway: StandInGateway) -> None:
    other = "workspaces/globex/connections/main"
    await mesh.around.connect(other, integration=SLUG, api_key=mesh.vendor.settings.api_key)
    await put(mesh, primary=through())
    await mesh.stub(workspace="globex").Execute(execute(connection=other))
    assert gateway.seen == []
    await mesh.stub().Execute(execute())
    assert len(gateway.seen) == 1


# The resource.


async def test_a_route_is_kept_listed_audited_and_deleted(mesh: Mesh, gateway: StandInGateway) -> None:
    made = await put(mesh, candidate=through(environment="staging", configuration={"a": "b"}), shadow_rate=0.25)
    assert made.primary.WhichOneof("kind") == "direct"
    assert (await backends(mesh, "reader").GetBackendRoute(pb.GetBackendRouteRequest(name=NAME))) == made
    turned = await turn(mesh, etag=made.etag)
    assert (turned.primary, turned.candidate, turned.shadow_rate) == (made.candidate, made.primary, 0)
    assert turned.HasField("cut_over_time")
    assert not made.HasField("cut_over_time")
    listed = await backends(mesh).ListBackendRoutes(pb.ListBackendRoutesRequest(parent="workspaces/acme"))
    assert list(listed.backend_routes) == [turned]
    assert (await refusal(turn(mesh, etag=made.etag))).code is Code.ABORTED
    delete = pb.DeleteBackendRouteRequest(name=NAME)
    await backends(mesh).DeleteBackendRoute(delete)
    for late in (backends(mesh).DeleteBackendRoute(delete), turn(mesh)):
        assert (await refusal(late)).code is Code.NOT_FOUND
    request = audit_service_pb2.ListAuditEntriesRequest(chain="acme", action_prefix="proxy.backend")
    entries = (await AuditServiceStub(mesh.served.as_role("operator")).ListAuditEntries(request)).entries
    assert {"proxy.backend.put", "proxy.backend.cut_over", "proxy.backend.delete"} <= {one.action for one in entries}


async def test_a_route_that_cannot_be_is_refused_by_its_fields(mesh: Mesh) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"shadow_rate": 1.5}, "route.shadow_rate"),
        ({"shadow_rate": float("nan")}, "route.shadow_rate"),
        ({"shadow_rate": 0.5}, "route.shadow_rate"),
        ({"candidate": pb.Backend()}, "route.candidate"),
        ({"primary": through(connection="workspaces/globex/connections/gate")}, "route.primary.gateway.connection"),
        ({"primary": through(remote="a\nb")}, "route.primary.connections[0].remote"),
        ({"primary": through(configuration={"a": "b"})}, "route.primary.connections[0].configuration"),
        (
            {"primary": pb.Backend(connections=[pb.RemoteConnection(connection="main", remote="x")])},
            "route.primary.connections",
        ),
    ]
    for fields, field in cases:
        assert field in (await refusal(put(mesh, **fields))).fields, field


async def test_a_primary_changes_by_a_cut_over_alone(mesh: Mesh) -> None:
    await put(mesh)
    refused = await refusal(put(mesh, primary=through()))
    assert (refused.reason, refused.metadata["state"]) == ("STATE_CONFLICT", "primary")
    assert (await refusal(turn(mesh))).metadata["state"] == "candidate"
