from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cordboard.auth.v1 import token_service_pb2 as token_pb
from cordboard.auth.v1.token_service_pb2_grpc import TokenServiceServicer, add_TokenServiceServicer_to_server
from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.catalog.v1.catalog_service_pb2_grpc import (
    CatalogServiceServicer,
    CatalogServiceStub,
    add_CatalogServiceServicer_to_server,
)
from cordboard.core.caller import current_caller
from cordboard.core.errors import InvalidFields, LimitExceeded, NotFound, Violation
from cordboard.core.layers import remaining
from cordboard.core.server import Process
from cordboard.core.settings import Settings
from cordboard.local.ports import Ports
from tests.fixtures.serving import Served, Serving, TokenMint

NOWHERE = "postgresql+asyncpg://nobody:nothing@127.0.0.1:1/nothing"


class Catalog(CatalogServiceServicer):
    """Answers by what the name asks for."""

    async def GetIntegration(self, request: pb.GetIntegrationRequest, context: Any) -> pb.Integration:
        match request.name:
            case "integrations/missing":
                raise NotFound(request.name)
            case "integrations/limited":
                raise LimitExceeded("calls", "workspace", 1.5)
            case "integrations/wrong":
                raise InvalidFields([Violation("name", "is wrong"), Violation("other", "is wrong too")])
            case "integrations/broken":
                raise RuntimeError("password=hunter2")
            case "integrations/slow":
                await asyncio.sleep(60)
        left = remaining()
        assert left is not None
        return pb.Integration(name=request.name, owner=current_caller().actor, action_count=int(left))

    async def WatchDefinitions(
        self, request: pb.WatchDefinitionsRequest, context: Any
    ) -> AsyncIterator[pb.WatchDefinitionsResponse]:
        yield pb.WatchDefinitionsResponse(sequence=1)
        if request.after_sequence == 13:
            raise RuntimeError("password=hunter2")
        yield pb.WatchDefinitionsResponse(sequence=2)
        if request.after_sequence == 14:
            await asyncio.Event().wait()


async def start(process: Process[Settings]) -> None:
    add_CatalogServiceServicer_to_server(Catalog(), process.server)  # type: ignore[abstract] # answers a part


@pytest.fixture
async def served(serving: Serving) -> AsyncIterator[Served]:
    async with serving("catalog", Settings, start, database_url=NOWHERE) as running:
        yield running


