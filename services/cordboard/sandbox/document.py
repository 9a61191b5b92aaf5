"""The vendor's OpenAPI document: served with its actual address, and read for the operations that the vendor routes."""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from cordboard.sandbox.refusals import Invalid, Violation
from cordboard.sandbox.schema import Schema, resolve

BASE_PATH = "/v1"

# Where the vendor is according to the document as it is written; it is served with the address where it really is.
_WRITTEN_AT = "https://api.acmedesk.example"
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter of an operation."""

    name: str
    schema: Schema
    default: Any

    def read(self, texts: list[str]) -> Any:
        """Returns the value that `texts` (every occurrence in the query) stands for; raises Invalid."""
        if self.schema.items is not None:
            value: Any = [_value(text, self.schema.items) for text in texts]
        elif len(texts) > 1:
            raise Invalid(Violation(self.name, "must be given once only"))
        else:
            value = _value(texts[0], self.schema)
        self.schema.check(value, self.name)
        return value


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the document, as far as the vendor needs to know it."""

    operation_id: str
    method: str
    path: str
    scopes: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    media_type: str | None
    body: Schema | None

    def query(self, given: Mapping[str, list[str]]) -> dict[str, Any]:
        """Returns the value of every query parameter, its default (or None) where it is left out; raises Invalid."""
        wrong = [
            Violation(name, "is not a parameter of this operation") for name in given if name not in self.parameters
        ]
        values = {}
        for name, parameter in self.parameters.items():
            try:
                values[name] = parameter.read(given[name]) if name in given else parameter.default
            except Invalid as refusal:
                wrong.extend(refusal.fields)
        if wrong:
            raise Invalid(*wrong)
        return values


class Document:
    """The OpenAPI document of the vendor that is served at `url`."""

    def __init__(self, url: str) -> None:
        written = importlib.resources.files("cordboard.sandbox").joinpath("openapi.yaml").read_text(encoding="utf-8")
        text = written.replace(_WRITTEN_AT, url)
        # The loader in C is ten times as fast, and not in every build of PyYAML.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._source: dict[str, Any] = yaml.load(text, Loader=loader)  # noqa: S506  a safe loader
        flow = self._source["components"]["securitySchemes"]["oauth2"]["flows"]["authorizationCode"]
        self.scopes: dict[str, str] = flow["scopes"]
        self.yaml = text.encode()
        self.json = json.dumps(self._source, indent=2).encode()

    def operations(self) -> Iterator[Operation]:
        """Yields every operation, in the order of the document; paths begin with the base path."""
        for path, item in self._source["paths"].items():
            for method in _METHODS:
                if method in item:
                    yield self._operation(path, method, item)

    def _operation(self, path: str, method: str, item: Mapping[str, Any]) -> Operation:
        source = item[method]
        security = source.get("security", self._source["security"])
        scopes = next(each["oauth2"] for each in security if "oauth2" in each)
        described = [
            resolve(each, self._source) for each in [*item.get("parameters", ()), *source.get("parameters", ())]
        ]
        parameters = {each["name"]: self._parameter(each) for each in described if each["in"] == "query"}
        content = resolve(source.get("requestBody", {}), self._source).get("content", {})
        media_type, media = next(iter(content.items()), (None, None))
        body = Schema(media["schema"], self._source) if media is not None else None
        return Operation(
            source["operationId"], method.upper(), BASE_PATH + path, tuple(scopes), parameters, media_type, body
        )

    def _parameter(self, source: Mapping[str, Any]) -> Parameter:
        return Parameter(source["name"], Schema(source["schema"], self._source), source["schema"].get("default"))


_INTEGER = re.compile(r"-?[0-9]{1,18}")


def _value(text: str, schema: Schema) -> Any:
    """Returns `text` as a value of the schema's type; text of another type stays text, for the schema to refuse."""
    if "integer" in schema.types and _INTEGER.fullmatch(text):
        return int(text)
    if "boolean" in schema.types and text in {"true", "false"}:
        return text == "true"
    return text
