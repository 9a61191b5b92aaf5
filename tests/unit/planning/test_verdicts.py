"""What an answer means, by rule and by status."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format
from multidict import CIMultiDict

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.planning.answers import Answer
from cordboard.planning.verdicts import MAX_MESSAGE, Judgement, Verdict, vendors_words


def verdict(
    *rules: pb.ErrorRule, status: int = 200, document: Any = None, successes: tuple[int, ...] = (), **headers: str
) -> Verdict:
    answer = Answer(status, headers=CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}))
    return Judgement(rules, successes).verdict(answer, lambda: document)


def word(found: Verdict) -> str:
    return pb.ErrorAction.Name(found.action).removeprefix("ERROR_ACTION_").lower()


def rule(action: str = "fail", **fields: Any) -> pb.ErrorRule:
    return json_format.ParseDict({"action": f"ERROR_ACTION_{action.upper()}", **fields}, pb.ErrorRule())


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, "success"),
        (204, "success"),
        (299, "success"),
        (304, "fail"),
        (400, "fail"),
        (401, "refresh_token_then_retry"),
        (429, "rate_limited"),
        (503, "fail"),
    ],
)
def test_without_rules_the_status_decides(status: int, expected: str) -> None:
    found = verdict(status=status)
    assert (word(found), found.ruled) == (expected, False)


def test_the_statuses_of_success_are_those_that_are_named() -> None:
    assert [word(verdict(status=status, successes=(202, 404))) for status in (202, 404, 200, 500)] == [
        "success", "success", "fail", "fail",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "document", "fits"),
    [
        ({"pointer": "/error"}, {"error": "x"}, True),
        ({"pointer": "/error"}, {"error": 0}, True),
        ({"pointer": "/error"}, {"error": None}, False),
        ({"pointer": "/error"}, {"error": False}, False),
        ({"pointer": "/error"}, {"error": ""}, False),
        ({"pointer": "/error"}, {"error": []}, False),
        ({"pointer": "/error"}, {"error": [1]}, True),
        ({"pointer": "/error"}, {}, False),
        ({"pointer": "/error"}, None, False),
        ({"pointer": "/ok", "equals": ["false"]}, {"ok": False}, True),
        ({"pointer": "/ok", "equals": ["false"]}, {"ok": True}, False),
        ({"pointer": "/ok", "equals": ["false"]}, {}, False),
        ({"pointer": "/code", "equals": ["17", "18"]}, {"code": 18}, True),
        ({"pointer": "/code", "equals": ["17"]}, {"code": "17"}, True),
        ({"pointer": "/code", "equals": ["17"]}, {"code": [17]}, False),
        ({"pointer": "/why", "contains": "RATE limit"}, {"why": "The rate Limit is reached"}, True),
        ({"pointer": "/why", "contains": "limit"}, {"why": "quota"}, False),
        ({"pointer": "/why", "equals": ["a", "ab"], "contains": "b"}, {"why": "ab"}, True),
        ({"pointer": "/why", "equals": ["a", "ab"], "contains": "b"}, {"why": "a"}, False),
        ({"statuses": [200]}, None, True),
        ({"statuses": [201, 202]}, None, False),
        ({"statuses": [200], "pointer": "/error"}, {}, False),
        ({"header": "X-Error"}, None, True),
        ({"header": "X-Other"}, None, False),
        ({"header": "x-ERROR", "statuses": [500]}, None, False),
    ],
)
def test_all_conditions_of_a_rule_have_to_hold(fields: dict[str, Any], document: Any, fits: bool) -> None:
    assert verdict(rule(**fields), document=document, x_error="1").ruled is fits


def test_the_first_rule_that_fits_decides_and_says_why() -> None:
    rules = (
        rule("rate_limited", statuses=[500]),
        rule("retry", pointer="/error", failure="FAILURE_TYPE_TRANSIENT", message="Busy"),
        rule("fail", pointer="/error"),
    )
    found = verdict(*rules, document={"error": "busy"})
    assert found == Verdict(pb.ERROR_ACTION_RETRY, True, pb.FAILURE_TYPE_TRANSIENT, "Busy")


def test_a_body_is_read_once_and_only_where_a_rule_looks_into_it() -> None:
    reads = []

    def document() -> Any:
        reads.append(1)
        return {}

    rules = [rule(statuses=[500], pointer="/a"), rule(pointer="/b"), rule(pointer="/c")]
    Judgement(rules[:1]).verdict(Answer(200), document)
    assert reads == []
    Judgement(rules).verdict(Answer(200), document)
    assert reads == [1]


def test_a_vendors_words_are_the_first_text_of_its_places_on_one_line() -> None:
    document = {"error": {"message": " not\n\tso \x00fast\u202e "}, "code": 7, "long": "x" * 10_000}
    assert vendors_words(document, ["/code", "/none", "/error/message", "/long"]) == "not so fast"
    assert vendors_words(document, ["/long"]) == "x" * MAX_MESSAGE
    assert vendors_words(document, ["/error"]) == ""
    assert vendors_words(None, ["/error"]) == ""
