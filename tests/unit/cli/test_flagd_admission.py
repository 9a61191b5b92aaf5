"""Definitions that say to be flagd's: what is as it should be passes, and the place of everything else is named."""

from __future__ import annotations

from typing import Any

import pytest

from cordboard.cli.foreign_flags.admission import flag_problems, set_problems, targeting_problems

VAR = {"var": "email"}


def flag(**changes: Any) -> dict[str, Any]:
    whole = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on", **changes}
    return {name: value for name, value in whole.items() if value is not ...}


@pytest.mark.parametrize(
    "definition",
    [
        flag(),
        flag(defaultVariant=None),
        flag(defaultVariant=...),
        flag(defaultVariant=""),
        flag(state="DISABLED", targeting={}),
        flag(variants={"a": 1, "b": 2.5}, defaultVariant="a", metadata={"text": "a", "number": 1.5, "boolean": True}),
        flag(variants={"a": {"b": [1]}}, defaultVariant="a", targeting={"if": [VAR, "a"]}),
    ],
)
def test_a_flag_as_flagd_has_it_passes(definition: dict[str, Any]) -> None:
    assert list(flag_problems(definition)) == []


@pytest.mark.parametrize(
    ("definition", "problem"),
    [
        (7, "must be an object"),
        (flag(state="ON"), "state must be one of ENABLED, DISABLED"),
        (flag(state=...), "state must be one of ENABLED, DISABLED"),
        (flag(variants=...), "variants must be an object with at least one variant"),
        (flag(variants={"on": True, "off": 0}), "variants must all be of one type, and are: boolean, number"),
        (flag(variants={"on": None}), "variants must be booleans, numbers, texts or objects"),
        (flag(variants={"on": []}), "variants must be booleans, numbers, texts or objects"),
        (flag(variants={"": True}, defaultVariant=...), "variants must have names"),
        (flag(defaultVariant="new"), "defaultVariant names 'new', which is none of the variants"),
        (flag(defaultVariant=True), "defaultVariant must be text or null"),
        (flag(metadata=[]), "metadata must be an object"),
        (flag(metadata={"team": {}}), "metadata.team must be text, a number or a boolean"),
        (flag(targeting=[]), "targeting must be an object"),
        (flag(targeting={"nope": 1}), "targeting has the operator 'nope', which there is not"),
    ],
)
def test_what_is_wrong_with_a_flag_is_named(definition: Any, problem: str) -> None:
    assert list(flag_problems(definition)) == [problem]


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"$ref": "friends"},
        {"if": [{"==": [VAR, "a"]}, "on", {"if": [True, "off", None]}]},
        {"!": True},
        {"!!": [VAR]},
        {"<": [1, {"var": ["age", 18]}, 99]},
        {"reduce": [{"var": "items"}, {"+": [{"var": "current"}, {"var": "accumulator"}]}, 0]},
        {"in": [VAR, ["a", "b"]]},
        {"missing": ["a", "b"]},
        {"missing_some": [1, ["a", "b"]]},
        {"==": [{"var": "$flagd.flagKey"}, {"var": "$flagd.timestamp"}]},
        {"starts_with": [VAR, {"var": "prefix"}]},
        {"sem_ver": [{"var": "version"}, "^", "1.0.0-rc.1+build.5"]},
        {"fractional": [["on"], ["off", 3]]},
        {"fractional": [{"cat": [VAR, "x"]}, ["on", {"-": [{"var": "$flagd.timestamp"}, 5]}], ["off", 5.0]]},
        {"fractional": [[{"fractional": [["on", 1]]}, 1], [True, 2_147_483_646]]},
    ],
)
def test_a_rule_as_flagd_has_it_passes(rule: dict[str, Any]) -> None:
    assert list(targeting_problems(rule, "targeting")) == []


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"if": [1], "or": [2]}, "targeting must have one operator, and has 2"),
        ({"if": [{}]}, "targeting.if[0] must have one operator, and has 0"),
        ({"==": [1]}, "targeting.== must be a list of 2"),
        ({"==": 1}, "targeting.== must be a list of 2"),
        ({"<": [1, 2, 3, 4]}, "targeting.< must be a list of 2 to 3"),
        ({"and": []}, "targeting.and must be a list of 1 or more"),
        ({"!": [1, 2]}, "targeting.! must have one argument"),
        ({"in": [VAR, [{"nope": 1}]]}, "targeting.in[1][0] has the operator 'nope', which there is not"),
        ({"$ref": 7}, "targeting.$ref must be text"),
        ({"var": []}, "targeting.var must name what is read"),
        ({"var": ["$flagd.x", 1]}, "targeting.var reads '$flagd.x', and there are $flagd.flagKey and $flagd.timestamp"),
        ({"missing": "a"}, "targeting.missing must be a list of names"),
        ({"missing_some": [True, ["a"]]}, "targeting.missing_some must be a number and a list of names"),
        ({"missing_some": [1, [2]]}, "targeting.missing_some[1] must be a list of names"),
        ({"ends_with": [VAR, 0]}, "targeting.ends_with[1] must be text or a rule"),
        ({"starts_with": [VAR]}, "targeting.starts_with must be a list of 2"),
        ({"sem_ver": [VAR, "=", "2.0"]}, "targeting.sem_ver[2] must be a semantic version or a var"),
        ({"sem_ver": [VAR, "*", "2.0.0"]}, "targeting.sem_ver[1] must be one of = != > < >= <= ~ ^"),
        ({"sem_ver": [VAR, "="]}, "targeting.sem_ver must be a list of 3"),
        ({"fractional": []}, "targeting.fractional must be a list of shares"),
        (
            {"fractional": ["a", ["on", 1]]},
            "targeting.fractional[0] must be a variant and its weight, or a rule that gives whom to place",
        ),
        ({"fractional": [VAR, VAR]}, "targeting.fractional[1] must be a variant and its weight"),
        *(
            (
                {"fractional": [["on", weight]]},
                "targeting.fractional[0][1] must be a whole number from 0, or a rule that gives one",
            )
            for weight in (-1, 2.5, "25", True, None, float("nan"), float("inf"))
        ),
        (
            {"fractional": [["on", 2_147_483_647], ["off"]]},
            "targeting.fractional has weights that add up to 2147483648, and must have at most 2147483647",
        ),
    ],
)
def test_what_is_wrong_with_a_rule_is_named(rule: dict[str, Any], problem: str) -> None:
    assert list(targeting_problems(rule, "targeting")) == [problem]


