"""The form for JSON Forms: a draft-07 schema, a UI schema with rules, and the first data.

Values go by the fields' keys, for a property with a dot in its name cannot be bound there. What has no renderer in the
plain renderer set becomes something that has: maps are rows, free values text, variants groups with a rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from cordboard.uqi.appsmith import Projection
from cordboard.uqi.arrangement import Columns, Part, Section, Tabs, arranged
from cordboard.uqi.conditions import Compare, Condition
from cordboard.uqi.fields import (
    VARIANT,
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
from cordboard.uqi.presentation import bounds, choice, is_needed, own_slot, slots, test
from cordboard.uqi.words import Words, words_in

_MOST_OPTIONS: Final = 1_000
_PLAIN: Final = (Text, Number, Integer, Boolean, Moment, Choice)
_TYPES: Final = {Number: "number", Integer: "integer", Boolean: "boolean"}
_TEXTS: Final = {"type": "string", "contentMediaType": "application/json"}


def project(tree: FormTree) -> Projection:
    """Returns `schema`, `uischema` and `data`."""
    drawing = _Drawing(words_in(tree.language))
    schema, elements = drawing.members(tree.fields, "#")
    document = {
        "schema": {"title": tree.title, **schema},
        "uischema": {"type": "VerticalLayout", "elements": elements, "options": {"uqi": slots(tree)}},
        "data": _data(tree.fields),
    }
    return Projection(document, tuple(drawing.losses))


class _Drawing:
    """Draws one form."""

    def __init__(self, words: Words) -> None:
        self.losses: list[str] = []
        self._words = words

    def members(self, fields: tuple[Field, ...], scope: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Returns the schema of an object with these fields, and the elements that show them."""
        properties: dict[str, Any] = {}
        drawn: dict[str, dict[str, Any]] = {}
        for field in fields:
            if field.hidden and not (field.required and field.default is None):
                continue
            properties[field.key], element = self._member(field, f"{scope}/properties/{field.key}")
            if field.active_when is not None:
                element["rule"] = _rule(field.active_when)
            drawn[field.id] = element
        elements = [_element(part, drawn) for part in arranged(field for field in fields if field.id in drawn)]
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        required = [field.key for field in fields if is_needed(field) and field.key in properties]
        if required:
            schema["required"] = required
        cases = [
            {"if": test(field.required_when, _sibling), "then": {"required": [field.key]}}
            for field in fields
            if field.required_when is not None and field.key in properties
        ]
        return schema | ({"allOf": cases} if cases else {}), elements

    def _member(self, field: Field, scope: str) -> tuple[dict[str, Any], dict[str, Any]]:
        match field.kind:
            case Group(members):
                schema, elements = self.members(members, scope)
                schema = self._described(field, schema)
            case Union(variants):
                schema, elements = self._union(field, variants, scope)
                schema = self._described(field, schema)
            case _:
                return self._control(field, scope)
        options = {"uqi": own_slot(field)}
        element = {"type": "Group", "label": self._title(field), "elements": elements, "options": options}
        return schema, element

    def _union(
        self, field: Field, variants: tuple[Field, ...], scope: str
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        options = tuple(Option(each.key, each.title) for each in variants)
        chosen = {"title": self._words.which, "type": "string", "oneOf": _titled(options)}
        properties: dict[str, Any] = {VARIANT: chosen}
        elements: list[dict[str, Any]] = [
            {"type": "Control", "scope": f"{scope}/properties/{VARIANT}", "label": self._words.which}
        ]
        cases = []
        for each in variants:
            properties[each.key], element = self._member(each, f"{scope}/properties/{each.key}")
            element["rule"] = _rule(Compare(f"{field.id}.{VARIANT}", "in", (each.key,)))
            elements.append(element)
            if not isinstance(each.kind, Group) or any(is_needed(member) for member in each.kind.fields):
                when = {"properties": {VARIANT: {"const": each.key}}, "required": [VARIANT]}
                cases.append({"if": when, "then": {"required": [each.key]}})
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        if field.required:
            schema["required"] = [VARIANT]
        return schema | ({"allOf": cases} if cases else {}), elements

    def _control(self, field: Field, scope: str) -> tuple[dict[str, Any], dict[str, Any]]:
        schema = self.schema(field)
        options: dict[str, Any] = {}
        if isinstance(field.kind, Secret):
            options["format"] = "password"
        elif (isinstance(field.kind, Text) and field.kind.multiline) or "contentMediaType" in schema:
            options["multi"] = True
        if field.placeholder or field.example:
            options["placeholder"] = field.placeholder or field.example
        options["uqi"] = own_slot(field)
        element = {"type": "Control", "scope": scope, "label": self._title(field), "options": options}
        return self._described(field, schema), element

    def schema(self, field: Field) -> dict[str, Any]:
        """Returns the schema of a field that is one control."""
        kind = field.kind
        match kind:
            case Choice(options):
                return self._choice(field, options)
            case MultiChoice(options):
                if len(options) > _MOST_OPTIONS:
                    return self._as_json(field, f"{len(options)} options")
                return {"type": "array", "items": choice(options), **bounds(field)}
            case Items(item):
                return self._items(field, item)
            case Entries(value):
                if not isinstance(value.kind, _PLAIN):
                    return self._as_json(field, "values that are not plain")
                row = {
                    "key": {"type": "string", "title": self._words.key},
                    "value": {**self.schema(value), "title": self._words.value},
                }
                return {"type": "array", "items": {"type": "object", "properties": row, "required": ["key"]}}
            case Json():
                return dict(_TEXTS)
            case File():
                self._lose(field, "a file; shown as base64 text")
                return {"type": "string"}
            case Moment(part):
                return _nullable(field, {"type": "string", "format": part})
            case _:
                return _nullable(field, {"type": _TYPES.get(type(kind), "string"), **bounds(field)})

    def _choice(self, field: Field, options: tuple[Option, ...]) -> dict[str, Any]:
        types = {type(option.value) for option in options}
        if len(options) > _MOST_OPTIONS and types == {str}:
            self._lose(field, f"{len(options)} options; shown as text")
            return _nullable(field, {"type": "string"})
        if len(types) == 1 and types != {bool} and not field.nullable:
            return {"type": choice(options)["type"], "oneOf": _titled(options)}
        return {"enum": [*(option.value for option in options), *([None] if field.nullable else [])]}

    def _items(self, field: Field, item: Field) -> dict[str, Any]:
        if isinstance(item.kind, _PLAIN):
            if item.nullable:
                self._lose(field, "items that cannot be null")
            return {"type": "array", "items": self.schema(replace(item, nullable=False)), **bounds(field)}
        rows = isinstance(item.kind, Group) and all(isinstance(each.kind, _PLAIN) for each in item.kind.fields)
        if not rows or not isinstance(item.kind, Group) or item.kind.open:
            return self._as_json(field, "a list that is no flat table")
        if any(each.active_when is not None for each in item.kind.fields):
            self._lose(field, "columns always shown, for rows know no conditions")
        columns = {each.key: self._described(each, self.schema(each)) for each in item.kind.fields}
        required = [each.key for each in item.kind.fields if is_needed(each)]
        row = {"type": "object", "properties": columns, **({"required": required} if required else {})}
        return {"type": "array", "items": row, **bounds(field)}

    def _as_json(self, field: Field, why: str) -> dict[str, Any]:
        self._lose(field, f"{why}; shown as JSON")
        return dict(_TEXTS)

    def _described(self, field: Field, schema: dict[str, Any]) -> dict[str, Any]:
        said: dict[str, Any] = {"title": self._title(field)}
        if description := self._words.described(field):
            said["description"] = description
        return said | schema

    def _title(self, field: Field) -> str:
        return self._words.titled(field.title, deprecated=field.deprecated)

    def _lose(self, field: Field, text: str) -> None:
        self.losses.append(f"JSON Forms: {'.'.join(field.path)}: {text}")


def _element(part: Part, drawn: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    match part:
        case Section(title, parts):
            return {"type": "Group", "label": title, "elements": [_element(each, drawn) for each in parts]}
        case Tabs(tabs):
            shown = ({**_element(tab, drawn), "type": "Category"} for tab in tabs)
            return {"type": "Categorization", "elements": list(shown)}
        case Columns(count, fields):
            rows = [fields[start : start + count] for start in range(0, len(fields), count)]
            drawn_rows = [{"type": "HorizontalLayout", "elements": [drawn[each.id] for each in row]} for row in rows]
            return drawn_rows[0] if len(rows) == 1 else {"type": "VerticalLayout", "elements": drawn_rows}
        case field:
            return drawn[field.id]


def _rule(condition: Condition) -> dict[str, Any]:
    # From the root, where there always is a value: a rule whose scope leads nowhere would show the field.
    return {"effect": "SHOW", "condition": {"scope": "#", "schema": test(condition, _from_root)}}


def _nullable(field: Field, schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]} if field.nullable else schema


def _titled(options: tuple[Option, ...]) -> list[dict[str, Any]]:
    return [{"const": option.value, "title": option.title} for option in options]


def _sibling(field: str) -> tuple[str, ...]:
    return (field.rpartition(".")[2],)


def _from_root(field: str) -> tuple[str, ...]:
    return tuple(field.split("."))


def _data(fields: tuple[Field, ...]) -> dict[str, Any]:
    """Returns what is there before anybody filled in anything: defaults, and "no" for what has to be yes or no."""
    found: dict[str, Any] = {}
    for field in fields:
        if field.active_when is not None:
            continue
        if isinstance(field.kind, Group) and field.required:
            inside = _data(field.kind.fields)
            if inside:
                found[field.key] = inside
        elif isinstance(field.kind, Boolean) and field.required:
            found[field.key] = bool(field.default and field.default.value)
        elif isinstance(field.kind, _PLAIN) and field.default is not None:
            found[field.key] = field.default.value
    return found
