"""Drift: what the Proxy finds in vendors' answers, and what the Catalog tells those who answer for a definition."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from cordboard.catalog.__main__ import start
from cordboard.catalog.drift_store import DriftStore
from cordboard.catalog.drifting import Drifting
from cordboard.catalog.settings import CatalogSettings
from cordboard.catalog.v1 import definition_pb2 as catalog_pb
from cordboard.catalog.v1 import drift_service_pb2 as pb
from cordboard.catalog.v1 import governance_service_pb2 as governance_pb
from cordboard.catalog.v1.drift_service_pb2_grpc import DriftServiceStub
from cordboard.catalog.v1.lifecycle_pb2 import VERSION_STATE_DEPRECATED, VERSION_STATE_RETIRED
from cordboard.core.database import Database
from cordboard.core.measures import Measures
from cordboard.core.times import SystemClock
from cordboard.local.certificates import Identities
from tests.contract.test_catalog_governance import Both, a_document, an_admin, in_days, move, publish
from tests.fixtures.auth import refused
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Served, Serving
from tests.unit.proxy.raw_vendor import Reply, a_vendor, by_path, point, said
from tests.unit.proxy.running import a_mesh, execute, refusal, stream, until
from tests.unit.proxy.samples import an_action

DESK = "integrations/acme-desk"
EVERY = "integrations/-"


@pytest.fixture
def kept(database: Databases) -> ServiceDatabase:
    """The Catalog's database."""
    return database("catalog")


@pytest.fixture
async def served(serving: Serving, kept: ServiceDatabase) -> AsyncIterator[Served]:
    """A Catalog."""
    async with serving("catalog", CatalogSettings, start, database_url=kept.url) as running:
        yield running


@pytest.fixture
def operator(served: Served) -> Both:
    """The operator, of the other services of the Catalog."""
    return Both(served.as_role("operator", "publisher", sub="olga"))


def a_sign(place: str = "output.id", rule: str = "type", answers: int = 1, **fields: Any) -> pb.DriftSign:
    given: dict[str, Any] = {"kind": pb.DRIFT_KIND_OUTPUT, "place": place, "rule": rule, "answers": answers}
    return pb.DriftSign(**given | fields)


def a_look(version: str, *signs: pb.DriftSign, answers: int = 10, **fields: Any) -> pb.AnswersLookedAt:
    now = Timestamp()
    now.GetCurrentTime()
    given: dict[str, Any] = {"integration": "acme-desk", "action": "list_tickets", "last_time": now}
    return pb.AnswersLookedAt(version=version, answers=answers, signs=signs, **given | fields)


async def report(served: Served, *looks: pb.AnswersLookedAt) -> None:
    stub: Any = DriftServiceStub(served.channel("proxy"))
    await stub.ReportDrift(pb.ReportDriftRequest(looks=looks))


async def listed(
    served: Served, *roles: str, parent: str = EVERY, workspace: str = "", **fields: Any
) -> list[pb.Drift]:
    stub: Any = DriftServiceStub(served.as_role(*(roles or ("publisher",)), workspace=workspace))
    return list((await stub.ListDrifts(pb.ListDriftsRequest(parent=parent, **fields))).drifts)


async def checked(operator: Both) -> list[tuple[int, int]]:
    """Returns of each version of the one integration how many actions were looked at, and how many drift."""
    (entry,) = (await operator.ListInventory(governance_pb.ListInventoryRequest())).entries
    return [(one.checked_actions, one.drifted_actions) for one in entry.versions]


async def test_what_is_reported_adds_up_and_is_told_with_owner_and_times(served: Served, operator: Both) -> None:
    version = await publish(operator, a_document("team-desk"))
    await report(served, a_look(version, action="create_ticket"))
    assert await listed(served) == []
    assert await checked(operator) == [(1, 0)]
    await report(served, a_look(version, a_sign(answers=2, trace_id="a" * 32), answers=5))
    await report(
        served, a_look(version, a_sign(answers=1, trace_id="b" * 32), a_sign("output.state", "enum"), answers=4)
    )
    first, second = await listed(served)
    assert (first.definition_version, first.owner, first.action) == (
        f"{DESK}/versions/{version}",
        "team-desk",
        "list_tickets",
    )
    assert (first.kind, first.place, first.rule) == (pb.DRIFT_KIND_OUTPUT, "output.id", "type")
    assert (first.answers, first.answers_looked_at, first.trace_id) == (3, 9, "b" * 32)
    assert first.first_time.ToDatetime() < first.last_time.ToDatetime()
    assert (second.place, second.answers) == ("output.state", 1)
    assert await checked(operator) == [(2, 1)]


