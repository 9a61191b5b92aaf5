"""FormService over its real server, behind the real layers, with a real database and a Catalog that announces."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from cordboard.catalog.v1 import definition_pb2
from cordboard.client import staleness
from cordboard.core.database import Database
from cordboard.core.paging import Paging
from cordboard.core.settings import Settings
from cordboard.core.structs import from_struct, to_struct
from cordboard.uqi.__main__ import start
from cordboard.uqi.settings import UqiSettings
from cordboard.uqi.store import FormStore
from cordboard.uqi.v1 import form_service_pb2 as pb
from cordboard.uqi.v1 import query_editor_service_pb2 as editor_pb
from cordboard.uqi.v1.form_pb2 import FORM_KIND_SETTINGS, FORM_TARGET_APPSMITH, FORM_TARGET_REACT, FormTarget
from cordboard.uqi.v1.form_service_pb2_grpc import FormServiceStub
from cordboard.uqi.v1.query_editor_service_pb2_grpc import QueryEditorServiceStub
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Served, Serving
from tests.unit.uqi.announcer import Announcer, an_announcer
from tests.unit.uqi.appsmith_rules import problems
from tests.unit.uqi.samples import a_definition, an_input

# The longest that anything may take in these tests, in seconds.
BOUND = 40.0
NOWHERE = "postgresql+asyncpg://nobody:nothing@127.0.0.1:1/nothing"
NAME = "integrations/acme/forms/action.create"
TICKET = an_input("subject", subject={"type": "string", "minLength": 1}, count={"type": "integer", "default": 1})
Stub = Any


@pytest.fixture
def announcer() -> Announcer:
    return an_announcer()


@pytest.fixture
def uqi_database(database: Databases) -> ServiceDatabase:
    return database("uqi")


@pytest.fixture
async def catalog(serving: Serving, announcer: Announcer) -> AsyncIterator[Served]:
    async with serving("catalog", Settings, announcer.start, database_url=NOWHERE) as running:
        yield running


@contextlib.asynccontextmanager
async def uqi(serving: Serving, database: ServiceDatabase, catalog_address: str) -> AsyncIterator[Served]:
    async with serving(
        "uqi", UqiSettings, start, database_url=database.url, catalog_address=catalog_address
    ) as running:
        yield running


@pytest.fixture
async def served(serving: Serving, uqi_database: ServiceDatabase, catalog: Served) -> AsyncIterator[Served]:
    async with uqi(serving, uqi_database, catalog.address) as running:
        yield running


@pytest.fixture
def member(served: Served) -> Stub:
    return FormServiceStub(served.as_role("member", workspace="acme"))


def a_version(*inputs: dict[str, Any]) -> definition_pb2.Definition:
    """A definition with an action for each input, and a scheme of its own."""
    definition = a_definition(*inputs)
    definition.auth_schemes.add(id="key", title="API key").api_key.name = "X-Key"
    return definition


async def get(stub: Stub, name: str = NAME, version: str = "") -> pb.Form:
    form: pb.Form = await stub.GetForm(pb.GetFormRequest(name=name, version=version))
    return form


async def bind(stub: Stub, values: dict[str, Any], name: str = NAME, version: str = "") -> dict[str, Any]:
    answer = await stub.BindForm(pb.BindFormRequest(name=name, version=version, values=to_struct(values)))
    return from_struct(answer.input)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(BOUND):
        while not await holds():  # noqa: ASYNC110 - the other side is a process of its own
            await asyncio.sleep(0.02)


async def refused(call: Any) -> tuple[str, str, list[str]]:
    """The code, the reason and the field paths with which a call ends."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    trailers = dict(raised.value.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    return raised.value.code().name, info.reason, [violation.field for violation in bad.field_violations]


async def test_a_form_is_there_once_its_version_is_published(announcer: Announcer, member: Stub) -> None:
    await announcer.publish(a_version(TICKET), "1.0.0")
    form = await get(member)
    assert (form.name, form.version, form.title, list(form.losses)) == (NAME, "1.0.0", "Create thing 1", [])
    assert list(json.loads(form.json_schema)["properties"]) == ["subject", "count"]
    assert problems(json.loads(form.appsmith_uqi)) == []
    assert form.etag
    assert form.create_time.seconds > 0
    scheme = await get(member, "integrations/acme/forms/auth.key")
    assert list(json.loads(scheme.json_schema)["properties"]) == ["api_key"]


async def test_forms_are_made_before_anyone_asks(
    announcer: Announcer, member: Stub, uqi_database: ServiceDatabase
) -> None:
    await announcer.publish(a_version(TICKET), "1.0.0")

    async def listed() -> bool:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await member.ListForms(pb.ListFormsRequest(parent="integrations/acme", version="1.0.0"))
            return announcer.watchers == [0]
        return False

    await until(listed)


async def test_a_new_version_takes_over_and_the_old_one_stays(announcer: Announcer, member: Stub) -> None:
    await announcer.publish(a_version(TICKET), "1.0.0")
    first = await get(member)
    await announcer.publish(a_version(an_input(other={"type": "boolean"})), "1.1.0")

    async def changed() -> bool:
        return (await get(member)).version == "1.1.0"

    await until(changed)
    second = await get(member)
    assert second.etag != first.etag
    assert await get(member, version="1.0.0") == first
    assert await get(member, version="1.1.0") == second
    assert await get(member, version="active") == second


