"""What a definition says about answers, through the composed system: published, rolled out, called."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from google.protobuf.struct_pb2 import Struct, Value

from cordboard.auth.v1 import connect_service_pb2 as connecting
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.client import Client, CordboardError
from cordboard.flags.v1 import flag_service_pb2 as flags
from tests.fixtures.desk import Desk
from tests.fixtures.mesh import RunningMesh, until

SLUG = "acme-readings"
DOCUMENT = """
slug: acme-readings
title: Acme Readings
servers: [{{url: '{url}/v1'}}]
auth_schemes: [{{id: key, api_key: {{placement: header, name: X-Api-Key}}}}]
error_message_pointers: [/message]
retry: {{max_attempts: 4, base_delay: 0.01s}}
rate_limit_headers: {{limit: X-RateLimit-Limit, remaining: X-RateLimit-Remaining, reset: X-RateLimit-Reset,
  reset_format: unix_seconds}}
actions:
- id: me
  request: {{method: GET, path: /me}}
  response:
    members:
    - {{name: by, pointer: /authenticated_by}}
    - {{name: type, header: Content-Type}}
    - {{name: vendor, value: acme}}
- id: ticket
  input_schema: {{type: object, properties: {{id: {{type: string}}}}, required: [id]}}
  request: {{method: GET, path: '/tickets/{{id}}', parameters: [{{property: id, name: id, placement: path}}]}}
- id: ticket_if_any
  input_schema: {{type: object, properties: {{id: {{type: string}}}}, required: [id]}}
  request: {{method: GET, path: '/tickets/{{id}}', parameters: [{{property: id, name: id, placement: path}}]}}
  error_rules: [{{statuses: [404], action: ignore}}]
- id: tickets
  input_schema: {{type: object, properties: {{cursor: {{type: string}}, limit: {{type: integer}}}}}}
  request:
    method: GET
    path: /tickets
    parameters:
    - {{property: cursor, name: cursor, placement: query}}
    - {{property: limit, name: limit, placement: query}}
  response: {{output_pointer: /data, members: [{{name: key, pointer: /id}}]}}
  paging: {{items_pointer: /data, cursor: {{cursor_property: cursor, next_pointer: /next_cursor}},
    more_pointer: /has_more}}
"""


@pytest.fixture
async def readings(desk: Desk, running_mesh: RunningMesh, operator: Client) -> AsyncIterator[tuple[Client, str]]:
    """A client of a workspace that is connected to the sandbox vendor by another definition."""
    tenant = await desk.tenant()
    await operator.catalog.PublishDefinition(
        catalog.PublishDefinitionRequest(document=DOCUMENT.format(url=desk.vendor.url))
    )
    on = flags.Flag(
        name=f"flags/integration.{SLUG}",
        variants={"on": Value(bool_value=True), "off": Value(bool_value=False)},
        default_variant="on",
        off_variant="off",
    )
    await operator.flags.PutFlag(flags.PutFlagRequest(flag=on, reason="for everybody"))
    async with running_mesh.client(tenant.token) as client:
        session = await client.connect.CreateConnectSession(
            connecting.CreateConnectSessionRequest(
                parent=f"workspaces/{tenant.workspace}",
                integration=f"integrations/{SLUG}",
                auth_scheme="key",
                connection_id="readings",
            )
        )
        values = Struct()
        values.update({"api_key": desk.vendor.settings.api_key})
        await client.connect.SubmitConnectSession(
            connecting.SubmitConnectSessionRequest(name=session.name, values=values)
        )
        name = f"workspaces/{tenant.workspace}/connections/readings"

        async def reached() -> bool:
            try:
                await client.execute(name, "me")
            except CordboardError:
                return False
            return True

        await until(reached, "the connection to be reached")
        yield client, name


async def test_answers_come_out_as_the_definition_says(readings: tuple[Client, str], desk: Desk) -> None:
    client, name = readings

    me = (await client.execute(name, "me")).output
    assert (me["by"], me["vendor"], me["type"].partition(";")[0]) == ("api_key", "acme", "application/json")

    keys = [item async for page in client.pages(name, "tickets", {"limit": 50}) for item in page]
    assert sorted(one["key"] for one in keys) == sorted(ticket.id for ticket in desk.vendor.desk.tickets(after=""))
    assert {tuple(one) for one in keys} == {("key",)}

    assert (await client.execute(name, "ticket_if_any", {"id": "tkt_99999999"})).output is None
    with pytest.raises(CordboardError) as refused:
        await client.execute(name, "ticket", {"id": "tkt_99999999"})
    assert refused.value.metadata["vendor_message"]
    assert refused.value.metadata["vendor_status"] == "404"

    with desk.broken(status=503, times=3):
        assert (await client.execute(name, "me")).call.attempts == 4
