"""Request bodies: one media type of those offered, and the members of an object as properties of the input."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.openapi.parameters import described, not_empty
from cordboard.catalog.openapi.schemas import Direction
from cordboard.catalog.openapi.source import OperationLost, Unresolved, join, mapping, sequence, text
from cordboard.catalog.syntax import is_line, is_media_type
from cordboard.catalog.v1.definition_pb2 import Body, BodyEncoding, BodyField, Style

if TYPE_CHECKING:
    from cordboard.catalog.openapi.inputs import Inputs
    from cordboard.catalog.openapi.report import Report
    from cordboard.catalog.openapi.schemas import Schemas
    from cordboard.catalog.openapi.source import Source
    from cordboard.catalog.schemas import Schema

MAX_MEMBERS: Final = 300
MAX_DEPTH: Final = 8
BODY: Final = "body"
FILE: Final = "file"

JSON: Final = BodyEncoding.BODY_ENCODING_JSON
FORM: Final = BodyEncoding.BODY_ENCODING_FORM
MULTIPART: Final = BodyEncoding.BODY_ENCODING_MULTIPART
BINARY: Final = BodyEncoding.BODY_ENCODING_BINARY
TEXT: Final = BodyEncoding.BODY_ENCODING_TEXT

_OWN: Final = {
    JSON: "application/json",
    FORM: "application/x-www-form-urlencoded",
    MULTIPART: "multipart/form-data",
    BINARY: "application/octet-stream",
    TEXT: "text/plain",
}
_TEXTUAL: Final = ("xml", "yaml", "jsonl", "ndjson", "x-json", "jwt", "jose", "javascript", "csv", "graphql", "html")
_STYLES: Final = {
    "deepObject": Style.STYLE_DEEP_OBJECT,
    "spaceDelimited": Style.STYLE_SPACE_DELIMITED,
    "pipeDelimited": Style.STYLE_PIPE_DELIMITED,
}
# The keywords of an object whose members can stand for themselves, without the object around them.
_PLAIN: Final = frozenset(
    {
        *(
            "type",
            "properties",
            "required",
            "title",
            "description",
            "allOf",
            "$ref",
            "additionalProperties",
            "nullable",
        ),
        *(
            "example",
            "examples",
            "externalDocs",
            "xml",
            "deprecated",
            "readOnly",
            "writeOnly",
            "discriminator",
            "default",
        ),
    }
)


@dataclass(frozen=True)
class _Offer:
    """One media type of a request body."""

    media_type: str
    encoding: BodyEncoding.ValueType
    value: dict[str, Any]
    pointer: str


@dataclass
class _Members:
    """The members of an object schema, gathered over its `$ref` and `allOf`."""

    properties: dict[str, list[tuple[Any, str]]] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)


class Bodies:
    """Reads the request bodies of one document's operations."""

    def __init__(self, source: Source, schemas: Schemas, report: Report) -> None:
        """Takes the document, its schemas, and where findings go."""
        self._source = source
        self._schemas = schemas
        self._report = report

    def bind(self, declared: Any, pointer: str, method: str, inputs: Inputs) -> Body | None:
        """Adds a body's members, or the whole body, to an input; returns the plan, or None where there is no body.

        Raises OperationLost when the operation cannot do without a body that cannot be sent.
        """
        if declared is None:
            return None
        try:
            found, at = self._source.follow(declared, pointer)
        except Unresolved as problem:
            raise OperationLost(f"its request body {problem}") from None
        body = mapping(found)
        required = body.get("required") is True
        offers = self._offers(mapping(body.get("content")), join(at, "content"))
        if not offers:
            if mapping(body.get("content")) and required:
                raise OperationLost(f"its body can only be sent as {', '.join(mapping(body.get('content')))[:150]}")
            self._report.repair(at, "the request body has no content that can be sent; there is none")
            return None
        chosen = offers[0]
        plan = Body(encoding=chosen.encoding, required=required)
        if chosen.media_type != _OWN[chosen.encoding]:
            plan.media_type = chosen.media_type
        if chosen.encoding in (BINARY, TEXT):
            self._whole(plan, chosen, body, inputs)
            return plan
        if chosen.encoding == MULTIPART and self._schemas.shape(chosen.value.get("schema"))[0] == "array":
            self._files(plan, chosen, body, inputs)
            return plan
        members = self._members(chosen)
        if members is not None and self._spreads(members, plan, method, inputs, at):
            self._spread(plan, chosen, members, inputs)
        else:
            self._whole(plan, chosen, body, inputs)
        return plan

    # --- which media type

    def _offers(self, content: dict[str, Any], pointer: str) -> list[_Offer]:
        """Returns the media types that can be sent, the preferred one first."""
        offers = []
        for name, value in content.items():
            media_type, encoding = _encoding_of(name, self._is_binary(mapping(value), join(pointer, name)))
            if encoding != BodyEncoding.BODY_ENCODING_UNSPECIFIED:
                offers.append(_Offer(media_type, encoding, mapping(value), join(pointer, name)))
        order = (JSON, FORM, MULTIPART, TEXT, BINARY)
        if any(one.encoding == BINARY for one in offers):
            order = (JSON, FORM, MULTIPART, BINARY, TEXT)
        return sorted(offers, key=lambda one: (order.index(one.encoding), one.media_type != _OWN[one.encoding]))

    def _is_binary(self, media: dict[str, Any], pointer: str) -> bool | None:
        """Tells whether a schema stands for bytes; None where there is no schema."""
        if not isinstance(media.get("schema"), dict):
            return None
        try:
            schema, _ = self._source.follow(media["schema"], pointer)
        except Unresolved:
            return None
        said = mapping(schema)
        if not said:
            return None
        return said.get("format") == "binary" or said.get("type") == "file" or "contentMediaType" in said

    # --- what of it becomes the input

    def _whole(self, plan: Body, chosen: _Offer, body: dict[str, Any], inputs: Inputs) -> None:
        if chosen.encoding == BINARY:
            schema: Schema = {
                "type": "string",
                "contentEncoding": "base64",
                "contentMediaType": plan.media_type or _OWN[BINARY],
            }
        elif chosen.encoding == TEXT:
            schema = {"type": "string"}
        else:
            converted = self._schemas.convert(
                chosen.value.get("schema", {}), join(chosen.pointer, "schema"), Direction.REQUEST
            )
            schema = {} if isinstance(converted, bool) else converted
        plan.property = inputs.add(BODY, described(schema, body), required=plan.required, suffix="request")

    def _files(self, plan: Body, chosen: _Offer, body: dict[str, Any], inputs: Inputs) -> None:
        """Takes a form that is a list: its parts are files, and nothing says what they are called."""
        self._report.repair(chosen.pointer, f"the parts of the form have no names; each is a file called {FILE!r}")
        file = {"type": "string", "contentEncoding": "base64", "contentMediaType": _OWN[BINARY]}
        schema: Schema = {"type": "array", "items": file, **({"minItems": 1} if plan.required else {})}
        name = inputs.add(FILE, described(schema, body), required=plan.required, suffix=BODY)
        plan.fields.append(BodyField(property=name, name=FILE, media_type=_OWN[BINARY]))

    def _members(self, chosen: _Offer) -> _Members | None:
        """Returns the members of an object, or None when it is no plain object."""
        members = _Members()
        seen: set[str] = set()
        if not self._gather(chosen.value.get("schema"), join(chosen.pointer, "schema"), members, seen):
            return None
        if not members.properties or len(members.properties) > MAX_MEMBERS:
            return None
        if not all(is_line(name) and 0 < len(name) <= 256 for name in members.properties):
            return None
        return members

    def _gather(self, schema: Any, pointer: str, into: _Members, seen: set[str]) -> bool:
        try:
            found, at = self._source.follow(schema, pointer)
        except Unresolved:
            return False
        if not isinstance(found, dict) or at in seen or len(seen) > MAX_DEPTH:
            return False
        seen.add(at)
        if not all(keyword in _PLAIN or keyword.startswith("x-") for keyword in found):
            return False
        if found.get("type", "object") != "object" or found.get("nullable") is True:
            return False
        # An open object may hold what is not declared: without the object around it that could not be given.
        if found.get("additionalProperties", False) is not False:
            return False
        for name, one in mapping(found.get("properties")).items():
            if not self._schemas.left_out(one, Direction.REQUEST):
                into.properties.setdefault(name, []).append((one, join(at, "properties", name)))
        into.required.extend(name for name in sequence(found.get("required")) if isinstance(name, str))
        return all(
            self._gather(part, join(at, "allOf", index), into, seen)
            for index, part in enumerate(sequence(found.get("allOf")))
        )

    def _spreads(self, members: _Members, plan: Body, method: str, inputs: Inputs, pointer: str) -> bool:
        """Tells whether the members can be properties of the input themselves."""
        if plan.encoding == JSON and any(name in inputs.properties for name in members.properties):
            return False
        if members.required and not plan.required:
            if method in ("GET", "HEAD", "DELETE", "OPTIONS"):
                return False
            self._report.note(pointer, "the body may be left out, but has members that may not: it is asked for")
            plan.required = True
        return True

    def _spread(self, plan: Body, chosen: _Offer, members: _Members, inputs: Inputs) -> None:
        encodings = mapping(chosen.value.get("encoding"))
        for name in dict.fromkeys(members.required):
            # A member that is required and never described can be anything, unless it is not sent at all.
            if name not in members.properties and not self._is_read_only(name, chosen):
                members.properties[name] = []
        for name, declared in members.properties.items():
            encoding = mapping(encodings.get(name))
            member = BodyField(name=name)
            schema = self._member_schema(declared, plan.encoding, member)
            self._encode(member, encoding, plan.encoding)
            if plan.encoding != JSON and name in members.required and declared:
                schema = not_empty(schema, self._schemas.shape(declared[0][0])[0])
            member.property = inputs.add(name, schema, required=name in members.required, suffix=BODY)
            plan.fields.append(member)

    def _is_read_only(self, name: str, chosen: _Offer) -> bool:
        try:
            schema, _ = self._source.follow(chosen.value.get("schema"), chosen.pointer)
        except Unresolved:
            return False
        return name in mapping(mapping(schema).get("properties"))

    def _member_schema(
        self, declared: list[tuple[Any, str]], encoding: BodyEncoding.ValueType, member: BodyField
    ) -> Schema:
        converted = [self._schemas.convert(schema, pointer, Direction.REQUEST) for schema, pointer in declared]
        schema: Schema = converted[0] if len(converted) == 1 else {"allOf": converted} if converted else {}
        if encoding == MULTIPART and declared:
            return self._part(schema, declared[0], member)
        return schema

    def _part(self, schema: Schema, declared: tuple[Any, str], member: BodyField) -> Schema:
        """Returns the schema of one part of multipart/form-data; bytes are given in base64."""
        try:
            found, _ = self._source.follow(*declared)
        except Unresolved:
            return schema
        said = mapping(found)
        is_list = said.get("type") == "array"
        if is_list:
            try:
                found, _ = self._source.follow(said.get("items"), declared[1])
            except Unresolved:
                return schema
            said = mapping(found)
        if said.get("format") != "binary" and said.get("type") != "file" and "contentMediaType" not in said:
            return schema
        member.media_type = text(said.get("contentMediaType")) or _OWN[BINARY]
        content = {"type": "string", "contentEncoding": "base64", "contentMediaType": member.media_type}
        kept = {key: value for key, value in mapping(schema).items() if key in ("description", "title")}
        return {**kept, "type": "array", "items": content} if is_list else {**kept, **content}

    def _encode(self, member: BodyField, encoding: dict[str, Any], kind: BodyEncoding.ValueType) -> None:
        style = _STYLES.get(text(encoding.get("style")))
        if style is not None:
            member.style = style
        if isinstance(encoding.get("explode"), bool):
            member.explode = encoding["explode"]
        # Several media types, or a wildcard, are a choice: the first one that is a type is made.
        named = [one.strip() for one in text(encoding.get("contentType")).split(",")]
        usable = [one for one in named if is_media_type(one) and "*" not in one]
        if usable and kind == MULTIPART:
            member.media_type = usable[0]


def _encoding_of(name: str, is_binary: bool | None) -> tuple[str, BodyEncoding.ValueType]:
    """Returns the media type to send and how a body becomes bytes; UNSPECIFIED for what cannot be sent."""
    bare = name.partition(";")[0].strip().lower()
    if bare in ("", "*", "*/*", "application/*"):
        encoding = BINARY if is_binary else JSON
        return _OWN[encoding], encoding
    full = name.strip() if is_media_type(name.strip()) else bare
    kind, _, subtype = bare.partition("/")
    if bare == "application/json" or subtype.endswith(("+json", "/json")) or bare == "text/json":
        return full if "*" not in full else _OWN[JSON], JSON
    if bare in (_OWN[FORM], _OWN[MULTIPART]):
        return (bare, FORM) if bare == _OWN[FORM] else (bare, MULTIPART)
    if kind != "multipart" and subtype == "*":
        return (_OWN[TEXT], TEXT) if kind == "text" else (_OWN[BINARY], BINARY)
    if kind == "multipart" or not is_media_type(full):
        return full, BodyEncoding.BODY_ENCODING_UNSPECIFIED
    textual = kind in ("text", "message") or any(word in subtype for word in _TEXTUAL)
    return full, TEXT if textual and not is_binary else BINARY
