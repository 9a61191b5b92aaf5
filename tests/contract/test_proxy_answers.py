"""What a definition says about answers, on the wire: what they mean, what is tried again, what callers get."""

from __future__ import annotations

import gzip
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from cordboard.catalog.v1 import definition_pb2 as catalog_pb
from cordboard.core.times import to_duration
from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import proxy_service_pb2 as pb
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.raw_vendor import a_vendor, in_turn, point, said
from tests.unit.proxy.running import CONNECTION, Mesh, a_mesh, execute, last_call, refusal, stream
from tests.unit.proxy.samples import SLUG, a_body, a_parameter, an_action

Code = grpc.StatusCode


@pytest.fixture
async def mesh(serving: Serving, identities: Identities, database: Databases) -> AsyncIterator[Mesh]:
    async with a_mesh(serving, identities, database("proxy").url, breaker_min_calls=10_000) as one:
        yield one


def rule(action: str, **fields: Any) -> catalog_pb.ErrorRule:
    return json_format.ParseDict({"action": f"ERROR_ACTION_{action.upper()}", **fields}, catalog_pb.ErrorRule())


def reading(**fields: Any) -> catalog_pb.Action:
    return an_action("get", path="/x", **fields)


def writing(**fields: Any) -> catalog_pb.Action:
    return an_action("post", "POST", "/x", body=a_body(catalog_pb.BODY_ENCODING_JSON, "a"), **fields)


QUICK = catalog_pb.RetryPolicy(base_delay=to_duration(0.001))


# What an answer means.


async def test_a_200_that_says_no_is_an_error_and_nothing_of_its_body_is_shown(mesh: Mesh) -> None:
    refusing = rule("fail", pointer="/ok", equals=["false"], failure="FAILURE_TYPE_CONFIG", message="No such channel")
    async with a_vendor(said(body={"ok": False, "error": "canary"})) as vendor:
        await point(mesh, vendor.url, reading(), error_rules=[refusing])
        refused = await refusal(mesh.stub().Execute(execute("get")))
    assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "VENDOR_ERROR")
    assert refused.text == f"{SLUG} answered get: No such channel"
    assert refused.metadata == {
        "integration": SLUG, "action": "get", "vendor_status": "200", "failure": "config",
    }  # fmt: skip
    assert len(vendor.arrivals) == 1
    assert (await last_call(mesh)).outcome == pb.Call.OUTCOME_VENDOR_ERROR


async def test_an_actions_own_rule_comes_before_the_definitions(mesh: Mesh) -> None:
    async with a_vendor(said(404)) as vendor:
        action = reading(error_rules=[rule("ignore", statuses=[404])])
        await point(mesh, vendor.url, action, error_rules=[rule("fail", statuses=[404])])
        answer = await mesh.stub().Execute(execute("get"))
        assert (answer.vendor_status, answer.output.WhichOneof("kind")) == (404, "null_value")


async def test_the_statuses_of_success_are_the_definitions(mesh: Mesh) -> None:
    async with a_vendor(in_turn(said(404, {"found": False}), said(200))) as vendor:
        response = catalog_pb.Response(success_statuses=[404])
        await point(mesh, vendor.url, reading(response=response))
        answer = await mesh.stub().Execute(execute("get"))
        assert (answer.vendor_status, answer.output.struct_value["found"]) == (404, False)
        refused = await refusal(mesh.stub().Execute(execute("get")))
        assert (refused.code, refused.metadata["vendor_status"]) == (Code.FAILED_PRECONDITION, "200")


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        ("FAILURE_TYPE_SYSTEM", Code.UNAVAILABLE),
        ("FAILURE_TYPE_TRANSIENT", Code.UNAVAILABLE),
        ("FAILURE_TYPE_CONFIG", Code.FAILED_PRECONDITION),
    ],
)
async def test_whose_failure_it_is_decides_the_code(mesh: Mesh, failure: str, code: grpc.StatusCode) -> None:
    async with a_vendor(said(body={"error": 1})) as vendor:
        await point(mesh, vendor.url, reading(), error_rules=[rule("fail", pointer="/error", failure=failure)])
        assert (await refusal(mesh.stub().Execute(execute("get")))).code is code


async def test_a_rule_renews_the_credential_once_and_then_asks_for_a_person(mesh: Mesh) -> None:
    expired = said(body={"ok": False, "error": "token_expired"})
    renewing = rule("refresh_token_then_retry", pointer="/error", equals=["token_expired"])
    await mesh.around.connect(CONNECTION, integration=SLUG, api_key="old", generation=4)
    await mesh.around.connect("renewed", integration=SLUG, api_key="new", generation=5)
    mesh.around.renewed[CONNECTION] = mesh.around.leases.pop("renewed")
    async with a_vendor(in_turn(expired, said(body={"ok": True}), expired)) as vendor:
        await point(mesh, vendor.url, writing(), error_rules=[renewing])
        answer = await mesh.stub().Execute(execute("post", {"a": 1}))
        assert answer.call.attempts == 2
        assert [arrival.values("x-api-key") for arrival in vendor.arrivals] == [["old"], ["new"]]
        refused = await refusal(mesh.stub().Execute(execute("post", {"a": 1})))
        assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "RECONNECT_REQUIRED")


