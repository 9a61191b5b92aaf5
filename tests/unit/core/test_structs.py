"""JSON values through `google.protobuf.Struct` and back."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from hypothesis import given
from hypothesis import strategies as st

from cordboard.core.errors import InvalidFields
from cordboard.core.structs import MAX_DEPTH, from_struct, from_value, to_list, to_struct, to_value

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=10)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def nested(levels: int) -> Value:
    value = Value(string_value="x")
    for _ in range(levels):
        value = Value(list_value=ListValue(values=[value]))
    return value


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


def test_nesting_ends_at_a_level() -> None:
    from_value(nested(MAX_DEPTH))
    with pytest.raises(InvalidFields, match="nested more than"):
        from_value(nested(MAX_DEPTH + 1))


def test_what_is_nested_too_deeply_or_no_json_is_not_written() -> None:
    deep: Any = "x"
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    for wrong in (deep, object(), b"x", {"a": {1, 2}}):
        with pytest.raises(TypeError):
            to_value(wrong)


def test_a_value_without_a_kind_is_nothing() -> None:
    assert from_value(Value()) is None
