"""RolloutService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cordboard.core.caller import current_caller
from cordboard.core.paging import Paging
from cordboard.flags.flags import Cause
from cordboard.flags.messages import key_after
from cordboard.flags.rollouts.messages import key_of, plan_of, rollout_message, start_of
from cordboard.flags.v1 import rollout_service_pb2 as pb
from cordboard.flags.v1.rollout_service_pb2_grpc import RolloutServiceServicer

if TYPE_CHECKING:
    from cordboard.flags.rollouts.rollouts import Rollouts


class RolloutServicer(RolloutServiceServicer):
    """Serves rollouts."""

    def __init__(self, rollouts: Rollouts) -> None:
        """Takes the rollouts."""
        self._rollouts = rollouts

    async def PutRollout(self, request: pb.PutRolloutRequest, _context: Any) -> pb.Rollout:
        wanted = request.rollout
        key, plan, start_time = key_of(wanted.name, "rollout.name"), plan_of(wanted), start_of(wanted)
        cause = _cause(request.reason)
        found = await self._rollouts.put(key, plan, start_time=start_time, etag=wanted.etag, cause=cause)
        return rollout_message(found)

    async def GetRollout(self, request: pb.GetRolloutRequest, _context: Any) -> pb.Rollout:
        return rollout_message(await self._rollouts.rollout(key_of(request.name)))

    async def ListRollouts(self, request: pb.ListRolloutsRequest, _context: Any) -> pb.ListRolloutsResponse:
        paging = Paging.of(request)
        found = await self._rollouts.rollouts(after=key_after(paging.after), limit=paging.size + 1)
        page = found[: paging.size]
        token = paging.token(page[-1].key) if len(found) > len(page) else ""
        return pb.ListRolloutsResponse(rollouts=map(rollout_message, page), next_page_token=token)

    async def MoveRollout(self, request: pb.MoveRolloutRequest, _context: Any) -> pb.Rollout:
        key, cause = key_of(request.name), _cause(request.reason)
        return rollout_message(await self._rollouts.move(key, request.stage, cause=cause))

    async def FreezeRollout(self, request: pb.FreezeRolloutRequest, _context: Any) -> pb.Rollout:
        return rollout_message(await self._rollouts.freeze(key_of(request.name), cause=_cause(request.reason)))

    async def UnlockRollout(self, request: pb.UnlockRolloutRequest, _context: Any) -> pb.Rollout:
        return rollout_message(await self._rollouts.unlock(key_of(request.name), cause=_cause(request.reason)))

    async def ThawRollout(self, request: pb.ThawRolloutRequest, _context: Any) -> pb.Rollout:
        return rollout_message(await self._rollouts.thaw(key_of(request.name), cause=_cause(request.reason)))


def _cause(why: str) -> Cause:
    return Cause(current_caller().actor, why)
