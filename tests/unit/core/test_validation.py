"""REQUIRED fields: each one that is missing is named by its path, at any depth."""

from __future__ import annotations

from typing import Any

import pytest
from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.struct_pb2 import ListValue, Struct

from cordboard.core.errors import InvalidFields
from cordboard.core.validation import MAX_PARTS, Requirements, ensure_few_parts

FIELD = descriptor_pb2.FieldDescriptorProto


def _field(
    message: descriptor_pb2.DescriptorProto, name: str, kind: str = "", *, many: bool = False, required: bool = False
) -> None:
    field = message.field.add(name=name, number=len(message.field) + 1)
    field.label = FIELD.LABEL_REPEATED if many else FIELD.LABEL_OPTIONAL
    field.type = FIELD.TYPE_MESSAGE if kind else FIELD.TYPE_STRING
    if kind:
        field.type_name = f".tests.validation.{kind}"
    if required:
        extensions: Any = field.options.Extensions
        extensions[field_behavior_pb2.field_behavior].append(field_behavior_pb2.REQUIRED)


@pytest.fixture(scope="module")
def order() -> Any:
    """A message class: an order with lines, an address, and orders inside; a note has nothing REQUIRED."""
    file = descriptor_pb2.FileDescriptorProto(
        name="tests/validation.proto", package="tests.validation", syntax="proto3",
        dependency=[field_behavior_pb2.DESCRIPTOR.name],
    )  # fmt: skip
    note = file.message_type.add(name="Note")
    _field(note, "text")
    address = file.message_type.add(name="Address")
    _field(address, "city", required=True)
    _field(address, "street")
    line = file.message_type.add(name="Line")
    _field(line, "product", required=True)
    _field(line, "address", "Address")
    made = file.message_type.add(name="Order")
    _field(made, "customer", required=True)
    _field(made, "lines", "Line", many=True, required=True)
    _field(made, "tags", many=True, required=True)
    _field(made, "address", "Address", required=True)
    _field(made, "billing", "Address")
    _field(made, "parts", "Order", many=True)
    _field(made, "note", "Note", required=True)
    pool = descriptor_pool.DescriptorPool()
    for known in (descriptor_pb2, field_behavior_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tests.validation.Order"))


def missing(message: Any) -> list[str]:
    try:
        Requirements().check(message)
    except InvalidFields as error:
        assert {violation.reason for violation in error.violations} == {"REQUIRED"}
        return [violation.field for violation in error.violations]
    return []


def good(order: Any, **changes: Any) -> Any:
    return order(
        **{"customer": "x", "lines": [{"product": "p"}], "tags": ["t"], "address": {"city": "c"}, "note": {}} | changes
    )


def test_what_is_complete_is_taken(order: Any) -> None:
    assert missing(good(order)) == []


def test_everything_that_is_missing_is_named(order: Any) -> None:
    assert missing(order()) == ["customer", "lines", "tags", "address", "note"]


def test_nested_fields_are_named_by_their_path(order: Any) -> None:
    assert missing(good(order, address={"street": "s"})) == ["address.city"]
    assert missing(good(order, lines=[{"product": "p"}, {}, {"product": "q", "address": {}}])) == [
        "lines[1].product", "lines[2].address.city",
    ]  # fmt: skip


def test_inside_an_optional_message_only_where_it_is_set(order: Any) -> None:
    assert missing(good(order, billing={})) == ["billing.city"]


def test_a_message_inside_itself_is_checked_too(order: Any) -> None:
    assert missing(good(order, parts=[good(order), good(order, customer="", parts=[order()])])) == [
        "parts[1].customer",
        *(f"parts[1].parts[0].{name}" for name in ("customer", "lines", "tags", "address", "note")),
    ]


def test_what_is_known_of_a_type_stays_right(order: Any) -> None:
    requirements = Requirements()
    for _ in range(3):
        requirements.check(good(order))
        with pytest.raises(InvalidFields):
            requirements.check(order())


def test_the_parts_of_a_message_are_counted_at_every_depth() -> None:
    inner = ListValue()
    inner.extend([None] * (MAX_PARTS // 2 - 1))
    message = Struct()
    message.fields["a"].list_value.CopyFrom(inner)
    message.fields["b"].list_value.CopyFrom(inner)
    ensure_few_parts(message)

    message.fields["c"].bool_value = True
    with pytest.raises(InvalidFields) as caught:
        ensure_few_parts(message)
    [violation] = caught.value.violations
    assert (violation.field, violation.reason) == ("fields", "TOO_MANY")


def test_the_field_of_the_request_is_named_that_has_too_many_parts(order: Any) -> None:
    message = order(customer="c", tags=["a"] * MAX_PARTS)
    ensure_few_parts(message)
    message.lines.add(product="p")
    with pytest.raises(InvalidFields) as caught:
        ensure_few_parts(message)
    assert caught.value.violations[0].field in {"lines", "tags"}
