"""What config variables and the fields of auth schemes must mean: values that people set and a definition names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from cordboard.catalog.findings import shown
from cordboard.catalog.schemas import wording_problem
from cordboard.core.schema import JsonSchema, SchemaInvalid

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from cordboard.catalog.findings import Findings
    from cordboard.catalog.v1.definition_pb2 import AuthField, Definition


def check_config_variables(definition: Definition, found: Findings) -> None:
    """Notes everything that is wrong with the config variables."""
    known: set[str] = set()
    for index, variable in enumerate(definition.config_variables):
        below = found.below("config_variables", index)
        below.require(variable.name not in known, "name", f"{shown(variable.name)} stands there already")
        known.add(variable.name)
        schema = _compiled(variable.schema_json, below)
        if not variable.default_value_json:
            continue
        if variable.secret:
            below.add("default_value", "cannot be there for a secret: everybody who reads the definition would know it")
        value = _loaded(variable.default_value_json)
        if value is None or isinstance(value, (dict, list)):
            below.add("default_value", "must be text, a number, true or false")
        elif schema is not None and not schema.accepts(value):
            below.add("default_value", "does not fit the schema")


def check_fields(fields: Iterable[AuthField], variables: Collection[str], found: Findings) -> None:
    """Notes everything that is wrong with what a scheme asks for; `variables` are the config variables' names."""
    known: set[str] = set()
    for index, field in enumerate(fields):
        below = found.below("fields", index)
        below.require(field.name not in known, "name", f"{shown(field.name)} stands there already")
        below.require(field.name not in variables, "name", f"{shown(field.name)} is a config variable too")
        known.add(field.name)
        _compiled(field.schema_json, below)


def _compiled(text: str, found: Findings) -> JsonSchema | None:
    schema = _loaded(text) if text else {}
    if not isinstance(schema, dict):
        return None
    problem = wording_problem(schema, {})
    if not problem:
        try:
            return JsonSchema.compile(schema)
        except SchemaInvalid as error:
            problem = str(error)
    found.add("schema", problem)
    return None


def _loaded(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
