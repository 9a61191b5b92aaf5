"""CatalogService as callers see it: the real server, its layers, and a PostgreSQL of its own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import grpc
import pytest
from sqlalchemy import make_url

from cordboard.catalog.__main__ import start
from cordboard.catalog.definition import content_hash
from cordboard.catalog.settings import CatalogSettings
from cordboard.catalog.v1 import catalog_service_pb2 as pb
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.catalog.v1.definition_pb2 import Category, Idempotency
from tests.fixtures.auth import refused
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Served, Serving
from tests.unit.catalog.definitions import DOCUMENT
from tests.unit.catalog.descriptions import a_document, an_operation, answers, json_body

BOUND = 40.0


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
def publisher(served: Served) -> Any:
    """The Catalog as a publisher calls it."""
    return CatalogServiceStub(served.as_role("publisher", sub="ann"))


@pytest.fixture
def reader(served: Served) -> Any:
    """The Catalog as a reader of a workspace calls it."""
    return CatalogServiceStub(served.as_role("reader", workspace="acme"))


def a_definition(slug: str = "acme-desk", **replaced: str) -> str:
    """Returns a document; `old=new` replaces a text in it."""
    text = DOCUMENT.replace("slug: acme-desk", f"slug: {slug}")
    for old, new in replaced.items():
        assert f"\n{old}: " in text
        head, _, rest = text.partition(f"\n{old}: ")
        text = f"{head}\n{old}: {new}\n" + rest.partition("\n")[2]
    return text


async def publish(stub: Any, text: str, **fields: Any) -> pb.DefinitionVersion:
    published: pb.DefinitionVersion = await stub.PublishDefinition(pb.PublishDefinitionRequest(document=text, **fields))
    return published


async def sql(shared: ServiceDatabase, statement: str, *, url: str = "", database: str = "") -> list[Any]:
    """Runs a statement on the Catalog's schema, as the superuser unless another URL is given."""
    role = make_url(url or shared.superuser_url)
    connection = await asyncpg.connect(
        host=role.host, port=role.port, user=role.username, password=role.password, database=database or role.database
    )
    try:
        await connection.execute("SET search_path TO catalog")
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


# --- publishing


async def test_a_published_definition_can_be_read_at_once(publisher: Any, reader: Any) -> None:
    published = await publish(publisher, a_definition())
    assert published.name == "integrations/acme-desk/versions/1.0.0"
    assert published.active
    assert published.creator == "ann"
    assert published.definition.version == "1.0.0"
    assert published.content_hash == content_hash(published.definition)
    for name in (published.name, "integrations/acme-desk/versions/active"):
        read = await reader.GetDefinitionVersion(pb.GetDefinitionVersionRequest(name=name))
        assert read == published
    integration = await reader.GetIntegration(pb.GetIntegrationRequest(name="integrations/acme-desk"))
    assert integration.title == "Acme Desk"
    assert integration.category == Category.CATEGORY_API
    assert integration.active_version == "1.0.0"
    assert integration.action_count == 3
    assert list(integration.auth_schemes) == ["oauth", "key", "open"]
    assert integration.create_time == integration.update_time == published.create_time


async def test_new_content_is_the_next_minor_version_and_old_ones_stay(publisher: Any, reader: Any) -> None:
    first = await publish(publisher, a_definition())
    second = await publish(publisher, a_definition(owner="others"))
    assert second.name.endswith("/1.1.0")
    listed = await reader.ListDefinitionVersions(pb.ListDefinitionVersionsRequest(parent="integrations/acme-desk"))
    assert [(one.name, one.active) for one in listed.definition_versions] == [(second.name, True), (first.name, False)]
    assert not any(one.HasField("definition") for one in listed.definition_versions)
    old = await reader.GetDefinitionVersion(pb.GetDefinitionVersionRequest(name=first.name))
    assert not old.active
    assert old.definition == first.definition
    integration = await reader.GetIntegration(pb.GetIntegrationRequest(name="integrations/acme-desk"))
    assert integration.owner == "others"
    assert integration.create_time == first.create_time
    assert integration.update_time == second.create_time


