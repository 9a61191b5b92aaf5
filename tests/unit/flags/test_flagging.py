"""Sets of flags that anybody wrote, evaluated in contexts that anybody sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.core.errors import DocumentInvalid
from cordboard.core.flagging import Decision, FlagSet

GOOD: dict[str, Any] = {
    "state": "ENABLED",
    "variants": {"on": True, "off": False},
    "defaultVariant": "off",
    "targeting": {"if": [{"==": [{"var": "tier"}, "business"]}, "on"]},
    "metadata": {"revision": 4},
}

BAD: dict[str, Any] = {
    "not an object": 5,
    "state": {**GOOD, "state": "ON"},
    "no state": {"variants": {"on": True}},
    "no variants": {**GOOD, "variants": {}},
    "variants of a list": {**GOOD, "variants": ["on"]},
    "mixed types": {**GOOD, "variants": {"on": True, "off": "no"}},
    "no values": {**GOOD, "variants": {"on": None, "off": None}},
    "foreign default": {**GOOD, "defaultVariant": "maybe"},
    "default of a number": {**GOOD, "defaultVariant": 3},
    "unknown field": {**GOOD, "description": "for people"},
    "metadata of a list": {**GOOD, "metadata": [1]},
    "metadata with a list": {**GOOD, "metadata": {"tags": []}},
    "targeting of text": {**GOOD, "targeting": "tier"},
}


class Hostile:
    """A value that answers every question with an error."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparing")

    def __hash__(self) -> int:
        raise RuntimeError("no hashing")

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")

    def __str__(self) -> str:
        raise RuntimeError("no text")


def the_set(**flags: Any) -> FlagSet:
    return FlagSet.parse(json.dumps({"flags": flags}))


def nested(levels: int) -> Any:
    value: Any = "deep"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("problem", BAD)
def test_a_bad_flag_is_left_out_with_a_reason_and_the_others_stay(problem: str) -> None:
    flags = the_set(bad=BAD[problem], good=GOOD)
    assert set(flags.left_out) == {"bad"}
    assert flags.left_out["bad"]
    assert "bad" not in flags
    assert flags.evaluate("good", {"tier": "business"}) == Decision(True, "on", "TARGETING_MATCH", 4)
    assert flags.evaluate("bad", {}) == Decision(None, None, "ERROR", None, "PARSE_ERROR")


def test_a_good_set_leaves_nothing_out() -> None:
    flags = the_set(good=GOOD)
    assert (dict(flags.left_out), len(flags), "good" in flags) == ({}, 1, True)


def test_an_unknown_flag_is_a_decision_too() -> None:
    decision = the_set(good=GOOD).evaluate("other", {})
    assert (decision.found, decision.error, decision.value_or("fallback")) == (False, "FLAG_NOT_FOUND", "fallback")


def test_the_caller_s_default_holds_only_where_nothing_was_decided() -> None:
    flags = the_set(good=GOOD, disabled={**GOOD, "state": "DISABLED"})
    assert flags.evaluate("good", {}).value_or(True) is False
    disabled = flags.evaluate("disabled", {})
    assert (disabled.reason, disabled.variant, disabled.value_or("mine")) == ("DISABLED", None, "mine")


def test_a_flag_without_rules_is_static_and_one_whose_rules_do_not_match_gives_its_default() -> None:
    flags = the_set(good=GOOD, plain={**GOOD, "targeting": {}})
    assert flags.evaluate("plain", {}).reason == "STATIC"
    assert flags.evaluate("good", {}).reason == "DEFAULT"


@pytest.mark.parametrize("value", [True, "text", 3, 2.5, 0, {"a": [1, None]}, ["x"], 10**30])
def test_a_value_comes_back_as_it_was_written(value: Any) -> None:
    decision = the_set(f={"state": "ENABLED", "variants": {"only": value}, "defaultVariant": "only"}).evaluate("f", {})
    assert decision.value == value
    assert type(decision.value) is type(value)


def test_whole_and_broken_numbers_are_one_type() -> None:
    flags = the_set(f={"state": "ENABLED", "variants": {"a": 1, "b": 1.5}, "defaultVariant": "a"})
    assert flags.evaluate("f", {}).value == 1


