"""The whole format: every field is in the document below, every value of it is checked, and it survives its writing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from cordboard.catalog import capabilities, shape
from cordboard.catalog.definition import RESERVED_SLUGS, problems
from cordboard.catalog.document import is_duration, is_map, read, write
from cordboard.catalog.extension import merged, resolved
from cordboard.catalog.findings import Findings
from cordboard.catalog.v1.definition_pb2 import Definition
from cordboard.core.errors import DocumentInvalid, InvalidFields, Violation
from tests.unit.catalog.definitions import DOCUMENT
from tests.unit.catalog.whole import PARTS, WHOLE


def what(definition: Definition) -> list[Violation]:
    """Returns what is wrong with a definition, but for what no runtime can do yet."""
    return [one for one in problems(definition) if "needs the capability" not in one.description]


def fields_of(descriptor: Any, seen: set[str]) -> set[str]:
    """Returns the full names of the fields of a message and of those below it."""
    if descriptor.full_name in seen or is_duration(descriptor):
        return set()
    seen.add(descriptor.full_name)
    found = set()
    for field in descriptor.fields:
        found.add(field.full_name)
        if field.message_type is not None and not is_map(field):
            found |= fields_of(field.message_type, seen)
    return found


def used(message: Any) -> Iterator[str]:
    """Yields the full names of the fields that are set in a message and below it."""
    for field, value in message.ListFields():
        yield field.full_name
        if field.message_type is None or is_map(field) or is_duration(field.message_type):
            continue
        for each in value if field.is_repeated else [value]:
            yield from used(each)


def documents() -> list[Definition]:
    """Returns definitions that have every field between them."""
    return [read(DOCUMENT).definition, *(read(text).definition for text in (WHOLE, *PARTS))]


def test_the_documents_have_every_field_of_the_format() -> None:
    there = {name for definition in documents() for name in used(definition)}
    assert fields_of(Definition.DESCRIPTOR, set()) - there == set()


@pytest.mark.parametrize("text", [WHOLE, *PARTS])
def test_they_mean_something_and_survive_their_writing(text: str) -> None:
    definition = read(text).definition
    assert what(definition) == []
    assert read(write(definition)).definition == definition


def places(message: Any) -> Iterator[tuple[Any, Any]]:
    """Yields each field that holds a value, with the message it is in."""
    for field, value in list(message.ListFields()):
        if field.message_type is None or is_map(field) or is_duration(field.message_type):
            yield message, field
            continue
        for each in value if field.is_repeated else [value]:
            yield from places(each)


def spoil(message: Any, field: Any) -> bool:
    """Puts something into a field that cannot be right; tells whether there is such a thing."""
    if is_map(field):
        getattr(message, field.name)["x\u202e"] = "\x07"
    elif field.message_type is not None:
        getattr(message, field.name).seconds = 999_999_999
    elif field.enum_type is not None or field.type == field.TYPE_BOOL:
        return False
    elif field.type == field.TYPE_INT32:
        if field.is_repeated:
            getattr(message, field.name)[:] = [-7]
        else:
            setattr(message, field.name, -(2**31))
    elif field.is_repeated:
        getattr(message, field.name)[:] = ["\u202e\x07 {"]
    else:
        setattr(message, field.name, "\u202e\x07 {")
    return True


def test_no_value_of_any_field_goes_unchecked() -> None:
    spoiled = set()
    for sound in documents():
        for index, (_, field) in enumerate(places(sound)):
            if field.full_name in spoiled:
                continue
            definition = Definition()
            definition.CopyFrom(sound)
            message = list(places(definition))[index][0]
            if not spoil(message, field):
                continue
            spoiled.add(field.full_name)
            named = field.name.removesuffix("_json")
            told = [one.field for one in what(definition)]
            assert told, f"{field.full_name} takes anything"
            # What names a property or a schema may be told where it is missing.
            assert any(
                named in one or one.startswith(("actions", "auth_schemes", "schemas", "extends")) for one in told
            )
    assert len(spoiled) > 150


def test_every_rule_is_of_a_field_that_exists() -> None:
    known = {name.removeprefix("cordboard.catalog.v1.") for name in fields_of(Definition.DESCRIPTOR, set())}
    assert set(shape.RULES) - known == set()
    assert set(shape.KEYS) - known == set()


# --- capabilities


def test_what_a_definition_uses_is_named() -> None:
    assert capabilities.needed(read(DOCUMENT).definition) == {
        "auth.oauth2", "auth.api-key", "auth.key.header", "auth.none", "body.json", "paging.cursor",
    }  # fmt: skip
    everything = {name for one in documents() for name in capabilities.needed(one)}
    assert {"auth.aws-sigv4", "auth.all-of", "job", "stream.server-sent-events", "decoder.xml"} <= everything
    assert everything <= capabilities.VOCABULARY
    assert capabilities.RUNTIME <= capabilities.VOCABULARY


def test_what_no_runtime_can_do_is_refused_where_it_stands() -> None:
    definition = read(DOCUMENT).definition
    definition.required_capabilities.append("time-travel")
    definition.actions[1].required_capabilities.append("levitation")
    found = Findings()
    capabilities.check_capabilities(definition, found)
    assert [one.field for one in found.violations] == ["required_capabilities", "actions[1]"]
    assert "time-travel" in found.violations[0].description


# --- bases


def test_a_definition_takes_from_its_base_what_it_does_not_say() -> None:
    base = read("version: 1.0.0\n" + DOCUMENT).definition
    over = read(
        """
