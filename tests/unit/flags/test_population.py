"""Whom an experiment compares: those alone whom a flag divides by chance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cordboard.core.errors import InvalidFields, StateConflict
from cordboard.flags.content import Content, Rule, Share, Slice
from cordboard.flags.experiments.population import Population, is_member, population_of
from cordboard.flags.rollouts.plan import Audience, Plan, Reach, Stage, content_at

TIERS = ("free", "business", "enterprise")
HALVES = (Share("on", 1), Share("off", 1))
SPLIT = Content({"on": True, "off": False}, "off", (Rule(tiers=("business",), split=HALVES),))


def context(**changes: Any) -> dict[str, Any]:
    return {"workspace": "acme", "tier": "business", "environment": "production", **changes}


def test_a_split_is_a_population_of_those_whom_its_rule_fits() -> None:
    found = population_of("desk", SPLIT, 0)
    assert found == Population(0, (Share("off", 1), Share("on", 1)))
    assert Population.from_json(found.to_json()) == found
    assert is_member("desk", SPLIT, found, context())
    assert not is_member("desk", SPLIT, found, context(tier="free"))
    assert not is_member("desk", SPLIT, found, context(workspace=""))


def test_who_is_named_before_is_not_compared() -> None:
    named = replace(SPLIT, rules=(Rule(workspaces=("acme",), variant="on"), *SPLIT.rules))
    found = population_of("desk", named, 0)
    assert found.rule == 1
    assert not is_member("desk", named, found, context())
    assert is_member("desk", named, found, context(workspace="other"))


def test_a_rollout_divides_those_whom_its_stage_reaches_in_part() -> None:
    plan = Plan(
        (Stage((Reach("staging", 10_000), Reach("production", 2_500))),),
        Audience(minimum_tier="business", excluded_workspaces=("never",)),
        version="2.0.0",
        holdout=1_000,
        exclusion=Slice("checkout", 0, 5_000),
    )
    key = "version.desk"
    content = content_at(key, plan, 1, TIERS)
    found = population_of(key, content, 0)
    assert found.arms == (Share("off", 7_500), Share("on", 2_500))
    workspaces = [f"w-{number}" for number in range(400)]
    members = [each for each in workspaces if is_member(key, content, found, context(workspace=each))]
    # Held out are a tenth of all, and the slice of the group is half of them.
    assert 130 < len(members) < 230
    for changes in ({"tier": "free"}, {"environment": "staging"}, {"workspace": "never"}):
        assert not is_member(key, content, found, context(**{"workspace": members[0], **changes}))


def test_a_flag_that_divides_nobody_or_twice_is_no_experiment() -> None:
    with pytest.raises(StateConflict, match="nowhere"):
        population_of("desk", replace(SPLIT, rules=(Rule(variant="on"),)), 0)
    twice = replace(SPLIT, rules=(*SPLIT.rules, Rule(split=HALVES)))
    with pytest.raises(StateConflict, match="more than one"):
        population_of("desk", twice, 0)
    assert population_of("desk", twice, 2).rule == 1
    for number in (-1, 3):
        with pytest.raises(InvalidFields):
            population_of("desk", twice, number)


def test_a_slice_whose_others_get_several_things_is_no_population() -> None:
    part = Rule(slices=(Slice("desk", 0, 5_000),), variant="on")
    plain = Content({"on": True, "off": False}, "off", (part,))
    assert population_of("desk", plain, 0).arms == (Share("off", 5_000), Share("on", 5_000))
    for after in (Rule(tiers=("free",), variant="off"), Rule(variant="on")):
        with pytest.raises(StateConflict):
            population_of("desk", replace(plain, rules=(part, after)), 0)
    # A slice of another group says who is asked, and divides nobody.
    with pytest.raises(StateConflict):
        population_of("desk", replace(plain, rules=(Rule(slices=(Slice("other", 0, 5_000),), variant="on"),)), 0)
