"""JSON values between Python and `google.protobuf.Struct`, faster than json_format and without its surprises."""

from __future__ import annotations

import math
from typing import Any

from google.protobuf.struct_pb2 import ListValue, Struct, Value

from cordboard.core.errors import InvalidFields

# Containers around a value. Protobuf reads 100 messages inside each other, and an object is three of them: what is
# deeper would be an answer that no caller can read. Real inputs stay below 20.
MAX_DEPTH = 32


def to_value(item: Any, depth: int = 0) -> Value:
    """Returns a JSON value as a protobuf Value; raises TypeError on anything that is not JSON."""
    if depth > MAX_DEPTH:
        raise TypeError("nested too deeply for a Value")
    value = Value()
    if item is None:
        value.null_value = 0  # type: ignore[assignment]
    elif isinstance(item, bool):
        value.bool_value = item
    elif isinstance(item, str):
        value.string_value = item
    elif isinstance(item, (int, float)):
        value.number_value = item
    elif isinstance(item, dict):
        fields = value.struct_value.fields
        value.struct_value.SetInParent()
        for key, member in item.items():
            fields[key].CopyFrom(to_value(member, depth + 1))
    elif isinstance(item, (list, tuple)):
        value.list_value.SetInParent()
        value.list_value.values.extend(to_value(member, depth + 1) for member in item)
    else:
        raise TypeError(f"{type(item).__name__} is not JSON")
    return value


def to_struct(item: dict[str, Any]) -> Struct:
    """Returns a JSON object as a protobuf Struct."""
    struct = Struct()
    for key, member in item.items():
        struct.fields[key].CopyFrom(to_value(member, 1))
    return struct


def to_list(items: list[Any]) -> ListValue:
    """Returns a JSON array as a protobuf ListValue."""
    return ListValue(values=[to_value(item, 1) for item in items])


def from_value(value: Value, field: str = "value", depth: int = 0) -> Any:
    """Returns a protobuf Value as JSON; whole numbers become ints. Raises InvalidFields naming `field`."""
    if depth > MAX_DEPTH:
        raise InvalidFields.one(field, f"is nested more than {MAX_DEPTH} levels deep")
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        number = value.number_value
        if not math.isfinite(number):
            raise InvalidFields.one(field, "must be a finite number")
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return from_struct(value.struct_value, field, depth)
    if kind == "list_value":
        return [
            from_value(member, f"{field}[{index}]", depth + 1) for index, member in enumerate(value.list_value.values)
        ]
    return None


def from_struct(struct: Struct, field: str = "input", depth: int = 0) -> dict[str, Any]:
    """Returns a protobuf Struct as a JSON object; whole numbers become ints. Raises InvalidFields naming `field`."""
    return {key: from_value(member, f"{field}.{key}", depth + 1) for key, member in struct.fields.items()}