slug: acme-eu
title: Acme in Europe
tags: [europe]
extends:
  integration: acme-desk
  version: 1.0.0
  remove: [actions.me, auth_schemes.key, schemas.Ticket.properties, check_action]
"""
    ).definition
    with pytest.raises(InvalidFields, match=r"extends.remove\[2\]"):
        merged(base, over)
    over.extends.remove.remove("schemas.Ticket.properties")
    over.actions.add(id="list_tickets", title="All tickets")
    over.actions.add(id="extra").request.method = "GET"
    over.schemas_json = '{"Other":{}}'
    whole = merged(base, over)
    assert (whole.slug, whole.version, whole.title, list(whole.tags)) == ("acme-eu", "", "Acme in Europe", ["europe"])
    assert [one.id for one in whole.actions] == ["list_tickets", "create_ticket", "extra"]
    assert whole.actions[0].title == "All tickets"
    assert whole.actions[0].request == base.actions[0].request
    assert [one.id for one in whole.auth_schemes] == ["oauth", "open"]
    assert '"Ticket"' in whole.schemas_json
    assert '"Other"' in whole.schemas_json
    assert base == read("version: 1.0.0\n" + DOCUMENT).definition


def test_choosing_another_kind_takes_the_bases_away() -> None:
    base = read(DOCUMENT).definition
    over = Definition(slug="acme-eu")
    over.auth_schemes.add(id="key").bearer.prefix = "Token"
    assert [one.WhichOneof("kind") for one in merged(base, over).auth_schemes] == ["oauth2", "bearer", "none"]


@pytest.mark.parametrize(
    ("integration", "version", "field"),
    [
        ("", "1.0.0", "extends"),
        ("acme-desk", "", "extends"),
        ("acme-desk", "9.0.0", "extends.version"),
        ("acme-eu", "2.0.0", "extends.integration"),
    ],
)
def test_a_base_that_cannot_be_is_refused(integration: str, version: str, field: str) -> None:
    async def lookup(slug: str, version: str) -> Definition | None:
        return read(DOCUMENT).definition if (slug, version) == ("acme-desk", "1.0.0") else None

    over = Definition(slug="acme-eu", version="2.0.0")
    over.extends.integration, over.extends.version = integration, version
    over.extends.SetInParent()
    with pytest.raises(InvalidFields) as caught:
        asyncio.run(resolved(over, lookup))
    assert [one.field for one in caught.value.violations] == [field]
    over.extends.integration, over.extends.version = "acme-desk", "1.0.0"
    assert asyncio.run(resolved(over, lookup)).actions


# --- bad input


@pytest.mark.parametrize("slug", sorted(RESERVED_SLUGS))
def test_a_reserved_word_is_no_slug(slug: str) -> None:
    assert "slug" in [
        one.field for one in what(read(DOCUMENT.replace("slug: acme-desk", f"slug: '{slug}'")).definition)
    ]


@pytest.mark.parametrize(
    "title", ["P\u0430ypal", "Acme\u202edesk", "Acme\u200bDesk", "Acme\x9bDesk", "Acme\u2028Desk", "Acme\U000e0041"]
)
def test_a_title_that_looks_like_another_is_refused(title: str) -> None:
    definition = read(DOCUMENT).definition
    definition.title = title
    assert [one.field for one in what(definition)] == ["title"]


@pytest.mark.parametrize(
    "title", ["\u042f\u043d\u0434\u0435\u043a\u0441 Mail", "Caf\u00e9 \u65e5\u672c", "Stra\u00dfe \u03a9"]
)
def test_a_title_of_any_script_is_let_through(title: str) -> None:
    definition = read(DOCUMENT).definition
    definition.title = title
    assert what(definition) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("slug: a\nslug: b", "slug"),
        ("x" * (16 * 1024 * 1024 + 1), "MiB"),
        ("a: " + "[" * 200 + "]" * 200, "deep"),
        (
            "a: &a [1,1]\n"
            + "\n".join(f"a{n}: &a{n} [*a{n - 1 if n else ''}, *a{n - 1 if n else ''}]" for n in range(40)),
            "values",
        ),
        ("a: !!python/object:os.system x", "tag"),
        ('{"a": "\\ud800"}', "surrogate"),
    ],
)
def test_a_hostile_document_is_refused(text: str, words: str) -> None:
    with pytest.raises(DocumentInvalid) as caught:
        read(text)
    assert words in caught.value.text