async def test_until_the_new_forms_exist_the_old_ones_are_served(announcer: Announcer, member: Stub) -> None:
    await announcer.publish(a_version(TICKET), "1.0.0")
    assert (await get(member)).version == "1.0.0"
    announcer.hush = True
    await announcer.publish(a_version(an_input(other={"type": "boolean"})), "1.1.0")
    assert (await get(member)).version == "1.0.0"
    assert (await get(member, version="1.1.0")).version == "1.1.0"


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("integrations/gone/forms/action.create", "", ("NOT_FOUND", "RESOURCE_NOT_FOUND", [])),
        ("integrations/acme/forms/action.gone", "", ("NOT_FOUND", "RESOURCE_NOT_FOUND", [])),
        ("integrations/acme/forms/auth.create", "", ("NOT_FOUND", "RESOURCE_NOT_FOUND", [])),
        (NAME, "9.9.9", ("NOT_FOUND", "RESOURCE_NOT_FOUND", [])),
        (NAME, "1\x00", ("INVALID_ARGUMENT", "INVALID_FIELDS", ["version"])),
        (NAME, "../x", ("INVALID_ARGUMENT", "INVALID_FIELDS", ["version"])),
        ("integrations/acme", "", ("INVALID_ARGUMENT", "INVALID_FIELDS", ["name"])),
        ("", "", ("INVALID_ARGUMENT", "INVALID_FIELDS", ["name"])),
    ],
)
async def test_a_form_that_is_not_there_is_refused(
    announcer: Announcer, member: Stub, name: str, version: str, expected: tuple[str, str, list[str]]
) -> None:
    await announcer.publish(a_version(TICKET), "1.0.0")
    assert await refused(get(member, name, version)) == expected
    assert await refused(bind(member, {}, name, version)) == expected


async def test_forms_are_listed_page_by_page_without_documents(announcer: Announcer, member: Stub) -> None:
    await announcer.publish(a_version(TICKET, TICKET, TICKET), "1.0.0")
    found: list[pb.Form] = []
    token = ""
    while True:
        request = pb.ListFormsRequest(parent="integrations/acme", page_size=3, page_token=token)
        page = await member.ListForms(request)
        assert len(page.forms) <= 3
        found += page.forms
        token = page.next_page_token
        if not token:
            break
    names = [form.name.rpartition("/")[2] for form in found]
    assert names == ["action.create", "action.create-2", "action.create-3", "auth.key"]
    assert all(form.title and form.etag and not form.json_schema and not form.appsmith_uqi for form in found)


async def test_a_list_of_nothing_known_and_foreign_tokens_are_refused(announcer: Announcer, member: Stub) -> None:
    await announcer.publish(a_version(TICKET, TICKET), "1.0.0")
    unknown = pb.ListFormsRequest(parent="integrations/gone")
    assert await refused(member.ListForms(unknown)) == ("NOT_FOUND", "RESOURCE_NOT_FOUND", [])
    request = pb.ListFormsRequest(parent="integrations/acme", page_size=1)
    token = (await member.ListForms(request)).next_page_token
    other = pb.ListFormsRequest(parent="integrations/acme", version="1.0.0", page_token=token)
    assert (await refused(member.ListForms(other)))[2] == ["page_token"]
    forged = Paging.of(request).token("a\x00b")
    request.page_token = forged
    assert (await refused(member.ListForms(request)))[2] == ["page_token"]


async def test_values_bind_by_either_shape(announcer: Announcer, member: Stub) -> None:
    await announcer.publish(a_version(TICKET), "1.0.0")
    assert await bind(member, {"subject": "hi"}) == {"subject": "hi", "count": 1}
    filled = {"command": "ACME_CREATE", "ACME_CREATE": {"subject": "hi", "count": "3"}}
    assert await bind(member, filled) == {"subject": "hi", "count": 3}


async def test_every_violation_of_the_values_comes_at_once(announcer: Announcer, member: Stub) -> None:
    await announcer.publish(a_version(TICKET), "1.0.0")
    code, reason, fields = await refused(bind(member, {"count": "x", "bogus": "hunter2"}))
    assert (code, reason) == ("INVALID_ARGUMENT", "INVALID_FIELDS")
    assert set(fields) == {"values.subject", "values.count", "values.bogus"}


async def test_values_bind_to_the_version_they_were_filled_in_for(announcer: Announcer, member: Stub) -> None:
    await announcer.publish(a_version(TICKET), "1.0.0")
    await announcer.publish(a_version(an_input(other={"type": "boolean"})), "2.0.0")
    assert await bind(member, {"subject": "hi"}, version="1.0.0") == {"subject": "hi", "count": 1}
    assert await bind(member, {"other": "true"}, version="2.0.0") == {"other": True}


async def test_a_reader_may_look_and_not_bind(announcer: Announcer, served: Served) -> None:
    await announcer.publish(a_version(TICKET), "1.0.0")
    reader = FormServiceStub(served.as_role("reader", workspace="acme"))
    assert (await get(reader)).name == NAME
    assert (await refused(bind(reader, {"subject": "hi"})))[0] == "PERMISSION_DENIED"
    assert (await refused(get(FormServiceStub(served.channel("envoy")))))[0] == "UNAUTHENTICATED"