@pytest.mark.parametrize("wrap", [lambda inner: {"!": inner}, lambda inner: {"or": [inner]}, lambda inner: [inner]])
def test_a_rule_that_is_nested_for_ever_ends_the_look_at_it(wrap: Any) -> None:
    rule: Any = "on"
    for _ in range(5_000):
        rule = wrap(rule)
    [problem] = targeting_problems({"!": rule}, "targeting")
    assert problem.endswith("is nested more than 100 levels deep")
    assert len(problem) < 300


def test_a_list_of_flags_is_flagd_s_and_no_provider_s() -> None:
    document = {"flags": [{"key": "a", **flag()}]}
    assert list(set_problems(document)) == []
    assert list(set_problems(document, lists=False)) == ["flags must be an object"]
    assert list(set_problems({"flags": 7})) == ["flags must be an object or a list"]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"flags": {}, "metadata": {"a": None}}, "metadata.a must be text, a number or a boolean"),
        ({"flags": {}, "$evaluators": []}, "$evaluators must be an object"),
        ({"flags": {}, "$evaluators": {"a": 7}}, "$evaluators.a must be an object"),
    ],
)
def test_what_is_wrong_with_a_set_is_named(document: dict[str, Any], problem: str) -> None:
    assert list(set_problems(document)) == [problem]
