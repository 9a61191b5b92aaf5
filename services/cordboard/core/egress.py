"""The only way out of the mesh: every outbound HTTP request is checked at the socket, and nowhere else can one be made.

A check of the URL alone can be talked round (other spellings of an address, names that resolve to an inside address, an
answer that changes between the check and the connect). So the address is judged where it is handed to `connect()`.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import ipaddress
import re
import socket
import ssl
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from cordboard.core.errors import EgressDenied

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType
    from aiohttp.client import ClientTimeout
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_RESPONSE_BYTES = 10 * 1024 * 1024
MAX_URL_LENGTH = 16_384
CONNECT_SECONDS = 3.0
RESOLVE_SECONDS = 3.0

# RFC 6890 and the IANA special-purpose registry, plus addresses that clouds use for their own. `ipaddress.is_global` of
# the standard library lets more than half of the special addresses through, so the table is ours.
SPECIAL_IPV4: tuple[ipaddress.IPv4Network, ...] = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; a metadata service lives in it
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's wire server, reachable from every guest
        "169.254.0.0/16",  # link-local, metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments, metadata services
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved and broadcast
    )
)
# IPv6 is an allow-list: only what is routed at all, without the parts that embed or stand for something else. Mapped,
# compatible, translated (NAT64), unique-local, link-local and multicast addresses are all outside of 2000::/3.
GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
SPECIAL_IPV6: tuple[ipaddress.IPv6Network, ...] = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
        "3ffe::/16",  # the retired 6bone
    )
)

# What may stand in an outbound URL at all. Anything else (spaces, controls, backslashes, other alphabets) is read
# differently by different parsers and is refused before any of them sees it.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<path>/[!$%&'()*+,\-./0-9:;=@A-Z_a-z~\[\]|]*)?(?P<query>\?[!$%&'()*+,\-./0-9:;=?@A-Z_a-z~\[\]|]*)?"
)
# WHATWG's "ends in a number": a host of this shape is an IPv4 address in some spelling.
_NUMERIC_HOST = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_LABELS = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_public(address: Address) -> bool:
    """Tells whether an address belongs to the public Internet and stands for itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in SPECIAL_IPV4)
    if address.scope_id is not None or address not in GLOBAL_IPV6:
        return False
    return not any(address in network for network in SPECIAL_IPV6)


def host_key(url: URL) -> str:
    """Returns the host as definitions write it: with its port, unless that is 443."""
    host = url.raw_host or ""
    if ":" in host:
        host = f"[{host}]"
    return host if url.port == 443 else f"{host}:{url.port}"


def is_host_key(text: str) -> bool:
    """Tells whether a text is a host as `host_key` writes one."""
    try:
        return host_key(check_url(f"https://{text}/")) == text
    except EgressDenied:
        return False


def check_url(url: str, allowed_hosts: Collection[str] | None = None) -> URL:
    """Returns the URL, ready to be sent as it is; raises EgressDenied.

    Only http and https, no user information, no fragment, one spelling of the host, and a host and port out of
    `allowed_hosts` (`host` means port 443, `host:port` any other); None allows every host and leaves the address to the
    check at the socket.
    """
    match = _URL.fullmatch(_lower_authority(url)) if len(url) <= MAX_URL_LENGTH else None
    if match is None:
        raise EgressDenied("")
    host, port = match["host"], int(match["port"] or _DEFAULT_PORTS[match["scheme"]])
    if port > 65_535 or not _is_plain_host(host):
        raise EgressDenied("")
    key = host if port == 443 else f"{host}:{port}"
    # Port 443 without TLS would match an entry that means TLS, and show a credential to the network.
    if allowed_hosts is not None and (key not in allowed_hosts or (port == 443 and match["scheme"] == "http")):
        raise EgressDenied(key)
    checked = URL(match[0], encoded=True)
    if checked.raw_host != host.strip("[]") or checked.port != port:
        raise EgressDenied("")
    return checked


