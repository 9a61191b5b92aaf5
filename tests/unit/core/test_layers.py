"""The layers: the same ones, in the same order, around all four shapes of calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.common.v1 import options_pb2
from cordboard.core.caller import current_caller
from cordboard.core.errors import NotFound
from cordboard.core.layers import Call, Layer, remaining
from cordboard.core.server import Process
from cordboard.core.settings import Settings
from tests.fixtures.serving import Served, Serving

NOWHERE = "postgresql+asyncpg://nobody:nothing@127.0.0.1:1/nothing"
SERVICE = "tests.layers.Shapes"
SHAPES = {"UnaryUnary": (False, False), "UnaryStream": (False, True), "StreamUnary": (True, False),
          "StreamStream": (True, True)}  # fmt: skip
GOOD = pb.GetIntegrationRequest(name="integrations/x").SerializeToString()
shapes = pytest.mark.parametrize("shape", SHAPES)


@pytest.fixture(scope="module", autouse=True)
def descriptor() -> None:
    file = descriptor_pb2.FileDescriptorProto(
        name="tests/layers.proto", package="tests.layers", syntax="proto3",
        dependency=[pb.DESCRIPTOR.name, options_pb2.DESCRIPTOR.name],
    )  # fmt: skip
    service = file.service.add(name="Shapes")
    rule = options_pb2.AccessRule(roles=[options_pb2.ROLE_MEMBER], peers=["proxy"])
    for name, (client, server) in SHAPES.items():
        method = service.method.add(name=name, client_streaming=client, server_streaming=server)
        method.input_type, method.output_type = (
            ".cordboard.catalog.v1.GetIntegrationRequest",
            ".cordboard.catalog.v1.Integration",
        )
        method.options.Extensions[options_pb2.access].CopyFrom(rule)
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())


class Recorder(Layer):
    """Notes which hooks run."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self._name = name
        self._notes = notes

    async def enter(self, call: Call) -> None:
        self._notes.append(f"{self._name} enters")

    def check(self, message: Message) -> None:
        self._notes.append(f"{self._name} checks")

    def leave(self, call: Call, error: BaseException | None) -> BaseException | None:
        self._notes.append(f"{self._name} leaves with {type(error).__name__}")
        return error


async def answer(request: pb.GetIntegrationRequest) -> pb.Integration:
    match request.name:
        case "integrations/missing":
            raise NotFound(request.name)
        case "integrations/broken":
            raise RuntimeError("password=hunter2")
        case "integrations/slow":
            await asyncio.Event().wait()
    return pb.Integration(name=request.name, owner=current_caller().actor, action_count=int(remaining() or -1))


class Shapes:
    """Answers every request it gets, in all four shapes."""

    async def unary_unary(self, request: Any, context: Any) -> pb.Integration:
        return await answer(request)

    async def unary_stream(self, request: Any, context: Any) -> AsyncIterator[pb.Integration]:
        yield await answer(request)

    async def stream_unary(self, requests: Any, context: Any) -> pb.Integration:
        answers = [await answer(request) async for request in requests]
        return answers[-1] if answers else pb.Integration()

    async def stream_stream(self, requests: Any, context: Any) -> AsyncIterator[pb.Integration]:
        async for request in requests:
            yield await answer(request)


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
async def served(serving: Serving, notes: list[str]) -> AsyncIterator[Served]:
    async def start(process: Process[Settings]) -> None:
        behaviours, write = Shapes(), pb.Integration.SerializeToString
        process.server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(
                    SERVICE,
                    {
                        "UnaryUnary": grpc.unary_unary_rpc_method_handler(behaviours.unary_unary, None, write),
                        "UnaryStream": grpc.unary_stream_rpc_method_handler(behaviours.unary_stream, None, write),
                        "StreamUnary": grpc.stream_unary_rpc_method_handler(behaviours.stream_unary, None, write),
                        "StreamStream": grpc.stream_stream_rpc_method_handler(behaviours.stream_stream, None, write),
                    },
                ),
            )
        )
        gate = process._gate
        gate._layers = (Recorder("outer", notes), *gate._layers, Recorder("inner", notes))

    async with serving("catalog", Settings, start, database_url=NOWHERE) as running:
        yield running


async def noted(notes: list[str], begin: str) -> None:
    """Waits for a note: the server's side of a call goes on after the caller has its answer."""
    async with asyncio.timeout(50):
        while not any(note.startswith(begin) for note in notes):  # noqa: ASYNC110 - layers know of no event
            await asyncio.sleep(0.01)


async def called(channel: grpc.aio.Channel, shape: str, *messages: bytes, **options: Any) -> list[pb.Integration]:
    """Sends these bytes, a single one where requests do not stream, and returns all that came back."""
    streams_in, streams_out = SHAPES[shape]
    make: Callable[..., Any] = getattr(
        channel, f"{'stream' if streams_in else 'unary'}_{'stream' if streams_out else 'unary'}"
    )
    call = make(f"/{SERVICE}/{shape}", response_deserializer=pb.Integration.FromString)(
        iter(messages) if streams_in else messages[-1], **({"timeout": 10} | options)
    )
    return [found async for found in call] if streams_out else [await call]


