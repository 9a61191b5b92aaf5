"""OFREP through Envoy: what an HTTP client gets, held to the protocol's own words, and its providers for Node.js."""

from __future__ import annotations

import json
from typing import Any, Final
from uuid import uuid4

import aiohttp
import jsonschema_rs
import pytest
from yarl import URL

from cordboard.auth.v1 import workspace_service_pb2 as workspace_pb
from cordboard.client import Client
from cordboard.core.structs import to_value
from cordboard.flags.v1 import flag_service_pb2 as pb
from tests.fixtures.mesh import Answer, RunningMesh

ONE: Final = "/ofrep/v1/evaluate/flags/"
ALL: Final = "/ofrep/v1/evaluate/flags"

# What OFREP 0.3 says of its answers (https://github.com/open-feature/protocol, service/openapi.yaml), in our words. Its
# list of reasons lacks DEFAULT, which OpenFeature has and flagd sends.
PLAIN: Final = {"type": "object", "additionalProperties": {"type": ["boolean", "string", "number"]}}
FOUND: Final = {
    "type": "object",
    "required": ["key", "reason"],
    "properties": {
        "key": {"type": "string"},
        "reason": {"enum": ["STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "UNKNOWN", "DEFAULT"]},
        "variant": {"type": "string"},
        "value": {"type": ["boolean", "string", "number", "object"]},
        "metadata": PLAIN,
    },
    "not": {"required": ["errorCode"]},
}
FAILED: Final = {
    "type": "object",
    "required": ["key", "errorCode"],
    "properties": {
        "key": {"type": "string"},
        "errorCode": {"enum": ["PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "GENERAL"]},
        "errorDetails": {"type": "string"},
    },
    "not": {"required": ["value"]},
}
UNKNOWN: Final = {**FAILED, "properties": {**FAILED["properties"], "errorCode": {"const": "FLAG_NOT_FOUND"}}}  # type: ignore[dict-item]
PLACE: Final = {
    "type": "object",
    "required": ["requestUri"],
    "properties": {"origin": {"type": "string"}, "requestUri": {"type": "string"}},
}
STREAM: Final = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": {"type": "string"},
        "url": {"type": "string"},
        "endpoint": PLACE,
        "inactivityDelaySec": {"type": "integer", "minimum": 1},
    },
    "oneOf": [{"required": ["url"]}, {"required": ["endpoint"]}],
}
EVERY: Final = {
    "type": "object",
    "required": ["flags"],
    "properties": {
        "flags": {"type": "array", "items": {"oneOf": [FOUND, FAILED]}},
        "metadata": PLAIN,
        "eventStreams": {"type": "array", "items": STREAM},
    },
}
NONE: Final = {"type": "object", "required": ["errorCode"], "properties": {"errorCode": {"type": "string"}}}
SCHEMAS: Final = {(ONE, 200): FOUND, (ONE, 400): FAILED, (ONE, 404): UNKNOWN, (ALL, 200): EVERY, (ALL, 400): NONE}


async def ask(mesh: RunningMesh, token: str, key: str | None, body: Any, **headers: str) -> Answer:
    """Asks for a flag, or for all; holds the answer to the protocol."""
    path = ALL if key is None else ONE
    sent = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await mesh.http("POST", path + (key or ""), data=data, headers=sent)
    if answer.status != 304:
        jsonschema_rs.validate(SCHEMAS[path, answer.status], answer.json())
    return answer


async def put(operator: Client, key: str, variants: dict[str, Any], default: str, *rules: pb.Rule) -> None:
    values = {name: to_value(value) for name, value in variants.items()}
    flag = pb.Flag(name=f"flags/{key}", variants=values, default_variant=default, rules=rules)
    await operator.flags.PutFlag(pb.PutFlagRequest(flag=flag))


async def workspace(operator: Client, tier: str = "business") -> str:
    found = f"w-{uuid4().hex[:8]}"
    given = workspace_pb.Workspace(customer="northwind-corp", tier=tier, region="eu")
    request = workspace_pb.CreateWorkspaceRequest(workspace_id=found, workspace=given)
    await operator.workspaces.CreateWorkspace(request)
    return found


async def test_a_flag_is_evaluated_for_the_workspace_of_the_token(running_mesh: RunningMesh, operator: Client) -> None:
    key = f"ofrep-{uuid4().hex[:8]}"
    mine = await workspace(operator)
    token = await running_mesh.token("member", workspace=mine)
    await put(operator, key, {"on": True, "off": False}, "off", pb.Rule(workspaces=[mine], variant="on"))
    claimed = {"context": {"targetingKey": "somebody", "workspace": "another", "tier": "free"}}
    answer = await ask(running_mesh, token, key, claimed)
    assert answer.status == 200
    assert answer.json() == {
        "key": key,
        "value": True,
        "reason": "TARGETING_MATCH",
        "variant": "on",
        "metadata": {"revision": 1},
    }
    assert "cordboard-http-status" not in answer.headers
    # The control: another workspace claims to be this one.
    other = await running_mesh.token("member", workspace=await workspace(operator))
    claimed["context"]["workspace"] = mine
    assert (await ask(running_mesh, other, key, claimed)).json()["value"] is False


async def test_values_of_each_type_come_as_they_are(running_mesh: RunningMesh, operator: Client) -> None:
    token = await running_mesh.token("member", workspace=await workspace(operator))
    for value in (True, "text", 7, 2.5, {"color": "red", "sizes": [1, 2]}, "ü😀"):
        key = f"ofrep-{uuid4().hex[:8]}"
        await put(operator, key, {"a": value}, "a")
        found = (await ask(running_mesh, token, key, {"context": {}})).json()
        assert (found["value"], found["reason"], found["variant"]) == (value, "STATIC", "a")
    key = f"ofrep-{uuid4().hex[:8]}"
    await put(operator, key, {"a": [1, 2]}, "a")
    answer = await ask(running_mesh, token, key, {"context": {}})
    assert (answer.status, answer.json()["errorCode"]) == (400, "GENERAL")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "PARSE_ERROR"),
        (b"[1]", "PARSE_ERROR"),
        (b'{"context": {"a": NaN}}', "PARSE_ERROR"),
        (b"[" * 5000, "PARSE_ERROR"),
        (b"\xff", "PARSE_ERROR"),
        ({"context": 7}, "INVALID_CONTEXT"),
        ({"context": {"targetingKey": 7}}, "INVALID_CONTEXT"),
    ],
)
async def test_a_request_that_cannot_be_used_is_refused_in_the_protocol_s_words(
    running_mesh: RunningMesh, operator: Client, body: Any, code: str
) -> None:
    token = await running_mesh.token("member", workspace=await workspace(operator))
    for key in ("any", None):
        answer = await ask(running_mesh, token, key, body)
        assert (answer.status, answer.json()["errorCode"]) == (400, code)


