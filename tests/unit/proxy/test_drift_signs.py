"""What answers show of drift."""

from __future__ import annotations

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from cordboard.catalog.v1 import definition_pb2 as catalog_pb
from cordboard.catalog.v1.drift_service_pb2 import (
    DRIFT_KIND_DEPRECATION,
    DRIFT_KIND_ENDPOINT,
    DRIFT_KIND_OUTPUT,
    DRIFT_KIND_SCOPE,
)
from cordboard.planning.answers import JSON, Answer
from cordboard.proxy.definitions import Action, Definition
from cordboard.proxy.drift_signs import signs_of_answer, signs_of_refusal
from tests.unit.proxy.samples import a_definition, an_action

TICKET = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}


def an_answer(body: Any = None, status: int = 200, **headers: str) -> Answer:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status=status, content_type=JSON, body=raw, headers=named)


def the_action(schema: Any = TICKET, shared: str = "", **fields: Any) -> Action:
    described = an_action("get", output_schema_json=json.dumps(schema) if schema is not None else "", **fields)
    return Definition(a_definition(described, schemas_json=shared)).action("get")


def test_an_output_that_is_not_as_its_schema_says_is_a_sign_and_one_that_is_is_none() -> None:
    action = the_action()
    assert signs_of_answer(action, an_answer({"id": "x"}), reads_output=True) == [
        (DRIFT_KIND_OUTPUT, "output.id", "type")
    ]
    assert signs_of_answer(action, an_answer({"id": 1, "new": 1}), reads_output=True) == []
    assert signs_of_answer(action, an_answer({"id": "x"}), reads_output=False) == []


def test_a_success_that_says_nothing_is_no_output_and_null_is_one() -> None:
    assert signs_of_answer(the_action(), an_answer(b"", status=204), reads_output=True) == []
    assert signs_of_answer(the_action(), an_answer(None), reads_output=True) == [(DRIFT_KIND_OUTPUT, "output", "type")]


def test_what_is_compared_is_the_output_and_not_the_whole_answer() -> None:
    action = the_action(response=catalog_pb.Response(output_pointer="/ticket"))
    assert signs_of_answer(action, an_answer({"ticket": {"id": 1}}), reads_output=True) == []
    assert signs_of_answer(action, an_answer({"ticket": {}}), reads_output=True) == [
        (DRIFT_KIND_OUTPUT, "output.id", "required")
    ]


def test_shared_schemas_are_followed() -> None:
    action = the_action({"$ref": "#/$defs/Ticket"}, shared=json.dumps({"Ticket": TICKET}))
    assert signs_of_answer(action, an_answer({}), reads_output=True) == [(DRIFT_KIND_OUTPUT, "output.id", "required")]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 5000])
def test_an_answer_that_cannot_be_read_shows_nothing_here(body: bytes) -> None:
    assert signs_of_answer(the_action({"type": ["object", "null"]}), an_answer(body), reads_output=True) == []


def test_without_a_schema_and_of_an_action_that_only_starts_a_job_no_output_is_compared() -> None:
    assert not the_action(None).describes_output
    assert not the_action(async_job=catalog_pb.AsyncJob(job_pointer="/id", status_action="get")).describes_output
    assert the_action().describes_output


@pytest.mark.parametrize(
    ("header", "value", "day"),
    [
        ("Sunset", "Sat, 31 Dec 2027 23:59:59 GMT", "2027-12-31"),
        ("Deprecation", "@1688169599", "2023-06-30"),
        ("Deprecation", "true", ""),
        ("Deprecation", "@99999999999999", ""),
        ("Sunset", "@", ""),
        ("sunset", "soon", ""),
    ],
)
def test_a_vendor_that_says_that_an_endpoint_ends_is_a_sign(header: str, value: str, day: str) -> None:
    named: dict[str, Any] = {header: value}
    found = signs_of_answer(the_action(None), an_answer({}, **named), reads_output=False)
    assert found == [(DRIFT_KIND_DEPRECATION, header.capitalize(), day)]
    assert signs_of_answer(the_action(None), an_answer({}, Date="now"), reads_output=False) == []


@pytest.mark.parametrize("status", [405, 410, 501])
def test_an_endpoint_that_is_gone_is_a_sign(status: int) -> None:
    assert signs_of_refusal(an_answer(status=status)) == [(DRIFT_KIND_ENDPOINT, "status", str(status))]


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
def test_an_error_like_any_other_is_none(status: int) -> None:
    assert signs_of_refusal(an_answer(status=status)) == []


def test_a_vendor_that_wants_more_scopes_is_a_sign_with_the_scopes() -> None:
    challenge = 'Bearer realm="x", error="insufficient_scope", scope="tickets:read tickets:write"'
    sign = (DRIFT_KIND_SCOPE, "WWW-Authenticate", "tickets:read tickets:write")
    assert signs_of_refusal(an_answer(status=403, WWW_Authenticate=challenge)) == [sign]
    bare = an_answer(status=401, WWW_Authenticate="Bearer error=insufficient_scope")
    assert signs_of_refusal(bare) == [(DRIFT_KIND_SCOPE, "WWW-Authenticate", "")]
    expired = an_answer(status=401, WWW_Authenticate='Bearer error="invalid_token"')
    assert signs_of_refusal(expired) == []
