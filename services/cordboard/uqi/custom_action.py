"""A request of a person's own in an editor: what Appsmith's control for it holds, as a request that Forward takes."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from cordboard.catalog.v1 import definition_pb2
from cordboard.core.schema import JsonSchema
from cordboard.uqi import canonical, json_schema
from cordboard.uqi.binding import Bound, bound
from cordboard.uqi.drafts import Draft, Draftsman
from cordboard.uqi.fields import Command, FormTree
from cordboard.uqi.v1 import form_pb2

# What Appsmith calls it, in each of its own editors.
COMMAND: Final = "CUSTOM_ACTION"
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_ROWS: Final = ("headers", "params")
_ROW: Final = {
    "type": "object",
    "properties": {"key": {"type": "string", "minLength": 1, "maxLength": 256}, "value": {"type": "string"}},
    "required": ["key"],
}
_HEADER_NAME: Final = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
_HEADER: Final = {
    **_ROW,
    "properties": {
        "key": {"type": "string", "pattern": _HEADER_NAME, "maxLength": 256},
        "value": {"type": "string", "pattern": "^[^\\r\\n\\x00]*$", "maxLength": 8192},
    },
}
_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "method": {"enum": list(METHODS)},
        "path": {"type": "string", "pattern": '^/[!-"$-z|~]*$', "maxLength": 8192},
        "headers": {"type": "array", "items": _HEADER, "maxItems": 100},
        "params": {"type": "array", "items": _ROW, "maxItems": 200},
        "body": {"type": "string"},
    },
    "required": ["method", "path"],
}


@dataclass(frozen=True, slots=True)
class Request:
    """A request for Forward: the path with its query, as it is sent."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: str


def bound_request(values: Mapping[str, Any], *, expressions: bool) -> tuple[Bound, Request | None]:
    """Returns what the values mean, and the request; None where something is wrong with them."""
    tree, judge = _form()
    held = values.get(COMMAND)
    given = {**values, COMMAND: _without_empty_rows(held)} if isinstance(held, Mapping) else values
    found = bound(tree, judge, given, "appsmith", expressions=expressions)
    return found, None if found.problems else _request(found.input)


def _without_empty_rows(held: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the control holds without the row that it always keeps empty, and its other kinds of bodies."""
    found = {name: value for name, value in held.items() if name in _SCHEMA["properties"]}
    for name in _ROWS:
        rows = found.get(name)
        if isinstance(rows, list):
            found[name] = [one for one in rows if not _is_empty(one)]
    return found


def _is_empty(row: Any) -> bool:
    return isinstance(row, Mapping) and all(row.get(name) in (None, "") for name in ("key", "value"))


def _request(found: Mapping[str, Any]) -> Request:
    path, params = str(found["path"]), [(one["key"], one.get("value", "")) for one in found.get("params", ())]
    if params and "?" not in path:
        # Where the path has a query, the control has written the parameters into it.
        path = f"{path}?{urlencode(params)}"
    headers = tuple((one["key"], one.get("value", "")) for one in found.get("headers", ()))
    return Request(str(found["method"]), path, headers, str(found.get("body", "")))


@functools.cache
def _form() -> tuple[FormTree, JsonSchema]:
    action = definition_pb2.Action(id="request", title="Request", input_schema_json=json.dumps(_SCHEMA))
    definition = definition_pb2.Definition(slug="custom", title="Custom", actions=[action])
    (draft,) = Draftsman(definition).drafts(["action.request"])
    if not isinstance(draft, Draft):
        raise TypeError(draft.problem)
    tree = canonical.read(form_pb2.FormDocument.FromString(draft.document))
    tree = replace(tree, target=Command(COMMAND))
    return tree, JsonSchema.compile(json_schema.project(tree))
