"""JSON values through `google.protobuf.Struct` and back."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import given
from hypothesis import strategies as st

from cordboard.core.errors import InvalidFields
from cordboard.core.structs import MAX_DEPTH, from_struct, from_value, to_list, to_struct, to_value
from cordboard.proxy.v1.proxy_service_pb2 import ExecuteResponse

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def nested(levels: int, *, objects: bool) -> Any:
    item: Any = {}
    for _ in range(levels):
        item = {"a": item} if objects else [item]
    return item


def field(number: int, raw: bytes) -> bytes:
    size, rest = len(raw), bytearray()
    while size > 127:
        rest.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *rest, size]) + raw


def wrapped_object(value: bytes) -> bytes:
    return field(5, field(1, field(1, b"a") + field(2, value)))


def wrapped_list(value: bytes) -> bytes:
    return field(6, field(1, value))


@given(st.dictionaries(texts, values, max_size=5))
def test_an_object_comes_back_as_it_went(item: dict[str, Any]) -> None:
    struct = to_struct(item)
    assert from_struct(struct) == item
    assert MessageToDict(struct) == item, "as protobuf's own reading has it"
    assert from_struct(Struct.FromString(struct.SerializeToString())) == item


@given(st.lists(values, max_size=5))
def test_an_array_comes_back_as_it_went(items: list[Any]) -> None:
    assert [from_value(value) for value in to_list(items).values] == items


def test_whole_numbers_are_ints_and_truth_values_are_not_numbers() -> None:
    back = from_struct(to_struct({"one": 1.0, "half": 0.5, "yes": True, "big": 1e300, "none": None}))
    assert [type(back[name]) for name in ("one", "half", "yes", "big", "none")] == [int, float, bool, int, type(None)]


def test_empty_collections_stay_what_they_are() -> None:
    assert from_struct(to_struct({"a": {}, "b": [], "c": ""})) == {"a": {}, "b": [], "c": ""}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_refused_by_its_path(number: float) -> None:
    struct = Struct()
    struct.fields["a"].list_value.values.add().struct_value.fields["b"].number_value = number
    with pytest.raises(InvalidFields) as refused:
        from_struct(struct)
    assert [violation.field for violation in refused.value.violations] == ["input.a[0].b"]


@pytest.mark.parametrize("objects", [True, False])
def test_nesting_ends_before_protobuf_cannot_read_it(objects: bool) -> None:
    deepest = nested(MAX_DEPTH, objects=objects)
    response = ExecuteResponse(output=to_value(deepest))
    assert from_value(ExecuteResponse.FromString(response.SerializeToString()).output) == deepest
    with pytest.raises(TypeError, match="nested too deeply"):
        to_value(nested(MAX_DEPTH + 1, objects=objects))


@pytest.mark.parametrize("objects", [True, False])
def test_what_comes_nested_too_deeply_is_refused(objects: bool) -> None:
    # Built from the leaf up, as no writer of ours does.
    raw = Value(string_value="x").SerializeToString()
    for _ in range(MAX_DEPTH + 1):
        raw = (wrapped_object if objects else wrapped_list)(raw)
    with pytest.raises(InvalidFields, match="nested more than") as refused:
        from_value(Value.FromString(raw))
    assert refused.value.violations[0].field.startswith("value.a.a" if objects else "value[0][0]")


def test_what_is_no_json_is_not_written() -> None:
    for wrong in (object(), b"x", {"a": {1, 2}}):
        with pytest.raises(TypeError):
            to_value(wrong)


def test_a_value_without_a_kind_is_nothing() -> None:
    assert from_value(Value()) is None