async def test_the_same_content_again_is_the_version_that_has_it(publisher: Any, reader: Any) -> None:
    first = await publish(publisher, a_definition())
    assert await publish(publisher, a_definition()) == first
    second = await publish(publisher, a_definition(owner="others"))
    again = await publish(publisher, a_definition())
    assert (again.name, again.active) == (first.name, False)
    listed = await reader.ListDefinitionVersions(pb.ListDefinitionVersionsRequest(parent="integrations/acme-desk"))
    assert [one.name for one in listed.definition_versions] == [second.name, first.name]


async def test_a_version_that_the_document_names_is_taken_and_never_changes(publisher: Any) -> None:
    named = "version: 2.3.4\n" + a_definition()
    published = await publish(publisher, named)
    assert published.name.endswith("/2.3.4")
    assert await publish(publisher, named) == published
    other = publish(publisher, "version: 2.3.4\n" + a_definition(owner="others"))
    assert (await refused(other))[:2] == ("ALREADY_EXISTS", "RESOURCE_ALREADY_EXISTS")
    copied = await publish(publisher, "version: 2.4.0\n" + a_definition())
    assert copied.name.endswith("/2.4.0")
    assert copied.content_hash == published.content_hash
    assert (await publish(publisher, a_definition(owner="others"))).name.endswith("/2.5.0")


async def test_trying_publishes_nothing_and_says_what_would_be(publisher: Any, reader: Any) -> None:
    tried = await publish(publisher, a_definition(), validate_only=True)
    assert tried.name.endswith("/1.0.0")
    assert tried.definition.title == "Acme Desk"
    asked = reader.GetIntegration(pb.GetIntegrationRequest(name="integrations/acme-desk"))
    assert (await refused(asked))[:2] == ("NOT_FOUND", "RESOURCE_NOT_FOUND")
    await publish(publisher, "version: 1.0.0\n" + a_definition())
    conflict = publish(publisher, "version: 1.0.0\n" + a_definition(owner="others"), validate_only=True)
    assert (await refused(conflict))[0] == "ALREADY_EXISTS"


async def test_publishers_at_the_same_moment_get_versions_of_their_own(publisher: Any, reader: Any) -> None:
    published = await asyncio.gather(*(publish(publisher, a_definition(owner=f"team-{n % 10}")) for n in range(20)))
    assert len({one.name for one in published}) == 10
    listed = await reader.ListDefinitionVersions(pb.ListDefinitionVersionsRequest(parent="integrations/acme-desk"))
    assert sorted(one.name for one in listed.definition_versions) == sorted({one.name for one in published})
    assert [one.active for one in listed.definition_versions] == [True] + [False] * 9


async def test_what_is_wrong_with_a_document_is_told_with_its_place(publisher: Any) -> None:
    code, reason, _ = await refused(publish(publisher, "slug: [\n"))
    assert (code, reason) == ("INVALID_ARGUMENT", "DOCUMENT_INVALID")
    text = a_definition(slug="No").replace("path: /me", "path: me")
    code, reason, fields = await refused(publish(publisher, text))
    assert (code, reason, fields) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["slug", "actions[2].request.path"])
    with pytest.raises(grpc.aio.AioRpcError, match=r"\(line 2, column 1\)"):
        await publish(publisher, text)
    code, reason, fields = await refused(publish(publisher, ""))
    assert (code, reason, fields) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["document"])


EXAMPLE = """- id: me
  examples:
  - name: it is me
    request: {method: GET, url: 'https://eu.acme.example/v1/me'}
    response: {status: 200, body: {id: u1}}
"""


async def test_a_recorded_example_that_does_not_come_out_refuses_the_version_with_its_place(
    publisher: Any, reader: Any
) -> None:
    good = a_definition().replace("- id: me\n", EXAMPLE)
    wrong = good.replace("v1/me'}", "v2/me'}")
    code, reason, fields = await refused(publish(publisher, wrong))
    assert (code, reason) == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert fields == ["actions[2].examples[0].request.url"]
    line = wrong[: wrong.index("v2/me")].count("\n") + 1
    with pytest.raises(grpc.aio.AioRpcError, match=rf"\(line {line}, column \d+\)"):
        await publish(publisher, wrong, validate_only=True)
    with pytest.raises(grpc.aio.AioRpcError):
        await reader.GetIntegration(pb.GetIntegrationRequest(name="integrations/acme-desk"))
    assert (await publish(publisher, good)).definition.actions[2].examples[0].name == "it is me"


