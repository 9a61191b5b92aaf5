"""How the supervisor asks a process whether it can serve: gRPC health over mTLS, and HTTP for Envoy.

Run as a program it is the health check of a container: `python -m cordboard.local.probes SERVICE ADDRESS IDENTITY`.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_SECONDS = 2.0
SERVING: Final = health_pb2.HealthCheckResponse.SERVING
# The package's types do not know its newest method yet.
HealthListRequest: Final[Any] = health_pb2.HealthListRequest  # type: ignore[attr-defined]
HealthStub: Final[Any] = health_pb2_grpc.HealthStub
# A service that is starting refuses connections; gRPC's default pause of a second would be most of the start.
CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.enable_http_proxy", 0),
    # Otherwise a connection made with a certificate that was rotated since would be used again.
    ("grpc.use_local_subchannel_pool", 1),
)


async def serving(address: str, server_name: str, identity: Path) -> bool:
    """Says whether the gRPC server at `address` answers SERVING to a client with this identity."""
    async with _channel(address, server_name, identity) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            # Waits for the port to open instead of failing: one probe covers a start.
            answer = await check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS, wait_for_ready=True)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == SERVING)


async def away(address: str, server_name: str, identity: Path) -> list[str] | None:
    """Returns what a service misses now, such as its database; None when the service does not answer."""
    async with _channel(address, server_name, identity) as channel:
        try:
            listed = await HealthStub(channel).List(HealthListRequest(), timeout=TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError:
            return None
    statuses = listed.statuses.items()
    # The names of RPC services have dots; the others are those of checks.
    return sorted(name for name, answer in statuses if name and "." not in name and answer.status != SERVING)


def _channel(address: str, server_name: str, identity: Path) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(
        root_certificates=(identity / "ca.crt").read_bytes(),
        private_key=(identity / "tls.key").read_bytes(),
        certificate_chain=(identity / "tls.crt").read_bytes(),
    )
    options = (*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", server_name))
    return grpc.aio.secure_channel(address, credentials, options=options)


async def answer_of_socket(socket: Path, path: str) -> str | None:
    """Returns what an HTTP server on a unix socket answers to GET `path` with 200, or None."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            return await _get(reader, writer, path)
    except (OSError, EOFError, TimeoutError):
        return None


async def answers_over_tls(port: int, path: str, ca_file: Path) -> bool:
    """Says whether the server on this port of the machine answers 200 over TLS with this authority's certificate."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            context = ssl.create_default_context(cafile=str(ca_file))
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
            return await _get(reader, writer, path) is not None
    except (OSError, EOFError, TimeoutError):
        return False


async def _get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> str | None:
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200 "):
            return None
        # By the announced length and not to the end of the connection, which Envoy leaves open for a second.
        length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head)
        body = await (reader.readexactly(int(length[1])) if length else _chunked(reader))
    finally:
        writer.close()
    return body.decode(errors="replace")


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    """Reads a body in RFC 9112's chunked coding."""
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readline()
    return body


def main() -> None:
    """Exits with 0 when the service at this address is serving, and with 1 when it is not."""
    service, address, identity = sys.argv[1:]
    answer = asyncio.run(serving(address, f"{service}.cordboard.internal", Path(identity)))
    raise SystemExit(0 if answer else 1)


if __name__ == "__main__":
    main()
