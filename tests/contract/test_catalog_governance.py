"""GovernanceService as callers see it: lifecycle, pins, private definitions, inventory, reviews, notices, search."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import make_url

from cordboard.catalog.__main__ import start
from cordboard.catalog.definition import content_hash
from cordboard.catalog.document import read
from cordboard.catalog.facts import describe, described
from cordboard.catalog.settings import CatalogSettings
from cordboard.catalog.store import CatalogStore, VersionRecord
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.catalog.v1 import governance_service_pb2 as pb
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.catalog.v1.definition_pb2 import Definition
from cordboard.catalog.v1.governance_service_pb2_grpc import GovernanceServiceStub
from cordboard.catalog.v1.lifecycle_pb2 import (
    VERSION_STATE_ACTIVE,
    VERSION_STATE_DEPRECATED,
    VERSION_STATE_DRAFT,
    VERSION_STATE_RETIRED,
    VERSION_STATE_STAGED,
    Pin,
)
from cordboard.core.database import Database
from cordboard.core.ownership import owner_of
from tests.fixtures.auth import refused
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Served, Serving
from tests.unit.catalog.definitions import DOCUMENT

BOUND = 40.0
DESK = "integrations/acme-desk"


class Both:
    """Both services of the Catalog, as one caller calls them."""

    def __init__(self, channel: Any) -> None:
        self._stubs = (CatalogServiceStub(channel), GovernanceServiceStub(channel))

    def __getattr__(self, method: str) -> Any:
        return next(getattr(stub, method) for stub in self._stubs if hasattr(stub, method))


@pytest.fixture
def shared(database: Databases) -> ServiceDatabase:
    """The Catalog's database in this test."""
    return database("catalog")


@pytest.fixture
async def served(serving: Serving, shared: ServiceDatabase) -> AsyncIterator[Served]:
    """A Catalog."""
    async with serving("catalog", CatalogSettings, start, database_url=shared.url) as running:
        yield running


@pytest.fixture
def operator(served: Served) -> Both:
    """The operator."""
    return Both(served.as_role("operator", "publisher", sub="olga"))


def an_admin(served: Served, workspace: str) -> Both:
    """Returns an administrator of a workspace."""
    return Both(served.as_role("workspace-admin", workspace=workspace))


def a_document(owner: str = "team-a", slug: str = "acme-desk", **replaced: str) -> str:
    text = DOCUMENT.replace("owner: integrations", f"owner: {owner}").replace("slug: acme-desk", f"slug: {slug}")
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text


async def publish(stub: Any, text: str, stage: Any = 0) -> str:
    """Publishes, and returns the version."""
    found = await stub.PublishDefinition(catalog.PublishDefinitionRequest(document=text, stage=stage))
    return str(found.name.rpartition("/")[2])


def move(stub: Any, version: str, state: Any, slug: str = "acme-desk", **fields: Any) -> Any:
    name = f"integrations/{slug}/versions/{version}"
    return stub.TransitionDefinitionVersion(pb.TransitionDefinitionVersionRequest(name=name, state=state, **fields))


def in_days(days: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime.now(UTC) + timedelta(days=days))
    return stamp


def a_pin(version: str, workspace: str = "acme", environment: str = "production", slug: str = "acme-desk") -> Any:
    return pb.SetPinRequest(
        pin=Pin(name=f"workspaces/{workspace}/environments/{environment}/pins/{slug}", version=version)
    )


async def active(stub: Any, slug: str = "acme-desk") -> str:
    found = await stub.GetIntegration(catalog.GetIntegrationRequest(name=f"integrations/{slug}"))
    return str(found.active_version)


async def taken(stream: Any, count: int) -> list[Any]:
    """Returns the next messages of a stream; fails after a bound."""
    async with asyncio.timeout(BOUND):
        return [await stream.read() for _ in range(count)]


async def until_empty(stub: Any) -> None:
    """Returns when a replica lists no integration."""
    async with asyncio.timeout(BOUND):
        while True:
            if not (await stub.ListIntegrations(catalog.ListIntegrationsRequest())).integrations:
                return
            await asyncio.sleep(0.02)


async def sql(shared: ServiceDatabase, statement: str, *, workspace: str = "", url: str = "") -> list[Any]:
    """Runs a statement as the service's own role in a workspace, or by another URL."""
    role = make_url(url or shared.url)
    connection = await asyncpg.connect(
        host=role.host, port=role.port, user=role.username, password=role.password, database=role.database
    )
    try:
        await connection.execute("SET search_path TO catalog")
        async with connection.transaction():
            await connection.execute("SELECT set_config('app.ws', $1, true)", workspace)
            return list(await connection.fetch(statement))
    finally:
        await connection.close()


# --- lifecycle


async def test_a_version_goes_from_draft_to_retirement(operator: Both, served: Served) -> None:
    reader = Both(served.as_role("reader", workspace="acme"))
    first = await publish(operator, a_document("a"))
    second = await publish(operator, a_document("b"), VERSION_STATE_DRAFT)
    assert await active(reader) == first
    draft = catalog.GetDefinitionVersionRequest(name=f"{DESK}/versions/{second}")
    assert (await refused(reader.GetDefinitionVersion(draft)))[0] == "NOT_FOUND"
    assert (await operator.GetDefinitionVersion(draft)).state == VERSION_STATE_DRAFT

    staged = await move(operator, second, VERSION_STATE_STAGED)
    assert (staged.state, staged.active) == (VERSION_STATE_STAGED, False)
    assert (await reader.GetDefinitionVersion(draft)).state == VERSION_STATE_STAGED
    assert await active(reader) == first
    activated = await move(operator, second, VERSION_STATE_ACTIVE, reason="proven")
    assert (activated.active, activated.reason) == (True, "proven")
    assert await active(reader) == second

    sunset = in_days(30)
    ended = await move(operator, first, VERSION_STATE_DEPRECATED, successor=second, sunset_time=sunset)
    assert (ended.state, ended.successor, ended.sunset_time) == (VERSION_STATE_DEPRECATED, second, sunset)
    early = move(operator, first, VERSION_STATE_RETIRED)
    assert (await refused(early))[:2] == ("FAILED_PRECONDITION", "STATE_CONFLICT")
    gone = await move(operator, first, VERSION_STATE_RETIRED, force=True, reason="vendor is gone")
    assert (gone.state, gone.successor) == (VERSION_STATE_RETIRED, second)
    for state in (VERSION_STATE_STAGED, VERSION_STATE_ACTIVE, VERSION_STATE_DEPRECATED):
        assert (await refused(move(operator, first, state)))[:2] == ("FAILED_PRECONDITION", "STATE_CONFLICT")
    kept = await reader.GetDefinitionVersion(catalog.GetDefinitionVersionRequest(name=f"{DESK}/versions/{first}"))
    assert kept.definition.title == "Acme Desk"