def details(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    trailers = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    found: dict[str, Any] = {}
    for packed in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            message = kind()
            if packed.Unpack(message):
                found[kind.__name__] = message
    return found


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_call_with_a_role_is_answered(served: Served) -> None:
    stub = CatalogServiceStub(served.as_role("reader", workspace="acme"))
    answer = await stub.GetIntegration(pb.GetIntegrationRequest(name="integrations/x"), timeout=10)
    assert answer.owner == "workspaces/acme"
    assert 5 <= answer.action_count <= 10, "the caller's deadline reached the handler"


async def test_a_service_named_in_the_rule_needs_no_token(served: Served) -> None:
    stub = CatalogServiceStub(served.channel("proxy"))
    answer = await stub.GetIntegration(pb.GetIntegrationRequest(name="integrations/x"))
    assert answer.owner == "peer:proxy"


async def test_a_service_without_a_rule_is_refused_even_with_a_token(served: Served) -> None:
    for token in ("", served.mint.token("operator")):
        stub = CatalogServiceStub(served.channel("telemetry", token))
        error = await failure(stub.GetIntegration(pb.GetIntegrationRequest(name="integrations/x")))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert details(error)["ErrorInfo"].reason == "ACCESS_DENIED"


async def test_a_caller_without_a_token_is_unauthenticated(served: Served) -> None:
    stub = CatalogServiceStub(served.channel("envoy"))
    error = await failure(stub.GetIntegration(pb.GetIntegrationRequest(name="integrations/x")))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert details(error)["ErrorInfo"].metadata["problem"] == "missing"


async def test_a_role_that_is_not_in_the_rule_is_refused(served: Served) -> None:
    stub = CatalogServiceStub(served.as_role("reader", workspace="acme"))
    error = await failure(stub.PublishDefinition(pb.PublishDefinitionRequest(document="x")))
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_errors_carry_reason_fields_and_delay(served: Served) -> None:
    stub = CatalogServiceStub(served.as_role("reader", workspace="acme"))
    missing = await failure(stub.GetIntegration(pb.GetIntegrationRequest(name="integrations/missing")))
    assert missing.code() is grpc.StatusCode.NOT_FOUND
    assert details(missing)["ErrorInfo"].metadata["name"] == "integrations/missing"
    limited = await failure(stub.GetIntegration(pb.GetIntegrationRequest(name="integrations/limited")))
    assert details(limited)["RetryInfo"].retry_delay.ToMilliseconds() == 1500
    wrong = await failure(stub.GetIntegration(pb.GetIntegrationRequest(name="integrations/wrong")))
    assert [found.field for found in details(wrong)["BadRequest"].field_violations] == ["name", "other"]


async def test_a_missing_required_field_is_named(served: Served) -> None:
    stub = CatalogServiceStub(served.as_role("reader", workspace="acme"))
    error = await failure(stub.GetIntegration(pb.GetIntegrationRequest()))
    assert [found.field for found in details(error)["BadRequest"].field_violations] == ["name"]


async def test_what_nobody_foresaw_is_internal_and_says_nothing(served: Served) -> None:
    stub = CatalogServiceStub(served.as_role("reader", workspace="acme"))
    error = await failure(stub.GetIntegration(pb.GetIntegrationRequest(name="integrations/broken")))
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert "hunter2" not in str(error.trailing_metadata())


async def test_a_stream_is_refused_and_fails_as_a_unary_call_does(served: Served) -> None:
    open_stub = CatalogServiceStub(served.channel("proxy"))
    assert [answer.sequence async for answer in open_stub.WatchDefinitions(pb.WatchDefinitionsRequest())] == [1, 2]
    received = []
    with pytest.raises(grpc.aio.AioRpcError) as broken:
        async for answer in open_stub.WatchDefinitions(pb.WatchDefinitionsRequest(after_sequence=13)):
            received.append(answer.sequence)  # noqa: PERF401 - what came before the error counts
    assert (received, broken.value.details()) == ([1], "internal error")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in CatalogServiceStub(served.channel("envoy")).WatchDefinitions(pb.WatchDefinitionsRequest()):
            raise AssertionError("nothing may come")
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_malformed_bytes_are_an_invalid_argument(served: Served) -> None:
    channel = served.as_role("reader", workspace="acme")
    raw: Any = channel.unary_unary("/cordboard.catalog.v1.CatalogService/GetIntegration")
    error = await failure(raw(b"\xff\xff\xff\xff"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(error)["ErrorInfo"].reason == "MALFORMED_MESSAGE"


async def test_an_unknown_method_is_unimplemented(served: Served) -> None:
    raw: Any = served.as_role("operator").unary_unary("/cordboard.catalog.v1.CatalogService/Nothing")
    error = await failure(raw(b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert details(error)["ErrorInfo"].reason == "METHOD_UNKNOWN"


async def test_the_deadline_ends_the_call(served: Served) -> None:
    stub = CatalogServiceStub(served.as_role("reader", workspace="acme"))
    error = await failure(stub.GetIntegration(pb.GetIntegrationRequest(name="integrations/slow"), timeout=0.2))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_call_is_a_span_below_the_callers_span(served: Served, spans: InMemorySpanExporter) -> None:
    stub = CatalogServiceStub(served.as_role("reader", workspace="acme"))
    parent = "00-11111111111111111111111111111111-2222222222222222-01"
    request = pb.GetIntegrationRequest(name="integrations/missing")
    await failure(stub.GetIntegration(request, metadata=[("traceparent", parent)]))
    (span,) = spans.get_finished_spans()
    assert span.name == "cordboard.catalog.v1.CatalogService/GetIntegration"
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == "2" * 16
    assert span.attributes is not None
    assert span.attributes["rpc.response.status_code"] == "NOT_FOUND"
    assert span.attributes["cordboard.error.reason"] == "RESOURCE_NOT_FOUND"
    assert span.attributes["cordboard.workspace"] == "acme"


async def test_a_peer_without_a_certificate_cannot_connect(served: Served) -> None:
    ca = (served.identities.directory("envoy") / "ca.crt").read_bytes()
    channel = grpc.aio.secure_channel(
        served.address,
        grpc.ssl_channel_credentials(ca),
        options=[("grpc.ssl_target_name_override", "catalog.cordboard.internal")],
    )
    async with channel:
        stub = CatalogServiceStub(channel)
        error = await failure(stub.GetIntegration(pb.GetIntegrationRequest(name="integrations/x"), timeout=5))
    assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_stop_ends_watches_and_does_not_wait_for_them(serving: Serving) -> None:
    async with serving("catalog", Settings, start, database_url=NOWHERE, grace_seconds=60.0) as served:
        watch: Any = CatalogServiceStub(served.channel("proxy")).WatchDefinitions(
            pb.WatchDefinitionsRequest(after_sequence=14)
        )
        assert [(await watch.read()).sequence for _ in range(2)] == [1, 2]
        stopping = asyncio.create_task(served.process.close())
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await watch.read()
        async with asyncio.timeout(50):
            await stopping
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


class Keys(TokenServiceServicer):
    """Gives the keys of a mint, as Auth does."""

    def __init__(self, mint: TokenMint) -> None:
        self._mint = mint

    async def GetJwks(self, request: token_pb.GetJwksRequest, context: Any) -> HttpBody:
        return HttpBody(content_type="application/jwk-set+json", data=(await self._mint.jwks()).encode())


async def test_a_service_serves_once_it_has_auths_keys_and_goes_on_without_them(
    serving: Serving, mint: TokenMint
) -> None:
    async def begin(process: Process[Settings]) -> None:
        add_TokenServiceServicer_to_server(Keys(mint), process.server)  # type: ignore[abstract] # answers a part

    ports = Ports()
    address = f"127.0.0.1:{ports.claim()}"
    async with serving("catalog", Settings, start, database_url=NOWHERE, own_keys=True, auth_address=address) as served:
        health: Any = health_pb2_grpc.HealthStub(served.channel("operator"))

        async def status(service: str) -> Any:
            return (await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=20)).status

        async with asyncio.timeout(60):
            # It has looked, and Auth was not there.
            async for told in health.Watch(health_pb2.HealthCheckRequest(service="auth")):
                if told.status == health_pb2.HealthCheckResponse.NOT_SERVING:
                    break
        assert await status("") == health_pb2.HealthCheckResponse.NOT_SERVING
        ports.release()
        async with serving("auth", Settings, begin, database_url=NOWHERE, listen_address=address):
            async with asyncio.timeout(60):
                while await status("") != health_pb2.HealthCheckResponse.SERVING:  # noqa: ASYNC110 - it looks by itself
                    await asyncio.sleep(0.02)
        assert await status("auth") == await status("") == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has processes that are not dumpable")
def test_a_process_that_holds_secrets_is_not_dumpable() -> None:
    program = """
import ctypes, resource
from cordboard.core import server
def told():
    return [ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE)]
before = told()[0]
server._harden()
print(before, *told())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    # The first figure is the control: without it a process is dumpable.
    assert done.stdout.split() == ["1", "0", "0", "0"]
