"""Whom the flag of each stage reaches, and what makes a plan valid."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from cordboard.core.errors import InvalidFields
from cordboard.core.flagging import FlagSet
from cordboard.flags.compilation import compiled
from cordboard.flags.content import Slice
from cordboard.flags.content import violations as flag_violations
from cordboard.flags.rollouts.messages import plan_of
from cordboard.flags.rollouts.plan import Audience, Plan, Reach, Stage, content_at, violations
from cordboard.flags.v1 import rollout_service_pb2 as pb

KEY = "integration.desk"
TIERS = ("free", "business", "enterprise")
NAMES = tuple(f"workspace-{number}" for number in range(1_000))
QUARTER = Stage((Reach("production", 2_500), Reach("staging", 10_000)))


def a_plan(**changes: Any) -> Plan:
    return Plan(**{"stages": (QUARTER,), **changes})


def flag_set(plan: Plan, *, key: str = KEY, stage: int = 1) -> FlagSet:
    content = content_at(key, plan, stage, TIERS)
    assert flag_violations(key, content) == []
    return FlagSet({key: compiled(key, content, killed=False, revision=1)})


def reached(plan: Plan, *, key: str = KEY, stage: int = 1, **context: str) -> set[str]:
    flags = flag_set(plan, key=key, stage=stage)
    known = {"environment": "production", **context}
    return {name for name in NAMES if flags.evaluate(key, {**known, "workspace": name}).variant == "on"}


def test_a_quarter_of_production_and_all_of_staging_and_nothing_else() -> None:
    assert 200 < len(reached(a_plan())) < 300
    assert len(reached(a_plan(), environment="staging")) == len(NAMES)
    assert reached(a_plan(), environment="development") == set()
    assert reached(a_plan(), stage=0, environment="staging") == set()


def test_the_default_of_a_stage_reaches_only_environments_that_it_does_not_name() -> None:
    plan = a_plan(stages=(Stage((Reach("", 10_000), Reach("production", 100))),))
    assert len(reached(plan)) < 50
    assert len(reached(plan, environment="development")) == len(NAMES)


def test_a_later_stage_keeps_everybody_whom_an_earlier_one_reached() -> None:
    shares = (100, 1_000, 5_000, 10_000)
    plan = a_plan(stages=tuple(Stage((Reach("production", share),)) for share in shares))
    groups = [reached(plan, stage=stage) for stage in range(1, 5)]
    assert groups[0] < groups[1] < groups[2] < groups[3] == set(NAMES)


def test_tier_and_region_have_to_fit() -> None:
    plan = a_plan(audience=Audience(minimum_tier="business", regions=("eu",)))
    plan = replace(plan, stages=(Stage((Reach("", 10_000),)),))
    assert reached(plan, tier="enterprise", region="eu") == set(NAMES)
    assert reached(plan, tier="business", region="eu") == set(NAMES)
    assert reached(plan, tier="free", region="eu") == set()
    assert reached(plan, tier="unheard-of", region="eu") == set()
    assert reached(plan, tier="business", region="us") == set()


def test_the_named_come_first_and_the_excluded_never() -> None:
    plan = a_plan(
        stages=(Stage((Reach("production", 0),)),),
        holdout=9_999,
        audience=Audience(
            minimum_tier="enterprise",
            workspaces=("workspace-1", "workspace-2"),
            customers=("c-1",),
            excluded_workspaces=("workspace-2",),
            excluded_customers=("c-2",),
        ),
    )
    assert reached(plan) == {"workspace-1"}
    assert reached(plan, customer="c-1") == set(NAMES) - {"workspace-2"}
    assert reached(plan, customer="c-2") == set()


def test_a_holdout_holds_the_same_workspaces_out_of_every_rollout() -> None:
    everybody = (Stage((Reach("", 10_000),)),)
    held = [set(NAMES) - reached(a_plan(stages=everybody, holdout=1_000), key=f"integration.{n}") for n in "ab"]
    assert held[0] == held[1]
    assert 60 < len(held[0]) < 140


def test_rollouts_that_exclude_each_other_have_no_workspace_in_common() -> None:
    everybody = (Stage((Reach("", 10_000),)),)
    first, second = (
        reached(a_plan(stages=everybody, exclusion=Slice("checkout", begin, begin + 5_000)), key=f"integration.{begin}")
        for begin in (0, 5_000)
    )
    assert first | second == set(NAMES)
    assert first & second == set()


def test_a_version_goes_to_those_reached_and_others_keep_the_active_one() -> None:
    key = "version.desk"
    flags = flag_set(a_plan(version="2.0.0"), key=key)
    values = {flags.evaluate(key, {"environment": "production", "workspace": name}).value for name in NAMES}
    assert values == {"2.0.0", ""}


@pytest.mark.parametrize(
    ("key", "plan", "fields"),
    [
        (KEY, a_plan(), []),
        ("desk", a_plan(), ["rollout.name"]),
        ("version.desk", a_plan(), ["rollout.version"]),
        (KEY, a_plan(version="1.0.0"), ["rollout.version"]),
        (KEY, a_plan(audience=Audience(minimum_tier="gold")), ["rollout.audience.minimum_tier"]),
        (KEY, a_plan(holdout=10_000), ["rollout.holdout_percent"]),
        (KEY, a_plan(stages=()), ["rollout.stages"]),
        (KEY, a_plan(stages=(QUARTER,) * 21), ["rollout.stages"]),
        (KEY, a_plan(stages=(Stage(()),)), ["rollout.stages[0].reaches"]),
        (KEY, a_plan(stages=(replace(QUARTER, soak=-1.0),)), ["rollout.stages[0].soak_duration"]),
        (KEY, a_plan(stages=(Stage((Reach("a", 1),) * 2),)), ["rollout.stages[0].reaches[1].environment"]),
        (KEY, a_plan(exclusion=Slice("holdout", 0, 1)), ["rollout.exclusion.group"]),
        (KEY, a_plan(exclusion=Slice("a", 1, 1)), ["rollout.exclusion.end_percent"]),
    ],
)
def test_what_is_wrong_with_a_plan_is_named_by_its_path(key: str, plan: Plan, fields: list[str]) -> None:
    assert [each.field for each in violations(key, plan, TIERS)] == fields


@pytest.mark.parametrize("percent", [-1.0, 100.01, 0.001, float("nan"), float("inf")])
def test_a_percentage_is_a_multiple_of_a_hundredth(percent: float) -> None:
    with pytest.raises(InvalidFields) as raised:
        plan_of(pb.Rollout(stages=[pb.Stage(reaches=[pb.Reach(percent=percent)])]))
    assert raised.value.violations[0].field == "rollout.stages[0].reaches[0].percent"


def test_a_plan_is_kept_as_it_is() -> None:
    plan = a_plan(
        stages=(replace(QUARTER, soak=86_400.0), QUARTER),
        audience=Audience("business", ("eu",), ("a",), ("b",), ("c",), ("d",)),
        description="d",
        version="1.0.0",
        holdout=5,
        exclusion=Slice("g", 0, 5_000),
    )
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