async def test_without_the_catalog_what_was_made_is_served(
    serving: Serving, announcer: Announcer, uqi_database: ServiceDatabase
) -> None:
    async with (
        serving("catalog", Settings, announcer.start, database_url=NOWHERE) as catalog,
        uqi(serving, uqi_database, catalog.address) as first,
    ):
        address = catalog.address
        await announcer.publish(a_version(TICKET), "1.0.0")
        reader = FormServiceStub(first.as_role("member", workspace="acme"))
        before = await get(reader)

        async def is_stored() -> bool:
            return bool(await stored_version(uqi_database))

        await until(is_stored)
    async with uqi(serving, uqi_database, address) as second:
        reader = FormServiceStub(second.as_role("member", workspace="acme"))
        stale = await get(reader)
        assert stale.HasField("stale_duration")
        stale.ClearField("stale_duration")
        before.ClearField("stale_duration")
        assert stale == before
        assert await bind(reader, {"subject": "hi"}) == {"subject": "hi", "count": 1}
        listed = await reader.ListForms(pb.ListFormsRequest(parent="integrations/acme"))
        assert len(listed.forms) == 2
        for answer in (
            reader.GetForm(pb.GetFormRequest(name=NAME)),
            reader.ListForms(pb.ListFormsRequest(parent="integrations/acme")),
            reader.BindForm(pb.BindFormRequest(name=NAME, values=to_struct({"subject": "hi"}))),
        ):
            await answer
            assert staleness(await answer.trailing_metadata()).startswith("catalog;age=")
        document = reader.GetFormDocument(pb.GetFormDocumentRequest(name=NAME))
        assert int(dict(await document.initial_metadata())["age"]) >= 0
        await document
        missing = get(reader, "integrations/other/forms/action.create")
        assert (await refused(missing))[:2] == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")


async def test_a_form_says_for_how_long_the_catalog_was_not_heard(announcer: Announcer, member: Stub) -> None:
    await announcer.publish(a_version(TICKET), "1.0.0")

    async def followed() -> bool:
        return not (await get(member)).HasField("stale_duration")

    await until(followed)
    request = pb.RenderFormRequest(name=NAME, target=FORM_TARGET_REACT)
    rendered = member.RenderForm(request)
    assert not (await rendered).HasField("stale_duration")
    assert staleness(await rendered.trailing_metadata()) == ""


async def test_a_form_comes_in_every_format_and_only_when_it_changed(announcer: Announcer, member: Stub) -> None:
    await announcer.publish(a_version(TICKET), "1.0.0")
    for target in FormTarget.keys()[1:]:
        request = pb.RenderFormRequest(name=NAME, target=FormTarget.Value(target))
        found = await member.RenderForm(request)
        assert "subject" in json.dumps(json.loads(found.document_json))
        assert (found.version, found.not_modified) == ("1.0.0", False)
        request.etag = found.etag
        again = await member.RenderForm(request)
        assert (again.document_json, again.etag, again.not_modified) == ("", found.etag, True)
    unknown = member.RenderForm(pb.RenderFormRequest(name=NAME, target=77))  # type: ignore[arg-type]
    assert await refused(unknown) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["target"])


async def test_the_canonical_document_is_the_same_in_two_versions_that_do_not_differ_in_it(
    announcer: Announcer, member: Stub
) -> None:
    await announcer.publish(a_version(TICKET), "1.0.0")
    await announcer.publish(a_version(TICKET, an_input()), "1.1.0")
    found = [
        await member.GetFormDocument(pb.GetFormDocumentRequest(name=NAME, version=version))
        for version in ("1.0.0", "1.1.0")
    ]
    assert [each.version for each in found] == ["1.0.0", "1.1.0"]
    assert found[0].revision == found[1].revision
    assert [(field.id, field.type.WhichOneof("kind")) for field in found[0].fields] == [
        ("subject", "text"),
        ("count", "integer"),
    ]


@pytest.mark.parametrize(
    ("target", "values"),
    [
        ("FORM_TARGET_APPSMITH", {"command": "ACME_CREATE", "ACME_CREATE": {"subject": "hi", "count": "3"}}),
        ("FORM_TARGET_JSON_FORMS", {"subject": "hi", "count": 3}),
        ("FORM_TARGET_REACT", {"subject": "hi", "count": 3}),
        ("FORM_TARGET_JSON_SCHEMA", {"subject": "hi", "count": 3}),
    ],
)
async def test_values_of_every_client_bind_to_the_same(
    announcer: Announcer, member: Stub, target: str, values: dict[str, Any]
) -> None:
    await announcer.publish(a_version(TICKET), "1.0.0")
    request = pb.BindFormRequest(name=NAME, values=to_struct(values), target=FormTarget.Value(target))
    assert from_struct((await member.BindForm(request)).input) == {"subject": "hi", "count": 3}


async def test_problems_come_in_the_answer_when_asked_for(announcer: Announcer, member: Stub) -> None:
    await announcer.publish(a_version(TICKET), "1.0.0")
    request = pb.BindFormRequest(name=NAME, values=to_struct({"count": "many"}), report_problems=True)
    answer = await member.BindForm(request)
    assert not answer.HasField("input")
    assert [(each.field_id, each.pointer, each.reason) for each in answer.problems] == [
        ("count", "/count", "INVALID"),
        ("subject", "/subject", "SCHEMA"),
    ]
    later = pb.BindFormRequest(name=NAME, values=to_struct({"subject": "{{ row.a }}"}), allow_expressions=True)
    assert list((await member.BindForm(later)).deferred_pointers) == ["/subject"]


