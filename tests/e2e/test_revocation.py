"""What is revoked is refused by every service, and through Envoy, within five seconds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
import jwt
import pytest

from cordboard.auth.v1 import api_key_service_pb2 as keys
from cordboard.auth.v1 import revocation_service_pb2 as revocations
from cordboard.client import Client
from cordboard.common.v1 import options_pb2 as roles
from cordboard.local.certificates import SERVICES
from tests.e2e.test_tokens import METHODS, REFUSED, answer
from tests.fixtures.desk import Desk
from tests.fixtures.mesh import RunningMesh, until

WITHIN: Final = 5.0
# Asked with nothing, by a member: let in, whatever comes then.
MEMBERS: Final = METHODS | {"auth": "/cordboard.auth.v1.ConnectionService/ListConnections"}


async def _token(mesh: RunningMesh, workspace: str, _: Client) -> str:
    return await mesh.token("member", workspace=workspace)


async def _key(_: RunningMesh, workspace: str, operator: Client) -> str:
    request = keys.CreateApiKeyRequest(
        parent=f"workspaces/{workspace}", environment="production", roles=[roles.ROLE_MEMBER]
    )
    return str((await operator.api_keys.CreateApiKey(request)).secret)


async def _revoke_token(operator: Client, workspace: str, credential: str) -> None:
    token_id = jwt.decode(credential, options={"verify_signature": False})["jti"]
    await operator.revocations.RevokeToken(revocations.RevokeTokenRequest(name=f"tokens/{token_id}"))


async def _revoke_workspace(operator: Client, workspace: str, _: str) -> None:
    request = revocations.RevokeAllTokensRequest(workspace=f"workspaces/{workspace}")
    await operator.revocations.RevokeAllTokens(request)


async def _revoke_key(operator: Client, workspace: str, credential: str) -> None:
    key_id = credential.split("_")[-2]
    name = f"workspaces/{workspace}/apiKeys/{key_id}"
    await operator.api_keys.RevokeApiKey(keys.RevokeApiKeyRequest(name=name))


@pytest.mark.parametrize(
    ("make", "revoke"),
    [(_token, _revoke_token), (_token, _revoke_workspace), (_key, _revoke_key)],
    ids=["a token", "a workspace", "an API key"],
)
async def test_a_revocation_holds_everywhere_within_five_seconds(
    desk: Desk, make: Callable[..., Awaitable[str]], revoke: Callable[..., Awaitable[None]]
) -> None:
    mesh, tenant = desk.mesh, await desk.tenant()
    workspace = tenant.workspace.removeprefix("workspaces/")
    async with mesh.operator() as operator, contextlib.AsyncExitStack() as stack:
        doors: dict[str, tuple[grpc.aio.Channel, str]] = {}
        for service in SERVICES:
            channel = await stack.enter_async_context(mesh.channel(service, "envoy"))
            doors[service] = channel, MEMBERS[service]
        doors["through Envoy"] = await stack.enter_async_context(mesh.edge()), MEMBERS["catalog"]
        credential = await make(mesh, workspace, operator)
        for name, (channel, method) in doors.items():
            assert (await answer(channel, method, credential))[0] is not grpc.StatusCode.UNAUTHENTICATED, name
        await revoke(operator, workspace, credential)
        began = time.monotonic()

        async def refused(channel: grpc.aio.Channel, method: str) -> float:
            async def gone() -> Any:
                return (await answer(channel, method, credential))[0] in REFUSED

            await until(gone, "the credential to be refused")
            return time.monotonic() - began

        took = await asyncio.gather(*(refused(*door) for door in doors.values()))
        print(f"\nrefused after {max(took):.2f} s at the latest: {dict(zip(doors, took, strict=True))}")
        assert max(took) < WITHIN
        for channel, method in doors.values():
            assert (await answer(channel, method, credential))[0] is grpc.StatusCode.UNAUTHENTICATED
        if make is _token:
            fresh = await make(mesh, workspace, operator)
            for name, (channel, method) in doors.items():
                assert (await answer(channel, method, fresh))[0] is not grpc.StatusCode.UNAUTHENTICATED, name
