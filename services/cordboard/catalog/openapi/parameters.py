"""The parameters of an operation become properties of its input, bound to their places in the request."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.openapi.schemas import Direction
from cordboard.catalog.openapi.source import Unresolved, join, mapping, sequence, text
from cordboard.catalog.syntax import RESERVED_HEADERS, is_line, is_token
from cordboard.catalog.v1.definition_pb2 import Parameter, Placement, Style

if TYPE_CHECKING:
    from cordboard.catalog.openapi.inputs import Inputs
    from cordboard.catalog.openapi.paths import Template
    from cordboard.catalog.openapi.report import Report
    from cordboard.catalog.openapi.schemas import Schemas
    from cordboard.catalog.openapi.security import Requirement, Security
    from cordboard.catalog.openapi.source import Source
    from cordboard.catalog.schemas import Schema

_PLACEMENTS: Final = {
    "path": Placement.PLACEMENT_PATH,
    "query": Placement.PLACEMENT_QUERY,
    "header": Placement.PLACEMENT_HEADER,
    "cookie": Placement.PLACEMENT_COOKIE,
}
_STYLES: Final[dict[int, dict[str, Style.ValueType]]] = {
    Placement.PLACEMENT_PATH: {
        "simple": Style.STYLE_SIMPLE,
        "label": Style.STYLE_LABEL,
        "matrix": Style.STYLE_MATRIX,
    },
    Placement.PLACEMENT_QUERY: {
        "form": Style.STYLE_FORM,
        "spaceDelimited": Style.STYLE_SPACE_DELIMITED,
        "pipeDelimited": Style.STYLE_PIPE_DELIMITED,
        "deepObject": Style.STYLE_DEEP_OBJECT,
    },
    Placement.PLACEMENT_HEADER: {"simple": Style.STYLE_SIMPLE},
    Placement.PLACEMENT_COOKIE: {"form": Style.STYLE_FORM},
}
_MATTERS_NOT: Final = frozenset({"simple", "form"})
_SCHEMA_KEYWORDS: Final = (
    *("type", "format", "items", "enum", "default", "pattern", "minimum", "maximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "uniqueItems", "multipleOf", "nullable"),
)
_IDEMPOTENCY: Final = frozenset({"idempotency-key", "x-idempotency-key", "idempotencykey"})
_CREDENTIAL: Final = frozenset(
    {"token", "access_token", "oauth_token", "api_key", "apikey", "auth_token", "authtoken", "private_token"}
)
_SAYS_CREDENTIAL: Final = re.compile(r"authenticat|access[ _]token|api[ _-]?(?:key|token)|oauth", re.IGNORECASE)
_SPELLING: Final = re.compile(r"[^a-z0-9]+")


@dataclass
class Headers:
    """What header parameters say that is not an input."""

    fixed: dict[str, str]
    """Headers that every request carries."""
    idempotency_key: str = ""
    """The header that takes an idempotency key."""


@dataclass(frozen=True)
class Declared:
    """A parameter as the document has it."""

    name: str
    place: str
    value: dict[str, Any]
    pointer: str

    @property
    def required(self) -> bool:
        """Tells whether a request needs it; a path always does."""
        return self.place == "path" or self.value.get("required") is True


class Parameters:
    """Reads the parameters of one document's operations."""

    def __init__(self, source: Source, schemas: Schemas, security: Security, report: Report) -> None:
        """Takes the document, its schemas and security, and where findings go."""
        self._source = source
        self._schemas = schemas
        self._security = security
        self._report = report

    def declared(self, lists: list[tuple[Any, str]]) -> list[Declared]:
        """Returns the parameters of an operation. `lists` are the path's and its own, with their pointers: a later
        list replaces what an earlier one says of the same parameter.
        """
        found: dict[tuple[str, str], Declared] = {}
        for value, pointer in lists:
            here: dict[tuple[str, str], Declared] = {}
            for index, one in enumerate(sequence(value)):
                parameter = self._declared(one, join(pointer, index))
                if parameter is None:
                    continue
                key = (parameter.name.lower() if parameter.place == "header" else parameter.name, parameter.place)
                if key in here:
                    self._report.repair(parameter.pointer, "the parameter stands twice; the first one holds")
                else:
                    here[key] = parameter
            found.update(here)
        return list(found.values())

    @staticmethod
    def asked(declared: list[Declared]) -> set[tuple[str, int]]:
        """Returns the names and places of the parameters that are required outside the path."""
        return {(one.name, _PLACEMENTS[one.place]) for one in declared if one.required and one.place != "path"}

    def bind(
        self, declared: list[Declared], template: Template, inputs: Inputs, requirement: Requirement, pointer: str
    ) -> Headers:
        """Adds the parameters to an input, those of the path first, and returns what their headers say."""
        self._bind_path([one for one in declared if one.place == "path"], template, inputs, pointer)
        headers = Headers({})
        for one in declared:
            if one.place == "header":
                self._header(one, inputs, requirement, headers)
            elif one.place in ("query", "cookie") and not self._is_credential(one, inputs, requirement):
                self._bind(one, inputs, required=one.required)
        for name in dict.fromkeys(template.query_names):
            if not inputs.property_of(name, Placement.PLACEMENT_QUERY):
                parameter = Parameter(name=name, placement=Placement.PLACEMENT_QUERY)
                inputs.bind(parameter, {"type": "string"}, required=False)
        for name, value in template.query.items():
            if not inputs.property_of(name, Placement.PLACEMENT_QUERY):
                parameter = Parameter(name=name, placement=Placement.PLACEMENT_QUERY)
                inputs.bind(parameter, {"const": value, "default": value}, required=True)
        return headers

    def _declared(self, value: Any, pointer: str) -> Declared | None:
        try:
            found, at = self._source.follow(value, pointer)
        except Unresolved as problem:
            self._report.loss(pointer, f"the parameter {problem}")
            return None
        parameter = mapping(found)
        name, place = text(parameter.get("name")), text(parameter.get("in")).lower()
        if not name or not is_line(name) or len(name) > 256 or place not in _PLACEMENTS:
            self._report.loss(pointer, f"the parameter {name[:80]!r} in {place[:40]!r} has no place in a request")
            return None
        return Declared(name, place, parameter, at)

    def _bind_path(self, declared: list[Declared], template: Template, inputs: Inputs, pointer: str) -> None:
        by_name = {one.name.strip("{}+*"): one for one in declared}
        spelled = {_SPELLING.sub("", name.lower()): name for name in by_name if name not in template.names}
        used = set()
        for name, reserved in template.names.items():
            match = name if name in by_name else spelled.get(_SPELLING.sub("", name.lower()))
            one = by_name.get(match or "")
            if one is None:
                self._report.repair(pointer, f"{{{name}}} is not declared; it became a text")
                schema: Schema = {"type": "string"}
                parameter = Parameter(name=name, placement=Placement.PLACEMENT_PATH, allow_reserved=reserved)
                inputs.bind(parameter, schema, required=True)
            else:
                used.add(match)
                self._bind(one, inputs, required=True, name=name, reserved=reserved)
        for name, one in by_name.items():
            if name not in used:
                self._report.repair(one.pointer, f"the path has no {{{name}}}; the parameter was left out")

    def _bind(self, one: Declared, inputs: Inputs, *, required: bool, name: str = "", reserved: bool = False) -> str:
        parameter = Parameter(name=name or one.name, placement=_PLACEMENTS[one.place])
        schema = self._schema(one, parameter)
        style = text(one.value.get("style"))
        known = _STYLES[parameter.placement].get(style)
        if style and known is None:
            self._report.repair(
                one.pointer, f"the style {style[:40]!r} does not exist in {one.place}; its default is used"
            )
        elif known is not None and style not in _MATTERS_NOT:
            parameter.style = known
        if isinstance(one.value.get("explode"), bool) and not parameter.json:
            parameter.explode = one.value["explode"]
        parameter.allow_reserved = reserved or one.value.get("allowReserved") is True
        if not parameter.json:
            schema = self._shaped(one, parameter, schema, required=required)
        return inputs.bind(parameter, schema, required=required)

    def _shaped(self, one: Declared, parameter: Parameter, schema: Schema, *, required: bool) -> Schema:
        """Settles how a list or an object is written where the description leaves it open, and returns the schema."""
        kind, said = self._schemas.shape(one.value.get("schema"))
        if kind == "array":
            inner, _ = self._schemas.shape(said.get("items"))
            exploded = parameter.explode if parameter.HasField("explode") else one.place in ("query", "cookie")
            if inner in ("array", "object") and not exploded:
                parameter.json = True
                self._report.note(one.pointer, f"{one.name!r} is a list of {inner}s in one value: it is sent as JSON")
                return schema
        elif kind == "object" and one.place == "query" and not text(one.value.get("style")):
            example = f"{one.name}["
            if "explode" not in one.value and example in text(one.value.get("description")):
                parameter.style = Style.STYLE_DEEP_OBJECT
                self._report.note(one.pointer, f"the description writes {example[:80]!r}: it is sent as a deepObject")
        return not_empty(schema, kind) if required and one.place != "path" else schema

    def _schema(self, one: Declared, parameter: Parameter) -> Schema:
        value, pointer = one.value, one.pointer
        if "schema" in value:
            schema = self._schemas.convert(value["schema"], join(pointer, "schema"), Direction.REQUEST)
        elif isinstance(value.get("content"), dict) and value["content"]:
            media_type = next(iter(value["content"]))
            inner = mapping(value["content"][media_type]).get("schema", {})
            schema = self._schemas.convert(inner, join(pointer, "content", media_type, "schema"), Direction.REQUEST)
            parameter.json = "json" in media_type.lower()
        else:
            said = {keyword: value[keyword] for keyword in _SCHEMA_KEYWORDS if keyword in value}
            self._report.repair(pointer, "the parameter has no schema; what stands beside it, or text, is used")
            schema = self._schemas.convert(said or {"type": "string"}, pointer, Direction.REQUEST)
        return described(schema, value)

    def _header(self, one: Declared, inputs: Inputs, requirement: Requirement, headers: Headers) -> None:
        name = one.name.lower()
        if name == "accept":
            chosen = self._only_value(one)
            if chosen:
                headers.fixed[one.name] = chosen
            self._report.note(one.pointer, f"Accept is no input: {chosen or 'what the answer needs'} is sent")
        elif name in RESERVED_HEADERS:
            self._report.note(one.pointer, f"{one.name} is no input: the mesh sets it")
        elif not is_token(one.name):
            self._report.loss(one.pointer, f"{one.name[:80]!r} is not a header's name")
        elif name in _IDEMPOTENCY:
            headers.idempotency_key = one.name
            self._report.note(one.pointer, f"{one.name} takes the idempotency key of a call")
        elif not self._is_credential(one, inputs, requirement):
            self._bind(one, inputs, required=one.required)

    def _only_value(self, one: Declared) -> str:
        """Returns the value that a header has unless a caller says otherwise."""
        schema, _ = self._source.follow(one.value.get("schema"), one.pointer) if self._resolves(one) else ({}, "")
        said = mapping(schema)
        values = sequence(said.get("enum"))
        for value in (said.get("const"), said.get("default"), values[0] if values else None, one.value.get("example")):
            if isinstance(value, str) and value.isascii() and is_line(value) and 0 < len(value) <= 200:
                return value
        return ""

    def _resolves(self, one: Declared) -> bool:
        try:
            self._source.follow(one.value.get("schema"), one.pointer)
        except Unresolved:
            return False
        return True

    def _is_credential(self, one: Declared, inputs: Inputs, requirement: Requirement) -> bool:
        """Tells whether a parameter is the connection's business; one that is needed stays, as an optional input."""
        if requirement.sends(one.name, _PLACEMENTS[one.place]):
            self._report.note(one.pointer, f"{one.name!r} is no input: the connection's credential goes there")
            return True
        if not self._security.has_any or one.name.lower() not in _CREDENTIAL:
            return False
        if not _SAYS_CREDENTIAL.search(text(one.value.get("description"))):
            return False
        if one.required:
            self._report.repair(one.pointer, f"{one.name!r} repeats the credential; it became optional")
            name = self._bind(one, inputs, required=False)
            inputs.properties[name] = {**mapping(inputs.properties[name]), "writeOnly": True}
        else:
            self._report.note(one.pointer, f"{one.name!r} is no input: the connection authenticates")
        return True


def not_empty(schema: Schema, kind: str) -> Schema:
    """Returns the schema of a required list or object, which is not sent at all when nothing is in it."""
    if isinstance(schema, bool):
        return schema
    keywords: tuple[str, ...] = {"array": ("minItems",), "object": ("minProperties",)}.get(kind, ())
    if any(keyword in schema for keyword in ("anyOf", "oneOf")):
        # Either may be among the alternatives, and neither means anything to what is neither.
        keywords = ("minItems", "minProperties")
    return {**schema, **{keyword: schema.get(keyword) or 1 for keyword in keywords}}


def described(schema: Schema, holder: dict[str, Any]) -> Schema:
    """Returns a schema with the description and deprecation that stand beside it."""
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    description = text(holder.get("description"))[:4000]
    if description and "description" not in schema:
        schema = {**schema, "description": description}
    if holder.get("deprecated") is True:
        schema = {**schema, "deprecated": True}
    return schema