async def test_every_publication_and_nothing_else_stands_in_the_journal(
    publisher: Any, shared: ServiceDatabase
) -> None:
    await publish(publisher, a_definition())
    await publish(publisher, a_definition())
    await publish(publisher, a_definition(owner="x"), validate_only=True)
    await refused(publish(publisher, "slug: ["))
    entries = [json.loads(body) for (body,) in await sql(shared, "SELECT body FROM audit_entry ORDER BY sequence")]
    (entry,) = entries
    assert entry["action"] == "catalog.definition.publish"
    assert entry["resource"] == "integrations/acme-desk/versions/1.0.0"
    assert entry["actor"] == "ann"
    assert entry["details"]["actions"] == 3
    assert len(entry["details"]["content_hash"]) == 64


async def test_a_version_cannot_be_changed_even_by_the_service_itself(publisher: Any, shared: ServiceDatabase) -> None:
    await publish(publisher, a_definition())
    for statement in ("UPDATE definition_version SET content = 'x'", "DELETE FROM definition_version"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="never changes"):
            await sql(shared, statement, url=shared.url)


# --- importing


async def test_an_openapi_document_is_imported_and_published(publisher: Any, reader: Any) -> None:
    document = a_document(
        {
            "/tickets": {
                "get": an_operation(operationId="list", responses=answers({"type": "array", "items": {}})),
                "post": an_operation(operationId="create", requestBody=json_body({"properties": {"a": {}}})),
                "trace": an_operation(),
            }
        }
    )
    request = pb.ImportOpenApiRequest(document=json.dumps(document), slug="desk", owner="team-a")
    answer = await publisher.ImportOpenApi(request)
    assert answer.definition_version.name == "integrations/desk/versions/1.0.0"
    assert answer.definition_version.definition.owner == "team-a"
    assert (answer.report.operation_count, answer.report.action_count) == (3, 2)
    assert [finding.pointer for finding in answer.report.findings] == ["/paths/~1tickets/trace"]
    read = await reader.GetDefinitionVersion(pb.GetDefinitionVersionRequest(name="integrations/desk/versions/active"))
    assert read == answer.definition_version
    assert (await publisher.ImportOpenApi(request)).definition_version == answer.definition_version


async def test_an_import_can_be_tried_and_its_faults_are_named(publisher: Any, reader: Any) -> None:
    document = json.dumps(a_document({"/run": {"get": an_operation()}}))
    tried = await publisher.ImportOpenApi(pb.ImportOpenApiRequest(document=document, validate_only=True))
    assert tried.definition_version.name == "integrations/acme-desk/versions/1.0.0"
    asked = reader.GetIntegration(pb.GetIntegrationRequest(name="integrations/acme-desk"))
    assert (await refused(asked))[0] == "NOT_FOUND"
    wrong = publisher.ImportOpenApi(pb.ImportOpenApiRequest(document=document, slug="No Slug"))
    assert await refused(wrong) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["slug"])
    broken = publisher.ImportOpenApi(pb.ImportOpenApiRequest(document='{"openapi": '))
    assert (await refused(broken))[:2] == ("INVALID_ARGUMENT", "DOCUMENT_INVALID")


async def test_a_description_of_several_files_is_imported_with_them(publisher: Any) -> None:
    document = json.dumps(a_document({"/tickets": {"$ref": "paths.yaml#/tickets"}}))
    request = pb.ImportOpenApiRequest(document=document, slug="desk", path="v1/openapi.json", validate_only=True)
    alone = await publisher.ImportOpenApi(request)
    assert (alone.report.action_count, alone.report.findings[0].pointer) == (0, "/paths/~1tickets")
    request.files.add(path="v1/paths.yaml", content="tickets: {get: {operationId: list, responses: {}}, put: 7}")
    answer = await publisher.ImportOpenApi(request)
    assert [action.id for action in answer.definition_version.definition.actions] == ["list"]
    assert "v1/paths.yaml#/tickets/put" in [finding.pointer for finding in answer.report.findings]
    request.files.add(path="../paths.yaml", content="")
    assert await refused(publisher.ImportOpenApi(request)) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["files[1].path"])


