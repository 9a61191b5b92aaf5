"""The definition document: YAML or JSON text of a Definition, read strictly and written back.

A document has the shape of the message in snake_case, with three differences that make it pleasant to write: an enum
value is its short name in lower case (`category: api`), a duration is text (`30s`), and a JSON Schema is written as a
structure under the field's name without `_json` (`input_schema:`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

import orjson
import yaml
from google.protobuf.descriptor import FieldDescriptor

from cordboard.catalog.text import Parsed, Path, Position, parse, written
from cordboard.catalog.v1.definition_pb2 import Definition
from cordboard.core.errors import DocumentInvalid, Violation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import EnumDescriptor
    from google.protobuf.message import Message

JSON_SUFFIX: Final = "_json"
OBJECTS: Final = ("schema_json", "schemas_json", "input_json", "config_json")
MAX_PROBLEMS: Final = 10
# How a description begins that is imported, and not published.
_OTHERS: Final = ("openapi", "swagger")

_DURATION: Final = re.compile(r"(\d{1,9})(?:\.(\d{1,9}))?s")
_STEP: Final = re.compile(r"[^.\[\]]+|\[\d+\]")


@dataclass(frozen=True)
class Document:
    """A definition, and where its parts stand in the text it was read from."""

    definition: Definition
    _parsed: Parsed = field(repr=False)

    def placed(self, violation: Violation) -> Violation:
        """Returns the violation with its line and column in the text.

        In a definition that extends a base, list members are counted with the base's, and only `extends` has a place.
        """
        if self.definition.HasField("extends") and not violation.field.startswith("extends"):
            return Violation(violation.field, f"{violation.description} (merged with the base)", violation.reason)
        path: Path = tuple(int(step[1:-1]) if step.startswith("[") else step for step in _STEP.findall(violation.field))
        position = self._parsed.position(path)
        if position is None:
            return violation
        where = f"{violation.description} (line {position.line}, column {position.column})"
        return Violation(violation.field, where, violation.reason)


def read(text: str) -> Document:
    """Returns the definition that a text describes; raises DocumentInvalid at the first place that is wrong.

    Reading checks the shape alone: `cordboard.catalog.definition.check` checks what it means.
    """
    parsed = parse(text, refuse_duplicates=True)
    for word in _OTHERS:
        if isinstance(parsed.value, dict) and word in parsed.value:
            place = parsed.position((word,)) or Position(1, 1)
            problem = "this is an API description (OpenAPI or Swagger) and no definition: import it"
            raise DocumentInvalid(problem, place.line, place.column)
    reader = _Reader()
    definition = Definition()
    reader.message(definition, parsed.value, ())
    if reader.problems:
        raise _shape_invalid(parsed, reader.problems)
    return Document(definition, parsed)


def write(definition: Definition) -> str:
    """Returns the definition as YAML text; `read` gives the same definition back."""
    return plain_yaml(to_plain(definition))


def plain_yaml(value: Any, *, flow: bool = False) -> str:
    """Returns plain values as YAML text that `parse` reads as the same; with `flow`, on one line."""
    return yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=flow,
        width=1 << 30 if flow else 120,
    )


def from_plain(value: Any) -> Definition:
    """Returns the definition that plain values describe; raises DocumentInvalid at the first of them that is wrong."""
    reader = _Reader()
    definition = Definition()
    reader.message(definition, value, ())
    if reader.problems:
        raise DocumentInvalid("; ".join(f"{written(path)} {text}" for path, text in reader.problems[:MAX_PROBLEMS]))
    return definition


def to_plain(message: Message, *, schemas_as_text: bool = False) -> dict[str, Any]:
    """Returns the document of a message as plain values, in the order of the fields, without what is unset.

    `schemas_as_text` leaves JSON Schemas as the texts they are in the message, under the field's own name.
    """
    plain: dict[str, Any] = {}
    for descriptor, value in message.ListFields():
        name = descriptor.name if schemas_as_text else document_name(descriptor)
        if name != descriptor.name:
            plain[name] = orjson.loads(value)
        elif is_map(descriptor):
            plain[name] = dict(sorted(value.items()))
        elif descriptor.is_repeated:
            plain[name] = [_plain_value(descriptor, item, schemas_as_text) for item in value]
        else:
            plain[name] = _plain_value(descriptor, value, schemas_as_text)
    return plain


def document_name(descriptor: FieldDescriptor) -> str:
    """Returns what a field is called in documents."""
    if descriptor.type == FieldDescriptor.TYPE_STRING:
        return descriptor.name.removesuffix(JSON_SUFFIX)
    return descriptor.name


def holds_object(descriptor: FieldDescriptor) -> bool:
    """Tells whether a field of JSON text holds an object; the others hold any value."""
    return descriptor.name.endswith(OBJECTS)


def enum_names(descriptor: EnumDescriptor) -> dict[str, int]:
    """Returns the values of an enum by what they are called in documents; the unspecified one has no name."""
    prefix = descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return {value.name.removeprefix(prefix).lower(): value.number for value in descriptor.values if value.number}


def is_map(descriptor: FieldDescriptor) -> bool:
    """Tells whether a field is a map."""
    return descriptor.message_type is not None and bool(descriptor.message_type.GetOptions().map_entry)


def is_duration(descriptor: Any) -> bool:
    """Tells whether a message is a time span."""
    return bool(descriptor.full_name == "google.protobuf.Duration")


def _shape_invalid(parsed: Parsed, problems: list[tuple[Path, str]]) -> DocumentInvalid:
    shown = [f"{written(path) or 'the document'} {text}" for path, text in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        shown.append(f"and {len(problems) - MAX_PROBLEMS} more")
    position = parsed.position(problems[0][0])
    text = "; ".join(shown)
    if position is None:
        return DocumentInvalid(text)
    return DocumentInvalid(text, position.line, position.column)


class _Reader:
    """Puts plain values into a message and notes what does not fit; nothing is ignored."""

    def __init__(self) -> None:
        self.problems: list[tuple[Path, str]] = []
        self._told: set[str] = set()
        self._fields: dict[str, dict[str, FieldDescriptor]] = {}

    def message(self, message: Message, value: Any, path: Path) -> None:
        if not isinstance(value, dict):
            self._wrong(path, f"must be a mapping, not {_kind(value)}")
            return
        fields = self._fields_of(message.DESCRIPTOR)
        chosen: dict[str, str] = {}
        for key, item in value.items():
            descriptor = fields.get(key)
            if descriptor is None:
                self._wrong((*path, key), f"is not a field here{self._meant(key, fields)}")
                continue
            oneof = descriptor.containing_oneof
            if oneof is not None and len(oneof.fields) > 1:
                if oneof.name in chosen:
                    self._wrong((*path, key), f"cannot stand beside {chosen[oneof.name]!r}")
                    continue
                chosen[oneof.name] = key
            self._field(message, descriptor, item, (*path, key))

    def _meant(self, key: str, fields: Iterable[str]) -> str:
        close = get_close_matches(key, fields, n=1)
        if close:
            return f"; {close[0]!r} is"
        names = ", ".join(fields)
        if names in self._told:
            return ""
        self._told.add(names)
        return f"; there are {names}"

    def _fields_of(self, descriptor: Any) -> dict[str, FieldDescriptor]:
        known = self._fields.get(descriptor.full_name)
        if known is None:
            known = {document_name(one): one for one in descriptor.fields}
            self._fields[descriptor.full_name] = known
        return known

    def _field(self, message: Message, descriptor: FieldDescriptor, value: Any, path: Path) -> None:
        name = descriptor.name
        is_json = document_name(descriptor) != name
        if value is None and not (is_json and not holds_object(descriptor)):
            self._wrong(path, "is null; leave it out")
        elif is_json:
            self._json(message, descriptor, value, path)
        elif is_map(descriptor):
            self._map(getattr(message, name), value, path)
        elif descriptor.is_repeated:
            self._list(getattr(message, name), descriptor, value, path)
        elif descriptor.message_type is not None:
            if is_duration(descriptor.message_type):
                self._duration(getattr(message, name), value, path)
            else:
                # Also when it stays empty: `none: {}` chooses a kind.
                getattr(message, name).SetInParent()
                self.message(getattr(message, name), value, path)
        else:
            scalar = self._scalar(descriptor, value, path)
            if scalar is not None:
                setattr(message, name, scalar)

    def _list(self, into: Any, descriptor: FieldDescriptor, value: Any, path: Path) -> None:
        if not isinstance(value, list):
            self._wrong(path, f"must be a list, not {_kind(value)}")
            return
        for index, item in enumerate(value):
            here = (*path, index)
            if descriptor.message_type is not None:
                self.message(into.add(), item, here)
            else:
                scalar = self._scalar(descriptor, item, here)
                if scalar is not None:
                    into.append(scalar)

    def _map(self, into: Any, value: Any, path: Path) -> None:
        if not isinstance(value, dict):
            self._wrong(path, f"must be a mapping, not {_kind(value)}")
            return
        for key, item in value.items():
            if isinstance(item, str):
                into[key] = item
            else:
                self._wrong((*path, key), _not_text(item))

    def _json(self, message: Message, descriptor: FieldDescriptor, value: Any, path: Path) -> None:
        if isinstance(value, dict) or not holds_object(descriptor):
            setattr(message, descriptor.name, orjson.dumps(value).decode())
        else:
            self._wrong(path, f"must be a mapping, not {_kind(value)}")

    def _duration(self, message: Any, value: Any, path: Path) -> None:
        found = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            self._wrong(path, "must be a time span such as `30s` or `1.5s`")
            return
        message.seconds = int(found[1])
        message.nanos = int((found[2] or "0").ljust(9, "0"))
        message.SetInParent()

    def _scalar(self, descriptor: FieldDescriptor, value: Any, path: Path) -> str | int | bool | None:
        if descriptor.enum_type is not None:
            names = enum_names(descriptor.enum_type)
            number = names.get(value) if isinstance(value, str) else None
            if number is None:
                self._wrong(path, f"must be one of {', '.join(names)}")
            return number
        if descriptor.type == FieldDescriptor.TYPE_BOOL:
            if isinstance(value, bool):
                return value
            self._wrong(path, f"must be true or false, not {_kind(value)}")
            return None
        if descriptor.type == FieldDescriptor.TYPE_INT32:
            if isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31:
                return value
            self._wrong(path, "must be a whole number of 32 bits")
            return None
        if isinstance(value, str):
            return value
        self._wrong(path, _not_text(value))
        return None

    def _wrong(self, path: Path, text: str) -> None:
        self.problems.append((path, text))


def _not_text(value: Any) -> str:
    hint = "; put it in quotes" if isinstance(value, (int, float, bool)) else ""
    return f"must be text, not {_kind(value)}{hint}"


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _plain_value(descriptor: FieldDescriptor, value: Any, schemas_as_text: bool) -> Any:
    if descriptor.enum_type is not None:
        numbers = {number: name for name, number in enum_names(descriptor.enum_type).items()}
        return numbers.get(value, value)
    if descriptor.message_type is None:
        return value
    if is_duration(descriptor.message_type):
        return f"{(Decimal(value.seconds) + Decimal(value.nanos) / 1_000_000_000).normalize():f}s"
    return to_plain(value, schemas_as_text=schemas_as_text)


class _Dumper(yaml.CSafeDumper):
    """Writes every text so that `parse` reads text again, and long ones as blocks."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the library's signature
        """Writes equal parts twice: aliases in a document are harder to read than what they stand for."""
        return True

    def text(self, text: str) -> yaml.ScalarNode:
        """Writes a text; one of several lines as a block."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _Dumper.text)
# Plain text that `parse` takes for a number and YAML 1.1 does not: `1e3`, `0o17`.
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:0o[0-7]+|\.?[0-9][0-9.]*(?:[eE][-+]?[0-9]+)?)$"),
    list("+-.0123456789"),
)
