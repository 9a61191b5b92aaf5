"""The mesh over HTTP: JSON by transcoding, gRPC-Web, the key set, health; and what must not be reachable."""

from __future__ import annotations

import json
import struct
from typing import Any, Final

import grpc
import pytest

from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.proxy.v1 import proxy_service_pb2 as proxy
from tests.fixtures.desk import Desk, Tenant
from tests.fixtures.mesh import RunningMesh, new_traceparent

NOWHERE: Final = {"ticket_id": "tkt_99999999"}
TICKET: Final = {"subject": "Told in JSON", "requester_id": "con_00000001"}


def as_member(tenant: Tenant, **headers: str) -> dict[str, str]:
    """Returns the headers of a member."""
    return {"authorization": f"Bearer {tenant.token}", **headers}


async def test_an_integration_is_read_as_json(running_mesh: RunningMesh, northwind: Tenant) -> None:
    answer = await running_mesh.http("GET", "/v1/integrations/acme-desk", headers=as_member(northwind))
    assert answer.status == 200
    found = answer.json()
    assert found["name"] == "integrations/acme-desk"
    assert found["activeVersion"] == "1.0.0"
    assert {"oauth2", "apiKey", "basic"} <= set(found["authSchemes"])


async def test_a_large_answer_is_json_too(running_mesh: RunningMesh, northwind: Tenant) -> None:
    city = {"type": "string", "enum": [f"a town whose number is {number}" for number in range(4000)]}
    action = {
        "id": "move",
        "input_schema": {"type": "object", "properties": {"city": city}},
        "request": {
            "method": "GET",
            "path": "/",
            "parameters": [{"property": "city", "name": "city", "placement": "query"}],
        },
    }
    document = {
        "slug": "acme-large",
        "title": "Acme, at large",
        "servers": [{"id": "one", "url": "https://acme.example"}],
        "auth_schemes": [{"id": "key", "api_key": {"placement": "header", "name": "X-Api-Key"}}],
        "actions": [action],
    }
    async with running_mesh.operator() as operator:
        await operator.catalog.PublishDefinition(catalog.PublishDefinitionRequest(document=json.dumps(document)))
    path = "/v1/integrations/acme-large/versions/active"
    answer = await running_mesh.http("GET", path, headers=as_member(northwind))
    assert answer.status == 200
    assert len(answer.body) > 100_000
    assert answer.json()["definition"]["slug"] == "acme-large"


async def test_an_action_is_executed_by_json(running_mesh: RunningMesh, desk: Desk, northwind: Tenant) -> None:
    trace_id, header = new_traceparent()
    body = {"action": "create_ticket", "input": TICKET, "idempotencyKey": trace_id}
    headers = as_member(northwind, traceparent=header)
    answer = await running_mesh.http("POST", f"/v1/{northwind.connection}:execute", json=body, headers=headers)
    assert answer.status == 200, answer.text
    found = answer.json()
    assert (found["vendorStatus"], found["output"]["subject"]) == (201, TICKET["subject"])
    assert found["call"]["traceId"] == trace_id
    assert desk.tickets()[TICKET["subject"]] == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "reason"),
    [
        ("GET", "/v1/integrations/none", None, 404, 5, "RESOURCE_NOT_FOUND"),
        ("GET", "/v1/integrations/NOT%20A%20SLUG", None, 400, 3, "INVALID_FIELDS"),
        ("GET", "/v1/workspaces/elsewhere/calls", None, 404, 5, "RESOURCE_NOT_FOUND"),
        ("GET", "/v1/flags", None, 403, 7, "ACCESS_DENIED"),
        ("POST", "/v1/{connection}:execute", {"action": "create_ticket", "input": {}}, 400, 3, "INVALID_FIELDS"),
        ("POST", "/v1/{connection}:execute", {}, 400, 3, "INVALID_FIELDS"),
        ("POST", "/v1/{connection}:execute", {"action": "get_ticket", "input": NOWHERE}, 404, 5, "VENDOR_ERROR"),
    ],
)  # fmt: skip
async def test_an_error_is_json_with_the_right_status(
    running_mesh: RunningMesh,
    northwind: Tenant,
    method: str,
    path: str,
    body: Any,
    status: int,
    code: int,
    reason: str,
) -> None:
    path = path.replace("{connection}", northwind.connection)
    answer = await running_mesh.http(method, path, json=body, headers=as_member(northwind))
    found = answer.json()
    assert (answer.status, found["code"]) == (status, code), found
    assert reason in {detail.get("reason") for detail in found["details"]}, found


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer x.y.z", "Basic YTpi"],
)
async def test_without_a_token_there_is_an_error_in_json_and_nothing_else(
    running_mesh: RunningMesh, authorization: str
) -> None:
    headers = {"authorization": authorization} if authorization else {}
    answer = await running_mesh.http("GET", "/v1/integrations", headers=headers)
    assert answer.status == 401
    assert answer.json()["code"] == grpc.StatusCode.UNAUTHENTICATED.value[0]


