"""From the JSON Schema of an action's input to the typed fields of a form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from cordboard.core.schema import MAX_EFFORT, JsonSchema, SchemaInvalid, effort
from cordboard.uqi import json_schema
from cordboard.uqi.dependence import conditional, extra_members
from cordboard.uqi.fields import (
    VARIANT,
    Boolean,
    Choice,
    Entries,
    Field,
    File,
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
    Scalar,
    Secret,
    Text,
    Union,
)
from cordboard.uqi.files import of_media_type
from cordboard.uqi.hints import Hint, hinted, place, resolved
from cordboard.uqi.intersection import Contradiction, intersection, types_of
from cordboard.uqi.keys import field_keys
from cordboard.uqi.source import Node, Source, references
from cordboard.uqi.texts import JsonInvalid, clean, humanise, json_text, plain_label, read_json

Path: TypeAlias = tuple[str, ...]

_TITLE: Final = 120
_DESCRIPTION: Final = 1000
_EXAMPLE: Final = 100
_OPTION: Final = 200
_MULTILINE_FROM: Final = 256
# References and allOf within one place; real descriptions stay below 10.
_MOST_LEVELS: Final = 100
_MOST_VARIANTS: Final = 16
_UNIONS: Final = ("anyOf", "oneOf")
_SHAPES: Final = {
    "object": "Fields", "array": "List", "string": "Text", "number": "Number", "integer": "Whole number",
    "boolean": "Yes or no", "null": "Nothing",
}  # fmt: skip
_SCALARS: Final = frozenset({"string", "number", "integer", "boolean"})
_PLAIN: Final[Mapping[str, Kind]] = {"integer": Integer(), "number": Number(), "boolean": Boolean()}
_MOMENTS: Final[Mapping[str, Literal["date", "time", "date-time"]]] = {
    "date": "date",
    "time": "time",
    "date-time": "date-time",
}
# What a field's own attributes say; everything else of its schema are its constraints.
_SAID: Final = frozenset(
    {"type", "enum", "const", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a form stops to show fields of their own, and shows one JSON field instead."""

    depth: int = 3
    # Beside those at the top, which always have a field.
    nested_fields: int = 60
    # Schemas looked at for one form: what a chain of references can cost at most.
    steps: int = 20_000


@dataclass(frozen=True, slots=True)
class _At:
    """Where a field stands: the API's names on the way there, and its id."""

    path: Path = ()
    id: str = ""

    def below(self, name: str, key: str) -> _At:
        return _At((*self.path, name), f"{self.id}.{key}" if self.id else key)

    def variant(self, key: str) -> _At:
        return _At(self.path, f"{self.id}.{key}")


class _Collapse(Exception):
    """This place becomes a JSON field; the text says why."""


@dataclass(frozen=True, slots=True)
class _Flat:
    """A schema with nothing left to follow: its keywords, whether null fits, and the references on the way here."""

    schema: dict[str, Any]
    nullable: bool
    trail: frozenset[str]


