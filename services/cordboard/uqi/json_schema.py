"""The form as a JSON Schema 2020-12 of its values, and back: `x-uqi` carries what JSON Schema has no word for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from cordboard.uqi.conditions import decoded, encoded
from cordboard.uqi.fields import (
    Boolean,
    Choice,
    Command,
    Datasource,
    Entries,
    Field,
    File,
    FormTree,
    Given,
    Group,
    Integer,
    Items,
    Json,
    Kind,
    Moment,
    MultiChoice,
    Number,
    Option,
    OptionSource,
    Scalar,
    Schema,
    Secret,
    Settings,
    Target,
    Text,
    Union,
)
from cordboard.uqi.files import base64_length
from cordboard.uqi.texts import plain_label

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
# Keywords that a field's attributes say and that bind nothing.
LABELS: Final = frozenset({"title", "description", "default", "examples", "deprecated"})

_SLOT: Final = "x-uqi"
# Kinds without attributes: the keywords that say them, and their name in the slot.
_PLAIN: Final[Mapping[type[Kind], tuple[Mapping[str, Any], str]]] = {
    Number: ({"type": "number"}, "number"),
    Integer: ({"type": "integer"}, "integer"),
    Boolean: ({"type": "boolean"}, "boolean"),
    Secret: ({"type": "string", "format": "password", "writeOnly": True}, "secret"),
}


def project(tree: FormTree) -> dict[str, Any]:
    """Returns the JSON Schema of the form's values."""
    schema: dict[str, Any] = {"$schema": DIALECT, "title": tree.title}
    if tree.description:
        schema["description"] = tree.description
    schema.update(_object(tree.fields))
    schema["additionalProperties"] = False
    schema.update(tree.constraints)
    if tree.shared:
        schema["$defs"] = dict(tree.shared)
    schema[_SLOT] = _target(tree.target)
    return schema


def keywords(kind: Kind) -> dict[str, Any]:
    """Returns the JSON Schema keywords that a kind says by itself."""
    said, _ = _kind(kind, nullable=False)
    return said


def schema_of(field: Field) -> dict[str, Any]:
    """Returns the JSON Schema of one field's value."""
    schema: dict[str, Any] = {"title": field.title}
    if field.description:
        schema["description"] = field.description
    if field.default is not None:
        schema["default"] = field.default.value
    if field.example:
        schema["examples"] = [field.example]
    if field.deprecated:
        schema["deprecated"] = True
    said, slot = _kind(field.kind, nullable=field.nullable)
    schema.update(said)
    schema.update(field.constraints)
    if field.key != field.name:
        slot["key"] = field.key
    if field.nullable:
        slot["nullable"] = True
    schema[_SLOT] = {**slot, **_told(field)}
    return schema


def _told(field: Field) -> dict[str, Any]:
    """Returns what only the slot can say of a field, whatever its kind."""
    told: dict[str, Any] = {}
    if field.active_when is not None:
        told["activeWhen"] = encoded(field.active_when)
    if field.required_when is not None:
        told["requiredWhen"] = encoded(field.required_when)
    if field.placeholder:
        told["placeholder"] = field.placeholder
    if field.section:
        told["section"] = field.section
    if field.tab:
        told["tab"] = field.tab
    if field.columns:
        told["columns"] = field.columns
    if field.hidden:
        told["hidden"] = True
    if field.source is not None:
        told["options"] = {**dataclasses.asdict(field.source), "inputs": dict(field.source.inputs)}
    return told


