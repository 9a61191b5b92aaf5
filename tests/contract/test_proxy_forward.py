"""Requests forwarded through a running Proxy: every byte as it was, the credential added, nothing else told."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web

from cordboard.local.certificates import Identities
from cordboard.proxy.v1 import forward_service_pb2 as pb
from cordboard.proxy.v1 import proxy_service_pb2 as proxy_pb
from cordboard.proxy.v1.forward_service_pb2_grpc import ForwardServiceStub
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving
from tests.fixtures.sites import listening
from tests.unit.proxy.hubs import Door as HubDoor
from tests.unit.proxy.hubs import a_door, follow, lead, relayed
from tests.unit.proxy.neighbours import Neighbours, neighbours
from tests.unit.proxy.running import CONNECTION, ON, a_proxy, is_ready, read, until
from tests.unit.proxy.samples import SLUG, acme_desk

KEY = "the-vendors-own-key"
MEGABYTE = 1024 * 1024
ZIPPED = gzip.compress(b"as it is" * 100)


@dataclass
class Echo:
    """A vendor that notes every byte of what reaches it."""

    authority: str = ""
    seen: list[web.Request] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    received: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        path = request.path.removeprefix("/v1")
        if path == "/zipped":
            return web.Response(body=ZIPPED, headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"})
        if path == "/moved":
            return web.Response(status=302, headers={"Location": "https://elsewhere.example/x"})
        if path == "/broken":
            return web.Response(status=503, body=b"not now")
        if path.startswith("/cut/"):
            response = web.StreamResponse(headers={"Content-Length": path.removeprefix("/cut/")})
            await response.prepare(request)
            await response.write(b"half")
            assert request.transport is not None
            request.transport.close()
            return response
        if path.startswith("/sized/"):
            return web.Response(body=b"x" * int(path.removeprefix("/sized/")), headers={"Content-Type": "a/b"})
        if path.startswith("/bytes/"):
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(int(path.removeprefix("/bytes/"))):
                await response.write(b"x" * MEGABYTE)
            return response
        digest = hashlib.sha256()
        async for chunk in request.content.iter_any():
            digest.update(chunk)
            self.received += len(chunk)
        self.digests.append(digest.hexdigest())
        headers = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Odd", "caf\u00e9"), ("Keep-Alive", "timeout=5")]
        return web.Response(status=207, body=b"\x00\xff done", headers=headers)


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[Echo]:
    echo = Echo()
    application = web.Application(client_max_size=1 << 40)
    application.router.add_route("*", "/{path:.*}", echo.answer)
    async with listening(application) as url:
        echo.authority = url.removeprefix("http://")
        yield echo


@dataclass
class Place:
    served: Served
    around: Neighbours
    vendor: Echo

    def stub(self, *roles: str, **claims: Any) -> Any:
        return ForwardServiceStub(self.served.as_role(*(roles or ("member",)), **({"workspace": "acme"} | claims)))


@contextlib.asynccontextmanager
async def a_place(
    serving: Serving, identities: Identities, vendor: Echo, url: str, key: str = KEY, **settings: Any
) -> AsyncIterator[Place]:
    """Runs a Proxy that is connected to this vendor."""
    async with neighbours(identities) as around:
        await around.publish(acme_desk(f"http://{vendor.authority}"))
        await around.catch_up()
        await around.set_flags(**ON)
        await around.connect(CONNECTION, integration=SLUG, api_key=key)
        async with a_proxy(serving, around, url, **settings) as served:
            await until(lambda: is_ready(served))
            yield Place(served, around, vendor)


@contextlib.asynccontextmanager
async def an_edge(
    serving: Serving, identities: Identities, database: Databases, hub: Place, **settings: Any
) -> AsyncIterator[tuple[Place, HubDoor]]:
    """Runs a Proxy whose calls go to the hub; its own credential is another one."""
    async with (
        a_door(identities, relayed(hub.served.channel("envoy"))) as door,
        a_place(serving, identities, hub.vendor, database("proxy").url, "the-edges-own-key", **settings) as edge,
    ):
        follow(edge.around, identities, door, edge.served.mint.token("member", workspace="acme"))
        await lead(edge.served, f"workspaces/acme/backendRoutes/{SLUG}")
        yield edge, door


@pytest.fixture(params=["direct", "hub"])
async def place(
    serving: Serving, identities: Identities, database: Databases, request: pytest.FixtureRequest
) -> AsyncIterator[Place]:
    async with echoing() as vendor, a_place(serving, identities, vendor, database("proxy").url) as place:
        if request.param == "direct":
            yield place
            return
        async with an_edge(serving, identities, database, place) as (edge, _):
            yield edge


def head(path: str = "/echo", method: str = "GET", headers: Sequence[tuple[str, str]] = (), **fields: Any) -> Any:
    given = [pb.Header(name=name, value=value) for name, value in headers]
    told = {"connection": CONNECTION, "method": method, "path": path, "headers": given} | fields
    return pb.ForwardRequest(head=pb.ForwardHead(**told))


async def forwarded(stub: Any, first: Any, *chunks: bytes, timeout: float = 60) -> tuple[pb.ForwardAnswer, bytes]:
    async def requests() -> AsyncIterator[pb.ForwardRequest]:
        yield first
        for chunk in chunks:
            yield pb.ForwardRequest(chunk=chunk)

    answers = [answer async for answer in stub.Forward(requests(), timeout=timeout)]
    assert answers[0].WhichOneof("part") == "head"
    return answers[0].head, b"".join(answer.chunk for answer in answers[1:])


async def refused(stub: Any, first: Any, *chunks: bytes, timeout: float = 60) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await forwarded(stub, first, *chunks, timeout=timeout)
    return read(caught.value)


async def test_method_path_headers_and_both_bodies_go_through_as_they_are(place: Place) -> None:
    path = "/echo/a%2Fb//c/../d;v=1?q=1+2&q=%20&empty=&x[]=%C3%A9"
    given = [("X-Two", "1"), ("x-two", "2"), ("Content-Type", 'application/x-odd; a="b"'), ("X-Latin", "caf\u00e9")]
    body = bytes(range(256)) * 10
    answer, text = await forwarded(place.stub(), head(path, "PATCH", given), body[:7], b"", body[7:])
    [seen] = place.vendor.seen
    assert (seen.method, seen.raw_path) == ("PATCH", f"/v1{path}")
    assert seen.headers.getall("X-Two") == ["1", "2"]
    assert (seen.headers["Content-Type"], seen.headers["X-Latin"]) == ('application/x-odd; a="b"', "caf\u00e9")
    assert place.vendor.digests == [hashlib.sha256(body).hexdigest()]
    assert (answer.status, text) == (207, b"\x00\xff done")
    found = [(each.name, each.value) for each in answer.headers]
    assert ("X-Odd", "caf\u00e9") in found
    assert [pair for pair in found if pair[0] == "Set-Cookie"] == [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    assert not any(name.lower() == "keep-alive" for name, _ in found)


async def test_the_credential_is_added_and_what_belongs_to_the_mesh_stays_in_it(place: Place) -> None:
    given = [
        ("Authorization", "Bearer the-callers-token"), ("X-Api-Key", "cbk_callers"), ("X-Forwarded-For", "10.0.0.1"),
        ("Connection", "close, X-Secret-Hop"), ("X-Secret-Hop", "1"), ("TE", "trailers"), ("Upgrade", "h2c"),
        ("Baggage", "user=callers"), ("Tracestate", "theirs=callers"),
        ("Host", "elsewhere.example"), ("traceparent", "00-" + "1" * 32 + "-" + "2" * 16 + "-01"), ("X-Kept", "yes"),
    ]  # fmt: skip
    await forwarded(place.stub(), head(headers=given))
    [seen] = place.vendor.seen
    names = {name.decode().lower() for name, _ in seen.raw_headers}
    assert seen.headers["Host"] == place.vendor.authority
    assert KEY in seen.headers.values() or f"Bearer {KEY}" in seen.headers.values()
    assert "callers" not in repr(seen.raw_headers)
    assert names.isdisjoint({"x-forwarded-for", "x-secret-hop", "te", "upgrade", "user-agent", "accept-encoding"})
    assert "x-kept" in names
    assert "1" * 32 not in seen.headers.get("traceparent", "")


async def test_compressed_bytes_redirects_and_errors_are_the_callers_to_read(place: Place) -> None:
    answer, body = await forwarded(place.stub(), head("/zipped"))
    assert (body, {each.name: each.value for each in answer.headers}["Content-Encoding"]) == (ZIPPED, "gzip")
    answer, _ = await forwarded(place.stub(), head("/moved"))
    assert answer.status == 302
    assert ("Location", "https://elsewhere.example/x") in [(each.name, each.value) for each in answer.headers]
    answer, body = await forwarded(place.stub(), head("/broken"))
    assert (answer.status, body) == (503, b"not now")
    assert len(place.vendor.seen) == 3, "nothing was sent twice"


async def test_the_credential_goes_to_no_host_that_the_definition_does_not_name(place: Place) -> None:
    here = place.vendor.authority
    answer, _ = await forwarded(place.stub(), head("/v1/echo", host=here))
    assert answer.status == 207, "the control: its own host"
    for host in (
        "elsewhere.example",
        "127.0.0.1:1",
        "169.254.169.254",
        here.replace("127.0.0.1", "localhost"),
        f"{here[:-1]}",
    ):
        assert (await refused(place.stub(), head(host=host))).reason == "EGRESS_DENIED", host
    for host in ("a@b", "a/b", "a b", "http://x", "x#y"):
        assert "head.host" in (await refused(place.stub(), head(host=host))).fields, host
    for path in ("@elsewhere.example/", ".elsewhere.example/", "/\\elsewhere.example", "?x", ":1/"):
        assert "head.path" in (await refused(place.stub(), head(path))).fields, path
    await forwarded(place.stub(), head("//elsewhere.example/x"))
    assert {request.headers["Host"] for request in place.vendor.seen} == {here}


async def test_what_is_no_request_is_refused_and_named(place: Place) -> None:
    for first, name in (
        (head(method="TRACE"), "head.method"),
        (head(method="CONNECT"), "head.method"),
        (head(path="echo"), "head.path"),
        (head(path="/a b"), "head.path"),
        (head(path="/a\r\nX: 1"), "head.path"),
        (head(headers=[("X", "a\r\nY: b")]), "head.headers[0]"),
        (head(headers=[("X Y", "a")]), "head.headers[0]"),
        (head(headers=[("Content-Length", "1"), ("content-length", "2")]), "head.headers"),
        (head(connection="workspaces/acme"), "head.connection"),
        (pb.ForwardRequest(chunk=b"x"), "head"),
    ):
        found = await refused(place.stub(), first)
        assert (found.code, name in found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, True), first
    assert place.vendor.seen == []


async def test_another_workspace_or_environment_is_not_there_and_a_reader_may_not(place: Place) -> None:
    for claims in ({"workspace": "globex"}, {"environment": "staging"}):
        assert (await refused(place.stub(**claims), head())).code is grpc.StatusCode.NOT_FOUND
    assert (await refused(place.stub("reader"), head())).code is grpc.StatusCode.PERMISSION_DENIED
    assert place.vendor.seen == []


async def test_a_switch_turns_forwarding_off(place: Place) -> None:
    await place.around.set_flags(**dict.fromkeys(ON, False))

    async def is_off() -> bool:
        try:
            await forwarded(place.stub(), head())
        except grpc.aio.AioRpcError as error:
            return read(error).reason == "SWITCHED_OFF"
        return False

    await until(is_off)


async def test_each_request_is_recorded_without_its_path_or_bodies(place: Place) -> None:
    from cordboard.proxy.v1.proxy_service_pb2_grpc import ProxyServiceStub

    await forwarded(place.stub(), head("/echo?token=secret-in-a-path", "POST"), b"secret-in-a-body")
    await forwarded(place.stub(), head("/broken"))
    stub: Any = ProxyServiceStub(place.served.as_role("reader", workspace="acme"))
    listed = (await stub.ListCalls(proxy_pb.ListCallsRequest(parent="workspaces/acme"))).calls
    assert [(each.action, each.vendor_status, each.outcome) for each in listed] == [
        ("forward.GET", 503, proxy_pb.Call.OUTCOME_VENDOR_ERROR), ("forward.POST", 207, proxy_pb.Call.OUTCOME_OK),
    ]  # fmt: skip
    assert "secret" not in repr(listed)


async def test_an_answer_that_breaks_off_is_told_as_one(place: Place) -> None:
    found = await refused(place.stub(), head("/cut/1000"))
    assert (found.reason, found.metadata["problem"]) == ("VENDOR_UNREACHABLE", "reset")


async def test_a_body_that_breaks_off_is_the_callers_fault(place: Place) -> None:
    found = await refused_in_the_middle(place)
    assert "chunk" in found.fields


async def refused_in_the_middle(place: Place) -> Any:
    async def requests() -> AsyncIterator[pb.ForwardRequest]:
        yield head(method="POST")
        yield pb.ForwardRequest(chunk=b"begun")
        yield head(method="POST")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in place.stub().Forward(requests(), timeout=20):
            pass
    return read(caught.value)


def resident() -> int:
    """Returns how much memory this process, in which the Proxy runs, has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_large_bodies_stream_through_in_flat_memory_both_ways(place: Place) -> None:
    await forwarded(place.stub(), head("/bytes/4"))
    before, most, size = resident(), 0, 0
    async for answer in place.stub().Forward(one(head("/bytes/96")), timeout=120):
        size += len(answer.chunk)
        most = max(most, resident())
    assert size == 96 * MEGABYTE

    async def upload() -> AsyncIterator[pb.ForwardRequest]:
        nonlocal most
        yield head(method="PUT", headers=[("Content-Length", str(64 * MEGABYTE))])
        for _ in range(64 * 4):
            yield pb.ForwardRequest(chunk=b"y" * (MEGABYTE // 4))
            most = max(most, resident())

    async for _ in place.stub().Forward(upload(), timeout=120):
        pass
    assert place.vendor.received == 64 * MEGABYTE
    assert place.vendor.seen[-1].headers["Content-Length"] == str(64 * MEGABYTE)
    assert most - before < 48 * MEGABYTE


async def one(first: pb.ForwardRequest) -> AsyncIterator[pb.ForwardRequest]:
    yield first
