"""flagd.sync.v1: the rules themselves, for clients that evaluate in their own process.

What leaves the mesh is worked out for the caller's workspace first: it holds no name of another customer, and where the
workspace decides, every client gives the same answer, whichever bucketing it has.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from openfeature.schemas.protobuf.flagd.sync.v1 import sync_pb2 as pb
from openfeature.schemas.protobuf.flagd.sync.v1 import sync_pb2_grpc as pb_grpc

from cordboard.core.caller import current_caller
from cordboard.core.flagging import BUCKETING, RuleBroken, specialised
from cordboard.core.structs import to_struct
from cordboard.flags.compilation import configuration
from cordboard.flags.evaluation import context_of
from cordboard.flags.openfeature.selector import check_selector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from cordboard.flags.evaluation import LiveFlags, Snapshot

# Texts alone: clients put the context into every evaluation, and lists of ours are decided here.
STATIC_CONTEXT: Final = ("workspace", "customer", "tier", "region", "environment", "targetingKey")


class FlagSync(pb_grpc.FlagSyncServiceServicer):
    """Serves flagd.sync.v1."""

    def __init__(self, live: LiveFlags) -> None:
        """Takes the set that holds now."""
        self._live = live

    async def SyncFlags(self, request: pb.SyncFlagsRequest, context: Any) -> AsyncIterator[pb.SyncFlagsResponse]:
        check_selector(context, request.selector)
        known = _known()
        sent = None
        async for snapshot in self._live.snapshots():
            # A change that makes no difference to this workspace is none.
            text = configuration_for(snapshot, known)
            if text != sent:
                sent = text
                yield pb.SyncFlagsResponse(flag_configuration=text, sync_context=to_struct(_static(known)))

    async def FetchAllFlags(self, request: pb.FetchAllFlagsRequest, context: Any) -> pb.FetchAllFlagsResponse:
        check_selector(context, request.selector)
        known = _known()
        return pb.FetchAllFlagsResponse(flag_configuration=configuration_for(self._live.snapshot, known))

    async def GetMetadata(self, _request: pb.GetMetadataRequest, _context: Any) -> pb.GetMetadataResponse:
        return pb.GetMetadataResponse(metadata=to_struct(_static(_known())))


def configuration_for(snapshot: Snapshot, known: Mapping[str, Any]) -> str:
    """Returns the set as flagd JSON, for callers of whom this much is known."""
    return configuration((key, _for(definition, known)) for key, definition in snapshot.definitions.items())


def _for(definition: str, known: Mapping[str, Any]) -> str:
    if '"targeting"' not in definition:
        return definition
    flag = json.loads(definition)
    rule = flag.get("targeting")
    if not rule:
        return definition
    try:
        rule = specialised(rule, known, **_bucketing(flag))
    except (RuleBroken, ArithmeticError, TypeError, ValueError):
        # It breaks at the client as it breaks here; what it says stays here.
        rule = {"broken": []}
    flag["targeting"] = rule if isinstance(rule, dict) else {"if": [True, rule]}
    return json.dumps(flag, separators=(",", ":"))


def _bucketing(flag: Mapping[str, Any]) -> dict[str, str]:
    named = flag.get("metadata", {}).get(BUCKETING)
    return {"bucketing": named} if named else {}


def _static(known: Mapping[str, Any]) -> dict[str, str]:
    return {name: known[name] for name in STATIC_CONTEXT if known.get(name)}


def _known() -> dict[str, Any]:
    # An operator evaluates for others, so that nothing is known of the subject beforehand.
    caller = current_caller()
    return {} if caller.is_operator else context_of(caller, {})
