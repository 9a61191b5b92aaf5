"""What the Proxy counts of variants, and how it tells Flags."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from cordboard.core.channel import Channels
from cordboard.flags.v1 import outcome_service_pb2 as pb
from cordboard.flags.v1.outcome_service_pb2_grpc import OutcomeServiceServicer, add_OutcomeServiceServicer_to_server
from cordboard.proxy.calls import CallRecord, Led
from cordboard.proxy.outcomes import MAX_STRATA, MAX_SUBJECTS, WAITS, Outcomes
from cordboard.proxy.v1 import proxy_service_pb2 as calls
from tests.fixtures.ways import leading_to
from tests.unit.proxy.running import until

ON, OFF = Led("version.desk", 7, "on"), Led("version.desk", 7, "off")
ROW = CallRecord(
    workspace_id="acme",
    id="c-1",
    connection="workspaces/acme/connections/main",
    integration="desk",
    action="look",
    version="2.0.0",
    outcome=calls.Call.OUTCOME_OK,
    reason="",
    vendor_status=200,
    attempts=1,
    duration_us=30_000,
    caller="ann",
    peer="envoy",
    token_id="t",
    trace_id="",
    generation=1,
    create_time=datetime(2026, 1, 1, tzinfo=UTC),
)
FAILED = replace(ROW, outcome=calls.Call.OUTCOME_VENDOR_ERROR, reason="VENDOR_ERROR")


@dataclass
class Flags(OutcomeServiceServicer):
    """Flags, as the Proxy sees it."""

    reports: list[pb.ReportOutcomesRequest] = field(default_factory=list)
    refusal: grpc.StatusCode | None = None
    subject_flags: list[str] = field(default_factory=list)

    async def ReportOutcomes(self, request: pb.ReportOutcomesRequest, context: Any) -> pb.ReportOutcomesResponse:
        self.reports.append(request)
        if self.refusal is not None:
            await context.abort(self.refusal, "not now")
        return pb.ReportOutcomesResponse(subject_flags=self.subject_flags)


@dataclass
class Scene:
    """The counter, what it tells, and its clock."""

    flags: Flags
    channels: Channels
    now: float = 0.0

    def outcomes(self) -> Outcomes:
        """Returns a counter that tells these flags."""
        return Outcomes(self.channels, monotonic=lambda: self.now)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    flags = Flags()
    async with leading_to(add_OutcomeServiceServicer_to_server, flags) as channels:
        yield Scene(flags, channels)


async def test_both_variants_of_an_action_are_told_together_with_causes_and_durations(scene: Scene) -> None:
    outcomes = scene.outcomes()
    for led, row in ((ON, ROW), (ON, FAILED), (OFF, ROW), (OFF, replace(ROW, duration_us=60_000_000))):
        outcomes.ended(led, row)
    await outcomes.report()
    [report] = scene.flags.reports
    assert report.sequence == 1
    [stratum] = report.strata
    assert (stratum.flag, stratum.revision) == ("flags/version.desk", 7)
    on, off = stratum.variants
    assert (on.variant, on.calls, dict(on.causes)) == ("on", 2, {"VENDOR_ERROR": 1})
    assert (off.variant, off.calls, dict(off.causes)) == ("off", 2, {})
    assert [index for index, count in enumerate(on.duration_counts) if count] == [5]
    assert [index for index, count in enumerate(off.duration_counts) if count] == [5, 17]
    assert len(on.duration_counts) == 18
    await outcomes.report()
    assert len(scene.flags.reports) == 1


async def test_a_variant_alone_waits_for_the_other_for_a_while(scene: Scene) -> None:
    outcomes = scene.outcomes()
    outcomes.ended(ON, ROW)
    # Another action's calls, and those of another revision, are no company.
    outcomes.ended(OFF, replace(ROW, action="other"))
    outcomes.ended(replace(OFF, revision=8), ROW)
    await outcomes.report()
    assert scene.flags.reports == []
    scene.now = WAITS
    await outcomes.report()
    [report] = scene.flags.reports
    assert [len(stratum.variants) for stratum in report.strata] == [1, 1, 1]


@pytest.mark.parametrize(
    ("changes", "calls_", "failed"),
    [
        ({}, 1, 0),
        ({"outcome": calls.Call.OUTCOME_VENDOR_ERROR, "reason": "VENDOR_ERROR"}, 1, 1),
        ({"outcome": calls.Call.OUTCOME_VENDOR_UNREACHABLE, "reason": "VENDOR_UNREACHABLE"}, 1, 1),
        ({"outcome": calls.Call.OUTCOME_FAULT, "reason": "INTERNAL"}, 1, 1),
        ({"outcome": calls.Call.OUTCOME_CANCELLED, "reason": "DEADLINE_EXCEEDED"}, 1, 1),
        ({"outcome": calls.Call.OUTCOME_CANCELLED, "reason": "CANCELLED"}, 1, 0),
        ({"outcome": calls.Call.OUTCOME_REFUSED, "reason": "STATE_CONFLICT"}, 1, 1),
        ({"outcome": calls.Call.OUTCOME_REFUSED, "reason": "INVALID_FIELDS"}, 0, 0),
        ({"outcome": calls.Call.OUTCOME_REFUSED, "reason": "LIMIT_EXCEEDED"}, 0, 0),
    ],
)
async def test_what_counts_as_a_failure_is_the_version_s_own(
    scene: Scene, changes: dict[str, Any], calls_: int, failed: int
) -> None:
    outcomes = scene.outcomes()
    outcomes.ended(OFF, ROW)
    outcomes.ended(ON, replace(ROW, **changes))
    scene.now = WAITS
    await outcomes.report()
    arms = {each.variant: each for each in scene.flags.reports[0].strata[0].variants}
    found = arms.get("on", pb.VariantOutcomes())
    assert (found.calls, sum(found.causes.values())) == (calls_, failed)


async def test_a_report_that_failed_is_told_again_as_it_was(scene: Scene) -> None:
    outcomes = scene.outcomes()
    outcomes.ended(ON, ROW)
    outcomes.ended(OFF, ROW)
    scene.flags.refusal = grpc.StatusCode.UNAVAILABLE
    await outcomes.report()
    outcomes.ended(ON, ROW)
    outcomes.ended(OFF, ROW)
    scene.flags.refusal = None
    await outcomes.report()
    await outcomes.report()
    first, again, second = scene.flags.reports
    assert first == again
    assert (again.sequence, second.sequence) == (1, 2)
    # What is refused for what it says is let go.
    outcomes.ended(ON, ROW)
    outcomes.ended(OFF, ROW)
    scene.flags.refusal = grpc.StatusCode.INVALID_ARGUMENT
    await outcomes.report()
    await outcomes.report()
    assert len(scene.flags.reports) == 4


async def test_what_is_counted_is_bounded(scene: Scene) -> None:
    outcomes = scene.outcomes()
    for number in range(MAX_STRATA + 50):
        outcomes.ended(ON, replace(ROW, action=f"a-{number}"))
    scene.now = WAITS
    await outcomes.report()
    assert len(scene.flags.reports[0].strata) == MAX_STRATA


async def test_reports_go_out_by_themselves(scene: Scene) -> None:
    outcomes = scene.outcomes()
    outcomes.ended(ON, ROW)
    outcomes.ended(OFF, ROW)
    running = asyncio.create_task(outcomes.run())
    assert len(await until(lambda: scene.flags.reports)) == 1
    running.cancel()


async def test_calls_are_told_by_workspace_where_flags_asks_for_it(scene: Scene) -> None:
    outcomes = scene.outcomes()
    here = {"workspace": "acme", "environment": "production"}
    on, off = (replace(each, context=here) for each in (ON, OFF))

    async def told() -> list[tuple[str, str, int, int, float]]:
        for led, row in ((on, ROW), (on, FAILED), (off, replace(ROW, workspace_id="other"))):
            outcomes.ended(led, row)
        await outcomes.report()
        return [
            (arm.variant, each.context["environment"], each.calls, each.failures, each.milliseconds)
            for arm in scene.flags.reports[-1].strata[0].variants
            for each in arm.subjects
        ]

    scene.flags.subject_flags = ["flags/version.desk"]
    assert await told() == []
    scene.flags.subject_flags = []
    assert await told() == [("on", "production", 2, 1, 60.0), ("off", "production", 1, 0, 30.0)]
    # The control: it asks no more.
    assert await told() == []


async def test_the_workspaces_of_a_report_are_bounded(scene: Scene) -> None:
    outcomes = scene.outcomes()
    scene.flags.subject_flags = ["flags/version.desk"]
    outcomes.ended(ON, ROW)
    outcomes.ended(OFF, ROW)
    await outcomes.report()
    for number in range(MAX_SUBJECTS + 50):
        outcomes.ended((ON, OFF)[number % 2], replace(ROW, workspace_id=f"w-{number}"))
    await outcomes.report()
    [stratum] = scene.flags.reports[-1].strata
    assert [arm.calls for arm in stratum.variants] == [(MAX_SUBJECTS + 50) / 2] * 2
    assert sum(len(arm.subjects) for arm in stratum.variants) == MAX_SUBJECTS
