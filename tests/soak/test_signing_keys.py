"""Signing keys rotate three times under 200 calls a second, and not one call fails."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Final

import grpc
import jwt

from cordboard.auth.v1 import token_service_pb2 as tokens
from cordboard.local.certificates import SERVICES
from tests.e2e.test_tokens import REFUSED, answer
from tests.fixtures.desk import Desk

METHOD: Final = "/cordboard.catalog.v1.CatalogService/ListIntegrations"
RATE: Final = 200
ROTATIONS: Final = 3
# Longer than the time for which a new key is only published.
BETWEEN: Final = 30.0
# Envoy lets 50 calls a second of each workspace pass.
WORKSPACES: Final = 8


async def test_no_call_fails_while_keys_rotate(desk: Desk) -> None:
    mesh = desk.mesh
    assert "catalog" in SERVICES
    workspaces = [(await desk.tenant()).workspace.removeprefix("workspaces/") for _ in range(WORKSPACES)]
    current = {workspace: await mesh.token("member", workspace=workspace) for workspace in workspaces}
    codes: Counter[str] = Counter()
    kids: set[str] = set()
    running: set[asyncio.Task[None]] = set()
    ends = time.monotonic() + BETWEEN * (ROTATIONS + 1)

    async def call(channel: grpc.aio.Channel, token: str) -> None:
        code, _ = await answer(channel, METHOD, token)
        codes[code.name] += 1

    async def renew() -> None:
        # New tokens all the time, so that each key signs what is used at once.
        while time.monotonic() < ends:
            for workspace in workspaces:
                token = await mesh.token("member", workspace=workspace)
                kids.add(jwt.get_unverified_header(token)["kid"])
                current[workspace] = token
            await asyncio.sleep(0.2)

    async def rotate() -> None:
        async with mesh.operator() as operator:
            for _ in range(ROTATIONS):
                await operator.tokens.RotateSigningKey(tokens.RotateSigningKeyRequest())
                await asyncio.sleep(BETWEEN)

    async with mesh.edge() as edge, mesh.channel("catalog", "envoy") as direct:
        others = [asyncio.create_task(renew()), asyncio.create_task(rotate())]
        begun, sent = time.monotonic(), 0
        while time.monotonic() < ends:
            token = current[workspaces[sent % WORKSPACES]]
            task = asyncio.create_task(call(direct if sent % 2 else edge, token))
            running.add(task)
            task.add_done_callback(running.discard)
            sent += 1
            await asyncio.sleep(max(0.0, begun + sent / RATE - time.monotonic()))
        await asyncio.gather(*others, *running)
    seconds = time.monotonic() - begun
    print(f"\n{sent} calls in {seconds:.0f} s, {sent / seconds:.0f} a second, {len(kids)} keys signed: {dict(codes)}")
    assert len(kids) >= ROTATIONS + 1
    assert sum(codes[code.name] for code in REFUSED) == 0
    assert set(codes) == {"OK"}