SIGN_UP = an_input(
    "name",
    name={"type": "string"},
    password={"type": "string", "format": "password"},
    keys={"type": "array", "items": an_input(label={"type": "string"}, key={"type": "string", "format": "password"})},
)


@pytest.mark.parametrize(
    ("name", "values", "target", "places"),
    [
        (
            "integrations/acme/forms/auth.key",
            {"api_key": "hunter2"},
            "FORM_TARGET_JSON_SCHEMA",
            [("api_key", "/api_key", "/api_key")],
        ),
        (
            "integrations/acme/forms/auth.key",
            {"datasourceConfiguration": {"authentication": {"authenticationType": "apiKey", "value": "hunter2"}}},
            "FORM_TARGET_APPSMITH",
            [("api_key", "/api_key", "/datasourceConfiguration/authentication/value")],
        ),
        (
            NAME,
            {"name": "Ada", "password": "hunter2", "keys": [{"label": "a", "key": "hunter3"}, {"label": "b"}]},
            "FORM_TARGET_REACT",
            [("password", "/password", "/password"), ("keys.item.key", "/keys/0/key", "/keys/0/key")],
        ),
    ],
)
async def test_no_answer_of_bind_holds_a_secret(
    announcer: Announcer, member: Stub, name: str, values: dict[str, Any], target: str, places: list[Any]
) -> None:
    await announcer.publish(a_version(SIGN_UP), "1.0.0")
    request = pb.BindFormRequest(name=name, values=to_struct(values), target=FormTarget.Value(target))
    answer = await member.BindForm(request)
    assert b"hunter" not in answer.SerializeToString()
    assert [(each.field_id, each.pointer, each.submitted_pointer) for each in answer.secrets] == places
    assert json.dumps(from_struct(answer.input)).count("null") == len(places)


async def test_no_answer_of_an_editor_holds_a_secret(announcer: Announcer, served: Served) -> None:
    await announcer.publish(a_version(SIGN_UP), "1.0.0")
    editors = QueryEditorServiceStub(served.as_role("member", workspace="acme"))
    values = {"command": "ACME_CREATE", "ACME_CREATE": {"name": "Ada", "password": "hunter2"}}
    answer = await editors.BindQuery(editor_pb.BindQueryRequest(name=EDITOR, values=to_struct(values)))
    assert b"hunter" not in answer.SerializeToString()
    assert from_struct(answer.bound.input) == {"name": "Ada", "password": None}
    (place,) = answer.bound.secrets
    assert place.submitted_pointer == "/ACME_CREATE/password"


async def stored_version(database: ServiceDatabase) -> str:
    opened = Database(database.url, pool_size=1)
    try:
        return await FormStore(opened).active_version("acme") or ""
    finally:
        await opened.close()


async def test_a_watch_that_broke_goes_on_where_it_was(
    serving: Serving, announcer: Announcer, uqi_database: ServiceDatabase, identities: Any
) -> None:
    async with serving("catalog", Settings, announcer.start, database_url=NOWHERE) as catalog:
        port = catalog.process.port
        await announcer.publish(a_version(TICKET), "1.0.0")
        async with uqi(serving, uqi_database, catalog.address) as served:
            reader = FormServiceStub(served.as_role("member", workspace="acme"))
            assert (await get(reader)).version == "1.0.0"

            async def followed() -> bool:
                return await stored_version(uqi_database) == "1.0.0"

            await until(followed)
            await catalog.process.close()
            again: dict[str, Any] = {"database_url": NOWHERE, "listen_address": f"127.0.0.1:{port}"}
            async with serving("catalog", Settings, announcer.start, **again):
                await announcer.publish(a_version(an_input(other={"type": "boolean"})), "1.1.0")

                async def caught_up() -> bool:
                    return (await get(reader)).version == "1.1.0"

                await until(caught_up)
                assert announcer.watchers[-1] == 1


async def test_replicas_agree_on_what_they_make(
    serving: Serving, announcer: Announcer, catalog: Served, uqi_database: ServiceDatabase
) -> None:
    async with (
        uqi(serving, uqi_database, catalog.address) as one,
        uqi(serving, uqi_database, catalog.address) as other,
    ):
        readers = [FormServiceStub(each.as_role("member", workspace="acme")) for each in (one, other)]
        await announcer.publish(a_version(*[TICKET] * 30), "1.0.0")
        forms = await asyncio.gather(*(get(reader) for reader in readers for _ in range(5)))
        assert {(form.etag, form.create_time.ToNanoseconds()) for form in forms} == {
            (forms[0].etag, forms[0].create_time.ToNanoseconds())
        }


async def test_many_who_ask_at_once_share_the_making(announcer: Announcer, member: Stub) -> None:
    announcer.hush = True
    await announcer.publish(a_version(*[TICKET] * 50), "1.0.0")
    forms = await asyncio.gather(*(get(member) for _ in range(20)))
    assert len({form.etag for form in forms}) == 1


