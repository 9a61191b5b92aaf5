"""What an action of a definition must mean: its input, its request and its paging fit together."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import orjson

from cordboard.catalog.findings import shown
from cordboard.catalog.schemas import wording_problem
from cordboard.catalog.syntax import (
    RESERVED_HEADERS,
    has_stray_brace,
    is_line,
    is_media_type,
    is_pointer,
    is_prose,
    is_scope,
    is_token,
    placeholders,
    url_problem,
)
from cordboard.catalog.v1.definition_pb2 import BodyEncoding, Placement, Style

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from cordboard.catalog.findings import Findings
    from cordboard.catalog.v1.definition_pb2 import Action, Body, Paging, Parameter, RequestPlan

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
MAX_TITLE: Final = 200
MAX_DESCRIPTION: Final = 16384
MAX_PATH: Final = 2048
MAX_TIMEOUT: Final = 600
MAX_PARAMETERS: Final = 1000
MAX_TAGS: Final = 32

_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_PATH: Final = re.compile(r"(?:/(?:[!$%&'()*+,\-.0-9:;=@A-Z_a-z~|^\[\]]|\{[^{}]*\})*)*", re.ASCII)
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")

_STYLES: Final[dict[int, frozenset[int]]] = {
    Placement.PLACEMENT_PATH: frozenset({Style.STYLE_SIMPLE, Style.STYLE_LABEL, Style.STYLE_MATRIX}),
    Placement.PLACEMENT_QUERY: frozenset(
        {Style.STYLE_FORM, Style.STYLE_SPACE_DELIMITED, Style.STYLE_PIPE_DELIMITED, Style.STYLE_DEEP_OBJECT}
    ),
    Placement.PLACEMENT_HEADER: frozenset({Style.STYLE_SIMPLE}),
    Placement.PLACEMENT_COOKIE: frozenset({Style.STYLE_FORM}),
}
_WHOLE_ONLY: Final = frozenset({BodyEncoding.BODY_ENCODING_BINARY, BodyEncoding.BODY_ENCODING_TEXT})


def object_schema(text: str) -> dict[str, Any] | None:
    """Returns the JSON object that a text is, an empty one for an empty text, or None."""
    try:
        value = orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


class ActionCheck:
    """Checks one action after the other against the definition they stand in."""

    def __init__(self, shared: Mapping[str, Any], auth_schemes: Collection[str]) -> None:
        """Takes the definition's shared schemas by name, and the ids of its auth schemes."""
        self._shared = shared
        self._auth_schemes = auth_schemes
        self.schemas: dict[str, Any] = {}
        """The actions' schemas that are worth compiling, by the path of their field."""

    def run(self, action: Action, found: Findings, path: str) -> None:
        """Notes everything that is wrong with an action."""
        found.require(
            _ID.fullmatch(action.id) is not None,
            "id",
            "must be 1 to 128 letters, digits, underscores, dots and hyphens, and begin with none of the last two",
        )
        found.require(len(action.title) <= MAX_TITLE and is_line(action.title), "title", "must be one line of text")
        found.require(
            len(action.description) <= MAX_DESCRIPTION and is_prose(action.description),
            "description",
            f"must be text of at most {MAX_DESCRIPTION} characters",
        )
        found.require(
            len(action.tags) <= MAX_TAGS and all(0 < len(tag) <= 128 and is_line(tag) for tag in action.tags),
            "tags",
            f"must be at most {MAX_TAGS} short texts",
        )
        properties = self._input(action, found, path)
        self._output(action, found, path)
        bound = _check_request(action.request, found.below("request"))
        _check_bindings(properties, bound, found)
        if action.HasField("paging"):
            _check_paging(action.paging, properties, found.below("paging"))
        if action.idempotency_key_header:
            _check_header(action.idempotency_key_header, "idempotency_key_header", found)
        if action.HasField("timeout"):
            span = action.timeout.seconds + action.timeout.nanos / 1e9
            found.require(0 < span <= MAX_TIMEOUT, "timeout", f"must be more than 0 s and at most {MAX_TIMEOUT} s")
        for index, scheme in enumerate(action.auth_schemes):
            if scheme not in self._auth_schemes:
                found.add(f"auth_schemes[{index}]", f"{shown(scheme)} is not one of the definition's auth schemes")
        for index, scope in enumerate(action.scopes):
            found.require(is_scope(scope), f"scopes[{index}]", "is not an OAuth scope")

    def _input(self, action: Action, found: Findings, path: str) -> dict[str, Any]:
        """Returns the properties of the input."""
        schema = object_schema(action.input_schema_json)
        if schema is None:
            found.add("input_schema", "must be a mapping")
            return {}
        problem = wording_problem(schema, self._shared)
        if problem:
            found.add("input_schema", problem)
        else:
            self.schemas[f"{path}.input_schema"] = schema
        if schema.get("type", "object") != "object":
            found.add("input_schema.type", "must be 'object'")
        if "$ref" in schema:
            found.add("input_schema", "must name its properties itself, not by `$ref`")
        properties = schema.get("properties", {})
        if not isinstance(properties, dict):
            return {}
        required = schema.get("required", [])
        for name in required if isinstance(required, list) else []:
            if name not in properties:
                found.add("input_schema.required", f"{shown(str(name))} is not one of the properties")
        return properties

    def _output(self, action: Action, found: Findings, path: str) -> None:
        schema = object_schema(action.output_schema_json)
        problem = "must be a mapping" if schema is None else wording_problem(schema, self._shared)
        if problem:
            found.add("output_schema", problem)
        else:
            self.schemas[f"{path}.output_schema"] = schema


