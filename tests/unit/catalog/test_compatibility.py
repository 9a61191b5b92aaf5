"""What each change of a definition does to those who use it: a table of changes, each judged in every mode."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from cordboard.catalog.compatibility import definitions
from cordboard.catalog.compatibility.definitions import breakages
from cordboard.catalog.compatibility.mode import Mode
from cordboard.catalog.document import read
from cordboard.catalog.v1.definition_pb2 import CompatibilityMode, Definition

BASE = """
slug: desk
version: 1.0.0
title: Desk
servers:
- url: https://{region}.desk.example
  variables:
  - {name: region, default_value: eu, allowed_values: [eu, us]}
config_variables:
- {name: project, schema: {type: string, maxLength: 20}}
auth_schemes:
- id: oauth
  oauth2:
    authorization_url: https://desk.example/authorize
    token_url: https://desk.example/token
    scopes: [{name: read}, {name: write}]
    default_scopes: [read]
- id: key
  api_key: {placement: header, name: X-Key}
  fields: [{name: account, optional: true}]
schemas:
  Ticket:
    type: object
    required: [id]
    properties:
      id: {type: integer}
      title: {type: string}
      state: {type: string, enum: [open, closed]}
      parent: {$ref: '#/$defs/Ticket'}
      labels: {type: array, items: {type: string}}
actions:
- id: list
  scopes: [read]
  input_schema:
    type: object
    properties:
      page: {type: integer, minimum: 1, maximum: 100}
      state: {type: string, enum: [open, closed]}
      query: {type: string, maxLength: 50}
      filter: {type: object, properties: {by: {type: string}}}
    required: [page]
  output_schema:
    type: object
    required: [tickets]
    properties:
      tickets: {type: array, items: {$ref: '#/$defs/Ticket'}}
      total: {type: integer}
  request:
    method: GET
    path: /tickets
    parameters:
    - {property: page, name: page, placement: query}
    - {property: state, name: state, placement: query}
    - {property: query, name: q, placement: query}
    - {property: filter, name: filter, placement: query, style: deep_object}
  paging:
    page: {page_property: page, first_page: 1}
- id: create
  input_schema:
    type: object
    properties: {title: {type: string}}
  output_schema: {$ref: '#/$defs/Ticket'}
  request:
    method: POST
    path: /tickets
    body: {encoding: json, fields: [{property: title, name: title}]}
  idempotency_key_header: Idempotency-Key
