"""The form for React JSON Schema Form: a schema, a UI schema, and the first data.

Values go by the API's names, but for those that JavaScript takes for properties of every object.
"""

from __future__ import annotations

from typing import Any, Final

from cordboard.uqi.appsmith import Projection
from cordboard.uqi.fields import (
    Boolean,
    Choice,
    Entries,
    Field,
    File,
    FormTree,
    Group,
    Integer,
    Items,
    Json,
    Moment,
    MultiChoice,
    Number,
    Option,
    Secret,
    Text,
    Union,
)
from cordboard.uqi.hints import walk
from cordboard.uqi.keys import UNSAFE_NAMES
from cordboard.uqi.presentation import bounds, choice, own_slot, slots, test
from cordboard.uqi.words import Words, words_in

_MOST_OPTIONS: Final = 1_000
_TYPES: Final = {Number: "number", Integer: "integer", Boolean: "boolean"}
_TEXTS: Final = {"type": "string", "contentMediaType": "application/json"}


def project(tree: FormTree) -> Projection:
    """Returns `schema`, `uiSchema` and `formData`."""
    drawing = _Drawing(words_in(tree.language))
    schema, ui = drawing.members(tree.fields)
    ui["ui:options"] = {"uqi": slots(tree)}
    if any(field.tab or field.columns for field in walk(tree.fields)):
        drawing.losses.append("React JSON Schema Form: tabs and columns; one field stands below the other")
    document = {"schema": {"title": tree.title, **schema}, "uiSchema": ui, "formData": {}}
    return Projection(document, tuple(drawing.losses))


def _is_needed(field: Field) -> bool:
    """Tells whether a field has to be there in what is submitted: Bind fills in defaults."""
    return field.required and field.default is None


def name_of(field: Field) -> str:
    """Returns what a field is called there."""
    return field.key if field.name in UNSAFE_NAMES else field.name


class _Drawing:
    """Draws one form."""

    def __init__(self, words: Words) -> None:
        self.losses: list[str] = []
        self._words = words

    def members(self, fields: tuple[Field, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns the schema of an object with these fields, and its UI schema."""
        names = {field.id: name_of(field) for field in fields}
        properties: dict[str, Any] = {}
        ui: dict[str, Any] = {}
        cases: list[dict[str, Any]] = []
        for field in fields:
            if field.hidden and not (field.required and field.default is None):
                continue
            name = name_of(field)
            schema, ui[name] = self.field(field)
            if field.active_when is None:
                properties[name] = schema
            else:
                shown = test(field.active_when, lambda other: (names.get(other, other),))
                cases.append({"if": shown, "then": {"properties": {name: schema}}})
            if field.required_when is not None:
                needed = test(field.required_when, lambda other: (names.get(other, other),))
                cases.append({"if": needed, "then": {"required": [name]}})
        if ui:
            ui["ui:order"] = [*ui, "*"]
        found: dict[str, Any] = {"type": "object", "properties": properties}
        required = [name_of(field) for field in fields if _is_needed(field) and name_of(field) in properties]
        if required:
            found["required"] = required
        return found | ({"allOf": cases} if cases else {}), ui

    def field(self, field: Field) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns the schema of a field, and its UI schema."""
        schema, ui = self._kind(field)
        said: dict[str, Any] = {"title": self._words.titled(field.title, deprecated=field.deprecated)}
        if description := self._words.described(field):
            said["description"] = description
        if field.default is not None and not isinstance(field.kind, Json | Secret) and "default" not in schema:
            said["default"] = field.default.value
        if field.placeholder or field.example:
            ui.setdefault("ui:placeholder", field.placeholder or field.example)
        ui["ui:options"] = {**ui.get("ui:options", {}), "uqi": own_slot(field)}
        return {**schema, **said}, ui

    def _kind(self, field: Field) -> tuple[dict[str, Any], dict[str, Any]]:
        kind = field.kind
        match kind:
            case Group(fields):
                return self.members(fields)
            case Union(variants):
                return self._union(variants)
            case Items(item):
                schema, ui = self.field(item)
                return {"type": "array", "items": schema, **bounds(field)}, {"items": ui}
            case Entries(value):
                schema, ui = self.field(value)
                found = {"type": "object", "additionalProperties": schema, **bounds(field)}
                return found, {"additionalProperties": ui}
            case Choice(options):
                return self._choice(field, options)
            case MultiChoice(options):
                return self._choices(field, options)
            case Json():
                return dict(_TEXTS), {"ui:widget": "textarea"}
            case File():
                accept = {"ui:options": {"accept": ",".join(kind.accept)}} if kind.accept else {}
                return {"type": "string", "format": "data-url"}, accept
            case Secret():
                return {"type": "string", **bounds(field)}, {"ui:widget": "password"}
            case Moment(part):
                return _nullable(field, {"type": "string", "format": part}), {}
            case _:
                multiline = isinstance(kind, Text) and kind.multiline
                schema = _nullable(field, {"type": _TYPES.get(type(kind), "string"), **bounds(field)})
                return schema, {"ui:widget": "textarea"} if multiline else {}

    def _union(self, variants: tuple[Field, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
        drawn = [self.field(each) for each in variants]
        return {"anyOf": [schema for schema, _ in drawn]}, {"anyOf": [ui for _, ui in drawn]}

    def _choice(self, field: Field, options: tuple[Option, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
        if len(options) > _MOST_OPTIONS and all(isinstance(option.value, str) for option in options):
            self._lose(field, f"{len(options)} options; shown as text")
            return _nullable(field, {"type": "string"}), {}
        found = choice(options)
        names = [option.title for option in options]
        if field.nullable:
            found = {"enum": [*found["enum"], None]} | ({"type": [found["type"], "null"]} if "type" in found else {})
            names.append("None")
        return found, {"ui:enumNames": names}

    def _choices(self, field: Field, options: tuple[Option, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
        if len(options) > _MOST_OPTIONS:
            self._lose(field, f"{len(options)} options; shown as JSON")
            return dict(_TEXTS), {"ui:widget": "textarea"}
        found = {"type": "array", "items": choice(options), **bounds(field), "uniqueItems": True}
        return found, {"ui:enumNames": [option.title for option in options]}

    def _lose(self, field: Field, text: str) -> None:
        self.losses.append(f"React JSON Schema Form: {'.'.join(field.path)}: {text}")


def _nullable(field: Field, schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]} if field.nullable else schema