def _check_request(request: RequestPlan, found: Findings) -> Counter[str]:
    """Returns how often each property of the input is bound."""
    found.require(request.method in METHODS, "method", f"must be one of {', '.join(METHODS)}")
    _check_path(request.path, found)
    if request.server_url:
        problem = url_problem(request.server_url)
        found.require(not problem, "server_url", problem)
    for name in sorted(request.headers):
        value = request.headers[name]
        _check_header(name, f"headers.{name}", found)
        found.require(
            is_line(value) and len(value) <= 4096 and value.isascii(), f"headers.{name}", "must be one line of ASCII"
        )
    bound: Counter[str] = Counter()
    if len(request.parameters) > MAX_PARAMETERS:
        found.add("parameters", f"are more than {MAX_PARAMETERS}")
        return bound
    in_path = set()
    places: Counter[tuple[int, str]] = Counter()
    for index, parameter in enumerate(request.parameters):
        _check_parameter(parameter, found.below("parameters", index))
        bound[parameter.property] += 1
        is_header = parameter.placement == Placement.PLACEMENT_HEADER
        place = (parameter.placement, parameter.name.lower() if is_header else parameter.name)
        places[place] += 1
        if places[place] == 2:
            found.add(f"parameters[{index}].name", f"{shown(parameter.name)} stands there already")
        if parameter.placement == Placement.PLACEMENT_PATH:
            in_path.add(parameter.name)
    wanted = dict.fromkeys(placeholders(request.path))
    for name in wanted:
        if name not in in_path:
            found.add("path", f"{{{name}}} is bound to no parameter")
    for name in sorted(in_path.difference(wanted)):
        found.add("path", f"has no {{{name}}} for the parameter of that name")
    if request.HasField("body"):
        bound.update(_check_body(request.body, found.below("body")))
    return bound


def _check_path(path: str, found: Findings) -> None:
    if len(path) > MAX_PATH:
        found.add("path", f"is longer than {MAX_PATH} characters")
    elif has_stray_brace(path) or _PATH.fullmatch(path) is None or _ESCAPE.search(path) or path[:2] in ("", "//"):
        found.add("path", "must be a path below the server, with {name} for parameters; no query, no fragment")
    elif any(segment in (".", "..") for segment in path.lower().replace("%2e", ".").split("/")):
        found.add("path", "must not have '.' or '..' as a segment")
    elif any(not name or not is_line(name) for name in placeholders(path)):
        found.add("path", "has a placeholder without a name")


def _check_parameter(parameter: Parameter, found: Findings) -> None:
    found.require(0 < len(parameter.name) <= 256 and is_line(parameter.name), "name", "must be one line of text")
    allowed = _STYLES.get(parameter.placement)
    if allowed is None:
        found.add("placement", "must be path, query, header or cookie")
        return
    if parameter.style and parameter.style not in allowed:
        found.add("style", "does not fit the placement")
    if parameter.placement == Placement.PLACEMENT_HEADER:
        _check_header(parameter.name, "name", found)
    if parameter.placement == Placement.PLACEMENT_COOKIE:
        found.require(is_token(parameter.name), "name", "is not a cookie's name")


def _check_header(name: str, field: str, found: Findings) -> None:
    if not is_token(name):
        found.add(field, "is not a header's name")
    elif name.lower() in RESERVED_HEADERS:
        found.add(field, f"{name} is set by the mesh itself: by the credential, the body or the transport")


def _check_body(body: Body, found: Findings) -> Counter[str]:
    found.require(body.encoding != BodyEncoding.BODY_ENCODING_UNSPECIFIED, "encoding", "is required")
    if body.media_type:
        found.require(is_media_type(body.media_type), "media_type", "is not a media type")
    if body.property and body.fields:
        found.add("fields", "cannot stand beside `property`")
    if not body.property and body.encoding in _WHOLE_ONLY:
        found.add("property", "is required for this encoding")
    names: Counter[str] = Counter()
    for index, one in enumerate(body.fields):
        names[one.name] += 1
        below = found.below("fields", index)
        found.require(names[one.name] == 1, f"fields[{index}].name", f"{shown(one.name)} stands there already")
        below.require(is_line(one.name), "name", "must be one line of text")
        below.require(not one.media_type or is_media_type(one.media_type), "media_type", "is not a media type")
    return Counter([body.property] if body.property else [one.property for one in body.fields])


def _check_bindings(properties: Mapping[str, Any], bound: Counter[str], found: Findings) -> None:
    for name, times in bound.items():
        if name not in properties:
            found.add("request", f"binds {shown(name)}, which is not a property of the input")
        elif times > 1:
            found.add("request", f"binds the property {shown(name)} {times} times")
    for name in properties:
        if name not in bound:
            found.add("input_schema", f"the property {shown(name)} goes nowhere: `request` does not bind it")


def _check_paging(paging: Paging, properties: Mapping[str, Any], found: Findings) -> None:
    found.require(is_pointer(paging.items_pointer), "items_pointer", "is not a JSON Pointer")
    kind = paging.WhichOneof("kind")
    if kind is None:
        found.add("", "must say how the next page is asked for: cursor, page, offset, link or next_url")
        return
    plan: Any = getattr(paging, kind)
    below = found.below(kind)
    for field in plan.DESCRIPTOR.fields:
        value = getattr(plan, field.name)
        if field.name.endswith("_property"):
            needed = field.name in ("cursor_property", "page_property", "offset_property")
            if (value or needed) and value not in properties:
                below.add(field.name, f"{shown(value)} is not a property of the input")
        elif field.name == "next_pointer":
            below.require(value != "" and is_pointer(value), field.name, "is not a JSON Pointer to a member")
        elif field.name == "first_page":
            below.require(value >= 0, field.name, "must not be negative")
