"""Webhooks through Envoy, from the vendor's request to the event that a member sees; and who does not get through."""

from __future__ import annotations

import hmac
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from google.protobuf.struct_pb2 import Struct

from cordboard.auth.v1 import connect_service_pb2 as connecting
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.client import CordboardError
from cordboard.proxy.v1 import event_service_pb2 as pb
from cordboard.proxy.v1 import subscription_service_pb2 as subscription_pb
from tests.e2e.test_command import as_json, command
from tests.fixtures.desk import Desk, Tenant, rollout
from tests.fixtures.mesh import RunningMesh, until

SLUG: Final = "acme-hooks"
SECRET: Final = "told-to-the-vendor-alone"
DOCUMENT: Final = """
slug: acme-hooks
title: Acme Desk, which calls back
servers: [{url: 'https://api.acme.example'}]
config_variables: [{name: hook, required: true, secret: true}]
auth_schemes:
- {id: key, api_key: {placement: header, name: X-Api-Key}}
actions:
- {id: get_me, request: {method: GET, path: /me}}
event_types:
- {id: ticket.made, payload_schema: {type: object, required: [id]}}
webhook:
  signature: {algorithm: hmac_sha256, header: X-Signature, prefix: sha256=}
  secret_variable: hook
  id_header: X-Delivery
  type_pointer: /type
"""


@dataclass
class Hooks:
    """A tenant whose vendor sends webhooks."""

    tenant: Tenant
    path: str
    mesh: RunningMesh

    async def send(self, event: Any, delivery: str, secret: str = SECRET) -> int:
        """Sends an event as the vendor does; returns the status of the answer."""
        body = json.dumps(event).encode()
        proof = hmac.new(secret.encode(), body, "sha256").hexdigest()
        headers = {"X-Signature": f"sha256={proof}", "X-Delivery": delivery}
        answer = await self.mesh.http("POST", self.path, data=body, headers=headers)
        return int(answer.status)


@pytest.fixture
async def hooks(running_mesh: RunningMesh, desk: Desk) -> AsyncIterator[Hooks]:
    tenant = await desk.tenant()
    parent = f"workspaces/{tenant.workspace}"
    async with running_mesh.operator() as operator:
        await operator.catalog.PublishDefinition(catalog.PublishDefinitionRequest(document=DOCUMENT))
        flag = rollout("business")
        flag.flag.name = f"flags/integration.{SLUG}"
        await operator.flags.PutFlag(flag)
    async with running_mesh.client(await running_mesh.token("workspace-admin", workspace=tenant.workspace)) as client:
        begin = connecting.CreateConnectSessionRequest(
            parent=parent,
            integration=f"integrations/{SLUG}",
            connection_id="hooked",
            secret_configuration={"hook": SECRET},
        )
        session = await client.connect.CreateConnectSession(begin)
        values = Struct()
        values.update({"api_key": "k"})
        submit = connecting.SubmitConnectSessionRequest(name=session.name, values=values)
        connection = (await client.connect.SubmitConnectSession(submit)).name

        async def created() -> Any:
            # The Proxy has the definition a moment after it was published.
            request = pb.CreateWebhookEndpointRequest(parent=parent, endpoint_id="all", connection=connection)
            try:
                return await client.events.CreateWebhookEndpoint(request)
            except CordboardError:
                return None

        made = await until(created, "the definition to reach the Proxy")
    yield Hooks(tenant, made.path, running_mesh)


async def test_what_the_vendor_sends_is_there_for_its_workspace(hooks: Hooks) -> None:
    assert await hooks.send({"type": "ticket.made", "id": 1}, "d-1") == 200
    assert await hooks.send({"type": "ticket.made", "id": 1}, "d-1") == 200
    assert await hooks.send({"type": "ticket.made"}, "d-2") == 200
    async with hooks.mesh.client(hooks.tenant.token) as client:
        request = pb.ListEventsRequest(parent=f"workspaces/{hooks.tenant.workspace}")
        found = (await client.events.ListEvents(request)).events
        assert [(one.id, one.type, one.offset) for one in found] == [
            ("d-2", f"cordboard.{SLUG}.ticket.made", 2),
            ("d-1", f"cordboard.{SLUG}.ticket.made", 1),
        ]
        assert list(found[0].drift) == ["data.id"]
        whole = await client.events.GetEvent(pb.GetEventRequest(name=found[1].name))
        assert json.loads(whole.data_json) == {"type": "ticket.made", "id": 1}