async def test_other_calls_are_answered_while_a_large_document_is_read(publisher: Any, reader: Any) -> None:
    await publish(publisher, a_definition())
    schemas = {f"S{at}": {"type": "object", "properties": {f"p{n}": {} for n in range(60)}} for at in range(400)}
    paths = {
        f"/r{at}": {"post": an_operation(requestBody=json_body({"$ref": f"#/components/schemas/S{at % 400}"}))}
        for at in range(1200)
    }
    document = json.dumps(a_document(paths, components={"schemas": schemas}, info={"title": "Large"}))
    began = time.perf_counter()
    importing = publisher.ImportOpenApi(pb.ImportOpenApiRequest(document=document))
    slowest = 0.0
    answered = 0
    while not importing.done():
        started = time.perf_counter()
        await reader.GetIntegration(pb.GetIntegrationRequest(name="integrations/acme-desk"))
        slowest = max(slowest, time.perf_counter() - started)
        answered += 1
    assert (await importing).report.action_count == 1200
    assert answered > 20
    assert slowest < (time.perf_counter() - began) / 2


# --- lists


async def test_integrations_are_listed_in_pages_by_slug(publisher: Any, reader: Any) -> None:
    for slug in ("delta", "alpha", "echo", "bravo", "charlie"):
        await publish(publisher, a_definition(slug, title=f"The {slug.upper()}"))
    await publish(publisher, a_definition("data", category="db", title="Postgres", description="Has ALPHA too"))
    names: list[str] = []
    token = ""
    while True:
        page = await reader.ListIntegrations(pb.ListIntegrationsRequest(page_size=2, page_token=token))
        assert len(page.integrations) == 2
        names += [one.name.removeprefix("integrations/") for one in page.integrations]
        token = page.next_page_token
        if not token:
            break
    assert names == ["alpha", "bravo", "charlie", "data", "delta", "echo"]

    async def listed(**fields: Any) -> list[str]:
        answer = await reader.ListIntegrations(pb.ListIntegrationsRequest(**fields))
        return [one.name.removeprefix("integrations/") for one in answer.integrations]

    assert await listed(category=Category.CATEGORY_DB) == ["data"]
    assert await listed(query="aLpHa") == ["alpha", "data"]
    assert await listed(query="alpha", category=Category.CATEGORY_API) == ["alpha"]
    assert await listed(query="nobody") == []
    first = await reader.ListIntegrations(pb.ListIntegrationsRequest(page_size=1))
    other = pb.ListIntegrationsRequest(page_size=1, query="x", page_token=first.next_page_token)
    assert await refused(reader.ListIntegrations(other)) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["page_token"])
    negative = reader.ListIntegrations(pb.ListIntegrationsRequest(page_size=-1))
    assert await refused(negative) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["page_size"])


async def test_versions_are_listed_in_pages_newest_first(publisher: Any, reader: Any) -> None:
    for owner in "abc":
        await publish(publisher, a_definition(owner=owner))
    versions: list[str] = []
    token = ""
    while True:
        page = await reader.ListDefinitionVersions(
            pb.ListDefinitionVersionsRequest(parent="integrations/acme-desk", page_size=2, page_token=token)
        )
        versions += [one.name.rpartition("/")[2] for one in page.definition_versions]
        token = page.next_page_token
        if not token:
            break
    assert versions == ["1.2.0", "1.1.0", "1.0.0"]


