"""Rules of flags: what they give, for whom, in which bucket, and what they may not cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openfeature.contrib.tools.flagd.core.targeting import targeting as reference
from openfeature.evaluation_context import EvaluationContext

from cordboard.core.flagging import ALGORITHMS, FlagSet, RuleBroken, compiled, inlined, specialised
from cordboard.core.flagging.rules import RuleFailed
from cordboard.core.structs import from_value, to_value

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "bucketing.json").read_text())
# What the mesh knows of a caller beside what the caller says.
KNOWN = {"workspace": "acme", "tier": "business", "region": "eu", "roles": ["member"], "customer": ""}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_algorithm_gives_what_the_client_that_brought_it_gave(algorithm: str) -> None:
    cases = [case for case in VECTORS["cases"] if algorithm in case]
    assert len(cases) >= 60
    for case in cases:
        arguments = [*([] if case["short"] else [case["subject"]]), *case["shares"]]
        rule = compiled({"fractional": arguments}, bucketing=algorithm)
        context = {"$flagd": {"flagKey": VECTORS["flag_key"]}, "targetingKey": case["subject"]}
        assert rule(context) == case[algorithm], case


def test_the_vectors_tell_the_algorithms_apart() -> None:
    texts = [case for case in VECTORS["cases"] if "v1" in case]
    for one, other in (("v1", "v2"), ("v2", "v3"), ("v1", "v3")):
        assert sum(case[one] != case[other] for case in texts) > 3


def test_a_flag_keeps_the_bucketing_that_it_names() -> None:
    def chosen(**metadata: Any) -> list[str | None]:
        flag = {
            "state": "ENABLED",
            "variants": {"a": "a", "b": "b"},
            "defaultVariant": "a",
            "targeting": {"fractional": [{"var": "workspace"}, ["a", 50], ["b", 50]]},
            "metadata": metadata,
        }
        flags = FlagSet.parse(json.dumps({"flags": {"f": flag}}))
        return [flags.evaluate("f", {"workspace": f"w{number}"}).variant for number in range(200)]

    assert chosen() == chosen(bucketing="v3") != chosen(bucketing="v2") != chosen(bucketing="v1")
    assert set(chosen(bucketing="v9")) == {None}


@pytest.mark.parametrize("number", [1e20, -1e20, 3.5e38, -1.7976931348623157e308])
def test_a_number_beyond_64_bits_is_the_same_subject_however_it_came(number: float) -> None:
    rule = {"fractional": [{"var": "subject"}, *([f"v{place}", 1] for place in range(1000))]}
    # Over the wire a whole number becomes an int of Python; a client that evaluates itself has a float.
    arrived = from_value(to_value(number))
    assert isinstance(arrived, int)
    chosen = compiled(rule)({"subject": arrived})
    assert chosen == reference("f", rule, EvaluationContext(attributes={"subject": number}))
    assert compiled(rule)({"subject": [{"in": arrived}]}) == compiled(rule)({"subject": [{"in": number}]})


def test_no_algorithm_prefers_a_share() -> None:
    # Chi-square with 9 degrees of freedom: 33.7 is passed once in 10,000 times, and these subjects never change.
    shares: list[tuple[Any, int]] = [(f"v{number}", 10) for number in range(10)]
    for name, algorithm in ALGORITHMS.items():
        counts = dict.fromkeys([variant for variant, _ in shares], 0)
        for number in range(20_000):
            counts[algorithm(f"rollout-workspace-{number}", shares)] += 1
        assert sum((count - 2_000) ** 2 / 2_000 for count in counts.values()) < 33.7, (name, counts)


scalars = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["", "a", "b", "1", "eu", "acme"]))
variables = st.sampled_from(["workspace", "tier", "region", "roles", "customer", "plan", "n", "roles.0", "a.b"])


def rules() -> st.SearchStrategy[Any]:
    leaves = st.one_of(scalars, variables.map(lambda name: {"var": name}), variables.map(lambda n: {"var": [n, "x"]}))

    def over(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        def of(name: str, least: int, most: int) -> st.SearchStrategy[Any]:
            return st.lists(parts, min_size=least, max_size=most).map(lambda given: {name: given})

        return st.one_of(
            *(of(name, 2, 2) for name in ("==", "!=", "===", "!==", "<", ">", "<=", ">=", "starts_with", "ends_with")),
            *(of(name, 1, 1) for name in ("!", "!!")),
            *(of(name, 1, 4) for name in ("and", "or", "if", "cat", "merge")),
            st.tuples(parts, st.lists(scalars, max_size=3)).map(lambda pair: {"in": list(pair)}),
            st.tuples(st.lists(scalars, max_size=3), st.sampled_from(["map", "filter", "all", "some", "none"])).map(
                lambda pair: {pair[1]: [pair[0], {"==": [{"var": ""}, "a"]}]}
            ),
            parts.map(lambda subject: {"fractional": [{"cat": ["f", subject]}, ["a", 1], ["b", 2]]}),
        )

    return st.recursive(leaves, over, max_leaves=12)


def outcome(run: Any) -> Any:
    try:
        value = run()
    except RuleFailed:
        raise
    except Exception:
        return "an error"
    return repr(value)


@given(rules(), st.fixed_dictionaries({"plan": scalars, "n": scalars, "tier": scalars}))
@settings(deadline=None, max_examples=400)
def test_a_compiled_rule_gives_what_the_reference_gives(rule: Any, context: dict[str, Any]) -> None:
    if not isinstance(rule, dict):
        rule = {"!!": [rule]}
    mine = outcome(lambda: compiled(rule)({**context, "targetingKey": "t"}))
    assert mine == outcome(lambda: reference("f", rule, EvaluationContext("t", {**context})))


@given(rules(), st.fixed_dictionaries({"plan": scalars, "n": scalars}))
@settings(deadline=None, max_examples=400)
def test_a_specialised_rule_gives_the_same_to_whom_it_was_made_for(rule: Any, claimed: dict[str, Any]) -> None:
    context = {**claimed, **KNOWN, "targetingKey": "acme"}
    try:
        special = specialised(rule, KNOWN)
    except Exception:
        # What breaks while it is worked out breaks for everybody.
        return
    assert outcome(lambda: compiled(special)(context)) == outcome(lambda: compiled(rule)(context))


def test_a_specialised_rule_names_no_other_workspace() -> None:
    steps: list[Any] = []
    for workspace in ("acme", "globex", "initech"):
        steps += [{"in": [{"var": "workspace"}, [workspace, "umbrella"]]}, workspace]
    rule = {"if": [{"and": [{"in": [{"var": "tier"}, ["business"]]}, {"==": [{"var": "plan"}, "x"]}]}, "plan", *steps]}
    special = specialised(rule, KNOWN)
    assert special == {"if": [{"==": [{"var": ["plan"]}, "x"]}, "plan", "acme"]}
    # The control: what is sent to everybody names everybody.
    assert "globex" in json.dumps(rule)


def test_a_split_of_a_known_subject_is_worked_out_by_the_flag_s_own_algorithm() -> None:
    split = {"fractional": [{"cat": ["f", {"var": "workspace"}]}, ["a", 1], ["b", 1]]}
    for algorithm in ALGORITHMS:
        for number in range(20):
            known = {"workspace": f"w{number}"}
            assert specialised(split, known, bucketing=algorithm) == compiled(split, bucketing=algorithm)(known)


def deep(levels: int) -> Any:
    rule: Any = True
    for _ in range(levels):
        rule = {"!": [rule]}
    return rule


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (deep(200), "nested"),
        ({"or": [{"var": "a"}] * 60_000}, "parts"),
        ({"in": [{"var": "a"}, ["x"] * 60_000]}, "parts"),
        ({"log": "x"}, "operator"),
        ({"eval": "x"}, "operator"),
        ({"__class__": "x"}, "operator"),
    ],
    ids=["deep", "wide", "long list", "log", "unknown", "dunder"],
)
def test_a_rule_that_no_evaluation_could_bear_is_refused(rule: Any, problem: str) -> None:
    with pytest.raises(RuleBroken, match=problem):
        compiled(rule)


def nested_iteration(levels: int) -> Any:
    rule: Any = {"==": [{"var": ""}, 1]}
    for _ in range(levels):
        rule = {"some": [[0] * 100, rule]}
    return rule


@pytest.mark.parametrize(
    "rule",
    [
        nested_iteration(5),
        {"reduce": [[1] * 90, {"cat": [{"var": "accumulator"}, {"var": "accumulator"}]}, "x"]},
        {"reduce": [[1] * 90, {"merge": [{"var": "accumulator"}, {"var": "accumulator"}]}, [1]]},
        {"reduce": [[1] * 90, {"*": [{"var": "accumulator"}, {"var": "accumulator"}]}, 9]},
        {"map": [{"var": "many"}, {"some": [[1, 2, 3], {"var": "many"}]}]},
    ],
    ids=["steps", "text", "list", "number", "context"],
)
def test_an_evaluation_that_would_not_end_is_cut_short(rule: Any) -> None:
    run = compiled(rule)
    for _ in range(2):
        with pytest.raises(RuleFailed):
            run({"many": [0] * 100_000})
    # What is left to take is counted anew each time.
    small = compiled({"some": [{"var": "many"}, {"==": [{"var": ""}, 1]}]})
    assert [small({"many": [0] * 9_000 + [1]}) for _ in range(20)] == [True] * 20


def test_references_are_put_in_and_circles_are_refused() -> None:
    evaluators = {"paying": {"in": [{"var": "tier"}, ["business"]]}, "a": {"!": [{"$ref": "b"}]}, "b": {"$ref": "a"}}
    assert inlined({"if": [{"$ref": "paying"}, "on"]}, evaluators) == {"if": [evaluators["paying"], "on"]}
    for name in ("a", "c"):
        with pytest.raises(RuleBroken):
            inlined({"$ref": name}, evaluators)
    doubling = {f"e{number}": {"or": [{"$ref": f"e{number + 1}"}] * 2} for number in range(60)}
    with pytest.raises(RuleBroken, match="large"):
        inlined({"$ref": "e0"}, {**doubling, "e60": True})
