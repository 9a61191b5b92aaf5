"""What became of calls by the variants of the flags that led them, told to Flags every second.

Guarded rollouts and experiments live on it. Calls are told in strata, each of one flag, revision and action within
about a second, because only within one are the variants to be compared. A stratum in which only one variant was called
waits for the other, for a while. Of flags that are in an experiment, which Flags says, the calls are told by workspace
too. It is no record: what was counted is lost when the Proxy is killed, and nothing is counted twice.
"""

from __future__ import annotations

import asyncio
import bisect
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import grpc

from cordboard.common.v1 import error_reason_pb2 as reasons
from cordboard.core.channel import Channels, failure
from cordboard.core.measures import SECONDS
from cordboard.core.names import new_id
from cordboard.flags.v1.outcome_service_pb2 import OutcomeStratum, ReportOutcomesRequest
from cordboard.flags.v1.outcome_service_pb2_grpc import OutcomeServiceStub
from cordboard.proxy.calls import CallRecord, Led
from cordboard.proxy.meter import FAILURES
from cordboard.proxy.v1 import proxy_service_pb2 as pb

logger = logging.getLogger(__name__)

REPORT_EVERY: Final = 1.0
REPORT_SECONDS: Final = 5.0
# How long a stratum waits for the other variant, in seconds.
WAITS: Final = 30.0
# As many as a report may have, and calls as one variant may have there. What is more is not counted.
MAX_STRATA: Final = 1_000
MAX_CALLS: Final = 10_000
MAX_CAUSES: Final = 20
MAX_SUBJECTS: Final = 1_000
# The only refusals that are a version's own fault: it is not there, or cannot be used.
UNUSABLE: Final = reasons.ErrorReason.Name(reasons.ERROR_REASON_STATE_CONFLICT).removeprefix("ERROR_REASON_")
LATE: Final = reasons.ErrorReason.Name(reasons.ERROR_REASON_DEADLINE_EXCEEDED).removeprefix("ERROR_REASON_")


@dataclass(slots=True)
class _Subject:
    context: Mapping[str, str]
    calls: int = 0
    failures: int = 0
    milliseconds: float = 0.0


@dataclass(slots=True)
class _Arm:
    calls: int = 0
    causes: dict[str, int] = field(default_factory=dict)
    durations: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    subjects: dict[tuple[str, str], _Subject] = field(default_factory=dict)
    """By workspace and environment."""


@dataclass(slots=True)
class _Stratum:
    began: float
    arms: defaultdict[str, _Arm] = field(default_factory=lambda: defaultdict(_Arm))


def counted(row: CallRecord) -> tuple[bool, str]:
    """Returns whether a call says something of its version, and the reason where it failed by it."""
    if row.outcome == pb.Call.OUTCOME_REFUSED:
        return row.reason == UNUSABLE, UNUSABLE
    failed = row.outcome in FAILURES or (row.outcome == pb.Call.OUTCOME_CANCELLED and row.reason == LATE)
    return True, row.reason if failed else ""


class Outcomes:
    """Counts calls by variant."""

    def __init__(self, channels: Channels, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Takes the way to Flags, and the time; `run` has to run."""
        self._channels = channels
        self._monotonic = monotonic
        self._reporter = new_id()
        self._sequence = 0
        self._strata: dict[tuple[str, int, str], _Stratum] = {}
        self._unsent: ReportOutcomesRequest | None = None
        self._subject_flags: frozenset[str] = frozenset()

    def ended(self, led: Led, row: CallRecord) -> None:
        """Counts a call that a variant led."""
        says, cause = counted(row)
        if not says:
            return
        key = (led.flag, led.revision, row.action)
        stratum = self._strata.get(key)
        if stratum is None:
            if len(self._strata) >= MAX_STRATA:
                return
            stratum = self._strata[key] = _Stratum(self._monotonic())
        arm = stratum.arms[led.variant]
        if arm.calls >= MAX_CALLS:
            return
        arm.calls += 1
        arm.durations[bisect.bisect_left(SECONDS, row.duration_us / 1e6)] += 1
        if cause and (cause in arm.causes or len(arm.causes) < MAX_CAUSES):
            arm.causes[cause] = arm.causes.get(cause, 0) + 1
        if f"flags/{led.flag}" in self._subject_flags:
            _count(arm, led.context, row, failed=bool(cause))

    async def run(self) -> None:
        """Tells Flags what was counted, for ever."""
        while True:
            await asyncio.sleep(REPORT_EVERY)
            await self.report()

    async def report(self) -> None:
        """Tells Flags the strata that are complete; one report that fails is told again before any other."""
        request = self._unsent or self._taken()
        if request is None:
            return
        self._unsent = request
        try:
            service = OutcomeServiceStub(self._channels.to("flags"))
            self._subject_flags = frozenset(
                (await service.ReportOutcomes(request, timeout=REPORT_SECONDS)).subject_flags
            )
        except (grpc.aio.AioRpcError, KeyError) as error:
            code = failure(error)
            logger.warning("outcomes were not reported", extra={"code": code})
            # What is refused would be refused again.
            if code != grpc.StatusCode.INVALID_ARGUMENT.name:
                return
        self._unsent = None

    def _taken(self) -> ReportOutcomesRequest | None:
        late = self._monotonic() - WAITS
        ready = [key for key, stratum in self._strata.items() if len(stratum.arms) > 1 or stratum.began <= late]
        if not ready:
            return None
        self._sequence += 1
        request = ReportOutcomesRequest(reporter=self._reporter, sequence=self._sequence)
        room = MAX_SUBJECTS
        for key in ready:
            stratum = self._strata.pop(key)
            request.strata.append(_message(key[0], key[1], stratum, room))
            room -= sum(len(arm.subjects) for arm in request.strata[-1].variants)
        return request


def _count(arm: _Arm, context: Mapping[str, str], row: CallRecord, *, failed: bool) -> None:
    key = (row.workspace_id, context.get("environment", ""))
    subject = arm.subjects.get(key)
    if subject is None:
        if len(arm.subjects) >= MAX_SUBJECTS:
            return
        subject = arm.subjects[key] = _Subject(context)
    subject.calls += 1
    subject.failures += failed
    subject.milliseconds += row.duration_us / 1e3


def _message(flag: str, revision: int, stratum: _Stratum, room: int) -> OutcomeStratum:
    message = OutcomeStratum(flag=f"flags/{flag}", revision=revision)
    for variant, arm in stratum.arms.items():
        told = message.variants.add(variant=variant, calls=arm.calls, causes=arm.causes, duration_counts=arm.durations)
        for each in list(arm.subjects.values())[:room]:
            told.subjects.add(
                context=each.context, calls=each.calls, failures=each.failures, milliseconds=each.milliseconds
            )
        room -= len(told.subjects)
    return message
