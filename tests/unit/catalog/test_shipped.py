"""The definitions that come with Cordboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from cordboard.catalog.capabilities import needed
from cordboard.catalog.document import read
from cordboard.catalog.folder import File, check_files
from cordboard.catalog.v1 import definition_pb2 as pb

FOLDER = Path(__file__).resolve().parents[3] / "integrations"
FILES = [File(path.name, path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yaml"))]
DEFINITIONS = [read(file.text).definition for file in FILES]
ids = [definition.slug for definition in DEFINITIONS]
# Every call needs to know a spreadsheet, or a place.
WITHOUT_CHECK = {"google-sheets", "open-meteo"}
# Servers of one's own, limits by plan or resource, and vendors that publish none.
WITHOUT_LIMITS = {
    *("aws-dynamodb", "aws-s3", "clickhouse", "couchdb", "dropbox", "elasticsearch", "mailchimp"),
    *("mailchimp-transactional", "openweather", "paypal", "snowflake", "twilio"),
}


def said(message: Message) -> Iterator[tuple[str, Any]]:
    """Yields every field that is set in a message, by its full name, with each of its values."""
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        for one in value if field.is_repeated else [value]:
            yield field.full_name.removeprefix("cordboard.catalog.v1."), one
            if isinstance(one, Message):
                yield from said(one)


def alternatives(message: type[Message]) -> set[str]:
    """Returns the fields of a message of which one is chosen, by their full names."""
    name = message.DESCRIPTOR.name
    return {f"{name}.{field.name}" for oneof in message.DESCRIPTOR.oneofs for field in oneof.fields}


def test_every_shipped_definition_passes_the_check() -> None:
    assert [(report.file, report.findings) for report in check_files(FILES) if report.findings] == []
    assert len(FILES) >= 25


def test_each_holds_to_its_own_promise() -> None:
    assert [report.file for report in check_files(FILES, FILES) if report.findings] == []


def test_every_kind_of_sign_in_and_of_paging_is_used() -> None:
    used = {name for definition in DEFINITIONS for name, _ in said(definition)}
    kinds = alternatives(pb.AuthScheme) | alternatives(pb.Paging)

    assert kinds - used == set()
    assert {"AuthScheme.oauth2", "AuthScheme.all_of", "Paging.link", "Paging.last_item"} <= kinds
    assert {"CursorPaging.next_pointer", "CursorPaging.next_header", "Paging.more_pointer"} <= used


@pytest.mark.parametrize(
    ("field", "enum", "unused"),
    [
        ("ApiKey.placement", pb.Placement, set()),
        (".client_authentication", pb.ClientAuthentication, set()),
        ("Action.streaming", pb.StreamKind, set()),
        ("Body.encoding", pb.BodyEncoding, set()),
        # By the media type both come as they are without being named.
        ("Response.decoder", pb.Decoder, {pb.DECODER_JSON, pb.DECODER_TEXT, pb.DECODER_BINARY}),
    ],
)
def test_every_choice_of_a_kind_is_used(field: str, enum: Any, unused: set[int]) -> None:
    used = {value for definition in DEFINITIONS for name, value in said(definition) if name.endswith(field)}

    assert {number for number in enum.values() if number} - used == unused


def test_jobs_streams_variables_and_keys_of_requests_are_shown() -> None:
    used = frozenset().union(*(needed(definition) for definition in DEFINITIONS))

    assert {"job", "body.xml", "decoder.xml", "decoder.csv", "idempotency-key", "error.reset-pagination"} <= used
    assert any(definition.config_variables for definition in DEFINITIONS)


@pytest.mark.parametrize("definition", DEFINITIONS, ids=ids)
def test_each_says_what_it_is(definition: pb.Definition) -> None:
    examples = [example for action in definition.actions for example in action.examples]

    assert definition.description
    assert definition.category
    assert definition.compatibility == pb.COMPATIBILITY_MODE_BACKWARD
    assert 4 <= len(definition.actions) <= 12
    assert all(action.title for action in definition.actions)
    assert all(scheme.title or scheme.description for scheme in definition.auth_schemes)
    assert len(examples) >= 3
    assert all(example.HasField("response") for example in examples)


def test_each_says_how_to_check_a_connection_where_its_vendor_has_a_harmless_call() -> None:
    assert {definition.slug for definition in DEFINITIONS if not definition.check_action} == WITHOUT_CHECK


def test_each_says_what_its_vendor_lets_be_called_where_that_is_published() -> None:
    fields = {"Definition.rate_limits", "Definition.rate_limit_headers", "Action.rate_limits"}
    limited = {definition.slug for definition in DEFINITIONS if fields & {name for name, _ in said(definition)}}

    assert set(ids) - limited == WITHOUT_LIMITS
