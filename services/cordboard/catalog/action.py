"""What an action of a definition must mean: its input, its request and its paging fit together."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import orjson

from cordboard.catalog.auth_scheme import path_keys
from cordboard.catalog.findings import shown
from cordboard.catalog.paging import check_paging
from cordboard.catalog.response import check_error_rules, check_response, check_retry
from cordboard.catalog.schemas import wording_problem
from cordboard.catalog.syntax import (
    LINE,
    RESERVED_HEADERS,
    has_stray_brace,
    is_line,
    is_media_type,
    is_prose,
    is_scope,
    is_token,
    placeholders,
    url_problem,
)
from cordboard.catalog.v1.definition_pb2 import BodyEncoding, Placement, Style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cordboard.catalog.findings import Findings
    from cordboard.catalog.v1.definition_pb2 import (
        Action,
        Body,
        Constant,
        Definition,
        IdempotencyKey,
        Parameter,
        RequestPlan,
    )

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
MAX_TITLE: Final = 200
MAX_DESCRIPTION: Final = 16384
MAX_PATH: Final = 2048
MAX_TIMEOUT: Final = 600
MAX_PARAMETERS: Final = 1000
MAX_TAGS: Final = 32

_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_PATH: Final = re.compile(r"(?:/(?:[!$%&'()*+,\-.0-9:;=@A-Z_a-z~|^\[\]]|\{[^{}]*\})*)*", re.ASCII)
_XML_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}(?::[A-Za-z_][A-Za-z0-9_.-]{0,127})?", re.ASCII)
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

    def __init__(self, shared: Mapping[str, Any], definition: Definition) -> None:
        """Takes the definition, and its shared schemas by name."""
        self._shared = shared
        self._auth_schemes = {scheme.id for scheme in definition.auth_schemes}
        self._path_keys = {scheme.id: path_keys(scheme, definition.auth_schemes) for scheme in definition.auth_schemes}
        self._variables = {variable.name for variable in definition.config_variables}
        self._servers = {server.id for server in definition.servers}
        self.schemas: dict[str, Any] = {}
        """The actions' schemas that are worth compiling, by the path of their field."""

    def run(self, action: Action, found: Findings, path: str) -> None:
        """Notes everything that is wrong with an action."""
        found.require(
            _ID.fullmatch(action.id) is not None,
            "id",
            "must be 1 to 128 letters, digits, underscores, dots and hyphens, and begin with none of the last two",
        )
        found.require(len(action.title) <= MAX_TITLE and is_line(action.title), "title", LINE)
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
        bound = _check_request(action.request, self._filled(action), found.below("request"))
        self._check_constants(action.request, found.below("request"))
        _check_bindings(properties, bound, found)
        if action.HasField("paging"):
            check_paging(action.paging, properties, found.below("paging"))
            found.require(not action.streaming, "streaming", "cannot stand beside `paging`")
        _check_idempotency_key(action, found)
        found.require(
            not action.streaming or not action.response.decoder, "response.decoder", "cannot stand beside `streaming`"
        )
        found.require(
            not action.streaming or not action.HasField("async_job"), "streaming", "cannot stand beside `async_job`"
        )
        if action.HasField("response"):
            check_response(action.response, found.below("response"))
        if action.HasField("retry"):
            check_retry(action.retry, found.below("retry"))
        check_error_rules(action.error_rules, found, paged=action.HasField("paging"))
        if action.HasField("timeout"):
            span = action.timeout.seconds + action.timeout.nanos / 1e9
            found.require(0 < span <= MAX_TIMEOUT, "timeout", f"must be more than 0 s and at most {MAX_TIMEOUT} s")
        for index, scheme in enumerate(action.auth_schemes):
            if scheme not in self._auth_schemes:
                found.add(f"auth_schemes[{index}]", f"{shown(scheme)} is not one of the definition's auth schemes")
        for index, scope in enumerate(action.scopes):
            found.require(is_scope(scope), f"scopes[{index}]", "is not an OAuth scope")

    def _filled(self, action: Action) -> set[str]:
        """Returns the placeholders of the path that every scheme of the action fills."""
        ids = [one for one in action.auth_schemes if one in self._path_keys] or list(self._path_keys)
        return set.intersection(*(self._path_keys[one] for one in ids)) if ids else set()

    def _check_constants(self, request: RequestPlan, found: Findings) -> None:
        taken = {(one.placement, _on_wire(one)) for one in request.parameters}
        taken.update((Placement.PLACEMENT_HEADER, name.lower()) for name in request.headers)
        taken.update((Placement.PLACEMENT_BODY, one.name) for one in request.body.fields)
        for index, constant in enumerate(request.constants):
            below = found.below("constants", index)
            place = (constant.placement, _on_wire(constant))
            below.require(place not in taken, "name", f"{shown(constant.name)} stands there already")
            taken.add(place)
            source = constant.WhichOneof("source")
            if source is None:
                below.add("", "needs a value or a config variable")
            elif source == "config_variable" and constant.config_variable not in self._variables:
                below.add("config_variable", f"{shown(constant.config_variable)} is not one of the config variables")
            _check_constant_place(constant, request, below)
        variable = request.server_variable
        if variable:
            found.require(
                variable in self._variables, "server_variable", f"{shown(variable)} is not one of the config variables"
            )
            found.require("" not in self._servers, "server_variable", "needs every server to have an id")

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


