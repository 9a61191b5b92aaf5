"""How an API says that something went wrong: where its words are, and which good statuses are none."""

from __future__ import annotations

from typing import Any

import pytest

from cordboard.catalog.capabilities import RUNTIME
from cordboard.catalog.openapi.failures import Failures
from cordboard.catalog.openapi.report import Report
from cordboard.catalog.openapi.responses import Answer
from cordboard.catalog.openapi.source import Source
from cordboard.catalog.v1.definition_pb2 import Action, Definition, ErrorAction, ErrorRule
from tests.unit.catalog.descriptions import a_document, an_operation, answers, imported, notes

TEXT = {"type": "string"}
ALL = frozenset({"error.fail", "error.rate-limited", "error.refresh-token-then-retry"})


def an_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def a_failure(schema: Any, code: str = "400") -> dict[str, Any]:
    return {code: {"description": "no", "content": {"application/json": {"schema": schema}}}}


def pointers(*failures: Any) -> list[str]:
    """Returns where the texts of errors are, for operations that fail so."""
    paths = {
        f"/{number}": {"get": an_operation(operationId=f"run{number}", responses=answers({}) | a_failure(failure))}
        for number, failure in enumerate(failures)
    }
    return list(imported(a_document(paths)).definition.error_message_pointers)


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        (an_object(message=TEXT, code=TEXT), "/message"),
        (an_object(Message=TEXT), "/Message"),
        (an_object(error=an_object(message=TEXT), message=TEXT), "/error/message"),
        (an_object(error=TEXT, error_description=TEXT), "/error_description"),
        (an_object(error=TEXT), "/error"),
        (an_object(title=TEXT, detail=TEXT), "/detail"),
        (an_object(title=TEXT), "/title"),
        (an_object(errors={"type": "array", "items": an_object(message=TEXT)}), "/errors/0/message"),
        (an_object(errors={"type": "array", "items": TEXT}), "/errors/0"),
        (an_object(message=TEXT, errors={"type": "array", "items": an_object(message=TEXT)}), "/message"),
        ({"allOf": [an_object(code=TEXT), an_object(msg=TEXT)]}, "/msg"),
    ],
)
def test_the_text_of_an_error_is_found_at_the_best_place(schema: Any, pointer: str) -> None:
    assert pointers(schema) == [pointer]


@pytest.mark.parametrize("schema", [an_object(message={"type": "integer"}), an_object(code=TEXT), {"type": "array"}, 7])
def test_what_is_no_text_of_an_error_is_not_taken(schema: Any) -> None:
    assert pointers(schema) == []


def test_the_places_that_most_errors_have_come_first() -> None:
    rare, frequent = an_object(detail=TEXT), an_object(message=TEXT)
    assert pointers(rare, frequent, frequent) == ["/message", "/detail"]


def test_the_default_answer_is_an_error_and_the_evidence_is_in_the_report() -> None:
    operation = an_operation(responses=answers({}) | a_failure(an_object(message=TEXT), "default"))
    became = imported(a_document({"/run": {"get": operation}}))
    assert list(became.definition.error_message_pointers) == ["/message"]
    assert ("/paths", "of 1 error answers these hold a text: '/message' (1)") in notes(became)


FLAGGED = an_object(ok={"type": "boolean"}, error={"type": "string", "enum": ["not_found", "ratelimited"]})
EXPIRED = an_object(ok={"type": "boolean"}, error={"type": "string", "enum": ["token_expired", "ratelimited"]})


def recognised(
    *operations: tuple[Any, Any], runtime: frozenset[str] = ALL
) -> tuple[Definition, list[Action], list[str]]:
    """Returns what is written about errors into a definition and its actions, and the evidence."""
    report = Report()
    failures = Failures(Source(a_document()), report, runtime)
    actions = [Action(id=f"run{number}") for number in range(len(operations))]
    for action, (good, bad) in zip(actions, operations, strict=True):
        failures.look(a_failure(bad, "default"), "/responses", Answer(raw=good), action)
    definition = Definition()
    failures.settle(definition)
    return definition, actions, [finding.text for finding in report.message(0).findings]


FAIL = ErrorRule(statuses=[200], pointer="/ok", equals=["false"], action=ErrorAction.ERROR_ACTION_FAIL)


def test_a_flag_in_a_good_answer_says_that_it_is_an_error() -> None:
    definition, (action,), told = recognised((an_object(ok={"type": "boolean"}), an_object(ok={}, error=TEXT)))
    assert list(definition.error_rules) == [FAIL]
    assert list(action.error_rules) == []
    assert "1 of 1 answers have the flag '/ok': false is an error" in told


def test_words_for_a_limit_and_for_an_expired_token_are_told_apart_before_the_flag() -> None:
    definition, _, told = recognised((FLAGGED, EXPIRED))
    limited, expired, failed = definition.error_rules
    assert (limited.pointer, list(limited.equals)) == ("/error", ["ratelimited"])
    assert limited.action == ErrorAction.ERROR_ACTION_RATE_LIMITED
    assert list(expired.equals) == ["token_expired"]
    assert expired.action == ErrorAction.ERROR_ACTION_REFRESH_TOKEN_THEN_RETRY
    assert failed == FAIL
    assert "'ratelimited' at '/error': a limit is reached" in told


def test_a_flag_that_few_answers_have_counts_for_those() -> None:
    plain = (an_object(name=TEXT), an_object(message=TEXT))
    definition, actions, _ = recognised((FLAGGED, FLAGGED), plain, plain)
    assert list(definition.error_rules) == []
    assert [len(action.error_rules) for action in actions] == [2, 0, 0]


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        # A truth value alone is what was asked for, such as whether something exists.
        (an_object(ok={"type": "boolean"}), an_object(message=TEXT)),
        (an_object(success={"type": "string"}, error=TEXT), an_object(success={}, error=TEXT)),
        (an_object(done={"type": "boolean"}, error=TEXT), an_object(done={}, error=TEXT)),
    ],
)
def test_nothing_is_guessed(good: Any, bad: Any) -> None:
    definition, (action,), _ = recognised((good, bad))
    assert (list(definition.error_rules), list(action.error_rules)) == ([], [])


@pytest.mark.parametrize(
    ("runtime", "kept"),
    [
        (frozenset(), []),
        (ALL - {"error.fail"}, []),
        (frozenset({"error.fail"}), [ErrorAction.ERROR_ACTION_FAIL]),
    ],
)
def test_rules_that_the_runtime_cannot_follow_are_only_noted(runtime: frozenset[str], kept: list[int]) -> None:
    definition, _, told = recognised((FLAGGED, FLAGGED), runtime=runtime)
    assert [rule.action for rule in definition.error_rules] == kept
    assert any("the flag '/ok'" in text for text in told)


def test_an_import_takes_the_rules_that_this_version_can_follow() -> None:
    operation = an_operation(responses=answers(FLAGGED))
    definition = imported(a_document({"/run": {"get": operation}})).definition
    assert bool(definition.error_rules) == ("error.fail" in RUNTIME)