async def test_an_older_version_is_made_the_default_again(operator: Both) -> None:
    first, second = await publish(operator, a_document("a")), await publish(operator, a_document("b"))
    assert await active(operator) == second
    assert (await move(operator, first, VERSION_STATE_ACTIVE)).active
    assert await active(operator) == first
    shown = await operator.GetIntegration(catalog.GetIntegrationRequest(name=DESK))
    assert shown.owner == "a"


async def test_retiring_the_default_leads_to_its_successor_or_to_the_version_before(operator: Both) -> None:
    versions = [await publish(operator, a_document(owner)) for owner in "abc"]
    await move(operator, versions[2], VERSION_STATE_DEPRECATED, successor=versions[0])
    assert await active(operator) == versions[2]
    await move(operator, versions[2], VERSION_STATE_RETIRED)
    assert await active(operator) == versions[0]
    await move(operator, versions[0], VERSION_STATE_RETIRED, force=True, reason="x")
    assert await active(operator) == versions[1]
    await move(operator, versions[1], VERSION_STATE_RETIRED, force=True, reason="x")
    shown = await operator.GetIntegration(catalog.GetIntegrationRequest(name=DESK))
    assert (shown.active_version, shown.state) == ("", VERSION_STATE_RETIRED)
    name = f"{DESK}/versions/active"
    asked = operator.GetDefinitionVersion(catalog.GetDefinitionVersionRequest(name=name))
    assert (await refused(asked))[0] == "NOT_FOUND"


async def test_a_version_that_was_read_before_somebody_changed_it_is_not_changed(operator: Both) -> None:
    first = await publish(operator, a_document("a"))
    seen = await operator.GetDefinitionVersion(catalog.GetDefinitionVersionRequest(name=f"{DESK}/versions/{first}"))
    await move(operator, first, VERSION_STATE_DEPRECATED, etag=seen.etag)
    late = move(operator, first, VERSION_STATE_ACTIVE, etag=seen.etag)
    assert (await refused(late))[:2] == ("ABORTED", "ETAG_MISMATCH")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"state": VERSION_STATE_DRAFT}, "state"),
        ({"state": 77}, "state"),
        ({"state": VERSION_STATE_DEPRECATED, "successor": "9.9.9"}, "successor"),
        ({"state": VERSION_STATE_DEPRECATED, "successor": "1.0.0"}, "successor"),
        ({"state": VERSION_STATE_DEPRECATED, "successor": "integrations/nobody"}, "successor"),
        ({"state": VERSION_STATE_DEPRECATED, "successor": DESK}, "successor"),
        ({"state": VERSION_STATE_ACTIVE, "successor": "1.1.0"}, "successor"),
        ({"state": VERSION_STATE_DEPRECATED, "sunset_time": in_days(-1)}, "sunset_time"),
        ({"state": VERSION_STATE_DEPRECATED, "sunset_time": Timestamp(seconds=2**60)}, "sunset_time"),
        ({"state": VERSION_STATE_ACTIVE, "sunset_time": in_days(1)}, "sunset_time"),
        ({"state": VERSION_STATE_RETIRED, "force": True}, "reason"),
        ({"state": VERSION_STATE_RETIRED, "reason": "x" * 2000}, "reason"),
    ],
)
async def test_a_wrong_move_is_refused_with_its_field(operator: Both, fields: dict[str, Any], field: str) -> None:
    await publish(operator, a_document("a"))
    assert await refused(move(operator, "1.0.0", **fields)) == ("INVALID_ARGUMENT", "INVALID_FIELDS", [field])


async def test_the_same_content_again_brings_a_draft_on_and_leaves_the_retired_alone(operator: Both) -> None:
    text = a_document("a")
    first = await publish(operator, text, VERSION_STATE_DRAFT)
    assert await publish(operator, text, VERSION_STATE_STAGED) == first
    assert await active(operator) == ""
    assert await publish(operator, text) == first
    assert await active(operator) == first
    await move(operator, first, VERSION_STATE_RETIRED, force=True, reason="x")
    second = await publish(operator, text)
    assert second != first
    assert await active(operator) == second
    named = publish(operator, f"version: {first}\n{text}")
    assert (await refused(named))[:2] == ("FAILED_PRECONDITION", "STATE_CONFLICT")


async def test_a_draft_can_be_deleted_and_nothing_else(
    operator: Both, served: Served, shared: ServiceDatabase, serving: Serving
) -> None:
    only = await publish(operator, a_document("a", slug="solo"), VERSION_STATE_DRAFT)
    async with serving("catalog", CatalogSettings, start, database_url=shared.url) as other:
        elsewhere = Both(other.as_role("operator"))
        name = f"integrations/solo/versions/{only}"
        assert (await elsewhere.GetDefinitionVersion(catalog.GetDefinitionVersionRequest(name=name))).name == name
        await operator.DeleteDefinitionVersion(pb.DeleteDefinitionVersionRequest(name=name))
        for stub in (operator, elsewhere):
            await until_empty(stub)
            asked = stub.GetDefinitionVersion(catalog.GetDefinitionVersionRequest(name=name))
            assert (await refused(asked))[0] == "NOT_FOUND"
    assert await publish(operator, a_document("z", slug="solo"), VERSION_STATE_DRAFT) == only
    first = await publish(operator, a_document("a"))
    kept = operator.DeleteDefinitionVersion(pb.DeleteDefinitionVersionRequest(name=f"{DESK}/versions/{first}"))
    assert (await refused(kept))[:2] == ("FAILED_PRECONDITION", "STATE_CONFLICT")


