"""An edge tells its hub where vendors do not answer as the definitions say."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from cordboard.catalog.drift_store import DriftStore, Look, Sign
from cordboard.catalog.sync import drift_reports
from cordboard.catalog.sync.drift_reports import MAX_DRIFTS, EdgeDrift, HubDrift
from cordboard.catalog.sync.store import EdgeRecord
from cordboard.catalog.v1 import drift_service_pb2 as pb
from cordboard.catalog.v1 import governance_service_pb2 as governance_pb
from cordboard.catalog.v1.drift_service_pb2_grpc import DriftServiceStub
from cordboard.core.database import Database
from cordboard.core.times import SystemClock
from tests.contract.test_catalog_governance import a_document
from tests.fixtures.edges import until
from tests.fixtures.hubs import Hub, MakeEdge
from tests.fixtures.postgres import Databases, ServiceDatabase

NOW = datetime.now(UTC).replace(microsecond=0)


def seen(slug: str, version: str, place: str = "output.id", answers: int = 1, **fields: Any) -> Sign:
    given: dict[str, Any] = {"first_time": NOW, "last_time": NOW, "trace_id": "a" * 32, "looked": answers}
    sign = ("", slug, version, "list_tickets", pb.DRIFT_KIND_OUTPUT, place, "type", answers)
    return Sign(*sign, **given | fields)


async def see(store: DriftStore, *signs: Sign) -> None:
    looks = {(one.slug, one.version): Look("", one.slug, one.version, one.action, 5, NOW) for one in signs}
    await store.add(list(looks.values()), signs, forget_before=NOW - timedelta(days=90))


async def listed(hub: Hub) -> list[pb.Drift]:
    stub: Any = DriftServiceStub(hub.served.as_role("operator"))
    return list((await stub.ListDrifts(pb.ListDriftsRequest(parent="integrations/-", page_size=1000))).drifts)


async def test_the_hub_lists_what_its_edges_saw_and_what_they_see_again(hub: Hub, make_edge: MakeEdge) -> None:
    version = await hub.publish("acme-desk")
    edges = [make_edge(await hub.register(name)) for name in ("berlin", "paris")]
    for edge in edges:
        await see(edge.drift, seen("acme-desk", version))
        await see(edge.drift, seen("of-this-edge-alone", "1.0.0"))

    async def told() -> list[tuple[str, int, int]]:
        return [(one.edge, one.answers, one.answers_looked_at) for one in await listed(hub)]

    async with edges[0].following(), edges[1].following():
        both = [("edges/berlin", 1, 5), ("edges/paris", 1, 5)]
        await until(lambda: _is(told, both))
        await see(edges[1].drift, seen("acme-desk", version, answers=3))
        await until(lambda: _is(told, [both[0], ("edges/paris", 4, 10)]))
    [berlin, _] = await listed(hub)
    assert berlin.definition_version == f"integrations/acme-desk/versions/{version}"
    assert (berlin.owner, berlin.action) == ("integrations", "list_tickets")
    assert (berlin.place, berlin.rule, berlin.trace_id) == ("output.id", "type", "a" * 32)
    assert berlin.last_time.ToDatetime(UTC) == NOW
    inventory = await hub.governance.ListInventory(governance_pb.ListInventoryRequest())
    [known] = inventory.entries[0].versions
    assert (known.checked_actions, known.drifted_actions) == (1, 1)


async def test_what_may_not_have_arrived_is_told_again(database: Databases) -> None:
    opened = Database(database("catalog").url)
    store, clock = DriftStore(opened), SystemClock()
    now = 0.0
    edge = EdgeDrift(store, clock, monotonic=lambda: now)
    places = [f"output.{number}" for number in range(MAX_DRIFTS + 1)]
    await see(store, *(seen("acme-desk", "1.0.0", place) for place in places))
    first = await edge.next()
    assert len(first) == MAX_DRIFTS
    # The stream broke before the hub went on.
    edge.begin()
    again = [*await edge.next(), *await edge.next()]
    assert sorted(one.place for one in again) == sorted(places)
    now += drift_reports.LOOK_EVERY
    assert await edge.next() == []
    await see(store, seen("acme-desk", "1.0.0", places[0]))
    assert await edge.next() == [], "it looks now and then"
    now += drift_reports.LOOK_EVERY
    assert [(one.place, one.answers) for one in await edge.next()] == [(places[0], 2)]
    await opened.close()


async def test_a_hub_keeps_nothing_of_versions_that_an_edge_has_no_right_to(
    hub: Hub, hub_database: ServiceDatabase
) -> None:
    shared = await hub.publish("acme-desk")
    request = governance_pb.PublishPrivateDefinitionRequest(parent="workspaces/acme", document=a_document())
    private = (await hub.governance.PublishPrivateDefinition(request)).name.rpartition("/")[2]
    opened = Database(hub_database.url)
    kept = HubDrift(DriftStore(opened), SystemClock())
    for name, workspaces in (("shop", ("acme",)), ("other", ("zeta",))):
        edge = EdgeRecord(name, "", workspaces, b"", NOW)
        versions = (("acme-desk", shared), ("acme--acme-desk", private), ("acme-desk", "9.9.9"), ("nothing", "1.0.0"))
        await kept.take(edge, [a_drift(f"integrations/{slug}/versions/{version}") for slug, version in versions])
    found = [(one.definition_version.split("/")[1], one.edge) for one in await listed(hub)]
    assert found == [("acme--acme-desk", "edges/shop"), ("acme-desk", "edges/other"), ("acme-desk", "edges/shop")]
    await opened.close()


async def test_a_hub_leaves_out_what_makes_no_sense_and_bounds_what_it_keeps(
    hub: Hub, hub_database: ServiceDatabase, monkeypatch: Any
) -> None:
    name = f"integrations/acme-desk/versions/{await hub.publish('acme-desk')}"
    opened = Database(hub_database.url)
    kept, edge = HubDrift(DriftStore(opened), SystemClock()), EdgeRecord("shop", "", (), b"", NOW)
    late = Timestamp(seconds=int(NOW.timestamp()) + 10**6)
    nonsense: Sequence[pb.Drift] = (
        a_drift("integrations/acme-desk"), a_drift(name, action="a\nb"), a_drift(name, kind=0), a_drift(name, kind=77),
        a_drift(name, answers=0), a_drift(name, answers=9), a_drift(name, place="x" * 256),
        a_drift(name, first_time=late), a_drift(name, last_time=Timestamp(seconds=2**62)),
    )  # fmt: skip
    await kept.take(edge, nonsense)
    assert await listed(hub) == []
    await kept.take(edge, [a_drift(name, place="ahead", last_time=late)])
    [ahead] = await listed(hub)
    assert ahead.last_time.ToDatetime(UTC) <= datetime.now(UTC) + timedelta(seconds=60)
    monkeypatch.setattr(drift_reports, "MAX_KEPT", 3)
    for number in range(5):
        last = Timestamp(seconds=int(NOW.timestamp()) - 100 + number)
        await kept.take(edge, [a_drift(name, place=f"place-{number}", first_time=last, last_time=last)])
    assert [one.place for one in await listed(hub)] == ["ahead", "place-3", "place-4"]
    await opened.close()


def a_drift(version: str, **fields: Any) -> pb.Drift:
    now = Timestamp(seconds=int(NOW.timestamp()))
    given: dict[str, Any] = {"action": "list_tickets", "kind": pb.DRIFT_KIND_OUTPUT, "place": "output.id"}
    given |= {"rule": "type", "answers": 2, "answers_looked_at": 5, "first_time": now, "last_time": now}
    return pb.Drift(definition_version=version, **given | fields)


async def _is(read: Any, wanted: object) -> bool:
    return bool(await read() == wanted)
