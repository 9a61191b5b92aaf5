"""Takes flags along: at a hub from its Flags service into the log, at an edge out of the log to its Flags service."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import grpc

from cordboard.catalog.sync.store import FlagsRecord
from cordboard.core.errors import CordboardError
from cordboard.flags.v1 import replica_service_pb2 as flags
from cordboard.flags.v1.replica_service_pb2_grpc import FlagReplicaServiceStub

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cordboard.catalog.store import CatalogStore
    from cordboard.catalog.sync.store import HubStore, ReplicaStore
    from cordboard.core.channel import Channels
    from cordboard.core.database import Changes

logger = logging.getLogger(__name__)
PAUSE: Final = 1.0
TIMEOUT: Final = 20.0
# Well below what a service takes as one message.
PART_BYTES: Final = 1024 * 1024


class HubFlags:
    """Writes the hub's flags into the log of changes whenever they changed."""

    def __init__(self, channels: Channels, store: HubStore, replica: ReplicaStore, catalog: CatalogStore) -> None:
        """Takes the way to Flags, and the tables."""
        self._channels = channels
        self._store = store
        self._replica = replica
        self._catalog = catalog

    async def run(self) -> None:
        """Follows Flags for ever."""
        while True:
            try:
                stub = FlagReplicaServiceStub(self._channels.to("flags"))
                async for records in stub.WatchFlagRecords(flags.WatchFlagRecordsRequest()):
                    await self.take(records)
            except (grpc.aio.AioRpcError, CordboardError) as error:
                logger.info("the flags are not followed now", extra={"problem": type(error).__name__})
            await asyncio.sleep(PAUSE)

    async def take(self, records: flags.FlagRecords) -> None:
        """Writes a set of flags, unless it is there or a newer one is: other replicas do the same."""
        raw = records.SerializeToString(deterministic=True)
        async with self._store.reading() as connection:
            known = await self._store.flags(connection)
        if known is not None and known.revision >= records.sequence:
            return
        async with self._replica.writing() as connection:
            # Holds back the other replicas. A number that turns out not to be needed does no harm.
            sequence = await self._catalog.advance(connection)
            known = await self._store.flags(connection)
            if known is None or known.revision < records.sequence:
                await self._replica.put_flags(connection, FlagsRecord(records.sequence, raw, sequence))


class EdgeFlags:
    """Hands the hub's flags to the edge's Flags service, until it has taken them."""

    def __init__(self, channels: Channels, store: HubStore, changes: Changes) -> None:
        """Takes the way to Flags, the tables, and what tells of changes."""
        self._channels = channels
        self._store = store
        self._changes = changes
        self._given: FlagsRecord | None = None
        self._taken: dict[str, bytes] = {}

    async def run(self) -> None:
        """Hands over for ever."""
        async with self._changes.subscription() as woken:
            while True:
                try:
                    await self._give()
                except (grpc.aio.AioRpcError, CordboardError) as error:
                    logger.warning("the hub's flags are not taken", extra={"problem": type(error).__name__})
                    # Who was away may come back with less: it gets everything again.
                    self._taken = {}
                    await asyncio.sleep(PAUSE)
                await woken.wait()

    async def _give(self) -> None:
        async with self._store.reading() as connection:
            record = await self._store.flags(connection)
        if record is None or record == self._given:
            return
        stub = FlagReplicaServiceStub(self._channels.to("flags"))
        for part in _parts(flags.FlagRecords.FromString(record.records), self._taken):
            await stub.ApplyFlagRecords(flags.ApplyFlagRecordsRequest(records=part), timeout=TIMEOUT)
            self._taken |= {flag.name: flag.SerializeToString(deterministic=True) for flag in part.flags}
        self._given = record


def _parts(records: flags.FlagRecords, taken: Mapping[str, bytes]) -> Iterator[flags.FlagRecords]:
    """Yields the flags that are not as they were taken last, as many at once as a message holds."""
    part, size = flags.FlagRecords(sequence=records.sequence), 0
    for flag in records.flags:
        raw = flag.SerializeToString(deterministic=True)
        if taken.get(flag.name) == raw:
            continue
        if size and size + len(raw) > PART_BYTES:
            yield part
            part, size = flags.FlagRecords(sequence=records.sequence), 0
        part.flags.append(flag)
        size += len(raw)
    if size:
        yield part
