"""What a definition may say of events: each rule refuses what breaks it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from cordboard.catalog import capabilities
from cordboard.catalog.definition import problems
from cordboard.catalog.document import read
from cordboard.core.errors import Violation

BASE = """
slug: desk
title: Desk
servers: [{url: 'https://desk.example'}]
config_variables: [{name: hook, secret: true}, {name: shown}]
schemas: {Ticket: {type: object}}
actions:
- id: list
  input_schema: {type: object, properties: {after: {type: string}, kind: {type: string}}}
  request:
    method: GET
    path: /tickets
    parameters:
    - {property: after, name: after, placement: query}
    - {property: kind, name: kind, placement: query}
- {id: make, request: {method: POST, path: /tickets}}
event_types:
- {id: made, payload_schema: {$ref: '#/$defs/Ticket'}, vendor_types: [created]}
- {id: moved, polling: {action: list, id_pointer: /id, cursor_pointer: /at, cursor_property: after}}
webhook:
  signature:
    algorithm: hmac_sha256
    header: X-Signature
    prefix: v1=
    separator: ','
    timestamp_prefix: t=
    signed_content: '{timestamp}.{body}'
  secret_variable: hook
  type_pointer: /type
  challenges: [{pointer: /challenge}]
"""
SIGNATURE, POLLING, CHALLENGE = "webhook.signature", "event_types.1.polling", "webhook.challenges.0"


def found(**changes: Any) -> list[Violation]:
    """Returns what is wrong after these changes: a path with `__` for dots, and a value, or ... for none."""
    document = yaml.safe_load(BASE)
    for path, value in changes.items():
        *steps, last = path.replace("__", ".").split(".")
        holder = document
        for step in steps:
            holder = holder[int(step)] if isinstance(holder, list) else holder[step]
        if value is ...:
            del holder[last]
        else:
            holder[last] = copy.deepcopy(value)
    told = problems(read(yaml.safe_dump(document)).definition)
    return [one for one in told if "needs the capability" not in one.description]


def test_the_document_that_the_changes_begin_with_is_right() -> None:
    assert found() == []
    assert {"events.polling", "events.webhook"} <= capabilities.needed(read(BASE).definition)


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("event_types.0.id", "", "event_types[0].id"),
        ("event_types.0.id", ".x", "event_types[0].id"),
        ("event_types.0.id", "moved", "event_types[1].id"),
        ("event_types.0.vendor_types", ["moved"], "event_types[1].id"),
        ("event_types.0.payload_schema", {"$ref": "#/$defs/None"}, "event_types[0].payload_schema"),
        ("event_types.0.payload_schema", {"type": "nothing"}, "event_types[0].payload_schema"),
        ("event_types", [], "webhook"),
        ("webhook", ..., "event_types[0]"),
        ("webhook.secret_variable", "none", "webhook.secret_variable"),
        ("webhook.secret_variable", "shown", "webhook.secret_variable"),
        ("webhook.type_header", "X-Type", "webhook.type_header"),
        ("webhook.type_pointer", ..., "webhook.type_pointer"),
        (f"{SIGNATURE}.algorithm", ..., "webhook.signature.algorithm"),
        (f"{SIGNATURE}.header", "a b", "webhook.signature.header"),
        (f"{SIGNATURE}.signed_content", "{timestamp}", "webhook.signature.signed_content"),
        (f"{SIGNATURE}.signed_content", "{body}", "webhook.signature.signed_content"),
        (f"{SIGNATURE}.signed_content", "{timestamp}.{body}.{secret}", "webhook.signature.signed_content"),
        (f"{SIGNATURE}.signed_content", "{timestamp}.{body}}", "webhook.signature.signed_content"),
        (f"{SIGNATURE}.signed_content", "{id}.{timestamp}.{body}", "webhook.signature.signed_content"),
        (f"{SIGNATURE}.timestamp_prefix", ..., "webhook.signature.signed_content"),
        (f"{SIGNATURE}.timestamp_header", "X-Time", "webhook.signature.timestamp_prefix"),
        (f"{SIGNATURE}.separator", ..., "webhook.signature.separator"),
        (f"{SIGNATURE}.timestamp_format", "duration", "webhook.signature.timestamp_format"),
        (f"{SIGNATURE}.encoding", "text", "webhook.signature.encoding"),
        (f"{SIGNATURE}.algorithm", "shared_secret", "webhook.signature.signed_content"),
        (f"{SIGNATURE}.tolerance", "7200s", "webhook.signature.tolerance"),
        (f"{CHALLENGE}.query_parameter", "q", "webhook.challenges[0]"),
        (f"{CHALLENGE}.condition_pointer", "/type", "webhook.challenges[0].condition_equals"),
        (f"{CHALLENGE}.condition_equals", "x", "webhook.challenges[0].condition_equals"),
        (f"{CHALLENGE}.hmac_member", "x", "webhook.challenges[0].hmac_member"),
        (f"{POLLING}.action", "none", "event_types[1].polling.action"),
        (f"{POLLING}.action", "make", "event_types[1].polling.action"),
        (f"{POLLING}.cursor_property", ..., "event_types[1].polling.cursor_property"),
        (f"{POLLING}.cursor_property", "none", "event_types[1].polling.cursor_property"),
        (f"{POLLING}.input", {"none": 1}, "event_types[1].polling.input"),
        (f"{POLLING}.interval", "0.1s", "event_types[1].polling.interval"),
        (f"{POLLING}.id_pointer", ..., "event_types[1].polling.id_pointer"),
        ("actions.0.input_schema.required", ["kind"], "event_types[1].polling.input"),
    ],
)
def test_what_cannot_be_is_refused_where_it_stands(path: str, value: Any, field: str) -> None:
    assert field in [one.field for one in found(**{path: value})]


def test_a_public_key_need_not_be_secret() -> None:
    ed25519 = {"algorithm": "ed25519", "header": "X-Signature"}
    assert found(webhook__signature=ed25519, webhook__secret_variable="shown") == []
    hmac = {"algorithm": "hmac_sha1", "header": "X-Signature"}
    assert [one.field for one in found(webhook__signature=hmac, webhook__secret_variable="shown")] == [
        "webhook.secret_variable"
    ]
