"""The player of other people's suites: it reads them, and it can fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from openfeature import api
from openfeature.contrib.provider.flagd.config import ResolverType

from tests.conformance.gherkin import scenarios
from tests.conformance.subjects import Evaluator, connect, serving
from tests.conformance.suites import played

FLAGS = {
    "$evaluators": {"known": {"in": [{"var": "email"}, ["a@example.com"]]}},
    "flags": {
        "plain": {"state": "ENABLED", "variants": {"a": "one", "b": "two"}, "defaultVariant": "a"},
        "aimed": {
            "state": "ENABLED",
            "variants": {"a": 1, "b": 2},
            "defaultVariant": "a",
            "targeting": {"if": [{"$ref": "known"}, "b", None]},
            "metadata": {"owner": "me"},
        },
        "lost": {
            "state": "ENABLED",
            "variants": {"a": True},
            "defaultVariant": "a",
            "targeting": {"if": [{"$ref": "nobody"}, "a"]},
        },
    },
}
FEATURE = """
@all
Feature: Flags

  Background:
    Given an evaluator

  # A remark is no step.
  Scenario: Plain
    Given a String-flag with key "plain" and a fallback value "zero"
    When the flag was evaluated with details
    Then the resolved details value should be "one"
    And the reason should be "STATIC"
    And the variant should be "a"

  Scenario Outline: Aimed
    Given a <type>-flag with key "aimed" and a default value "0"
    And a context containing a key "email", with type "String" and with value "<email>"
    When the flag was evaluated with details
    Then the resolved details value should be "<value>"

    @first
    Examples: known
      | type    | email         | value |
      | Integer | a@example.com | 2     |
    Examples: others
      | type    | email | value |
      | Integer | b     | 1     |
      | Float   |       | 1     |

  Scenario: Lost
    Given a Boolean-flag with key "lost" and a fallback value "false"
    When the flag was evaluated with details
    Then the error-code should be "PARSE_ERROR"
"""
WRONG = (
    FEATURE.replace('should be "one"', 'should be "two"')
    .replace("| 2     |", "| 3     |")
    .replace("PARSE_ERROR", "GENERAL")
)


@pytest.fixture
def clean() -> Iterator[None]:
    yield
    api.shutdown()


def test_scenarios_have_their_background_examples_and_tags() -> None:
    plain, first, second, third, lost = scenarios(FEATURE)
    assert [step.text for step in plain.steps][:2] == [
        "an evaluator", 'a String-flag with key "plain" and a fallback value "zero"',
    ]  # fmt: skip
    assert [sorted(each.tags) for each in (plain, first, second)] == [["all"], ["all", "first"], ["all"]]
    assert [each.name for each in (first, third, lost)] == [
        "Aimed (Integer, a@example.com, 2)", "Aimed (Float, , 1)", "Lost",
    ]  # fmt: skip


def test_what_holds_passes_and_what_does_not_fails() -> None:
    subject = Evaluator(json.dumps(FLAGS))
    well = played("it", subject, scenarios(FEATURE))
    assert (well.passed, well.failures, well.played) == (5, [], 5)
    wrong = played("it", subject, scenarios(WRONG))
    assert (wrong.passed, len(wrong.failures)) == (2, 3)
    unheard = played("it", subject, scenarios(FEATURE.replace("the variant should be", "the variant might be")))
    assert (unheard.passed, unheard.unknown) == (4, 1)


@pytest.mark.parametrize("mode", [ResolverType.RPC, ResolverType.IN_PROCESS], ids=lambda each: each.value)
async def test_a_provider_gets_the_same_from_the_servers(mode: ResolverType, clean: None) -> None:
    async with asyncio.timeout(60), serving(json.dumps(FLAGS)) as port:
        subject = await asyncio.to_thread(connect, port, mode)
        found = await asyncio.to_thread(played, mode.value, subject, scenarios(FEATURE))
        assert found.failures == []
        wrong = await asyncio.to_thread(played, mode.value, subject, scenarios(WRONG))
        assert len(wrong.failures) == 3
        await asyncio.to_thread(api.shutdown)
