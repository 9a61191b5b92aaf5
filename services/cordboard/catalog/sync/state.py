"""How far this mesh is behind the hub that it follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cordboard.catalog.sync.abilities import ABLE
from cordboard.catalog.v1 import sync_service_pb2 as pb
from cordboard.core.times import to_duration, to_timestamp

if TYPE_CHECKING:
    from cordboard.catalog.sync.follower import Follower
    from cordboard.catalog.sync.store import EdgeRecord, ReplicaStore
    from cordboard.core.times import Clock


class SyncStates:
    """Says how far this mesh is, and how far an edge is."""

    def __init__(self, store: ReplicaStore, clock: Clock, follower: Follower | None) -> None:
        """Takes the tables, the time, and what follows a hub; None where this mesh follows none."""
        self._store = store
        self._clock = clock
        self._follower = follower

    async def own(self) -> pb.SyncState:
        """Returns what this mesh follows and how far it is."""
        async with self._store.reading() as connection:
            record = await self._store.replica(connection)
        if record is None or self._follower is None:
            return pb.SyncState()
        state = pb.SyncState(
            hub=record.hub_id,
            edge=record.edge_id,
            epoch=record.epoch,
            sequence=record.sequence,
            target_sequence=record.target,
            # A replica of the Catalog that does not follow itself knows it from what the one that does has written.
            connected=self._follower.connected,
            last_error=record.last_error,
        )
        if record.fresh_time is not None:
            state.current_time.CopyFrom(to_timestamp(record.fresh_time))
            state.age.CopyFrom(to_duration(max((self._clock.now() - record.fresh_time).total_seconds(), 0.0)))
        return state

    def edge(self, record: EdgeRecord, head: int) -> pb.Edge:
        """Returns an edge as it is answered; `head` is the number of the newest change."""
        edge = pb.Edge(
            name=record.name,
            title=record.title,
            workspaces=record.workspaces,
            unknown_workspaces=record.unknown,
            sequence=record.acked_sequence,
            target_sequence=head,
            last_error=record.last_error,
            # One that never was here has not said what it can do.
            missing_capabilities=sorted(ABLE.difference(record.capabilities)) if record.capabilities else (),
            release=record.release,
            create_time=to_timestamp(record.create_time),
        )
        if record.fresh_time is not None:
            edge.staleness.CopyFrom(to_duration(max((self._clock.now() - record.fresh_time).total_seconds(), 0.0)))
        if record.ack_time is not None:
            edge.acknowledge_time.CopyFrom(to_timestamp(record.ack_time))
        if record.connect_time is not None:
            edge.connect_time.CopyFrom(to_timestamp(record.connect_time))
        if record.revoke_time is not None:
            edge.revoke_time.CopyFrom(to_timestamp(record.revoke_time))
        return edge
