"""Whom an experiment compares: those alone whom a flag divides by chance."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from cordboard.core.errors import InvalidFields, StateConflict
from cordboard.core.flagging import FlagSet
from cordboard.flags.content import Content, Prerequisite, Rule, Share, Slice
from cordboard.flags.experiments.population import Population, is_member, population_of
from cordboard.flags.prerequisites import Definitions
from cordboard.flags.rollouts.plan import Audience, Plan, Reach, Stage, content_at
from cordboard.flags.store import FlagRecord

TIERS = ("free", "business", "enterprise")
NOW = datetime(2026, 1, 5, tzinfo=UTC)
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


ON_OFF = {"on": True, "off": False}
PILOTS = Content(ON_OFF, "off", (Rule(customers=("north",), variant="on"),))


def flag_set(**contents: Content) -> FlagSet:
    records = {
        key: FlagRecord(key, 1, content, False, "", "", NOW, NOW)
        for key, content in ((name.replace("_", "."), each) for name, each in contents.items())
    }
    definitions = Definitions(records, lambda _key: None)
    return FlagSet({key: definitions.of(key) for key in records})


def test_whoever_lacks_what_the_flag_needs_is_not_compared() -> None:
    needing = replace(SPLIT, prerequisites=(Prerequisite("base", ("on",)),))
    found = population_of("desk", needing, 0, [PILOTS])
    assert found == population_of("desk", SPLIT, 0)
    flags = flag_set(desk=needing, base=PILOTS)
    assert is_member("desk", needing, found, context(customer="north"), flags)
    assert not is_member("desk", needing, found, context(customer="south"), flags)
    assert not is_member("desk", needing, found, context(customer="north"), flag_set(desk=needing))


def test_only_those_of_its_rule_s_segments_are_compared() -> None:
    aimed = replace(SPLIT, rules=(Rule(segments=("pilots",), split=HALVES), Rule(variant="off")))
    found = population_of("desk", aimed, 0, [PILOTS])
    flags = flag_set(desk=aimed, segment_pilots=PILOTS)
    members = {
        customer: is_member("desk", aimed, found, context(customer=customer), flags) for customer in ("north", "south")
    }
    assert members == {"north": True, "south": False}
    # Whoever is in a segment that an earlier rule names got what somebody chose.
    named = replace(SPLIT, rules=(Rule(segments=("pilots",), variant="on"), *SPLIT.rules))
    found = population_of("desk", named, 0, [PILOTS])
    assert is_member("desk", named, found, context(customer="south"), flags)
    assert not is_member("desk", named, found, context(customer="north"), flags)


def test_a_rollout_to_a_segment_divides_its_members_alone() -> None:
    part = Rule(segments=("pilots",), slices=(Slice("desk", 0, 5_000),), variant="on")
    aimed = Content(ON_OFF, "off", (part, Rule(segments=("pilots",), variant="off"), Rule(variant="on")))
    assert population_of("desk", aimed, 0, [PILOTS]).arms == (Share("off", 5_000), Share("on", 5_000))
    # What comes after is for others: those whom the slice leaves out get several things.
    others = replace(aimed, rules=(part, Rule(segments=("else",), variant="off"), Rule(variant="on")))
    with pytest.raises(StateConflict, match="nowhere"):
        population_of("desk", others, 0, [PILOTS])


def test_what_is_needed_may_not_choose_in_the_order_that_divides() -> None:
    part = Rule(segments=("half",), slices=(Slice("desk", 0, 5_000),), variant="on")
    content = Content(ON_OFF, "off", (part,))
    half = Content(ON_OFF, "off", (Rule(slices=(Slice("desk", 2_500, 7_500),), variant="on"),))
    with pytest.raises(StateConflict, match="in the order in which this one divides them"):
        population_of("desk", content, 0, [half])
    # A split has an order of its own, and so has a slice of another group.
    assert population_of("desk", replace(SPLIT, prerequisites=(Prerequisite("half", ("on",)),)), 0, [half])
    elsewhere = Content(ON_OFF, "off", (Rule(slices=(Slice("other", 2_500, 7_500),), variant="on"),))
    assert population_of("desk", content, 0, [elsewhere])
    # What would come of it: of those below 2,500 in the order all get it, and not one in two.
    below = Content(ON_OFF, "off", (Rule(slices=(Slice("desk", 0, 2_500),), variant="on"),))
    found = Population(0, (Share("off", 5_000), Share("on", 5_000)))
    shares = []
    for segment in (below, elsewhere):
        flags = flag_set(desk=content, segment_half=segment)
        asked = [context(workspace=f"w-{number}") for number in range(1_000)]
        members = [each for each in asked if is_member("desk", content, found, each, flags)]
        shares.append(sum(flags.evaluate("desk", each).value for each in members) / len(members))
    assert shares[0] == 1
    assert 0.4 < shares[1] < 0.6