async def test_even_the_service_itself_cannot_make_a_published_version_a_draft_again(
    operator: Both, shared: ServiceDatabase
) -> None:
    await publish(operator, a_document("a"))
    for statement in (
        "UPDATE version_state SET state = 1",
        "DELETE FROM version_state",
        "DELETE FROM definition_version",
        "UPDATE definition_version SET content = ''",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await sql(shared, statement)


async def test_every_move_stands_in_the_journal(operator: Both, shared: ServiceDatabase) -> None:
    first = await publish(operator, a_document("a"))
    await move(operator, first, VERSION_STATE_DEPRECATED, reason="old")
    await operator.SetPin(a_pin(first))
    await move(operator, first, VERSION_STATE_RETIRED, force=True, reason="vendor is gone")
    await operator.DeletePin(pb.DeletePinRequest(name="workspaces/acme/environments/production/pins/acme-desk"))
    rows = await sql(shared, "SELECT body FROM audit_entry ORDER BY time", url=shared.superuser_url)
    entries = [json.loads(body) for (body,) in rows]
    assert [entry["action"].removeprefix("catalog.") for entry in entries] == [
        "definition.publish",
        "definition.deprecate",
        "pin.set",
        "definition.retire",
        "pin.delete",
    ]
    assert entries[3]["details"] == {"from": "deprecated", "reason": "vendor is gone", "forced": True, "pinned": 1}
    assert {entry["actor"] for entry in entries} == {"olga"}


# --- pins


async def test_a_pin_holds_and_keeps_its_version_from_retirement(operator: Both, served: Served) -> None:
    first, second = await publish(operator, a_document("a")), await publish(operator, a_document("b"))
    acme = an_admin(served, "acme")
    pin = await acme.SetPin(a_pin(first))
    assert (pin.version, pin.state, pin.creator) == (first, VERSION_STATE_ACTIVE, "workspaces/acme")
    await move(operator, first, VERSION_STATE_DEPRECATED, successor=second)
    retire = move(operator, first, VERSION_STATE_RETIRED)
    assert (await refused(retire))[:2] == ("FAILED_PRECONDITION", "STATE_CONFLICT")
    stale = a_pin(second)
    stale.pin.etag = "0" * 16
    assert (await refused(acme.SetPin(stale)))[:2] == ("ABORTED", "ETAG_MISMATCH")
    stale.pin.etag = pin.etag
    assert (await acme.SetPin(stale)).version == second
    assert (await move(operator, first, VERSION_STATE_RETIRED)).state == VERSION_STATE_RETIRED
    for wrong, code in ((first, "FAILED_PRECONDITION"), ("9.9.9", "NOT_FOUND"), ("", "INVALID_ARGUMENT")):
        assert (await refused(acme.SetPin(a_pin(wrong))))[0] == code
    draft = await publish(operator, a_document("c"), VERSION_STATE_DRAFT)
    assert (await refused(acme.SetPin(a_pin(draft))))[0] == "FAILED_PRECONDITION"


async def test_pins_are_listed_to_their_workspace_alone_and_to_the_operator(operator: Both, served: Served) -> None:
    first = await publish(operator, a_document("a"))
    other = await publish(operator, a_document("a", slug="other"))
    acme, zeta = an_admin(served, "acme"), an_admin(served, "zeta")
    for environment in ("production", "staging"):
        await acme.SetPin(a_pin(first, environment=environment))
    await zeta.SetPin(a_pin(other, "zeta", slug="other"))

    async def listed(stub: Both, parent: str, **fields: Any) -> list[str]:
        found = await stub.ListPins(pb.ListPinsRequest(parent=parent, **fields))
        return [pin.name.partition("/")[2] for pin in found.pins]

    everything = [
        "acme/environments/production/pins/acme-desk",
        "acme/environments/staging/pins/acme-desk",
        "zeta/environments/production/pins/other",
    ]
    assert await listed(operator, "workspaces/-") == everything
    assert await listed(operator, "workspaces/-", environment="staging") == everything[1:2]
    assert await listed(operator, "workspaces/-", integration="integrations/other") == everything[2:]
    assert await listed(acme, "workspaces/acme") == everything[:2]
    for parent in ("workspaces/acme", "workspaces/-"):
        assert (await refused(zeta.ListPins(pb.ListPinsRequest(parent=parent))))[0] == "NOT_FOUND"
    assert (await refused(zeta.SetPin(a_pin(first))))[0] == "NOT_FOUND"
    name = f"workspaces/{everything[0]}"
    assert (await refused(zeta.DeletePin(pb.DeletePinRequest(name=name))))[0] == "NOT_FOUND"
    page = await operator.ListPins(pb.ListPinsRequest(parent="workspaces/-", page_size=2))
    rest = await operator.ListPins(
        pb.ListPinsRequest(parent="workspaces/-", page_size=2, page_token=page.next_page_token)
    )
    assert [pin.name.partition("/")[2] for pin in (*page.pins, *rest.pins)] == everything
    await acme.DeletePin(pb.DeletePinRequest(name=name))
    assert await listed(acme, "workspaces/acme") == everything[1:2]
    assert (await refused(acme.DeletePin(pb.DeletePinRequest(name=name))))[0] == "NOT_FOUND"


async def test_row_level_security_is_a_second_lock_under_pins_and_private_rows(
    operator: Both, served: Served, shared: ServiceDatabase
) -> None:
    first = await publish(operator, a_document("a"))
    await operator.SetPin(a_pin(first))
    document = a_document("a", slug="crm")
    await an_admin(served, "acme").PublishPrivateDefinition(
        pb.PublishPrivateDefinitionRequest(parent="workspaces/acme", document=document)
    )
    counts = {
        workspace: [
            (await sql(shared, f"SELECT count(*) FROM {table}", workspace=workspace))[0][0]
            for table in ("pin", "integration", "definition_version", "version_state")
        ]
        for workspace in ("acme", "zeta", "")
    }
    assert counts == {"acme": [1, 2, 2, 2], "zeta": [0, 1, 1, 1], "": [0, 1, 1, 1]}
    for workspace in ("zeta", ""):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await sql(
                shared, "INSERT INTO pin VALUES ('acme', 'x', 'y', '1', '', 1, 999, now(), '')", workspace=workspace
            )


# --- streams


async def test_a_stream_tells_of_every_move_and_pin_and_is_resumed(operator: Both, served: Served) -> None:
    first = await publish(operator, a_document("a"))
    stub = Both(served.channel("proxy"))
    stream = stub.WatchDefinitions(catalog.WatchDefinitionsRequest())
    (one, caught_up) = await taken(stream, 2)
    assert one.definition_version.active
    assert caught_up.caught_up
    await publish(operator, a_document("draft"), VERSION_STATE_DRAFT)
    second = await publish(operator, a_document("b"), VERSION_STATE_STAGED)
    await operator.SetPin(a_pin(second))
    await move(operator, second, VERSION_STATE_ACTIVE)
    await move(operator, first, VERSION_STATE_DEPRECATED, successor=second)
    await move(operator, first, VERSION_STATE_RETIRED)
    await operator.DeletePin(pb.DeletePinRequest(name="workspaces/acme/environments/production/pins/acme-desk"))
    seen: list[tuple[str, str]] = []
    sequences = [caught_up.sequence]
    while not seen or seen[-1] != ("pin", ""):
        (message,) = await taken(stream, 1)
        kind = message.WhichOneof("event")
        found = getattr(message, kind)
        seen.append((kind, found.version if kind == "pin" else found.name.rpartition("/")[2]))
        sequences.append(message.sequence)
    assert seen[0] == ("definition_version", second)
    assert ("pin", second) in seen
    assert ("retired_version", first) in seen
    assert sequences == sorted(set(sequences))
    stream.cancel()

    again = stub.WatchDefinitions(catalog.WatchDefinitionsRequest())
    messages = await taken(again, 4)
    state = {message.WhichOneof("event"): message for message in messages}
    assert state["definition_version"].definition_version.active
    assert state["retired_version"].retired_version.successor == second
    assert state["pin"].pin.version == ""
    assert "caught_up" in state
    again.cancel()


async def test_a_new_default_is_told_when_the_old_one_is_retired(operator: Both, served: Served) -> None:
    first, second = await publish(operator, a_document("a")), await publish(operator, a_document("b"))
    stream = Both(served.channel("proxy")).WatchDefinitions(catalog.WatchDefinitionsRequest())
    await taken(stream, 3)
    await move(operator, second, VERSION_STATE_RETIRED, force=True, reason="x")
    gone, new = await taken(stream, 2)
    assert gone.retired_version.name.endswith(second)
    assert (new.definition_version.name.rpartition("/")[2], new.definition_version.active) == (first, True)
    stream.cancel()


async def test_a_publisher_sees_neither_pins_nor_private_definitions_in_its_stream(
    operator: Both, served: Served
) -> None:
    first = await publish(operator, a_document("a"))
    await operator.SetPin(a_pin(first))
    request = pb.PublishPrivateDefinitionRequest(parent="workspaces/acme", document=a_document("a", slug="crm"))
    await an_admin(served, "acme").PublishPrivateDefinition(request)
    stream = Both(served.as_role("publisher")).WatchDefinitions(catalog.WatchDefinitionsRequest())
    one, caught_up = await taken(stream, 2)
    assert one.definition_version.name.startswith(DESK)
    assert caught_up.caught_up
    stream.cancel()
    whole = Both(served.channel("proxy")).WatchDefinitions(catalog.WatchDefinitionsRequest())
    found = [message.WhichOneof("event") for message in await taken(whole, 4)]
    assert found == ["definition_version", "pin", "definition_version", "caught_up"]
    whole.cancel()


# --- private definitions


async def test_a_private_definition_is_there_for_its_workspace_alone(operator: Both, served: Served) -> None:
    acme, zeta = an_admin(served, "acme"), an_admin(served, "zeta")
    request = pb.PublishPrivateDefinitionRequest(parent="workspaces/acme", document=a_document("a", slug="crm"))
    published = await acme.PublishPrivateDefinition(request)
    assert published.name == "integrations/acme--crm/versions/1.0.0"
    assert (published.workspace, published.definition.slug) == ("acme", "acme--crm")
    # The same name elsewhere is another integration, and tells nothing of the first.
    await zeta.PublishPrivateDefinition(
        pb.PublishPrivateDefinitionRequest(parent="workspaces/zeta", document=a_document("z", slug="crm"))
    )
    name = "integrations/acme--crm"
    member = Both(served.as_role("member", workspace="acme"))
    stranger = Both(served.as_role("member", workspace="zeta"))
    for stub in (acme, member, operator, Both(served.channel("auth"))):
        assert (await stub.GetIntegration(catalog.GetIntegrationRequest(name=name))).workspace == "acme"
    for stub in (zeta, stranger, Both(served.as_role("publisher"))):
        for method, asked in (
            ("GetIntegration", catalog.GetIntegrationRequest(name=name)),
            ("GetDefinitionVersion", catalog.GetDefinitionVersionRequest(name=published.name)),
            ("GetDefinitionVersion", catalog.GetDefinitionVersionRequest(name=f"{name}/versions/active")),
            ("ListDefinitionVersions", catalog.ListDefinitionVersionsRequest(parent=name)),
            ("ListActions", catalog.ListActionsRequest(parent=name)),
            ("DiffDefinitionVersions", pb.DiffDefinitionVersionsRequest(
                parent=name, old_version="1.0.0", new_version="1.0.0")),
        ):  # fmt: skip
            assert (await refused(getattr(stub, method)(asked)))[:2] == ("NOT_FOUND", "RESOURCE_NOT_FOUND")
        assert name not in [one.name for one in (await stub.ListIntegrations(
            catalog.ListIntegrationsRequest())).integrations]  # fmt: skip
        found = await stub.SearchActions(pb.SearchActionsRequest(query="tickets"))
        assert name not in [one.integration for one in found.actions]
    assert (await refused(move(zeta, "1.0.0", VERSION_STATE_DEPRECATED, slug="acme--crm")))[0] == "NOT_FOUND"
    assert (await refused(zeta.SetPin(a_pin("1.0.0", "zeta", slug="acme--crm"))))[0] == "NOT_FOUND"
    assert (await refused(member.PublishPrivateDefinition(request)))[0] == "PERMISSION_DENIED"
    assert (await refused(zeta.PublishPrivateDefinition(request)))[0] == "NOT_FOUND"
    moved = await move(acme, "1.0.0", VERSION_STATE_DEPRECATED, slug="acme--crm", reason="moving")
    assert moved.state == VERSION_STATE_DEPRECATED
    await publish(operator, a_document("a"))
    assert (await refused(move(acme, "1.0.0", VERSION_STATE_DEPRECATED)))[0] == "PERMISSION_DENIED"


async def test_a_shared_definition_cannot_take_a_private_name(operator: Both, served: Served) -> None:
    for slug in ("acme--crm", "a--b--c"):
        assert await refused(publish(operator, a_document("a", slug=slug))) == (
            "INVALID_ARGUMENT",
            "INVALID_FIELDS",
            ["slug"],
        )
    nested = pb.PublishPrivateDefinitionRequest(parent="workspaces/acme", document=a_document("a", slug="b--c"))
    assert (await refused(an_admin(served, "acme").PublishPrivateDefinition(nested)))[2] == ["slug"]


async def test_a_workspace_has_so_many_private_integrations_and_no_more(
    serving: Serving, shared: ServiceDatabase
) -> None:
    async with serving("catalog", CatalogSettings, start, database_url=shared.url, private_integrations=2) as served:
        acme = an_admin(served, "acme")

        def attempt(slug: str, owner: str = "a") -> Any:
            return acme.PublishPrivateDefinition(
                pb.PublishPrivateDefinitionRequest(parent="workspaces/acme", document=a_document(owner, slug=slug))
            )

        await attempt("one")
        await attempt("two")
        assert (await refused(attempt("three")))[:2] == ("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED")
        assert (await attempt("two", "b")).name.endswith("/1.1.0")


async def test_an_operator_promotes_a_private_definition(operator: Both, served: Served) -> None:
    acme = an_admin(served, "acme")
    document = a_document("a", slug="crm")
    await acme.PublishPrivateDefinition(pb.PublishPrivateDefinitionRequest(parent="workspaces/acme", document=document))
    promote = pb.PromoteIntegrationRequest(name="integrations/acme--crm", stage=VERSION_STATE_ACTIVE, reason="useful")
    assert (await refused(acme.PromoteIntegration(promote)))[0] == "PERMISSION_DENIED"
    promoted = await operator.PromoteIntegration(promote)
    assert (promoted.name, promoted.workspace) == ("integrations/crm/versions/1.0.0", "")
    stranger = Both(served.as_role("member", workspace="zeta"))
    assert (await stranger.GetIntegration(catalog.GetIntegrationRequest(name="integrations/crm"))).active_version
    asked = catalog.GetDefinitionVersionRequest(name="integrations/acme--crm/versions/1.0.0")
    private = await acme.GetDefinitionVersion(asked)
    assert (private.state, private.successor) == (VERSION_STATE_DEPRECATED, "integrations/crm")
    again = pb.PromoteIntegrationRequest(name="integrations/crm")
    assert (await refused(operator.PromoteIntegration(again)))[2] == ["name"]


@pytest.fixture
async def store(shared: ServiceDatabase) -> AsyncIterator[CatalogStore]:
    """The Catalog's tables, to write what a Catalog of another time wrote."""
    database = Database(shared.url, pool_size=1)
    yield CatalogStore(database)
    await database.close()


async def keep(store: CatalogStore, definition: Definition) -> None:
    """Writes an active version of a private integration as it is, whatever is wrong with it."""
    workspace = owner_of(definition.slug)
    async with store.writing(workspace) as (connection, sequence):
        now = datetime.now(UTC)
        record = VersionRecord(
            slug=definition.slug, version=definition.version, content_hash=content_hash(definition),
            published=sequence, create_time=now, creator="erna", state=VERSION_STATE_ACTIVE, sequence=sequence,
            revision=1, activation=sequence, sunset_time=None, successor="", reason="", update_time=now, updater="erna",
            workspace_id=workspace,
        )  # fmt: skip
        await store.add_version(connection, record, definition.SerializeToString(), described(definition))
        await store.put_integration(connection, describe(definition, record))


async def test_a_private_definition_that_breaks_a_rule_of_now_is_not_promoted(
    operator: Both, store: CatalogStore
) -> None:
    definition = read(a_document("a", slug="acme--crm")).definition
    definition.version = "1.0.0"
    example = definition.actions[1].examples.add(name="one", input_json='{"subject": "A"}')
    example.request.method, example.request.url = "PUT", "https://eu.acme.example/v1/tickets"
    await keep(store, definition)
    promote = pb.PromoteIntegrationRequest(name="integrations/acme--crm", version="1.0.0")

    code, reason, fields = await refused(operator.PromoteIntegration(promote))

    assert (code, reason) == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert "actions[1].examples[0].request.method" in fields
    gone = catalog.GetIntegrationRequest(name="integrations/crm")
    assert (await refused(operator.GetIntegration(gone)))[0] == "NOT_FOUND"
    del definition.actions[1].examples[:]
    definition.version = "1.0.1"
    await keep(store, definition)
    promoted = await operator.PromoteIntegration(
        pb.PromoteIntegrationRequest(name="integrations/acme--crm", version="1.0.1")
    )
    assert promoted.name == "integrations/crm/versions/1.0.0"


async def test_promotion_takes_the_place_of_a_shared_integration_only_when_asked(
    operator: Both, served: Served
) -> None:
    acme = an_admin(served, "acme")
    await publish(operator, a_document("shared", slug="crm"))
    document = a_document("a", slug="crm")
    await acme.PublishPrivateDefinition(pb.PublishPrivateDefinitionRequest(parent="workspaces/acme", document=document))
    promote = pb.PromoteIntegrationRequest(name="integrations/acme--crm")
    assert (await refused(operator.PromoteIntegration(promote)))[:2] == ("ALREADY_EXISTS", "RESOURCE_ALREADY_EXISTS")
    promote.update = True
    promoted = await operator.PromoteIntegration(promote)
    assert (promoted.name, promoted.state) == ("integrations/crm/versions/1.1.0", VERSION_STATE_STAGED)
    promote.update = False
    assert (await operator.PromoteIntegration(promote)).name == promoted.name


async def test_of_two_promotions_onto_one_slug_at_one_instant_exactly_one_wins(
    operator: Both, served: Served, serving: Serving, shared: ServiceDatabase
) -> None:
    async with serving("catalog", CatalogSettings, start, database_url=shared.url) as other:
        second = Both(other.as_role("operator", "publisher", sub="otto"))
        for turn in range(5):
            for owner in ("acme", "zeta"):
                document = a_document(owner, slug=f"crm-{turn}")
                request = pb.PublishPrivateDefinitionRequest(parent=f"workspaces/{owner}", document=document)
                await an_admin(served, owner).PublishPrivateDefinition(request)
            # A draft is held against no other version, which is one way to find out.
            stage = VERSION_STATE_DRAFT if turn % 2 else VERSION_STATE_STAGED
            first, last = (
                pb.PromoteIntegrationRequest(name=f"integrations/{owner}--crm-{turn}", stage=stage)
                for owner in ("acme", "zeta")
            )
            ended = await asyncio.gather(
                operator.PromoteIntegration(first), second.PromoteIntegration(last), return_exceptions=True
            )
            [won] = [one for one in ended if not isinstance(one, BaseException)]
            [lost] = [one for one in ended if isinstance(one, grpc.aio.AioRpcError)]
            assert won.name == f"integrations/crm-{turn}/versions/1.0.0"
            assert lost.code() is grpc.StatusCode.ALREADY_EXISTS
            versions = catalog.ListDefinitionVersionsRequest(parent=f"integrations/crm-{turn}")
            assert [one.name for one in (await operator.ListDefinitionVersions(versions)).definition_versions] == [
                won.name
            ]
        # The control: who asks for the next version of what the other has made gets it.
        loser = "acme" if lost is ended[0] else "zeta"
        again = pb.PromoteIntegrationRequest(name=f"integrations/{loser}--crm-4", update=True)
        assert (await operator.PromoteIntegration(again)).name == "integrations/crm-4/versions/1.1.0"


async def test_promotion_keeps_the_promise_of_the_shared_integration(operator: Both, served: Served) -> None:
    acme = an_admin(served, "acme")
    await publish(operator, a_document("shared", slug="crm") + "compatibility: backward\n")
    document = a_document("a", slug="crm", create_ticket="open_ticket")
    await acme.PublishPrivateDefinition(pb.PublishPrivateDefinitionRequest(parent="workspaces/acme", document=document))
    promote = pb.PromoteIntegrationRequest(name="integrations/acme--crm", update=True)
    code, reason, fields = await refused(operator.PromoteIntegration(promote))
    assert (code, reason, fields) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["actions[create_ticket]"])
    kept = catalog.GetIntegrationRequest(name="integrations/crm")
    assert (await operator.GetIntegration(kept)).owner == "shared"


