"""Recorded answers are read when a definition is published, and have to come out as recorded."""

from __future__ import annotations

import pytest

from cordboard.catalog.definition import check, problems
from cordboard.catalog.document import read
from cordboard.core.errors import InvalidFields

DOCUMENT = """
slug: recorded
title: Recorded
servers: [{{url: 'https://recorded.example'}}]
error_rules: [{{pointer: /ok, equals: ['false'], action: fail}}]
actions:
- id: get
  request: {{method: GET, path: /x}}
  response: {response}
  examples:
  - name: one
    response: {answer}
    {rest}
"""


def told(answer: str, rest: str, response: str = "{}") -> dict[str, str]:
    definition = read(DOCUMENT.format(answer=answer, rest=rest, response=response)).definition
    assert problems(definition) == []
    try:
        check(definition)
    except InvalidFields as refused:
        return {one.field.partition("examples[0].")[2]: one.description for one in refused.violations}
    return {}


@pytest.mark.parametrize(
    ("answer", "rest", "response"),
    [
        ("{status: 200, body: {ok: true}}", "output: {ok: true}", "{}"),
        ("{status: 200, body: {ok: false}}", "outcome: fail", "{}"),
        ("{status: 429}", "outcome: rate_limited", "{}"),
        ("{status: 404}", "", "{success_statuses: [404]}"),
        ("{status: 200, body_text: 'a,b\n\n1,2'}", "output: [{a: '1', b: '2'}]", "{decoder: csv}"),
        ("{status: 200, body: {data: {id: 7}}}", "output: {key: 7}",
         "{output_pointer: /data, members: [{name: key, pointer: /id}]}"),
        ("{status: 200, headers: {ETag: v1}, body: {}}", "output: {version: v1}",
         "{members: [{name: version, header: etag}]}"),
        ("{status: 200, headers: {Content-Type: text/plain}, body_text: hello}", "output: hello", "{}"),
    ],
)  # fmt: skip
def test_a_recording_that_comes_out_as_it_says_is_taken(answer: str, rest: str, response: str) -> None:
    assert told(answer, rest, response) == {}


@pytest.mark.parametrize(
    ("answer", "rest", "response", "field", "problem"),
    [
        ("{status: 200, body: {ok: false}}", "", "{}", "outcome", "is success, and the answer means fail"),
        ("{status: 200, body: {ok: true}}", "outcome: retry", "{}", "outcome",
         "is retry, and the answer means success"),
        ("{status: 401}", "outcome: fail", "{}", "outcome",
         "is fail, and the answer means refresh_token_then_retry"),
        ("{status: 200, body: {a: 1}}", "output: {a: 2}", "{}", "output",
         "is otherwise than what 'get' makes of the response"),
        ("{status: 200, body: {a: 1}}", "output: {a: 1}", "{output_pointer: /a}", "output",
         "is otherwise than what 'get' makes of the response"),
        ("{status: 200, body_text: <a>}", "output: {a: null}", "{decoder: xml}", "response",
         "cannot be read: it is not XML"),
    ],
)  # fmt: skip
def test_a_recording_that_comes_out_otherwise_is_refused_where_it_stands(
    answer: str, rest: str, response: str, field: str, problem: str
) -> None:
    found = told(answer, rest, response)
    assert list(found) == [field]
    assert found[field].startswith(problem)
