"""The definition document: read strictly, with the place of what is wrong, and written back as it was."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings

from cordboard.catalog.definition import canonical, content_hash
from cordboard.catalog.document import read, write
from cordboard.catalog.v1.definition_pb2 import Category, Definition, Idempotency
from cordboard.core.errors import DocumentInvalid, Violation
from tests.unit.catalog.definitions import DOCUMENT, definitions, plain


def refusal(text: str) -> DocumentInvalid:
    with pytest.raises(DocumentInvalid) as caught:
        read(text)
    return caught.value


def test_a_document_says_what_the_message_holds() -> None:
    definition = read(DOCUMENT).definition
    assert definition.category == Category.CATEGORY_API
    assert [scheme.WhichOneof("kind") for scheme in definition.auth_schemes] == ["oauth2", "api_key", "none"]
    listed, created, _ = definition.actions
    assert listed.timeout.ToTimedelta().total_seconds() == 2.5
    assert dict(listed.request.headers) == {"X-Client": "cordboard"}
    assert created.idempotency == Idempotency.IDEMPOTENCY_NOT_IDEMPOTENT
    assert created.request.parameters[0].HasField("explode")
    assert not created.request.parameters[0].explode
    assert not listed.request.parameters[0].HasField("explode")
    assert json.loads(definition.schemas_json)["Ticket"]["type"] == "object"


def test_json_text_reads_as_yaml_does() -> None:
    definition = read(DOCUMENT).definition
    assert read(json.dumps(plain(definition))).definition == definition


def normalised(definition: Definition) -> Definition:
    """Returns a definition with its JSON texts as reading writes them."""
    copy = Definition()
    copy.CopyFrom(definition)
    _normalise(copy)
    return copy


def _normalise(message: Any) -> None:
    for field, value in message.ListFields():
        if field.name.endswith("_json"):
            setattr(message, field.name, orjson.dumps(json.loads(value)).decode())
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for each in value if field.is_repeated else [value]:
                _normalise(each)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(definitions())
def test_every_definition_survives_being_written_and_read(definition: Definition) -> None:
    text = write(definition)
    assert read(text).definition == normalised(definition)
    assert write(read(text).definition) == text


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(definitions())
def test_the_hash_is_that_of_the_content_and_not_of_its_writing(definition: Definition) -> None:
    definition = normalised(definition)
    again = Definition.FromString(definition.SerializeToString())
    assert content_hash(again) == content_hash(definition)
    assert content_hash(read(write(definition)).definition) == content_hash(definition)


def test_the_version_is_no_part_of_the_hash_and_everything_else_is() -> None:
    first = read(DOCUMENT).definition
    versioned = read("version: 4.0.0\n" + DOCUMENT).definition
    changed = read(DOCUMENT.replace("title: List tickets", "title: List the tickets")).definition
    reordered = read(
        DOCUMENT.replace("slug: acme-desk\ntitle: Acme Desk", "title: Acme Desk\nslug: acme-desk")
    ).definition
    assert content_hash(first) == content_hash(versioned) == content_hash(reordered)
    assert content_hash(first) != content_hash(changed)
    assert len(content_hash(first)) == 64
    assert b"\n" not in canonical(first)


def test_the_order_of_an_inputs_properties_counts() -> None:
    swapped = DOCUMENT.replace(
        "      subject: {type: string}\n      notify: {type: boolean}",
        "      notify: {type: boolean}\n      subject: {type: string}",
    )
    assert swapped != DOCUMENT
    assert content_hash(read(swapped).definition) != content_hash(read(DOCUMENT).definition)


@pytest.mark.parametrize(
    ("old", "new", "path", "words"),
    [
        ("owner: integrations", "ownr: integrations", "ownr", "is not a field here"),
        ("  title: List tickets", "  titel: List tickets", "actions[0].titel", "is not a field here"),
        ("category: api", "category: API", "category", "must be one of api, db, remote, external"),
        ("category: api", "category: category_api", "category", "must be one of"),
        ("category: api", "category: unspecified", "category", "must be one of"),
        ("owner: integrations", "owner: 7", "owner", "put it in quotes"),
        ("owner: integrations", "owner:", "owner", "is null; leave it out"),
        ("owner: integrations", "owner: [a]", "owner", "must be text, not a list"),
        ("tags: [support]", "tags: support", "tags", "must be a list, not text"),
        ("tags: [support]", "tags: [1]", "tags[0]", "must be text"),
        ("timeout: 2.5s", "timeout: 2500", "actions[0].timeout", "time span"),
        ("timeout: 2.5s", "timeout: -1s", "actions[0].timeout", "time span"),
        ("required: true", "required: 'true'", "actions[1].request.body.required", "true or false"),
        ("  none: {}", "  none:", "auth_schemes[2].none", "is null"),
        ("  none: {}", "  none: {}\n  basic: {}", "auth_schemes[2].basic", "cannot stand beside 'none'"),
        ("X-Client: cordboard", "X-Client: 1", "actions[0].request.headers.X-Client", "must be text"),
        ("headers: {X-Client: cordboard}", "headers: [x]", "actions[0].request.headers", "must be a mapping"),
        ("schemas:", "schemas_json: '{}'\nschemas:", "schemas_json", "is not a field here"),
        (
            "rate_limit_headers: {remaining: RateLimit-Remaining}",
            "rate_limit_headers: x",
            "rate_limit_headers",
            "mapping",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(old: str, new: str, path: str, words: str) -> None:
    assert old in DOCUMENT
    text = DOCUMENT.replace(old, new, 1)
    error = refusal(text)
    assert error.text.startswith(f"{path} ")
    assert words in error.text
    lines = zip(text.splitlines(), DOCUMENT.splitlines(), strict=False)
    line = next(number for number, (one, before) in enumerate(lines, 1) if one != before)
    assert error.metadata["line"] == str(line)


def test_several_problems_are_told_at_once() -> None:
    error = refusal("slug: 1\ntitle: [x]\nactions: {}\nnope: 1")
    for words in ("slug must be text", "title must be text", "actions must be a list", "nope is not a field"):
        assert words in error.text


@pytest.mark.parametrize("text", ["[]", "x", "7", "null", '"text"'])
def test_a_document_is_a_mapping(text: str) -> None:
    assert "must be a mapping" in refusal(text).text


def test_a_violation_gets_its_place_in_the_text() -> None:
    document = read(DOCUMENT)
    placed = document.placed(Violation("actions[1].request.path", "is wrong"))
    line = next(number for number, one in enumerate(DOCUMENT.splitlines(), 1) if one == "    path: /tickets")
    assert placed.description == f"is wrong (line {line}, column 5)"
