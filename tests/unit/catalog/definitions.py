"""Definitions for tests: a whole small one, and a strategy for documents of every shape that the format has."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from cordboard.catalog.document import holds_object, to_plain
from cordboard.catalog.v1.definition_pb2 import Definition

DOCUMENT = """
slug: acme-desk
title: Acme Desk
description: Keeps tickets.
category: api
owner: integrations
criticality: high
tags: [support]
servers:
- url: https://{region}.acme.example/v1
  variables:
  - name: region
    default_value: eu
    allowed_values: [eu, us]
auth_schemes:
- id: oauth
  oauth2:
    authorization_url: https://acme.example/authorize
    token_url: https://acme.example/token
    scopes:
    - {name: 'tickets:read'}
    default_scopes: ['tickets:read']
- id: key
  api_key: {placement: header, name: X-Api-Key}
- id: open
  none: {}
schemas:
  Ticket:
    type: object
    properties:
      id: {type: string}
      parent: {$ref: '#/$defs/Ticket'}
actions:
- id: list_tickets
  title: List tickets
  input_schema:
    type: object
    properties:
      cursor: {type: string}
      account: {type: string}
    required: [account]
  output_schema:
    type: object
    properties:
      data: {type: array, items: {$ref: '#/$defs/Ticket'}}
  request:
    method: GET
    path: /accounts/{account}/tickets
    headers: {X-Client: cordboard}
    parameters:
    - {property: account, name: account, placement: path}
    - {property: cursor, name: cursor, placement: query}
  paging:
    items_pointer: /data
    cursor: {cursor_property: cursor, next_pointer: /next}
  timeout: 2.5s
  auth_schemes: [oauth, key]
  scopes: ['tickets:read']
- id: create_ticket
  input_schema:
    type: object
    properties:
      subject: {type: string}
      notify: {type: boolean}
  request:
    method: POST
    path: /tickets
    parameters:
    - {property: notify, name: notify, placement: query, style: form, explode: false}
    body:
      encoding: json
      required: true
      fields:
      - {property: subject, name: subject}
  idempotency: not_idempotent
  idempotency_key_header: Idempotency-Key
- id: me
  request: {method: GET, path: /me}
rate_limit_headers: {remaining: RateLimit-Remaining}
check_action: me
"""


def plain(definition: Definition) -> dict[str, Any]:
    """Returns the document of a definition as plain values."""
    return to_plain(definition)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(texts, json_values, max_size=4)


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    """Makes a definition of any shape, with any texts: it need not mean anything."""
    definition = Definition()
    _fill(draw, definition, depth=0)
    return definition


def _fill(draw: st.DrawFn, message: Any, depth: int) -> None:
    for field in message.DESCRIPTOR.fields:
        if not draw(st.booleans()) or (field.containing_oneof is not None and _is_chosen(message, field)):
            continue
        if field.name.endswith("_json"):
            setattr(message, field.name, json.dumps(draw(json_objects if holds_object(field) else json_values)))
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name).update(draw(st.dictionaries(texts, texts, max_size=3)))
        elif field.message_type is not None and field.message_type.full_name == "google.protobuf.Duration":
            getattr(message, field.name).seconds = draw(st.integers(0, 999_999_999))
            getattr(message, field.name).nanos = draw(st.integers(0, 999_999_999))
        elif field.message_type is not None and field.is_repeated:
            for _ in range(draw(st.integers(1, 2))):
                _fill(draw, getattr(message, field.name).add(), depth + 1)
        elif field.message_type is not None:
            getattr(message, field.name).SetInParent()
            _fill(draw, getattr(message, field.name), depth + 1)
        elif field.is_repeated:
            getattr(message, field.name).extend(_scalar(draw, field) for _ in range(draw(st.integers(0, 3))))
        else:
            setattr(message, field.name, _scalar(draw, field))


def _is_chosen(message: Any, field: Any) -> bool:
    oneof = field.containing_oneof
    return len(oneof.fields) > 1 and message.WhichOneof(oneof.name) is not None


def _scalar(draw: st.DrawFn, field: Any) -> Any:
    if field.enum_type is not None:
        return draw(st.sampled_from([value.number for value in field.enum_type.values if value.number]))
    if field.type == field.TYPE_BOOL:
        return draw(st.booleans())
    if field.type == field.TYPE_INT32:
        return draw(st.integers(-(2**31), 2**31 - 1))
    return draw(texts)