def _lower_authority(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    return f"{scheme.lower()}{separator}{rest[:end].lower()}{rest[end:]}"


def _is_plain_host(host: str) -> bool:
    if host.startswith("["):
        try:
            return str(ipaddress.IPv6Address(host[1:-1])) == host[1:-1]
        except ValueError:
            return False
    if _NUMERIC_HOST.fullmatch(host):
        try:
            return str(ipaddress.IPv4Address(host)) == host
        except ValueError:
            return False
    return len(host) <= 253 and _LABELS.fullmatch(host) is not None


class ResponseTooLarge(aiohttp.ClientPayloadError):
    """A response has more bytes, after decompression, than its reader takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the response is larger than {limit} bytes")


async def read_limited(response: aiohttp.ClientResponse, limit: int = MAX_RESPONSE_BYTES) -> bytes:
    """Returns the body, decompressed; raises ResponseTooLarge as soon as it exceeds `limit` bytes."""
    # The answer to HEAD tells the length of a body that does not come.
    if (response.content_length or 0) > limit and response.method != "HEAD":
        response.close()
        raise ResponseTooLarge(limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > limit:
            response.close()
            raise ResponseTooLarge(limit)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class Egress:
    """Makes the sessions through which requests leave the mesh.

    `allowed_networks` are the private networks that an operator has opened on purpose; everything else that is not
    public is refused.
    """

    def __init__(
        self,
        allowed_networks: Iterable[str | Network] = (),
        *,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = tuple(
            network if isinstance(network, Network) else ipaddress.ip_network(network) for network in allowed_networks
        )
        self._resolver = resolver
        self._tls = tls

    def allows(self, address: str) -> bool:
        """Tells whether a connection to this numeric address may be made."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return is_public(parsed) or any(parsed in network for network in self._allowed)

    async def address(self, host: str, port: int) -> str:
        """Returns a numeric address of a host to which a connection may be made; raises EgressDenied, and OSError.

        It is for what connects by other protocols than HTTP: whoever connects to this address, and to no name, cannot
        be led elsewhere.
        """
        resolver = self._resolver or _Resolver()
        try:
            found = await resolver.resolve(host.strip("[]"), port, socket.AF_UNSPEC)
        finally:
            if resolver is not self._resolver:
                await resolver.close()
        for one in found:
            if self.allows(one["host"]):
                return one["host"]
        raise EgressDenied(f"{host}:{port}")

    def session(
        self, *, timeout: float = 30.0, connections: int = 1000, decompress: bool = True
    ) -> aiohttp.ClientSession:
        """Returns a session of its own connection pool; the caller closes it.

        Without `decompress` bodies come as they were sent.

        It keeps no cookies, takes no proxy and no password from the environment, and raises EgressDenied where an
        address is refused. Redirects are the caller's: pass `allow_redirects=False` and check each hop.
        """
        return aiohttp.ClientSession(
            connector=_Connector(self._socket, self._resolver or _Resolver(), self._tls, connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_SECONDS),
            trust_env=False,
            auto_decompress=decompress,
            requote_redirect_url=False,
        )

    def _socket(self, info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        if family not in (socket.AF_INET, socket.AF_INET6) or not self.allows(str(address[0])):
            raise _Refused
        return socket.socket(family=family, type=kind, proto=protocol)


class _Refused(OSError):
    # An OSError, because that is what the connection code collects: a refused address does not end the attempt while
    # the name has others. Constant, so that nobody learns what a name resolves to.
    def __init__(self) -> None:
        super().__init__(errno.EACCES, "address not allowed")


class _Connector(aiohttp.TCPConnector):
    def __init__(
        self,
        open_socket: aiohttp.SocketFactoryType,
        resolver: AbstractResolver,
        tls: ssl.SSLContext | None,
        connections: int,
    ) -> None:
        super().__init__(
            socket_factory=open_socket,
            resolver=resolver,
            ssl=tls or True,
            limit=connections,
            ttl_dns_cache=10,
            keepalive_timeout=15,
        )
        self._owned_resolver = resolver if isinstance(resolver, _Resolver) else None

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:
        try:
            return await super().connect(req, traces, timeout)
        except aiohttp.ClientConnectorError as failure:
            if isinstance(failure.os_error, _Refused):
                raise EgressDenied(host_key(req.url)) from None
            raise

    async def close(self, *, abort_ssl: bool = False) -> None:
        await super().close(abort_ssl=abort_ssl)
        if self._owned_resolver is not None:
            await self._owned_resolver.close()


class _Resolver(AbstractResolver):
    # Threads of its own: a name server that hangs must not take the threads of everything else with it.
    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="resolve")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        lookup = functools.partial(
            socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await asyncio.get_running_loop().run_in_executor(self._threads, lookup)
        except TimeoutError:
            raise OSError(errno.ETIMEDOUT, "name resolution timed out") from None
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
