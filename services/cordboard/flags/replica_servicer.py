"""Answers the Catalogs that carry flags from a hub to its edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cordboard.flags.v1 import replica_service_pb2 as pb
from cordboard.flags.v1.replica_service_pb2_grpc import FlagReplicaServiceServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cordboard.flags.replica import Replica


class FlagReplicaServicer(FlagReplicaServiceServicer):
    """Answers the Catalogs."""

    def __init__(self, replica: Replica) -> None:
        """Takes what it speaks for."""
        self._replica = replica

    async def WatchFlagRecords(
        self, _request: pb.WatchFlagRecordsRequest, _context: Any
    ) -> AsyncIterator[pb.FlagRecords]:
        async for records in self._replica.sets():
            yield records

    async def ApplyFlagRecords(self, request: pb.ApplyFlagRecordsRequest, _context: Any) -> pb.ApplyFlagRecordsResponse:
        return pb.ApplyFlagRecordsResponse(changed_count=await self._replica.apply(request.records))
