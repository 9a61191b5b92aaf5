"""OpenAPI documents for tests, and what they become."""

from __future__ import annotations

import json
from typing import Any

from cordboard.catalog.definition import problems
from cordboard.catalog.openapi import Imported, import_document
from cordboard.catalog.v1.catalog_service_pb2 import ImportFinding
from cordboard.catalog.v1.definition_pb2 import Action

SERVERS = [{"url": "https://api.acme.example/v1"}]


def a_document(paths: Any = None, *, openapi: str = "3.0.3", **members: Any) -> dict[str, Any]:
    """Returns an OpenAPI document; a member given as None is left out."""
    document = {
        "openapi": openapi,
        "info": {"title": "Acme Desk", "version": "7"},
        "servers": SERVERS,
        "paths": paths or {},
    } | members
    return {name: value for name, value in document.items() if value is not None}


def an_operation(**members: Any) -> dict[str, Any]:
    """Returns an operation that answers nothing."""
    return {"operationId": "run", "responses": {"204": {"description": "done"}}} | members


def a_parameter(name: str, place: str = "query", schema: Any = None, **members: Any) -> dict[str, Any]:
    """Returns a parameter that is a text unless told otherwise."""
    return {"name": name, "in": place, "schema": {"type": "string"} if schema is None else schema} | members


def json_body(schema: Any, *, required: bool = True, media_type: str = "application/json") -> dict[str, Any]:
    """Returns a request body."""
    return {"required": required, "content": {media_type: {"schema": schema}}}


def answers(schema: Any, **members: Any) -> dict[str, Any]:
    """Returns the responses of an operation that answers JSON."""
    return {"200": {"description": "ok", "content": {"application/json": {"schema": schema}}} | members}


def imported(document: dict[str, Any], **arguments: Any) -> Imported:
    """Returns what a document became; the definition can always be published."""
    became = import_document(json.dumps(document), **arguments)
    assert problems(became.definition) == []
    assert became.report.action_count == len(became.definition.actions)
    assert import_document(json.dumps(document), **arguments) == became
    return became


def the_action(operation: dict[str, Any], *, path: str = "/run", method: str = "post", **members: Any) -> Action:
    """Returns the action that one operation became."""
    (action,) = imported(a_document({path: {method: operation}}, **members)).definition.actions
    return action


def input_schema(action: Action) -> dict[str, Any]:
    """Returns the schema of an action's input."""
    schema: dict[str, Any] = json.loads(action.input_schema_json)
    return schema


def findings(became: Imported, severity: ImportFinding.Severity.ValueType) -> list[tuple[str, str]]:
    """Returns the pointers and texts of one kind of finding."""
    return [(one.pointer, one.text) for one in became.report.findings if one.severity == severity]


def notes(became: Imported) -> list[tuple[str, str]]:
    """Returns what was derived."""
    return findings(became, ImportFinding.SEVERITY_NOTE)


def repairs(became: Imported) -> list[tuple[str, str]]:
    """Returns what was repaired."""
    return findings(became, ImportFinding.SEVERITY_REPAIR)


def losses(became: Imported) -> list[tuple[str, str]]:
    """Returns what was left out."""
    return findings(became, ImportFinding.SEVERITY_LOSS)
