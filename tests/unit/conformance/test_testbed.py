"""The suites of providers: what their steps ask, which of them are left out, and with which flags."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from openfeature.event import EventDetails

from tests.conformance.acts import acts
from tests.conformance.gherkin import scenarios
from tests.conformance.launchpad import flags_of
from tests.conformance.python_client import Events
from tests.conformance.steps import Failed, Unknown
from tests.conformance.testbed import (
    CONFIG,
    DEPRECATED,
    NODE,
    OTHER_BUCKETING,
    PYTHON,
    SELECTOR,
    SOCKET,
    TARGET,
    UNEXPLAINED,
    Lane,
    Result,
    cases,
    left_out,
    lines,
)

FEATURE = '''
@rpc @in-process
Feature: Providers
"""markdown
  | Option | Type |
"""

  Background:
    Given an option "deadlineMs" of type "Integer" with value "1000"
    And an option "fatalStatusCodes" of type "StringList" with value "A, B"
    And a stable flagd provider

  Scenario Outline: Kinds
    Given a <type>-flag with key "k" and a default value "<default>"
    And a context containing a key "email", with type "String" and with value ""
    And a context containing a key "age", with type "Integer" and with value "<age>"
    And a context containing a nested property with outer key "user" and inner key "name", with value "jack"
    And a context containing a targeting key with value "me"
    When the flag was evaluated with details
    Then the resolved details value should be "<value>"
    And the reason should be "STATIC"
    And the variant should be "a"
    And the error-code should be ""

    @fractional-v2
    Scenarios: whole
      | type    | default | value | age |
      | Integer | 1       | 7     | 3   |
    Examples: parts
      | type   | default | value    | age |
      | Float  | 0.1     | 2.50     |     |
      | Object | {}      | {"a": 1} |     |

  Scenario: Events
    Given a ready event handler
    And an error event handler
    When a ready event was fired
    And the connection is lost for 3s
    And the flag was modified
    Then the error event handler should have been executed within 3000ms
    Then the ready event handler should have been executed
    And the flag should be part of the event payload
    And the client should be in fatal state
    And the resolved metadata is empty
    And the resolved metadata should contain
      | key | metadata_type | value |
      | n   | Integer       | 1     |
      | b   | Boolean       | true  |
'''


def test_steps_become_acts_with_values_of_their_types() -> None:
    whole, half, thing, events = map(acts, scenarios(FEATURE))
    assert whole == [
        {"do": "option", "name": "deadlineMs", "value": 1000},
        {"do": "option", "name": "fatalStatusCodes", "value": ["A", "B"]},
        {"do": "provider", "name": "stable"},
        {"do": "flag", "kind": "Integer", "key": "k", "default": 1},
        {"do": "context", "key": "email", "value": ""},
        {"do": "context", "key": "age", "value": 3},
        {"do": "context", "key": "user", "value": {"name": "jack"}},
        {"do": "context", "key": "targetingKey", "value": "me"},
        {"do": "evaluate"},
        {"do": "expect", "what": "value", "wanted": 7},
        {"do": "expect", "what": "reason", "wanted": "STATIC"},
        {"do": "expect", "what": "variant", "wanted": "a"},
        {"do": "expect", "what": "error", "wanted": ""},
    ]
    assert [each["wanted"] for each in half if each.get("what") == "value"] == [2.5]
    assert [each["wanted"] for each in thing if each.get("what") == "value"] == [{"a": 1}]
    # An empty cell is a text, and no number.
    assert [each["key"] for each in half if each["do"] == "context"] == ["email", "user", "targetingKey"]
    assert events[3:] == [
        {"do": "handler", "event": "ready"},
        {"do": "handler", "event": "error"},
        {"do": "fired", "event": "ready", "within": None},
        {"do": "lost", "seconds": 3},
        {"do": "change"},
        {"do": "fired", "event": "error", "within": 3.0},
        {"do": "fired", "event": "ready", "within": None},
        {"do": "payload"},
        {"do": "fatal"},
        {"do": "no metadata"},
        {"do": "metadata", "wanted": {"n": 1, "b": True}},
    ]


def test_a_step_that_is_not_known_is_no_act() -> None:
    (case,) = scenarios("Feature: F\n  Scenario: S\n    Given a stable flagd provider\n    Then the moon is full\n")
    with pytest.raises(Unknown, match="the moon is full"):
        acts(case)


def test_what_is_left_out_says_why(tmp_path: Path) -> None:
    (tmp_path / "gherkin").mkdir()
    (tmp_path / "gherkin" / "config.feature").write_text(
        "Feature: C\n  Scenario: S\n    When a config was initialized\n"
    )
    step = "Given a stable flagd provider\n"
    select = 'Given an option "selector" of type "String" with value "x"\n'
    tags = ("@targetURI", "@unixsocket", "@deprecated", "@fractional-v1", "@fractional-v3", "@fractional")
    text = "".join(f"  {tag}\n  Scenario: S{tag}\n    {step}" for tag in tags)
    (tmp_path / "gherkin" / "other.feature").write_text(f"Feature: O\n{text}  Scenario: last\n    {select}")
    found = cases(tmp_path)
    assert found[1].name == "other.feature: S@targetURI"
    newest = [left_out(case, "fractional-v3") for case in found]
    assert newest == [CONFIG, TARGET, SOCKET, DEPRECATED, OTHER_BUCKETING, "", "", SELECTOR]
    assert [left_out(case, "fractional-v1") for case in found][4:6] == ["", OTHER_BUCKETING]
    with pytest.raises(FileNotFoundError):
        cases(tmp_path / "gherkin")


def test_the_flags_are_those_of_all_files_but_the_selected_ones(tmp_path: Path) -> None:
    def write(name: str, document: dict[str, Any]) -> None:
        (tmp_path / "flags" / name).write_text(json.dumps(document))

    def flag(rule: Any) -> dict[str, Any]:
        return {"state": "ENABLED", "variants": {"a": "a"}, "defaultVariant": "a", "targeting": rule}

    (tmp_path / "flags").mkdir()
    injected = {"==": [{"var": ["injectedmetadata"]}, "set"]}
    flags = {"aware": flag(injected), "refers": flag({"$ref": "e"}), "lost": flag({"$ref": "none"})}
    write("a.json", {"flags": {**flags, "changing-flag": {"state": "ENABLED"}}})
    write("b.json", {"flags": {}, "$evaluators": {"e": {"var": ["email"]}}})
    write("selector-c.json", {"flags": {"chosen": flag({})}})
    found = flags_of(tmp_path)
    assert list(found) == ["aware", "refers", "lost", "changing-flag"]
    assert found["aware"]["targeting"] == {"==": [{"var": ["customer"]}, "set"]}
    assert found["refers"]["targeting"] == {"var": ["email"]}
    assert found["lost"]["targeting"] == {"$ref": "none"}
    (tmp_path / "flags" / "a.json").unlink()
    with pytest.raises(FileNotFoundError):
        flags_of(tmp_path)


def test_events_are_taken_once_and_in_their_order() -> None:
    events = Events()
    for event in ("ready", "stale", "error", "ready"):
        events.tell(event, EventDetails(provider_name=event))
    for event in ("ready", "stale", "ready"):
        assert events.take(event, 0).provider_name == event
    # The error came before the last ready: who waits for one now waits for another.
    with pytest.raises(Failed, match="no error event within 0 s, but nothing"):
        events.take("error", 0)
    events.tell("change", EventDetails())
    with pytest.raises(Failed, match="but change"):
        events.take("error", 0)


def test_the_page_names_each_failure_and_those_that_nobody_explains() -> None:
    well, ill = Result(Lane(PYTHON, "rpc", "direct"), played=2), Result(Lane(NODE, "rpc", "Envoy"), played=3)
    well.left_out[CONFIG] += 4
    ill.failures.append(("evaluation.feature: It is so (a)", "value of x is 'y|', and not 'z'"))
    assert (well.passed, well.unexplained) == (2, [])
    assert (ill.passed, ill.unexplained) == (2, ill.failures)
    page = list(lines([well, ill]))
    assert f"| {PYTHON} | {metadata.version(PYTHON)} | rpc | direct | 6 | 4 | 2 | 2 |" in page
    assert any(line.startswith(f"| {NODE} |") and line.endswith("| rpc | Envoy | 3 | 0 | 3 | 2 |") for line in page)
    assert f"| {CONFIG} | 4 | 0 |" in page
    assert page[-5] == UNEXPLAINED
    assert page[-1] == f"| {NODE}, rpc, Envoy | evaluation.feature: It is so (a) | value of x is 'y\\|', and not 'z' |"


@pytest.mark.parametrize(
    ("lane", "failure", "known"),
    [
        (Lane(PYTHON, "rpc", "Envoy"), ("events.feature: Provider events chain ready", "no stale event"), True),
        # The same at another place, of another client, or of another kind, is a failure of the server's until shown.
        (Lane(PYTHON, "rpc", "direct"), ("events.feature: Provider events chain", "no stale event"), False),
        (Lane(NODE, "rpc", "Envoy"), ("events.feature: Provider events chain", "no stale event"), False),
        (Lane(PYTHON, "rpc", "Envoy"), ("connection.feature: Provider forbidden", "no error event"), False),
        (Lane(PYTHON, "rpc", "Envoy"), ("events.feature: Provider events chain", "no ready event"), False),
    ],
)
def test_a_failure_is_explained_where_the_source_was_read_alone(
    lane: Lane, failure: tuple[str, str], known: bool
) -> None:
    result = Result(lane, played=1, failures=[failure])
    assert result.unexplained == ([] if known else [failure])
