"""Each rule of `cordboard check`, and what breaks it."""

from __future__ import annotations

import pytest

from cordboard.catalog import folder
from cordboard.catalog.folder import File, Finding, Report, check_files

GOOD = """
slug: anvils
version: 1.0.0
title: Anvils
owner: smiths@example.com
criticality: low
documentation_uri: https://anvils.example/docs
review_interval_days: 90
compatibility: backward
servers: [{url: 'https://{place}.anvils.example/v1', variables: [{name: place}]}]
auth_schemes: [{id: key, api_key: {placement: header, name: X-Key}}]
actions:
- id: list
  input_schema: {type: object, properties: {page: {type: integer}, kind: {type: string}}}
  request:
    method: GET
    path: /anvils
    headers: {X-Version: '2'}
    parameters:
    - {property: page, name: page, placement: query}
    - {property: kind, name: kind, placement: query}
  paging: {items_pointer: /data, page: {page_property: page}}
  examples:
  - name: small ones
    input: {kind: very small}
    config: {place: eu}
    request: {method: GET, url: 'https://eu.anvils.example/v1/anvils?kind=very%20small', headers: {x-version: '2'}}
    response: {status: 200, body: {data: []}}
- id: forge
  input_schema: {type: object, properties: {weight: {type: integer}}, required: [weight]}
  output_schema: {type: object, properties: {id: {type: string}}, required: [id]}
  request:
    method: POST
    path: /anvils
    body: {encoding: json, fields: [{property: weight, name: kg}]}
  examples:
  - name: a heavy one
    input: {weight: 300}
    config: {place: eu}
    request: {method: POST, url: 'https://eu.anvils.example/v1/anvils', body: {kg: 300}}
    response: {status: 201, body: {id: a1}}
    output: {id: a1}
"""


def one(text: str, *others: File, earlier: str = "") -> Report:
    before = [File("before/anvils.yaml", earlier)] if earlier else []
    return check_files([File("here/anvils.yaml", text), *others], before)[0]


def only(text: str, *others: File, earlier: str = "") -> Finding:
    [found] = one(text, *others, earlier=earlier).findings
    return found


def test_a_good_definition_has_nothing_to_tell() -> None:
    assert one(GOOD, earlier=GOOD) == Report("here/anvils.yaml", "anvils", 2, 2)


def test_what_cannot_be_read_is_told_with_its_place() -> None:
    found = only(GOOD.replace("title: Anvils", "titel: Anvils"))

    assert (found.rule, found.line, found.column) == (folder.READABLE, 4, 1)
    assert "titel" in found.text


def test_what_cannot_be_published_is_told_with_its_place() -> None:
    found = only(GOOD.replace("page_property: page}", "page_property: pages}"))

    assert found.rule == folder.MEANING
    assert found.line > 10


@pytest.mark.parametrize(
    ("before", "after", "rule", "field"),
    [
        ("slug: anvils", "slug: hammers", folder.NAMING, "slug"),
        ("owner: smiths@example.com\n", "", folder.OWNERSHIP, "owner"),
        ("criticality: low\n", "", folder.OWNERSHIP, "criticality"),
        ("documentation_uri: https://anvils.example/docs\n", "", folder.OWNERSHIP, "documentation_uri"),
        ("review_interval_days: 90\n", "", folder.REVIEW, "review_interval_days"),
        ("request: {method: GET, url", "request: {method: PUT, url", folder.EXAMPLES, ".request.method"),
        ("very%20small", "very%20large", folder.EXAMPLES, ".request.url"),
        ("x-version: '2'", "x-version: '3'", folder.EXAMPLES, ".request.headers.x-version"),
        ("body: {kg: 300}", "body: {kg: 301}", folder.EXAMPLES, ".request.body"),
        ("body: {kg: 300}", "body_text: ''", folder.EXAMPLES, ".request.body_text"),
        ("body: {data: []}", "body: {anvils: []}", folder.EXAMPLES, ".response.body"),
        ("output: {id: a1}", "output: {name: a1}", folder.EXAMPLES, ".output"),
        ("    config: {place: eu}\n    request: {method: G", "    request: {method: G", folder.EXAMPLES, ".request"),
    ],
)
def test_what_breaks_a_rule_is_found(before: str, after: str, rule: str, field: str) -> None:
    assert before in GOOD
    found = only(GOOD.replace(before, after))

    assert found.rule == rule
    assert found.field.endswith(field)


def test_two_files_of_one_slug_are_found_in_the_second() -> None:
    first, second = check_files([File("a/anvils.yaml", GOOD), File("b/anvils.yaml", GOOD)])

    assert first.findings == ()
    assert [(found.rule, found.field) for found in second.findings] == [(folder.NAMING, "slug")]
    assert "a/anvils.yaml" in second.findings[0].text


EXTENDING = "slug: anvils-eu\nextends: {integration: anvils, version: 1.0.0}\n"


def test_a_base_of_the_folder_is_merged_in() -> None:
    report = check_files([File("anvils-eu.yaml", EXTENDING), File("anvils.yaml", GOOD)])[0]

    assert report == Report("anvils-eu.yaml", "anvils-eu", 2, 2)


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ("integration: anvils", "integration: hammers", "extends.integration"),
        ("integration: anvils", "integration: anvils-eu", "extends.integration"),
        ("version: 1.0.0", "version: 2.0.0", "extends.version"),
        ("1.0.0}", "1.0.0, remove: [actions.melt]}", "extends.remove[0]"),
    ],
)
def test_a_base_that_is_not_so_is_found(before: str, after: str, field: str) -> None:
    text = EXTENDING.replace(before, after)
    report = check_files([File("anvils-eu.yaml", text), File("anvils.yaml", GOOD)])[0]

    assert [(found.rule, found.field) for found in report.findings] == [(folder.BASE, field)]


def test_what_breaks_the_promise_is_found_with_its_rule_and_its_place() -> None:
    found = only(GOOD.replace("required: [weight]", "required: [weight, x]").replace(
        "{weight: {type: integer}}", "{weight: {type: integer}, x: {type: integer}}").replace(
        "{property: weight, name: kg}", "{property: weight, name: kg}, {property: x, name: x}").replace(
        "input: {weight: 300}", "input: {weight: 300, x: 1}").replace("{kg: 300}", "{kg: 300, x: 1}"),
        earlier=GOOD)  # fmt: skip

    assert found.rule == folder.COMPATIBILITY
    assert found.field.startswith("actions[1].input_schema")
    assert "REQUIRED_ADDED" in found.text


def test_without_a_promise_everything_may_change() -> None:
    text = GOOD.replace("compatibility: backward", "compatibility: none")

    assert one(text[: text.index("- id: forge")], earlier=GOOD).findings == ()
    assert one(GOOD[: GOOD.index("- id: forge")], earlier=GOOD).findings[0].rule == folder.COMPATIBILITY
