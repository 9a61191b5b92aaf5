"""Swagger 2.0 in the words of OpenAPI 3.0, so that everything behind it reads one language.

What OpenAPI says the same way stays where it is, and references into `definitions`, `parameters` and `responses` go on
leading there: the places that a report names are those of the document that was given. What Swagger says in another way
(hosts, bodies among parameters, collection formats, media types for whole documents, flows) is said anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cordboard.catalog.openapi.bundle import MEMBER
from cordboard.catalog.openapi.source import Source, Unresolved, join, mapping, sequence, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cordboard.catalog.openapi.report import Report

VERSION: Final = "3.0.3"
METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch")
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
MAX_DEPTH: Final = 200

_FLOWS: Final[Mapping[str, str]] = {
    "implicit": "implicit",
    "password": "password",
    "application": "clientCredentials",
    "accessCode": "authorizationCode",
}
_STYLES: Final[Mapping[str, tuple[str, bool]]] = {
    "ssv": ("spaceDelimited", False),
    "pipes": ("pipeDelimited", False),
    "multi": ("form", True),
}
# What a parameter or a header says of its values itself, and OpenAPI 3 says in a schema.
_OF_SCHEMAS: Final = frozenset(
    {
        *("type", "format", "items", "default", "enum", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum"),
        *("maxLength", "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "multipleOf"),
    }
)


def lifted(root: dict[str, Any], report: Report) -> dict[str, Any]:
    """Returns a Swagger 2.0 document as an OpenAPI 3.0 one; what cannot be said there is a loss in the report."""
    return _Lifting(root, report).document()


class _Lifting:
    def __init__(self, root: dict[str, Any], report: Report) -> None:
        self._root = root
        self._source = Source(root)
        self._report = report
        self._consumes = _media_types(root.get("consumes"))
        self._produces = _media_types(root.get("produces"))

    def document(self) -> dict[str, Any]:
        kept = {name: value for name, value in self._root.items() if name not in ("swagger", "host", "basePath")}
        kept["openapi"] = VERSION
        kept["servers"] = self._servers()
        for name in ("definitions", "parameters", "responses", MEMBER):
            kept[name] = _schema(mapping(self._root.get(name)))
        kept["components"] = {"securitySchemes": self._security_schemes()}
        paths = mapping(self._root.get("paths"))
        kept["paths"] = {path: self._item(item, join("", "paths", path)) for path, item in paths.items()}
        return kept

    def _servers(self) -> list[dict[str, Any]]:
        host, base = text(self._root.get("host")), text(self._root.get("basePath"))
        base = base if base.startswith("/") or not base else f"/{base}"
        if not host:
            return [{"url": base or "/"}]
        schemes = [text(one) for one in sequence(self._root.get("schemes"))]
        wanted = [one for one in ("https", "http") if one in schemes] or ["https"]
        return [{"url": f"{scheme}://{host}{base}"} for scheme in wanted]

    def _security_schemes(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, declared in mapping(self._root.get("securityDefinitions")).items():
            scheme = dict(mapping(declared))
            if scheme.get("type") == "basic":
                scheme = {**scheme, "type": "http", "scheme": "basic"}
            elif scheme.get("type") == "oauth2":
                flow = _FLOWS.get(text(scheme.get("flow")), text(scheme.get("flow")))
                urls = {key: scheme[key] for key in ("authorizationUrl", "tokenUrl", "scopes") if key in scheme}
                scheme = {"type": "oauth2", "flows": {flow: {"scopes": {}, **urls}}}
            found[name] = scheme
        return found

    def _item(self, item: Any, pointer: str) -> Any:
        try:
            found, at = self._source.follow(item, pointer)
        except Unresolved:
            return item
        if not isinstance(found, dict):
            return item
        # A path that stands elsewhere is in Swagger's words too; what stands beside its reference goes before it.
        item = found if found is item else {**found, **{name: one for name, one in item.items() if name != "$ref"}}
        pointer = at
        lifted_item = dict(item)
        shared, body = self._parameters(item.get("parameters"), join(pointer, "parameters"), self._consumes)
        if "parameters" in item:
            lifted_item["parameters"] = shared
        for method in METHODS:
            if isinstance(item.get(method), dict):
                lifted_item[method] = self._operation(item[method], join(pointer, method), body)
        return lifted_item

    def _operation(self, operation: dict[str, Any], pointer: str, shared_body: Any) -> dict[str, Any]:
        consumes = _media_types(operation.get("consumes")) if "consumes" in operation else self._consumes
        produces = _media_types(operation.get("produces")) if "produces" in operation else self._produces
        parameters, body = self._parameters(operation.get("parameters"), join(pointer, "parameters"), consumes)
        found = {name: value for name, value in operation.items() if name not in ("consumes", "produces", "schemes")}
        found["parameters"] = parameters
        if body or shared_body:
            found["requestBody"] = body or shared_body
        responses = mapping(operation.get("responses"))
        found["responses"] = {status: self._response(one, produces) for status, one in responses.items()}
        return found

    def _parameters(self, declared: Any, pointer: str, consumes: list[str]) -> tuple[list[Any], dict[str, Any] | None]:
        """Returns the parameters that are no body, and the body."""
        parameters: list[Any] = []
        fields: list[dict[str, Any]] = []
        body: dict[str, Any] | None = None
        for index, one in enumerate(sequence(declared)):
            try:
                found, _ = self._source.follow(one, join(pointer, index))
            except Unresolved:
                parameters.append(one)
                continue
            if not isinstance(found, dict):
                parameters.append(found)
            elif found.get("in") == "body":
                body = self._body(found, consumes)
            elif found.get("in") == "formData":
                fields.append(found)
            else:
                parameter = self._parameter(found, join(pointer, index))
                if parameter is not None:
                    parameters.append(parameter)
        return parameters, self._form(fields, consumes) if fields else body

    @staticmethod
    def _body(parameter: dict[str, Any], consumes: list[str]) -> dict[str, Any]:
        schema = _schema(parameter.get("schema", {}))
        content = {media_type: {"schema": schema} for media_type in consumes or [JSON]}
        return {**_told(parameter), "required": parameter.get("required") is True, "content": content}

    @staticmethod
    def _form(fields: list[dict[str, Any]], consumes: list[str]) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        encoding: dict[str, Any] = {}
        required: list[str] = []
        has_file = False
        for one in fields:
            name = text(one.get("name"))
            if not name:
                continue
            has_file = has_file or one.get("type") == "file"
            properties[name] = {**_told(one), **_values(one)}
            style = _STYLES.get(text(one.get("collectionFormat")))
            if one.get("type") == "array":
                encoding[name] = {"style": style[0] if style else "form", "explode": style[1] if style else False}
            if one.get("required") is True:
                required.append(name)
        offered = [one for one in consumes if one.partition(";")[0].strip().lower() in (FORM, MULTIPART)]
        if has_file:
            offered = [MULTIPART]
        schema: dict[str, Any] = {"type": "object", "properties": properties}
        if required:
            schema["required"] = required
        member = {"schema": schema, **({"encoding": encoding} if encoding else {})}
        return {"required": bool(required), "content": dict.fromkeys(offered or [FORM], member)}

    def _parameter(self, parameter: dict[str, Any], pointer: str) -> dict[str, Any] | None:
        if "schema" in parameter or "type" not in parameter:
            return parameter
        found = {name: value for name, value in parameter.items() if name not in _OF_SCHEMAS}
        collection = text(found.pop("collectionFormat", ""))
        found["schema"] = _values(parameter)
        if parameter["type"] != "array":
            return found
        if collection == "tsv":
            self._report.loss(pointer, f"{text(parameter.get('name'))[:100]!r} is a list separated by tabs: left out")
            return None
        if collection in _STYLES:
            found["style"], found["explode"] = _STYLES[collection]
        elif parameter.get("in") == "query":
            found["style"], found["explode"] = "form", False
        return found

    def _response(self, declared: Any, produces: list[str]) -> Any:
        try:
            response, _ = self._source.follow(declared, "")
        except Unresolved:
            return declared
        if not isinstance(response, dict):
            return response
        found = {name: value for name, value in response.items() if name not in ("schema", "examples")}
        schema = response.get("schema")
        if isinstance(schema, dict):
            is_file = schema.get("type") == "file"
            types = produces or (["application/octet-stream"] if is_file else [JSON])
            found["content"] = {media_type: {"schema": _schema(schema)} for media_type in types}
        headers = mapping(response.get("headers"))
        if headers:
            found["headers"] = {name: {**_told(one), "schema": _values(mapping(one))} for name, one in headers.items()}
        return found


def _media_types(value: Any) -> list[str]:
    return [text(one) for one in sequence(value) if text(one)]


def _told(declared: Any) -> dict[str, Any]:
    description = mapping(declared).get("description")
    return {"description": description} if isinstance(description, str) else {}


def _values(declared: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in declared.items() if name in _OF_SCHEMAS}
    if found.get("type") == "file":
        found = {"type": "string", "format": "binary"}
    if declared.get("x-nullable") is True:
        found["nullable"] = True
    if "items" in found:
        found["items"] = _values(mapping(found["items"])) if "$ref" not in mapping(found["items"]) else found["items"]
    lifted_values: dict[str, Any] = _schema(found)
    return lifted_values


def _schema(value: Any, depth: int = 0) -> Any:
    """Returns a schema, or anything that holds schemas, with what Swagger says in words of its own."""
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, list):
        return [_schema(one, depth + 1) for one in value]
    if not isinstance(value, dict):
        return value
    found = {name: _schema(one, depth + 1) for name, one in value.items()}
    if found.get("x-nullable") is True and "type" in found:
        found["nullable"] = True
    if found.get("type") == "file":
        found["type"], found["format"] = "string", "binary"
    # A property may be called so too: then it is a schema, and no text.
    if isinstance(found.get("discriminator"), str):
        found["discriminator"] = {"propertyName": found["discriminator"]}
    return found