async def test_no_request_is_answered_with_an_internal_error(announcer: Announcer, member: Stub) -> None:
    nested = an_input(a={}, b=an_input("c", c={"type": "integer"}), d={"type": "array", "items": an_input()})
    await announcer.publish(a_version(nested), "1.0.0")
    rng = random.Random(7)
    leaves: list[Any] = [None, True, "", "x", "{{x}}", "[", "\x00", 1e308, -0.0, 2**53 + 1, "ACME_CREATE", "NaN"]
    keys = ["a", "b", "c", "d", "command", "ACME_CREATE", "__proto__", "", "\x00", "datasourceConfiguration"]

    def value(depth: int) -> Any:
        kind = rng.random()
        if depth > 3 or kind < 0.4:
            return rng.choice(leaves)
        if kind < 0.6:
            return [value(depth + 1) for _ in range(rng.randrange(4))]
        return {rng.choice(keys): value(depth + 1) for _ in range(rng.randrange(4))}

    codes = set()
    names = [
        NAME,
        "integrations/acme/forms/auth.key",
        "integrations/acme/forms/action.gone",
        "integrations/a b/forms/x",
        "//",
    ]
    for _ in range(400):
        values = {rng.choice(keys): value(0) for _ in range(rng.randrange(5))}
        request = pb.BindFormRequest(name=rng.choice(names), values=to_struct(values))
        request.version = rng.choice(["", "", "", "1.0.0", "\x00", "x" * 500, "active"])
        if rng.random() < 0.2:
            request.values.fields["nan"].number_value = float("nan")
        try:
            await member.BindForm(request)
        except grpc.aio.AioRpcError as error:
            codes.add(error.code().name)
    assert codes == {"INVALID_ARGUMENT", "NOT_FOUND"}


async def test_values_of_an_older_revision_are_carried_over_or_refused(announcer: Announcer, member: Stub) -> None:
    await announcer.publish(a_version(TICKET), "1.0.0")
    old = await member.GetFormDocument(pb.GetFormDocumentRequest(name=NAME))
    later = an_input("title", "subject", subject={"type": "string"}, title={"type": "string"})
    await announcer.publish(a_version(later), "2.0.0")

    async def bound(revision: str, **values: Any) -> Any:
        request = pb.BindFormRequest(
            name=NAME, version="2.0.0", values=to_struct(values), revision=revision, report_problems=True
        )
        return await member.BindForm(request)

    answer = await bound(old.revision, subject="Printer", count=4)
    assert [(each.pointer, each.reason) for each in answer.problems] == [("/title", "REVISION")]
    assert list(answer.dropped_pointers) == ["/count"]
    current = await member.GetFormDocument(pb.GetFormDocumentRequest(name=NAME, version="2.0.0"))
    assert answer.revision == current.revision != old.revision
    # The same values, and what the form asks for now.
    answer = await bound("", subject="Printer", title="x")
    assert (from_struct(answer.input), list(answer.problems)) == ({"subject": "Printer", "title": "x"}, [])
    # What was wrong by its own form is said by that form.
    answer = await bound(old.revision, count=4)
    assert answer.revision == old.revision
    assert "REVISION" not in [each.reason for each in answer.problems]
    for nothing in ("0" * 64, "a\0b", "x" * 64):
        code, reason, fields = await refused(bound(nothing, subject="Printer"))
        assert (code, reason, fields) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["revision"])


async def test_it_can_be_seen_how_far_the_forms_of_each_version_are(announcer: Announcer, member: Stub) -> None:
    missing = member.GetFormSet(pb.GetFormSetRequest(name="integrations/acme/formSets/active"))
    assert await refused(missing) == ("NOT_FOUND", "RESOURCE_NOT_FOUND", [])
    for version in ("1.0.0", "1.1.0"):
        await announcer.publish(a_version(TICKET), version)

    async def followed() -> bool:
        # Whoever asks for a form is served before the Catalog's announcements are followed to their end.
        with contextlib.suppress(grpc.aio.AioRpcError):
            active = await member.GetFormSet(pb.GetFormSetRequest(name="integrations/acme/formSets/active"))
            return bool(active.name == "integrations/acme/formSets/1.1.0")
        return False

    await until(followed)
    found = await member.GetFormSet(pb.GetFormSetRequest(name="integrations/acme/formSets/active"))
    assert (found.name, found.active) == ("integrations/acme/formSets/1.1.0", True)
    assert (found.state, found.made_count, found.total_count) == (pb.FormSet.STATE_READY, 2, 2)
    assert found.update_time.seconds > 0
    assert not found.HasField("start_time")
    request = pb.ListFormSetsRequest(parent="integrations/acme", page_size=1)
    first = await member.ListFormSets(request)
    request.page_token = first.next_page_token
    second = await member.ListFormSets(request)
    assert [each.name[-5:] for each in (*first.form_sets, *second.form_sets)] == ["1.0.0", "1.1.0"]
    assert second.next_page_token == ""


async def test_a_form_says_for_how_long_it_may_be_kept(announcer: Announcer, member: Stub) -> None:
    await announcer.publish(a_version(TICKET), "1.0.0")
    for call in (
        member.GetFormDocument(pb.GetFormDocumentRequest(name=NAME)),
        member.RenderForm(pb.RenderFormRequest(name=NAME, target=FORM_TARGET_REACT)),
    ):
        said = dict(await call.initial_metadata())
        assert said["cache-control"] == "private, max-age=60, stale-if-error=86400"
        assert said["vary"] == "authorization, accept-language"
        await call