class Reader:
    """Reads the fields of one form; what it could not show stands in `losses` then."""

    def __init__(
        self,
        source: Source,
        limits: Limits,
        files: frozenset[str] = frozenset(),
        hints: Mapping[Path, Hint] | None = None,
    ) -> None:
        """Takes the schemas, the limits, the inputs that are bytes whatever their schema says, and hints by path."""
        self.losses: list[str] = []
        self._source = source
        self._limits = limits
        self._files = files
        self._hints = hints or {}
        self._budget = limits.nested_fields
        self._steps = limits.steps

    def form(self) -> tuple[tuple[Field, ...], dict[str, Any]]:
        """Returns the fields of the whole input, and the keywords of the input that are about no single field."""
        try:
            flat = self._flatten(self._source.root, frozenset())
        except (_Collapse, Contradiction) as reason:
            self._lose((), str(reason))
            flat = _Flat(dict(self._source.root), nullable=False, trail=frozenset())
        properties = flat.schema.get("properties", {})
        fields = self._members({**flat.schema, "properties": properties}, _At(), 0, flat.trail)
        return resolved(fields), _rest(
            flat.schema, "properties", "required", "additionalProperties", "$defs", "definitions"
        )

    def _members(self, schema: Mapping[str, Any], at: _At, depth: int, trail: frozenset[str]) -> tuple[Field, ...]:
        required = schema.get("required", ())
        known = {**schema["properties"], **extra_members(schema)}
        known |= {name: True for name in required if name not in known}
        named = [
            (name, node)
            for name, node in known.items()
            if node is not False and not (isinstance(node, dict) and node.get("readOnly") is True)
        ]
        named.sort(key=lambda member: (place(self._hints.get((*at.path, member[0]))), member[0] not in required))
        keys = field_keys(name for name, _ in named)
        fields = tuple(
            _settled(replace(self._field(node, at.below(name, key), depth, trail), key=key, required=name in required))
            for key, (name, node) in zip(keys, named, strict=True)
        )
        return conditional(schema, fields)

    def _field(self, node: Node, at: _At, depth: int, trail: frozenset[str]) -> Field:
        field = self._read(node, at, depth, trail)
        return hinted(field, self._hints.get(at.path))

    def _read(self, node: Node, at: _At, depth: int, trail: frozenset[str]) -> Field:
        schema = node if isinstance(node, dict) else {}
        try:
            flat = self._flatten(schema, trail)
            kind, said = self._kind(flat, at, depth)
        except (_Collapse, Contradiction) as reason:
            self._lose(at.path, f"{reason}; shown as JSON")
            return self._json(schema, at)
        if isinstance(kind, Json):
            return self._json(schema, at, flat)
        # The variants are for people; what decides is the union as it stands.
        kept = _as_it_stands(schema) if isinstance(kind, Union) else _constraints(kind, flat.schema, said)
        field = Field(
            kind=kind, nullable=flat.nullable, constraints=kept, id=at.id, **_labels(schema, flat.schema, at.path)
        )
        return self._with_default(field, schema, flat.schema)

    def _json(self, schema: dict[str, Any], at: _At, flat: _Flat | None = None) -> Field:
        """Returns a field for JSON text; its constraints are the schema as it stands, references and all."""
        seen = flat.schema if flat else schema
        types = types_of(seen) or _union_types(seen)
        nullable = flat is not None and flat.nullable
        kind = Json((*types, "null") if nullable and types and "null" not in types else types)
        field = Field(
            kind=kind,
            nullable=nullable,
            constraints=_as_it_stands(schema),
            id=at.id,
            **_labels(schema, seen, at.path),
        )
        return self._with_default(field, schema, seen)

    def _flatten(self, schema: Mapping[str, Any], trail: frozenset[str], level: int = 0) -> _Flat:
        self._steps -= 1
        if self._steps < 0 or level > _MOST_LEVELS:
            raise _Collapse("needs too many references to be followed")
        own = {keyword: value for keyword, value in schema.items() if keyword not in ("$ref", "allOf")}
        parts = [_Flat(own, nullable=False, trail=trail)]
        for target, reference in self._targets(schema, trail):
            flat = self._flatten(target, trail | {reference} if reference else trail, level + 1)
            # A shared schema is called after its type; the field is called after its own name.
            kept = {key: value for key, value in flat.schema.items() if not (reference and key == "title")}
            parts.append(replace(flat, schema=kept))
        nullable = any(part.nullable for part in parts) and all(_permits_null(part) for part in parts)
        merged = intersection(part.schema for part in parts)
        grown = trail.union(*(part.trail for part in parts))
        return self._without_null(_Flat(merged, nullable, grown), level)

    def _targets(self, schema: Mapping[str, Any], trail: frozenset[str]) -> list[tuple[dict[str, Any], str]]:
        found = []
        reference = schema.get("$ref")
        if reference is not None:
            if reference in trail:
                raise _Collapse("contains itself")
            target = self._source.resolve(reference)
            if target is None:
                self._lose((), f"the schema {reference!r} does not exist")
            if isinstance(target, dict):
                found.append((target, reference))
        return found + [(part, "") for part in schema.get("allOf", ()) if isinstance(part, dict)]

    def _without_null(self, flat: _Flat, level: int) -> _Flat:
        """Takes null out of types, values and unions, and unions with one branch apart."""
        schema, nullable = dict(flat.schema), flat.nullable
        types = types_of(schema)
        if "null" in types and len(types) > 1:
            left = [name for name in types if name != "null"]
            schema["type"], nullable = (left[0] if len(left) == 1 else left), True
        if None in schema.get("enum", ()) and len(schema["enum"]) > 1:
            schema["enum"] = [value for value in schema["enum"] if value is not None]
            nullable = nullable or "type" not in flat.schema
        for union in _UNIONS:
            branches = schema.get(union, ())
            left_over = [branch for branch in branches if not _is_null(branch)]
            nullable = nullable or 0 < len(left_over) < len(branches)
            if len(left_over) == 1 and isinstance(left_over[0], dict):
                del schema[union]
                inner = self._flatten(left_over[0], flat.trail, level + 1)
                merged = intersection([schema, inner.schema])
                return _Flat(merged, nullable or inner.nullable, inner.trail)
            if 1 < len(left_over) < len(branches):
                schema[union] = left_over
        return _Flat(schema, nullable, flat.trail)

    def _kind(self, flat: _Flat, at: _At, depth: int) -> tuple[Kind, tuple[str, ...]]:
        """Returns what a flat schema becomes, and the keywords which that says beside those every field says."""
        schema = flat.schema
        options = self._options(schema, flat.trail)
        if options:
            return Choice(options), _UNIONS if "enum" not in schema and "const" not in schema else ()
        union = next((schema[word] for word in _UNIONS if _is_shaping(schema.get(word, ()))), ())
        types = types_of(schema)
        if union or len(types) != 1:
            if len(union) > 1 and not _SCALARS.issuperset(_union_types(schema) or ("any",)):
                return self._union(flat, at, depth), ()
            return Json(), ()
        if types[0] == "object":
            return self._object(flat, at, depth)
        if types[0] == "array":
            return self._list(flat, at, depth)
        return self._scalar(types[0], schema, at.path), ()

    def _union(self, flat: _Flat, at: _At, depth: int) -> Kind:
        words = [word for word in _UNIONS if word in flat.schema]
        shapes = flat.schema[words[0]]
        if len(words) > 1 or len(shapes) > _MOST_VARIANTS:
            raise _Collapse(f"one of {sum(len(flat.schema[word]) for word in words)} shapes")
        self._spend(len(shapes), depth)
        rest = {word: value for word, value in _as_it_stands(flat.schema).items() if word != words[0]}
        names = _unique(_shape_name(shape, number) for number, shape in enumerate(shapes, 1))
        keys = field_keys([VARIANT, *names])[1:]
        variants = [
            replace(self._variant(rest, shape, at.variant(key), depth + 1, flat.trail), key=key, title=name)
            for key, name, shape in zip(keys, names, shapes, strict=True)
        ]
        return Union(tuple(variants), _tag(variants))

    def _variant(self, rest: Mapping[str, Any], shape: Node, at: _At, depth: int, trail: frozenset[str]) -> Field:
        own = shape if isinstance(shape, dict) else {}
        try:
            flat = self._flatten(own, trail)
            whole = _Flat(intersection([rest, flat.schema]), flat.nullable, flat.trail)
            kind, said = self._kind(whole, at, depth)
        except (_Collapse, Contradiction) as reason:
            self._lose(at.path, f"{reason}; that one of its shapes is shown as JSON")
            return self._json(own, at)
        if isinstance(kind, Json):
            return self._json(own, at, flat)
        kept = _as_it_stands(own) if isinstance(kind, Union) else _constraints(kind, whole.schema, said)
        labels = _labels({}, {"description": own.get("description", "")}, at.path)
        return Field(kind=kind, nullable=flat.nullable, constraints=kept, id=at.id, **labels)

    def _scalar(self, name: str, schema: Mapping[str, Any], path: Path) -> Kind:
        if name != "string":
            return _PLAIN.get(name, Json())
        shape = schema.get("format", "")
        media = schema.get("contentMediaType", "")
        if (len(path) == 1 and path[0] in self._files) or shape in ("binary", "byte") or "contentEncoding" in schema:
            return File(of_media_type(media))
        if shape == "password":
            return Secret()
        if shape in _MOMENTS:
            return Moment(_MOMENTS[shape])
        return Text(multiline=schema.get("maxLength", 0) >= _MULTILINE_FROM or media.startswith("text/"))

    def _object(self, flat: _Flat, at: _At, depth: int) -> tuple[Kind, tuple[str, ...]]:
        schema = flat.schema
        extra = schema.get("additionalProperties")
        if schema.get("properties"):
            self._spend(len(schema["properties"]), depth)
            fields = self._members(schema, at, depth + 1, flat.trail)
            is_open = extra is True or isinstance(extra, dict) or "patternProperties" in schema
            said = ("properties", "required") if is_open else ("properties", "required", "additionalProperties")
            return Group(fields, open=is_open), said
        if isinstance(extra, dict) and "patternProperties" not in schema:
            self._spend(1, depth)
            value = self._field(extra, at.below("*", "value"), depth + 1, flat.trail)
            return Entries(replace(value, key="value", required=True)), ("additionalProperties",)
        return Json(), ()

    def _list(self, flat: _Flat, at: _At, depth: int) -> tuple[Kind, tuple[str, ...]]:
        if "prefixItems" in flat.schema:
            raise _Collapse("is a list with a schema for each place")
        self._spend(1, depth)
        item = self._field(flat.schema.get("items", True), at.below("*", "item"), depth + 1, flat.trail)
        if isinstance(item.kind, Choice) and not item.nullable and not item.constraints:
            return MultiChoice(item.kind.options), ("items",)
        return Items(replace(item, key="item", required=True)), ("items",)

    def _spend(self, fields: int, depth: int) -> None:
        if depth >= self._limits.depth:
            raise _Collapse(f"is nested more than {self._limits.depth} levels deep")
        if fields > self._budget:
            raise _Collapse(f"is beyond the {self._limits.nested_fields} nested fields of a form")
        self._budget -= fields

    def _options(self, schema: Mapping[str, Any], trail: frozenset[str]) -> tuple[Option, ...]:
        """Returns the options of an enum, a const or a union of them; none when the schema is anything else."""
        values: list[tuple[Any, str]] = []
        if "const" in schema:
            values = [(schema["const"], "")]
        elif "enum" in schema:
            values = [(value, "") for value in schema["enum"]]
        else:
            for branch in next((schema[word] for word in _UNIONS if word in schema), ()):
                flat = self._flatten(branch, trail) if isinstance(branch, dict) else None
                if flat is None or not ("const" in flat.schema or "enum" in flat.schema):
                    return ()
                inner = [flat.schema["const"]] if "const" in flat.schema else flat.schema["enum"]
                title = flat.schema.get("title", "") if len(inner) == 1 else ""
                values.extend((value, title) for value in inner)
        if not all(isinstance(value, Scalar) for value, _ in values):
            return ()
        types = types_of(schema)
        if types and not all(_has_type(value, types) for value, _ in values):
            raise _Collapse("has values that are not of its type")
        # JSON tells true from 1, and Python's keys do not.
        unique = {
            json_text(value): Option(value, clean(title, _OPTION) or plain_label(value)) for value, title in values
        }
        return tuple(unique.values())

    def _with_default(self, field: Field, own: Mapping[str, Any], schema: Mapping[str, Any]) -> Field:
        default = own.get("default", schema.get("default"))
        has_one = "default" in own or "default" in schema
        # A list's items and a map's values are there because somebody gave them: nothing is missing that it could fill.
        if isinstance(field.kind, Secret | File | Group | Union) or not has_one or field.name == "*":
            return field
        if isinstance(default, str) and isinstance(field.kind, Boolean | Integer | Number):
            default = _typed(default)
        if not self._fits(field, default):
            self._lose(field.path, "its default does not fit its own schema and is left out")
            return field
        return replace(field, default=Given(default))

    def _fits(self, field: Field, value: Any) -> bool:
        schema = json_schema.schema_of(field)
        if any(references(schema)):
            schema["$defs"] = self._source.closure(schema)
        if effort(schema) > MAX_EFFORT:
            return False
        try:
            return JsonSchema.compile(schema).accepts(value)
        except SchemaInvalid:
            return False

    def _lose(self, path: Path, text: str) -> None:
        self.losses.append(f"{'.'.join(path) or 'the input'}: {text}")


