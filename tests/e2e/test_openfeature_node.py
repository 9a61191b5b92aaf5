"""Other people's OpenFeature providers for Node.js and browsers, as they are on npm, against a whole mesh."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from cordboard.auth.v1 import workspace_service_pb2 as workspace_pb
from cordboard.client import Client
from cordboard.core.structs import to_value
from cordboard.flags.v1 import flag_service_pb2 as pb
from tests.fixtures.mesh import RunningMesh

NODE: Final = Path(__file__).parent.parent / "node"

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(
        shutil.which("node") is None or not (NODE / "node_modules" / "@openfeature").is_dir(),
        reason="Node.js or its packages are missing (`make node`): NO provider of another language is tried",
    ),
]


async def put(operator: Client, key: str, default: str, *rules: pb.Rule, **variants: Any) -> None:
    values = {name: to_value(value) for name, value in variants.items()}
    flag = pb.Flag(name=f"flags/{key}", variants=values, default_variant=default, rules=rules)
    await operator.flags.PutFlag(pb.PutFlagRequest(flag=flag))


@pytest.mark.parametrize("provider", ["rpc", "in-process", "ofrep", "web"])
async def test_a_provider_gets_what_its_workspace_gets_and_sees_it_change(
    running_mesh: RunningMesh, operator: Client, provider: str
) -> None:
    key, workspace = f"js-{uuid4().hex[:8]}", f"w-{uuid4().hex[:8]}"
    given = workspace_pb.Workspace(customer="northwind-corp", tier="business", region="eu")
    await operator.workspaces.CreateWorkspace(
        workspace_pb.CreateWorkspaceRequest(workspace_id=workspace, workspace=given)
    )
    await put(operator, key, "off", pb.Rule(workspaces=[workspace], variant="on"), on=True, off=False)
    await put(operator, f"{key}-text", "a", a="one", b="two")
    await put(operator, f"{key}-number", "a", a=7)
    await put(operator, f"{key}-object", "a", a={"color": "red", "sizes": [1, 2]})
    host, _, port = running_mesh.mesh.public_address.partition(":")
    ca_file = str(running_mesh.mesh.ca_file)
    told = {
        "provider": provider,
        "host": "localhost" if host == "127.0.0.1" else host,
        "port": int(port),
        "ca": ca_file,
        "token": await running_mesh.token("member", workspace=workspace),
        "key": key,
    }
    node = await asyncio.create_subprocess_exec(
        "node", "flags.mjs", cwd=NODE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env={**os.environ, "NODE_EXTRA_CA_CERTS": ca_file},
    )  # fmt: skip
    assert node.stdin is not None
    assert node.stdout is not None
    assert node.stderr is not None
    try:
        async with asyncio.timeout(60):
            node.stdin.write(json.dumps(told).encode() + b"\n")
            before = await node.stdout.readline()
            assert before, (await node.stderr.read()).decode()[-2000:]
            assert json.loads(before) == {
                "boolean": [True, "on", "TARGETING_MATCH"],
                "text": "one",
                "number": 7,
                "object": {"color": "red", "sizes": [1, 2]},
                "none": ["of the code", "FLAG_NOT_FOUND"],
                "wrong": ["of the code", "TYPE_MISMATCH"],
            }
            assert json.loads(await node.stdout.readline()) == "listening"
            await operator.flags.KillFlag(pb.KillFlagRequest(name=f"flags/{key}", reason="fire"))
            node.stdin.write(b"\n")
            after = await node.stdout.readline()
            assert after, (await node.stderr.read()).decode()[-2000:]
            assert json.loads(after)["boolean"][:2] == [False, "off"]
            assert await node.wait() == 0
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()
