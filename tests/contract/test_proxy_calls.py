"""Calls through the real server and its layers: what a caller gets, what reaches the vendor, what is kept."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import proxy_service_pb2 as pb
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.running import (
    CONNECTION,
    INTEGRATION_FLAG,
    ON,
    TICKET,
    Mesh,
    a_mesh,
    calls,
    execute,
    last_call,
    read,
    refusal,
    stream,
    until,
)
from tests.unit.proxy.samples import SLUG, acme_desk

Code = grpc.StatusCode


@pytest.fixture
async def mesh(serving: Serving, identities: Identities, database: Databases) -> AsyncIterator[Mesh]:
    # A breaker stays open for as long as a slow machine needs to look at it.
    async with a_mesh(serving, identities, database("proxy").url, breaker_open_seconds=3) as one:
        yield one


async def was_cancelled(mesh: Mesh) -> bool:
    """Tells whether one call is recorded, as cancelled: its caller did not wait for the record."""
    return [kept.outcome for kept in await calls(mesh)] == [pb.Call.OUTCOME_CANCELLED]


# What a call gives.


async def test_a_read_gives_the_vendors_answer(mesh: Mesh) -> None:
    answer = await mesh.stub().Execute(execute())
    assert answer.vendor_status == 200
    assert answer.output.struct_value["authenticated_by"] == "api_key"
    assert answer.content_type.startswith("application/json")
    assert answer.quota.limit == mesh.vendor.settings.rate_limit
    assert answer.quota.reset_time.seconds > time.time() - 5
    assert (answer.call.attempts, answer.call.definition_version, answer.call.replayed) == (1, "1.0.0", False)
    assert answer.call.duration.ToNanoseconds() > 0


async def test_json_comes_back_as_the_vendor_wrote_it(mesh: Mesh) -> None:
    plain = await mesh.stub().Execute(execute("get_ticket", {"ticket_id": "tkt_00000001"}))
    exact = await mesh.stub().Execute(
        execute("get_ticket", input_json='{"ticket_id":"tkt_00000001"}', output_format=pb.OUTPUT_FORMAT_JSON)
    )
    assert exact.WhichOneof("payload") == "output_json"
    assert exact.output_json.startswith('{"id":"tkt_00000001",')
    assert plain.output.struct_value["id"] == "tkt_00000001"


async def test_a_write_reaches_the_vendor_once_with_its_body(mesh: Mesh) -> None:
    answer = await mesh.stub().Execute(execute("create_ticket", TICKET))
    assert answer.vendor_status == 201
    assert answer.output.struct_value["subject"] == TICKET["subject"]
    assert mesh.requests == [("POST", "/v1/tickets")]


async def test_an_empty_answer_is_null(mesh: Mesh) -> None:
    made = await mesh.stub().Execute(execute("create_ticket", TICKET))
    values = {"ticket_id": made.output.struct_value["id"]}
    answer = await mesh.stub().Execute(execute("delete_ticket", values))
    assert (answer.vendor_status, answer.output.WhichOneof("kind")) == (204, "null_value")


async def test_bytes_go_up_and_come_back_unchanged(mesh: Mesh) -> None:
    made = await mesh.stub().Execute(execute("create_ticket", TICKET))
    content = bytes(range(256)) * 40
    values = {"ticket_id": made.output.struct_value["id"], "file": base64.b64encode(content).decode()}
    kept = await mesh.stub().Execute(execute("upload_attachment", values))
    assert kept.output.struct_value["size"] == len(content)
    back = await mesh.stub().Execute(execute("download_attachment", {"attachment_id": kept.output.struct_value["id"]}))
    assert back.output_bytes == content
    assert back.content_type == "application/octet-stream"


# Who may, and where.


async def test_a_reader_may_look_at_calls_and_not_make_them(mesh: Mesh) -> None:
    await mesh.stub().Execute(execute())
    assert (await refusal(mesh.stub("reader").Execute(execute()))).reason == "ACCESS_DENIED"
    assert (await last_call(mesh)).action == "get_me"


async def test_another_workspaces_connection_and_call_are_not_there(mesh: Mesh) -> None:
    made = await mesh.stub().Execute(execute())
    other = mesh.stub("workspace-admin", workspace="globex")
    for call in (
        other.Execute(execute()),
        other.GetCall(pb.GetCallRequest(name=made.call.name)),
        other.ListCalls(pb.ListCallsRequest(parent="workspaces/acme")),
        other.GetCall(pb.GetCallRequest(name=made.call.name.replace("acme", "globex"))),
        other.Execute(execute(connection="workspaces/globex/connections/main")),
    ):
        assert (await refusal(call)).code is Code.NOT_FOUND
    assert len(mesh.requests) == 1


async def test_a_connection_of_another_environment_is_not_there(mesh: Mesh) -> None:
    staging = "workspaces/acme/connections/staging"
    await mesh.around.connect(staging, integration=SLUG, environment="staging", api_key=mesh.vendor.settings.api_key)
    refused = await refusal(mesh.stub().Execute(execute(connection=staging)))
    assert (refused.code, refused.metadata) == (Code.NOT_FOUND, {"name": staging})
    await mesh.stub(environment="staging").Execute(execute(connection=staging))
    await mesh.stub("operator", workspace="").Execute(execute(connection=staging))


@pytest.mark.parametrize(
    ("request_fields", "field"),
    [
        ({"connection": "workspaces/acme"}, "connection"),
        ({"connection": "workspaces/acme/connections/a/b"}, "connection"),
        ({"action": "no such\0action"}, "action"),
        ({"action": "a" * 129}, "action"),
        ({"input_json": "{"}, "input_json"),
        ({"input_json": "[1]"}, "input_json"),
        ({"input_json": '{"nosuch": 1}'}, "input.nosuch"),
        ({"idempotency_key": "a b"}, "idempotency_key"),
        ({"idempotency_key": "é"}, "idempotency_key"),
        ({"idempotency_key": "k" * 256}, "idempotency_key"),
    ],
)
async def test_what_is_wrong_with_a_request_is_told_by_field(
    mesh: Mesh, request_fields: dict[str, Any], field: str
) -> None:
    refused = await refusal(mesh.stub().Execute(execute(**request_fields)))
    assert (refused.code, list(refused.fields)) == (Code.INVALID_ARGUMENT, [field])
    assert mesh.requests == []


async def test_an_input_that_does_not_fit_is_refused_before_anything_is_sent(mesh: Mesh) -> None:
    refused = await refusal(mesh.stub().Execute(execute("create_ticket", {"subject": "ab"})))
    assert refused.code is Code.INVALID_ARGUMENT
    assert set(refused.fields) == {"input.subject", "input.requester_id"}
    assert mesh.requests == []
    kept = await last_call(mesh)
    assert (kept.outcome, kept.error_reason, kept.attempts) == (pb.Call.OUTCOME_REFUSED, "INVALID_FIELDS", 0)


async def test_an_unknown_action_is_not_found(mesh: Mesh) -> None:
    refused = await refusal(mesh.stub().Execute(execute("nosuch")))
    assert refused.metadata == {"name": f"integrations/{SLUG}/actions/nosuch"}


# Flags.


async def test_an_integration_without_a_flag_is_off_and_a_change_takes_effect_at_once(mesh: Mesh) -> None:
    stub = mesh.stub()
    await stub.Execute(execute())
    for flags in ({}, {INTEGRATION_FLAG: False}):
        await mesh.around.set_flags(**flags)
        began = time.monotonic()

        async def is_off() -> bool:
            try:
                await stub.Execute(execute())
            except grpc.aio.AioRpcError:
                return True
            return False

        await until(is_off)
        assert time.monotonic() - began < 20
        refused = await refusal(stub.Execute(execute()))
        assert (refused.code, refused.reason) == (Code.PERMISSION_DENIED, "SWITCHED_OFF")
        assert refused.metadata["flag"] == f"integration.{SLUG}"
        assert refused.metadata["integration"] == SLUG
    assert (await last_call(mesh)).outcome == pb.Call.OUTCOME_REFUSED


async def test_an_action_is_on_until_its_own_flag_is_off(mesh: Mesh) -> None:
    await mesh.around.set_flags(**ON, **{f"action__{SLUG.replace('-', '___')}__get_me": False})

    async def is_off() -> bool:
        return (await refusal_or_none(mesh.stub().Execute(execute()))) == "SWITCHED_OFF"

    await until(is_off)
    await mesh.stub().Execute(execute("list_tickets"))


async def refusal_or_none(call: Any) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return (await refusal(_raises(error))).reason
    return ""


async def _raises(error: Exception) -> None:
    raise error


async def test_the_token_decides_who_gets_what_and_the_request_cannot(mesh: Mesh) -> None:
    rules = {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "off",
        "targeting": {"if": [{"in": [{"var": "tier"}, ["business"]]}, "on", "off"]},
    }
    await mesh.around.set_flags(**{INTEGRATION_FLAG: rules})

    async def free_is_off() -> bool:
        return await refusal_or_none(mesh.stub(tier="free").Execute(execute())) == "SWITCHED_OFF"

    await until(free_is_off)
    await mesh.stub(tier="business").Execute(execute())
    refused = await refusal(mesh.stub(tier="free").Execute(execute()))
    assert refused.metadata["variant"] == "off"


async def test_a_flag_chooses_the_definition_version(mesh: Mesh) -> None:
    await mesh.around.publish(acme_desk(mesh.vendor.url, version="2.0.0"), active=False)
    version = {f"version__{SLUG.replace('-', '___')}": "2.0.0"}
    assert (await mesh.stub().Execute(execute())).call.definition_version == "1.0.0"
    await mesh.around.set_flags(**ON, **version)

    async def is_two() -> bool:
        return bool((await mesh.stub().Execute(execute())).call.definition_version == "2.0.0")

    await until(is_two)
    await mesh.around.set_flags(**ON, **dict.fromkeys(version, "9.9.9"))
    await until(lambda: refused_with(mesh, "STATE_CONFLICT"))


async def refused_with(mesh: Mesh, reason: str) -> bool:
    return await refusal_or_none(mesh.stub().Execute(execute())) == reason


async def test_a_version_becomes_active_at_once(mesh: Mesh) -> None:
    await mesh.around.publish(acme_desk(mesh.vendor.url, version="1.1.0"))

    async def is_new() -> bool:
        return bool((await mesh.stub().Execute(execute())).call.definition_version == "1.1.0")

    await until(is_new, 1)


# What vendors answer.


@pytest.mark.parametrize(
    ("status", "code", "reason", "requests"),
    [
        (400, Code.INVALID_ARGUMENT, "VENDOR_ERROR", 1),
        (403, Code.PERMISSION_DENIED, "VENDOR_ERROR", 1),
        (404, Code.NOT_FOUND, "VENDOR_ERROR", 1),
        (409, Code.ABORTED, "VENDOR_ERROR", 1),
        (422, Code.INVALID_ARGUMENT, "VENDOR_ERROR", 1),
        (418, Code.FAILED_PRECONDITION, "VENDOR_ERROR", 1),
        (500, Code.UNAVAILABLE, "VENDOR_ERROR", 3),
        (503, Code.UNAVAILABLE, "VENDOR_ERROR", 3),
    ],
)
async def test_a_vendors_error_keeps_its_status_and_shows_nothing_of_its_body(
    mesh: Mesh, status: int, code: grpc.StatusCode, reason: str, requests: int
) -> None:
    mesh.break_vendor(status=status)
    refused = await refusal(mesh.stub().Execute(execute()))
    assert (refused.code, refused.reason) == (code, reason)
    assert refused.metadata == {"integration": SLUG, "action": "get_me", "vendor_status": str(status)}
    assert refused.text == f"{SLUG} answered get_me with HTTP status {status}"
    assert len(mesh.requests) == requests
    kept = await last_call(mesh)
    assert (kept.outcome, kept.vendor_status, kept.attempts) == (pb.Call.OUTCOME_VENDOR_ERROR, status, requests)


async def test_a_passing_failure_of_a_read_is_not_seen(mesh: Mesh) -> None:
    mesh.break_vendor(status=503, times=2)
    answer = await mesh.stub().Execute(execute())
    assert (answer.vendor_status, answer.call.attempts) == (200, 3)


async def test_a_write_that_failed_is_not_sent_again(mesh: Mesh) -> None:
    mesh.break_vendor(status=503, times=1)
    assert (await refusal(mesh.stub().Execute(execute("create_ticket", TICKET)))).code is Code.UNAVAILABLE
    assert mesh.requests == [("POST", "/v1/tickets")]


async def test_a_write_whose_connection_was_cut_arrives_exactly_once(mesh: Mesh) -> None:
    mesh.break_vendor(cut_connections=True, after_work=True)
    refused = await refusal(mesh.stub().Execute(execute("create_ticket", TICKET)))
    assert (refused.code, refused.reason) == (Code.UNAVAILABLE, "VENDOR_UNREACHABLE")
    assert refused.metadata["problem"] == "reset"
    assert mesh.requests == [("POST", "/v1/tickets")]
    assert (await last_call(mesh)).outcome == pb.Call.OUTCOME_VENDOR_UNREACHABLE


async def test_a_write_with_the_vendors_own_key_is_sent_again_and_done_once(mesh: Mesh) -> None:
    before = len(list(mesh.vendor.desk.tickets(after="")))
    mesh.break_vendor(cut_connections=True, after_work=True, times=2)
    answer = await mesh.stub().Execute(execute("create_ticket_keyed", TICKET))
    assert (answer.vendor_status, answer.call.attempts) == (201, 3)
    assert len({seen["headers"]["idempotency-key"] for seen in mesh.seen}) == 1
    assert len(list(mesh.vendor.desk.tickets(after=""))) == before + 1


async def test_a_vendor_that_asks_for_a_short_wait_gets_it(mesh: Mesh) -> None:
    mesh.break_vendor(status=429, retry_after=1, times=1)
    began = time.monotonic()
    answer = await mesh.stub().Execute(execute("create_ticket", TICKET))
    assert time.monotonic() - began >= 1
    assert answer.call.attempts == 2


@pytest.mark.parametrize(("retry_after", "timeout"), [(3600, 60), (60, 40)])
async def test_a_vendor_that_asks_for_more_than_the_deadline_holds_is_told_at_once(
    mesh: Mesh, retry_after: int, timeout: float
) -> None:
    mesh.break_vendor(status=429, retry_after=retry_after)
    began = time.monotonic()
    refused = await refusal(mesh.stub().Execute(execute(), timeout=timeout))
    assert time.monotonic() - began < 20
    assert (refused.code, refused.reason) == (Code.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED")
    assert refused.metadata == {"limit": "vendor", "scope": f"integrations/{SLUG}"}
    assert refused.retry_after == retry_after
    assert len(mesh.requests) == 1


async def test_a_deadline_ends_the_call_and_the_request(mesh: Mesh) -> None:
    mesh.break_vendor(latency_ms=30_000)
    began = time.monotonic()
    refused = await refusal(mesh.stub().Execute(execute(), timeout=5))
    assert refused.code is Code.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 40
    assert len(mesh.requests) == 1
    await until(lambda: was_cancelled(mesh))


async def test_an_expired_token_is_renewed_once_and_the_call_goes_on(mesh: Mesh) -> None:
    await mesh.around.connect(CONNECTION, integration=SLUG, api_key="old", generation=4)
    await mesh.around.connect("renewed", integration=SLUG, api_key=mesh.vendor.settings.api_key, generation=5)
    mesh.around.renewed[CONNECTION] = mesh.around.leases.pop("renewed")
    answer = await mesh.stub().Execute(execute("create_ticket", TICKET))
    assert (answer.vendor_status, answer.call.attempts) == (201, 2)
    assert mesh.around.reported == [(CONNECTION, 4)]
    assert (await last_call(mesh)).credential_generation == 5
    await mesh.stub().Execute(execute())
    assert len(mesh.around.reported) == 1


async def test_a_token_that_ends_under_many_calls_asks_nobody_to_connect_again(mesh: Mesh) -> None:
    await mesh.around.connect(CONNECTION, integration=SLUG, api_key="old", generation=4)
    await mesh.around.connect("renewed", integration=SLUG, api_key=mesh.vendor.settings.api_key, generation=5)
    mesh.around.renewed[CONNECTION] = mesh.around.leases.pop("renewed")
    mesh.around.renewing.clear()
    stub, count = mesh.stub(), 12
    calls = [stub.Execute(execute(), timeout=60) for _ in range(count)]
    await until(lambda: len(mesh.around.reported) == count)
    # These come while the token is being renewed, and get the old one as well.
    calls += [stub.Execute(execute(), timeout=60) for _ in range(count)]
    await until(lambda: len(mesh.around.reported) == 2 * count)
    mesh.around.renewing.set()
    answers = await asyncio.gather(*calls)
    assert {answer.vendor_status for answer in answers} == {200}
    assert {generation for _, generation in mesh.around.reported} == {4}


async def test_a_credential_that_stays_refused_needs_a_person(mesh: Mesh) -> None:
    await mesh.around.connect(CONNECTION, integration=SLUG, api_key="wrong")
    refused = await refusal(mesh.stub().Execute(execute()))
    assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "RECONNECT_REQUIRED")
    assert refused.metadata == {"connection": CONNECTION, "problem": "rejected"}
    assert len(mesh.requests) == 1


# Breakers and other limits.


async def test_a_breaker_opens_sheds_at_once_and_closes_when_the_vendor_is_well(mesh: Mesh) -> None:
    stub = mesh.stub()
    mesh.break_vendor(status=503)
    refused = None
    for _ in range(20):
        refused = await refusal(stub.Execute(execute("create_ticket", TICKET)))
        if refused.reason == "BREAKER_OPEN":
            break
    refused = await refusal(stub.Execute(execute()))
    assert (refused.code, refused.reason) == (Code.UNAVAILABLE, "BREAKER_OPEN")
    assert refused.retry_after is not None
    assert 0 < refused.retry_after <= 3
    sent = len(mesh.requests)
    assert sent == 20
    host = mesh.vendor.url.removeprefix("http://")
    [breaker] = (await stub.ListBreakers(pb.ListBreakersRequest())).breakers
    assert (breaker.integration, breaker.host) == (f"integrations/{SLUG}", host)
    assert (breaker.state, breaker.failures) == (pb.Breaker.STATE_OPEN, 20)
    assert breaker.HasField("retry_time")
    mesh.mend_vendor()

    async def is_closed() -> bool:
        return await refusal_or_none(stub.Execute(execute())) == ""

    for _ in range(3):
        await until(is_closed)
    [breaker] = (await stub.ListBreakers(pb.ListBreakersRequest())).breakers
    assert breaker.state == pb.Breaker.STATE_CLOSED


async def test_what_tenants_bring_upon_themselves_opens_no_breaker(mesh: Mesh) -> None:
    for status in (400, 403, 404, 422, 429):
        mesh.break_vendor(status=status, retry_after=3600)
        for _ in range(6):
            await refusal(mesh.stub().Execute(execute("create_ticket", TICKET)))
    mesh.mend_vendor()
    await mesh.stub().Execute(execute())


async def test_only_so_many_calls_of_a_workspace_wait_for_one_vendor(
    serving: Serving, identities: Identities, database: Databases
) -> None:
    async with a_mesh(serving, identities, database("proxy").url, integration_calls=2) as mesh:
        mesh.break_vendor(latency_ms=400)
        stub = mesh.stub()
        outcomes = await asyncio.gather(*(refusal_or_none(stub.Execute(execute())) for _ in range(5)))
        assert sorted(outcomes) == ["", "", "LIMIT_EXCEEDED", "LIMIT_EXCEEDED", "LIMIT_EXCEEDED"]
        assert await refusal_or_none(stub.Execute(execute())) == ""


async def test_an_address_inside_is_refused_at_the_socket(
    serving: Serving, identities: Identities, database: Databases
) -> None:
    async with a_mesh(serving, identities, database("proxy").url, egress_allowed_networks=()) as mesh:
        refused = await refusal(mesh.stub().Execute(execute()))
        host = mesh.vendor.url.removeprefix("http://")
        assert (refused.code, refused.reason) == (Code.PERMISSION_DENIED, "EGRESS_DENIED")
        assert refused.metadata == {"host": host}
        assert mesh.requests == []


# Pages.


async def pages_of(mesh: Mesh, request: pb.ExecuteStreamRequest) -> list[pb.ExecuteStreamResponse]:
    return [page async for page in mesh.stub().ExecuteStream(request)]


@pytest.mark.parametrize(
    ("action", "values", "least"),
    [
        ("list_tickets", {"limit": 40}, 3),
        ("list_contacts", {"per_page": 20}, 2),
        ("list_events", {"limit": 20}, 3),
        ("events_by_offset", {"limit": 20}, 3),
    ],
)
async def test_every_item_comes_once_whatever_the_way_of_paging(
    mesh: Mesh, action: str, values: dict[str, Any], least: int
) -> None:
    pages = await pages_of(mesh, stream(action, values))
    ids = [str(item.struct_value["id"]) for page in pages for item in page.items.values]
    desk = mesh.vendor.desk
    whole: dict[str, Any] = {"list_tickets": lambda: desk.tickets(after=""), "list_contacts": desk.contacts}
    assert sorted(ids) == sorted(one.id for one in whole.get(action, desk.events)())
    assert [page.page for page in pages] == list(range(1, len(pages) + 1))
    assert [page.item_count for page in pages] == [len(page.items.values) for page in pages]
    assert len(pages) >= least
    assert [page.HasField("call") for page in pages] == [False] * (len(pages) - 1) + [True]
    assert pages[-1].call.attempts == len(mesh.requests)
    assert (await last_call(mesh)).attempts == len(mesh.requests)


async def test_no_more_pages_are_fetched_than_asked_for(mesh: Mesh) -> None:
    pages = await pages_of(mesh, stream("list_tickets", {"limit": 5}, max_pages=2, output_format=pb.OUTPUT_FORMAT_JSON))
    assert [page.item_count for page in pages] == [5, 5]
    assert pages[0].items_json.startswith('[{"id":')
    assert pages[1].HasField("call")
    assert len(mesh.requests) == 2


async def test_an_action_without_pages_gives_one(mesh: Mesh) -> None:
    [page] = await pages_of(mesh, stream("get_me"))
    assert (page.item_count, page.items.values[0].struct_value["authenticated_by"]) == (1, "api_key")


async def test_a_caller_who_leaves_ends_the_fetching(mesh: Mesh) -> None:
    mesh.break_vendor(latency_ms=50)
    call = mesh.stub().ExecuteStream(stream("list_tickets", {"limit": 1}))
    async for page in call:
        if page.page == 3:
            break
    call.cancel()
    await until(lambda: was_cancelled(mesh))
    fetched = len(mesh.requests)
    await asyncio.sleep(0.2)
    assert len(mesh.requests) == fetched
    assert fetched < 20


async def test_a_page_that_fails_ends_the_stream_with_its_error(mesh: Mesh) -> None:
    seen = []
    mesh.break_vendor(latency_ms=50)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        async for page in mesh.stub().ExecuteStream(stream("list_tickets", {"limit": 1})):
            seen.append(page.page)
            mesh.break_vendor(status=404)
    assert failed.value.code() is Code.NOT_FOUND
    assert seen == list(range(1, len(seen) + 1))
    assert 1 <= len(seen) <= 3
    assert (await last_call(mesh)).outcome == pb.Call.OUTCOME_VENDOR_ERROR


# Records.


async def test_a_call_can_be_looked_up_and_says_who_and_how(mesh: Mesh) -> None:
    answer = await mesh.stub(sub="workspaces/acme/bots/ci").Execute(execute())
    kept = await mesh.stub("reader").GetCall(pb.GetCallRequest(name=answer.call.name))
    assert kept.connection == CONNECTION
    assert kept.integration == f"integrations/{SLUG}"
    assert (kept.action, kept.definition_version) == ("get_me", "1.0.0")
    assert (kept.outcome, kept.error_reason, kept.vendor_status) == (pb.Call.OUTCOME_OK, "", 200)
    assert (kept.attempts, kept.credential_generation) == (1, 1)
    assert kept.caller == "workspaces/acme/bots/ci"
    assert kept.trace_id == answer.call.trace_id
    assert kept.duration.ToNanoseconds() == pytest.approx(answer.call.duration.ToNanoseconds(), abs=1000)
    assert abs(kept.create_time.seconds - time.time()) < 60


async def test_calls_are_listed_newest_first_page_by_page(mesh: Mesh) -> None:
    stub = mesh.stub()
    names = [(await stub.Execute(execute())).call.name for _ in range(5)]
    listed: list[str] = []
    token = ""
    while True:
        page = await stub.ListCalls(pb.ListCallsRequest(parent="workspaces/acme", page_size=2, page_token=token))
        listed += [call.name for call in page.calls]
        token = page.next_page_token
        if not token:
            break
    assert listed == sorted(names, reverse=True)


async def test_a_call_that_does_not_exist_is_not_found(mesh: Mesh) -> None:
    name = "workspaces/acme/calls/none"
    assert (await refusal(mesh.stub().GetCall(pb.GetCallRequest(name=name)))).metadata == {"name": name}


async def test_a_callers_departure_is_recorded(mesh: Mesh) -> None:
    mesh.break_vendor(latency_ms=3000)
    call = mesh.stub().Execute(execute())
    await until(lambda: mesh.requests)
    call.cancel()
    await until(lambda: was_cancelled(mesh))


async def test_a_caller_and_a_workspace_call_only_so_often(
    serving: Serving, identities: Identities, database: Databases
) -> None:
    async with a_mesh(serving, identities, database("proxy").url, caller_rate=3, workspace_rate=5) as mesh:
        stubs = [mesh.stub(sub=f"user-{number}") for number in range(2)]

        async def refused(stub: Any) -> set[str]:
            ended = await asyncio.gather(*(stub.Execute(execute()) for _ in range(10)), return_exceptions=True)
            found = [read(one) for one in ended if isinstance(one, grpc.aio.AioRpcError)]
            assert all(one.code is Code.RESOURCE_EXHAUSTED for one in found)
            assert all((one.retry_after or 0) > 0 for one in found)
            return {one.metadata["limit"] for one in found}

        assert "caller_rate" in await refused(stubs[0])
        assert "workspace_rate" in await refused(stubs[1]) | await refused(stubs[0])