async def test_actions_are_listed_in_pages_by_id(publisher: Any, reader: Any) -> None:
    await publish(publisher, a_definition())

    async def listed(**fields: Any) -> pb.ListActionsResponse:
        answer: pb.ListActionsResponse = await reader.ListActions(
            pb.ListActionsRequest(parent="integrations/acme-desk", **fields)
        )
        return answer

    everything = await listed()
    assert [one.id for one in everything.actions] == ["create_ticket", "list_tickets", "me"]
    created, tickets, me = everything.actions
    assert (tickets.title, tickets.method, tickets.path, tickets.paged) == (
        "List tickets",
        "GET",
        "/accounts/{account}/tickets",
        True,
    )
    assert created.idempotency == Idempotency.IDEMPOTENCY_NOT_IDEMPOTENT
    assert me.idempotency == Idempotency.IDEMPOTENCY_SAFE
    first = await listed(page_size=2)
    second = await listed(page_size=2, page_token=first.next_page_token)
    assert [one.id for one in (*first.actions, *second.actions)] == ["create_ticket", "list_tickets", "me"]
    assert second.next_page_token == ""
    assert [one.id for one in (await listed(query="ACCOUNT")).actions] == ["list_tickets"]


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("GetIntegration", pb.GetIntegrationRequest(name="integrations/nobody")),
        ("GetDefinitionVersion", pb.GetDefinitionVersionRequest(name="integrations/nobody/versions/active")),
        ("GetDefinitionVersion", pb.GetDefinitionVersionRequest(name="integrations/acme-desk/versions/9.9.9")),
        ("ListDefinitionVersions", pb.ListDefinitionVersionsRequest(parent="integrations/nobody")),
        ("ListActions", pb.ListActionsRequest(parent="integrations/nobody")),
    ],
)
async def test_what_does_not_exist_is_not_found(publisher: Any, reader: Any, method: str, request_: Any) -> None:
    await publish(publisher, a_definition())
    assert (await refused(getattr(reader, method)(request_)))[:2] == ("NOT_FOUND", "RESOURCE_NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("GetIntegration", pb.GetIntegrationRequest(name="workspaces/x"), "name"),
        ("GetIntegration", pb.GetIntegrationRequest(), "name"),
        ("GetDefinitionVersion", pb.GetDefinitionVersionRequest(name="integrations/x"), "name"),
        ("ListDefinitionVersions", pb.ListDefinitionVersionsRequest(parent="x"), "parent"),
        ("ListActions", pb.ListActionsRequest(parent="integrations/x/y"), "parent"),
        ("ListActions", pb.ListActionsRequest(parent="integrations/x", page_token="?"), "page_token"),
        ("ImportOpenApi", pb.ImportOpenApiRequest(), "document"),
    ],
)
async def test_a_wrong_field_is_named(publisher: Any, reader: Any, method: str, request_: Any, field: str) -> None:
    stub = publisher if method == "ImportOpenApi" else reader
    assert await refused(getattr(stub, method)(request_)) == ("INVALID_ARGUMENT", "INVALID_FIELDS", [field])


# --- who may


REQUESTS: dict[str, Any] = {
    "PublishDefinition": pb.PublishDefinitionRequest(document="x"),
    "ImportOpenApi": pb.ImportOpenApiRequest(document="x"),
    "GetIntegration": pb.GetIntegrationRequest(name="integrations/nobody"),
    "ListIntegrations": pb.ListIntegrationsRequest(),
    "GetDefinitionVersion": pb.GetDefinitionVersionRequest(name="integrations/nobody/versions/active"),
    "ListDefinitionVersions": pb.ListDefinitionVersionsRequest(parent="integrations/nobody"),
    "ListActions": pb.ListActionsRequest(parent="integrations/nobody"),
}


@pytest.mark.parametrize("method", REQUESTS)
async def test_a_role_may_what_the_contract_says_and_no_more(served: Served, method: str) -> None:
    writes = method in ("PublishDefinition", "ImportOpenApi")
    for role in ("reader", "member", "workspace-admin", "publisher", "operator"):
        stub = CatalogServiceStub(served.as_role(role, workspace="" if role in ("publisher", "operator") else "acme"))
        call = getattr(stub, method)(REQUESTS[method])
        if writes and role not in ("publisher", "operator"):
            assert (await refused(call))[:2] == ("PERMISSION_DENIED", "ACCESS_DENIED")
        elif method == "ListIntegrations":
            assert list((await call).integrations) == []
        else:
            assert (await refused(call))[0] in ("NOT_FOUND", "INVALID_ARGUMENT")
    nobody = CatalogServiceStub(served.channel("envoy"))
    assert (await refused(getattr(nobody, method)(REQUESTS[method])))[0] == "UNAUTHENTICATED"


async def test_services_read_with_their_certificate_alone_and_cannot_write(served: Served) -> None:
    for peer in ("auth", "uqi", "flags", "proxy"):
        stub = CatalogServiceStub(served.channel(peer))
        assert list((await stub.ListIntegrations(pb.ListIntegrationsRequest())).integrations) == []
        for method in ("PublishDefinition", "ImportOpenApi"):
            assert (await refused(getattr(stub, method)(REQUESTS[method])))[0] == "PERMISSION_DENIED"


