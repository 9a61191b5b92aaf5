"""The JSON Schema of definition documents, for editors and for people, made of the message that it describes.

`python -m cordboard.catalog.schema IMAGE integrations/schema.json` writes it. IMAGE is a descriptor set with source
info, as `write_image` of `protos/build.py` makes it: the descriptions are the protos' comments.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from google.api import field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from cordboard.catalog.document import document_name, enum_names, holds_object, is_duration, is_map
from cordboard.catalog.v1.definition_pb2 import Definition

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
PROTO: Final = "cordboard/catalog/v1/definition.proto"
_MESSAGES_FIELD: Final = 4
_FIELDS_FIELD: Final = 2
_SCALARS: Final[dict[int, dict[str, Any]]] = {
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
}


def comments(image: FileDescriptorSet) -> dict[str, str]:
    """Returns the comments of the definition's messages and fields by full name, from protos with their source info."""
    found: dict[str, str] = {}
    for file in image.file:
        if file.name != PROTO:
            continue
        for location in file.source_code_info.location:
            path = list(location.path)
            text = " ".join(location.leading_comments.split())
            if not text or path[:1] != [_MESSAGES_FIELD]:
                continue
            message = file.message_type[path[1]]
            if len(path) == 2:
                found[f"{file.package}.{message.name}"] = text
            elif len(path) == 4 and path[2] == _FIELDS_FIELD:
                found[f"{file.package}.{message.name}.{message.field[path[3]].name}"] = text
    return found


def document_schema(described: dict[str, str]) -> dict[str, Any]:
    """Returns the schema of a definition document; `described` has the descriptions by full name."""
    shared: dict[str, Any] = {}
    root = _message(Definition.DESCRIPTOR, described, shared)
    return {
        "$schema": DIALECT,
        "title": "Cordboard definition",
        **root,
        "$defs": {name: shared[name] for name in sorted(shared)},
    }


def _message(descriptor: Any, described: dict[str, str], shared: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    if descriptor.full_name in described:
        schema["description"] = described[descriptor.full_name]
    schema["properties"] = {document_name(field): _field(field, described, shared) for field in descriptor.fields}
    required = [document_name(field) for field in descriptor.fields if _is_required(field)]
    if required:
        schema["required"] = required
    for oneof in descriptor.oneofs:
        if len(oneof.fields) > 1:
            schema["oneOf"] = [{"required": [document_name(field)]} for field in oneof.fields]
    schema["additionalProperties"] = False
    return schema


def _field(field: FieldDescriptor, described: dict[str, str], shared: dict[str, Any]) -> dict[str, Any]:
    if document_name(field) != field.name:
        schema: dict[str, Any] = {"type": "object"} if holds_object(field) else {}
    elif is_map(field):
        schema = {"type": "object", "additionalProperties": {"type": "string"}}
    else:
        schema = _value(field, described, shared)
        if field.is_repeated:
            schema = {"type": "array", "items": schema}
    if field.full_name in described:
        schema = {**schema, "description": described[field.full_name]}
    return schema


def _value(field: FieldDescriptor, described: dict[str, str], shared: dict[str, Any]) -> dict[str, Any]:
    if field.enum_type is not None:
        return {"enum": list(enum_names(field.enum_type))}
    if field.message_type is None:
        return dict(_SCALARS[field.type])
    if is_duration(field.message_type):
        return {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})?s$"}
    name = field.message_type.name
    if name not in shared:
        shared[name] = {}
        shared[name] = _message(field.message_type, described, shared)
    return {"$ref": f"#/$defs/{name}"}


def _is_required(field: FieldDescriptor) -> bool:
    declared: Any = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]  # type: ignore[index]
    return field_behavior_pb2.REQUIRED in declared


def text(image: bytes) -> str:
    """Returns the text of the published schema, from a serialised FileDescriptorSet with source info."""
    schema = document_schema(comments(FileDescriptorSet.FromString(image)))
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes the schema: the protos' image and the file to write are the arguments."""
    if len(sys.argv) != 3:
        sys.stderr.write("usage: python -m cordboard.catalog.schema IMAGE FILE\n")
        raise SystemExit(2)
    Path(sys.argv[2]).write_text(text(Path(sys.argv[1]).read_bytes()))


if __name__ == "__main__":
    main()
