"""A definition whose server, constants and second key are config variables, from publishing to the vendor's answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from google.protobuf.struct_pb2 import Struct

from cordboard.auth.v1 import connect_service_pb2 as connecting
from cordboard.auth.v1 import connection_service_pb2 as connections
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.client import Client, CordboardError, InvalidRequest
from tests.e2e.leaks import Search
from tests.fixtures.desk import Desk, Tenant, rollout
from tests.fixtures.mesh import RunningMesh, until

SLUG: Final = "acme-own"
DOCUMENT: Final = """
slug: acme-own
title: Acme Desk, with a server of one's own
servers:
- {id: own, url: 'http://127.0.0.1:{port}/v1'}
config_variables:
- {name: port, required: true, schema: {type: string, pattern: '^[0-9]{2,5}$'}}
- {name: app_key, required: true, secret: true}
- {name: requester, default_value: con_00000001}
- {name: page_size, schema: {type: integer, maximum: 5}, default_value: 2}
auth_schemes:
- {id: key, api_key: {placement: header, name: X-Api-Key}}
actions:
- id: list_tickets
  request:
    method: GET
    path: /tickets
    constants:
    - {placement: query, name: limit, config_variable: page_size}
    - {placement: header, name: X-App-Key, config_variable: app_key}
- id: create_ticket
  input_schema: {type: object, required: [subject], properties: {subject: {type: string}}}
  request:
    method: POST
    path: /tickets
    constants:
    - {placement: body, name: requester_id, config_variable: requester}
    - {placement: header, name: X-App-Key, config_variable: app_key}
    body: {encoding: json, fields: [{property: subject, name: subject}]}
  idempotency_key: {placement: header, name: Idempotency-Key}
  examples:
  - name: it burns
    input: {subject: It burns}
    config: {port: '8080', app_key: example, requester: con_2}
    request:
      method: POST
      url: http://127.0.0.1:8080/v1/tickets
      body: {subject: It burns, requester_id: con_2}
"""


@pytest.fixture
async def tenant(desk: Desk) -> AsyncIterator[Tenant]:
    """A workspace of its own; the vendor wants a second key as long as the test runs."""
    made = await desk.tenant()
    desk.vendor.change({"app_key_required": True})
    yield made
    desk.vendor.change({"app_key_required": False})


async def configure(client: Client, workspace: str, values: dict[str, str], secrets: dict[str, str]) -> Any:
    name = f"workspaces/{workspace}/integrations/{SLUG}/configuration"
    request = connections.SetWorkspaceConfigurationRequest(name=name, values=values, secret_values=secrets)
    return await client.connections.SetWorkspaceConfiguration(request)


async def connect(client: Client, tenant: Tenant, api_key: str) -> str:
    begin = connecting.CreateConnectSessionRequest(
        parent=f"workspaces/{tenant.workspace}", integration=f"integrations/{SLUG}", connection_id="own"
    )
    session = await client.connect.CreateConnectSession(begin)
    values = Struct()
    values.update({"api_key": api_key})
    made = await client.connect.SubmitConnectSession(
        connecting.SubmitConnectSessionRequest(name=session.name, values=values)
    )
    return str(made.name)


async def test_a_definition_of_config_variables_is_run_as_each_workspace_has_set_it(
    running_mesh: RunningMesh, desk: Desk, tenant: Tenant
) -> None:
    settings, port = desk.vendor.settings, str(urlsplit(desk.vendor.url).port)
    secret = settings.app_key
    async with running_mesh.operator() as operator:
        wrong = DOCUMENT.replace("requester_id: con_2}", "requester_id: con_3}")
        with pytest.raises(InvalidRequest, match="examples"):
            await operator.catalog.PublishDefinition(catalog.PublishDefinitionRequest(document=wrong))
        await operator.catalog.PublishDefinition(catalog.PublishDefinitionRequest(document=DOCUMENT))
        flag = rollout("business")
        flag.flag.name = f"flags/integration.{SLUG}"
        await operator.flags.PutFlag(flag)
    admin = await running_mesh.token("workspace-admin", workspace=tenant.workspace)
    async with running_mesh.client(admin) as client:
        with pytest.raises(InvalidRequest) as refused:
            await connect(client, tenant, settings.api_key)
        assert {one.field for one in refused.value.violations} == {"configuration.port", "secret_configuration.app_key"}
        with pytest.raises(InvalidRequest):
            await configure(client, tenant.workspace, {"port": "8080/evil"}, {})
        told = await configure(client, tenant.workspace, {"port": port}, {"app_key": secret})
        assert (dict(told.values), list(told.secret_names)) == ({"port": port}, ["app_key"])
        connection = await connect(client, tenant, settings.api_key)
        made = await reached(client, connection, "create_ticket", {"subject": "Made by variables"})
        assert made.output["requester_id"] == "con_00000001"
        listed = await client.execute(connection, "list_tickets")
        assert len(listed.output["data"]) == 2

        # What is set anew holds for the next call, without connecting again.
        await configure(client, tenant.workspace, {"port": port, "page_size": "4"}, {"app_key": ""})

        async def lists_four() -> bool:
            return len((await client.execute(connection, "list_tickets")).output["data"]) == 4

        await until(lists_four, "the new configuration to reach the Proxy")

        # Without what is required nothing is sent, and the error names it.
        await configure(client, tenant.workspace, {"page_size": "4"}, {"app_key": ""})
        error = await refusal(client, connection)
        assert (error.reason, error.metadata["variable"]) == ("STATE_CONFLICT", "port")
    search = Search.for_secrets({"the app key": secret.encode()})
    async with running_mesh.database() as database:
        assert await search.look_into_tables(database)
    search.look_into_files(running_mesh.state_dir)
    assert search.hits == []


async def reached(client: Client, connection: str, action: str, given: dict[str, Any]) -> Any:
    """Returns the answer of a call, once the rollout has reached the Proxy."""
    found: list[Any] = []

    async def answers() -> bool:
        try:
            found.append(await client.execute(connection, action, given, idempotency_key="made-by-variables"))
        except CordboardError as error:
            assert error.reason in ("SWITCHED_OFF", "RESOURCE_NOT_FOUND"), error
            return False
        return True

    await until(answers, f"{connection} to be reached")
    return found[0]


async def refusal(client: Client, connection: str) -> CordboardError:
    """Returns the error of a call that is refused before anything is sent, as soon as it is."""
    found: list[CordboardError] = []

    async def is_refused() -> bool:
        try:
            await client.execute(connection, "list_tickets")
        except CordboardError as error:
            found.append(error)
        return bool(found)

    await until(is_refused, "a call to be refused")
    return found[0]
