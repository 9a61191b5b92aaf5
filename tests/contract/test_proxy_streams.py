"""Answers that come piece by piece: given as they come, ended when either side wants it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import orjson
import pytest

from cordboard.catalog.v1 import definition_pb2 as catalog_pb
from cordboard.core.times import to_duration
from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import proxy_service_pb2 as pb
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.raw_vendor import Arrival, Reply, a_vendor, in_turn, point, said
from tests.unit.proxy.running import Mesh, a_mesh, execute, last_call, read, stream, until
from tests.unit.proxy.samples import SLUG, an_action

Code = grpc.StatusCode
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
EVENTS = catalog_pb.STREAM_KIND_SERVER_SENT_EVENTS


@pytest.fixture
async def mesh(serving: Serving, identities: Identities, database: Databases) -> AsyncIterator[Mesh]:
    async with a_mesh(serving, identities, database("proxy").url, breaker_min_calls=10_000) as one:
        yield one


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(value: Any) -> bytes:
    return chunk(b"data: " + orjson.dumps(value) + b"\n\n")


def streaming(kind: catalog_pb.StreamKind.ValueType = EVENTS, **fields: Any) -> catalog_pb.Action:
    return an_action("watch", path="/x", streaming=kind, **fields)


def asked(mesh: Mesh, **fields: Any) -> Any:
    return mesh.stub().ExecuteStream(stream("watch", output_format=pb.OUTPUT_FORMAT_JSON, **fields))


def items(pages: list[pb.ExecuteStreamResponse]) -> list[Any]:
    return [item for page in pages for item in orjson.loads(page.items_json)]


async def test_events_are_given_as_they_come(mesh: Mesh) -> None:
    go_on = asyncio.Event()

    async def reply(_: Arrival, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + event({"n": 1}))
        await go_on.wait()
        writer.write(event({"n": 2}) + chunk(b": ping\n\n") + END)

    async with a_vendor(reply) as vendor:
        await point(mesh, vendor.url, streaming())
        pages = []
        async for page in asked(mesh):
            # The second event is sent only when the first has come the whole way.
            go_on.set()
            pages.append(page)
        assert items(pages) == [{"event": "message", "data": {"n": number}} for number in (1, 2)]
        assert [page.page for page in pages] == list(range(1, len(pages) + 1))
        assert [page.HasField("call") for page in pages] == [False] * (len(pages) - 1) + [True]
        assert pages[-1].call.attempts == 1
        assert (await last_call(mesh)).outcome == pb.Call.OUTCOME_OK


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        (EVENTS, b"event: a\nid: 7\ndata: x\n\n", [{"event": "a", "data": "x", "id": "7"}]),
        (catalog_pb.STREAM_KIND_JSON_LINES, b'{"a":1}\n{"a":2}', [{"a": 1}, {"a": 2}]),
        (catalog_pb.STREAM_KIND_BYTES, b"\x00\xff", ["AP8="]),
    ],
)
async def test_each_kind_of_stream_has_its_items(
    mesh: Mesh, kind: catalog_pb.StreamKind.ValueType, body: bytes, expected: list[Any]
) -> None:
    async with a_vendor(said(200, body)) as vendor:
        await point(mesh, vendor.url, streaming(kind))
        assert items([page async for page in asked(mesh)]) == expected


async def test_items_of_a_stream_are_mapped(mesh: Mesh) -> None:
    response = catalog_pb.Response(
        output_pointer="/data", members=[catalog_pb.OutputMember(name="text", pointer="/delta/content")]
    )
    body = b'data: {"delta":{"content":"Hi"}}\n\ndata: [DONE]\n\n'
    async with a_vendor(said(200, body)) as vendor:
        await point(mesh, vendor.url, streaming(response=response))
        assert items([page async for page in asked(mesh)]) == [{"text": "Hi"}, {}]


async def test_a_stream_read_whole_is_a_list_of_its_items(mesh: Mesh) -> None:
    async with a_vendor(said(200, b"data: 1\n\ndata: 2\n\n", Content_Type="text/event-stream")) as vendor:
        await point(mesh, vendor.url, streaming())
        answer = await mesh.stub().Execute(execute("watch", output_format=pb.OUTPUT_FORMAT_JSON))
        assert orjson.loads(answer.output_json) == [{"event": "message", "data": number} for number in (1, 2)]


async def test_a_stream_that_is_refused_is_asked_for_again_before_it_begins(mesh: Mesh) -> None:
    async with a_vendor(in_turn(said(503), said(502), said(200, b"data: 1\n\n"))) as vendor:
        await point(mesh, vendor.url, streaming())
        pages = [page async for page in asked(mesh)]
        assert (len(items(pages)), pages[-1].call.attempts, len(vendor.arrivals)) == (1, 3, 3)


async def test_a_stream_that_is_refused_ends_with_the_vendors_error(mesh: Mesh) -> None:
    async with a_vendor(said(404)) as vendor:
        await point(mesh, vendor.url, streaming())
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            [page async for page in asked(mesh)]
        assert (failed.value.code(), read(failed.value).reason) == (Code.NOT_FOUND, "VENDOR_ERROR")


async def broken(mesh: Mesh, reply: Reply, **fields: Any) -> tuple[list[Any], grpc.aio.AioRpcError]:
    """Returns what came of a stream, and the error with which it ended."""
    pages = []
    async with a_vendor(reply) as vendor:
        await point(mesh, vendor.url, streaming(**fields))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            async for page in asked(mesh):
                pages.append(page)  # noqa: PERF401  what came before the error counts
        assert len(vendor.arrivals) == 1
    return items(pages), failed.value


async def test_a_stream_that_is_cut_gives_what_came_and_is_not_begun_again(mesh: Mesh) -> None:
    async def reply(_: Arrival, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + event(1))
        await writer.drain()
        writer.close()

    came, error = await broken(mesh, reply)
    assert [item["data"] for item in came] == [1]
    assert (error.code(), read(error).metadata["problem"]) == (Code.UNAVAILABLE, "reset")
    assert (await last_call(mesh)).outcome == pb.Call.OUTCOME_VENDOR_UNREACHABLE


async def test_a_stream_may_take_longer_than_an_attempt_and_may_not_be_silent_for_longer(mesh: Mesh) -> None:
    async def reply(_: Arrival, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        for number in range(4):
            writer.write(event(number))
            await writer.drain()
            await asyncio.sleep(0.8)
        await asyncio.sleep(60)

    came, error = await broken(mesh, reply, timeout=to_duration(2.5))
    assert [item["data"] for item in came] == [0, 1, 2, 3]
    assert (error.code(), read(error).metadata["problem"]) == (Code.UNAVAILABLE, "timeout")


async def test_a_line_that_cannot_be_read_ends_the_stream(mesh: Mesh) -> None:
    reply = in_turn(said(200, b'{"a":1}\nrubbish\n'))
    _, error = await broken(mesh, reply, kind=catalog_pb.STREAM_KIND_JSON_LINES)
    assert read(error).text == f"the answer of {SLUG} to watch has a line that is not JSON"


async def endless(_: Arrival, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    while not writer.is_closing():
        writer.write(event("again"))
        await writer.drain()
        await asyncio.sleep(0.02)
    raise ConnectionError


async def test_a_caller_who_leaves_closes_the_connection_to_the_vendor(mesh: Mesh) -> None:
    async with a_vendor(endless) as vendor:
        await point(mesh, vendor.url, streaming())
        call = asked(mesh)
        async for page in call:
            if page.page == 2:
                break
        call.cancel()
        await until(lambda: vendor.left == 1)
        await until(lambda: outcome(mesh, pb.Call.OUTCOME_CANCELLED))


async def outcome(mesh: Mesh, expected: int) -> bool:
    return (await last_call(mesh)).outcome == expected


async def test_no_more_is_read_than_asked_for(mesh: Mesh) -> None:
    async with a_vendor(endless) as vendor:
        await point(mesh, vendor.url, streaming())
        pages = [page async for page in asked(mesh, max_pages=3)]
        assert ([page.page for page in pages], pages[-1].HasField("call")) == ([1, 2, 3], True)
        await until(lambda: vendor.left == 1)