async def test_health_and_keys_need_no_token(running_mesh: RunningMesh) -> None:
    for path, start in (("/healthz", "ok"), ("/readyz", ""), ("/.well-known/jwks.json", '{"keys":[{"')):
        answer = await running_mesh.http("GET", path)
        assert answer.status == 200, path
        assert answer.text.startswith(start)


async def test_a_browser_calls_by_grpc_web(running_mesh: RunningMesh, northwind: Tenant) -> None:
    async def call(name: str) -> tuple[bytes, dict[str, str]]:
        request = catalog.GetIntegrationRequest(name=name).SerializeToString()
        headers = as_member(northwind, **{"content-type": "application/grpc-web+proto", "x-grpc-web": "1"})
        path = "/cordboard.catalog.v1.CatalogService/GetIntegration"
        frame = b"\0" + struct.pack(">I", len(request)) + request
        answer = await running_mesh.http("POST", path, data=frame, headers=headers)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/grpc-web+proto")
        body, message, trailers = answer.body, b"", dict(answer.headers)
        while body:
            kind, size = body[0], struct.unpack(">I", body[1:5])[0]
            frame, body = body[5 : 5 + size], body[5 + size :]
            if kind & 0x80:
                lines = (line.split(":", 1) for line in frame.decode().split("\r\n") if line)
                trailers |= {key.strip().lower(): value.strip() for key, value in lines}
            else:
                message = frame
        return message, trailers

    message, trailers = await call("integrations/acme-desk")
    assert trailers["grpc-status"] == "0"
    assert catalog.Integration.FromString(message).name == "integrations/acme-desk"
    message, trailers = await call("integrations/none")
    assert (message, trailers["grpc-status"]) == (b"", str(grpc.StatusCode.NOT_FOUND.value[0]))