async def test_a_form_is_not_sent_again_to_who_has_it(announcer: Announcer, member: Stub, served: Served) -> None:
    await announcer.publish(a_version(TICKET), "1.0.0")
    editors = QueryEditorServiceStub(served.as_role("member", workspace="acme"))
    editor = editor_pb.RenderQueryEditorRequest(name="integrations/acme/queryEditor", target=FORM_TARGET_APPSMITH)
    over_http = ("x-cordboard-over-http", "true")

    def asked(*headers: tuple[str, str]) -> list[Any]:
        return [
            member.GetForm(pb.GetFormRequest(name=NAME), metadata=(over_http, *headers)),
            member.GetFormDocument(pb.GetFormDocumentRequest(name=NAME), metadata=headers),
            member.RenderForm(pb.RenderFormRequest(name=NAME, target=FORM_TARGET_REACT), metadata=headers),
            editors.RenderQueryEditor(editor, metadata=headers),
        ]

    tags = [dict(await call.initial_metadata())["etag"] for call in asked()]
    assert len(set(tags)) == 4
    for tag, call in zip(tags, asked(("if-none-match", f'"other", {", ".join(tags)}')), strict=True):
        said = dict(await call.initial_metadata())
        assert (said["etag"], said["cordboard-http-status"]) == (tag, "304")
        assert (await call).ByteSize() == 0
    for call in asked(("if-none-match", '"other"')):
        assert "cordboard-http-status" not in dict(await call.initial_metadata())
        assert (await call).ByteSize() > 0
    # Another version, and another language, is another answer.
    changed = a_version(TICKET)
    changed.actions[0].title = "Another title"
    changed.actions[0].translations.add(language="de", title="Anders")
    await announcer.publish(changed, "1.1.0")

    async def followed() -> bool:
        return bool((await get(member)).version == "1.1.0")

    await until(followed)
    newer = [dict(await call.initial_metadata())["etag"] for call in asked()]
    german = [dict(await call.initial_metadata())["etag"] for call in asked(("accept-language", "de"))]
    assert len({*tags, *newer, *german}) == 12


async def test_what_is_wrong_is_said_in_the_language_that_the_form_is_in(
    announcer: Announcer, member: Stub, served: Served
) -> None:
    definition = a_version(TICKET, TICKET)
    definition.actions[0].translations.add(language="de", title="Anlegen")
    await announcer.publish(definition, "1.0.0")
    (german, other) = (f"integrations/acme/forms/action.{action.id}" for action in definition.actions)

    async def told(name: str, asked: str = "", header: str = "en") -> list[str]:
        request = pb.BindFormRequest(name=name, values=to_struct({"count": "x"}), report_problems=True, language=asked)
        found = await member.BindForm(request, metadata=(("accept-language", header),))
        return sorted(each.description for each in found.problems)

    assert await told(german, "de-CH") == ["ist erforderlich", "muss eine ganze Zahl sein"]
    assert await told(german, header="de") == ["ist erforderlich", "muss eine ganze Zahl sein"]
    english = ["is required", "must be a whole number"]
    assert await told(german, "fr") == english
    # Nothing else of this form is German.
    assert await told(other, "de") == english
    assert await told(german) == english
    refusing = member.BindForm(pb.BindFormRequest(name=german, values=to_struct({}), language="de"))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await refusing
    assert "ist erforderlich" in str(raised.value.details()) + repr(raised.value.trailing_metadata())
    editors = QueryEditorServiceStub(served.as_role("member", workspace="acme"))
    name = "integrations/acme/queryEditor"
    command = (await editors.GetQueryEditor(editor_pb.GetQueryEditorRequest(name=name))).commands[0].command
    asked = editor_pb.BindQueryRequest(
        name=name, values=to_struct({"command": command}), language="de", report_problems=True
    )
    assert (await editors.BindQuery(asked)).bound.problems[0].description in ("ist erforderlich", "is required")


