"""Documents that nobody should send: each is refused with its place, in bounded time, and nothing of it is kept."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from cordboard.catalog.__main__ import start
from cordboard.catalog.settings import CatalogSettings
from cordboard.catalog.v1 import catalog_service_pb2 as catalog
from cordboard.catalog.v1 import governance_service_pb2 as governance
from cordboard.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from cordboard.catalog.v1.governance_service_pb2_grpc import GovernanceServiceStub
from tests.fixtures.auth import refused
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Served, Serving

# A slow machine with other work; what explodes takes minutes.
SECONDS = 20.0
GOOD = """slug: good-one
title: Good
servers: [{url: 'https://api.good.example'}]
auth_schemes: [{id: open, none: {}}]
actions:
- id: find
  input_schema: {type: object, properties: {q: {type: string}}}
  request: {method: GET, path: /a, parameters: [{property: q, name: q, placement: query}]}
"""
API = {
    "openapi": "3.1.0",
    "info": {"title": "Good"},
    "servers": [{"url": "https://api.good.example"}],
    "paths": {"/a": {"get": {"operationId": "find", "responses": {}}}},
}


def a_bomb() -> str:
    levels = zip("abcdefgh", "bcdefghi", strict=True)
    return "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in levels
    )


# What neither a definition nor a description may be. The words say what is wrong, and where.
UNREADABLE = {
    "nothing": ("   \n", "the document is empty"),
    "JSON that ends": ('{"openapi": ', "line 1, column 13"),
    "YAML that is none": ("a: [1\nb: 2", "line 2, column"),
    "an alias bomb": (a_bomb(), "aliases expanded at line 7"),
    "deep JSON": ("[" * 100_000 + "]" * 100_000, "deeper than 128 levels"),
    "deep YAML": ("- " * 1000 + "x", "deeper than 128 levels at line 1"),
    "deep flow": ("[" * 100_000, "deeper than 128 levels"),
    "millions of values": ("[" + "1," * 4_000_000 + "1]", "more than 2000000 values"),
    "more than 16 MiB": ('{"x": "' + "a" * (17 * 1024 * 1024) + '"}', "larger than 16 MiB"),
    "a tag that runs": ("a: 1\nb: !!python/object/apply:os.system [id]", "line 2, column 4"),
    "two documents": ("a: 1\n---\nb: 2", "second document in the text at line 2"),
    "half a character": ('{"openapi": "\\ud800"}', "half of a surrogate pair"),
    "a number without end": ('{"openapi": 1e999}', "too large"),
    "a list": ("- a\n- b", "mapping"),
}
DEFINITIONS = {
    "a key twice": (GOOD + "title: Again\n", "'title' stands twice at line 9, column 1"),
    "a key twice, in JSON": ('{"slug": "a-b",\n "slug": "c-d"}', "'slug' stands twice at line 2, column 2"),
    "a description": (json.dumps(API), "no definition: import it at line 1"),
    "a slug that looks like another": (GOOD.replace("good-one", "g\u043eod-one"), "CYRILLIC SMALL LETTER O"),
    "a slug in capitals": (GOOD.replace("good-one", "Good"), "must be 2 to 63 of a-z"),
    "a reserved slug": (GOOD.replace("good-one", "active"), "is a reserved word (line 1, column 1)"),
    "another's slug": (GOOD.replace("good-one", "acme--good"), "private integrations (line 1, column 1)"),
    "a title of two scripts": (GOOD.replace("title: Good", "title: G\u043eod"), "different scripts"),
    "a title that turns round": (GOOD.replace("title: Good", 'title: "a\\u202Eb"'), "hidden characters (line 2"),
    "a regex with look-ahead": (GOOD.replace("{type: string}", "{pattern: '(?=a)b'}"), "properties.q.pattern is no"),
    "a regex with a back-reference": (GOOD.replace("{type: string}", "{pattern: '(a)\\1'}"), "linear time"),
    "a URL with a password": (GOOD.replace("https://", "https://u:p@"), "must not hold a user name or password"),
    "a URL of a file": (GOOD.replace("https://api.good.example", "file:///etc/passwd"), "must begin with https://"),
    "a URL in other letters": (GOOD.replace("api.good", "g\u043eod"), "characters that a URL cannot have"),
    "a request to elsewhere": (GOOD.replace("path: /a", "path: //evil.example"), "actions[0].request.path"),
}
DESCRIPTIONS = {
    "no description": ("a: 1", "neither a member `openapi` nor `swagger`"),
    "of another time": ('{"openapi": "4.0"}', "is not known"),
    "a title of two scripts": (json.dumps({**API, "info": {"title": "G\u043eod"}}), "different scripts"),
}


class Callers:
    """The four ways in which a document comes to a Catalog."""

    def __init__(self, served: Served) -> None:
        channel = served.as_role("operator", "publisher")
        self.catalog = CatalogServiceStub(channel)
        self.governance = GovernanceServiceStub(channel)

    def definitions(self, text: str) -> list[Any]:
        return [
            self.catalog.PublishDefinition(catalog.PublishDefinitionRequest(document=text)),
            self.governance.ValidateDefinition(governance.ValidateDefinitionRequest(document=text)),
        ]

    def descriptions(self, text: str) -> list[Any]:
        request = catalog.ImportOpenApiRequest(document=text)
        tried = governance.ValidateOpenApiRequest(import_request=request)
        return [self.catalog.ImportOpenApi(request), self.governance.ValidateOpenApi(tried)]

    async def nothing_is_kept(self) -> bool:
        return not (await self.catalog.ListIntegrations(catalog.ListIntegrationsRequest())).integrations


@pytest.fixture
async def callers(serving: Serving, database: Databases) -> AsyncIterator[Callers]:
    """An operator of an empty Catalog."""
    async with serving("catalog", CatalogSettings, start, database_url=database("catalog").url) as served:
        yield Callers(served)


async def text_of(call: Any) -> str:
    """Returns what a refused call says; it takes no longer than it may."""
    began = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await call
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT, refusal.value.details()
    assert time.monotonic() - began < SECONDS
    return refusal.value.details() or ""


async def test_what_cannot_be_read_is_refused_with_its_place_and_leaves_nothing(callers: Callers) -> None:
    for name, (text, words) in UNREADABLE.items():
        for call in (*callers.definitions(text), *callers.descriptions(text)):
            told = await text_of(call)
            assert words in told, (name, told)
    assert await callers.nothing_is_kept()


async def test_what_is_no_good_definition_is_refused_with_its_place_and_leaves_nothing(callers: Callers) -> None:
    for name, (text, words) in DEFINITIONS.items():
        for call in callers.definitions(text):
            told = await text_of(call)
            assert words in told, (name, told)
    assert await callers.nothing_is_kept()
    for call in callers.definitions(GOOD):
        assert (await call).ByteSize()


async def test_what_is_no_good_description_is_refused_and_leaves_nothing(callers: Callers) -> None:
    for name, (text, words) in DESCRIPTIONS.items():
        for call in callers.descriptions(text):
            told = await text_of(call)
            assert words in told, (name, told)
    assert await callers.nothing_is_kept()


async def test_a_description_loses_what_is_hostile_and_keeps_the_rest(callers: Callers) -> None:
    parameters = [
        {"name": "q", "in": "query", "schema": {"type": "string", "pattern": "(?<=a)b"}},
        {"name": "r", "in": "query", "schema": {"type": "string", "pattern": "^(a+)+$"}},
    ]
    operation = {"operationId": "find", "parameters": parameters, "responses": {}}
    document = {**API, "paths": {"/a": {"get": operation}, "//evil.example/b": {"get": {"responses": {}}}}}
    [imported, _] = callers.descriptions(json.dumps(document))
    answer = await imported
    [action] = [one for one in answer.definition_version.definition.actions if one.id == "find"]
    properties = json.loads(action.input_schema_json)["properties"]
    # The first needs look-behind. The second takes exponential time elsewhere, and linear time here.
    assert (properties["q"], properties["r"]["pattern"]) == ({"type": "string"}, "^(a+)+$")
    assert any("needs backtracking" in one.text for one in answer.report.findings)
    definition = answer.definition_version.definition
    assert [one.url for one in definition.servers] == ["https://api.good.example"]
    assert not [one.request.path for one in definition.actions if one.request.path.startswith("//")]


async def test_two_apis_whose_titles_have_no_latin_letters_are_two_integrations(callers: Callers) -> None:
    names = []
    for title, host in (("\u65e5\u672c", "one.example"), ("\u6771\u4eac", "two.example")):
        document = {**API, "info": {"title": title}, "servers": [{"url": f"https://{host}"}]}
        names.append((await callers.descriptions(json.dumps(document))[0]).definition_version.name)
    assert names == ["integrations/one-example/versions/1.0.0", "integrations/two-example/versions/1.0.0"]


async def test_a_message_larger_than_the_service_takes_is_refused_before_it_is_read(callers: Callers) -> None:
    request = catalog.PublishDefinitionRequest(document="a" * (40 * 1024 * 1024))
    assert (await refused(callers.catalog.PublishDefinition(request)))[0] == "RESOURCE_EXHAUSTED"
    assert await callers.nothing_is_kept()