# What is tried again.


async def test_a_rule_has_an_answer_asked_for_again_even_that_of_a_write(mesh: Mesh) -> None:
    busy = said(body={"error": "locked"})
    again = rule("retry", pointer="/error", equals=["locked"])
    async with a_vendor(in_turn(busy, busy, said(body={"done": True}))) as vendor:
        await point(mesh, vendor.url, writing(), error_rules=[again], retry=QUICK)
        answer = await mesh.stub().Execute(execute("post", {"a": 1}))
        assert (answer.output.struct_value["done"], answer.call.attempts) == (True, 3)


async def test_a_write_that_a_server_error_may_have_done_is_not_sent_again_whatever_a_rule_says(mesh: Mesh) -> None:
    async with a_vendor(said(503)) as vendor:
        await point(mesh, vendor.url, writing(), error_rules=[rule("retry", statuses=[503])], retry=QUICK)
        refused = await refusal(mesh.stub().Execute(execute("post", {"a": 1})))
        assert (refused.code, refused.metadata["failure"]) == (Code.UNAVAILABLE, "transient")
        assert len(vendor.arrivals) == 1


async def test_a_rule_can_end_what_a_status_alone_would_have_tried_again(mesh: Mesh) -> None:
    async with a_vendor(said(503, {"down": "for good"})) as vendor:
        await point(mesh, vendor.url, reading(), error_rules=[rule("fail", pointer="/down")], retry=QUICK)
        await refusal(mesh.stub().Execute(execute("get")))
        assert len(vendor.arrivals) == 1


async def test_a_limit_that_a_200_tells_is_waited_for_as_its_own_header_says(mesh: Mesh) -> None:
    limited, longer = (said(body={"error": "limit"}, X_Wait=wait) for wait in ("400", "60000"))
    retry = catalog_pb.RetryPolicy(
        wait_headers=[catalog_pb.WaitHeader(name="X-Wait", format=catalog_pb.HEADER_FORMAT_MILLISECONDS)]
    )
    rules = [rule("rate_limited", pointer="/error", equals=["limit"])]
    async with a_vendor(in_turn(limited, said(), longer)) as vendor:
        await point(mesh, vendor.url, writing(), error_rules=rules, retry=retry)
        began = time.monotonic()
        assert (await mesh.stub().Execute(execute("post", {"a": 1}))).call.attempts == 2
        assert time.monotonic() - began >= 0.4
        refused = await refusal(mesh.stub().Execute(execute("post", {"a": 1}), timeout=40))
        assert (refused.code, refused.reason, refused.retry_after) == (Code.RESOURCE_EXHAUSTED, "LIMIT_EXCEEDED", 60)


@pytest.mark.parametrize(("attempts", "sent"), [(1, 1), (5, 5)])
async def test_a_definition_says_how_often_it_is_tried(mesh: Mesh, attempts: int, sent: int) -> None:
    async with a_vendor(said(503)) as vendor:
        retry = catalog_pb.RetryPolicy(max_attempts=attempts, base_delay=to_duration(0.001))
        await point(mesh, vendor.url, reading(), retry=retry)
        await refusal(mesh.stub().Execute(execute("get")))
        assert len(vendor.arrivals) == sent


# What an output is.


async def test_an_output_is_what_the_definition_makes_of_the_answer(mesh: Mesh) -> None:
    response = catalog_pb.Response(
        output_pointer="/data",
        members=[
            catalog_pb.OutputMember(name="id", pointer="/key"),
            catalog_pb.OutputMember(name="version", header="ETag"),
            catalog_pb.OutputMember(name="kind", value_json='"thing"'),
        ],
    )
    async with a_vendor(said(200, {"data": {"key": 2**60, "rest": 1}}, ETag="v1")) as vendor:
        await point(mesh, vendor.url, reading(response=response))
        answer = await mesh.stub().Execute(execute("get", output_format=pb.OUTPUT_FORMAT_JSON))
        assert answer.output_json == '{"id":1152921504606846976,"version":"v1","kind":"thing"}'
        assert answer.content_type == "application/json"


