"""A vendor that says exactly the bytes it is told to, and a Proxy that is pointed at it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from cordboard.catalog.v1 import definition_pb2 as catalog_pb
from cordboard.proxy.v1 import proxy_service_pb2 as pb
from tests.unit.proxy.running import Mesh, execute, refusal, until
from tests.unit.proxy.samples import a_body, a_definition, an_action

Reply = Callable[["Arrival", asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@dataclass
class Arrival:
    """One request as it came."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def values(self, name: str) -> list[str]:
        """Returns the values of every header of this name."""
        return [value for known, value in self.headers if known.lower() == name]


@dataclass
class RawVendor:
    """A vendor that says exactly the bytes it is told to."""

    reply: Reply
    port: int = 0
    arrivals: list[Arrival] = field(default_factory=list)
    left: int = 0
    serving: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one connection until either side ends it."""
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in head[1:-2])]
                arrival = Arrival(head[0], headers)
                arrival.body = await reader.readexactly(int((arrival.values("content-length") or ["0"])[0]))
                self.arrivals.append(arrival)
                await self.reply(arrival, writer)
                if writer.is_closing():
                    break
        self.left += 1
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        self.serving.discard(task)


def said(status: int = 200, body: Any = None, **headers: str) -> bytes:
    """Returns an HTTP answer; a body that is no bytes is JSON."""
    content_type = headers.pop("Content_Type", "application/json")
    content = body if isinstance(body, bytes) else orjson.dumps({} if body is None else body)
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(content)}", f"Content-Type: {content_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", "")).encode() + content


def in_turn(*answers: bytes) -> Reply:
    """Gives one answer after the other; the last for ever."""
    left = list(answers)

    async def reply(_: Arrival, writer: asyncio.StreamWriter) -> None:
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        await writer.drain()

    return reply


def by_path(answers: Mapping[str, Reply | bytes]) -> Reply:
    """Answers each path, without its query, in its own way."""

    async def reply(arrival: Arrival, writer: asyncio.StreamWriter) -> None:
        chosen = answers[arrival.line.split(" ")[1].partition("?")[0]]
        await (in_turn(chosen) if isinstance(chosen, bytes) else chosen)(arrival, writer)

    return reply


@contextlib.asynccontextmanager
async def a_vendor(reply: Reply | bytes = OK, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawVendor]:
    """Serves it inside the block."""

    async def say(_: Arrival, writer: asyncio.StreamWriter) -> None:
        writer.write(reply if isinstance(reply, bytes) else OK)
        await writer.drain()

    vendor = RawVendor(say if isinstance(reply, bytes) else reply)
    server = await asyncio.start_server(vendor.serve, "127.0.0.1", 0, ssl=tls)
    vendor.port = server.sockets[0].getsockname()[1]
    try:
        yield vendor
    finally:
        server.close()
        for task in list(vendor.serving):
            task.cancel()
        await asyncio.gather(*vendor.serving, return_exceptions=True)


def then_close(answer: bytes) -> Reply:
    async def reply(_: Arrival, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    return reply


def cut(_: Arrival, writer: asyncio.StreamWriter) -> Awaitable[None]:
    writer.transport.abort()
    return asyncio.sleep(0)


async def point(mesh: Mesh, url: str, *actions: catalog_pb.Action, **fields: Any) -> None:
    """Has the connection reach another vendor from now on."""
    actions = actions or (
        an_action("get", path="/x"),
        an_action("post", "POST", "/x", body=a_body(catalog_pb.BODY_ENCODING_JSON, "a")),
    )
    mesh.around._sequence += 1
    version = f"2.0.{mesh.around._sequence}"
    await mesh.around.publish(a_definition(*actions, url=url, version=version, **fields))
    stub = mesh.stub()

    async def is_active() -> bool:
        # An action that is not there tells the version in use without a request.
        await refusal(stub.Execute(execute("none")))
        listed = await stub.ListCalls(pb.ListCallsRequest(parent="workspaces/acme", page_size=1))
        return [call.definition_version for call in listed.calls] == [version]

    await until(is_active)
