"""What makes a flag valid, and the flag between message, domain and keeping."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from hypothesis import given

from cordboard.core.errors import InvalidFields
from cordboard.core.structs import to_value
from cordboard.flags.content import (
    MAX_CONDITION_VALUES,
    MAX_RULES,
    MAX_VARIANTS,
    MAX_WEIGHT_SUM,
    Content,
    Rule,
    Share,
    Slice,
    violations,
)
from cordboard.flags.messages import content_of, flag_message, key_of, revision_of
from cordboard.flags.store import FlagRecord
from cordboard.flags.v1 import flag_service_pb2 as pb
from tests.unit.flags.samples import a_content, a_split, contents

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def a_record(content: Content, **changes: Any) -> FlagRecord:
    record = FlagRecord("desk", 3, content, False, "ops", "put", NOW, NOW)
    return replace(record, **changes)


def fields_of(error: InvalidFields) -> list[str]:
    return [violation.field for violation in error.violations]


def deep(levels: int) -> Value:
    value = Value(bool_value=True)
    for _ in range(levels):
        value = Value(list_value=ListValue(values=[value]))
    return value


WRONG: list[tuple[Content, list[str]]] = [
    (a_content(variants={}), ["flag.variants", "flag.default_variant", "flag.off_variant"]),
    (a_content(variants={"on": 1, "off": "no"}), ["flag.variants"]),
    (a_content(variants={"on": 1, "off": True}), ["flag.variants"]),
    (a_content(variants={"on": True, "off": None}), ['flag.variants["off"]']),
    (a_content(variants={"on": True, "off": False, "": True}), ['flag.variants[""]']),
    (a_content(variants={"on": True, "off": False, 'a"b': True}), ['flag.variants["a\\"b"]']),
    (a_content(variants={**{f"v{n}": 1 for n in range(MAX_VARIANTS)}, "off": 0}), ["flag.variants"]),
    (a_content(default_variant=""), ["flag.default_variant"]),
    (a_content(default_variant="maybe"), ["flag.default_variant"]),
    (a_content(off_variant="maybe"), ["flag.off_variant"]),
    (a_content(description="x" * 2_001), ["flag.description"]),
    (a_content(rules=(Rule(variant="on"),) * (MAX_RULES + 1)), ["flag.rules"]),
    (a_content(rules=(Rule(),)), ["flag.rules[0].variant"]),
    (a_content(rules=(Rule(variant="on"), Rule(variant="maybe"))), ["flag.rules[1].variant"]),
    (a_content(rules=(Rule(variant="on", split=a_split(on=1)),)), ["flag.rules[0].variant"]),
    (a_content(rules=(Rule(description="x" * 2_001, variant="on"),)), ["flag.rules[0].description"]),
    (a_content(rules=(Rule(tiers=("a", ""), variant="on"),)), ["flag.rules[0].tiers[1]"]),
    (a_content(rules=(Rule(regions=("x" * 256,), variant="on"),)), ["flag.rules[0].regions[0]"]),
    (
        a_content(rules=(Rule(workspaces=("a",) * (MAX_CONDITION_VALUES + 1), variant="on"),)),
        ["flag.rules[0].workspaces"],
    ),
    (a_content(rules=(Rule(split=a_split(on=0)),)), ["flag.rules[0].split[0].weight"]),
    (a_content(rules=(Rule(split=a_split(on=1, off=-1)),)), ["flag.rules[0].split[1].weight"]),
    (a_content(rules=(Rule(split=a_split(maybe=1)),)), ["flag.rules[0].split[0].variant"]),
    (a_content(rules=(Rule(split=(Share("on", 1), Share("on", 2))),)), ["flag.rules[0].split[1].variant"]),
    (a_content(rules=(Rule(split=a_split(on=MAX_WEIGHT_SUM, off=1)),)), ["flag.rules[0].split"]),
    (a_content(variants={"on": "x" * 300_000, "off": ""}), ["flag"]),
]


@pytest.mark.parametrize(
    ("part", "field"),
    [
        (Slice("", 0, 1), "group"),
        (Slice("a b", 0, 1), "group"),
        (Slice("a", -1, 1), "end"),
        (Slice("a", 5, 5), "end"),
        (Slice("a", 0, 10_001), "end"),
    ],
)
def test_a_slice_has_a_group_and_lies_within_the_whole(part: Slice, field: str) -> None:
    content = a_content(rules=(Rule(variant="on", slices=(Slice("a", 0, 10_000), part)),))
    assert [each.field for each in violations("desk", content)] == [f"flag.rules[0].slices[1].{field}"]


@pytest.mark.parametrize(("content", "fields"), WRONG, ids=[", ".join(fields) for _, fields in WRONG])
def test_what_is_wrong_is_named_by_its_path(content: Content, fields: list[str]) -> None:
    assert [violation.field for violation in violations("desk", content)] == fields


@given(content=contents())
def test_valid_content_has_no_violations(content: Content) -> None:
    assert violations("desk", content) == []


@pytest.mark.parametrize(
    ("key", "changes", "fields"),
    [
        ("integration.desk", {"variants": {"on": "yes", "off": "no"}}, ["flag.variants"]),
        ("action.desk.create", {"variants": {"on": 1, "off": 0}}, ["flag.variants"]),
        ("version.desk", {}, ["flag.variants"]),
        ("integration.desk", {"off_variant": "on"}, ["flag.off_variant"]),
        ("action.desk.create", {"default_variant": "on", "off_variant": ""}, ["flag.off_variant"]),
        ("integration.desk", {}, []),
        ("action.desk.create", {"default_variant": "on"}, []),
        ("version.desk", {"variants": {"on": "2.0.0", "off": "1.0.0"}}, []),
        ("other", {"off_variant": "on"}, []),
    ],
)
def test_a_flag_that_steers_the_proxy_is_of_its_type_and_can_be_killed(
    key: str, changes: dict[str, Any], fields: list[str]
) -> None:
    assert [violation.field for violation in violations(key, a_content(**changes))] == fields


@given(content=contents())
def test_content_survives_being_kept(content: Content) -> None:
    assert Content.from_json(json.loads(json.dumps(content.to_json()))) == content


@given(content=contents())
def test_content_survives_the_way_through_its_message(content: Content) -> None:
    message = pb.Flag.FromString(flag_message(a_record(content)).SerializeToString())
    assert content_of(message) == ("desk", content)


def test_a_message_says_everything_about_the_flag() -> None:
    record = a_record(a_content(), killed=True, key="integration.desk")
    message = flag_message(record)
    assert (message.name, message.killed, message.revision) == ("flags/integration.desk", True, 3)
    assert message.etag == record.etag
    assert message.update_time.ToDatetime(UTC) == NOW


def test_every_revision_of_every_flag_has_its_own_etag() -> None:
    records = [a_record(a_content(), key=key, revision=number) for key in ("a", "b") for number in (1, 2)]
    assert len({record.etag for record in records}) == 4


def test_all_that_is_wrong_with_a_message_is_listed_at_once() -> None:
    message = pb.Flag(
        name="flags/-",
        variants={
            "on": to_value(True),
            "nan": Value(struct_value=Struct(fields={"x": Value(number_value=float("nan"))})),
            "deep": deep(30),
            "empty": Value(),
        },
        rules=[pb.Rule(variant="maybe")],
    )
    with pytest.raises(InvalidFields) as raised:
        content_of(message)
    fields = fields_of(raised.value)
    assert fields[0] == "flag.name"
    assert 'flag.variants["nan"].x' in fields
    assert 'flag.variants["deep"]' in fields
    assert 'flag.variants["empty"]' in fields
    assert fields[-2:] == ["flag.default_variant", "flag.rules[0].variant"]
    assert len(fields) == 7


@pytest.mark.parametrize("key", ["a", "integration.desk", "A_b-c.9", "x" * 200])
def test_a_key_is_what_stands_behind_flags(key: str) -> None:
    assert key_of(f"flags/{key}") == key


@pytest.mark.parametrize("name", ["", "flags/", "flags/a/b", "other/a", "flags/.a", "flags/a~b", "flags/é", "a"])
def test_a_wrong_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidFields) as raised:
        key_of(name, "parent")
    assert fields_of(raised.value) == ["parent"]


def test_a_key_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidFields):
        key_of(f"flags/{'x' * 201}")


def test_the_name_of_a_revision_has_its_number() -> None:
    assert revision_of("flags/a.b/revisions/12") == ("a.b", 12)


@pytest.mark.parametrize("number", ["x", "1.5", "99999999999999999999", "٣", "-1", ""])
def test_the_name_of_a_revision_ends_in_a_number(number: str) -> None:
    with pytest.raises(InvalidFields):
        revision_of(f"flags/a/revisions/{number}")