def _untold(slot: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the attributes of a field that `_told` wrote."""
    source = slot.get("options")
    return {
        "active_when": decoded(slot["activeWhen"]) if "activeWhen" in slot else None,
        "required_when": decoded(slot["requiredWhen"]) if "requiredWhen" in slot else None,
        "placeholder": slot.get("placeholder", ""),
        "section": slot.get("section", ""),
        "tab": slot.get("tab", ""),
        "columns": slot.get("columns", 0),
        "hidden": slot.get("hidden", False),
        "source": OptionSource(**{**source, "inputs": tuple(source["inputs"].items())}) if source else None,
    }


def read(schema: Mapping[str, Any]) -> FormTree:
    """Returns the form that `project` made this of."""
    slot = schema[_SLOT]
    target: Target = Settings()
    if "command" in slot:
        target = Command(slot["command"])
    elif "datasource" in slot:
        target = Datasource(slot["datasource"], tuple((name, value) for name, value in slot.get("fixed", {}).items()))
    said = {"$schema", "type", "properties", "required", "additionalProperties", "$defs", *LABELS, _SLOT}
    return FormTree(
        title=schema["title"],
        description=schema.get("description", ""),
        target=target,
        fields=tuple(_members(schema, (), "")),
        constraints=_without(schema, said),
        shared=schema.get("$defs", {}),
    )


def _target(target: Target) -> dict[str, Any]:
    if isinstance(target, Command):
        return {"command": target.id}
    if isinstance(target, Settings):
        return {"settings": True}
    return {"datasource": target.authentication_type, **({"fixed": dict(target.fixed)} if target.fixed else {})}


def _object(fields: tuple[Field, ...]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": {field.name: schema_of(field) for field in fields}}
    required = [field.name for field in fields if field.required]
    return {**schema, "required": required} if required else schema


def _kind(kind: Kind, *, nullable: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the keywords that say what a field is, and what goes into its slot."""
    schema, slot = _SAYINGS[type(kind)](kind)
    if nullable and not isinstance(kind, Json):
        if "type" in schema:
            schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    return schema, slot


def _say_plain(kind: Kind) -> tuple[dict[str, Any], dict[str, Any]]:
    schema, name = _PLAIN[type(kind)]
    return dict(schema), {"kind": name}


def _say_text(kind: Text) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"type": "string"}, {"kind": "text", **({"multiline": True} if kind.multiline else {})}


def _say_moment(kind: Moment) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"type": "string", "format": kind.part}, {"kind": kind.part}


def _say_file(kind: File) -> tuple[dict[str, Any], dict[str, Any]]:
    schema: dict[str, Any] = {"type": "string", "contentEncoding": "base64"}
    slot: dict[str, Any] = {"kind": "file"}
    if kind.accept:
        slot["accept"] = list(kind.accept)
    if len(kind.accept) == 1 and not kind.accept[0].startswith(".") and "*" not in kind.accept[0]:
        schema["contentMediaType"] = kind.accept[0]
    if kind.max_bytes:
        slot["maxBytes"] = kind.max_bytes
        schema["maxLength"] = base64_length(kind.max_bytes)
    return schema, slot


def _say_choice(kind: Choice) -> tuple[dict[str, Any], dict[str, Any]]:
    return _enum(kind.options), {"kind": "choice", **_titles(kind.options)}


def _say_choices(kind: MultiChoice) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"type": "array", "items": _enum(kind.options)}, {"kind": "choices", **_titles(kind.options)}


def _say_group(kind: Group) -> tuple[dict[str, Any], dict[str, Any]]:
    schema = _object(kind.fields)
    if kind.open:
        return schema, {"kind": "group", "open": True}
    return {**schema, "additionalProperties": False}, {"kind": "group"}


def _say_items(kind: Items) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"type": "array", "items": schema_of(kind.item)}, {"kind": "items"}


def _say_entries(kind: Entries) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"type": "object", "additionalProperties": schema_of(kind.value)}, {"kind": "entries"}


def _say_union(kind: Union) -> tuple[dict[str, Any], dict[str, Any]]:
    # What decides is the union as the definition has it, among the field's constraints; this is how it is shown.
    variants = [{"key": each.key, "schema": schema_of(each)} for each in kind.variants]
    return {}, {"kind": "union", **({"tag": kind.tag} if kind.tag else {}), "variants": variants}


def _say_json(kind: Json) -> tuple[dict[str, Any], dict[str, Any]]:
    return {}, {"kind": "json", "types": list(kind.types)}


