"""Forward as plain HTTP, as Envoy reaches it: every byte as it was, and nobody in who may not."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from cordboard.local.certificates import Identities
from cordboard.local.ports import Ports
from cordboard.proxy import forward_http
from cordboard.proxy.forward_http import SMALL_BYTES
from tests.contract.test_proxy_forward import KEY, MEGABYTE, ZIPPED, Place, a_place, an_edge, echoing
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serving
from tests.unit.proxy.running import ON, until


class Door:
    """The Proxy's port for plain HTTP."""

    def __init__(self, place: Place, identities: Identities, port: int) -> None:
        self.place = place
        self.identities = identities
        self.base = f"https://127.0.0.1:{port}"

    @contextlib.asynccontextmanager
    async def asked(
        self, path: str = "/proxy/main/echo", method: str = "GET", peer: str = "envoy", **more: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        directory = self.identities.directory(peer)
        tls = ssl.create_default_context(cafile=str(directory / "ca.crt"))
        tls.check_hostname = False
        tls.load_cert_chain(directory / "tls.crt", directory / "tls.key")
        headers = more.pop("headers", None)
        if headers is None:
            headers = [("Authorization", f"Bearer {self.place.served.mint.token('member', workspace='acme')}")]
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                method, self.base + path, ssl=tls, headers=headers, allow_redirects=False, **more
            ) as response,
        ):
            yield response


@pytest.fixture(params=["direct", "hub"])
async def door(
    serving: Serving, identities: Identities, database: Databases, request: pytest.FixtureRequest
) -> AsyncIterator[Door]:
    ports = Ports()
    port = ports.claim()
    here: dict[str, Any] = {"forward_address": f"127.0.0.1:{port}"}
    url = database("proxy").url
    async with echoing() as vendor, contextlib.AsyncExitStack() as stack:
        if request.param == "direct":
            place = await stack.enter_async_context(a_place(serving, identities, vendor, url, **here))
        else:
            hub = await stack.enter_async_context(a_place(serving, identities, vendor, url))
            place, _ = await stack.enter_async_context(an_edge(serving, identities, database, hub, **here))
        yield Door(place, identities, port)
    ports.release()


async def test_a_request_goes_through_as_it_is_and_so_does_its_answer(door: Door) -> None:
    body = bytes(range(256)) * 999
    path = "/proxy/main/echo/caf%C3%A9%2Fx;v=1?q=1+2&q=%20&empty="
    async with door.asked(path, "PUT", data=body) as response:
        assert (response.status, await response.read()) == (207, b"\x00\xff done")
        assert response.headers.getall("Set-Cookie") == ["a=1", "b=2"]
        assert "Python" not in response.headers.get("Server", "") or len(response.headers.getall("Server")) == 1
    [seen] = door.place.vendor.seen
    assert (seen.method, seen.raw_path) == ("PUT", f"/v1{path.removeprefix('/proxy/main')}")
    assert door.place.vendor.digests == [hashlib.sha256(body).hexdigest()]
    assert seen.headers["X-Api-Key"] == KEY
    assert "Authorization" not in seen.headers
    async with door.asked("/proxy/main/zipped") as response:
        assert (await response.read(), response.headers["Content-Encoding"]) == (ZIPPED, "gzip")
    async with door.asked("/proxy/main/moved", "HEAD") as response:
        assert (response.status, response.headers["Location"]) == (302, "https://elsewhere.example/x")
    async with door.asked("/proxy/main?x=1") as response:
        assert response.status == 207
    assert door.place.vendor.seen[-1].raw_path == "/v1/?x=1"


async def test_an_error_of_the_mesh_is_told_from_one_of_the_vendor(door: Door) -> None:
    async with door.asked("/proxy/main/broken") as response:
        assert (response.status, await response.read()) == (503, b"not now")
        assert "x-cordboard-error" not in response.headers
    async with door.asked("/proxy/none/x") as response:
        assert (response.status, response.headers["x-cordboard-error"]) == (404, "RESOURCE_NOT_FOUND")
        assert json.loads(await response.read())["code"] == 5
    door.place.around.sealing_failure = None
    await door.place.around.set_flags(**dict.fromkeys(ON, False))

    async def is_off() -> bool:
        async with door.asked() as response:
            return (response.status, response.headers.get("x-cordboard-error")) == (403, "SWITCHED_OFF")

    await until(is_off)


