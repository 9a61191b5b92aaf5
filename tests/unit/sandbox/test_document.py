"""The OpenAPI document: it is valid, it says what the vendor does, and the vendor does what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from cordboard import sandbox
from cordboard.sandbox.document import Document
from cordboard.sandbox.server import application
from tests.unit.sandbox.client import Client

URL = "http://127.0.0.1:8080"


@pytest.fixture
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(Document(URL).json)
    return loaded


def nodes(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yields every object in the document."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from nodes(item)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yields method, path and operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield method.upper(), path, operation


def judge(schema: dict[str, Any], document: dict[str, Any]) -> OAS31Validator:
    """Returns a validator for a schema of the document that is not the vendor's own."""
    return OAS31Validator({"components": document["components"], **schema})


def test_it_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_a_broken_document_would_not_pass_as_valid(document: dict[str, Any]) -> None:
    del document["paths"]["/tickets/{ticket_id}"]["get"]["responses"]["200"]["description"]

    assert [*OpenAPIV31SpecValidator(document).iter_errors()]


def test_every_operation_is_routed_and_every_route_is_an_operation(document: dict[str, Any]) -> None:
    app = application(sandbox.Vendor(sandbox.Settings(), url=URL, port=8080))
    routed = {
        (route.method, route.resource.canonical.removeprefix("/v1"))
        for route in app.router.routes()
        if isinstance(route.resource, web.Resource)
        and route.resource.canonical.startswith("/v1")
        and route.method != "HEAD"
    }

    assert routed == {(method, path) for method, path, _ in operations(document)}
    assert len(routed) == 13


def test_the_control_switches_are_not_in_it(document: dict[str, Any]) -> None:
    assert "_sandbox" not in json.dumps(document)


def test_every_operation_and_every_parameter_is_described(document: dict[str, Any]) -> None:
    told = [operation for _, _, operation in operations(document)]

    assert len({operation["operationId"] for operation in told}) == len(told)
    assert all(operation["summary"] and operation["description"] and operation["tags"] for operation in told)
    assert all(node["description"] for node in nodes(document) if "in" in node and "schema" in node)
    assert all("description" in schema for schema in document["components"]["schemas"].values())


def test_no_value_is_missing_by_a_slip_of_yaml(document: dict[str, Any]) -> None:
    examples = [node["example"] for node in nodes(document) if "example" in node]

    empty = [name for node in nodes(document) for name, value in node.items() if value is None]
    # `assignee: null` in the example of a change is meant.
    assert empty == ["assignee"]
    assert {"status": "solved", "assignee": None} in examples


def test_every_example_of_a_body_is_what_its_schema_allows(document: dict[str, Any]) -> None:
    checked = 0
    for _, _, operation in operations(document):
        for media in operation.get("requestBody", {}).get("content", {}).values():
            schema = judge(media["schema"], document)
            given = [each["value"] for each in media.get("examples", {}).values()]
            for example in given + ([media["example"]] if "example" in media else []):
                assert [*schema.iter_errors(example)] == []
                checked += 1
    assert checked == 4


async def test_it_is_served_with_the_address_where_the_vendor_is(client: Client) -> None:
    as_yaml, as_json = await client.get("/openapi.yaml", headers={}), await client.get("/openapi.json", headers={})

    assert yaml.safe_load(as_yaml.content) == as_json.json
    assert as_json.json["servers"][0]["url"] == f"{client.vendor.url}/v1"
    flow = as_json.json["components"]["securitySchemes"]["oauth2"]["flows"]["authorizationCode"]
    metadata = (await client.get("/.well-known/oauth-authorization-server")).json
    assert flow["authorizationUrl"] == metadata["authorization_endpoint"]
    assert flow["tokenUrl"] == metadata["token_endpoint"]
    assert [*flow["scopes"]] == metadata["scopes_supported"]
    assert b"acmedesk.example/v1" not in as_yaml.content


async def test_a_public_url_stands_wherever_the_vendor_tells_its_address() -> None:
    async with sandbox.serving(public_url="https://desk.example/") as vendor:
        assert vendor.url == "https://desk.example"
        assert vendor.port > 0
        assert b"url: https://desk.example/v1" in vendor.document.yaml
        assert b"tokenUrl: https://desk.example/oauth/token" in vendor.document.yaml


async def answers(client: Client) -> dict[str, Any]:
    """Calls every operation once with success; returns the answers by operationId."""
    ticket = {"subject": "A", "requester_id": "con_00000001", "custom_fields": {"a": 1.5}, "tags": ["x"]}
    contact = {"name": "B", "email": "b@b.example", "address": {"city": "C", "country": "DE"}}
    file = aiohttp.FormData()
    file.add_field("file", b"bytes", filename="a.bin", content_type="application/octet-stream")
    path = "/v1/tickets/tkt_00000001"
    return {
        "get_me": await client.get("/v1/me"),
        "list_tickets": await client.get("/v1/tickets?limit=100"),
        "create_ticket": await client.post("/v1/tickets", ticket),
        "get_ticket": await client.get(path),
        "update_ticket": await client.call("PATCH", path, json={"status": "pending", "due_on": None}),
        "upload_attachment": await client.call("POST", f"{path}/attachments", data=file),
        "list_attachments": await client.get(f"{path}/attachments"),
        "download_attachment": await client.get("/v1/attachments/att_00000001/content"),
        "delete_ticket": await client.call("DELETE", "/v1/tickets/tkt_00000002"),
        "list_contacts": await client.get("/v1/contacts?per_page=50"),
        "create_contact": await client.post("/v1/contacts", contact),
        "get_contact": await client.get("/v1/contacts/con_00000001"),
        "list_events": await client.get("/v1/events?limit=100"),
    }


async def test_every_answer_is_what_the_document_says(client: Client, document: dict[str, Any]) -> None:
    given = await answers(client)

    described = {operation["operationId"]: operation["responses"] for _, _, operation in operations(document)}
    assert given.keys() == described.keys()
    for name, answer in given.items():
        (status, response) = next((code, each) for code, each in described[name].items() if code.startswith("2"))
        assert str(answer.status) == status, name
        for media_type, media in response.get("content", {}).items():
            assert answer.headers["Content-Type"] == media_type
            if media_type == "application/json":
                assert [*judge(media["schema"], document).iter_errors(answer.json)] == [], name


async def test_every_refusal_is_what_the_document_says(client: Client, document: dict[str, Any]) -> None:
    checked = judge({"$ref": "#/components/schemas/Error"}, document)
    refused = [
        await client.get("/v1/me", headers={}),
        await client.get("/v1/tickets/x"),
        await client.get("/v1/tickets?limit=0"),
        await client.post("/v1/tickets", {}),
    ]

    assert [answer.status for answer in refused] == [401, 404, 422, 422]
    for answer in refused:
        assert [*checked.iter_errors(answer.json)] == []
    assert [*checked.iter_errors({"code": "x"})]


async def test_no_answer_has_a_field_the_document_does_not_name(client: Client, document: dict[str, Any]) -> None:
    given = await answers(client)

    schemas = document["components"]["schemas"]
    for name, schema in [("get_me", "Account"), ("get_ticket", "Ticket"), ("get_contact", "Contact")]:
        assert given[name].json.keys() == schemas[schema]["properties"].keys()
    assert given["list_events"].json[0].keys() == schemas["Event"]["properties"].keys()
    assert given["upload_attachment"].json.keys() == schemas["Attachment"]["properties"].keys()
