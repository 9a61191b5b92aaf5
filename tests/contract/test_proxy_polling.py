"""Polling triggers on a running Proxy: what is new in a list is an event, once, whatever dies in between."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from aiohttp import web
from google.protobuf.duration_pb2 import Duration

from cordboard.catalog.v1 import definition_pb2
from cordboard.local.certificates import Identities
from cordboard.proxy.events import triggers
from cordboard.proxy.events.store import EventStore
from cordboard.proxy.v1 import polling_trigger_service_pb2 as pb
from cordboard.proxy.v1.polling_trigger_service_pb2_grpc import PollingTriggerServiceStub
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Serving
from tests.fixtures.sites import listening
from tests.unit.proxy.hooks import Hooked, a_hooking_definition, hooked
from tests.unit.proxy.running import CONNECTION, a_proxy, is_ready, refusal, until
from tests.unit.proxy.samples import SLUG, a_parameter, an_action

Code = grpc.StatusCode
NAME = "workspaces/acme/pollingTriggers/tickets"


@dataclass
class Listing:
    """A vendor that lists things, and answers as it is told."""

    url: str = ""
    things: list[dict[str, Any]] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    status: int = 200

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.query))
        since = int(request.query.get("since", "0"))
        found = [one for one in self.things if one["at"] >= since]
        return web.json_response({"things": found}, status=self.status)


@pytest.fixture
async def vendor() -> AsyncIterator[Listing]:
    one = Listing(things=[{"id": 1, "at": 10, "state": "open"}, {"id": 2, "at": 20, "state": "open"}])
    application = web.Application()
    application.router.add_get("/things", one.answer)
    async with listening(application) as url:
        one.url = url
        yield one


def a_polled_definition(url: str) -> definition_pb2.Definition:
    """Returns a vendor of things that are new, that change, and that are asked for with a cursor."""
    definition = a_hooking_definition(url)
    since = {"type": "object", "properties": {"since": {"type": "integer"}}}
    definition.actions.append(an_action("things", "GET", "/things", a_parameter("since"), schema=since))
    base: dict[str, Any] = {"action": "things", "items_pointer": "/things", "id_pointer": "/id"}
    kinds: dict[str, Any] = {
        "thing.new": base,
        "thing.changed": base | {"changes": True, "ordering_key_pointer": "/id"},
        "thing.since": base | {"cursor_pointer": "/at", "cursor_property": "since", "time_pointer": "/at"},
    }
    for kind, polling in kinds.items():
        event_type = definition.event_types.add(id=kind)
        event_type.polling.CopyFrom(definition_pb2.PollingTrigger(**polling))
    return definition


@pytest.fixture
def kept(database: Databases) -> ServiceDatabase:
    return database("proxy")


@pytest.fixture
async def mesh(
    serving: Serving, identities: Identities, kept: ServiceDatabase, vendor: Listing, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Hooked]:
    monkeypatch.setattr(triggers, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(triggers, "TURN_LEASE", 1.0)
    async with hooked(serving, identities, kept.url, a_polled_definition(vendor.url)) as one:
        yield one


def stub(mesh: Hooked, *roles: str, **claims: Any) -> Any:
    return PollingTriggerServiceStub(mesh.served.as_role(*(roles or ("member",)), **({"workspace": "acme"} | claims)))


async def create(mesh: Hooked, event_type: str = "thing.new", seconds: int = 1, **fields: Any) -> Any:
    given: dict[str, Any] = {
        "connection": CONNECTION,
        "event_type": event_type,
        "interval": Duration(seconds=seconds),
    } | fields
    request = pb.CreatePollingTriggerRequest(
        parent="workspaces/acme", trigger_id=given.pop("trigger_id", "tickets"), trigger=pb.PollingTrigger(**given)
    )
    return await stub(mesh).CreatePollingTrigger(request)


async def polled(mesh: Hooked) -> pb.PollingTrigger:
    """Returns the trigger once it was answered."""

    async def was_answered() -> pb.PollingTrigger | None:
        found: pb.PollingTrigger = await stub(mesh).GetPollingTrigger(pb.GetPollingTriggerRequest(name=NAME))
        return found if found.HasField("last_time") else None

    found: pb.PollingTrigger = await until(was_answered, 20)
    return found


async def turns(vendor: Listing, more: int = 2) -> None:
    """Returns when the vendor was asked so many times more."""
    count = len(vendor.asked) + more
    await until(lambda: len(vendor.asked) >= count, 20)


async def test_what_is_new_after_the_first_time_is_an_event_once(mesh: Hooked, vendor: Listing) -> None:
    await create(mesh)
    await polled(mesh)
    assert await mesh.listed() == []
    vendor.things.append({"id": 3, "at": 5, "state": "open"})
    [event] = await until(mesh.listed, 20)
    assert (event.id, event.type) == ("thing.new/3", f"cordboard.{SLUG}.thing.new")
    vendor.things[0]["state"] = "closed"
    await turns(vendor)
    assert len(await mesh.listed()) == 1


async def test_what_has_changed_is_an_event_each_time(mesh: Hooked, vendor: Listing) -> None:
    await create(mesh, "thing.changed")
    await polled(mesh)
    for count, state in enumerate(("closed", "open"), 1):
        vendor.things[0]["state"] = state

        async def is_told(wanted: int = count) -> bool:
            return len(await mesh.listed()) == wanted

        await until(is_told, 20)
    await turns(vendor)
    found = await mesh.listed()
    assert len({event.id for event in found}) == 2
    assert {event.ordering_key for event in found} == {"main/1"}


async def test_a_cursor_goes_back_to_the_vendor_and_orders_events(mesh: Hooked, vendor: Listing) -> None:
    await create(mesh, "thing.since")
    await polled(mesh)
    assert vendor.asked[0] == {}
    vendor.things[:0] = [{"id": 5, "at": 50}, {"id": 4, "at": 40}]

    async def are_told() -> bool:
        return len(await mesh.listed()) == 2

    await until(are_told, 20)
    assert [event.id for event in reversed(await mesh.listed())] == ["thing.since/4", "thing.since/5"]
    await turns(vendor)
    assert vendor.asked[-1] == {"since": "50"}
    assert {"since": "20"} in vendor.asked
    assert len(await mesh.listed()) == 2


async def test_two_replicas_ask_once_for_each_turn(
    mesh: Hooked, vendor: Listing, serving: Serving, kept: ServiceDatabase
) -> None:
    async with a_proxy(serving, mesh.around, kept.url) as second:
        await until(lambda: is_ready(second))
        made = await create(mesh, seconds=2)
        began = made.create_time.ToDatetime()
        await polled(mesh)
        await turns(vendor, 2)
        found = await polled(mesh)
        passed = (found.next_time.ToDatetime() - began).total_seconds()
        assert len(vendor.asked) <= passed / 2 + 1


async def test_a_turn_that_fails_to_be_written_is_made_up_for(
    mesh: Hooked, vendor: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(mesh)
    await polled(mesh)
    whole = EventStore.add_within

    async def dies(*arguments: Any) -> Any:
        await whole(*arguments)
        raise RuntimeError("in the middle of the transaction")

    monkeypatch.setattr(EventStore, "add_within", dies)
    vendor.things.append({"id": 3, "at": 30})
    await turns(vendor)
    assert await mesh.listed() == []
    monkeypatch.setattr(EventStore, "add_within", whole)
    [event] = await until(mesh.listed, 20)
    assert (event.id, event.offset) == ("thing.new/3", 1)


async def test_a_vendor_that_fails_is_told_of_and_asked_again(mesh: Hooked, vendor: Listing) -> None:
    vendor.status = 404
    await create(mesh)

    async def has_failed() -> pb.PollingTrigger | None:
        found: pb.PollingTrigger = await stub(mesh).GetPollingTrigger(pb.GetPollingTriggerRequest(name=NAME))
        return found if found.failures else None

    assert (await until(has_failed, 20)).error_reason == "VENDOR_ERROR"
    vendor.status = 200
    found = await polled(mesh)
    assert (found.failures, found.error_reason) == (0, "")


async def test_what_cannot_be_is_refused(mesh: Hooked) -> None:
    for fields, name in (
        ({"event_type": "ticket.made"}, "trigger.event_type"),
        ({"event_type": "none"}, "trigger.event_type"),
        ({"trigger_id": "A b"}, "trigger_id"),
        ({"interval": Duration(seconds=0)}, "trigger.interval"),
        ({"connection": "workspaces/globex/connections/main"}, "trigger.connection"),
    ):
        assert name in (await refusal(create(mesh, **fields))).fields, fields
    await create(mesh)
    assert (await refusal(create(mesh))).code is Code.ALREADY_EXISTS
    get = pb.GetPollingTriggerRequest(name=NAME)
    for other in (stub(mesh, workspace="globex"), stub(mesh, environment="staging")):
        assert (await refusal(other.GetPollingTrigger(get))).code is Code.NOT_FOUND
    listed = await stub(mesh).ListPollingTriggers(pb.ListPollingTriggersRequest(parent="workspaces/acme"))
    assert [one.name for one in listed.triggers] == [NAME]
    await stub(mesh).DeletePollingTrigger(pb.DeletePollingTriggerRequest(name=NAME))
    assert (await refusal(stub(mesh).GetPollingTrigger(get))).code is Code.NOT_FOUND