async def test_nobody_else_gets_through(hooks: Hooks) -> None:
    event = {"type": "ticket.made", "id": 1}
    assert await hooks.send(event, "d-1", secret="another") == 401
    other = Hooks(hooks.tenant, f"/webhooks/{'x' * 43}", hooks.mesh)
    assert await other.send(event, "d-1") == 404
    short = Hooks(hooks.tenant, "/webhooks/x", hooks.mesh)
    assert await short.send(event, "d-1") == 404
    body = io.BytesIO(b"x" * (2 << 20))
    assert (await hooks.mesh.http("POST", hooks.path, data=body)).status == 413
    assert await hooks.send(event, "d-1") == 200, "the control"


async def test_a_member_reads_events_and_acknowledges_them_through_envoy(hooks: Hooks) -> None:
    parent = f"workspaces/{hooks.tenant.workspace}"
    name = f"{parent}/subscriptions/reader"
    async with hooks.mesh.client(hooks.tenant.token) as client:
        create = subscription_pb.CreateSubscriptionRequest(parent=parent, subscription_id="reader")
        await client.subscriptions.CreateSubscription(create)
        for number in (1, 2):
            assert await hooks.send({"type": "ticket.made", "id": number}, f"d-{number}") == 200
        told = []
        async for one in client.subscriptions.Subscribe(subscription_pb.SubscribeRequest(name=name)):
            told.append(one.event.id)
            await client.subscriptions.AcknowledgeEvents(
                subscription_pb.AcknowledgeEventsRequest(name=name, offsets=[one.event.offset])
            )
            if len(told) == 2:
                break
        assert told == ["d-1", "d-2"]
        found = await client.subscriptions.GetSubscription(subscription_pb.GetSubscriptionRequest(name=name))
        assert (found.acknowledged_offset, found.last_offset) == (2, 2)
    headers = {"authorization": f"Bearer {hooks.tenant.token}"}
    answer = await hooks.mesh.http("GET", f"/v1/{name}", headers=headers)
    assert (answer.status, answer.json()["acknowledgedOffset"]) == (200, "2")
    listed = await hooks.mesh.http("GET", f"/v1/{parent}/pollingTriggers", headers=headers)
    assert (listed.status, listed.json()["triggers"]) == (200, [])


async def test_events_are_seen_and_handed_on_by_commands(hooks: Hooks, desk: Desk) -> None:
    workspace = hooks.tenant.workspace
    listed = await as_json(desk, "events", "endpoints", "list", workspace)
    assert [one["integration"] for one in listed] == [SLUG]
    made = await as_json(
        desk, "events", "subscriptions", "create", workspace, "out", "--url", "https://target.example/in",
        "--type", f"cordboard.{SLUG}.*",
    )  # fmt: skip
    assert made["secret"].startswith("whsec_")
    turned = await as_json(desk, "events", "subscriptions", "rotate-secret", f"{workspace}/out", "--overlap", "1")
    assert turned["secret"].startswith("whsec_")
    assert turned["secret"] != made["secret"]
    assert await hooks.send({"type": "ticket.made", "id": 7}, "d-7") == 200
    [event] = await as_json(desk, "events", "list", workspace)
    assert (event["id"], event["type"]) == ("d-7", f"cordboard.{SLUG}.ticket.made")
    shown = await as_json(desk, "events", "show", f"{workspace}/{event['offset']}")
    assert json.loads(shown["dataJson"]) == {"type": "ticket.made", "id": 7}
    [found] = await as_json(desk, "events", "subscriptions", "list", workspace)
    assert found["webhook"]["url"] == "https://target.example/in"
    assert "secret" not in json.dumps(found)
    code, _, errors = await command(desk, "events", "subscriptions", "rotate-secret", f"{workspace}/nobody")
    assert code != 0
    assert "does not exist" in errors
    assert (await command(desk, "events", "subscriptions", "delete", f"{workspace}/out"))[0] == 0
    assert await as_json(desk, "events", "subscriptions", "list", workspace) == []