async def test_nobody_gets_in_without_a_right_and_only_envoy_speaks_for_others(door: Door) -> None:
    mint = door.place.served.mint
    bearer = "Authorization"
    member = f"Bearer {mint.token('member', workspace='acme')}"
    for headers, status in (
        ([], 401),
        ([(bearer, "Bearer nonsense")], 401),
        ([(bearer, "Basic eDp5")], 401),
        ([(bearer, member), (bearer, member)], 401),
        ([(bearer, member), ("X-Api-Key", "cbk_x")], 401),
        ([(bearer, f"Bearer {mint.token('reader', workspace='acme')}")], 403),
        ([(bearer, f"Bearer {mint.token('member', workspace='globex')}")], 404),
        ([(bearer, f"Bearer {mint.token('operator')}")], 404),
        ([(bearer, f"Bearer {mint.token('member', workspace='acme', environment='staging')}")], 404),
    ):
        async with door.asked(headers=headers) as response:
            assert response.status == status, headers
    for peer in ("uqi", "operator"):
        async with door.asked(peer=peer) as response:
            assert (response.status, response.headers["x-cordboard-error"]) == (403, "ACCESS_DENIED")
    assert door.place.vendor.seen == []
    async with door.asked() as response:
        assert response.status == 207, "the control"


async def test_an_answer_that_breaks_off_breaks_off(door: Door) -> None:
    with pytest.raises(aiohttp.ClientError):
        async with door.asked("/proxy/main/cut/1000000") as response:
            await response.read()


async def test_a_small_answer_that_breaks_off_is_an_error_that_says_so(door: Door) -> None:
    async with door.asked("/proxy/main/cut/1000") as response:
        told = await response.json()
        assert (response.status, response.headers["x-cordboard-error"]) == (503, "VENDOR_UNREACHABLE")
    assert "half" not in json.dumps(told)


@pytest.mark.parametrize("size", [0, 1, SMALL_BYTES, SMALL_BYTES + 1])
async def test_an_answer_of_any_size_comes_whole(door: Door, size: int) -> None:
    async with door.asked(f"/proxy/main/sized/{size}") as response:
        assert (response.status, response.headers["content-length"]) == (200, str(size))
        assert await response.read() == b"x" * size
    async with door.asked(f"/proxy/main/sized/{size}", "HEAD") as response:
        # A vendor need not say that nothing is of no length.
        assert (response.status, response.headers.get("content-length", "0")) == (200, str(size))
        assert await response.read() == b""


async def test_large_bodies_stream_both_ways(door: Door) -> None:
    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(32):
            yield b"z" * MEGABYTE

    async with door.asked("/proxy/main/echo", "POST", data=blocks()) as response:
        assert response.status == 207
    assert door.place.vendor.received == 32 * MEGABYTE
    size = 0
    async with door.asked("/proxy/main/bytes/32") as response:
        async for chunk in response.content.iter_any():
            size += len(chunk)
    assert size == 32 * MEGABYTE


async def test_one_that_ends_says_so_and_answers_until_envoy_has_let_go(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As long as a busy machine needs: what ends it is that the last connection goes.
    monkeypatch.setattr(forward_http, "NOTICED_WITHIN", 60.0)

    async def is_well() -> bool:
        async with door.asked("/healthz") as response:
            return response.status == 200

    await until(is_well)
    async with door.asked("/healthz", peer="uqi") as response:
        assert response.status == 403
    drain: Any = door.place.served.process._drains[0]
    drain.__self__._grace = 60.0
    directory = door.identities.directory("envoy")
    tls = ssl.create_default_context(cafile=str(directory / "ca.crt"))
    tls.check_hostname = False
    tls.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as envoy:
        async with envoy.get(f"{door.base}/healthz") as response:
            assert response.status == 200
            await response.read()
        # The connection stays, and another one is made while the first is there.
        ending = asyncio.ensure_future(drain())
        await asyncio.sleep(0)
        async with door.asked() as response:
            assert (response.status, response.headers["Connection"]) == (207, "close")
        assert not ending.done()
        async with envoy.get(f"{door.base}/healthz") as response:
            assert (response.status, response.headers["Connection"]) == (503, "close")
    async with asyncio.timeout(30):
        await ending
    with pytest.raises(aiohttp.ClientConnectorError):
        async with door.asked():
            pass
