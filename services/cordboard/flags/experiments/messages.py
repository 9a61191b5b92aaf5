"""Experiments between their proto messages and the domain."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import InvalidFields
from cordboard.core.names import parse
from cordboard.core.times import to_timestamp
from cordboard.flags.content import is_key
from cordboard.flags.experiments.exposures import Calls, Event
from cordboard.flags.experiments.figures import Verdict
from cordboard.flags.experiments.plan import Kind, Metric, Plan, is_event
from cordboard.flags.messages import key_of as flag_key_of
from cordboard.flags.v1 import experiment_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cordboard.flags.experiments.experiments import Results
    from cordboard.flags.experiments.figures import Effect
    from cordboard.flags.experiments.store import ExperimentRecord, Subject
    from cordboard.flags.v1 import outcome_service_pb2 as outcomes
    from cordboard.flags.v1 import tracking_service_pb2 as tracking

MAX_EVENTS: Final = 100
MAX_SUBJECTS: Final = 1_000
MAX_CONTEXT: Final = 10
MAX_CONTEXT_LENGTH: Final = 255
KINDS: Final = {
    pb.METRIC_KIND_CONVERSION: Kind.CONVERSION,
    pb.METRIC_KIND_TOTAL: Kind.TOTAL,
    pb.METRIC_KIND_CALL_FAILURES: Kind.CALL_FAILURES,
    pb.METRIC_KIND_CALL_MILLISECONDS: Kind.CALL_MILLISECONDS,
}
_KIND_MESSAGES: Final = {kind: number for number, kind in KINDS.items()}
_VERDICTS: Final = {
    Verdict.CONTROL: pb.VERDICT_UNSPECIFIED,
    Verdict.OPEN: pb.VERDICT_OPEN,
    Verdict.BETTER: pb.VERDICT_BETTER,
    Verdict.WORSE: pb.VERDICT_WORSE,
}


def key_of(name: str, field: str = "name") -> str:
    """Returns the key in `experiments/{key}`; raises InvalidFields naming `field`."""
    key = parse(name, "experiments/*", field=field)[0]
    if not is_key(key):
        text = "must be `experiments/` and at most 200 letters, digits, dots, underscores and hyphens"
        raise InvalidFields.one(field, text, "RESOURCE_NAME")
    return key


def plan_of(experiment: pb.Experiment) -> Plan:
    """Returns the plan of an experiment that is to begin; raises InvalidFields."""
    flag = flag_key_of(experiment.flag, "experiment.flag")
    metrics = [_metric(experiment.primary_metric, "experiment.primary_metric")]
    for index, each in enumerate(experiment.guard_metrics):
        metrics.append(_metric(each, f"experiment.guard_metrics[{index}]"))
    percent = experiment.false_alarm_percent
    if not math.isfinite(percent) or not 0 <= percent <= 50:
        raise InvalidFields.one("experiment.false_alarm_percent", "must be above 0, at most 50", "OUT_OF_RANGE")
    usual = Plan(flag, "", ())
    return Plan(
        flag=flag,
        hypothesis=experiment.hypothesis,
        metrics=tuple(metrics),
        control=experiment.control,
        rule=experiment.rule,
        expected=experiment.expected_subjects or usual.expected,
        false_alarms=max(1, round(percent * 100)) if percent else usual.false_alarms,
    )


def experiment_message(
    record: ExperimentRecord, *, waits: bool = False, results: Results | None = None
) -> pb.Experiment:
    """Returns an experiment, with its results where they are given."""
    plan = record.plan
    running = pb.EXPERIMENT_STATE_WAITING if waits else pb.EXPERIMENT_STATE_RUNNING
    return pb.Experiment(
        name=record.name,
        flag=f"flags/{plan.flag}",
        rule=record.population.rule + 1,
        hypothesis=plan.hypothesis,
        control=plan.control,
        primary_metric=_metric_message(plan.metrics[0]),
        guard_metrics=[_metric_message(each) for each in plan.metrics[1:]],
        expected_subjects=plan.expected,
        false_alarm_percent=plan.false_alarms / 100,
        arms=[pb.ExperimentArm(variant=arm.variant, weight=arm.weight) for arm in record.population.arms],
        state=running if record.stop_time is None else pb.EXPERIMENT_STATE_STOPPED,
        flag_revision=record.flag_revision,
        creator=record.creator,
        create_time=to_timestamp(record.create_time),
        stop_time=None if record.stop_time is None else to_timestamp(record.stop_time),
        stop_reason=record.stop_reason,
        results=None if results is None else _results_message(record, results),
    )


def subject_message(record: ExperimentRecord, subject: Subject) -> pb.ExperimentSubject:
    """Returns what is known of a workspace."""
    measured = (subject.measured.get(index) for index in range(len(record.plan.metrics)))
    return pb.ExperimentSubject(
        name=f"{record.name}/subjects/{subject.workspace}",
        variants=subject.variants,
        expose_time=to_timestamp(subject.time),
        measurements=[
            pb.SubjectMeasurement() if each is None else pb.SubjectMeasurement(count=each.count, total=each.total)
            for each in measured
        ],
    )


def events_of(request: tracking.TrackEventsRequest) -> list[Event]:
    """Returns the events of a request; raises InvalidFields."""
    if not 1 <= len(request.events) <= MAX_EVENTS:
        reason = "TOO_MANY" if request.events else "REQUIRED"
        raise InvalidFields.one("events", f"must be 1 to {MAX_EVENTS}", reason)
    for index, each in enumerate(request.events):
        if not is_event(each.event):
            text = "must be 1 to 100 letters, digits, dots, underscores and hyphens"
            raise InvalidFields.one(f"events[{index}].event", text)
        if not abs(each.value) <= 1e15:
            raise InvalidFields.one(f"events[{index}].value", "must be from -1e15 to 1e15", "OUT_OF_RANGE")
    return [Event(each.event, each.value) for each in request.events]


def calls_of(request: outcomes.ReportOutcomesRequest) -> list[Calls]:
    """Returns the calls that a Proxy tells by workspace; raises InvalidFields."""
    found = []
    for index, stratum in enumerate(request.strata):
        for place, arm in enumerate(stratum.variants):
            path = f"strata[{index}].variants[{place}].subjects"
            for number, each in enumerate(arm.subjects):
                found.append(_calls(stratum.flag, arm.variant, each, f"{path}[{number}]"))
    if len(found) > MAX_SUBJECTS:
        raise InvalidFields.one("strata", f"must have at most {MAX_SUBJECTS} subjects together", "TOO_MANY")
    return found


def _calls(flag: str, variant: str, subject: outcomes.SubjectOutcomes, path: str) -> Calls:
    context = dict(subject.context)
    texts = [*context, *context.values()]
    if len(context) > MAX_CONTEXT or any(len(each) > MAX_CONTEXT_LENGTH or "\0" in each for each in texts):
        text = f"must be at most {MAX_CONTEXT} texts of at most {MAX_CONTEXT_LENGTH} characters"
        raise InvalidFields.one(f"{path}.context", text)
    if not 0 <= subject.failures <= subject.calls:
        raise InvalidFields.one(f"{path}.failures", "must be from 0 to the number of calls", "OUT_OF_RANGE")
    if not 0 <= subject.milliseconds <= 1e12:
        raise InvalidFields.one(f"{path}.milliseconds", "must be from 0 to 1e12", "OUT_OF_RANGE")
    return Calls(flag_key_of(flag), variant, context, subject.calls, subject.failures, subject.milliseconds)


def _metric(metric: pb.Metric, path: str) -> Metric:
    kind = KINDS.get(metric.kind)
    if kind is None:
        raise InvalidFields.one(f"{path}.kind", "must be one of the kinds of metrics", "REQUIRED")
    calls = kind in (Kind.CALL_FAILURES, Kind.CALL_MILLISECONDS)
    return Metric(kind, metric.event, metric.decrease or calls)


def _metric_message(metric: Metric) -> pb.Metric:
    return pb.Metric(kind=_KIND_MESSAGES[metric.kind], event=metric.event, decrease=metric.decrease)


def _results_message(record: ExperimentRecord, results: Results) -> pb.ExperimentResults:
    variants = [arm.variant for arm in record.population.arms]
    return pb.ExperimentResults(
        subjects=results.subjects,
        crossed_subjects=results.crossed,
        ratio_p_value=results.ratio_p_value,
        ratio_mismatch=results.ratio_mismatch,
        metrics=[
            pb.MetricResult(metric=_metric_message(metric), arms=map(_arm_message, variants, found))
            for metric, found in zip(record.plan.metrics, results.metrics, strict=True)
        ],
    )


def _arm_message(variant: str, effect: Effect) -> pb.ArmResult:
    return pb.ArmResult(
        variant=variant,
        subjects=effect.subjects,
        mean=effect.mean,
        difference=effect.difference,
        always_valid=_interval(effect.always),
        fixed_horizon=_interval(effect.fixed),
        verdict=_VERDICTS[effect.verdict],
    )


def _interval(ends: Iterable[float] | None) -> pb.Interval | None:
    if ends is None:
        return None
    lower, upper = ends
    return pb.Interval(lower=lower, upper=upper)