# --- what there is


async def test_the_inventory_says_what_is_reached_by_whom_and_how_much(operator: Both, served: Served) -> None:
    first, second = await publish(operator, a_document("a")), await publish(operator, a_document("b"))
    await publish(operator, a_document("c", slug="other"))
    for workspace in ("acme", "zeta"):
        await operator.SetPin(a_pin(first, workspace))
    now = Timestamp()
    now.GetCurrentTime()
    proxy = Both(served.channel("proxy"))
    counts = [
        pb.UsageCount(workspace=workspace, environment="production", integration="acme-desk", version=second,
                      calls=2, last_call_time=now)
        for workspace in ("acme", "acme", "beta", "gamma")
    ]  # fmt: skip
    await proxy.ReportUsage(pb.ReportUsageRequest(counts=counts))
    found = await operator.ListInventory(pb.ListInventoryRequest())
    desk, other = found.entries
    assert (desk.integration.name, desk.integration.owner) == (DESK, "b")
    assert list(desk.hosts)
    used = {one.version: (one.pinned_workspaces, one.calling_workspaces) for one in desk.versions}
    assert used == {first: (2, 0), second: (0, 3)}
    assert [one.pinned_workspaces for one in other.versions] == [0]
    only = await operator.ListInventory(pb.ListInventoryRequest(owner="c"))
    assert [one.integration.name for one in only.entries] == ["integrations/other"]
    host = desk.hosts[0]
    assert len((await operator.ListInventory(pb.ListInventoryRequest(host=host))).entries) == 2
    assert not (await operator.ListInventory(pb.ListInventoryRequest(host="nobody.example"))).entries
    wrong = pb.ReportUsageRequest(counts=[pb.UsageCount(workspace="acme")])
    assert (await refused(proxy.ReportUsage(wrong)))[2] == ["counts[0]"]