@pytest.mark.parametrize(
    ("decoder", "content_type", "body", "expected"),
    [
        (catalog_pb.DECODER_JSON, "text/plain", b'{"a": 1}', '{"a": 1}'),
        (catalog_pb.DECODER_JSON_LINES, "application/x-ndjson", b'{"a":1}\n{"a":2}\n', '[{"a":1},{"a":2}]'),
        (catalog_pb.DECODER_CSV, "text/csv", b"a,b\n1,2\n", '[{"a":"1","b":"2"}]'),
        (catalog_pb.DECODER_CSV, "application/gzip", gzip.compress(b"a\n1\n", mtime=0), '[{"a":"1"}]'),
        (catalog_pb.DECODER_XML, "text/xml", b"<a x='1'><b>2</b></a>", '{"a":{"@x":"1","b":"2"}}'),
        (catalog_pb.DECODER_TEXT, "text/plain", b"hello", '"hello"'),
        (catalog_pb.DECODER_BINARY, "image/png", b"\x00\xff", '"AP8="'),
    ],
)
async def test_bytes_become_an_output_as_the_definition_says(
    mesh: Mesh, decoder: catalog_pb.Decoder.ValueType, content_type: str, body: bytes, expected: str
) -> None:
    async with a_vendor(said(200, body, Content_Type=content_type)) as vendor:
        await point(mesh, vendor.url, reading(response=catalog_pb.Response(decoder=decoder)))
        answer = await mesh.stub().Execute(execute("get", output_format=pb.OUTPUT_FORMAT_JSON))
        assert answer.output_json == expected


async def test_a_large_answer_is_read_while_other_calls_go_on(mesh: Mesh) -> None:
    body = b"name,value\n" + b"a,1\n" * 100_000
    async with a_vendor(said(200, body, Content_Type="text/csv")) as vendor:
        response = catalog_pb.Response(decoder=catalog_pb.DECODER_CSV, output_pointer="/99999")
        await point(mesh, vendor.url, reading(response=response))
        answer = await mesh.stub().Execute(execute("get"))
        assert answer.output.struct_value["value"] == "1"


async def test_an_answer_that_cannot_be_read_is_the_vendors_error_and_its_write_is_in_doubt(mesh: Mesh) -> None:
    response = catalog_pb.Response(decoder=catalog_pb.DECODER_XML)
    async with a_vendor(said(200, b"<!DOCTYPE a><a/>", Content_Type="text/xml")) as vendor:
        await point(mesh, vendor.url, writing(response=response))
        request = execute("post", {"a": 1}, idempotency_key="once")
        refused = await refusal(mesh.stub().Execute(request))
        assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "VENDOR_ERROR")
        assert refused.text == f"the answer of {SLUG} to post has a document type, which is not read"
        assert (await refusal(mesh.stub().Execute(request))).reason == "INDETERMINATE"
        assert len(vendor.arrivals) == 1


async def test_an_output_is_given_again_under_its_idempotency_key(mesh: Mesh) -> None:
    response = catalog_pb.Response(members=[catalog_pb.OutputMember(name="at", header="Location")])
    async with a_vendor(said(201, {}, Location="/7")) as vendor:
        await point(mesh, vendor.url, writing(response=response))
        request = execute("post", {"a": 1}, idempotency_key="once", output_format=pb.OUTPUT_FORMAT_JSON)
        first, second = [await mesh.stub().Execute(request) for _ in range(2)]
        assert (first.output_json, first.call.replayed) == ('{"at":"/7"}', False)
        assert (second.output_json, second.call.replayed) == ('{"at":"/7"}', True)
        assert (first.content_type, first.vendor_status) == (second.content_type, second.vendor_status)
        assert len(vendor.arrivals) == 1


# Pages.


def listing(paging: catalog_pb.Paging, **fields: Any) -> catalog_pb.Action:
    return an_action("list", "GET", "/x", a_parameter("after"), paging=paging, **fields)


async def pages(mesh: Mesh, **fields: Any) -> list[str]:
    asked = stream("list", output_format=pb.OUTPUT_FORMAT_JSON, **fields)
    return [page.items_json async for page in mesh.stub().ExecuteStream(asked)]


LAST = catalog_pb.Paging(
    items_pointer="/data",
    last_item=catalog_pb.LastItemPaging(cursor_property="after", item_pointer="/id"),
    more_pointer="/more",
)


async def test_pages_by_the_last_item_end_where_the_vendor_says(mesh: Mesh) -> None:
    answers = said(body={"data": [{"id": 1}, {"id": 2}], "more": True}), said(body={"data": [{"id": 3}], "more": False})
    async with a_vendor(in_turn(*answers)) as vendor:
        await point(mesh, vendor.url, listing(LAST))
        assert await pages(mesh) == ['[{"id":1},{"id":2}]', '[{"id":3}]']
        assert [arrival.line.split(" ")[1] for arrival in vendor.arrivals] == ["/x", "/x?after=2"]


