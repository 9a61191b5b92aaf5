"""Messages that are too much: too long, too deep, of too many parts, numbers that are none; as JSON through Envoy too.

They are refused with a reason, never as a fault of ours, and others are answered meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

import tests.contract.services as contract
from cordboard.local.certificates import SERVICES
from tests.contract import test_malformed_input as malformed
from tests.contract.mutations import FIELDS, names_of
from tests.fixtures.desk import Desk
from tests.fixtures.mesh import RunningMesh

tokens = malformed.tokens

MEGABYTE: Final = 1024 * 1024
LONGEST: Final = 4 * MEGABYTE
# The Catalog takes whole API descriptions, and Telemetry exports of many spans.
LONGEST_OF: Final = {"catalog": 32 * MEGABYTE, "telemetry": 16 * MEGABYTE}
BOMB: Final = bytes(64 * MEGABYTE)
TOO_DEEP: Final = 101
ENTRIES: Final = 1_000_000
KEYS: Final = 100_000
# More than Python turns into a number.
DIGITS: Final = "9" * 5_000
REFUSED: Final = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
FAULTS: Final = (
    grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS, grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.CANCELLED,
)  # fmt: skip
SECONDS: Final = 60.0
# How long others may wait for an answer, on a machine with nothing else to do.
AIM_SECONDS: Final = 0.05
STRUCT: Final = "google.protobuf.Struct"
VALUE: Final = "google.protobuf.Value"


def tagged(number: int, wire: int) -> bytes:
    """Returns what stands before a field's value."""
    return varint(number << 3 | wire)


def varint(value: int) -> bytes:
    """Returns a number as protobuf writes it."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def part(number: int, content: bytes) -> bytes:
    """Returns a field that holds a message or a text."""
    return tagged(number, 2) + varint(len(content)) + content


def nested(levels: int) -> bytes:
    """Returns a Struct of Structs, so many deep: each level is three messages."""
    content = b""
    for _ in range(levels):
        content = part(1, part(1, b"a") + part(2, part(5, content)))
    return content


def keyed(number: int, value: bytes) -> bytes:
    """Returns a map of 100,000 entries."""
    return b"".join(part(number, part(1, b"%d" % each) + value) for each in range(KEYS))


def structs() -> Iterator[tuple[str, bytes]]:
    """Yields Structs that are too much."""
    yield "deep", nested(TOO_DEEP // 3 + 1)
    # As deep as a message may be, for those who read it.
    yield "as deep as it goes", nested(30)
    yield "many keys", keyed(1, part(2, b""))
    yield "many values", part(1, part(1, b"a") + part(2, part(6, part(1, b"") * ENTRIES)))
    for name, number in (("NaN", "nan"), ("infinity", "inf")):
        yield name, part(1, part(1, b"a") + part(2, tagged(1, 1) + struct.pack("<d", float(number))))


def too_much(descriptor: Descriptor, depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yields what is too much for each field of a message, and of those in it: its name, and the bytes."""
    for each in descriptor.fields:
        number, inner = each.number, each.message_type
        if inner is None:
            found = scalars(each)
        elif inner.GetOptions().map_entry:
            found = iter([("many keys", keyed(number, b""))])
        elif inner.full_name == STRUCT:
            found = ((name, part(number, content)) for name, content in structs())
        elif inner.full_name == VALUE:
            found = ((name, part(number, part(5, content))) for name, content in structs())
        else:
            found = (
                (name, part(number, content)) for name, content in (too_much(inner, depth + 1) if depth < 1 else ())
            )
            if each.is_repeated:
                yield f"{each.name}: many", part(number, b"") * ENTRIES
        for name, content in found:
            yield f"{each.name}{'.' if ': ' in name else ': '}{name}", content


def scalars(each: FieldDescriptor) -> Iterator[tuple[str, bytes]]:
    """Yields what is too much for a field that holds no message."""
    kinds, number = FieldDescriptor, each.number
    texts = each.type in {kinds.TYPE_STRING, kinds.TYPE_BYTES}
    if each.is_repeated:
        yield "many", part(number, b"a") * ENTRIES if texts else part(number, b"\x01" * ENTRIES)
    elif each.type == kinds.TYPE_DOUBLE:
        yield "NaN", tagged(number, 1) + struct.pack("<d", float("nan"))
    elif texts and (each.name.endswith("_json") or each.name in {"document", "rule"}):
        yield "digits", part(number, b'{"a": %s}' % DIGITS.encode())
        yield "brackets", part(number, b"[" * KEYS + b"]" * KEYS)


def good(method: contract.Method) -> bytes:
    """Returns a request whose names are those of things that there are, as far as that can be known."""
    message: Any = message_factory.GetMessageClass(method.descriptor.input_type)()
    names = [name for name in names_of(method.descriptor) if "none" not in name]
    for each in message.DESCRIPTOR.fields:
        if each.type == FieldDescriptor.TYPE_STRING and not each.is_repeated:
            if each.name in FIELDS:
                setattr(message, each.name, FIELDS[each.name][0])
            elif each.name in {"name", "parent", "workspace"} and names:
                setattr(message, each.name, names[0])
    return bytes(message.SerializeToString())


