"""Experiments over the real server and database: exposures once, events and calls joined, results, and an end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg
import pytest
from openfeature.schemas.protobuf.flagd.evaluation.v2 import evaluation_pb2 as flagd
from openfeature.schemas.protobuf.flagd.evaluation.v2.evaluation_pb2_grpc import ServiceStub as FlagdStub

from cordboard.core.structs import to_value
from cordboard.flags.__main__ import start
from cordboard.flags.settings import FlagsSettings
from cordboard.flags.v1 import experiment_service_pb2 as pb
from cordboard.flags.v1 import flag_service_pb2 as flags_pb
from cordboard.flags.v1 import outcome_service_pb2 as outcomes_pb
from cordboard.flags.v1 import tracking_service_pb2 as tracking_pb
from cordboard.flags.v1.experiment_service_pb2_grpc import ExperimentServiceStub
from cordboard.flags.v1.flag_service_pb2_grpc import FlagServiceStub
from cordboard.flags.v1.outcome_service_pb2_grpc import OutcomeServiceStub
from cordboard.flags.v1.tracking_service_pb2_grpc import TrackingServiceStub
from tests.contract.test_flags_service import ready, refused
from tests.fixtures.mesh import until
from tests.fixtures.postgres import Databases, ServiceDatabase
from tests.fixtures.serving import Served, Serving

FLAG, NAME = "flags/new-desk", "experiments/desk"
CALLED = "flags/version.desk"
ORDER = pb.Metric(kind=pb.METRIC_KIND_CONVERSION, event="order")
SPENT = pb.Metric(kind=pb.METRIC_KIND_TOTAL, event="order")
FAILURES = pb.Metric(kind=pb.METRIC_KIND_CALL_FAILURES, decrease=True)


@pytest.fixture
def own(database: Databases) -> ServiceDatabase:
    return database("flags")


@pytest.fixture
async def served(serving: Serving, own: ServiceDatabase) -> AsyncIterator[Served]:
    async with serving("flags", FlagsSettings, start, database_url=own.url) as running:
        await ready(running)
        yield running


@pytest.fixture
def experiments(served: Served) -> Any:
    return ExperimentServiceStub(served.as_role("operator"))


@pytest.fixture
def flags(served: Served) -> Any:
    return FlagServiceStub(served.as_role("operator"))


async def put(flags: Any, name: str = FLAG, values: tuple[Any, Any] = (True, False), **changes: Any) -> None:
    rule = flags_pb.Rule(
        environments=["production"],
        split=[flags_pb.WeightedVariant(variant=each, weight=1) for each in ("on", "off")],
    )
    fields: dict[str, Any] = {"rules": [rule], "default_variant": "off", **changes}
    variants = dict(zip(("on", "off"), map(to_value, values), strict=True))
    await flags.PutFlag(flags_pb.PutFlagRequest(flag=flags_pb.Flag(name=name, variants=variants, **fields)))


async def begin(experiments: Any, **changes: Any) -> pb.Experiment:
    fields: dict[str, Any] = {
        "name": NAME, "flag": FLAG, "hypothesis": "the new desk sells more", "primary_metric": ORDER, **changes,
    }  # fmt: skip
    made: pb.Experiment = await experiments.StartExperiment(
        pb.StartExperimentRequest(experiment=pb.Experiment(**fields), reason="spring")
    )
    return made


async def get(experiments: Any, name: str = NAME) -> pb.Experiment:
    found: pb.Experiment = await experiments.GetExperiment(pb.GetExperimentRequest(name=name))
    return found


async def subjects(experiments: Any, name: str = NAME) -> list[pb.ExperimentSubject]:
    request = pb.ListExperimentSubjectsRequest(parent=name, page_size=3)
    found: list[pb.ExperimentSubject] = []
    while True:
        page = await experiments.ListExperimentSubjects(request)
        found += page.experiment_subjects
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def member(served: Served, workspace: str, **claims: Any) -> Any:
    return served.as_role("member", workspace=workspace, **claims)


async def expose(channel: Any, *names: str) -> None:
    await TrackingServiceStub(channel).ExposeFlags(tracking_pb.ExposeFlagsRequest(names=names or (FLAG,)))


async def track(channel: Any, event: str = "order", value: float = 0.0) -> int:
    request = tracking_pb.TrackEventsRequest(events=[tracking_pb.TrackedEvent(event=event, value=value)])
    found: tracking_pb.TrackEventsResponse = await TrackingServiceStub(channel).TrackEvents(request)
    return found.measurements


async def test_each_workspace_counts_once_with_what_became_of_it(served: Served, experiments: Any, flags: Any) -> None:
    await put(flags)
    made = await begin(experiments, guard_metrics=[SPENT])
    assert [(arm.variant, arm.weight) for arm in made.arms] == [("off", 1), ("on", 1)]
    assert (made.control, made.rule, made.flag_revision, made.state) == ("off", 1, 1, pb.EXPERIMENT_STATE_RUNNING)
    assert (made.expected_subjects, made.false_alarm_percent) == (1000, 5)
    # Before it has met a variant, a workspace is in no experiment.
    outsider = member(served, "outsider")
    assert await track(outsider) == 0
    workspaces = [f"w-{number}" for number in range(8)]
    for workspace in workspaces:
        channel = member(served, workspace)
        for _ in range(2):
            await expose(channel)
        assert await track(channel, "visit") == 0
    ordering = member(served, "w-3")
    assert [await track(ordering, value=value) for value in (10, 20)] == [2, 2]
    found = await subjects(experiments)
    assert [each.name for each in found] == [f"{NAME}/subjects/{each}" for each in workspaces]
    assert {len(each.variants) for each in found} == {1}
    assert [(each.count, each.total) for each in found[3].measurements] == [(2, 30.0), (2, 30.0)]
    assert [(each.count, each.total) for each in found[4].measurements] == [(0, 0.0), (0, 0.0)]
    results = (await get(experiments)).results
    assert sum(results.subjects) == 8
    assert (results.crossed_subjects, results.ratio_mismatch) == (0, False)
    place = ["off", "on"].index(found[3].variants[0])
    orders, spent = results.metrics
    assert orders.arms[place].mean == pytest.approx(1 / results.subjects[place])
    assert spent.arms[place].mean == pytest.approx(30 / results.subjects[place])
    assert orders.arms[0].verdict == pb.VERDICT_UNSPECIFIED
    assert (orders.arms[1].verdict, orders.arms[1].HasField("always_valid")) == (pb.VERDICT_OPEN, False)


async def test_asking_for_one_flag_is_an_exposure_and_an_operator_s_question_is_none(
    served: Served, experiments: Any, flags: Any
) -> None:
    await put(flags)
    await begin(experiments)
    context = {"workspace": to_value("asked-about"), "environment": to_value("production")}
    asked = flags_pb.EvaluateFlagRequest(name=FLAG)
    asked.context.fields["workspace"].CopyFrom(context["workspace"])
    asked.context.fields["environment"].CopyFrom(context["environment"])
    await flags.EvaluateFlag(asked)
    await FlagServiceStub(member(served, "plain")).EvaluateFlag(flags_pb.EvaluateFlagRequest(name=FLAG))
    await FlagdStub(member(served, "flagd")).ResolveBoolean(flagd.ResolveBooleanRequest(flag_key="new-desk"))
    # Somewhere else the rule does not fit: chance decides nothing there.
    staging = FlagServiceStub(member(served, "elsewhere", environment="staging"))
    await staging.EvaluateFlag(flags_pb.EvaluateFlagRequest(name=FLAG))

    async def written() -> bool:
        return len(await subjects(experiments)) >= 2

    await until(written, "the exposures to be written")
    assert [each.name.rpartition("/")[2] for each in await subjects(experiments)] == ["flagd", "plain"]


async def test_a_difference_between_variants_is_found(
    served: Served, experiments: Any, flags: Any, own: ServiceDatabase
) -> None:
    await put(flags)
    await begin(experiments, expected_subjects=200, guard_metrics=[SPENT])
    connection = await asyncpg.connect(own.superuser_url.replace("+asyncpg", ""))
    try:
        await connection.execute(
            "INSERT INTO flags.experiment_exposure SELECT 'desk', 'w-' || i, CASE WHEN i % 2 = 0 THEN 'on' ELSE 'off' "
            "END, now() FROM generate_series(1, 200) i"
        )
        await connection.execute(
            "INSERT INTO flags.experiment_measurement SELECT 'desk', 'w-' || i, 0, 1, 0 FROM generate_series(1, 200) i "
            "WHERE i % 2 = 0 AND i % 3 > 0 OR i % 10 = 1"
        )
        await connection.execute(
            "INSERT INTO flags.experiment_exposure "
            "SELECT 'desk', 'w-' || i, 'on', now() FROM generate_series(1, 3, 2) i"
        )
    finally:
        await connection.close()
    found = (await get(experiments)).results
    assert (list(found.subjects), found.crossed_subjects) == ([98, 100], 2)
    assert (found.ratio_p_value > 0.5, found.ratio_mismatch) == (True, False)
    orders, spent = found.metrics
    on = orders.arms[1]
    assert on.mean == pytest.approx(0.67)
    assert orders.arms[0].mean == pytest.approx(19 / 98)
    assert on.verdict == pb.VERDICT_BETTER
    assert 0 < on.always_valid.lower < on.fixed_horizon.lower < on.difference < on.fixed_horizon.upper
    assert spent.arms[1].verdict == pb.VERDICT_OPEN


def calls(workspace: str, variant: str, count: int, failures: int) -> outcomes_pb.VariantOutcomes:
    context = {"workspace": workspace, "environment": "production", "tier": "business"}
    subject = outcomes_pb.SubjectOutcomes(context=context, calls=count, failures=failures, milliseconds=10.0 * count)
    return outcomes_pb.VariantOutcomes(
        variant=variant, calls=count, causes={"VENDOR_ERROR": failures} if failures else {},
        duration_counts=[count, *[0] * 17], subjects=[subject],
    )  # fmt: skip


async def test_calls_through_the_proxy_are_exposures_and_outcomes_at_once(
    served: Served, experiments: Any, flags: Any
) -> None:
    await put(flags, CALLED, ("2.0.0", ""))
    proxy = OutcomeServiceStub(served.channel("proxy"))
    stratum = outcomes_pb.OutcomeStratum(flag=CALLED, revision=1, variants=[calls("a", "on", 10, 5)])
    request = outcomes_pb.ReportOutcomesRequest(reporter="one", sequence=1, strata=[stratum])
    assert list((await proxy.ReportOutcomes(request)).subject_flags) == []
    slow = pb.Metric(kind=pb.METRIC_KIND_CALL_MILLISECONDS)
    await begin(experiments, flag=CALLED, primary_metric=FAILURES, guard_metrics=[slow])
    assert list((await proxy.ReportOutcomes(request)).subject_flags) == [CALLED]
    # The same report again counts nothing, the next one does, and what was named beside the population does not.
    await proxy.ReportOutcomes(request)
    arms = [calls("a", "on", 10, 0), calls("b", "off", 4, 1)]
    arms[1].subjects.add(context={"workspace": "c", "environment": "staging"}, calls=4)
    stratum = outcomes_pb.OutcomeStratum(flag=CALLED, revision=1, variants=arms)
    await proxy.ReportOutcomes(outcomes_pb.ReportOutcomesRequest(reporter="one", sequence=2, strata=[stratum]))
    found = await subjects(experiments)
    assert [(each.name.rpartition("/")[2], list(each.variants)) for each in found] == [("a", ["on"]), ("b", ["off"])]
    assert [(each.count, each.total) for each in found[0].measurements] == [(20, 5.0), (20, 200.0)]
    results = (await get(experiments)).results
    assert [arm.mean for arm in results.metrics[0].arms] == [0.25, 0.25]
    assert [arm.mean for arm in results.metrics[1].arms] == [10, 10]


async def test_an_experiment_waits_while_its_flag_divides_otherwise_and_ends_for_good(
    served: Served, experiments: Any, flags: Any
) -> None:
    await put(flags)
    await begin(experiments)
    await expose(member(served, "first"))
    await flags.KillFlag(flags_pb.KillFlagRequest(name=FLAG, reason="a fire"))

    async def waits() -> bool:
        return (await get(experiments)).state == pb.EXPERIMENT_STATE_WAITING

    await until(waits, "the experiment to wait")
    await expose(member(served, "second"))
    await flags.RestoreFlag(flags_pb.RestoreFlagRequest(name=FLAG))
    third = member(served, "third")

    async def counted() -> bool:
        await expose(third)
        return len(await subjects(experiments)) > 1

    await until(counted, "the experiment to count")
    assert [each.name.rpartition("/")[2] for each in await subjects(experiments)] == ["first", "third"]
    same = await refused(begin(experiments, name="experiments/again"))
    assert same == ("FAILED_PRECONDITION", "STATE_CONFLICT", [])
    assert (await refused(begin(experiments)))[1] in ("RESOURCE_ALREADY_EXISTS", "STATE_CONFLICT")
    assert (await refused(experiments.StopExperiment(pb.StopExperimentRequest(name=NAME))))[2] == ["reason"]
    ended = await experiments.StopExperiment(pb.StopExperimentRequest(name=NAME, reason="it sells no more"))
    assert (ended.state, ended.stop_reason) == (pb.EXPERIMENT_STATE_STOPPED, "it sells no more")
    assert list(ended.results.subjects) == list((await get(experiments)).results.subjects)
    await expose(member(served, "late"))
    assert await track(third) == 0
    assert len(await subjects(experiments)) == 2
    twice = experiments.StopExperiment(pb.StopExperimentRequest(name=NAME, reason="again"))
    assert (await refused(twice))[1] == "STATE_CONFLICT"
    assert (await refused(begin(experiments)))[1] == "RESOURCE_ALREADY_EXISTS"
    assert (await begin(experiments, name="experiments/again")).state == pb.EXPERIMENT_STATE_RUNNING
    listed = (await experiments.ListExperiments(pb.ListExperimentsRequest())).experiments
    assert [(each.name, each.state) for each in listed] == [
        ("experiments/again", pb.EXPERIMENT_STATE_RUNNING), (NAME, pb.EXPERIMENT_STATE_STOPPED),
    ]  # fmt: skip


async def test_those_alone_count_for_whom_what_the_flag_needs_holds(
    served: Served, experiments: Any, flags: Any
) -> None:
    base, needing = "flags/base", [flags_pb.Prerequisite(flag="flags/base", variants=["on"])]
    await put(flags, base, rules=[flags_pb.Rule(customers=["north"], variant="on")])
    pilots = flags_pb.Rule(tiers=["business"], variant="on")
    await put(flags, "flags/segment.pilots", rules=[pilots])
    rule = flags_pb.Rule(segments=["pilots"])
    rule.split.extend(flags_pb.WeightedVariant(variant=each, weight=1) for each in ("on", "off"))
    await put(flags, rules=[rule], prerequisites=needing)
    kill = flags_pb.KillFlagRequest(name=base, reason="a fire")
    await flags.KillFlag(kill)
    assert (await refused(begin(experiments)))[1] == "STATE_CONFLICT"
    await flags.RestoreFlag(flags_pb.RestoreFlagRequest(name=base))
    assert (await begin(experiments)).state == pb.EXPERIMENT_STATE_RUNNING
    got = {}
    for number in range(12):
        for customer, tier in (("north", "business"), ("north", "free"), ("south", "business")):
            workspace = f"{customer}-{tier}-{number}"
            channel = member(served, workspace, customer=customer, tier=tier)
            asked = flags_pb.EvaluateFlagRequest(name=FLAG)
            got[workspace] = (await FlagServiceStub(channel).EvaluateFlag(asked)).variant
            await track(channel)
    # What was noted is written with the first event that is told after it.
    await track(member(served, "north-business-0", customer="north", tier="business"))

    async def counted() -> bool:
        return len(await subjects(experiments)) >= 12

    await until(counted, "the experiment to count")
    found = {each.name.rpartition("/")[2]: list(each.variants) for each in await subjects(experiments)}
    assert found == {name: [variant] for name, variant in got.items() if name.startswith("north-business-")}
    assert {variant for [variant] in found.values()} == {"on", "off"}
    assert {variant for name, variant in got.items() if name not in found} == {"off"}
    results = (await get(experiments)).results
    assert list(results.subjects) == [sum(each == [arm] for each in found.values()) for arm in ("off", "on")]
    assert [arm.mean for arm in results.metrics[0].arms] == [1, 1]
    # What a kill of another flag has everybody get is nobody's exposure.
    await flags.KillFlag(kill)

    async def waits() -> bool:
        return (await get(experiments)).state == pb.EXPERIMENT_STATE_WAITING

    await until(waits, "the experiment to wait")
    late = member(served, "late", customer="north", tier="business")
    await expose(late)
    assert await track(late) == 0
    await flags.RestoreFlag(flags_pb.RestoreFlagRequest(name=base))

    async def counts() -> bool:
        await expose(late)
        return await track(late) == 1

    await until(counts, "the experiment to count again")


REFUSED: Final[tuple[tuple[dict[str, Any], str], ...]] = (
    ({"hypothesis": " "}, "experiment.hypothesis"),
    ({"primary_metric": pb.Metric(event="order")}, "experiment.primary_metric.kind"),
    ({"primary_metric": pb.Metric(kind=pb.METRIC_KIND_TOTAL)}, "experiment.primary_metric.event"),
    ({"guard_metrics": [FAILURES]}, "experiment.guard_metrics[0].kind"),
    ({"guard_metrics": [ORDER]}, "experiment.guard_metrics[0]"),
    ({"control": "else"}, "experiment.control"),
    ({"rule": 2}, "experiment.rule"),
    ({"expected_subjects": 3}, "experiment.expected_subjects"),
    ({"false_alarm_percent": 51}, "experiment.false_alarm_percent"),
    ({"name": "experiments/a b"}, "experiment.name"),
    ({"flag": "desk"}, "experiment.flag"),
)


async def test_an_experiment_that_cannot_be_answered_is_refused(experiments: Any, flags: Any) -> None:
    await put(flags)
    for changes, field in REFUSED:
        assert await refused(begin(experiments, **changes)) == ("INVALID_ARGUMENT", "INVALID_FIELDS", [field])
    # The control: without these changes it begins.
    assert (await begin(experiments)).state == pb.EXPERIMENT_STATE_RUNNING


async def test_an_experiment_needs_a_flag_that_divides(served: Served, experiments: Any, flags: Any) -> None:
    assert (await refused(begin(experiments)))[1] == "RESOURCE_NOT_FOUND"
    await put(flags, rules=[])
    assert (await refused(begin(experiments)))[1] == "STATE_CONFLICT"
    assert (await refused(get(experiments)))[1] == "RESOURCE_NOT_FOUND"
    assert (await refused(subjects(experiments)))[1] == "RESOURCE_NOT_FOUND"
    tracking = TrackingServiceStub(member(served, "acme"))
    for events in ([], [tracking_pb.TrackedEvent(event="a b")], [tracking_pb.TrackedEvent(event="a", value=1e300)]):
        assert (await refused(tracking.TrackEvents(tracking_pb.TrackEventsRequest(events=events))))[
            1
        ] == "INVALID_FIELDS"
    assert (await refused(expose(member(served, "acme"), "flags/none")))[1] == "RESOURCE_NOT_FOUND"