async def test_forms_and_editors_come_in_the_language_that_is_asked_for(
    announcer: Announcer, member: Stub, served: Served
) -> None:
    definition = a_version(TICKET)
    definition.actions[0].translations.add(language="de", title="Anlegen")
    definition.actions[0].form_hints.add(property="subject").translations.add(language="de", label="Betreff")
    await announcer.publish(definition, "1.0.0")
    whole = await member.GetFormDocument(pb.GetFormDocumentRequest(name=NAME))
    assert (whole.title, list(whole.languages), len(whole.translations)) == ("Create thing 1", ["de"], 1)
    asked = await member.GetFormDocument(pb.GetFormDocumentRequest(name=NAME, language="de-CH, en;q=0.5"))
    assert (asked.title, asked.language, asked.fields[0].label) == ("Anlegen", "de", "Betreff")
    header = (("accept-language", "fr, de;q=0.5"),)
    sent = await member.GetFormDocument(pb.GetFormDocumentRequest(name=NAME), metadata=header)
    assert sent == asked
    english = await member.GetFormDocument(pb.GetFormDocumentRequest(name=NAME, language="en"), metadata=header)
    assert (english.title, english.language, english.revision) == ("Create thing 1", "en", asked.revision)
    form, own = await member.GetForm(pb.GetFormRequest(name=NAME, language="de")), await get(member)
    assert (form.title, own.title) == ("Anlegen", "Create thing 1")
    assert "Betreff" in form.json_schema
    assert "Betreff" in form.appsmith_uqi
    assert form.etag != own.etag
    rendered = await member.RenderForm(pb.RenderFormRequest(name=NAME, target=FORM_TARGET_REACT, language="de"))
    assert "Betreff" in rendered.document_json
    editors = QueryEditorServiceStub(served.as_role("member", workspace="acme"))
    for language, there in (("de", True), ("fr", False), ("", False)):
        request = editor_pb.RenderQueryEditorRequest(name=EDITOR, target=FORM_TARGET_APPSMITH, language=language)
        assert ("Betreff" in (await editors.RenderQueryEditor(request)).document_json) is there
    wrong = member.GetForm(pb.GetFormRequest(name=NAME, language="not a language!"))
    assert await refused(wrong) == ("INVALID_ARGUMENT", "INVALID_FIELDS", ["language"])
    # Values mean the same in whatever language the form was drawn.
    assert await bind(member, {"subject": "hi"}) == {"subject": "hi", "count": 1}


async def test_losses_and_words_of_ours_come_in_the_language_of_the_form(announcer: Announcer, member: Stub) -> None:
    row = {"type": "object", "properties": {"more": {"type": "array", "items": {"type": "object"}}}}
    rows = {"type": "array", "items": row}
    definition = a_version(an_input("subject", subject={"type": "string"}, rows=rows))
    definition.actions[0].translations.add(language="de", title="Anlegen")
    await announcer.publish(definition, "1.0.0")

    async def told(language: str) -> list[list[str]]:
        form = await member.GetForm(pb.GetFormRequest(name=NAME, language=language))
        document = await member.GetFormDocument(pb.GetFormDocumentRequest(name=NAME, language=language))
        request = pb.RenderFormRequest(name=NAME, target=FORM_TARGET_APPSMITH, language=language)
        drawn = await member.RenderForm(request)
        return [list(form.losses), [loss.text for loss in document.losses], list(drawn.losses)]

    assert await told("en") == [["Appsmith: rows: a list that is no flat table; shown as JSON"]] * 3
    assert await told("de") == [["Appsmith: rows: eine Liste, die keine flache Tabelle ist; als JSON gezeigt"]] * 3
    shown = await member.RenderForm(pb.RenderFormRequest(name=NAME, target=FORM_TARGET_APPSMITH, language="de"))
    assert "Subject eingeben" in shown.document_json
    assert "Enter" not in shown.document_json


async def test_settings_are_a_form_whose_stored_secrets_may_stay_empty(announcer: Announcer, member: Stub) -> None:
    definition = a_version(TICKET)
    definition.config_variables.add(name="page_size", schema_json='{"type": "integer"}')
    definition.config_variables.add(name="app_key", secret=True, required=True)
    await announcer.publish(definition, "1.0.0")
    name = "integrations/acme/forms/settings"
    document = await member.GetFormDocument(pb.GetFormDocumentRequest(name=name))
    assert (document.kind, document.title) == (FORM_KIND_SETTINGS, "Settings")
    listed = await member.ListForms(pb.ListFormsRequest(parent="integrations/acme"))
    assert name in [each.name for each in listed.forms]

    async def told(values: dict[str, Any], *stored: str) -> pb.BindFormResponse:
        request = pb.BindFormRequest(name=name, values=to_struct(values), stored_field_ids=stored, report_problems=True)
        found: pb.BindFormResponse = await member.BindForm(request)
        return found

    whole = await told({"page_size": 5, "app_key": "hunter2"})
    assert (from_struct(whole.input), list(whole.kept_pointers)) == ({"page_size": "5", "app_key": None}, [])
    assert [each.pointer for each in whole.secrets] == ["/app_key"]
    kept = await told({"page_size": 5, "app_key": ""}, "app_key")
    assert (from_struct(kept.input), list(kept.kept_pointers)) == ({"page_size": "5"}, ["/app_key"])
    assert [each.pointer for each in (await told({"page_size": 5, "app_key": ""})).problems] == ["/app_key"]
    # A version without variables has no such form.
    await announcer.publish(a_version(TICKET), "2.0.0")
    gone = member.GetForm(pb.GetFormRequest(name=name, version="2.0.0"))
    assert await refused(gone) == ("NOT_FOUND", "RESOURCE_NOT_FOUND", [])


EDITOR = "integrations/acme/queryEditor"


