"""The one way out: no spelling of an inside address gets through, and plain addresses do."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import re
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Self

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from cordboard.core import egress
from cordboard.core.egress import MAX_URL_LENGTH, Egress, ResponseTooLarge, check_url, host_key, read_limited
from cordboard.core.errors import EgressDenied
from tests.fixtures.auth import until
from tests.fixtures.sites import listening

# Addresses that are not public, however they are written. `{port}` is a listener that counts who reaches it.
INSIDE = [
    "127.0.0.1", "127.0.0.2", "127.255.255.254", "127.1", "127.0.1", "0.0.0.0", "0", "0x7f.1", "0x7f000001",
    "0X7F.0X0.0X0.0X1", "2130706433", "017700000001", "0177.0.0.1", "00000177.0.0.1", "127.0.0.1.",
    "localhost", "LOCALHOST", "localhost.", "①②⑦.⓪.⓪.①", "127。0。0。1", "ⓛocalhost", "127%2e0.0.1", "%31%32%37.0.0.1",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
    "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[fe80::1]", "[fe80::1%25lo]",
    "[fec0::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[2001:db8::1]", "[3fff::1]", "[5f00::1]", "[100::1]",
    "[::ffff:0:127.0.0.1]", "[2001:2::1]", "[2001:10::1]", "[v1.127.0.0.1]",
    "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "100.100.100.200", "169.254.169.254",
    "169.254.170.2", "168.63.129.16", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.88.99.1", "0.0.0.1",
    "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "169.254.169.254.", "[::ffff:169.254.169.254]",
    "[::ffff:10.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::]", "[fe80::a9fe:a9fe]", "[fd20:ce::254]",
    "0x7f.0.0.0x1", "127.0.0.0x1",
]  # fmt: skip

# URLs that are no plain http(s) URL, or that two parsers read in two ways.
MALFORMED = [
    "http://user@127.0.0.1:{port}/", "http://user:secret@127.0.0.1:{port}/", "http://vendor.example@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@vendor.example/", "http://vendor.example\\@127.0.0.1:{port}/",
    "http:\\\\127.0.0.1:{port}/", "http:/127.0.0.1:{port}/", "http:127.0.0.1:{port}/", "//127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/", "http://127.0.0.1:{port}/#@vendor.example", "http://vendor.example#@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}/\r\nHost: vendor.example", "http://127.0.0.1:{port}/\tx", "http://127.0.0.1:{port}/ x",
    " http://127.0.0.1:{port}/", "http://127.0.0.1:{port}/\0", "http://127.0.0.1\0.vendor.example:{port}/",
    "http://127.0.0.1:0/", "http://127.0.0.1:99999/", "http://127.0.0.1:65536/", "http://127.0.0.1:-1/", "http://127.0.0.1:{port}a/",
    "http://127.0.0.1:0{port}/", "http://[::1/", "http://::1:{port}/", "http://[]:{port}/", "http://:{port}/", "http://",
    "", "http://vendor.example:80:80/", "http://-vendor.example/", "http://vendor..example/", "http://.example/",
    "http://" + "a" * 64 + ".example/", "http://" + "a." * 130 + "example/", "http://vendor.example/" + "a" * 20_000,
    "ftp://127.0.0.1:{port}/", "gopher://127.0.0.1:{port}/", "file:///etc/passwd", "data:text/plain,x", "ws://127.0.0.1:{port}/",
    "wss://127.0.0.1:{port}/", "ldap://127.0.0.1:{port}/", "dict://127.0.0.1:{port}/", "tcp://127.0.0.1:{port}/",
    "unix:///var/run/docker.sock", "http+unix://%2Fvar%2Frun%2Fdocker.sock/", "jar:http://127.0.0.1:{port}/",
    "javascript:alert(1)", "ssh://127.0.0.1:{port}/", "view-source:http://127.0.0.1:{port}/",
]  # fmt: skip

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.0",
    "172.32.0.1",
    "11.0.0.0",
    "2606:4700::1111",
    "2a00:1450::1",
]


class FixedNames(AbstractResolver):
    """Resolves every name to the same addresses, as a hostile name server would."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses
        self.closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Holds nothing, and says that it was closed."""
        self.closed = True


class Listener:
    """Counts the connections that reach a port on every loopback address."""

    def __init__(self) -> None:
        self.hits = 0
        self.port = 0

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hits += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            await writer.drain()
        writer.close()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        """Listens inside the block."""
        server = await asyncio.start_server(self._answer, "0.0.0.0", 0)
        self.port = server.sockets[0].getsockname()[1]
        servers = [server]
        if socket.has_ipv6:
            with contextlib.suppress(OSError):
                servers.append(await asyncio.start_server(self._answer, "::1", self.port))
        try:
            yield self
        finally:
            for each in servers:
                each.close()
                await each.wait_closed()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with Listener().listening() as one:
        yield one


async def send(session: aiohttp.ClientSession, url: str | URL) -> int:
    async with session.get(url, allow_redirects=False) as response:
        return response.status


def test_the_corpus_is_large_enough_to_mean_something() -> None:
    assert len({*INSIDE, *MALFORMED}) >= 128


async def test_no_spelling_of_an_inside_address_is_reached_even_without_a_check_of_the_url(listener: Listener) -> None:
    async with Egress().session(timeout=2) as session:
        for host in INSIDE:
            with pytest.raises((EgressDenied, aiohttp.ClientError, ValueError)):
                await send(session, f"http://{host}:{listener.port}/")
        for form in MALFORMED:
            with pytest.raises((EgressDenied, aiohttp.ClientError, ValueError)):
                await send(session, form.format(port=listener.port))
    assert listener.hits == 0


async def test_every_inside_address_and_every_malformed_url_gets_the_same_constant_refusal(listener: Listener) -> None:
    async with Egress().session(timeout=2) as session:
        for url in [f"http://{host}:{listener.port}/" for host in INSIDE] + MALFORMED:
            with pytest.raises(EgressDenied) as refused:
                await send(session, check_url(url.replace("{port}", str(listener.port))))
            assert str(refused.value) == "requests to this host are not allowed"
    assert listener.hits == 0


async def test_a_guard_in_the_resolver_alone_would_leak(listener: Listener) -> None:
    """The negative control: the listener is reachable, and the corpus finds a check that is in the wrong place."""

    class Guarded(aiohttp.ThreadedResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            found = await super().resolve(host, port, family)
            if any(not Egress().allows(one["host"]) for one in found):
                raise OSError("refused")
            return found

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Guarded())) as session:
        for host in ("127.0.0.1", "0.0.0.0", "①②⑦.⓪.⓪.①"):
            with contextlib.suppress(aiohttp.ClientError, ValueError):
                await send(session, f"http://{host}:{listener.port}/")
    assert listener.hits >= 2


@pytest.mark.parametrize(
    "answers", [("127.0.0.1",), ("::1",), ("::ffff:127.0.0.1",), ("127.0.0.1", "::1"), ("10.0.0.1", "127.0.0.1")]
)
async def test_a_name_that_resolves_to_an_inside_address_is_refused(
    listener: Listener, answers: tuple[str, ...]
) -> None:
    async with Egress(resolver=FixedNames(*answers)).session(timeout=2) as session:
        with pytest.raises(EgressDenied) as refused:
            await send(session, f"http://vendor.example:{listener.port}/")
    assert refused.value.metadata == {"host": f"vendor.example:{listener.port}"}
    assert listener.hits == 0


async def test_a_name_that_changes_its_answer_between_connections_never_reaches_inside(listener: Listener) -> None:
    class Rebinding(FixedNames):
        asked = 0

        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            Rebinding.asked += 1
            self._addresses = ("192.0.2.1",) if Rebinding.asked % 2 else ("127.0.0.1",)
            return await super().resolve(host, port, family)

    for _ in range(50):
        async with Egress(resolver=Rebinding()).session(timeout=2) as session:
            with pytest.raises(EgressDenied):
                await send(session, f"http://vendor.example:{listener.port}/")
    assert (listener.hits, Rebinding.asked) == (0, 50)


async def test_an_address_for_another_protocol_is_one_that_may_be_connected_to(listener: Listener) -> None:
    names = FixedNames("10.0.0.1", "127.0.0.1")
    mixed = Egress(["127.0.0.1/32"], resolver=names)
    assert await mixed.address("db.example", listener.port) == "127.0.0.1"
    assert not names.closed, "whoever brought it closes it"
    for answers in (("10.0.0.1", "::1"), ()):
        with pytest.raises(EgressDenied) as refused:
            await Egress(resolver=FixedNames(*answers)).address("db.example", 5432)
        assert refused.value.metadata == {"host": "db.example:5432"}
    with pytest.raises(EgressDenied):
        await Egress().address("[::1]", 5432)


async def test_a_port_where_nobody_listens_is_not_called_forbidden(listener: Listener) -> None:
    names = FixedNames("127.0.0.1")
    async with Egress(["127.0.0.1/32"], resolver=names).session(timeout=30) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await send(session, "http://vendor.example:1/")
    assert not names.closed, "whoever brought it closes it"


async def test_a_name_server_that_hangs_is_waited_for_no_longer_than_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(egress, "RESOLVE_SECONDS", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(30) and [])
    try:
        with pytest.raises(OSError, match="name resolution timed out") as ended:
            await Egress().address("vendor.example", 443)
        assert ended.value.errno == errno.ETIMEDOUT
    finally:
        answered.set()


async def test_a_session_that_is_closed_leaves_no_thread_behind(listener: Listener) -> None:
    before = set(threading.enumerate())

    def resolving() -> set[threading.Thread]:
        return {each for each in threading.enumerate() if each.name.startswith("resolve")} - before

    async def ended() -> bool:
        return not resolving()

    async with Egress().session(timeout=30) as session:
        # Held here: what ends the threads is the end of the session, and not that nobody knows them any more.
        connector = session.connector
        with pytest.raises(EgressDenied):
            await send(session, f"http://localhost:{listener.port}/")
        assert resolving()
    await until(ended)
    assert connector is not None


async def test_an_allowed_network_is_reached_and_its_neighbour_is_not(listener: Listener) -> None:
    async with Egress(["127.0.0.1/32"]).session(timeout=2) as session:
        assert await send(session, check_url(f"http://127.0.0.1:{listener.port}/")) == 200
        with pytest.raises(EgressDenied):
            await send(session, f"http://127.0.0.2:{listener.port}/")
    assert listener.hits == 1


async def test_a_proxy_in_the_environment_is_ignored(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listener.port}")
    async with Egress(["127.0.0.0/8"], resolver=FixedNames("10.0.0.1")).session(timeout=2) as session:
        with pytest.raises(EgressDenied):
            await send(session, "http://vendor.example/")
    assert listener.hits == 0


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert Egress().allows(address)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://vendor.example/a?b=c", {"vendor.example"}),
        ("HTTPS://Vendor.Example/A", {"vendor.example"}),
        ("https://vendor.example:443/", {"vendor.example"}),
        ("https://vendor.example:8443/", {"vendor.example:8443"}),
        ("https://vendor.example:65535/", {"vendor.example:65535"}),
        ("http://vendor.example/", {"vendor.example:80"}),
        ("http://127.0.0.1:4010/x%2Fy", {"127.0.0.1:4010"}),
        ("https://[2606:4700::1111]/", {"[2606:4700::1111]"}),
        ("https://vendor.example", None),
    ],
)
def test_a_plain_url_on_the_list_is_sent_as_it_is(url: str, allowed: set[str] | None) -> None:
    checked = check_url(url, allowed)
    assert checked.raw_path_qs in url or checked.raw_path_qs == "/"
    assert (checked.scheme, checked.raw_host) == (url.lower().partition(":")[0], (checked.raw_host or "").lower())
    assert allowed is None or host_key(checked) in allowed


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://evil.example/", {"vendor.example"}),
        ("https://vendor.example.evil.example/", {"vendor.example"}),
        ("https://evil.example/vendor.example", {"vendor.example"}),
        ("https://evil.example?vendor.example", {"vendor.example"}),
        ("https://vendor.example@evil.example/", {"vendor.example"}),
        ("https://vendor.example:8443/", {"vendor.example"}),
        ("http://vendor.example/", {"vendor.example"}),
        ("http://vendor.example:443/", {"vendor.example"}),
        ("https://api.vendor.example/", {"vendor.example"}),
        ("https://vendor.example/", set()),
    ],
)
def test_a_host_off_the_list_is_refused(url: str, allowed: set[str]) -> None:
    with pytest.raises(EgressDenied):
        check_url(url, allowed)


def test_a_url_is_taken_up_to_its_greatest_length() -> None:
    longest = f"https://vendor.example/{'a' * (MAX_URL_LENGTH - len('https://vendor.example/'))}"
    assert str(check_url(longest)) == longest
    with pytest.raises(EgressDenied):
        check_url(f"{longest}a")


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "https://vendor.example:8443/"])
def test_a_url_that_the_sender_would_read_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch, elsewhere: str) -> None:
    # None is known: what sends reads each of these URLs as we do. Should it ever not, nothing goes there.
    monkeypatch.setattr(egress, "URL", lambda *_, **__: URL(elsewhere))
    with pytest.raises(EgressDenied):
        check_url("https://vendor.example/", {"vendor.example"})


@contextlib.asynccontextmanager
async def answering(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_get("/", handler)
    async with listening(application) as url:
        yield f"{url}/"


async def read(url: str, limit: int) -> bytes:
    async with Egress(["127.0.0.0/8"]).session(timeout=5) as session, session.get(url) as response:
        return await read_limited(response, limit)


async def test_a_body_within_the_limit_is_read_whole_and_one_byte_more_is_refused() -> None:
    async def body(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 1000)

    async with answering(body) as url:
        assert await read(url, 1000) == b"x" * 1000
        with pytest.raises(ResponseTooLarge):
            await read(url, 999)


async def test_a_body_that_comes_in_pieces_or_is_empty_is_read_whole() -> None:
    async def pieces(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(20):
            await response.write(bytes([number]) * 1000)
            await asyncio.sleep(0.01)
        return response

    async def nothing(_: web.Request) -> web.Response:
        return web.Response()

    async with answering(pieces) as url:
        assert await read(url, 20_000) == b"".join(bytes([number]) * 1000 for number in range(20))
        with pytest.raises(ResponseTooLarge):
            await read(url, 19_999)
    async with answering(nothing) as url:
        assert await read(url, 20_000) == b""


async def test_a_body_that_says_to_be_too_large_is_refused_before_it_comes() -> None:
    left = asyncio.Event()

    async def announced(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1001"})
        await response.prepare(request)
        # Whoever waits for it waits until the session's time is over.
        await left.wait()
        return response

    async with answering(announced) as url:
        try:
            with pytest.raises(ResponseTooLarge):
                await read(url, 1000)
        finally:
            left.set()


async def test_a_stream_without_a_length_is_cut_at_the_limit() -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while sent < 512 * 2**20:
                await response.write(b"x" * 65_536)
                sent += 65_536
        return response

    async with answering(endless) as url:
        with pytest.raises(ResponseTooLarge):
            await read(url, 1_000_000)
    assert sent < 64 * 2**20


async def test_a_compressed_body_counts_by_what_it_becomes() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)

    async def body(_: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    async with answering(body) as url:
        with pytest.raises(ResponseTooLarge):
            await read(url, 1_000_000)
    assert len(bomb) < 100_000


# The command line, the sandbox vendor and what starts processes are the operator's own, and ask nobody's addresses.
OUTSIDE = {"cli", "sandbox", "local"}
WAYS_OUT = re.compile(
    r"\b(ClientSession|TCPConnector|urlopen|HTTPSConnection|HTTPConnection|open_connection|create_connection)\("
    r"|^\s*(import|from) (requests|httpx|urllib3|urllib\.request|http\.client|pycurl)\b",
    re.MULTILINE,
)


def ways_out(text: str) -> list[str]:
    return [found[0].strip() for found in WAYS_OUT.finditer(text)]


def test_no_service_goes_out_by_another_way() -> None:
    root = Path(egress.__file__).parents[1]
    found = {
        str(path.relative_to(root)): ways
        for path in root.rglob("*.py")
        if path.relative_to(root).parts[0] not in OUTSIDE and (ways := ways_out(path.read_text()))
    }
    assert set(found) == {"core/egress.py"}
    assert ways_out("async with aiohttp.ClientSession() as session:") == ["ClientSession("], "the control"
