"""What workspaces choose themselves: the flag that says it, and the decision that follows from it."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from cordboard.core.errors import StateConflict
from cordboard.core.flagging import TO_DEFAULT, FlagSet, specialised
from cordboard.flags.choices.ballot import changed
from cordboard.flags.compilation import CHOSEN_OFF, CHOSEN_ON
from cordboard.flags.content import MAX_CONDITION_VALUES, Content, Prerequisite, Rule, Share, choice_key, violations
from cordboard.flags.experiments.population import is_member, population_of
from cordboard.flags.explanation import chosen_of, explained
from cordboard.flags.prerequisites import Definitions
from cordboard.flags.rollouts.plan import EARLY, REACHED, Audience, Plan, Reach, Stage, content_at
from cordboard.flags.rollouts.plan import violations as plan_violations
from cordboard.flags.store import FlagRecord

KEY = "integration.desk"
TIERS = ("free", "business", "enterprise")
NOW = datetime(2026, 1, 5, tzinfo=UTC)
VARIANTS = {"on": True, "off": False}
FOR_ALL = Content(VARIANTS, "off", (Rule(variant="on"),))
OFFERED = Content(VARIANTS, "off", (Rule(tiers=("business",), variant="on", opt_in=True),))


def ballot(**choices: str) -> Content | None:
    """What was chosen in production, by workspace."""
    content: Content | None = None
    for workspace, choice in choices.items():
        content = changed(content, workspace, "production", choice)
    return content


def flag_set(content: Content, chosen: Content | None, *, killed: bool = False) -> FlagSet:
    records = {KEY: FlagRecord(KEY, 1, content, killed, "", "", NOW, NOW)}
    if chosen is not None:
        records[choice_key(KEY)] = FlagRecord(choice_key(KEY), 1, chosen, False, "", "", NOW, NOW)
    definitions = Definitions(records, lambda _key: None)
    return FlagSet({key: definitions.of(key) for key in records})


def context(workspace: str = "acme", environment: str = "production", **changes: Any) -> dict[str, Any]:
    return {"workspace": workspace, "environment": environment, "tier": "business", **changes}


def gives(content: Content, chosen: Content | None, **changes: Any) -> str | None:
    return flag_set(content, chosen).evaluate(KEY, context(**changes)).variant


def test_what_a_workspace_has_switched_off_is_off_for_it_alone_and_where_it_did() -> None:
    chosen = ballot(acme=CHOSEN_OFF)
    assert gives(FOR_ALL, chosen) == "off"
    assert gives(FOR_ALL, chosen, workspace="other") == "on"
    assert gives(FOR_ALL, chosen, environment="staging") == "on"
    # The control: nobody has chosen anything.
    assert gives(FOR_ALL, None) == "on"


def test_off_goes_before_every_rule_and_every_prerequisite() -> None:
    named = replace(FOR_ALL, rules=(Rule(workspaces=("acme",), variant="on"), Rule(variant="on")))
    assert gives(named, ballot(acme=CHOSEN_OFF)) == "off"
    needing = replace(named, prerequisites=(Prerequisite("none", ("on",)),), off_variant="off")
    assert gives(needing, ballot(acme=CHOSEN_OFF)) == "off"


def test_on_counts_where_a_rule_asks_for_it_and_nowhere_else() -> None:
    assert gives(OFFERED, None) == "off"
    assert gives(OFFERED, ballot(acme=CHOSEN_ON)) == "on"
    assert gives(OFFERED, ballot(acme=CHOSEN_ON), tier="free") == "off"
    assert gives(OFFERED, ballot(other=CHOSEN_ON)) == "off"
    closed = replace(OFFERED, rules=(Rule(tiers=("enterprise",), variant="on"),))
    assert gives(closed, ballot(acme=CHOSEN_ON)) == "off"


def test_on_never_goes_before_a_kill_or_what_is_needed() -> None:
    chosen = ballot(acme=CHOSEN_ON)
    assert flag_set(OFFERED, chosen, killed=True).evaluate(KEY, context()).variant == "off"
    needing = replace(OFFERED, prerequisites=(Prerequisite("none", ("on",)),))
    assert gives(needing, chosen) == "off"
    assert gives(OFFERED, chosen) == "on"


def test_a_choice_that_is_changed_or_taken_back_leaves_nothing_behind() -> None:
    both = changed(ballot(acme=CHOSEN_OFF, other=CHOSEN_OFF), "acme", "production", CHOSEN_ON)
    assert [(rule.variant, rule.workspaces) for rule in both.rules] == [("off", ("other",)), ("on", ("acme",))]
    assert changed(both, "acme", "production", "").rules == ballot(other=CHOSEN_OFF).rules  # type: ignore[union-attr]
    assert changed(changed(both, "acme", "production", ""), "other", "production", "").rules == ()
    assert gives(FOR_ALL, changed(ballot(acme=CHOSEN_OFF), "acme", "production", "")) == "on"


def test_many_workspaces_choose_in_rules_that_a_flag_can_have() -> None:
    workspaces = [f"w{number}" for number in range(MAX_CONDITION_VALUES + 1)]
    rule = Rule(workspaces=tuple(workspaces), environments=("production",), variant=CHOSEN_OFF)
    known = changed(None, "acme", "production", CHOSEN_OFF)
    many = changed(replace(known, rules=(rule,)), "acme", "production", CHOSEN_OFF)
    assert [len(rule.workspaces) for rule in many.rules] == [MAX_CONDITION_VALUES, 2]
    assert violations(choice_key(KEY), many) == []
    assert {gives(FOR_ALL, many, workspace=each) for each in ("acme", "w0", workspaces[-1])} == {"off"}
    # The control: what one rule may hold is less than that.
    assert violations(choice_key(KEY), replace(many, rules=(rule,)))


def test_a_copy_that_is_too_old_keeps_what_was_switched_off() -> None:
    switched = replace(FOR_ALL, default_variant="on", off_variant="off", when_stale=TO_DEFAULT)
    stale = flag_set(switched, ballot(acme=CHOSEN_OFF)).when_stale()
    assert stale.evaluate(KEY, context()).variant == "off"
    assert (stale.evaluate(KEY, context("other")).variant, stale.evaluate(KEY, context("other")).reason) == (
        "on", "STALE",
    )  # fmt: skip
    # The control: the default would switch it on.
    assert flag_set(switched, None).when_stale().evaluate(KEY, context()).variant == "on"


def test_what_leaves_the_mesh_for_a_workspace_names_no_other() -> None:
    chosen = ballot(acme=CHOSEN_OFF, secretive=CHOSEN_OFF, hidden=CHOSEN_ON)
    definitions = Definitions(
        {
            KEY: FlagRecord(KEY, 1, OFFERED, False, "", "", NOW, NOW),
            choice_key(KEY): FlagRecord(choice_key(KEY), 1, chosen or FOR_ALL, False, "", "", NOW, NOW),
        },
        lambda _key: None,
    )
    for key in (KEY, choice_key(KEY)):
        definition = definitions.of(key)
        assert definition is not None
        assert "secretive" in json.dumps(definition)
        text = json.dumps(specialised(definition["targeting"], context()))
        assert not any(name in text for name in ("secretive", "hidden"))


@pytest.mark.parametrize("content", [FOR_ALL, OFFERED], ids=["for all", "by choice"])
def test_the_explanation_decides_as_the_evaluation_does(content: Content) -> None:
    for chosen, tier in itertools.product(("", CHOSEN_ON, CHOSEN_OFF), ("free", "business")):
        flags = flag_set(content, ballot(acme=chosen) if chosen else None)
        known = context(tier=tier)
        assert chosen_of(KEY, flags, known) == chosen
        found = explained(KEY, content, known, killed=False, chosen=chosen)
        given = "off" if found.decided_by is None else content.rules[found.decided_by].variant
        assert given == flags.evaluate(KEY, known).variant, (chosen, tier)
    unasked = explained(KEY, OFFERED, context(), killed=False)
    assert unasked.findings[0].mismatches == ("the workspace's own administrator has not switched it on",)


def test_a_rollout_can_leave_it_to_those_whom_it_reaches_or_offer_it_to_those_it_does_not_reach_yet() -> None:
    some = Stage((Reach("production", 2_500), Reach("staging", 10_000)))
    plan = Plan((some,), Audience("business", excluded_workspaces=("never",)), holdout=1_000)
    names = [f"w-{number}" for number in range(400)]

    def on(opt_in: str, chosen: str, **changes: Any) -> set[str]:
        content = content_at(KEY, replace(plan, opt_in=opt_in), 1, TIERS)
        assert violations(KEY, content) == []
        rules = (Rule(workspaces=(*names, "never"), environments=("production",), variant=chosen),) if chosen else ()
        flags = flag_set(content, replace(changed(None, "x", "staging", CHOSEN_OFF), rules=rules))
        return {name for name in (*names, "never") if flags.evaluate(KEY, context(name, **changes)).variant == "on"}

    reached = on("", "")
    assert 60 < len(reached) < 130
    assert (on(REACHED, ""), on(REACHED, CHOSEN_ON)) == (set(), reached)
    assert on(EARLY, "") == reached
    early = on(EARLY, CHOSEN_ON)
    assert (reached < early, "never" in early, 330 < len(early) < 390) == (True, False, True)
    assert on(EARLY, CHOSEN_ON, tier="free") == set()
    assert on(EARLY, CHOSEN_OFF) == set()
    # Without it a choice switches nothing on.
    assert on("", CHOSEN_ON) == reached
    assert Plan.from_json(json.loads(json.dumps(replace(plan, opt_in=EARLY).to_json()))).opt_in == EARLY
    wrong = [
        each.field for each in plan_violations("version.desk", replace(plan, opt_in=EARLY, version="1.0.0"), TIERS)
    ]
    assert wrong == ["rollout.opt_in"]


def test_only_integrations_are_chosen() -> None:
    assert [each.field for each in violations("new-desk", OFFERED)] == ["flag.rules[0].opt_in"]
    split = replace(OFFERED, rules=(Rule(split=(Share("on", 1), Share("off", 1)), opt_in=True),))
    assert [each.field for each in violations(KEY, split)] == ["flag.rules[0].opt_in"]
    assert violations(KEY, OFFERED) == []
    assert Content.from_json(json.loads(json.dumps(OFFERED.to_json()))) == OFFERED


def test_who_has_chosen_is_not_compared() -> None:
    plan = Plan((Stage((Reach("", 2_500),)),), opt_in=EARLY)
    content = content_at(KEY, plan, 1, TIERS)
    population = population_of(KEY, content, 0)
    assert population.arms == (Share("off", 7_500), Share("on", 2_500))
    for chosen, compared in ((None, True), (ballot(acme=CHOSEN_ON), False), (ballot(acme=CHOSEN_OFF), False)):
        assert is_member(KEY, content, population, context(), flag_set(content, chosen)) is compared
    with pytest.raises(StateConflict):
        population_of(KEY, content_at(KEY, replace(plan, opt_in=REACHED), 1, TIERS), 0)