@pytest.mark.parametrize(
    ("targeting", "error"),
    [
        ({"no_such_operator": [1]}, "PARSE_ERROR"),
        ({"if": [True, "maybe"]}, "GENERAL"),
        ({"/": [1, 0]}, "GENERAL"),
    ],
)
def test_rules_that_break_while_they_run_give_an_error_and_no_value(targeting: Any, error: str) -> None:
    decision = the_set(f={**GOOD, "targeting": targeting}).evaluate("f", {})
    assert decision == Decision(None, None, "ERROR", 4, error)


@pytest.mark.parametrize(
    "value",
    [Hostile(), nested(5_000), float("nan"), "\ud800", "\0", b"bytes", 10**5000, object(), {1: 2}],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("name", ["tier", "workspace", "targetingKey", "$flagd", "", "a.b"])
def test_a_hostile_context_gets_an_answer(name: str, value: Any) -> None:
    split = {"fractional": [{"cat": ["k", {"var": "workspace"}]}, ["on", 1], ["off", 1]]}
    member = {"if": [{"in": [{"var": "tier"}, ["business"]]}, "on"]}
    flags = the_set(split={**GOOD, "targeting": split}, member={**GOOD, "targeting": member}, plain=GOOD)
    for key in ("split", "member", "plain"):
        assert flags.evaluate(key, {name: value}).reason in {"TARGETING_MATCH", "DEFAULT", "ERROR"}


def test_evaluators_are_put_in_where_rules_refer_to_them() -> None:
    document = {
        "flags": {"f": {**GOOD, "targeting": {"if": [{"$ref": "paying"}, "on"]}}},
        "$evaluators": {"paying": {"in": [{"var": "tier"}, ["business"]]}},
    }
    flags = FlagSet.parse(json.dumps(document))
    assert flags.evaluate("f", {"tier": "business"}).value is True
    assert flags.evaluate("f", {"tier": "starter"}).value is False


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[]", "{}", '{"flags": []}', '{"flags": {"f": NaN}}', "[" * 100_000, "\udfff"]
)
def test_what_is_no_set_of_flags_is_refused_as_a_document(text: str) -> None:
    with pytest.raises(DocumentInvalid):
        FlagSet.parse(text)


def test_an_update_changes_the_flags_it_names_and_no_other() -> None:
    before = the_set(kept=GOOD, changed=GOOD, broken=5)
    after = before.updated({"changed": {**GOOD, "state": "NO"}, "broken": GOOD, "new": GOOD})
    assert (set(before.left_out), set(after.left_out)) == ({"broken"}, {"changed"})
    assert all(key in after for key in ("kept", "broken", "new"))
    assert "changed" in before
    assert "new" not in before


@given(
    st.dictionaries(
        st.text(max_size=4),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["state", "variants", "defaultVariant", "targeting", "metadata", "if", "var", "x"]),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=12,
        ),
        max_size=4,
    )
)
def test_any_json_is_read_flag_by_flag(flags: dict[str, Any]) -> None:
    found = the_set(**{**flags, "good": GOOD})
    assert set(found.left_out) | {key for key in (*flags, "good") if key in found} == {*flags, "good"}
    assert found.evaluate("good", {"tier": "business"}).value is True
    for key in flags:
        assert found.evaluate(key, {}).reason in {"STATIC", "DEFAULT", "TARGETING_MATCH", "DISABLED", "ERROR"}


def test_a_broken_rule_is_broken_however_often_it_is_asked_and_harms_no_other() -> None:
    rule = {"if": [{"==": [{"var": "tier"}, "business"]}, "on"]}
    flags = the_set(broken={**GOOD, "targeting": {"nope": []}}, ruled={**GOOD, "targeting": rule})
    for _ in range(3):
        found = flags.evaluate("broken", {})
        assert (found.reason, found.error, found.found) == ("ERROR", "PARSE_ERROR", True)
        assert flags.evaluate("ruled", {"tier": "business"}).reason == "TARGETING_MATCH"
        assert flags.evaluate("ruled", {"tier": "free"}).reason == "DEFAULT"