def _check_request(request: RequestPlan, filled: set[str], found: Findings) -> Counter[str]:
    """Returns how often each property of the input is bound; the credential fills some placeholders."""
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
    in_path = {one.name for one in request.constants if one.placement == Placement.PLACEMENT_PATH}
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
        if name in in_path and name in filled:
            found.add("path", f"{{{name}}} is bound to a parameter and to the credential")
        elif name not in in_path and name not in filled:
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
    found.require(0 < len(parameter.name) <= 256 and is_line(parameter.name), "name", LINE)
    allowed = _STYLES.get(parameter.placement)
    found.require(
        not parameter.json or not (parameter.style or parameter.allow_reserved),
        "json",
        "cannot stand beside `style` and `allow_reserved`",
    )
    if parameter.allow_reserved and parameter.placement not in (Placement.PLACEMENT_PATH, Placement.PLACEMENT_QUERY):
        found.add("allow_reserved", "is only for the path and the query")
    if allowed is None:
        found.add("placement", "must be path, query, header or cookie")
        return
    if parameter.style and parameter.style not in allowed:
        found.add("style", "does not fit the placement")
    if parameter.placement == Placement.PLACEMENT_HEADER:
        _check_header(parameter.name, "name", found)
    if parameter.placement == Placement.PLACEMENT_COOKIE:
        found.require(is_token(parameter.name), "name", "is not a cookie's name")


def _on_wire(one: Parameter | Constant | IdempotencyKey) -> str:
    return one.name.lower() if one.placement == Placement.PLACEMENT_HEADER else one.name


def _check_constant_place(constant: Constant, request: RequestPlan, found: Findings) -> None:
    if constant.WhichOneof("source") == "value_json" and constant.placement != Placement.PLACEMENT_BODY:
        text = _fixed_text(constant.value_json)
        if text is None:
            found.add("value", "must be more than null: it would not be sent")
        elif constant.placement == Placement.PLACEMENT_PATH:
            found.require(text not in ("", ".", ".."), "value", "cannot stand in a path")
        elif constant.placement == Placement.PLACEMENT_HEADER:
            found.require(is_line(text) and text.isascii(), "value", "must be one line of ASCII")
    if constant.placement == Placement.PLACEMENT_HEADER:
        _check_header(constant.name, "name", found)
    elif constant.placement == Placement.PLACEMENT_COOKIE:
        found.require(is_token(constant.name), "name", "is not a cookie's name")
    elif constant.placement == Placement.PLACEMENT_BODY and (
        not request.HasField("body") or request.body.property or request.body.encoding in _WHOLE_ONLY
    ):
        found.add("placement", "is the body, and the request has no body that is made of members")


def _fixed_text(value: str) -> str | None:
    """Returns what a constant sends outside of a body, or None where that is nothing."""
    try:
        told = orjson.loads(value)
    except orjson.JSONDecodeError:
        return "{}"  # Told where the JSON stands.
    if told is None:
        return None
    return told if isinstance(told, str) else orjson.dumps(told).decode()


def _check_idempotency_key(action: Action, found: Findings) -> None:
    if action.idempotency_key_header:
        _check_header(action.idempotency_key_header, "idempotency_key_header", found)
    if not action.HasField("idempotency_key"):
        return
    key, below = action.idempotency_key, found.below("idempotency_key")
    taken = {(one.placement, _on_wire(one)) for one in action.request.parameters}
    taken.update((one.placement, _on_wire(one)) for one in action.request.constants)
    taken.update((Placement.PLACEMENT_BODY, one.name) for one in action.request.body.fields)
    below.require((key.placement, _on_wire(key)) not in taken, "name", f"{shown(key.name)} stands there already")
    below.require(not action.idempotency_key_header, "", "cannot stand beside `idempotency_key_header`")
    if key.placement == Placement.PLACEMENT_HEADER:
        _check_header(key.name, "name", below)
    elif key.placement in (Placement.PLACEMENT_QUERY, Placement.PLACEMENT_BODY):
        below.require(0 < len(key.name) <= 256 and is_line(key.name), "name", LINE)
        if key.placement == Placement.PLACEMENT_BODY and (
            not action.request.HasField("body") or action.request.body.encoding in _WHOLE_ONLY
        ):
            below.add("placement", "is the body, and the request has no body that is made of members")
    else:
        below.add("placement", "must be header, query or body")


def _check_header(name: str, field: str, found: Findings) -> None:
    if not is_token(name):
        found.add(field, "is not a header's name")
    elif name.lower() in RESERVED_HEADERS:
        found.add(field, f"{name} is set by the mesh itself: by the credential, the body or the transport")


def _check_body(body: Body, found: Findings) -> Counter[str]:
    found.require(body.encoding != BodyEncoding.BODY_ENCODING_UNSPECIFIED, "encoding", "is required")
    if body.media_type:
        found.require(is_media_type(body.media_type), "media_type", "is not a media type")
    if body.xml_root or body.encoding == BodyEncoding.BODY_ENCODING_XML:
        fits = body.encoding == BodyEncoding.BODY_ENCODING_XML and _XML_NAME.fullmatch(body.xml_root) is not None
        found.require(fits, "xml_root", "must be the name of an element, and goes with XML alone")
    if body.property and body.fields:
        found.add("fields", "cannot stand beside `property`")
    if not body.property and body.encoding in _WHOLE_ONLY:
        found.add("property", "is required for this encoding")
    names: Counter[str] = Counter()
    for index, one in enumerate(body.fields):
        names[one.name] += 1
        below = found.below("fields", index)
        found.require(names[one.name] == 1, f"fields[{index}].name", f"{shown(one.name)} stands there already")
        below.require(is_line(one.name), "name", LINE)
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