@dataclass
class Waits:
    """How long others waited for an answer meanwhile."""

    took: list[float] = field(default_factory=list)
    asking: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether it is time to ask: while this process makes a message it could not tell who keeps whom waiting."""

    def at(self, share: float) -> float:
        """In how many milliseconds this share of all was answered."""
        return sorted(self.took)[int(len(self.took) * share)] * 1000


@contextlib.asynccontextmanager
async def others(mesh: RunningMesh, service: str) -> AsyncIterator[Waits]:
    """Asks a service how it is, again and again, on a connection of its own."""
    waits, stop = Waits(), asyncio.Event()

    async def ask() -> None:
        async with mesh.channel(service) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            while not stop.is_set():
                await waits.asking.wait()
                began = time.monotonic()
                answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
                waits.took.append(time.monotonic() - began)
                await asyncio.sleep(0.01)

    asking = asyncio.create_task(ask())
    try:
        yield waits
    finally:
        stop.set()
        waits.asking.set()
        await asking


async def sent(
    channel: grpc.aio.Channel, method: contract.Method, request: bytes, token: str, **more: Any
) -> tuple[grpc.StatusCode, list[str]]:
    """Sends bytes to a method that takes one message; returns how it ended, and the fields that it named."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    raw: Any = channel
    try:
        if method.descriptor.server_streaming:
            stream: Any = raw.unary_stream(method.path)(request, metadata=metadata, timeout=SECONDS, **more)
            await stream.read()
            stream.cancel()
        else:
            await raw.unary_unary(method.path)(request, metadata=metadata, timeout=SECONDS, **more)
    except grpc.aio.AioRpcError as error:
        return error.code(), named(error)
    return grpc.StatusCode.OK, []


def named(error: grpc.aio.AioRpcError) -> list[str]:
    """Returns the fields that a refusal names."""
    packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    if packed is None:
        return []
    found, fields = status_pb2.Status.FromString(packed), error_details_pb2.BadRequest()
    for detail in found.details:
        if detail.Unpack(fields):
            return [violation.field for violation in fields.field_violations]
    return []


def unary(service: str) -> list[contract.Method]:
    """Returns the methods of a service that take one message."""
    return [method for method in contract.methods(service) if not method.descriptor.client_streaming]


@pytest.mark.parametrize("service", SERVICES)
async def test_a_message_that_is_too_long_is_refused_before_it_is_read(
    desk: Desk, tokens: dict[str, str], service: str
) -> None:
    before = desk.mesh.restarts(), desk.mesh.pids()
    async with others(desk.mesh, service) as waits:
        waits.asking.set()
        for method in unary(service)[:3]:
            [door, *_] = malformed.doors(method, tokens)
            longest = LONGEST_OF.get(service, LONGEST)
            async with desk.mesh.channel(service, door.identity) as channel:
                # With the four bytes before it, one more than it may have.
                long = part(99, bytes(longest - 5))
                assert len(long) == longest + 1
                code, _ = await sent(channel, method, long, door.token)
                assert code is grpc.StatusCode.RESOURCE_EXHAUSTED, method.path
                # Few bytes on the wire, and 64 MB when they are unpacked.
                code, _ = await sent(channel, method, BOMB, door.token, compression=grpc.Compression.Gzip)
                assert code is grpc.StatusCode.RESOURCE_EXHAUSTED, method.path
                # The control: what is as long as allowed is read, and skipped.
                code, _ = await sent(channel, method, good(method) + part(99, bytes(longest - MEGABYTE)), door.token)
                assert code is not grpc.StatusCode.RESOURCE_EXHAUSTED, method.path
    assert waits.took
    assert (desk.mesh.restarts(), desk.mesh.pids()) == before


@pytest.mark.parametrize("service", SERVICES)
async def test_too_many_parts_or_too_deep_ones_are_never_a_fault_of_ours(
    desk: Desk, tokens: dict[str, str], service: str
) -> None:
    before = desk.mesh.restarts(), desk.mesh.pids()
    codes, faults, slow, refused = Counter[str](), list[str](), list[tuple[float, str]](), 0
    async with others(desk.mesh, service) as waits, contextlib.AsyncExitStack() as stack:
        channels: dict[str, grpc.aio.Channel] = {}
        for method in unary(service):
            [door, *_] = malformed.doors(method, tokens)
            if door.identity not in channels:
                channels[door.identity] = await stack.enter_async_context(desk.mesh.channel(service, door.identity))
            for what, content in too_much(method.descriptor.input_type):
                request = good(method) + content
                # Only who is in the mesh exports, and its spans may be many.
                if len(request) > LONGEST or method.path.startswith("/opentelemetry."):
                    continue
                waits.asking.set()
                # The first of them are on their way.
                await asyncio.sleep(0)
                began = time.monotonic()
                code, fields = await sent(channels[door.identity], method, request, door.token)
                took = time.monotonic() - began
                waits.asking.clear()
                title = f"{method.descriptor.name} {what}: {code.name} {fields[:3]}"
                codes[code.name] += 1
                slow.append((took, title))
                if code in FAULTS:
                    faults.append(title)
                kind = what.rpartition(": ")[2]
                if kind == "deep" or (kind.startswith("many") and door.identity not in SERVICES):
                    refused += 1
                    assert code is grpc.StatusCode.INVALID_ARGUMENT, title
                    # What is too deep is no message at all, and has no fields that could be named.
                    assert fields == ([] if kind == "deep" else [re.split(r"[.:]", what)[0]]), title
    worst = "\n  ".join(f"{took:.2f} s {title}" for took, title in sorted(slow, reverse=True)[:5])
    print(
        f"\n{service}: {codes.total()} messages, {dict(codes)}; others waited {waits.at(0.5):.1f} ms, "
        f"p99 {waits.at(0.99):.1f} ms ({'held' if waits.at(0.99) <= AIM_SECONDS * 1000 else 'MISSED'}), "
        f"{max(waits.took) * 1000:.0f} ms at most; the slowest:\n  {worst}"
    )
    assert not faults, "\n".join(faults)
    assert refused
    assert (desk.mesh.restarts(), desk.mesh.pids()) == before
