"""Guarded rollouts over the real server and database: reports in, and a rollout taken back, locked, and let go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from cordboard.flags.__main__ import start
from cordboard.flags.settings import FlagsSettings
from cordboard.flags.v1 import flag_service_pb2 as flags_pb
from cordboard.flags.v1 import outcome_service_pb2 as outcomes_pb
from cordboard.flags.v1 import rollout_service_pb2 as pb
from cordboard.flags.v1.flag_service_pb2_grpc import FlagServiceStub
from cordboard.flags.v1.outcome_service_pb2_grpc import OutcomeServiceStub
from cordboard.flags.v1.rollout_service_pb2_grpc import RolloutServiceStub
from tests.contract.test_flags_service import evaluate, ready, refused
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Served, Serving

KEY = "version.desk"
NAME, FLAG = f"rollouts/{KEY}", f"flags/{KEY}"
FAST, SLOW = 3, 12


@pytest.fixture
def own(database: Databases) -> ServiceDatabase:
    return database("flags")


@pytest.fixture
async def served(serving: Serving, own: ServiceDatabase) -> AsyncIterator[Served]:
    async with serving("flags", FlagsSettings, start, database_url=own.url) as running:
        await ready(running)
        yield running


@pytest.fixture
def rollouts(served: Served) -> Any:
    return RolloutServiceStub(served.as_role("operator"))


@pytest.fixture
def flags(served: Served) -> Any:
    return FlagServiceStub(served.as_role("operator"))


@pytest.fixture
def outcomes(served: Served) -> Any:
    return OutcomeServiceStub(served.channel("proxy"))


def a_stage(percent: float, soak: int = 0) -> pb.Stage:
    stage = pb.Stage(reaches=[pb.Reach(environment="production", percent=percent)])
    if soak:
        stage.soak_duration.seconds = soak
    return stage


async def begin(rollouts: Any, **changes: Any) -> pb.Rollout:
    fields: dict[str, Any] = {"stages": [a_stage(50, 3600), a_stage(100)], "version": "2.0.0", "guard": pb.Guard()}
    made: pb.Rollout = await rollouts.PutRollout(
        pb.PutRolloutRequest(rollout=pb.Rollout(name=NAME, **{**fields, **changes}))
    )
    return made


def arm(variant: str, calls: int, bad: int = 0, bucket: int = FAST) -> outcomes_pb.VariantOutcomes:
    durations = [0] * 18
    durations[bucket] = calls
    causes = {"VENDOR_ERROR": bad} if bad else {}
    return outcomes_pb.VariantOutcomes(variant=variant, calls=calls, causes=causes, duration_counts=durations)


def report(
    sequence: int, *arms: outcomes_pb.VariantOutcomes, reporter: str = "one", revision: int = 1, flag: str = FLAG
) -> outcomes_pb.ReportOutcomesRequest:
    stratum = outcomes_pb.OutcomeStratum(flag=flag, revision=revision, variants=arms)
    return outcomes_pb.ReportOutcomesRequest(reporter=reporter, sequence=sequence, strata=[stratum])


async def rollout(rollouts: Any) -> pb.Rollout:
    found: pb.Rollout = await rollouts.GetRollout(pb.GetRolloutRequest(name=NAME))
    return found


async def test_a_version_whose_calls_fail_is_taken_back_and_locked(rollouts: Any, flags: Any, outcomes: Any) -> None:
    made = await begin(rollouts)
    assert made.guard == pb.Guard(failures_percent=1, slowness_percent=10, false_alarm_percent=5)
    await outcomes.ReportOutcomes(report(1, arm("on", 20, 1), arm("off", 20, 1)))
    assert (await rollout(rollouts)).stage == 1
    await outcomes.ReportOutcomes(report(2, arm("on", 20, 18), arm("off", 20)))
    found = await rollout(rollouts)
    assert (found.stage, found.lock.reason, found.HasField("next_stage_time")) == (0, "failures", False)
    reached, others = found.lock.comparison.reached, found.lock.comparison.others
    assert (reached.calls, reached.failures, dict(reached.causes)) == (40, 19, {"VENDOR_ERROR": 19})
    assert (others.calls, others.failures) == (40, 1)
    # As strong as is asked for, and kept there.
    assert 21 < found.lock.comparison.failure_evidence < 21.1
    for number in range(20):
        context = {"environment": "production", "workspace": f"w-{number}"}
        assert (await evaluate(flags, FLAG, **context))[0] == ""
    newest = (await flags.ListFlagRevisions(flags_pb.ListFlagRevisionsRequest(parent=FLAG))).flag_revisions[0]
    assert newest.creator == "guard"
    assert newest.reason.startswith("rollout guard: stage 0 of 2: failures of 47.5% of 40 calls, and of 2.5% of 40")


async def test_a_lock_holds_until_a_person_agrees(rollouts: Any, outcomes: Any) -> None:
    await begin(rollouts)
    await outcomes.ReportOutcomes(report(1, arm("on", 50, 50), arm("off", 50)))
    locked: tuple[str, str, list[str]] = ("FAILED_PRECONDITION", "STATE_CONFLICT", [])
    for call in (
        rollouts.MoveRollout(pb.MoveRolloutRequest(name=NAME, stage=1)),
        begin(rollouts),
        rollouts.ThawRollout(pb.ThawRolloutRequest(name=NAME)),
    ):
        assert await refused(call) == locked
    frozen = await rollouts.FreezeRollout(pb.FreezeRolloutRequest(name=NAME, reason="sale"))
    thawed = await rollouts.ThawRollout(pb.ThawRolloutRequest(name=NAME))
    assert frozen.lock.reason == thawed.lock.reason == "failures"
    assert not thawed.HasField("next_stage_time")
    assert await refused(rollouts.UnlockRollout(pb.UnlockRolloutRequest(name=NAME))) == (
        "INVALID_ARGUMENT", "INVALID_FIELDS", ["reason"],
    )  # fmt: skip
    opened = await rollouts.UnlockRollout(pb.UnlockRolloutRequest(name=NAME, reason="the vendor has fixed it"))
    assert (opened.stage, opened.HasField("lock"), opened.HasField("next_stage_time")) == (0, False, False)
    moved = await rollouts.MoveRollout(pb.MoveRolloutRequest(name=NAME, stage=1, reason="again"))
    assert moved.stage == 1
    # It is compared anew: what came before counts no more, nor what comes late of a revision of before.
    late = report(2, arm("on", 50, 50), arm("off", 50), revision=1)
    await outcomes.ReportOutcomes(late)
    assert (await rollout(rollouts)).comparison == pb.Comparison(
        reached=pb.VariantFigures(), others=pb.VariantFigures(), failure_evidence=1, slowness_evidence=1
    )
    assert await refused(rollouts.UnlockRollout(pb.UnlockRolloutRequest(name=NAME, reason="again"))) == locked


async def test_a_version_that_is_slow_is_taken_back(rollouts: Any, outcomes: Any) -> None:
    await begin(rollouts)
    await outcomes.ReportOutcomes(report(1, arm("on", 60), arm("off", 60)))
    await outcomes.ReportOutcomes(report(2, arm("on", 30, bucket=SLOW), arm("off", 30)))
    assert (await rollout(rollouts)).lock.reason == "slowness"


async def test_an_outage_of_both_versions_takes_nothing_back(rollouts: Any, outcomes: Any) -> None:
    await begin(rollouts)
    for sequence in range(1, 30):
        await outcomes.ReportOutcomes(report(sequence, arm("on", 100, 97, SLOW), arm("off", 100, 97, SLOW)))
    found = await rollout(rollouts)
    assert (found.stage, found.comparison.reached.failures) == (1, 29 * 97)
    assert not found.HasField("lock")


async def test_a_report_that_comes_again_is_counted_once(rollouts: Any, outcomes: Any) -> None:
    await begin(rollouts)
    for sequence, reporter in ((1, "one"), (1, "one"), (2, "one"), (1, "one"), (1, "two")):
        await outcomes.ReportOutcomes(report(sequence, arm("on", 10), arm("off", 10), reporter=reporter))
    assert (await rollout(rollouts)).comparison.reached.calls == 30


async def reporters(own: ServiceDatabase) -> int:
    connection = await asyncpg.connect(own.url.replace("+asyncpg", ""))
    try:
        return int(await connection.fetchval("SELECT count(*) FROM flags.outcome_reporter"))
    finally:
        await connection.close()


async def test_a_rollout_without_a_guard_is_never_taken_back(
    rollouts: Any, outcomes: Any, own: ServiceDatabase
) -> None:
    await begin(rollouts, guard=None)
    await outcomes.ReportOutcomes(report(1, arm("on", 100, 100), arm("off", 100)))
    await outcomes.ReportOutcomes(report(2, arm("on", 100, 100), arm("off", 100), flag="flags/none"))
    found = await rollout(rollouts)
    assert (found.stage, found.HasField("lock"), found.HasField("comparison")) == (1, False, False)
    # Nothing was written for it; the control is a report of a guarded one.
    assert await reporters(own) == 0
    await begin(rollouts)
    await outcomes.ReportOutcomes(report(3, arm("on", 1), arm("off", 1)))
    assert await reporters(own) == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"guard": pb.Guard(failures_percent=101)}, "rollout.guard.failures_percent"),
        ({"guard": pb.Guard(slowness_percent=-1)}, "rollout.guard.slowness_percent"),
        ({"guard": pb.Guard(false_alarm_percent=60)}, "rollout.guard.false_alarm_percent"),
        ({"guard": pb.Guard(false_alarm_percent=float("nan"))}, "rollout.guard.false_alarm_percent"),
        ({"name": "rollouts/integration.desk", "version": ""}, "rollout.guard"),
    ],
)
async def test_a_guard_that_cannot_work_is_refused(rollouts: Any, changes: dict[str, Any], field: str) -> None:
    wanted = pb.Rollout(**{"name": NAME, "version": "2.0.0", "stages": [a_stage(1)], "guard": pb.Guard(), **changes})
    call = rollouts.PutRollout(pb.PutRolloutRequest(rollout=wanted))
    assert await refused(call) == ("INVALID_ARGUMENT", "INVALID_FIELDS", [field])


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (report(0, arm("on", 1)), "sequence"),
        (report(1, arm("on", 1), reporter="a b"), "reporter"),
        (report(1, arm("on", 1), flag="desk"), "strata[0].flag"),
        (report(1, arm("on", 1), arm("on", 1)), "strata[0].variants"),
        (report(1, arm("on", 10_001)), "strata[0].variants[0].calls"),
        (report(1, arm("on", 1, 2)), "strata[0].variants[0].causes"),
        (report(1, outcomes_pb.VariantOutcomes(calls=1)), "strata[0].variants[0].duration_counts"),
    ],
)
async def test_a_report_that_does_not_add_up_is_refused(
    outcomes: Any, request_: outcomes_pb.ReportOutcomesRequest, field: str
) -> None:
    found = await refused(outcomes.ReportOutcomes(request_))
    assert (found[1], found[2]) == ("INVALID_FIELDS", [field])


async def test_only_the_proxy_reports(served: Served) -> None:
    stub: Any = OutcomeServiceStub(served.as_role("operator"))
    assert (await refused(stub.ReportOutcomes(report(1, arm("on", 1)))))[1] == "ACCESS_DENIED"
