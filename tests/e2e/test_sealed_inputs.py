"""A password that an action takes, from a form to the vendor as a reference, through Envoy; and nowhere else."""

from __future__ import annotations

import json
from typing import Any, Final
from uuid import uuid4

from google.protobuf.struct_pb2 import Struct

from cordboard.auth.v1 import connect_service_pb2 as connecting
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from tests.e2e.leaks import Search
from tests.e2e.test_command import command
from tests.fixtures.desk import Desk, Tenant, rollout
from tests.fixtures.mesh import Answer, RunningMesh, until

SLUG: Final = "acme-sealed"
# The vendor has nothing that keeps a password: its tickets' subjects stand for one, and can be read again.
DOCUMENT: Final = """
slug: acme-sealed
title: Acme Desk, where subjects are passwords
servers:
- {id: main, url: 'URL'}
auth_schemes:
- {id: key, api_key: {placement: header, name: X-Api-Key}}
actions:
- id: create
  input_schema:
    type: object
    required: [subject, requester_id]
    properties:
      subject: {type: string, format: password, maxLength: 60}
      requester_id: {type: string}
  request:
    method: POST
    path: /tickets
    body:
      encoding: json
      fields: [{property: subject, name: subject}, {property: requester_id, name: requester_id}]
"""


async def asked(mesh: RunningMesh, token: str, path: str, body: Any) -> Answer:
    """Posts JSON as a browser would."""
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    return await mesh.http("POST", path, headers=headers, data=json.dumps(body))


async def connected(mesh: RunningMesh, desk: Desk, tenant: Tenant) -> str:
    """Publishes the definition, rolls it out, and returns the path of the tenant's connection."""
    async with mesh.operator() as operator:
        document = DOCUMENT.replace("URL", f"{desk.vendor.url}/v1")
        await operator.catalog.PublishDefinition(catalog.PublishDefinitionRequest(document=document))
        flag = rollout("business")
        flag.flag.name = f"flags/integration.{SLUG}"
        await operator.flags.PutFlag(flag)
    async with mesh.client(tenant.token) as client:
        begin = connecting.CreateConnectSessionRequest(
            parent=f"workspaces/{tenant.workspace}", integration=f"integrations/{SLUG}", connection_id="sealed"
        )
        session = await client.connect.CreateConnectSession(begin)
        values = Struct()
        values.update({"api_key": desk.vendor.settings.api_key})
        done = connecting.SubmitConnectSessionRequest(name=session.name, values=values)
        return f"/v1/{(await client.connect.SubmitConnectSession(done)).name}"


async def test_a_password_goes_from_a_form_to_the_vendor_and_is_kept_nowhere(
    running_mesh: RunningMesh, desk: Desk, northwind: Tenant
) -> None:
    connection = await connected(running_mesh, desk, northwind)
    password = f"correct-horse-{uuid4().hex}"
    values = {"subject": password, "requester_id": "con_00000001"}
    bind = {"values": values, "workspace": f"workspaces/{northwind.workspace}"}
    bound: dict[str, Any] = {}

    async def formed() -> bool:
        answer = await asked(running_mesh, northwind.token, f"/v1/integrations/{SLUG}/forms/action.create:bind", bind)
        bound.update(answer.json())
        return answer.status == 200

    await until(formed, lambda: f"the form to be there: {bound}")
    assert password not in json.dumps(bound)
    assert bound["input"]["subject"].startswith("cordboard-sealed-v1:")
    call = {"action": "create", "inputJson": json.dumps(bound["input"]), "idempotencyKey": uuid4().hex}
    made: dict[str, Any] = {}

    async def called() -> bool:
        answer = await asked(running_mesh, northwind.token, f"{connection}:execute", call)
        made.update(answer.json())
        return answer.status == 200

    await until(called, lambda: f"the rollout to reach the Proxy: {made}")
    assert made["output"]["subject"] == password
    # The same by hand.
    path = (northwind.workspace, SLUG, "create", "/subject")
    code, reference, errors = await command(desk, "calls", "seal", *path, answers=f"{password}\n")
    assert code == 0, errors
    by_hand = {**call, "inputJson": json.dumps({**values, "subject": reference.strip()}), "idempotencyKey": ""}
    answer = await asked(running_mesh, northwind.token, f"{connection}:execute", by_hand)
    assert (answer.status, answer.json()["output"]["subject"]) == (200, password)
    # Another field gets nothing of it.
    moved = {**call, "inputJson": json.dumps({**values, "requester_id": reference.strip()}), "idempotencyKey": ""}
    refused = await asked(running_mesh, northwind.token, f"{connection}:execute", moved)
    assert refused.status == 400
    assert password not in refused.body.decode()
    search = Search.for_secrets({"the password": password.encode()})
    async with running_mesh.database() as database:
        assert await search.look_into_tables(database)
    search.look_into_files(running_mesh.state_dir)
    assert search.hits == []
