"""Rollouts between their proto messages and the domain."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import InvalidFields
from cordboard.core.names import parse
from cordboard.core.times import to_duration, to_seconds, to_timestamp
from cordboard.flags.content import Slice, is_key
from cordboard.flags.messages import prerequisite_message, prerequisite_of
from cordboard.flags.rollouts.plan import EARLY, REACHED, Audience, Guard, Plan, Reach, Stage
from cordboard.flags.v1 import rollout_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.timestamp_pb2 import Timestamp

    from cordboard.flags.rollouts.comparison import Comparison, Contrast
    from cordboard.flags.rollouts.store import Lock, RolloutRecord


OPT_INS: Final = {"": pb.OPT_IN_UNSPECIFIED, REACHED: pb.OPT_IN_REACHED, EARLY: pb.OPT_IN_EARLY}


def key_of(name: str, field: str = "name") -> str:
    """Returns the key in `rollouts/{key}`; raises InvalidFields naming `field`."""
    key = parse(name, "rollouts/*", field=field)[0]
    if not is_key(key):
        raise InvalidFields.one(
            field,
            "must be `rollouts/` and at most 200 letters, digits, dots, underscores and hyphens",
            "RESOURCE_NAME",
        )
    return key


def plan_of(rollout: pb.Rollout) -> Plan:
    """Returns the plan of a rollout that is to be put; raises InvalidFields for what is no share of a whole."""
    audience, exclusion = rollout.audience, rollout.exclusion
    return Plan(
        stages=tuple(_stage(stage, f"rollout.stages[{number}]") for number, stage in enumerate(rollout.stages)),
        audience=Audience(
            audience.minimum_tier,
            tuple(audience.regions),
            tuple(audience.workspaces),
            tuple(audience.customers),
            tuple(audience.excluded_workspaces),
            tuple(audience.excluded_customers),
            tuple(audience.segments),
        ),
        description=rollout.description,
        version=rollout.version,
        holdout=_share(rollout.holdout_percent, "rollout.holdout_percent"),
        exclusion=Slice(
            exclusion.group,
            _share(exclusion.begin_percent, "rollout.exclusion.begin_percent"),
            _share(exclusion.end_percent, "rollout.exclusion.end_percent"),
        )
        if rollout.HasField("exclusion")
        else None,
        guard=_guard(rollout.guard) if rollout.HasField("guard") else None,
        prerequisites=tuple(
            prerequisite_of(each, f"rollout.prerequisites[{index}]") for index, each in enumerate(rollout.prerequisites)
        ),
        opt_in=_opt_in(rollout.opt_in),
    )


def start_of(rollout: pb.Rollout) -> datetime | None:
    """Returns when the rollout begins, None for at once; raises InvalidFields for what is no time."""
    if not rollout.HasField("start_time"):
        return None
    try:
        return rollout.start_time.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidFields.one("rollout.start_time", "must be a time from year 1 to year 9999") from None


def rollout_message(record: RolloutRecord) -> pb.Rollout:
    """Returns a rollout as it is."""
    plan = record.plan
    return pb.Rollout(
        name=record.name,
        description=plan.description,
        version=plan.version,
        audience=pb.Audience(**vars(plan.audience)),
        stages=[_stage_message(stage) for stage in plan.stages],
        start_time=_moment(record.start_time),
        holdout_percent=plan.holdout / 100,
        exclusion=_exclusion_message(plan.exclusion),
        stage=record.stage,
        stage_time=_moment(record.stage_time),
        next_stage_time=_moment(record.next_time),
        freeze_reason=record.freeze_reason,
        etag=record.etag,
        create_time=to_timestamp(record.create_time),
        update_time=to_timestamp(record.update_time),
        guard=_guard_message(plan.guard),
        prerequisites=map(prerequisite_message, plan.prerequisites),
        opt_in=OPT_INS[plan.opt_in],
        lock=_lock_message(record.lock),
        comparison=None if record.comparison is None else _comparison_message(record.comparison),
    )


def _opt_in(number: int) -> str:
    for word, known in OPT_INS.items():
        if known == number:
            return word
    raise InvalidFields.one("rollout.opt_in", "must be one of OptIn", "OUT_OF_RANGE")


def _guard(guard: pb.Guard) -> Guard:
    usual, path = Guard(), "rollout.guard"
    return Guard(
        _share(guard.failures_percent, f"{path}.failures_percent") or usual.failures,
        _share(guard.slowness_percent, f"{path}.slowness_percent") or usual.slowness,
        _share(guard.false_alarm_percent, f"{path}.false_alarm_percent") or usual.false_alarms,
    )


def _guard_message(guard: Guard | None) -> pb.Guard | None:
    if guard is None:
        return None
    return pb.Guard(
        failures_percent=guard.failures / 100,
        slowness_percent=guard.slowness / 100,
        false_alarm_percent=guard.false_alarms / 100,
    )


def _lock_message(lock: Lock | None) -> pb.Lock | None:
    if lock is None:
        return None
    return pb.Lock(
        reason=lock.reason, create_time=to_timestamp(lock.time), comparison=_comparison_message(lock.comparison)
    )


def _comparison_message(found: Comparison) -> pb.Comparison:
    return pb.Comparison(
        reached=_figures(found.failures, found.slowness, found.new_causes, new=True),
        others=_figures(found.failures, found.slowness, found.old_causes, new=False),
        failure_evidence=found.failures.evidence,
        slowness_evidence=found.slowness.evidence,
    )


def _figures(failures: Contrast, slowness: Contrast, causes: Mapping[str, int], *, new: bool) -> pb.VariantFigures:
    failed, slow = (failures.new, slowness.new) if new else (failures.old, slowness.old)
    return pb.VariantFigures(
        calls=failed.calls, failures=failed.bad, causes=causes, timed_calls=slow.calls, slow_calls=slow.bad
    )


def _stage(stage: pb.Stage, path: str) -> Stage:
    reaches = (
        Reach(reach.environment, _share(reach.percent, f"{path}.reaches[{index}].percent"))
        for index, reach in enumerate(stage.reaches)
    )
    return Stage(tuple(reaches), to_seconds(stage.soak_duration))


def _share(percent: float, field: str) -> int:
    if not math.isfinite(percent) or not 0 <= percent <= 100:
        raise InvalidFields.one(field, "must be from 0 to 100", "OUT_OF_RANGE")
    share = round(percent * 100)
    if abs(share - percent * 100) > 1e-6:
        raise InvalidFields.one(field, "must be a multiple of 0.01", "OUT_OF_RANGE")
    return share


def _moment(moment: datetime | None) -> Timestamp | None:
    return None if moment is None else to_timestamp(moment)


def _stage_message(stage: Stage) -> pb.Stage:
    return pb.Stage(
        reaches=[pb.Reach(environment=reach.environment, percent=reach.share / 100) for reach in stage.reaches],
        soak_duration=to_duration(stage.soak) if stage.soak else None,
    )


def _exclusion_message(part: Slice | None) -> pb.Exclusion | None:
    if part is None:
        return None
    return pb.Exclusion(group=part.group, begin_percent=part.begin / 100, end_percent=part.end / 100)