async def test_a_workspace_is_told_of_versions_that_end_and_that_it_uses(operator: Both, served: Served) -> None:
    first, second = await publish(operator, a_document("a")), await publish(operator, a_document("b"))
    await operator.SetPin(a_pin(first, environment="staging"))
    now = Timestamp()
    now.GetCurrentTime()
    used = pb.UsageCount(workspace="beta", environment="production", integration="acme-desk", version=first, calls=1)
    used.last_call_time.CopyFrom(now)
    await Both(served.channel("proxy")).ReportUsage(pb.ReportUsageRequest(counts=[used]))

    async def notices(workspace: str) -> list[Any]:
        stub = Both(served.as_role("member", workspace=workspace))
        return list((await stub.ListNotices(pb.ListNoticesRequest(parent=f"workspaces/{workspace}"))).notices)

    assert await notices("acme") == []
    sunset = in_days(60)
    await move(operator, first, VERSION_STATE_DEPRECATED, successor=second, sunset_time=sunset, reason="v1 ends")
    (pinned,) = await notices("acme")
    assert pinned.definition_version == f"{DESK}/versions/{first}"
    assert (pinned.successor, pinned.sunset_time, pinned.reason) == (second, sunset, "v1 ends")
    assert (list(pinned.pinned_environments), list(pinned.calling_environments)) == (["staging"], [])
    (calling,) = await notices("beta")
    assert list(calling.calling_environments) == ["production"]
    assert await notices("gamma") == []
    stranger = Both(served.as_role("member", workspace="gamma"))
    assert (await refused(stranger.ListNotices(pb.ListNoticesRequest(parent="workspaces/acme"))))[0] == "NOT_FOUND"


