"""What is made of real API descriptions stands up to others' code: requests are accepted, wrong input is refused first.

The whole of every description is tried by `python -m tests.scale.import_requests`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cordboard.catalog.openapi import import_document
from cordboard.proxy import definitions
from tests.judged.inputs import Size
from tests.judged.openapi import Judge
from tests.judged.prism import PROGRAM, prism
from tests.judged.trial import descriptions, tried

SAMPLES = Path(os.environ.get("CORDBOARD_OPENAPI_SAMPLES", "missing"))
OPERATIONS = 4
# So that the work can be shared out.
PARTS = 3
FAULTS = ("refused", "misread", "unplanned", "unusable", "wrong input let through", "wrong, other field named")

A_DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Shop", "version": "1"},
    "servers": [{"url": "https://api.shop.example/v1"}],
    "paths": {
        "/orders/{id}": {
            "post": {
                "operationId": "change",
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}},
                    {"name": "tags", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                ],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "properties": {"state": {"type": "string", "enum": ["open", "shut"]}},
                                "required": ["state"],
                            }
                        }
                    },
                },
                "responses": {"200": {"description": "Done"}},
            }
        }
    },
}
BASE = "https://api.shop.example/v1"
GIVEN = {"id": 7, "tags": ["a b", "c"], "state": "open"}


@pytest.mark.corpus
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="CORDBOARD_OPENAPI_SAMPLES names no folder: NOTHING real is judged")
@pytest.mark.parametrize("part", range(PARTS))
def test_the_requests_of_real_descriptions_are_accepted_and_wrong_input_is_refused_with_its_field(part: int) -> None:
    total: Counter[str] = Counter()
    wrong: list[str] = []
    for path in descriptions(SAMPLES)[part::PARTS]:
        trial = tried(path, at_most=OPERATIONS, sizes=(Size.LEAST, Size.SOME))
        if trial is None:
            continue
        total.update(trial.counts)
        wrong += [
            f"{path.name} {action}: {kind}: {reason}" for kind, action, reason in trial.findings if kind in FAULTS
        ]
    assert wrong == []
    # What waits for a second judge, and what is a known fault of others, is the smaller part.
    assert total["accepted"] > 0.6 * total["requests"] > 30
    assert total["wrong inputs"] > total["requests"]


@pytest.mark.corpus
@pytest.mark.node
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="CORDBOARD_OPENAPI_SAMPLES names no folder: NOTHING real is judged")
@pytest.mark.skipif(shutil.which("node") is None or not PROGRAM.exists(), reason="prism is missing: run `make node`")
def test_what_one_judge_cannot_read_another_judges(tmp_path: Path) -> None:
    trial = tried(SAMPLES / "notion.com__ppc.json", at_most=OPERATIONS, second=tmp_path)
    assert trial is not None
    assert [finding for finding in trial.findings if finding[0] in FAULTS] == []
    assert trial.counts["accepted by prism"] > OPERATIONS


@pytest.mark.node
@pytest.mark.skipif(shutil.which("node") is None or not PROGRAM.exists(), reason="prism is missing: run `make node`")
def test_the_second_judge_accepts_what_is_right_and_refuses_what_is_wrong(tmp_path: Path) -> None:
    definition = import_document(json.dumps(A_DOCUMENT)).definition
    plan = definitions.Definition(definition).action("change").plan
    request = plan.outbound(GIVEN, BASE, BASE)
    with prism(A_DOCUMENT, tmp_path) as judge:
        assert judge.judge(request, BASE, GIVEN).refusals == ()
        for changed in (
            replace(request, url=f"{BASE}/orders/seven"),
            replace(request, body=b'{"state":"ajar"}'),
            replace(request, body=b"{}"),
        ):
            assert judge.judge(changed, BASE, {}).refusals


def asked(given: dict[str, Any], **changed: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns what the judge finds wrong with the request of an input, changed after it was planned."""
    became = import_document(json.dumps(A_DOCUMENT)).definition
    (action,) = became.actions
    definition = definitions.Definition(became)
    place = definition.servers.place({})
    request = definition.action("change").plan.outbound(given, place.base, place.template)
    verdict = Judge(A_DOCUMENT).judge(
        replace(request, **changed), place.base, "/paths/~1orders~1{id}/post", action.request, given
    )
    return verdict.refusals, verdict.misread


def test_the_judge_accepts_what_is_right() -> None:
    assert asked(GIVEN) == ((), ())


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"url": "https://api.shop.example/v1/orders/seven"}, "ParameterValidationError id"),
        ({"url": "https://api.shop.example/v1/order/7"}, "PathNotFound"),
        ({"url": "https://other.example/v1/orders/7"}, "ServerNotFound"),
        ({"method": "PUT"}, "OperationNotFound"),
        ({"body": b'{"state":"ajar"}'}, "state: enum"),
        ({"body": b"{}"}, "'state' is a required property"),
        ({"body": None}, "MissingRequiredRequestBody"),
        ({"headers": {"Content-Type": "text/csv"}}, "MediaTypeNotFound"),
    ],
)
def test_the_judge_refuses_what_is_wrong(changed: dict[str, Any], told: str) -> None:
    refusals, _ = asked(GIVEN, **changed)
    assert any(told in reason for reason in refusals), refusals


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"url": "https://api.shop.example/v1/orders/7"}, "query tags: it is not there"),
        ({"url": "https://api.shop.example/v1/orders/7?tags=a&tags=b&tags=c"}, "query tags"),
        ({"url": "https://api.shop.example/v1/orders/8?tags=a%20b&tags=c"}, "path id: 7 is read as 8"),
        ({"body": b'{"state":"shut"}'}, "body state"),
    ],
)
def test_the_judge_tells_where_it_reads_something_else(changed: dict[str, Any], told: str) -> None:
    refusals, misread = asked(GIVEN, **changed)
    assert refusals == ()
    assert any(told in reason for reason in misread), misread
