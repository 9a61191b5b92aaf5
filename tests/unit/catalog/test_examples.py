"""Recorded examples, executed with constants, config variables and the server that they choose."""

from __future__ import annotations

import pytest

from cordboard.catalog.definition import problems
from cordboard.catalog.document import read
from cordboard.catalog.examples import example_problems

DOCUMENT = """
slug: anvils
title: Anvils
servers:
- {id: main, url: 'https://{region}.anvils.example/v1'}
- {id: test, url: 'https://test.anvils.example/v1'}
config_variables:
- {name: region, default_value: eu}
- {name: where}
- {name: seats, schema: {type: integer}, required: true}
- {name: pin, secret: true}
actions:
- id: order
  input_schema: {type: object, properties: {sku: {type: string}}}
  request:
    method: POST
    path: /orders
    server_variable: where
    constants:
    - {placement: query, name: api-version, value: 2}
    - {placement: header, name: X-Pin, config_variable: pin}
    - {placement: body, name: seats, config_variable: seats}
    body: {encoding: json, fields: [{property: sku, name: sku}]}
  examples:
  - name: an anvil
    input: {sku: a1}
    config: {seats: 3, pin: p}
    request:
      method: POST
      url: https://eu.anvils.example/v1/orders?api-version=2
      headers: {X-Pin: p}
      body: {sku: a1, seats: 3}
"""


def found(text: str) -> list[tuple[str, str]]:
    definition = read(text).definition
    assert problems(definition) == []
    return [(one.field, one.description) for one in example_problems(definition)]


def test_an_example_that_comes_out_has_nothing_to_tell() -> None:
    assert found(DOCUMENT) == []
    assert found(DOCUMENT.replace("{seats: 3, pin", "{seats: 3, where: test, pin").replace("//eu.", "//test.")) == []
    assert found(DOCUMENT.replace("{seats: 3, pin", "{seats: 3, region: us, pin").replace("//eu.", "//us.")) == []


@pytest.mark.parametrize(
    ("before", "after", "field", "text"),
    [
        ("?api-version=2", "?api-version=3", ".url", "api-version=2"),
        ("{X-Pin: p}", "{X-Pin: q}", ".headers.X-Pin", "'p'"),
        ("{sku: a1, seats: 3}", "{sku: a1, seats: '3'}", ".body", '"seats":3'),
        ("{seats: 3, pin: p}", "{pin: p}", "", "'seats' has no value"),
        ("{seats: 3, pin: p}", "{seats: many, pin: p}", "", "'seats' has a value that does not fit"),
        ("{seats: 3, pin: p}", "{seats: 3, where: moon, pin: p}", "", "'where' names no server"),
        ("{seats: 3, pin: p}", "{seats: 3, region: 'a/b', pin: p}", "", "'region' has a value"),
    ],
)
def test_what_comes_out_otherwise_is_told(before: str, after: str, field: str, text: str) -> None:
    assert before in DOCUMENT
    [(where, what)] = found(DOCUMENT.replace(before, after))
    assert where == f"actions[0].examples[0].request{field}"
    assert text in what