async def test_pages_by_a_cursor_in_a_header(mesh: Mesh) -> None:
    answers = said(200, [1], X_Next="c1"), said(200, [2])
    paging = catalog_pb.Paging(cursor=catalog_pb.CursorPaging(cursor_property="after", next_header="X-Next"))
    async with a_vendor(in_turn(*answers)) as vendor:
        await point(mesh, vendor.url, listing(paging))
        assert await pages(mesh) == ["[1]", "[2]"]
        assert vendor.arrivals[1].line == "GET /x?after=c1 HTTP/1.1"


async def test_a_vendor_that_takes_no_notice_of_the_last_item_is_found_out(mesh: Mesh) -> None:
    async with a_vendor(said(body={"data": [{"id": 1}], "more": True})) as vendor:
        await point(mesh, vendor.url, listing(LAST))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await pages(mesh)
        assert (failed.value.code(), len(vendor.arrivals)) == (Code.FAILED_PRECONDITION, 2)


async def test_no_call_takes_more_pages_than_the_definition_allows(mesh: Mesh) -> None:
    paging = catalog_pb.Paging(items_pointer="/data", page=catalog_pb.PagePaging(page_property="after"), max_pages=2)
    answers = [said(body={"data": [index]}) for index in range(9)]
    async with a_vendor(in_turn(*answers)) as vendor:
        await point(mesh, vendor.url, listing(paging))
        assert await pages(mesh) == ["[0]", "[1]"]


async def test_pages_of_xml_are_mapped_and_one_item_is_a_list(mesh: Mesh) -> None:
    bodies = b"<r><next>2</next><i><n>1</n></i><i><n>2</n></i></r>", b"<r><i><n>3</n></i></r>"
    paging = catalog_pb.Paging(
        items_pointer="/r/i", cursor=catalog_pb.CursorPaging(cursor_property="after", next_pointer="/r/next")
    )
    response = catalog_pb.Response(
        decoder=catalog_pb.DECODER_XML,
        output_pointer="/r/i",
        members=[catalog_pb.OutputMember(name="id", pointer="/n")],
    )
    async with a_vendor(in_turn(*(said(200, body, Content_Type="text/xml") for body in bodies))) as vendor:
        await point(mesh, vendor.url, listing(paging, response=response))
        assert await pages(mesh) == ['[{"id":"1"},{"id":"2"}]', '[{"id":"3"}]']


async def test_pages_begin_again_where_the_vendor_wants_it_and_not_for_ever(mesh: Mesh) -> None:
    first, gone, last = (
        said(body={"data": [{"id": 1}], "more": True}),
        said(410),
        said(body={"data": [], "more": False}),
    )
    begin = [rule("reset_pagination", statuses=[410])]
    async with a_vendor(in_turn(first, gone, first, last, first, gone)) as vendor:
        await point(mesh, vendor.url, listing(LAST, error_rules=begin))
        assert await pages(mesh) == ['[{"id":1}]', '[{"id":1}]', "[]"]
        assert [arrival.line.split(" ")[1] for arrival in vendor.arrivals] == ["/x", "/x?after=1", "/x", "/x?after=1"]
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await pages(mesh)
        assert (failed.value.code(), len(vendor.arrivals)) == (Code.NOT_FOUND, 4 + 5)


# What a caller gets.


async def test_a_vendors_words_for_people_are_told_without_the_key_that_they_repeat(mesh: Mesh) -> None:
    key = "sk-live-9f8e7d6c"
    await mesh.around.connect(CONNECTION, integration=SLUG, api_key=key)
    told = {"error": {"message": f"Key {key} may not read box 77\n of a-canary"}, "detail": "hidden"}
    async with a_vendor(said(403, told)) as vendor:
        await point(mesh, vendor.url, reading(), error_message_pointers=["/error/message"])
        refused = await refusal(mesh.stub().Execute(execute("get")))
        assert refused.metadata["vendor_message"] == "Key sk-***-*** may not read box 77 of a-canary"
        assert refused.text == f"{SLUG} answered get with HTTP status 403"
        assert "hidden" not in str(refused)


async def test_the_quota_is_that_of_the_window_with_the_fewest_calls_left(mesh: Mesh) -> None:
    headers = {"M_Limit": "60", "M_Left": "59", "D_Limit": "1000", "D_Left": "3", "D_Reset": "1h"}
    day = catalog_pb.RateLimitHeaders(
        limit="D-Limit", remaining="D-Left", reset="D-Reset", reset_format=catalog_pb.HEADER_FORMAT_DURATION
    )
    async with a_vendor(said(200, **headers)) as vendor:
        minute = catalog_pb.RateLimitHeaders(limit="M-Limit", remaining="M-Left")
        await point(mesh, vendor.url, reading(), rate_limit_headers=minute, more_rate_limit_headers=[day])
        quota = (await mesh.stub().Execute(execute("get"))).quota
        assert (quota.limit, quota.remaining) == (1000, 3)
        assert abs(quota.reset_time.seconds - time.time() - 3600) < 30