def _labels(own: Mapping[str, Any], schema: Mapping[str, Any], path: Path) -> dict[str, Any]:
    name = path[-1]
    derived = "Value" if name == "*" else humanise(name)
    example = next((item for item in schema.get("examples", ()) if isinstance(item, str | int | float)), "")
    return {
        "name": name,
        "key": name,
        "path": path,
        "title": clean(own.get("title", schema.get("title", "")), _TITLE) or derived,
        "description": clean(own.get("description", schema.get("description", "")), _DESCRIPTION),
        "deprecated": bool(own.get("deprecated", schema.get("deprecated", False))),
        "example": clean(example if isinstance(example, str) else json_text(example), _EXAMPLE),
    }


def _constraints(kind: Kind, schema: Mapping[str, Any], said: tuple[str, ...]) -> dict[str, Any]:
    own = json_schema.keywords(kind)
    return {keyword: value for keyword, value in _rest(schema, *said).items() if own.get(keyword, own) != value}


def _rest(schema: Mapping[str, Any], *said: str) -> dict[str, Any]:
    return {keyword: value for keyword, value in schema.items() if keyword not in _SAID and keyword not in said}


def _as_it_stands(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {keyword: value for keyword, value in schema.items() if keyword not in json_schema.LABELS}


def _shape_name(shape: Node, number: int) -> str:
    """Returns what people call a shape of a union: its title, the name it is referred to by, or its type."""
    own = shape if isinstance(shape, dict) else {}
    title = own.get("title") or humanise(own.get("$ref", "").rpartition("/")[2])
    named = title or next((_SHAPES[name] for name in types_of(own) if name in _SHAPES), "")
    return clean(named, _TITLE) or f"Shape {number}"


def _unique(names: Iterable[str]) -> list[str]:
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return _unique(unique) if len(set(unique)) < len(unique) else unique


def _tag(variants: list[Field]) -> str:
    """Returns the name of the member whose value tells the variants apart; empty when there is none."""
    if not all(isinstance(each.kind, Group) for each in variants):
        return ""
    members = [each.kind.fields for each in variants if isinstance(each.kind, Group)]
    for name in (field.name for field in members[0]):
        found = [field for fields in members for field in fields if field.name == name and field.required]
        kinds = [field.kind for field in found if isinstance(field.kind, Choice)]
        values = [json_text(option.value) for kind in kinds for option in kind.options]
        if len(found) == len(kinds) == len(variants) and len(set(values)) == len(values):
            return name
    return ""


def _settled(field: Field) -> Field:
    """Gives a required field that takes a single value that value as its default."""
    single = isinstance(field.kind, Choice) and len(field.kind.options) == 1
    if single and isinstance(field.kind, Choice) and field.required and not field.nullable and field.default is None:
        return replace(field, default=Given(field.kind.options[0].value))
    return field


def _typed(default: str) -> Any:
    """Returns what the text of a default says: descriptions often have `"false"` where they mean false."""
    try:
        return read_json(default.lower(), 0)
    except JsonInvalid:
        return default


def _permits_null(part: _Flat) -> bool:
    return part.nullable or not {"type", "enum", "const"} & set(part.schema)


def _has_type(value: Scalar, types: tuple[str, ...]) -> bool:
    if isinstance(value, bool):
        return "boolean" in types
    if isinstance(value, str):
        return "string" in types
    return "number" in types or ("integer" in types and value == int(value))


def _is_null(branch: Node) -> bool:
    if not isinstance(branch, dict):
        return False
    return branch.get("type") == "null" or branch.get("enum") == [None] or branch.get("const", "") is None


def _is_shaping(branches: Any) -> bool:
    """Tells whether branches differ in what is there to fill in, and not only in what is required together."""
    words = {"properties", "$ref", "type", "items", "allOf", "anyOf", "oneOf", "enum", "const", "additionalProperties"}
    return any(isinstance(branch, dict) and words & set(branch) for branch in branches)


def _union_types(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the types of a union's branches; empty when one of them is of any type or has to be looked up."""
    found: list[str] = []
    for branch in next((schema[word] for word in _UNIONS if word in schema), ()):
        types = types_of(branch) if isinstance(branch, dict) and "$ref" not in branch else ()
        if not types:
            return ()
        found.extend(types)
    return tuple(dict.fromkeys(found))