event_types:
- {id: ticket.made, payload_schema: {type: object, required: [id], properties: {id: {type: integer}}}}
- {id: ticket.moved, polling: {action: list, id_pointer: /id}}
webhook: {secret_variable: hook, signature: {algorithm: hmac_sha256, header: X-Signature}, type_pointer: /type}
"""


def at(value: Any, path: str) -> Any:
    for step in path.split("/"):
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def put(path: str, value: Any) -> Any:
    """Returns the change that puts a value at a place, or takes away what is there (...)."""

    def change(document: Any) -> None:
        holder, _, last = path.rpartition("/")
        place = at(document, holder) if holder else document
        key: Any = int(last) if isinstance(place, list) and last != "+" else last
        if value is ...:
            del place[key]
        elif last == "+":
            place.append(value)
        else:
            place[key] = value

    return change


def both(first: Any, second: Any) -> Any:
    """Returns two changes as one."""

    def change(document: Any) -> None:
        first(document)
        second(document)

    return change


INPUT, OUTPUT, TICKET = "actions/0/input_schema", "actions/0/output_schema", "schemas/Ticket/properties"
BOTH, BACKWARD, FORWARD, NEITHER = (True, True), (True, False), (False, True), (False, False)

# What is changed, whether users of the old version may go on, whether users of the new one may go back, and the rule
# that the first of the directions that fails names.
CHANGES: list[tuple[str, Any, tuple[bool, bool], str]] = [
    ("a title", put("title", "Other"), BOTH, ""),
    ("a description of an input", put(f"{INPUT}/properties/page/description", "x"), BOTH, ""),
    ("a method", put("actions/1/request/method", "PATCH"), BOTH, ""),
    ("a path", put("actions/0/request/path", "/v2/tickets"), BOTH, ""),
    ("an action is added", put("actions/+", {"id": "me", "request": {"method": "GET", "path": "/me"}}), BACKWARD,
     "ACTION_REMOVED"),
    ("an action is removed", put("actions/1", ...), FORWARD, "ACTION_REMOVED"),
    ("an action has another id", put("actions/1/id", "make"), NEITHER, "ACTION_REMOVED"),
    ("an event type is added", put("event_types/+", {"id": "ticket.gone"}), BACKWARD, "EVENT_TYPE_REMOVED"),
    ("an event type is removed", put("event_types/1", ...), FORWARD, "EVENT_TYPE_REMOVED"),
    ("a certain member of an event is one no more", put("event_types/0/payload_schema/required", ...), FORWARD,
     "REQUIRED_ADDED"),
    ("a member of an event has another type", put("event_types/0/payload_schema/properties/id/type", "string"), NEITHER,
     "TYPE_NARROWED"),
    ("an event carries more", put("event_types/0/payload_schema/properties/at", {"type": "string"}), BOTH, ""),
    ("webhooks come no more", put("webhook", ...), FORWARD, "EVENT_SOURCE_REMOVED"),
    ("a webhook is signed in another way", put("webhook/signature/algorithm", "hmac_sha512"), BOTH, ""),
    ("an optional input is added", put(f"{INPUT}/properties/limit", {"type": "integer"}), BACKWARD, "PROPERTY_REMOVED"),
    ("an input is described no more", put(f"{INPUT}/properties/filter", ...), BACKWARD, "TYPE_NARROWED"),
    ("an optional input is removed", both(put(f"{INPUT}/properties/filter", ...),
        put("actions/0/request/parameters/3", ...)), FORWARD, "PROPERTY_REMOVED"),
    ("an input becomes required", put(f"{INPUT}/required", ["page", "query"]), FORWARD, "REQUIRED_ADDED"),
    ("an input becomes optional", put(f"{INPUT}/required", []), BACKWARD, "REQUIRED_ADDED"),
    ("an input has another type", put(f"{INPUT}/properties/query/type", "integer"), NEITHER, "TYPE_NARROWED"),
    ("an input takes more types", put(f"{INPUT}/properties/query/type", ["string", "null"]), BACKWARD,
     "TYPE_NARROWED"),
    ("an integer becomes a number", put(f"{INPUT}/properties/page/type", "number"), BACKWARD, "TYPE_NARROWED"),
    ("a choice is added", put(f"{INPUT}/properties/state/enum", ["open", "closed", "held"]), BACKWARD,
     "VALUES_NARROWED"),
    ("a choice is removed", put(f"{INPUT}/properties/state/enum", ["open"]), FORWARD, "VALUES_NARROWED"),
    ("any choice is allowed", put(f"{INPUT}/properties/state/enum", ...), BACKWARD, "VALUES_NARROWED"),
    ("a minimum rises", put(f"{INPUT}/properties/page/minimum", 2), FORWARD, "RANGE_NARROWED"),
    ("a minimum falls", put(f"{INPUT}/properties/page/minimum", 0), BACKWARD, "RANGE_NARROWED"),
    ("a maximum falls", put(f"{INPUT}/properties/page/maximum", 50), FORWARD, "RANGE_NARROWED"),
    ("a maximum goes", put(f"{INPUT}/properties/page/maximum", ...), BACKWARD, "RANGE_NARROWED"),
    ("a divisor is asked for", put(f"{INPUT}/properties/page/multipleOf", 5), FORWARD, "RANGE_NARROWED"),
    ("a text may be longer", put(f"{INPUT}/properties/query/maxLength", 60), BACKWARD, "SIZE_NARROWED"),
    ("a text must be shorter", put(f"{INPUT}/properties/query/maxLength", 40), FORWARD, "SIZE_NARROWED"),
    ("a text must be longer", put(f"{INPUT}/properties/query/minLength", 1), FORWARD, "SIZE_NARROWED"),
    ("a pattern is asked for", put(f"{INPUT}/properties/query/pattern", "^a"), FORWARD, "PATTERN_CHANGED"),
    ("a format is asked for", put(f"{INPUT}/properties/query/format", "date"), FORWARD, "FORMAT_CHANGED"),
    ("an inner input is added", put(f"{INPUT}/properties/filter/properties/to", {"type": "string"}), BOTH, ""),
    ("an inner input is required", put(f"{INPUT}/properties/filter/required", ["by"]), FORWARD, "REQUIRED_ADDED"),
    ("an inner object is closed", put(f"{INPUT}/properties/filter/additionalProperties", False), BOTH, ""),
    ("an input may be one of two", put(f"{INPUT}/properties/query", {"anyOf": [
        {"type": "string", "maxLength": 50}, {"type": "integer"}]}), BACKWARD, "TYPE_NARROWED"),
    ("inputs exclude each other", put(f"{INPUT}/not", {"required": ["query", "state"]}), FORWARD, "CANNOT_PROVE"),
    ("an optional output is added", put(f"{OUTPUT}/properties/next", {"type": "string"}), BOTH, ""),
    ("an optional output is removed", put(f"{OUTPUT}/properties/total", ...), BOTH, ""),
    ("a required output is optional", put(f"{OUTPUT}/required", []), FORWARD, "REQUIRED_ADDED"),
    ("an output becomes certain", put(f"{OUTPUT}/required", ["tickets", "total"]), BACKWARD, "REQUIRED_ADDED"),
    ("an output may be null", put(f"{OUTPUT}/properties/total/type", ["integer", "null"]), FORWARD, "TYPE_NARROWED"),
    ("an output is wider", put(f"{OUTPUT}/properties/total/type", "number"), FORWARD, "TYPE_NARROWED"),
    ("an output is not described", put(OUTPUT, ...), FORWARD, "TYPE_NARROWED"),
    ("a shared output has another state", put(f"{TICKET}/state/enum", ["open", "closed", "held"]), FORWARD,
     "VALUES_NARROWED"),
    ("a shared output loses a state", put(f"{TICKET}/state/enum", ["open"]), BACKWARD, "VALUES_NARROWED"),
    ("a shared output has another type", put(f"{TICKET}/id/type", "string"), NEITHER, "TYPE_NARROWED"),
    ("a shared list has other items", put(f"{TICKET}/labels/items/type", "integer"), NEITHER, "TYPE_NARROWED"),
    ("a shared output loses its required field", put("schemas/Ticket/required", []), FORWARD, "REQUIRED_ADDED"),
    ("a scheme is added", put("auth_schemes/+", {"id": "basic", "basic": {}}), BACKWARD, "AUTH_SCHEME_REMOVED"),
    ("a scheme is removed", put("auth_schemes/1", ...), FORWARD, "AUTH_SCHEME_REMOVED"),
    ("a scheme has another kind", put("auth_schemes/1", {"id": "key", "bearer": {}}), NEITHER, "AUTH_KIND_CHANGED"),
    ("a scheme asks for a scope", put("auth_schemes/0/oauth2/default_scopes", ["read", "write"]), FORWARD,
     "SCOPE_ADDED"),
    ("a scheme asks for no scope", put("auth_schemes/0/oauth2/default_scopes", []), BACKWARD, "SCOPE_ADDED"),
    ("a field of a scheme is required", put("auth_schemes/1/fields/0/optional", False), FORWARD,
     "CREDENTIAL_FIELD_REQUIRED"),
    ("a field is added to a scheme", put("auth_schemes/1/fields/+", {"name": "team"}), FORWARD,
     "CREDENTIAL_FIELD_REQUIRED"),
    ("an optional field is added to a scheme", put("auth_schemes/1/fields/+", {"name": "team", "optional": True}),
     BOTH, ""),
    ("a key goes elsewhere", put("auth_schemes/1/api_key/name", "X-Token"), BOTH, ""),
    ("an action needs a scope", put("actions/0/scopes", ["read", "write"]), FORWARD, "SCOPE_ADDED"),
    ("an action takes one scheme", put("actions/0/auth_schemes", ["oauth"]), FORWARD, "AUTH_SCHEME_NOT_ACCEPTED"),
    ("an action has pages no more", put("actions/0/paging", ...), FORWARD, "PAGING_REMOVED"),
    ("an action is no more safe", put("actions/0/idempotency", "not_idempotent"), FORWARD, "IDEMPOTENCY_WEAKENED"),
    ("an action takes no key", put("actions/1/idempotency_key_header", ...), FORWARD, "IDEMPOTENCY_WEAKENED"),
    ("an action streams", put("actions/0/streaming", "json_lines"), NEITHER, "STREAMING_CHANGED"),
    ("a region is added", put("servers/0/variables/0/allowed_values", ["eu", "us", "ap"]), BACKWARD,
     "CONFIGURATION_NARROWED"),
    ("a region is removed", put("servers/0/variables/0/allowed_values", ["eu"]), FORWARD, "CONFIGURATION_NARROWED"),
    ("a region must be given", put("servers/0/variables/0/default_value", ...), FORWARD, "CONFIGURATION_REQUIRED"),
    ("a variable must be set", put("config_variables/0/required", True), FORWARD, "CONFIGURATION_REQUIRED"),
    ("a variable is added", put("config_variables/+", {"name": "team"}), BOTH, ""),
    ("a variable is shorter", put("config_variables/0/schema/maxLength", 10), FORWARD, "SIZE_NARROWED"),
]  # fmt: skip


def a_definition(document: Any) -> Definition:
    return read(yaml.safe_dump(document)).definition


def changed(change: Any) -> tuple[Definition, Definition]:
    document = yaml.safe_load(BASE)
    old = a_definition(document)
    made = copy.deepcopy(document)
    change(made)
    made["version"] = "1.1.0"
    return old, a_definition(made)


def test_the_table_is_large_and_has_every_outcome() -> None:
    assert len(CHANGES) >= 60
    assert {outcome for _, _, outcome, _ in CHANGES} == {BOTH, BACKWARD, FORWARD, NEITHER}


@pytest.mark.parametrize(("change", "outcome", "rule"), [row[1:] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_a_change_is_judged(change: Any, outcome: tuple[bool, bool], rule: str) -> None:
    old, new = changed(change)
    found = breakages(old, new, backward=True, forward=True)
    hurt = {one.direction for one in found}
    assert ("backward" not in hurt, "forward" not in hurt) == outcome, found
    assert all(one.field and one.description and one.version == "1.0.0" for one in found)
    if rule:
        assert any(one.rule.startswith(rule) for one in found), found
    # Seen from the other side, the directions change places.
    turned = {one.direction for one in breakages(new, old, backward=True, forward=True)}
    assert ("forward" not in turned, "backward" not in turned) == outcome
    for mode in Mode:
        allowed = not breakages(old, new, backward=mode.backward, forward=mode.forward)
        wanted = (outcome[0] or not mode.backward) and (outcome[1] or not mode.forward)
        assert allowed == wanted, mode


def test_a_refusal_names_the_field_and_the_rule() -> None:
    (one,) = breakages(*changed(put(f"{TICKET}/state/enum", ["open", "held", "closed"])), backward=True, forward=False)[
        :1
    ]
    assert one.field == "actions[list].output_schema.properties.tickets.items.properties.state"
    assert (one.rule, one.direction) == ("VALUES_NARROWED", "backward")
    assert '"held"' in one.description


def test_a_checker_that_looks_at_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "_broken", lambda *_: iter(()))
    wrong = [row for row in CHANGES if row[2] != BOTH]
    assert all(not breakages(*changed(row[1]), backward=True, forward=True) for row in wrong)
    assert len(wrong) > 40


@pytest.mark.parametrize("name", CompatibilityMode.keys())
def test_every_mode_that_a_definition_can_declare_is_known(name: str) -> None:
    declared = Definition(compatibility=CompatibilityMode.Value(name))
    wanted = name.removeprefix("COMPATIBILITY_MODE_")
    assert Mode.declared([declared]).value == ("NONE" if wanted == "UNSPECIFIED" else wanted)


def test_a_promise_holds_until_another_one_is_made() -> None:
    before = Definition(compatibility=CompatibilityMode.COMPATIBILITY_MODE_FULL)
    assert Mode.declared([Definition(), before]) is Mode.FULL
    released = Definition(compatibility=CompatibilityMode.COMPATIBILITY_MODE_NONE)
    assert Mode.declared([released, before]) is Mode.NONE
