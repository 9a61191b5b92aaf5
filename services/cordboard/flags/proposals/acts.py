"""The changes that can be proposed, each as the request that would make it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cordboard.core.errors import InvalidFields
from cordboard.flags.messages import content_of, key_of, revision_of
from cordboard.flags.rollouts.messages import key_of as rollout_key_of
from cordboard.flags.rollouts.messages import plan_of, start_of
from cordboard.flags.v1 import proposal_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from cordboard.flags.flags import Cause, Flags
    from cordboard.flags.rollouts.rollouts import Rollouts


class Acts:
    """Makes changes of flags and rollouts."""

    def __init__(self, flags: Flags, rollouts: Rollouts) -> None:
        """Takes the flags and the rollouts."""
        self._flags = flags
        self._rollouts = rollouts

    async def make(self, request: pb.ProposeChangeRequest, cause_of: Callable[[str], Cause]) -> None:
        """Makes the change, for the request's reason; raises what the change can be refused with, and Proposed."""
        change = request.WhichOneof("change")
        if change is None:
            raise InvalidFields.one("change", "must be one of the changes that can be proposed", "REQUIRED")
        cause = cause_of(getattr(request, change).reason)
        if change == "put_flag":
            flag = request.put_flag.flag
            key, content = content_of(flag)
            await self._flags.put(key, content, etag=flag.etag, cause=cause)
        elif change == "rollback_flag":
            key, number = revision_of(request.rollback_flag.name)
            await self._flags.rollback(key, number, cause=cause)
        elif change == "restore_flag":
            await self._flags.restore(key_of(request.restore_flag.name), cause=cause)
        elif change == "put_rollout":
            wanted = request.put_rollout.rollout
            key, plan = rollout_key_of(wanted.name, "rollout.name"), plan_of(wanted)
            await self._rollouts.put(key, plan, start_time=start_of(wanted), etag=wanted.etag, cause=cause)
        else:
            move = request.move_rollout
            await self._rollouts.move(rollout_key_of(move.name), move.stage, cause=cause)