async def test_a_list_is_in_pages_and_of_one_owner_and_kind(served: Served, operator: Both) -> None:
    versions = {slug: await publish(operator, a_document(slug, slug=slug)) for slug in ("aa-desk", "bb-desk")}
    gone = a_sign("status", "410", kind=pb.DRIFT_KIND_ENDPOINT)
    for slug, version in versions.items():
        await report(served, a_look(version, a_sign(), gone, integration=slug))
    stub: Any = DriftServiceStub(served.as_role("operator"))
    seen, token = [], ""
    while True:
        page = await stub.ListDrifts(pb.ListDriftsRequest(parent=EVERY, page_size=1, page_token=token))
        seen += [(one.definition_version.split("/")[1], one.kind) for one in page.drifts]
        token = page.next_page_token
        if not token:
            break
    kinds = (pb.DRIFT_KIND_OUTPUT, pb.DRIFT_KIND_ENDPOINT)
    assert seen == [(slug, kind) for slug in versions for kind in kinds]
    assert {one.owner for one in await listed(served, owner="bb-desk")} == {"bb-desk"}
    assert {one.kind for one in await listed(served, kind=pb.DRIFT_KIND_ENDPOINT)} == {pb.DRIFT_KIND_ENDPOINT}
    assert len(await listed(served, parent="integrations/aa-desk")) == 2


async def test_a_version_that_is_retired_has_no_drift_any_more(served: Served, operator: Both) -> None:
    first = await publish(operator, a_document("a"))
    second = await publish(operator, a_document("b"))
    await report(served, a_look(first, a_sign()), a_look(second, a_sign()))
    assert len(await listed(served)) == 2
    await move(operator, first, VERSION_STATE_DEPRECATED, sunset_time=in_days(1))
    await move(operator, first, VERSION_STATE_RETIRED, force=True, reason="the vendor has moved")
    assert [one.definition_version for one in await listed(served)] == [f"{DESK}/versions/{second}"]


async def test_the_measure_counts_actions_of_versions_that_somebody_has_to_mend(
    served: Served, operator: Both, kept: ServiceDatabase
) -> None:
    first = await publish(operator, a_document("a"))
    second = await publish(operator, a_document("b"))
    opened, measures = Database(kept.url), Measures("catalog")
    drifting = Drifting(DriftStore(opened), SystemClock(), measures)

    async def counted() -> dict[str, float]:
        await drifting.look()
        collected = measures.collect()
        if collected is None:
            return {}
        [metric] = collected.resource_metrics[0].scope_metrics[0].metrics
        assert (metric.name, metric.unit) == ("cordboard.drift.actions", "{action}")
        return {one.attributes[0].value.string_value: one.as_double for one in metric.gauge.data_points}

    await report(served, a_look(second, action="create_ticket"))
    assert await counted() == {}
    await report(served, a_look(first, a_sign(), a_sign("output.state")), a_look(first, a_sign(), action="create"))
    await report(served, a_look(second, a_sign()), a_look("9.9.9", a_sign(), action="of-no-version"))
    assert await counted() == {"acme-desk": 2.0}
    old = Timestamp(seconds=int(time.time()) - 86_410)
    await report(served, a_look(second, a_sign(), action="long-ago", last_time=old))
    assert await counted() == {"acme-desk": 2.0}
    await move(operator, first, VERSION_STATE_DEPRECATED, sunset_time=in_days(1))
    assert await counted() == {"acme-desk": 1.0}
    await opened.close()


async def test_drift_is_for_those_who_answer_for_the_definition(served: Served, operator: Both) -> None:
    shared = await publish(operator, a_document())
    acme = an_admin(served, "acme")
    request = governance_pb.PublishPrivateDefinitionRequest(parent="workspaces/acme", document=a_document())
    version = (await acme.PublishPrivateDefinition(request)).name.rpartition("/")[2]
    await report(served, a_look(version, a_sign(), integration="acme--acme-desk"), a_look(shared, a_sign()))
    own = "integrations/acme--acme-desk"
    assert len(await listed(served, "workspace-admin", workspace="acme")) == 1
    assert len(await listed(served, "workspace-admin", workspace="acme", parent=own)) == 1
    assert len(await listed(served, "operator")) == 2
    assert await listed(served, "workspace-admin", workspace="zeta") == []
    assert len(await listed(served, "publisher", workspace="zeta")) == 1
    stub: Any = DriftServiceStub(served.as_role("workspace-admin", workspace="zeta"))
    for parent in (own, DESK):
        assert (await refused(stub.ListDrifts(pb.ListDriftsRequest(parent=parent))))[0] == "NOT_FOUND"


