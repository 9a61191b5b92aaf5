"""flagd.sync.v1: the rules themselves, for clients that evaluate in their own process.

What leaves the mesh is worked out for the caller's workspace first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from openfeature.schemas.protobuf.flagd.sync.v1 import sync_pb2 as pb
from openfeature.schemas.protobuf.flagd.sync.v1 import sync_pb2_grpc as pb_grpc

from cordboard.core.caller import current_caller
from cordboard.core.structs import to_struct
from cordboard.flags.evaluation import known_of
from cordboard.flags.openfeature.selector import check_selector
from cordboard.flags.openfeature.view import View

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from cordboard.flags.consumers.consumers import Consumers
    from cordboard.flags.evaluation import LiveFlags

PROTOCOL: Final = "flagd.sync.v1"
# Texts alone: clients put the context into every evaluation, and lists of ours are decided here.
STATIC_CONTEXT: Final = ("workspace", "customer", "tier", "region", "environment", "targetingKey")


class FlagSync(pb_grpc.FlagSyncServiceServicer):
    """Serves flagd.sync.v1."""

    def __init__(self, live: LiveFlags, consumers: Consumers) -> None:
        """Takes the set that holds now, and what knows who follows it."""
        self._live = live
        self._consumers = consumers

    async def SyncFlags(self, request: pb.SyncFlagsRequest, context: Any) -> AsyncIterator[pb.SyncFlagsResponse]:
        check_selector(context, request.selector)
        known = _known()
        view, sent = View(known), None
        with self._consumers.following(PROTOCOL, current_caller().workspace) as follower:
            async for snapshot in self._live.snapshots():
                # A change that makes no difference to this workspace is none.
                text = view.configuration(snapshot)
                if text != sent:
                    sent = text
                    yield pb.SyncFlagsResponse(flag_configuration=text, sync_context=to_struct(_static(known)))
                follower.has(snapshot.sequence)

    async def FetchAllFlags(self, request: pb.FetchAllFlagsRequest, context: Any) -> pb.FetchAllFlagsResponse:
        check_selector(context, request.selector)
        return pb.FetchAllFlagsResponse(flag_configuration=View(_known()).configuration(self._live.snapshot))

    async def GetMetadata(self, _request: pb.GetMetadataRequest, _context: Any) -> pb.GetMetadataResponse:
        return pb.GetMetadataResponse(metadata=to_struct(_static(_known())))


def _static(known: Mapping[str, Any]) -> dict[str, str]:
    return {name: known[name] for name in STATIC_CONTEXT if known.get(name)}


def _known() -> dict[str, Any]:
    return known_of(current_caller())