async def test_an_editor_lists_every_action_and_binds_the_one_that_is_picked(
    announcer: Announcer, served: Served
) -> None:
    editors = QueryEditorServiceStub(served.as_role("member", workspace="acme"))
    await announcer.publish(a_version(TICKET, an_input(title={"type": "string"})), "1.0.0")
    found = await editors.GetQueryEditor(editor_pb.GetQueryEditorRequest(name=EDITOR))
    assert (found.name, found.version) == (EDITOR, "1.0.0")
    assert [(each.command, each.action) for each in found.commands] == [
        ("ACME_CREATE", "create"),
        ("ACME_CREATE_2", "create-2"),
    ]
    asked = editor_pb.RenderQueryEditorRequest(name=EDITOR, target=FORM_TARGET_APPSMITH)
    shown = await editors.RenderQueryEditor(asked)
    assert problems(json.loads(shown.document_json)) == []
    asked.etag = shown.etag
    again = await editors.RenderQueryEditor(asked)
    assert (again.not_modified, again.document_json) == (True, "")

    values = {"command": "ACME_CREATE", "ACME_CREATE": {"subject": "x"}, "ACME_CREATE_2": {"title": "left"}}
    bound = await editors.BindQuery(editor_pb.BindQueryRequest(name=EDITOR, values=to_struct(values)))
    assert (bound.action, from_struct(bound.bound.input)) == ("create", {"subject": "x", "count": 1})
    assert list(bound.bound.dropped_pointers) == ["/ACME_CREATE_2"]
    # A new version is seen, and the old one stays as it was.
    await announcer.publish(a_version(TICKET), "2.0.0")

    async def newer() -> bool:
        now = await editors.GetQueryEditor(editor_pb.GetQueryEditorRequest(name=EDITOR))
        return (now.version, len(now.commands)) == ("2.0.0", 1)

    await until(newer)
    old = await editors.GetQueryEditor(editor_pb.GetQueryEditorRequest(name=EDITOR, version="1.0.0"))
    assert old == found


async def test_an_editor_of_http_requests_binds_one_of_a_persons_own(announcer: Announcer, served: Served) -> None:
    editors = QueryEditorServiceStub(served.as_role("member", workspace="acme"))
    definition = a_version(TICKET)
    place = definition_pb2.PLACEMENT_QUERY
    definition.actions[0].request.parameters.add(property="subject", name="subject", placement=place)
    await announcer.publish(definition, "1.0.0")
    assert (await editors.GetQueryEditor(editor_pb.GetQueryEditorRequest(name=EDITOR))).custom_requests
    held = {"method": "GET", "path": "/tickets", "params": [{"key": "q", "value": "a b"}]}
    values = {"command": "CUSTOM_ACTION", "CUSTOM_ACTION": held}
    asked = editor_pb.BindQueryRequest(name=EDITOR, values=to_struct(values), language="de", report_problems=True)
    bound = await editors.BindQuery(asked)
    assert (bound.action, bound.request.method, bound.request.path) == ("", "GET", "/tickets?q=a+b")
    asked.values.CopyFrom(to_struct({"command": "CUSTOM_ACTION", "CUSTOM_ACTION": {"method": "GET"}}))
    bound = await editors.BindQuery(asked)
    assert not bound.HasField("request")
    assert [(each.pointer, each.description) for each in bound.bound.problems] == [("/path", "ist erforderlich")]


async def test_an_editor_refuses_what_is_not_there_with_its_name(announcer: Announcer, served: Served) -> None:
    editors = QueryEditorServiceStub(served.as_role("member", workspace="acme"))
    await announcer.publish(a_version(TICKET), "1.0.0")

    def bind_query(**values: Any) -> Any:
        return editors.BindQuery(editor_pb.BindQueryRequest(name=EDITOR, values=to_struct(values)))

    async def refusal(call: Any) -> tuple[str, list[str]]:
        _, reason, fields = await refused(call)
        return reason, fields

    assert await refusal(bind_query()) == ("INVALID_FIELDS", ["values.command"])
    assert await refusal(bind_query(command=["ACME_CREATE"])) == ("INVALID_FIELDS", ["values.command"])
    wrong = bind_query(command="ACME_CREATE", ACME_CREATE={"subject": 1.5, "count": "many"})
    assert await refusal(wrong) == ("INVALID_FIELDS", ["values.count"])
    react = editor_pb.RenderQueryEditorRequest(name=EDITOR, target=FORM_TARGET_REACT)
    assert await refusal(editors.RenderQueryEditor(react)) == ("INVALID_FIELDS", ["target"])
    missing = editor_pb.GetQueryEditorRequest(name="integrations/nothing/queryEditor")
    assert await refusal(editors.GetQueryEditor(missing)) == ("RESOURCE_NOT_FOUND", [])
    no_version = editor_pb.GetQueryEditorRequest(name=EDITOR, version="9.9.9")
    assert await refusal(editors.GetQueryEditor(no_version)) == ("RESOURCE_NOT_FOUND", [])


async def test_a_form_of_two_hundred_fields_comes_in_every_format_and_binds(announcer: Announcer, member: Stub) -> None:
    names = [f"field_{number}" for number in range(200)]
    about = {"type": "string", "title": "A field", "description": "What it is for. " * 10}
    await announcer.publish(a_version(an_input(*names[:50], **dict.fromkeys(names, about))), "1.0.0")
    document = await member.GetFormDocument(pb.GetFormDocumentRequest(name=NAME))
    assert (len(document.fields), len(document.losses)) == (200, 0)
    assert document.ByteSize() < 150_000
    for target in FormTarget.values()[1:]:
        found = await member.RenderForm(pb.RenderFormRequest(name=NAME, target=target))
        assert all(name in found.document_json for name in names)
        assert len(found.document_json) < 150_000
    values = dict.fromkeys(names, "x")
    assert await bind(member, values) == values
    assert len((await refused(bind(member, {})))[2]) == 50