async def failure(channel: grpc.aio.Channel, shape: str, *messages: bytes, **options: Any) -> tuple[str, str]:
    """Returns the code and the reason of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await called(channel, shape, *messages, **options)
    assert "hunter2" not in f"{caught.value.details()}{caught.value.trailing_metadata()}"
    trailers = dict(caught.value.trailing_metadata() or ())
    info = error_details_pb2.ErrorInfo()
    assert status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).details[0].Unpack(info)
    return caught.value.code().name, info.reason


def named(name: str) -> bytes:
    return pb.GetIntegrationRequest(name=f"integrations/{name}").SerializeToString()


@shapes
async def test_a_call_goes_through_all_layers_and_back(served: Served, notes: list[str], shape: str) -> None:
    (found,) = await called(served.as_role("member", workspace="acme"), shape, GOOD)
    assert (found.name, found.owner) == ("integrations/x", "workspaces/acme")
    assert 5 <= found.action_count <= 10, "the deadline reached the handler"
    checks = ["outer checks", "inner checks"] if SHAPES[shape][0] else []
    assert notes == [
        "outer enters", "inner enters", *checks, "inner leaves with NoneType", "outer leaves with NoneType",
    ]  # fmt: skip


@shapes
async def test_a_refused_call_leaves_the_layers_it_entered(served: Served, notes: list[str], shape: str) -> None:
    assert await failure(served.channel("envoy"), shape, GOOD) == ("UNAUTHENTICATED", "TOKEN_INVALID")
    assert notes == ["outer enters", "outer leaves with TokenInvalid"]


@shapes
async def test_each_shape_refuses_alike(served: Served, shape: str) -> None:
    reader = served.as_role("reader", workspace="acme")
    assert await failure(reader, shape, GOOD) == ("PERMISSION_DENIED", "ACCESS_DENIED")
    assert await failure(served.channel("uqi"), shape, GOOD) == ("PERMISSION_DENIED", "ACCESS_DENIED")
    forged = served.channel("envoy", "a.b.c")
    assert await failure(forged, shape, GOOD) == ("UNAUTHENTICATED", "TOKEN_INVALID")
    for wrong in ("Basic x", "Bearer", "Bearer ", ""):
        metadata = (("authorization", wrong),)
        assert await failure(served.channel("proxy"), shape, GOOD, metadata=metadata) == (
            "UNAUTHENTICATED", "TOKEN_INVALID",
        )  # fmt: skip


@shapes
async def test_each_shape_fails_alike(served: Served, shape: str) -> None:
    channel = served.channel("proxy")
    assert await failure(channel, shape, GOOD, b"") == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert await failure(channel, shape, GOOD, b"\xff\xff") == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")
    assert await failure(channel, shape, GOOD, b"\x0a\x02\xff\xfe") == ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")
    assert await failure(channel, shape, GOOD, named("missing")) == ("NOT_FOUND", "RESOURCE_NOT_FOUND")
    assert await failure(channel, shape, GOOD, named("broken")) == ("INTERNAL", "INTERNAL")


@shapes
async def test_each_shape_ends_at_its_deadline(served: Served, notes: list[str], shape: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await called(served.channel("proxy"), shape, named("slow"), timeout=0.3)
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await noted(notes, "outer leaves")


@shapes
async def test_each_shape_is_one_span(served: Served, spans: InMemorySpanExporter, shape: str) -> None:
    await called(served.channel("proxy"), shape, GOOD)
    await failure(served.channel("proxy"), shape, named("broken"))
    good, broken = spans.get_finished_spans()
    assert good.name == broken.name == f"{SERVICE}/{shape}"
    assert good.attributes is not None
    assert broken.attributes is not None
    assert (good.attributes["rpc.response.status_code"], broken.attributes["rpc.response.status_code"]) == (
        "OK", "INTERNAL",
    )  # fmt: skip
    assert broken.attributes["cordboard.error.reason"] == "INTERNAL"
    assert "hunter2" not in broken.to_json()


async def test_a_stream_of_requests_may_be_empty_or_long(served: Served) -> None:
    channel = served.channel("proxy")
    assert await called(channel, "StreamStream") == []
    assert [found.name for found in await called(channel, "StreamStream", *[GOOD] * 100)] == ["integrations/x"] * 100
    assert await called(channel, "StreamUnary") == [pb.Integration()]


async def test_what_came_before_a_malformed_message_is_answered(served: Served) -> None:
    messages: Any = iter([GOOD, GOOD, b"\xff"])
    call: Any = served.channel("proxy").stream_stream(
        f"/{SERVICE}/StreamStream", response_deserializer=pb.Integration.FromString
    )(messages, timeout=10)
    received = []
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        async for found in call:
            received.append(found.name)  # noqa: PERF401 - what came before the error counts
    assert (received, ended.value.code()) == (["integrations/x"] * 2, grpc.StatusCode.INVALID_ARGUMENT)


async def test_a_caller_who_goes_away_is_no_fault(served: Served, notes: list[str]) -> None:
    for shape in ("UnaryUnary", "UnaryStream"):
        notes.clear()
        channel = served.channel("proxy")
        task = asyncio.create_task(called(channel, shape, named("slow"), timeout=60))
        await noted(notes, "inner enters")
        task.cancel()
        await noted(notes, "outer leaves with CancelledError")
        await asyncio.gather(task, return_exceptions=True)