async def test_reviews_come_due_and_are_noted(operator: Both, shared: ServiceDatabase) -> None:
    for slug in ("alpha", "bravo", "charlie"):
        await publish(operator, a_document("team", slug=slug))
    for slug, days in (("bravo", 100), ("alpha", 200)):
        noted = await operator.RecordReview(
            pb.RecordReviewRequest(integration=f"integrations/{slug}", due_time=in_days(days), note="fine")
        )
        assert (noted.reviewer, noted.note, noted.overdue) == ("olga", "fine", False)

    async def listed(**fields: Any) -> list[str]:
        found = await operator.ListReviews(pb.ListReviewsRequest(**fields))
        return [one.integration.partition("/")[2] for one in found.reviews]

    assert await listed() == ["bravo", "alpha", "charlie"]
    assert await listed(overdue=True) == []
    assert await listed(owner="nobody") == []
    early = pb.RecordReviewRequest(integration="integrations/alpha", due_time=in_days(-1))
    assert (await refused(operator.RecordReview(early)))[2] == ["due_time"]
    # The database would keep this one as endless, and no list with it could be read any more.
    last = Timestamp(seconds=253_402_300_799, nanos=999_999_999)
    endless = pb.RecordReviewRequest(integration="integrations/charlie", due_time=last)
    assert (await refused(operator.RecordReview(endless)))[2] == ["due_time"]
    assert await listed() == ["bravo", "alpha", "charlie"]
    nobody = pb.RecordReviewRequest(integration="integrations/nobody", due_time=in_days(1))
    assert (await refused(operator.RecordReview(nobody)))[0] == "NOT_FOUND"


