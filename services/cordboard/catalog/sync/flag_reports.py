"""Tells a hub's Flags which of its changes each edge has."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import grpc

from cordboard.core.errors import CordboardError
from cordboard.core.times import to_timestamp
from cordboard.flags.v1.consumer_service_pb2 import FlagConsumerReport, ReportFlagConsumersRequest
from cordboard.flags.v1.consumer_service_pb2_grpc import FlagConsumerServiceStub

if TYPE_CHECKING:
    from cordboard.catalog.sync.store import EdgeRecord, HubStore
    from cordboard.core.channel import Channels

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 5.0
TIMEOUT: Final = 5.0
PAGE: Final = 500


class EdgeReports:
    """Looks at how far the edges are, and reports it."""

    def __init__(self, channels: Channels, store: HubStore) -> None:
        """Takes the way to Flags, and the tables of the hub."""
        self._channels = channels
        self._store = store

    async def run(self) -> None:
        """Reports every five seconds, for ever."""
        while True:
            try:
                await self.report()
            except (grpc.aio.AioRpcError, CordboardError) as error:
                logger.info("what edges have could not be reported", extra={"problem": type(error).__name__})
            await asyncio.sleep(LOOK_EVERY)

    async def report(self) -> None:
        """Reports once; raises AioRpcError and DependencyUnavailable."""
        after = ""
        while True:
            async with self._store.reading() as connection:
                place = await self._store.flags_place(connection)
                edges = await self._store.edges(connection, after=after, limit=PAGE)
            reports = [] if place is None else [_report(edge, *place) for edge in edges if edge.revoke_time is None]
            if reports:
                stub = FlagConsumerServiceStub(self._channels.to("flags"))
                await stub.ReportFlagConsumers(ReportFlagConsumersRequest(reports=reports), timeout=TIMEOUT)
            if len(edges) < PAGE:
                return
            after = edges[-1].id


def _report(edge: EdgeRecord, revision: int, sequence: int) -> FlagConsumerReport:
    """Returns what an edge has of the flags, whose set of this revision came with a change of the log."""
    has = edge.acked_sequence >= sequence
    # What it has in its place is an older set, and the log does not tell which.
    report = FlagConsumerReport(consumer=f"edge-{edge.id}", sequence=revision if has else 0)
    if has and edge.fresh_time is not None:
        report.fresh_time.CopyFrom(to_timestamp(edge.fresh_time))
    return report