async def test_an_unknown_flag_is_not_found(running_mesh: RunningMesh, operator: Client) -> None:
    token = await running_mesh.token("member", workspace=await workspace(operator))
    answer = await ask(running_mesh, token, "of/none", {"context": {}})
    assert (answer.status, answer.json()["key"]) == (404, "of/none")


async def test_without_a_token_nothing_is_told(running_mesh: RunningMesh) -> None:
    for path in (ALL, f"{ONE}any"):
        answer = await running_mesh.http("POST", path, json={"context": {}})
        assert answer.status == 401
        assert "flags" not in answer.json()


async def test_all_flags_come_with_a_tag_and_not_again_while_it_holds(
    running_mesh: RunningMesh, operator: Client
) -> None:
    key = f"ofrep-{uuid4().hex[:8]}"
    mine = await workspace(operator)
    token = await running_mesh.token("member", workspace=mine)
    await put(operator, key, {"a": "one", "b": "two"}, "a")
    first = await ask(running_mesh, token, None, {"context": {"targetingKey": "x"}})
    flags = {each["key"]: each for each in first.json()["flags"]}
    assert flags[key]["value"] == "one"
    tag = first.headers["etag"]
    again = await ask(running_mesh, token, None, {"context": {"targetingKey": "x"}}, if_none_match=tag)
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    # A client says in the query which news it heard.
    sent = {"authorization": f"Bearer {token}", "if-none-match": f'"other", W/{tag}'}
    asked = await running_mesh.http("POST", f"{ALL}?flagConfigEtag=5", json={"context": {}}, headers=sent)
    assert asked.status == 304
    await put(operator, key, {"a": "one", "b": "two"}, "b")
    changed = await ask(running_mesh, token, None, {"context": {"targetingKey": "x"}}, if_none_match=tag)
    assert changed.status == 200
    assert changed.headers["etag"] != tag


async def opened(mesh: RunningMesh, path: str, **headers: str) -> aiohttp.ClientResponse:
    """Opens a stream; the caller closes it. Both happen backstage, where the HTTP client lives."""
    url = URL(mesh.mesh.public_url + path, encoded=True)
    return await mesh.backstage.wait(
        mesh.browser.get(url, headers=headers, timeout=aiohttp.ClientTimeout(sock_read=60))
    )


async def event(mesh: RunningMesh, stream: aiohttp.ClientResponse) -> dict[str, str]:
    """Returns the fields of the next event that says something."""
    found: dict[str, str] = {}
    while not ("data" in found and found.get("end")):
        line = (await mesh.backstage.wait(stream.content.readline())).decode()
        assert line, "the stream has ended"
        name, _, value = line.strip().partition(":")
        found |= {name: value.strip()} if line.strip() else {"end": "yes"}
    return found


async def test_the_answer_about_all_flags_names_a_stream_that_tells_of_changes(
    running_mesh: RunningMesh, operator: Client
) -> None:
    key = f"ofrep-{uuid4().hex[:8]}"
    token = await running_mesh.token("member", workspace=await workspace(operator))
    await put(operator, key, {"a": "one", "b": "two"}, "a")
    [named] = (await ask(running_mesh, token, None, {"context": {}})).json()["eventStreams"]
    path = named["endpoint"]["requestUri"]
    # The ticket in it is all that is needed: browsers can send nothing else.
    stream = await opened(running_mesh, path)
    try:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream"
        first = await event(running_mesh, stream)
        assert json.loads(first["data"])["type"] == "refetchEvaluation"
        await put(operator, key, {"a": "one", "b": "two"}, "b")
        # Other tests change flags too.
        while int((await event(running_mesh, stream))["id"]) <= int(first["id"]):
            pass
        assert (await ask(running_mesh, token, key, {"context": {}})).json()["value"] == "two"
    finally:
        running_mesh.backstage.loop.call_soon_threadsafe(stream.close)


async def test_a_stream_needs_a_ticket_and_no_token_replaces_it(running_mesh: RunningMesh, operator: Client) -> None:
    token = await running_mesh.token("member", workspace=await workspace(operator))
    [named] = (await ask(running_mesh, token, None, {"context": {}})).json()["eventStreams"]
    path = named["endpoint"]["requestUri"]
    sent = {"authorization": f"Bearer {token}"}
    for wrong, status in ((f"{path}x", 401), (path.replace("=", "=1"), 401), (path.partition("?")[0], 400)):
        for headers in ({}, sent):
            answer = await running_mesh.http("GET", wrong, headers=headers)
            assert (answer.status, "refetch" in answer.text) == (status, False), wrong
