"""What an action says about other actions and about its own input: async jobs, form hints, successors, examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from cordboard.catalog.findings import shown
from cordboard.catalog.v1.definition_pb2 import ErrorAction, Idempotency, Widget
from cordboard.core.json_pointers import unescape
from cordboard.core.schema import JsonSchema, SchemaInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cordboard.catalog.findings import Findings
    from cordboard.catalog.v1.definition_pb2 import Action, AsyncJob, Definition, Example, FormHint, OptionSource

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def check_references(definition: Definition, found: Findings) -> None:
    """Notes what actions say of each other, of their inputs and of config variables that is not so."""
    actions = {action.id: action for action in definition.actions}
    inputs: dict[str, Mapping[str, Any]] = {}

    def properties(action: Action) -> Mapping[str, Any]:
        known = inputs.get(action.id)
        if known is None:
            named = _object(action.input_schema_json).get("properties", {})
            known = inputs[action.id] = named if isinstance(named, dict) else {}
        return known

    for index, action in enumerate(definition.actions):
        below = found.below("actions", index)
        if action.deprecation.successor:
            _check_successor(action, actions, below.below("deprecation"))
        if action.HasField("async_job"):
            _check_job(action, action.async_job, actions, properties, below.below("async_job"))
        _check_hints(action, actions, properties, below)
        names: set[str] = set()
        for position, example in enumerate(action.examples):
            one = below.below("examples", position)
            one.require(example.name not in names, "name", f"{shown(example.name)} stands there already")
            names.add(example.name)
            _check_example(example, action, definition, one)


def is_safe(action: Action) -> bool:
    """Tells whether an action changes nothing."""
    if action.idempotency == Idempotency.IDEMPOTENCY_UNSPECIFIED:
        return action.request.method in _READING
    return action.idempotency == Idempotency.IDEMPOTENCY_SAFE


def _check_successor(action: Action, actions: Mapping[str, Action], found: Findings) -> None:
    successor = action.deprecation.successor
    if successor == action.id:
        found.add("successor", "is the action itself")
    elif successor not in actions:
        found.add("successor", f"{shown(successor)} is not one of the actions")


def _check_job(action: Action, job: AsyncJob, actions: Mapping[str, Action], properties: Any, found: Findings) -> None:
    for field in ("status_action", "result_action"):
        name = getattr(job, field)
        if not name:
            continue
        other = actions.get(name)
        if other is None:
            found.add(field, f"{shown(name)} is not one of the actions")
        elif name == action.id:
            found.add(field, "is the action itself")
        elif other.HasField("async_job"):
            found.add(field, f"{shown(name)} starts a job itself")
        elif not is_safe(other):
            found.add(field, f"{shown(name)} changes something, and is called again and again")
        else:
            held = job.job_property in properties(other)
            found.require(held, "job_property", f"{shown(job.job_property)} is not a property of {shown(name)}'s input")
    for state in job.failed_states:
        found.require(state not in job.done_states, "failed_states", f"{shown(state)} is one of `done_states` too")


def _check_hints(action: Action, actions: Mapping[str, Action], properties: Any, found: Findings) -> None:
    own = properties(action)
    known: set[str] = set()
    for index, hint in enumerate(action.form_hints):
        below = found.below("form_hints", index)
        below.require(hint.property not in known, "property", f"{shown(hint.property)} stands there already")
        known.add(hint.property)
        held = hint.property in own or (hint.property.startswith("/") and _first(hint.property) in own)
        below.require(held, "property", f"{shown(hint.property)} is not a property of the input")
        if hint.HasField("options"):
            _check_options(hint, hint.options, actions, own, properties, below.below("options"))


def _check_options(
    hint: FormHint,
    options: OptionSource,
    actions: Mapping[str, Action],
    own: Mapping[str, Any],
    properties: Any,
    found: Findings,
) -> None:
    other = actions.get(options.action)
    if hint.widget not in (Widget.WIDGET_UNSPECIFIED, Widget.WIDGET_SELECT):
        found.add("", "are only for the widget `select`")
    if other is None:
        found.add("action", f"{shown(options.action)} is not one of the actions")
        return
    found.require(is_safe(other), "action", f"{shown(options.action)} changes something")
    theirs = properties(other)
    given = {*_object(options.input_json), *options.input_fields}
    for name in sorted(given):
        found.require(name in theirs, "input", f"{shown(name)} is not a property of {shown(options.action)}'s input")
    for name in sorted(options.input_fields):
        field = options.input_fields[name]
        held = field in own or (field.startswith("/") and _first(field) in own)
        found.require(held, f"input_fields.{name}", f"{shown(field)} is not a property of the input")
    if options.search_property:
        held = options.search_property in theirs
        text = f"{shown(options.search_property)} is not a property of {shown(options.action)}'s input"
        found.require(held, "search_property", text)
        given.add(options.search_property)
    required = _object(other.input_schema_json).get("required", [])
    for name in required if isinstance(required, list) else []:
        found.require(name in given, "input", f"has no {shown(str(name))}, which {shown(options.action)} requires")


def _check_example(example: Example, action: Action, definition: Definition, found: Findings) -> None:
    if not example.HasField("request") and not example.HasField("response"):
        found.add("", "has neither a request nor a response")
    good = example.outcome in (ErrorAction.ERROR_ACTION_UNSPECIFIED, ErrorAction.ERROR_ACTION_SUCCESS)
    if example.output_json and not example.HasField("response"):
        found.add("output", "needs a response to come from")
    elif example.output_json and not good:
        found.add("output", "cannot be there where the outcome is none of success")
    for name in ("request", "response"):
        part: Any = getattr(example, name)
        if part.body_json and part.body_text:
            found.add(f"{name}.body_text", "cannot stand beside `body`")
    variables = {one.name for one in definition.config_variables}
    for server in definition.servers:
        variables.update(variable.name for variable in server.variables)
    for name in sorted(_object(example.config_json)):
        found.require(name in variables, f"config.{name}", f"{shown(name)} is not one of the config variables")
    schema = {**_object(action.input_schema_json), "$defs": _object(definition.schemas_json)}
    try:
        wrong = JsonSchema.compile(schema).violations(_object(example.input_json), "input")
    except SchemaInvalid:
        return  # Told where the schema stands.
    for violation in wrong:
        found.add(violation.field, violation.description)


def _first(pointer: str) -> str:
    return unescape(pointer.split("/")[1])


def _object(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