# --- watching


async def taken(stream: Any, count: int) -> list[pb.WatchDefinitionsResponse]:
    """Returns the next messages of a stream; fails after a bound."""
    async with asyncio.timeout(BOUND):
        return [await stream.read() for _ in range(count)]


async def test_a_watcher_gets_everything_then_each_change(served: Served, publisher: Any) -> None:
    first = await publish(publisher, a_definition("alpha"))
    second = await publish(publisher, a_definition("bravo"))
    stream = CatalogServiceStub(served.channel("proxy")).WatchDefinitions(pb.WatchDefinitionsRequest())
    one, two, caught_up = await taken(stream, 3)
    assert [one.definition_version, two.definition_version] == [first, second]
    assert caught_up.caught_up
    third = await publish(publisher, a_definition("alpha", owner="others"))
    (three,) = await taken(stream, 1)
    assert three.definition_version == third
    assert three.definition_version.active
    assert one.sequence < two.sequence <= caught_up.sequence < three.sequence
    stream.cancel()

    resumed = CatalogServiceStub(served.channel("uqi")).WatchDefinitions(
        pb.WatchDefinitionsRequest(after_sequence=two.sequence)
    )
    again, caught_up = await taken(resumed, 2)
    assert again.definition_version == third
    assert caught_up.caught_up
    resumed.cancel()


async def test_a_watcher_with_a_number_from_elsewhere_begins_again(served: Served, publisher: Any) -> None:
    first = await publish(publisher, a_definition())
    stream = CatalogServiceStub(served.channel("proxy")).WatchDefinitions(
        pb.WatchDefinitionsRequest(after_sequence=10**12)
    )
    one, caught_up = await taken(stream, 2)
    assert one.definition_version == first
    assert caught_up.caught_up
    stream.cancel()


async def test_an_empty_catalog_is_caught_up_at_once(served: Served) -> None:
    stream = CatalogServiceStub(served.channel("proxy")).WatchDefinitions(pb.WatchDefinitionsRequest())
    (caught_up,) = await taken(stream, 1)
    assert caught_up.caught_up
    stream.cancel()


async def test_members_may_not_watch(served: Served) -> None:
    stream = CatalogServiceStub(served.as_role("member", workspace="acme")).WatchDefinitions(
        pb.WatchDefinitionsRequest()
    )
    assert (await refused(stream.read()))[0] == "PERMISSION_DENIED"


async def test_what_another_replica_publishes_shows_soon(
    served: Served, publisher: Any, serving: Serving, shared: ServiceDatabase
) -> None:
    async with serving("catalog", CatalogSettings, start, database_url=shared.url) as other:
        stub = CatalogServiceStub(other.channel("proxy"))
        stream = stub.WatchDefinitions(pb.WatchDefinitionsRequest())
        await taken(stream, 1)
        for owner in ("a", "b", "c"):
            published = await publish(publisher, a_definition(owner=owner))
            began = time.monotonic()
            (seen,) = await taken(stream, 1)
            assert seen.definition_version == published
            name = "integrations/acme-desk/versions/active"
            read = await stub.GetDefinitionVersion(pb.GetDefinitionVersionRequest(name=name))
            assert read == published
            assert time.monotonic() - began < 20
        stream.cancel()


async def test_reads_go_on_while_the_database_is_away(publisher: Any, reader: Any, shared: ServiceDatabase) -> None:
    published = await publish(publisher, a_definition())
    name = shared.name
    await sql(shared, f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false", database="postgres")
    await sql(
        shared,
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        database="postgres",
    )
    try:
        read = await reader.GetDefinitionVersion(pb.GetDefinitionVersionRequest(name=published.name))
        assert read == published
        assert (await reader.ListActions(pb.ListActionsRequest(parent="integrations/acme-desk"))).actions
        assert (await refused(publish(publisher, a_definition(owner="x"))))[:2] == (
            "UNAVAILABLE",
            "DEPENDENCY_UNAVAILABLE",
        )
    finally:
        await sql(shared, f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true", database="postgres")
    async with asyncio.timeout(BOUND):
        while True:
            try:
                assert (await publish(publisher, a_definition(owner="x"))).name.endswith("/1.1.0")
                break
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE
                await asyncio.sleep(0.05)