_SAYINGS: Final[Mapping[type[Kind], Callable[[Any], tuple[dict[str, Any], dict[str, Any]]]]] = {
    Text: _say_text,
    Number: _say_plain,
    Integer: _say_plain,
    Boolean: _say_plain,
    Moment: _say_moment,
    Choice: _say_choice,
    MultiChoice: _say_choices,
    Group: _say_group,
    Items: _say_items,
    Entries: _say_entries,
    Json: _say_json,
    File: _say_file,
    Secret: _say_plain,
    Union: _say_union,
}


def _enum(options: tuple[Option, ...]) -> dict[str, Any]:
    values = [option.value for option in options]
    types = {_type_of(value) for value in values}
    return {"type": types.pop(), "enum": values} if len(types) == 1 else {"enum": values}


def _type_of(value: Scalar) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"


def _members(schema: Mapping[str, Any], path: tuple[str, ...], parent: str) -> Iterator[Field]:
    required = schema.get("required", ())
    for name, member in schema["properties"].items():
        yield _field(member, (*path, name), parent, required=name in required)


def _field(
    schema: Mapping[str, Any], path: tuple[str, ...], parent: str, *, required: bool = False, key: str = ""
) -> Field:
    slot = schema[_SLOT]
    key = key or slot.get("key", path[-1])
    own = f"{parent}.{key}" if parent else key
    kind = _read_kind(slot, schema, path, own)
    nullable = slot.get("nullable", False)
    said, _ = _kind(kind, nullable=nullable)
    examples = schema.get("examples", ())
    return Field(
        name=path[-1],
        key=key,
        kind=kind,
        path=path,
        title=schema["title"],
        description=schema.get("description", ""),
        required=required,
        nullable=nullable,
        deprecated=schema.get("deprecated", False),
        default=Given(schema["default"]) if "default" in schema else None,
        example=examples[0] if examples else "",
        constraints={
            keyword: value
            for keyword, value in schema.items()
            if keyword not in LABELS and keyword != _SLOT and (keyword not in said or said[keyword] != value)
        },
        id=own,
        **_untold(slot),
    )


def _read_kind(slot: Mapping[str, Any], schema: Mapping[str, Any], path: tuple[str, ...], own: str) -> Kind:
    name = slot["kind"]
    if name in _SIMPLE:
        return _SIMPLE[name]
    if name == "text":
        return Text(multiline=slot.get("multiline", False))
    if name == "file":
        return File(tuple(slot.get("accept", ())), slot.get("maxBytes", 0))
    if name == "choice":
        return Choice(_options(schema["enum"], slot))
    if name == "choices":
        return MultiChoice(_options(schema["items"]["enum"], slot))
    if name == "group":
        return Group(tuple(_members(schema, path, own)), open=slot.get("open", False))
    if name == "items":
        return Items(_field(schema["items"], (*path, "*"), own, required=True))
    if name == "entries":
        return Entries(_field(schema["additionalProperties"], (*path, "*"), own, required=True))
    if name == "union":
        variants = (_field(each["schema"], path, own, key=each["key"]) for each in slot["variants"])
        return Union(tuple(variants), slot.get("tag", ""))
    return Json(tuple(slot["types"]))


_SIMPLE: Final[Mapping[str, Kind]] = {
    "number": Number(),
    "integer": Integer(),
    "boolean": Boolean(),
    "date": Moment("date"),
    "time": Moment("time"),
    "date-time": Moment("date-time"),
    "secret": Secret(),
}


def _titles(options: tuple[Option, ...]) -> dict[str, Any]:
    plain = all(option.title == plain_label(option.value) for option in options)
    return {} if plain else {"titles": [option.title for option in options]}


def _options(values: list[Any], slot: Mapping[str, Any]) -> tuple[Option, ...]:
    values = [value for value in values if value is not None]
    titles = slot.get("titles") or [plain_label(value) for value in values]
    return tuple(Option(value, title) for value, title in zip(values, titles, strict=True))


def _without(schema: Schema, said: set[str]) -> dict[str, Any]:
    return {keyword: value for keyword, value in schema.items() if keyword not in said}
