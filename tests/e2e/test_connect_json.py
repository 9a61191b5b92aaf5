"""flagd's services by the Connect protocol's JSON codec, through Envoy, as its own words have it."""

from __future__ import annotations

import json
from typing import Any, Final
from uuid import uuid4

import aiohttp
import pytest
from yarl import URL

from cordboard.client import Client
from cordboard.flags.v1 import flag_service_pb2 as pb
from tests.e2e.test_ofrep import put, workspace
from tests.fixtures.mesh import Answer, RunningMesh

VERSIONS: Final = ("v1", "v2")


async def call(mesh: RunningMesh, token: str, version: str, method: str, body: Any, **headers: str) -> Answer:
    """Calls a method of flagd's service with JSON."""
    sent = {"authorization": f"Bearer {token}", "content-type": "application/json", "connect-protocol-version": "1"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await mesh.http("POST", f"/flagd.evaluation.{version}.Service/{method}", data=data, headers=sent)


@pytest.mark.parametrize("version", VERSIONS)
async def test_values_of_each_type_come_as_json(running_mesh: RunningMesh, operator: Client, version: str) -> None:
    key, mine = f"connect-{uuid4().hex[:8]}", await workspace(operator)
    token = await running_mesh.token("member", workspace=mine)
    await put(operator, key, {"on": True, "off": False}, "off", pb.Rule(workspaces=[mine], variant="on"))
    # What the caller claims under the token's names counts for nothing.
    claimed = {"flagKey": key, "context": {"workspace": "another", "plan": 7.0}, "unknown": 1}
    answer = await call(running_mesh, token, version, "ResolveBoolean", claimed)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {
        "value": True, "reason": "TARGETING_MATCH", "variant": "on", "metadata": {"revision": 1},
    }  # fmt: skip
    for method, value, shown in (
        ("ResolveString", "ü😀", "ü😀"), ("ResolveInt", 7, "7"), ("ResolveFloat", 2.5, 2.5),
        ("ResolveObject", {"sizes": [1, 2]}, {"sizes": [1.0, 2.0]}),
    ):  # fmt: skip
        await put(operator, f"{key}-{method}", {"a": value}, "a")
        # PHP's provider sends no version of the protocol.
        answer = await call(
            running_mesh, token, version, method, {"flagKey": f"{key}-{method}"}, connect_protocol_version=""
        )
        assert answer.json()["value"] == shown
    if version == "v1":
        flags = (await call(running_mesh, token, version, "ResolveAll", {})).json()["flags"]
        assert flags[key] == {
            "reason": "TARGETING_MATCH", "variant": "on", "boolValue": True, "metadata": {"revision": 1},
        }  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_cannot_be_answered_has_connect_s_code(
    running_mesh: RunningMesh, operator: Client, version: str
) -> None:
    key = f"connect-{uuid4().hex[:8]}"
    token = await running_mesh.token("member", workspace=await workspace(operator))
    await put(operator, key, {"a": "one"}, "a")
    for method, body, headers, status, code in (
        ("ResolveString", {"flagKey": f"{key}-none"}, {}, 404, "not_found"),
        ("ResolveBoolean", {"flagKey": key}, {}, 400, "invalid_argument"),
        ("ResolveString", b"{", {}, 400, "invalid_argument"),
        ("ResolveString", b"[1]", {}, 400, "invalid_argument"),
        ("ResolveString", {"flagKey": 7}, {}, 400, "invalid_argument"),
        ("ResolveString", b"\xff", {}, 400, "invalid_argument"),
        ("ResolveString", {"flagKey": key}, {"flagd_selector": "color=red"}, 400, "invalid_argument"),
        ("ResolveNothing", {}, {}, 501, "unimplemented"),
    ):
        answer = await call(running_mesh, token, version, method, body, **headers)
        assert (answer.status, answer.json()["code"]) == (status, code), (method, body)
        assert answer.json()["message"]
        assert "cordboard-http-status" not in answer.headers
    refused = await call(running_mesh, f"{token}x", version, "ResolveString", {"flagKey": key})
    assert (refused.status, "one" in refused.text) == (401, False)


async def envelope(mesh: RunningMesh, stream: aiohttp.ClientResponse) -> tuple[int, Any]:
    """Returns the next envelope of a stream: its flag, and what is in it."""
    flag, *size = await mesh.backstage.wait(stream.content.readexactly(5))
    return flag, json.loads(await mesh.backstage.wait(stream.content.readexactly(int.from_bytes(bytes(size), "big"))))


@pytest.mark.parametrize("version", VERSIONS)
async def test_events_come_in_envelopes(running_mesh: RunningMesh, operator: Client, version: str) -> None:
    key = f"connect-{uuid4().hex[:8]}"
    token = await running_mesh.token("member", workspace=await workspace(operator))
    url = URL(f"{running_mesh.mesh.public_url}/flagd.evaluation.{version}.Service/EventStream", encoded=True)
    sent = {"authorization": f"Bearer {token}", "content-type": "application/connect+json"}
    bound = aiohttp.ClientTimeout(sock_read=60)

    async def opened(**headers: str) -> aiohttp.ClientResponse:
        asking = running_mesh.browser.post(
            url, data=b"\0\0\0\0\x02{}", headers={**sent, "connect-protocol-version": "1", **headers}, timeout=bound
        )
        return await running_mesh.backstage.wait(asking)

    stream = await opened()
    try:
        assert (stream.status, stream.headers["content-type"]) == (200, "application/connect+json")
        assert await envelope(running_mesh, stream) == (0, {"type": "provider_ready"})
        await put(operator, key, {"a": "one"}, "a")
        while True:
            flag, said = await envelope(running_mesh, stream)
            assert flag == 0
            # Other tests change flags too.
            if key in said.get("data", {}).get("flags", {}):
                break
        assert said["type"] == "configuration_change"
        assert said["data"]["flags"][key] == {"type": "write"}
    finally:
        running_mesh.backstage.loop.call_soon_threadsafe(stream.close)
    failed = await opened(**{"flagd-selector": "color=red"})
    try:
        flag, said = await envelope(running_mesh, failed)
        assert (flag, said["error"]["code"]) == (2, "invalid_argument")
    finally:
        running_mesh.backstage.loop.call_soon_threadsafe(failed.close)
