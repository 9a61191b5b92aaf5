"""Unmodified OpenFeature providers against a whole mesh, through Envoy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import grpc
import pytest
from openfeature import api
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ProviderFatalError

from cordboard.auth.v1 import workspace_service_pb2 as workspace_pb
from cordboard.client import Client
from cordboard.core.structs import to_value
from cordboard.flags.v1 import flag_service_pb2 as pb
from tests.fixtures.mesh import RunningMesh

RESOLVERS = [ResolverType.RPC, ResolverType.IN_PROCESS]


def provider(mesh: RunningMesh, token: str, resolver: ResolverType) -> FlagdProvider:
    host, _, port = mesh.mesh.public_address.partition(":")
    tls = grpc.ssl_channel_credentials(mesh.mesh.ca_file.read_bytes())
    credentials = grpc.composite_channel_credentials(tls, grpc.access_token_call_credentials(token))
    return FlagdProvider(
        host="localhost" if host == "127.0.0.1" else host,
        port=int(port),
        tls=True,
        resolver_type=resolver,
        channel_credentials=credentials,
        deadline_ms=10_000,
    )


@pytest.fixture
def clean() -> Iterator[None]:
    yield
    api.shutdown()


async def put(operator: Client, key: str, default: str, *rules: pb.Rule, **variants: Any) -> None:
    values = {name: to_value(value) for name, value in variants.items()}
    flag = pb.Flag(name=f"flags/{key}", variants=values, default_variant=default, rules=rules)
    await operator.flags.PutFlag(pb.PutFlagRequest(flag=flag))


@pytest.mark.parametrize("resolver", RESOLVERS, ids=lambda each: each.value)
async def test_a_provider_gets_what_its_workspace_gets_and_sees_it_change(
    running_mesh: RunningMesh, operator: Client, resolver: ResolverType, clean: None
) -> None:
    key = f"of-{uuid4().hex[:8]}"
    workspace = f"w-{uuid4().hex[:8]}"
    given = workspace_pb.Workspace(customer="northwind-corp", tier="business", region="eu")
    await operator.workspaces.CreateWorkspace(
        workspace_pb.CreateWorkspaceRequest(workspace_id=workspace, workspace=given)
    )
    token = await running_mesh.token("member", workspace=workspace)
    mine = pb.Rule(workspaces=[workspace], variant="on")
    await put(operator, key, "off", mine, on=True, off=False)
    await put(operator, f"{key}-text", "a", a="one", b="two")
    await put(operator, f"{key}-number", "a", a=7)
    await put(operator, f"{key}-object", "a", a={"color": "red", "sizes": [1, 2]})
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def news(details: EventDetails) -> None:
        if key in (details.flags_changed or ()):
            loop.call_soon_threadsafe(changed.set)

    def ask() -> list[Any]:
        api.set_provider_and_wait(provider(running_mesh, token, resolver))
        client = api.get_client()
        # Whoever evaluates cannot claim another workspace than its token's.
        claimed = EvaluationContext("somebody", {"workspace": "another"} if resolver is ResolverType.RPC else {})
        found = client.get_boolean_details(key, False, claimed)
        return [
            (found.value, found.variant, str(found.reason)),
            client.get_string_value(f"{key}-text", "?"),
            client.get_integer_value(f"{key}-number", 0),
            client.get_object_value(f"{key}-object", {}),
            str(client.get_boolean_details(f"{key}-none", True).error_code),
        ]

    async with asyncio.timeout(60):
        answers = await asyncio.to_thread(ask)
        assert answers == [
            (True, "on", "TARGETING_MATCH"), "one", 7, {"color": "red", "sizes": [1, 2]}, "FLAG_NOT_FOUND",
        ]  # fmt: skip
        client = api.get_client()
        client.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, news)
        await operator.flags.KillFlag(pb.KillFlagRequest(name=f"flags/{key}", reason="fire"))
        await changed.wait()
        assert await asyncio.to_thread(client.get_boolean_value, key, True) is False


async def test_a_provider_without_a_token_gets_nothing(running_mesh: RunningMesh, clean: None) -> None:
    host, _, port = running_mesh.mesh.public_address.partition(":")
    credentials = grpc.ssl_channel_credentials(running_mesh.mesh.ca_file.read_bytes())
    refused = FlagdProvider(
        host="localhost" if host == "127.0.0.1" else host,
        port=int(port),
        tls=True,
        channel_credentials=credentials,
        fatal_status_codes=["UNAUTHENTICATED"],
        deadline_ms=10_000,
    )

    def ask() -> tuple[bool, str]:
        with pytest.raises(ProviderFatalError):
            api.set_provider_and_wait(refused)
        found = api.get_client().get_boolean_details("any", True)
        return found.value, str(found.error_code)

    async with asyncio.timeout(60):
        value, code = await asyncio.to_thread(ask)
    assert (value, code) == (True, "PROVIDER_FATAL")
