"""TrackingService: messages in, one call of the domain, messages out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cordboard.core.caller import current_caller
from cordboard.core.errors import InvalidFields
from cordboard.core.structs import from_struct
from cordboard.flags.experiments.messages import events_of
from cordboard.flags.messages import key_of
from cordboard.flags.v1 import tracking_service_pb2 as pb
from cordboard.flags.v1.tracking_service_pb2_grpc import TrackingServiceServicer

if TYPE_CHECKING:
    from cordboard.flags.evaluation import LiveFlags
    from cordboard.flags.experiments.exposures import Exposures

MAX_FLAGS: Final = 100


class TrackingServicer(TrackingServiceServicer):
    """Serves what experiments are reckoned from."""

    def __init__(self, live: LiveFlags, exposures: Exposures) -> None:
        """Takes the set that holds now, and what takes events and exposures."""
        self._live = live
        self._exposures = exposures

    async def TrackEvents(self, request: pb.TrackEventsRequest, _context: Any) -> pb.TrackEventsResponse:
        events = events_of(request)
        return pb.TrackEventsResponse(measurements=await self._exposures.track(current_caller().workspace, events))

    async def ExposeFlags(self, request: pb.ExposeFlagsRequest, _context: Any) -> pb.ExposeFlagsResponse:
        if not 1 <= len(request.names) <= MAX_FLAGS:
            raise InvalidFields.one("names", f"must be 1 to {MAX_FLAGS}", "TOO_MANY" if request.names else "REQUIRED")
        keys = [key_of(name, f"names[{index}]") for index, name in enumerate(request.names)]
        caller, claimed = current_caller(), from_struct(request.context, "context")
        for key in keys:
            self._live.evaluate(key, caller, claimed)
            self._exposures.note(caller, key, claimed)
        await self._exposures.write()
        return pb.ExposeFlagsResponse()
