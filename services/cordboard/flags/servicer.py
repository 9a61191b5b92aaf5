"""FlagService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cordboard.core.caller import current_caller
from cordboard.core.paging import Paging
from cordboard.core.structs import from_struct, to_value
from cordboard.core.telemetry import mark_decided
from cordboard.flags.compilation import configuration
from cordboard.flags.flags import Cause
from cordboard.flags.messages import (
    content_of,
    flag_message,
    key_after,
    key_of,
    revision_message,
    revision_of,
)
from cordboard.flags.v1 import flag_service_pb2 as pb
from cordboard.flags.v1.flag_service_pb2_grpc import FlagServiceServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cordboard.flags.evaluation import LiveFlags
    from cordboard.flags.experiments.exposures import Exposures
    from cordboard.flags.flags import Flags


class FlagServicer(FlagServiceServicer):
    """Serves flags."""

    def __init__(self, flags: Flags, live: LiveFlags, exposures: Exposures) -> None:
        """Takes the flags with their history, the set that holds now, and what experiments want to know."""
        self._flags = flags
        self._live = live
        self._exposures = exposures

    async def PutFlag(self, request: pb.PutFlagRequest, _context: Any) -> pb.Flag:
        key, content = content_of(request.flag)
        return flag_message(await self._flags.put(key, content, etag=request.flag.etag, cause=_cause(request.reason)))

    async def GetFlag(self, request: pb.GetFlagRequest, _context: Any) -> pb.Flag:
        return flag_message(await self._flags.flag(key_of(request.name)))

    async def ListFlags(self, request: pb.ListFlagsRequest, _context: Any) -> pb.ListFlagsResponse:
        paging = Paging.of(request)
        found = await self._flags.flags(after=key_after(paging.after), limit=paging.size + 1)
        page = found[: paging.size]
        token = paging.token(page[-1].key) if len(found) > len(page) else ""
        return pb.ListFlagsResponse(flags=map(flag_message, page), next_page_token=token)

    async def KillFlag(self, request: pb.KillFlagRequest, _context: Any) -> pb.Flag:
        return flag_message(await self._flags.kill(key_of(request.name), cause=_cause(request.reason)))

    async def RestoreFlag(self, request: pb.RestoreFlagRequest, _context: Any) -> pb.Flag:
        return flag_message(await self._flags.restore(key_of(request.name), cause=_cause(request.reason)))

    async def ListFlagRevisions(
        self, request: pb.ListFlagRevisionsRequest, _context: Any
    ) -> pb.ListFlagRevisionsResponse:
        paging = Paging.of(request)
        below = paging.after_number
        found = await self._flags.revisions(key_of(request.parent, "parent"), below=below, limit=paging.size + 1)
        page = found[: paging.size]
        token = paging.token(str(page[-1].revision)) if len(found) > len(page) else ""
        return pb.ListFlagRevisionsResponse(flag_revisions=map(revision_message, page), next_page_token=token)

    async def RollbackFlag(self, request: pb.RollbackFlagRequest, _context: Any) -> pb.Flag:
        key, number = revision_of(request.name)
        return flag_message(await self._flags.rollback(key, number, cause=_cause(request.reason)))

    async def EvaluateFlag(self, request: pb.EvaluateFlagRequest, _context: Any) -> pb.EvaluateFlagResponse:
        claimed = from_struct(request.context, "context")
        key, caller = key_of(request.name), current_caller()
        decision = self._live.evaluate(key, caller, claimed)
        mark_decided(key, decision.variant, decision.reason)
        self._exposures.note(caller, key, claimed)
        return pb.EvaluateFlagResponse(
            value=to_value(decision.value),
            variant=decision.variant or "",
            reason=decision.reason,
            revision=decision.revision or 0,
        )

    async def WatchFlags(self, request: pb.WatchFlagsRequest, _context: Any) -> AsyncIterator[pb.WatchFlagsResponse]:
        base = 0
        async for snapshot in self._live.snapshots():
            text = configuration(snapshot.since(base).items()) if base else snapshot.configuration
            yield pb.WatchFlagsResponse(sequence=snapshot.sequence, flag_configuration=text, base_sequence=base)
            base = snapshot.sequence if request.changes_only else 0


def _cause(why: str) -> Cause:
    return Cause(current_caller().actor, why)