async def test_integrations_are_found_by_state_owner_tag_time_and_words(operator: Both) -> None:
    for slug, owner in (("alpha", "a"), ("bravo", "b")):
        await publish(operator, a_document(owner, slug=slug))
    await publish(operator, a_document("c", slug="charlie"), VERSION_STATE_STAGED)
    before = Timestamp()
    before.GetCurrentTime()
    await publish(operator, a_document("d", slug="delta", **{"tags: [support]": "tags: [money]"}))

    async def listed(**fields: Any) -> list[str]:
        found = await operator.ListIntegrations(catalog.ListIntegrationsRequest(**fields))
        return [one.name.partition("/")[2] for one in found.integrations]

    assert await listed() == ["alpha", "bravo", "charlie", "delta"]
    assert await listed(state=VERSION_STATE_STAGED) == ["charlie"]
    assert await listed(owner="b") == ["bravo"]
    assert await listed(tag="money") == ["delta"]
    assert await listed(changed_since=before) == ["delta"]
    assert await listed(query="keeps ALPHA") == ["alpha"]
    assert await listed(query="keeps nothing") == []
    await move(operator, "1.0.0", VERSION_STATE_DEPRECATED, slug="alpha")
    assert await listed(changed_since=before) == ["alpha", "delta"]


async def test_actions_are_found_across_integrations_in_pages(operator: Both) -> None:
    for slug in ("alpha", "bravo"):
        await publish(operator, a_document("a", slug=slug))
    found: list[str] = []
    token = ""
    while True:
        page = await operator.SearchActions(pb.SearchActionsRequest(query="TICKET", page_size=1, page_token=token))
        found += [f"{one.integration}/{one.action.id}" for one in page.actions]
        token = page.next_page_token
        if not token:
            break
    assert found == [
        f"integrations/{slug}/{action}" for slug in ("alpha", "bravo") for action in ("create_ticket", "list_tickets")
    ]
    narrowed = await operator.SearchActions(pb.SearchActionsRequest(query="bravo list"))
    assert [(one.integration, one.action.id) for one in narrowed.actions] == [("integrations/bravo", "list_tickets")]
    assert not (await operator.SearchActions(pb.SearchActionsRequest(query="ticket unicorn"))).actions
    assert (await refused(operator.SearchActions(pb.SearchActionsRequest(query="  "))))[0] == "INVALID_ARGUMENT"
    await move(operator, "1.0.0", VERSION_STATE_RETIRED, slug="alpha", force=True, reason="x")
    after = await operator.SearchActions(pb.SearchActionsRequest(query="ticket"))
    assert {one.integration for one in after.actions} == {"integrations/bravo"}


async def test_a_difference_is_told_part_by_part_with_whom_it_hurts(operator: Both) -> None:
    first = await publish(operator, a_document("a"))
    changed = a_document("b", **{"required: [account]": "required: [account, cursor]"})
    changed = changed.replace("- id: me\n  request: {method: GET, path: /me}\n", "").replace("check_action: me\n", "")
    second = await publish(operator, changed)
    request = pb.DiffDefinitionVersionsRequest(parent=DESK, old_version=first, new_version="active")
    found = await operator.DiffDefinitionVersions(request)
    assert (found.old_version, found.new_version) == (first, second)
    told = {one.field: (one.old_value, one.new_value) for one in found.changes}
    assert told["owner"] == ('"a"', '"b"')
    assert told["actions[list_tickets].input_schema.required"] == ('["account"]', '["account","cursor"]')
    assert told["actions[me]"][1] == ""
    assert (found.backward, found.forward) == (False, True)
    assert {(one.field, one.rule) for one in found.incompatibilities} == {
        ("actions[list_tickets].input_schema.properties.cursor", "REQUIRED_ADDED"),
        ("actions[me]", "ACTION_REMOVED"),
    }
    tried = await operator.ValidateDefinition(pb.ValidateDefinitionRequest(document=a_document("c")))
    assert tried.difference.old_version == second
    assert (tried.compatibility, list(tried.refusals)) == ("NONE", [])
    assert tried.definition_version.name.endswith("/1.2.0")
    assert await active(operator) == second


# --- promises


PROMISES = "compatibility: backward\n"
CLOSER = {"required: [account]": "required: [account, cursor]"}


async def test_a_version_that_breaks_the_promise_is_refused_with_the_field_and_the_rule(operator: Both) -> None:
    first = await publish(operator, PROMISES + a_document("a"))
    broken = PROMISES + a_document("a", **CLOSER)
    field = "actions[list_tickets].input_schema.properties.cursor"
    request = catalog.PublishDefinitionRequest(document=broken)
    with pytest.raises(grpc.aio.AioRpcError, match=r"REQUIRED_ADDED, backward, against version 1\.0\.0") as refusal:
        await operator.PublishDefinition(request)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (await refused(operator.PublishDefinition(request)))[2] == [field]
    # The promise of the version in use binds a definition that makes none.
    silent = publish(operator, a_document("a", **CLOSER))
    assert (await refused(silent))[2] == [field]
    tried = await operator.ValidateDefinition(pb.ValidateDefinitionRequest(document=broken))
    assert (tried.compatibility, [one.rule for one in tried.refusals]) == ("BACKWARD", ["REQUIRED_ADDED"])
    assert await active(operator) == first
    # A draft may break it, and goes no further.
    draft = await publish(operator, broken, VERSION_STATE_DRAFT)
    for state in (VERSION_STATE_STAGED, VERSION_STATE_ACTIVE):
        assert (await refused(move(operator, draft, state)))[2] == [field]
    released = "compatibility: none\n" + a_document("a", **CLOSER)
    assert await publish(operator, released) == await active(operator)


async def test_an_import_can_be_tried_with_what_it_changes_and_whether_it_is_refused(operator: Both) -> None:
    await publish(operator, PROMISES + a_document("a", slug="shop"))
    described = {
        "openapi": "3.1.0",
        "info": {"title": "Shop"},
        "servers": [{"url": "https://api.shop.example"}],
        "paths": {"/orders": {"get": {"operationId": "list_orders", "responses": {}}, "trace": {}}},
    }
    request = catalog.ImportOpenApiRequest(document=json.dumps(described), slug="shop")

    tried = await operator.ValidateOpenApi(pb.ValidateOpenApiRequest(import_request=request))

    assert (tried.report.operation_count, tried.report.action_count) == (2, 1)
    assert (tried.difference.old_version, tried.difference.new_version) == ("1.0.0", "1.1.0")
    kinds = {one.field: one.kind for one in tried.difference.changes}
    assert kinds["actions[list_orders]"] == pb.DefinitionChange.KIND_ADDED
    assert kinds["actions[create_ticket]"] == pb.DefinitionChange.KIND_REMOVED
    assert (tried.compatibility, "ACTION_REMOVED" in {one.rule for one in tried.refusals}) == ("BACKWARD", True)
    assert (await refused(operator.ImportOpenApi(request)))[:2] == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert await active(operator, "shop") == "1.0.0"
    empty = operator.ValidateOpenApi(pb.ValidateOpenApiRequest())
    assert (await refused(empty))[2] == ["import_request"]


