"""What goes over the wire to a vendor, byte by byte, and what a vendor can send back to do harm."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ssl
import time
from collections.abc import AsyncIterator

import grpc
import pytest

from cordboard.catalog.v1 import definition_pb2 as catalog_pb
from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import proxy_service_pb2 as pb
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.raw_vendor import OK, Arrival, Reply, a_vendor, cut, point, then_close
from tests.unit.proxy.running import CONNECTION, Mesh, a_mesh, execute, refusal, until
from tests.unit.proxy.samples import COOKIE, HEADER, QUERY, SLUG, a_body, a_parameter, an_action

Code = grpc.StatusCode


@pytest.fixture
async def mesh(serving: Serving, identities: Identities, database: Databases) -> AsyncIterator[Mesh]:
    limits = {"max_response_bytes": 1_000_000, "breaker_min_calls": 10_000}
    async with a_mesh(serving, identities, database("proxy").url, **limits) as one:
        yield one


# Out.


async def test_a_request_carries_what_was_planned_the_credential_and_nothing_else(mesh: Mesh) -> None:
    async with a_vendor() as vendor:
        action = an_action(
            "act", "POST", "/x", a_parameter("X-One", HEADER), a_parameter("c", COOKIE), a_parameter("q"),
            body=a_body(catalog_pb.BODY_ENCODING_JSON, "a"),
        )  # fmt: skip
        await point(mesh, f"{vendor.url}/v1", action)
        await mesh.stub().Execute(execute("act", {"X-One": "1", "c": "2", "q": "a b", "a": [1]}))
        [arrival] = vendor.arrivals
        assert arrival.line == "POST /v1/x?q=a%20b HTTP/1.1"
        assert arrival.body == b'{"a":[1]}'
        headers = {name.lower(): value for name, value in arrival.headers}
        assert len(headers) == len(arrival.headers)
        assert headers.pop("traceparent")
        assert headers == {
            "host": f"127.0.0.1:{vendor.port}",
            "accept": "application/json, */*;q=0.5",
            "accept-encoding": headers["accept-encoding"],
            "user-agent": "cordboard/0.1",
            "content-type": "application/json",
            "content-length": "9",
            "cookie": "c=2",
            "x-one": "1",
            "x-api-key": mesh.vendor.settings.api_key,
        }


async def test_no_value_adds_a_header_or_a_request(mesh: Mesh) -> None:
    evil = ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\r\n\r\nGET /evil HTTP/1.1\r\n\r\n", "a\0b", "a\x0b", "ü", "a\u2028b"]
    async with a_vendor() as vendor:
        places = (("h", HEADER), ("c", COOKIE), ("q", QUERY), ("r", QUERY))
        parameters = [a_parameter(name, place) for name, place in places]
        parameters[3].allow_reserved = True
        await point(mesh, vendor.url, an_action("act", "GET", "/x", *parameters))
        stub = mesh.stub()
        for value in evil:
            for name, _ in places:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await stub.Execute(execute("act", {name: value}))
        assert vendor.arrivals
        for arrival in vendor.arrivals:
            assert arrival.line.startswith("GET /x")
            assert not arrival.values("x-evil")


async def test_a_write_cut_after_it_was_sent_arrives_exactly_once_every_time(mesh: Mesh) -> None:
    async with a_vendor(cut) as vendor:
        await point(mesh, vendor.url)
        stub = mesh.stub()
        for _ in range(50):
            refused = await refusal(stub.Execute(execute("post", {"a": 1})))
            assert (refused.reason, refused.metadata["problem"]) == ("VENDOR_UNREACHABLE", "reset")
        assert len(vendor.arrivals) == 50


async def test_a_read_that_is_cut_is_sent_again(mesh: Mesh) -> None:
    """The negative control of the test above: this harness sees what is repeated."""
    async with a_vendor(cut) as vendor:
        await point(mesh, vendor.url)
        await refusal(mesh.stub().Execute(execute("get")))
        assert len(vendor.arrivals) >= 3


async def test_a_vendor_that_does_not_listen_is_told_apart_and_even_a_write_is_tried_again(mesh: Mesh) -> None:
    async with a_vendor() as vendor:
        url = vendor.url
    await point(mesh, url)
    refused = await refusal(mesh.stub().Execute(execute("post", {"a": 1})))
    assert (refused.code, refused.reason) == (Code.UNAVAILABLE, "VENDOR_UNREACHABLE")
    assert refused.metadata == {"integration": SLUG, "action": "post", "problem": "refused"}
    listed = await mesh.stub().ListCalls(pb.ListCallsRequest(parent="workspaces/acme", page_size=1))
    assert listed.calls[0].attempts == 3


@pytest.mark.usefixtures("usual_authorities")
async def test_a_vendor_whose_certificate_nobody_vouches_for_gets_nothing(mesh: Mesh) -> None:
    directory = mesh.served.identities.directory("catalog")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    async with a_vendor(tls=tls) as vendor:
        await point(mesh, vendor.url.replace("http:", "https:"))
        refused = await refusal(mesh.stub().Execute(execute("get")))
        assert (refused.code, refused.metadata["problem"]) == (Code.UNAVAILABLE, "tls")
        assert vendor.arrivals == []


async def test_a_caller_who_leaves_ends_the_request_to_the_vendor(mesh: Mesh) -> None:
    ended = asyncio.Event()

    async def hang(_: Arrival, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.transport.is_closing():
                await asyncio.sleep(0.01)
                writer.write(b"HTTP/1.1 102 Processing\r\n\r\n")
        finally:
            ended.set()

    async with a_vendor(hang) as vendor:
        await point(mesh, vendor.url)
        call = asyncio.ensure_future(mesh.stub().Execute(execute("get"), timeout=60))
        await until(lambda: vendor.arrivals)
        call.cancel()
        async with asyncio.timeout(50):
            await ended.wait()
        assert len(vendor.arrivals) == 1


# Redirects.


def redirect(status: int, *locations: str) -> Reply:
    """Answers with each location in turn, then with the last one for ever; an empty one stands for an answer."""
    left = list(locations)

    async def reply(_: Arrival, writer: asyncio.StreamWriter) -> None:
        location = left.pop(0) if len(left) > 1 else left[0]
        answer = f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
        writer.write(answer if location else OK)
        await writer.drain()

    return reply


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_on_the_list_is_followed_with_the_credential(mesh: Mesh, status: int) -> None:
    async with a_vendor(redirect(status, "/y?z=1#part", "")) as vendor:
        await point(mesh, vendor.url)
        answer = await mesh.stub().Execute(execute("get"))
        assert [arrival.line for arrival in vendor.arrivals] == ["GET /x HTTP/1.1", "GET /y?z=1 HTTP/1.1"]
        assert all(arrival.values("x-api-key") for arrival in vendor.arrivals)
        assert answer.call.attempts == 2


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:{other}/", "//127.0.0.1:{other}/", "http://localhost:{other}/", "https://127.0.0.1:{other}/",
     "http://127.0.0.1:{own}@127.0.0.1:{other}/", "file:///etc/passwd", "http://[::1]:{other}/", "javascript:1",
     "http:\\\\127.0.0.1:{other}/", "http://[", "http://127.0.0.1:{other}/\xe4"],
)  # fmt: skip
async def test_a_redirect_off_the_list_is_not_followed(mesh: Mesh, location: str) -> None:
    async with a_vendor() as other, a_vendor() as vendor:
        vendor.reply = redirect(302, location.format(other=other.port, own=vendor.port))
        await point(mesh, vendor.url)
        refused = await refusal(mesh.stub().Execute(execute("get")))
        assert refused.code in {Code.PERMISSION_DENIED, Code.NOT_FOUND, Code.FAILED_PRECONDITION}
        assert other.arrivals == []


async def test_a_circle_of_redirects_ends(mesh: Mesh) -> None:
    async with a_vendor(redirect(302, "/x")) as vendor:
        await point(mesh, vendor.url)
        refused = await refusal(mesh.stub().Execute(execute("get")))
        assert (refused.reason, refused.metadata["vendor_status"]) == ("VENDOR_ERROR", "302")
        assert len(vendor.arrivals) == 6


async def test_a_write_follows_no_redirect(mesh: Mesh) -> None:
    async with a_vendor(redirect(307, "/y", "")) as vendor:
        await point(mesh, vendor.url)
        refused = await refusal(mesh.stub().Execute(execute("post", {"a": 1})))
        assert (refused.reason, refused.metadata["vendor_status"]) == ("VENDOR_ERROR", "307")
        assert len(vendor.arrivals) == 1


async def test_a_cookie_of_one_call_is_not_sent_with_the_next(mesh: Mesh) -> None:
    answer = OK.replace(b"Content-Length", b"Set-Cookie: session=tenant-a; Path=/\r\nContent-Length")
    async with a_vendor(answer) as vendor:
        await point(mesh, vendor.url)
        for _ in range(2):
            await mesh.stub().Execute(execute("get"))
        assert [arrival.values("cookie") for arrival in vendor.arrivals] == [[], []]


# Back.


def answering(body: bytes, **headers: str) -> bytes:
    lines = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + body


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"\0\0\0\0", b"rubbish\r\n\r\n", b"{}\r\n", b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200_000 + b"\r\n",
    ],
)  # fmt: skip
async def test_an_answer_that_is_no_http_is_an_unreachable_vendor(mesh: Mesh, answer: bytes) -> None:
    async with a_vendor(then_close(answer)) as vendor:
        await point(mesh, vendor.url)
        refused = await refusal(mesh.stub().Execute(execute("post", {"a": 1})))
        assert (refused.code, refused.reason) == (Code.UNAVAILABLE, "VENDOR_UNREACHABLE")
        assert len(vendor.arrivals) == 1


@pytest.mark.parametrize("compressed", [False, True])
async def test_an_answer_that_is_too_large_is_cut_off_and_a_read_of_it_not_repeated(
    mesh: Mesh, compressed: bool
) -> None:
    body = b'"' + b"a" * 1_000_000 + b'"'
    answer = answering(gzip.compress(body), Content_Encoding="gzip") if compressed else answering(body)
    async with a_vendor(answer) as vendor:
        await point(mesh, vendor.url)
        refused = await refusal(mesh.stub().Execute(execute("get")))
        assert (refused.code, refused.reason) == (Code.FAILED_PRECONDITION, "VENDOR_ERROR")
        assert "more bytes" in refused.text
        assert len(vendor.arrivals) == 1


async def test_an_answer_without_end_is_bounded(mesh: Mesh) -> None:
    sent = 0

    async def endless(_: Arrival, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while sent < 200_000_000:
                writer.write(b"a" * 65_536)
                await writer.drain()
                sent += 65_536

    async with a_vendor(endless) as vendor:
        await point(mesh, vendor.url)
        assert "more bytes" in (await refusal(mesh.stub().Execute(execute("get")))).text
        assert sent < 50_000_000


async def test_an_answer_that_drips_ends_with_the_deadline(mesh: Mesh) -> None:
    async def drip(_: Arrival, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not writer.transport.is_closing():
                writer.write(b"a")
                await asyncio.sleep(0.05)

    async with a_vendor(drip) as vendor:
        await point(mesh, vendor.url)
        began = time.monotonic()
        assert (await refusal(mesh.stub().Execute(execute("get"), timeout=1))).code is Code.DEADLINE_EXCEEDED
        assert time.monotonic() - began < 20


async def test_json_is_passed_on_to_the_byte(mesh: Mesh) -> None:
    body = b'{ "price": 1.10, "id": 9007199254740993, "big": 123456789012345678901234567890, "u": "\\u00fc" }\n'
    async with a_vendor(answering(body)) as vendor:
        await point(mesh, vendor.url)
        answer = await mesh.stub().Execute(execute("get", output_format=pb.OUTPUT_FORMAT_JSON))
        assert answer.output_json.encode() == body


@pytest.mark.parametrize("body", [b"<html>", b"NaN", b"\xff\xfe", b'{"a":', b'{"a":"\xff"}'])
async def test_a_body_that_is_not_the_json_it_claims_to_be_comes_as_bytes(mesh: Mesh, body: bytes) -> None:
    async with a_vendor(answering(body)) as vendor:
        await point(mesh, vendor.url)
        for output_format in (pb.OUTPUT_FORMAT_VALUE, pb.OUTPUT_FORMAT_JSON):
            answer = await mesh.stub().Execute(execute("get", output_format=output_format))
            assert (answer.WhichOneof("payload"), answer.output_bytes) == ("output_bytes", body)


async def test_json_deeper_than_a_value_may_be_comes_as_text(mesh: Mesh) -> None:
    body = b"[" * 100 + b"]" * 100
    async with a_vendor(answering(body)) as vendor:
        await point(mesh, vendor.url)
        assert (await mesh.stub().Execute(execute("get"))).output_json.encode() == body


async def test_a_connection_is_used_again(mesh: Mesh) -> None:
    async with a_vendor() as vendor:
        await point(mesh, vendor.url)
        for _ in range(5):
            await mesh.stub().Execute(execute("get"))
        assert (len(vendor.arrivals), vendor.left) == (5, 0)
        assert CONNECTION in mesh.around.asked
