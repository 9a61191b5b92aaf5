"""FlagHistoryService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cordboard.core.errors import InvalidFields
from cordboard.core.structs import from_struct, to_value
from cordboard.flags.choices.messages import CHOICES
from cordboard.flags.messages import content_of, key_of
from cordboard.flags.v1 import flag_service_pb2
from cordboard.flags.v1 import history_service_pb2 as pb
from cordboard.flags.v1.history_service_pb2_grpc import FlagHistoryServiceServicer

if TYPE_CHECKING:
    from cordboard.core.flagging import Decision
    from cordboard.flags.history import History


class FlagHistoryServicer(FlagHistoryServiceServicer):
    """Serves the history of flags."""

    def __init__(self, history: History) -> None:
        """Takes the history."""
        self._history = history

    async def EvaluateFlagAsOf(
        self, request: pb.EvaluateFlagAsOfRequest, _context: Any
    ) -> flag_service_pb2.EvaluateFlagResponse:
        key, known = key_of(request.name), from_struct(request.context, "context")
        return _decision(await self._history.evaluate(key, known, **_as_of(request)))

    async def ExplainFlag(self, request: pb.ExplainFlagRequest, _context: Any) -> pb.ExplainFlagResponse:
        key, known = key_of(request.name), from_struct(request.context, "context")
        if request.revision < 0:
            raise InvalidFields.one("revision", "must be the number of a revision", "OUT_OF_RANGE")
        decision, found, killed = await self._history.explain(key, known, revision=request.revision or None)
        rules = [
            pb.RuleFinding(
                index=each.index,
                description=each.description,
                matched=each.matched,
                mismatches=each.mismatches,
                place_percent=each.place,
            )
            for each in found.findings
        ]
        return pb.ExplainFlagResponse(
            decision=_decision(decision),
            rules=rules,
            killed=killed,
            unmet_prerequisites=found.unmet,
            choice=CHOICES[found.chosen],
        )

    async def PreviewFlag(self, request: pb.PreviewFlagRequest, _context: Any) -> pb.PreviewFlagResponse:
        key, content = content_of(request.flag)
        contexts = [from_struct(each, f"contexts[{index}]") for index, each in enumerate(request.contexts)]
        changes = await self._history.preview(key, content, contexts)
        return pb.PreviewFlagResponse(changes=[pb.VariantChange(**vars(change)) for change in changes])


def _decision(decision: Decision) -> flag_service_pb2.EvaluateFlagResponse:
    return flag_service_pb2.EvaluateFlagResponse(
        value=to_value(decision.value),
        variant=decision.variant or "",
        reason=decision.reason,
        revision=decision.revision or 0,
    )


def _as_of(request: pb.EvaluateFlagAsOfRequest) -> dict[str, Any]:
    """Returns the revision or the time that is asked for; raises InvalidFields."""
    which = request.WhichOneof("as_of")
    if which == "revision":
        return {"revision": request.revision}
    if which is None:
        raise InvalidFields.one("time", "must be set, or else the revision", "REQUIRED")
    try:
        moment: datetime = request.time.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidFields.one("time", "must be a time from year 1 to year 9999") from None
    return {"time": moment}
