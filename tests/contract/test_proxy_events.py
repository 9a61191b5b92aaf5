"""Webhooks on a running Proxy: what the vendor signed is kept once and in order, and nothing else is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from cordboard.auth.v1.workspace_service_pb2 import Workspace
from cordboard.local.certificates import Identities
from cordboard.planning.webhooks import WebhookPlan
from cordboard.proxy import workspaces
from cordboard.proxy.v1 import event_service_pb2 as pb
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Serving
from tests.unit.proxy.hooks import SECRET, Hooked, a_hooking_definition, an_event, hooked, signed
from tests.unit.proxy.running import CONNECTION, ON, refusal, until
from tests.unit.proxy.samples import SLUG, a_definition, an_action

Code = grpc.StatusCode
HIDDEN = "the-text-that-nobody-may-find"


@pytest.fixture
def kept(database: Databases) -> ServiceDatabase:
    return database("proxy")


@pytest.fixture
async def mesh(serving: Serving, identities: Identities, kept: ServiceDatabase) -> AsyncIterator[Hooked]:
    async with hooked(serving, identities, kept.url) as one:
        yield one


async def rows(kept: ServiceDatabase, statement: str) -> list[Any]:
    engine = create_async_engine(make_url(kept.superuser_url).set(drivername="postgresql+asyncpg"))
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SET search_path TO proxy"))
            return list(await connection.execute(text(statement)))
    finally:
        await engine.dispose()


async def test_a_signed_webhook_is_kept_as_a_cloud_event(mesh: Hooked) -> None:
    assert await mesh.send(an_event(7)) == (200, b"")
    [listed] = await mesh.listed()
    assert (listed.data_json, listed.offset, listed.name) == ("", 1, "workspaces/acme/events/1")
    event = await mesh.events().GetEvent(pb.GetEventRequest(name=listed.name))
    assert json.loads(event.data_json) == {"id": 7, "board": "b1"}
    assert (event.id, event.source, event.type) == (
        "evt_7", f"/{CONNECTION}", f"cordboard.{SLUG}.ticket.made",
    )  # fmt: skip
    assert event.data_schema == f"/integrations/{SLUG}/versions/1.0.0/eventTypes/ticket.made"
    assert (event.ordering_key, event.time.ToJsonString()) == ("main/b1", "2026-03-01T12:00:00Z")
    assert (list(event.drift), len(event.trace_id)) == ([], 32)


async def test_what_comes_again_is_thanked_for_and_kept_once(mesh: Hooked) -> None:
    answers = await asyncio.gather(*(mesh.send(an_event(number % 5)) for number in range(25)))
    assert [status for status, _ in answers] == [200] * 25
    found = await mesh.listed()
    assert sorted(one.id for one in found) == [f"evt_{number}" for number in range(5)]
    assert [one.offset for one in found] == [5, 4, 3, 2, 1]


async def test_what_nobody_signed_is_refused_without_a_word(mesh: Hooked, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps(an_event(1)).encode()
    forged = [
        {},
        signed(body, secret="another"),
        signed(body + b" "),
        signed(body, at=1_772_366_400),
        {"X-Signature": ""},
    ]
    for headers in forged:
        assert await mesh.send(body, headers=headers) == (401, b"")
    assert (await mesh.send(b"", method="GET"))[0] == 401
    assert (await mesh.send(body, method="PUT"))[0] == 405
    for path in ("/webhooks/nothing", mesh.path[:-1] + ("a" if mesh.path[-1] != "a" else "b"), "/webhooks/"):
        assert (await mesh.send(body, path=path))[0] in (404, 401)
    assert (await mesh.send(body, peer="uqi"))[0] == 403
    assert await mesh.listed() == []
    monkeypatch.setattr(WebhookPlan, "_proves", lambda *_: True)
    assert (await mesh.send(body, headers=signed(body, secret="another")))[0] == 200, "the control"
    assert len(await mesh.listed()) == 1


async def test_a_question_is_answered_when_it_is_signed(mesh: Hooked) -> None:
    assert await mesh.send({"challenge": "abc"}) == (200, b"abc")
    assert await mesh.send({"challenge": "abc"}, headers={}) == (401, b"")
    assert await mesh.listed() == []


async def test_a_body_that_is_too_large_is_refused(
    serving: Serving, identities: Identities, database: Databases
) -> None:
    async with hooked(serving, identities, database("proxy").url, max_webhook_bytes=2048) as mesh:
        assert (await mesh.send(an_event(1, text="x" * 1900)))[0] == 200
        assert (await mesh.send(an_event(2, text="x" * 2100)))[0] == 413
        assert len(await mesh.listed()) == 1


async def test_drift_is_told_and_nothing_is_dropped(mesh: Hooked) -> None:
    assert (await mesh.send(an_event(1) | {"ticket": {"id": HIDDEN}}))[0] == 200
    assert (await mesh.send(an_event(2, kind="ticket/burnt")))[0] == 200
    assert (await mesh.send(an_event(3)))[0] == 200
    burnt, odd = await mesh.listed(drifted=True)
    assert (burnt.type, list(burnt.drift), burnt.data_schema) == (f"cordboard.{SLUG}.ticket-burnt", ["type"], "")
    assert list(odd.drift) == ["data.id"]
    assert json.loads((await mesh.events().GetEvent(pb.GetEventRequest(name=odd.name))).data_json) == {"id": HIDDEN}


async def test_text_that_the_database_cannot_hold_is_told_all_the_same(mesh: Hooked) -> None:
    odd = an_event(1) | {"id": "evt\0", "type": "ticket\0", "ticket": {"id": 7, "board": "b\0"}}
    wrong = an_event(2) | {"ticket": {"id": 7, "\0": 1}}
    assert (await mesh.send(odd))[0] == (await mesh.send(wrong))[0] == 200
    second, first = await mesh.listed()
    assert (first.id, first.ordering_key) == ("evt\ufffd", "main/b\ufffd")
    assert second.id == "evt_2"
    found = await mesh.events().GetEvent(pb.GetEventRequest(name=first.name))
    assert json.loads(found.data_json)["board"] == "b\0"


async def test_data_and_tokens_lie_sealed(mesh: Hooked, kept: ServiceDatabase) -> None:
    await mesh.send(an_event(1, text=HIDDEN))
    dumped = str(await rows(kept, "SELECT * FROM event")) + str(await rows(kept, "SELECT * FROM webhook_endpoint"))
    assert "evt_1" in dumped
    for secret in (HIDDEN, SECRET, mesh.path.rpartition("/")[2]):
        assert secret not in dumped
        assert secret.encode().hex() not in dumped


async def test_without_the_database_or_the_secret_nothing_is_acknowledged(mesh: Hooked) -> None:
    mesh.around.lease_failure = Code.UNAVAILABLE
    await mesh.around.change(CONNECTION, 0)

    async def fails() -> bool:
        return (await mesh.send(an_event(1)))[0] == 503

    await until(fails)
    before = len(await mesh.listed())
    assert (await mesh.send(an_event(2)))[0] == 503
    assert len(await mesh.listed()) == before
    mesh.around.lease_failure = None
    assert (await mesh.send(an_event(2)))[0] == 200


async def test_an_event_has_the_version_that_is_rolled_out_to_its_workspaces_tier(
    mesh: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspaces, "KNOWN_SECONDS", 0.0)
    await mesh.around.publish(a_hooking_definition(version="2.0.0"), active=False)
    rolled_out = {
        "state": "ENABLED",
        "variants": {"now": "1.0.0", "next": "2.0.0"},
        "defaultVariant": "now",
        "targeting": {"if": [{"==": [{"var": "tier"}, "business"]}, "next", "now"]},
    }
    await mesh.around.set_flags(**ON, **{f"version__{SLUG.replace('-', '___')}": rolled_out})
    mesh.around.workspaces = {"workspaces/acme": Workspace(name="workspaces/acme", tier="business")}
    numbers = iter(range(100))

    async def version() -> str:
        assert (await mesh.send(an_event(next(numbers))))[0] == 200
        return (await mesh.listed())[0].data_schema.split("/")[4]

    async def is_next() -> bool:
        return await version() == "2.0.0"

    # The flags come by a stream.
    await until(is_next)
    mesh.around.workspace_failure = Code.UNAVAILABLE
    assert await version() == "2.0.0", "what was known last holds while Auth is away"
    mesh.around.workspace_failure = None
    mesh.around.workspaces = {"workspaces/acme": Workspace(name="workspaces/acme", tier="free")}
    assert await version() == "1.0.0"


async def test_nothing_is_decided_for_a_workspace_that_nothing_was_ever_known_about(mesh: Hooked) -> None:
    connection = "workspaces/globex/connections/main"
    await mesh.around.connect(connection, integration=SLUG, api_key="k", secret_variables={"hook": SECRET})
    create = pb.CreateWebhookEndpointRequest(parent="workspaces/globex", endpoint_id="tickets", connection=connection)
    globex = mesh.events(workspace="globex")
    mesh.around.workspace_failure = Code.UNAVAILABLE
    assert (await refusal(globex.CreateWebhookEndpoint(create))).code is Code.UNAVAILABLE
    mesh.around.workspace_failure = None
    await globex.CreateWebhookEndpoint(create)


async def test_another_workspace_and_another_environment_see_nothing(mesh: Hooked) -> None:
    await mesh.send(an_event(1))
    get = pb.GetEventRequest(name="workspaces/acme/events/1")
    for stub in (mesh.events(workspace="globex"), mesh.events(environment="staging")):
        assert (await refusal(stub.GetEvent(get))).code is Code.NOT_FOUND
    staging = mesh.events(environment="staging")
    assert (await staging.ListEvents(pb.ListEventsRequest(parent="workspaces/acme"))).events == []
    ends = pb.ListWebhookEndpointsRequest(parent="workspaces/acme")
    assert (await staging.ListWebhookEndpoints(ends)).endpoints == []
    assert [one.name for one in (await mesh.events().ListWebhookEndpoints(ends)).endpoints] == [
        "workspaces/acme/webhookEndpoints/tickets"
    ]
    assert (await refusal(mesh.events("reader").GetEvent(get))).code is Code.PERMISSION_DENIED


async def test_an_address_that_was_deleted_takes_nothing(mesh: Hooked) -> None:
    delete = pb.DeleteWebhookEndpointRequest(name="workspaces/acme/webhookEndpoints/tickets")
    assert (await refusal(mesh.events(environment="staging").DeleteWebhookEndpoint(delete))).code is Code.NOT_FOUND
    await mesh.events().DeleteWebhookEndpoint(delete)
    assert (await mesh.send(an_event(1)))[0] == 404
    assert (await refusal(mesh.events().DeleteWebhookEndpoint(delete))).code is Code.NOT_FOUND


async def test_an_address_that_cannot_be_is_refused(mesh: Hooked) -> None:
    def create(**fields: Any) -> Any:
        given = {"parent": "workspaces/acme", "endpoint_id": "more", "connection": CONNECTION} | fields
        return mesh.events().CreateWebhookEndpoint(pb.CreateWebhookEndpointRequest(**given))

    assert (await refusal(create(endpoint_id="tickets"))).code is Code.ALREADY_EXISTS
    assert "endpoint_id" in (await refusal(create(endpoint_id="A b"))).fields
    assert "connection" in (await refusal(create(connection="workspaces/globex/connections/main"))).fields
    assert (await refusal(create(connection="workspaces/acme/connections/none"))).code is Code.NOT_FOUND
    await mesh.around.publish(a_definition(an_action("get_me", path="/me"), slug="silent"))
    await mesh.around.connect("workspaces/acme/connections/silent", integration="silent", api_key="k")

    async def is_told() -> bool:
        # Until the definition has come, the integration is not there.
        return "connection" in (await refusal(create(connection="workspaces/acme/connections/silent"))).fields

    await until(is_told)


async def test_pages_go_on_where_the_last_one_ended(mesh: Hooked) -> None:
    for number in range(5):
        await mesh.send(an_event(number))
    request = pb.ListEventsRequest(parent="workspaces/acme", page_size=2)
    seen = []
    while True:
        page = await mesh.events().ListEvents(request)
        seen += [one.offset for one in page.events]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == [5, 4, 3, 2, 1]
    for name in ("workspaces/acme/events/x", "workspaces/acme/events/99", "workspaces/acme/events/" + "9" * 30):
        assert (await refusal(mesh.events().GetEvent(pb.GetEventRequest(name=name)))).code is Code.NOT_FOUND