@pytest.mark.parametrize(
    "path",
    [
        "/cordboard.auth.v1.CredentialService/LeaseCredential",
        "/cordboard.auth.v1.CredentialService/WatchConnections",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/cordboard.auth.v1.credentialservice/LeaseCredential",
        "//cordboard.auth.v1.CredentialService/LeaseCredential",
        "/cordboard.catalog.v1.CatalogService/../../cordboard.auth.v1.CredentialService/LeaseCredential",
        "/cordboard.catalog.v1.CatalogService%2F..%2F..%2Fcordboard.auth.v1.CredentialService/LeaseCredential",
        "/quitquitquit",
        "/config_dump",
    ],
)
async def test_what_is_inside_cannot_be_reached_through_envoy(
    running_mesh: RunningMesh, northwind: Tenant, path: str
) -> None:
    for token in (await running_mesh.token("operator"), northwind.token):
        headers = {"authorization": f"Bearer {token}", "content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
        answer = await running_mesh.http("POST", path, data=bytes(5), headers=headers)
        status = answer.headers.get("grpc-status", "")
        assert answer.status in (307, 400, 403, 404) or status in ("5", "12"), answer
        # Whatever refused, it was not the service: that would say why in its own words.
        assert "grpc-status-details-bin" not in answer.headers


async def test_envoy_says_by_itself_how_a_path_is_spelt_and_that_a_body_is_no_json(
    running_mesh: RunningMesh, northwind: Tenant
) -> None:
    # As docs/errors.md tells it: without a token, and without the details of an error of ours.
    answer = await running_mesh.http("GET", "/v1/integrations%2Facme-desk")
    assert (answer.status, answer.headers["location"]) == (307, "/v1/integrations/acme-desk")
    answer = await running_mesh.http("GET", "/v1/integrations/acme-desk", headers=as_member(northwind))
    assert answer.status == 200
    path = f"/v1/workspaces/{northwind.workspace}/connectSessions"
    headers = as_member(northwind, **{"content-type": "application/json"})
    answer = await running_mesh.http("POST", path, data=b"{no json", headers=headers)
    assert (answer.status, answer.headers["content-type"]) == (400, "text/plain")
    # The control: JSON that is wrong in itself is told as every error is.
    answer = await running_mesh.http("POST", path, data=b'{"integration": "none"}', headers=headers)
    assert answer.status in (400, 404)
    assert answer.json()


async def test_headers_that_claim_something_are_not_believed(
    running_mesh: RunningMesh, desk: Desk, northwind: Tenant
) -> None:
    other = await desk.tenant()
    spoofed = {
        "x-cordboard-workspace": northwind.workspace,
        "x-cordboard-roles": "operator",
        "x-cordboard-peer": "proxy",
        "x-jwt-payload": "eyJyb2xlcyI6WyJvcGVyYXRvciJdfQ",
        "x-forwarded-client-cert": "By=spiffe://cordboard/auth;URI=spiffe://cordboard/proxy",
        "x-forwarded-for": "127.0.0.1",
        "x-envoy-internal": "true",
        "x-envoy-original-path": "/healthz",
        "x-workspace": northwind.workspace,
    }
    theirs, ours = f"/v1/{northwind.connection}", f"/v1/{other.connection}"
    as_other = as_member(other, **spoofed)
    assert (await running_mesh.http("GET", theirs, headers=as_other)).status == 404
    assert (await running_mesh.http("GET", "/v1/flags", headers=as_other)).status == 403
    assert (await running_mesh.http("GET", ours, headers=spoofed)).status == 401
    # With the right token the very same headers do no harm.
    answer = await running_mesh.http("GET", ours, headers=as_other)
    assert (answer.status, answer.json()["name"]) == (200, other.connection)


async def test_the_calls_of_a_workspace_are_listed_as_json(running_mesh: RunningMesh, desk: Desk) -> None:
    tenant = await desk.tenant()
    path = f"/v1/workspaces/{tenant.workspace}/calls?pageSize=1"
    answer = await running_mesh.http("GET", path, headers=as_member(tenant))
    assert answer.status == 200
    [call] = answer.json()["calls"]
    assert (call["action"], call["outcome"], call["vendorStatus"]) == ("get_me", "OUTCOME_OK", 200)
    assert call["connection"] == tenant.connection
    assert proxy.Call.Outcome.Value(call["outcome"]) == proxy.Call.OUTCOME_OK


async def test_a_workspace_is_shown_what_it_may_use(running_mesh: RunningMesh, desk: Desk, northwind: Tenant) -> None:
    async def shown(tenant: Tenant) -> set[str]:
        answer = await running_mesh.http("GET", "/v1/integrations?available_only=true", headers=as_member(tenant))
        assert answer.status == 200, answer.text
        return {each["name"] for each in answer.json()["integrations"]}

    starter = await desk.tenant(tier="starter")
    assert "integrations/acme-desk" in await shown(northwind)
    assert "integrations/acme-desk" not in await shown(starter)
    operator = {"authorization": f"Bearer {await running_mesh.token('operator')}"}
    refused = await running_mesh.http("GET", "/v1/integrations?available_only=true", headers=operator)
    assert refused.status == 400
