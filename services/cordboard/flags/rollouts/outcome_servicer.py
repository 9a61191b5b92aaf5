"""OutcomeService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cordboard.core.errors import InvalidFields
from cordboard.flags.experiments.messages import calls_of
from cordboard.flags.messages import key_of
from cordboard.flags.rollouts.comparison import Arm
from cordboard.flags.rollouts.guards import Report, Stratum
from cordboard.flags.v1 import outcome_service_pb2 as pb
from cordboard.flags.v1.outcome_service_pb2_grpc import OutcomeServiceServicer

if TYPE_CHECKING:
    from cordboard.flags.experiments.exposures import Exposures
    from cordboard.flags.rollouts.guards import Guards

MAX_STRATA: Final = 1_000
MAX_VARIANTS: Final = 100
MAX_CALLS: Final = 10_000
MAX_CAUSES: Final = 20
MAX_CAUSE_LENGTH: Final = 64
DURATIONS: Final = 18


class OutcomeServicer(OutcomeServiceServicer):
    """Serves the reports of outcomes."""

    def __init__(self, guards: Guards, exposures: Exposures) -> None:
        """Takes what the reports are for: guards, and experiments."""
        self._guards = guards
        self._exposures = exposures

    async def ReportOutcomes(self, request: pb.ReportOutcomesRequest, _context: Any) -> pb.ReportOutcomesResponse:
        if len(request.strata) > MAX_STRATA:
            raise InvalidFields.one("strata", f"must be at most {MAX_STRATA}", "TOO_MANY")
        strata = [_stratum(each, f"strata[{index}]") for index, each in enumerate(request.strata)]
        calls = calls_of(request)
        await self._guards.take(Report(request.reporter, request.sequence, strata))
        await self._exposures.report(request.reporter, request.sequence, calls)
        wanted = self._exposures.wanted({stratum.key for stratum in strata})
        return pb.ReportOutcomesResponse(subject_flags=[f"flags/{key}" for key in wanted])


def _stratum(stratum: pb.OutcomeStratum, path: str) -> Stratum:
    if len(stratum.variants) > MAX_VARIANTS:
        raise InvalidFields.one(f"{path}.variants", f"must be at most {MAX_VARIANTS}", "TOO_MANY")
    arms = {each.variant: _arm(each, f"{path}.variants[{index}]") for index, each in enumerate(stratum.variants)}
    if len(arms) != len(stratum.variants):
        raise InvalidFields.one(f"{path}.variants", "must name each variant once", "DUPLICATE")
    return Stratum(key_of(stratum.flag, f"{path}.flag"), stratum.revision, arms)


def _arm(outcomes: pb.VariantOutcomes, path: str) -> Arm:
    if not 0 <= outcomes.calls <= MAX_CALLS:
        raise InvalidFields.one(f"{path}.calls", f"must be from 0 to {MAX_CALLS}", "OUT_OF_RANGE")
    causes = dict(outcomes.causes)
    if len(causes) > MAX_CAUSES or any(not each or len(each) > MAX_CAUSE_LENGTH or "\0" in each for each in causes):
        text = f"must be at most {MAX_CAUSES} reasons of 1 to {MAX_CAUSE_LENGTH} characters"
        raise InvalidFields.one(f"{path}.causes", text)
    if min(causes.values(), default=0) < 0 or sum(causes.values()) > outcomes.calls:
        raise InvalidFields.one(f"{path}.causes", "must count at most as many as there were calls", "OUT_OF_RANGE")
    counts = tuple(outcomes.duration_counts)
    if len(counts) != DURATIONS or min(counts) < 0 or sum(counts) != outcomes.calls:
        text = f"must be {DURATIONS} numbers that are the calls together"
        raise InvalidFields.one(f"{path}.duration_counts", text, "OUT_OF_RANGE")
    return Arm(outcomes.calls, causes, counts)