async def test_a_private_definition_can_be_tried_by_those_who_see_it_alone(operator: Both, served: Served) -> None:
    document = a_document("a", slug="crm")
    private = pb.PublishPrivateDefinitionRequest(parent="workspaces/acme", document=document)
    await operator.PublishPrivateDefinition(private)
    request = pb.ValidateDefinitionRequest(document=a_document("b", slug="crm"), parent="workspaces/acme")
    tried = await operator.ValidateDefinition(request)
    assert tried.definition_version.name == "integrations/acme--crm/versions/1.1.0"
    assert [one.field for one in tried.difference.changes] == ["owner"]
    stranger = Both(served.as_role("publisher", workspace="zeta"))
    assert (await refused(stranger.ValidateDefinition(request)))[0] == "NOT_FOUND"
    request.parent = "acme"
    assert (await refused(operator.ValidateDefinition(request)))[2] == ["parent"]


async def test_a_transitive_promise_is_held_to_every_version_in_use(operator: Both) -> None:
    promise = "compatibility: backward_transitive\n"
    wide = {"cursor: {type: string}": "cursor: {type: [string, integer]}"}
    await publish(operator, promise + a_document("a", **wide))
    await move(operator, "1.0.0", VERSION_STATE_ACTIVE)
    freed = "compatibility: none\n" + a_document("b")
    second = await publish(operator, freed)
    assert (await refused(publish(operator, promise + a_document("c"))))[0] == "INVALID_ARGUMENT"
    assert await publish(operator, "compatibility: backward\n" + a_document("c"))
    await move(operator, second, VERSION_STATE_DEPRECATED)
    await move(operator, "1.0.0", VERSION_STATE_RETIRED, force=True, reason="nobody uses it")
    assert await publish(operator, promise + a_document("d"))


async def test_two_replicas_cannot_break_a_promise_together(
    operator: Both, serving: Serving, shared: ServiceDatabase
) -> None:
    promise = "compatibility: full\n"
    await publish(operator, promise + a_document("a"))
    async with serving("catalog", CatalogSettings, start, database_url=shared.url) as other:
        elsewhere = Both(other.as_role("operator", "publisher"))
        texts = [
            promise + a_document("a", **{"subject: {type: string}": f"subject: {{type: string}}\n      {name}: {{}}"})
            for name in ("one", "two", "three", "four")
        ]
        stubs = [operator, elsewhere, operator, elsewhere]
        found = await asyncio.gather(
            *(publish(stub, text) for stub, text in zip(stubs, texts, strict=True)), return_exceptions=True
        )
        assert all(isinstance(one, grpc.aio.AioRpcError) for one in found), found


async def test_a_definition_takes_over_from_a_base_that_it_can_see(operator: Both, served: Served) -> None:
    base = await publish(operator, a_document("a"))
    extending = "slug: desk-eu\ntitle: Desk EU\nextends: {{integration: {slug}, version: {version}}}\n"
    text = extending.format(slug="acme-desk", version=base)
    await publish(operator, text)
    found = await operator.GetDefinitionVersion(
        catalog.GetDefinitionVersionRequest(name="integrations/desk-eu/versions/active")
    )
    assert (found.definition.title, len(found.definition.actions)) == ("Desk EU", 3)
    assert not found.definition.HasField("extends")
    acme = an_admin(served, "acme")
    private = pb.PublishPrivateDefinitionRequest(parent="workspaces/acme", document=a_document("a", slug="crm"))
    await acme.PublishPrivateDefinition(private)
    hidden = extending.format(slug="acme--crm", version="1.0.0")
    assert (await refused(publish(operator, hidden)))[2] == ["extends.version"]
    own = pb.PublishPrivateDefinitionRequest(parent="workspaces/acme", document=hidden)
    assert (await acme.PublishPrivateDefinition(own)).name == "integrations/acme--desk-eu/versions/1.0.0"
    absent = extending.format(slug="acme-desk", version="9.9.9")
    assert (await refused(publish(operator, absent)))[2] == ["extends.version"]


# --- nobody is locked out


async def test_a_catalog_that_starts_later_has_everything_from_its_first_answer(
    operator: Both, serving: Serving, shared: ServiceDatabase
) -> None:
    first = await publish(operator, a_document("a"))
    await operator.SetPin(a_pin(first))
    async with serving("catalog", CatalogSettings, start, database_url=shared.url) as other:
        late = Both(other.as_role("operator"))
        assert await active(late) == first
        found = await late.SearchActions(pb.SearchActionsRequest(query="tickets"))
        assert len(found.actions) == 2


async def test_a_workspace_that_was_there_before_sees_what_is_published_after(operator: Both, served: Served) -> None:
    old = Both(served.as_role("member", workspace="acme"))
    assert not (await old.ListIntegrations(catalog.ListIntegrationsRequest())).integrations
    await publish(operator, a_document("a"))
    assert len((await old.ListIntegrations(catalog.ListIntegrationsRequest())).integrations) == 1


async def test_reads_go_on_and_writes_say_so_while_the_database_is_away(
    operator: Both, shared: ServiceDatabase, served: Served
) -> None:
    first = await publish(operator, a_document("a"))
    stop = f"ALTER DATABASE {shared.name} WITH CONNECTION LIMIT 0"
    kill = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{shared.name}'"
    admin = make_url(shared.superuser_url).set(database="postgres")
    connection = await asyncpg.connect(
        host=admin.host, port=admin.port, user=admin.username, password=admin.password, database="postgres"
    )
    try:
        await connection.execute(stop)
        await connection.fetch(kill)
        assert await active(operator) == first
        assert (await operator.SearchActions(pb.SearchActionsRequest(query="ticket"))).actions
        assert (await operator.ListIntegrations(catalog.ListIntegrationsRequest())).integrations
        assert (await operator.ListReviews(pb.ListReviewsRequest())).reviews
        for attempt in (
            lambda: operator.SetPin(a_pin(first)),
            lambda: move(operator, first, VERSION_STATE_DEPRECATED),
            lambda: publish(operator, a_document("b")),
        ):
            assert (await refused(attempt()))[:2] == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    finally:
        await connection.execute(f"ALTER DATABASE {shared.name} WITH CONNECTION LIMIT -1")
        await connection.close()