async def test_what_makes_no_sense_is_refused_by_its_field(served: Served) -> None:
    proxy: Any = DriftServiceStub(served.channel("proxy"))
    for look, field in (
        (a_look(""), "looks[0]"),
        (a_look("1.0.0", answers=0), "looks[0]"),
        (a_look("1.0.0", action="a\nb"), "looks[0]"),
        (a_look("1.0.0", a_sign(kind=0)), "looks[0].signs[0]"),
        (a_look("1.0.0", a_sign(kind=77)), "looks[0].signs[0]"),
        (a_look("1.0.0", a_sign(answers=11)), "looks[0].signs[0]"),
        (a_look("1.0.0", a_sign(place="a\nb")), "looks[0].signs[0]"),
        (a_look("1.0.0", a_sign(), a_sign()), "looks[0].signs[1]"),
        (a_look("1.0.0", last_time=Timestamp(seconds=-1)), "looks[0].last_time"),
    ):
        code, _, fields = await refused(proxy.ReportDrift(pb.ReportDriftRequest(looks=[look])))
        assert (code, fields) == ("INVALID_ARGUMENT", [field]), look
    stub: Any = DriftServiceStub(served.as_role("operator"))
    request = pb.ListDriftsRequest(parent=EVERY, page_token="nonsense")
    assert (await refused(stub.ListDrifts(request)))[0] == "INVALID_ARGUMENT"


# In the Proxy.

TICKET = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}
LISTED = {"type": "object", "properties": {"data": {"items": TICKET}}}


def a_reading(action: str, schema: dict[str, Any], **fields: Any) -> catalog_pb.Action:
    return an_action(action, path=f"/{action}", output_schema_json=json.dumps(schema), **fields)


async def test_calls_and_pages_and_errors_are_looked_at_and_callers_get_what_the_vendor_said(
    serving: Serving, identities: Identities, database: Databases
) -> None:
    answers: dict[str, Reply | bytes] = {
        "/get": said(body={"id": "seven"}, Sunset="Sat, 31 Dec 2033 23:59:59 GMT"),
        "/list": said(body={"data": [{"id": 1}, {"id": "canary"}], "next": None}),
        "/fine": said(body={"id": 7}),
        "/gone": said(410),
    }
    paging = catalog_pb.Paging(
        items_pointer="/data", cursor=catalog_pb.CursorPaging(cursor_property="cursor", next_pointer="/next")
    )
    actions = (
        a_reading("get", TICKET), a_reading("list", LISTED, paging=paging), a_reading("fine", TICKET),
        a_reading("gone", TICKET),
    )  # fmt: skip
    async with (
        a_mesh(serving, identities, database("proxy").url, breaker_min_calls=10_000) as mesh,
        a_vendor(by_path(answers)) as vendor,
    ):
        await point(mesh, vendor.url, *actions)
        answer = await mesh.stub().Execute(execute("get"))
        assert answer.output.struct_value["id"] == "seven"
        pages = [page async for page in mesh.stub().ExecuteStream(stream("list"))]
        assert len(pages[0].items) == 2
        await mesh.stub().Execute(execute("fine"))
        assert (await refusal(mesh.stub().Execute(execute("gone")))).reason == "VENDOR_ERROR"
        # The sandbox's own definition says nothing of outputs; `none` is no action.
        await until(lambda: len(mesh.around.drift) >= 4)
        looks = {one.action: one for one in mesh.around.drift}
    found = {action: [(sign.kind, sign.place, sign.rule) for sign in one.signs] for action, one in looks.items()}
    assert found == {
        "get": [(pb.DRIFT_KIND_DEPRECATION, "Sunset", "2033-12-31"), (pb.DRIFT_KIND_OUTPUT, "output.id", "type")],
        "list": [(pb.DRIFT_KIND_OUTPUT, "output.data[].id", "type")],
        "fine": [],
        "gone": [(pb.DRIFT_KIND_ENDPOINT, "status", "410")],
    }
    assert {one.answers for one in looks.values()} == {1}
    assert "canary" not in str(looks)
