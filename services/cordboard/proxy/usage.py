"""Which versions are called by whom, counted here and told to the Catalog now and then: for inventory and notices.

It is no record of calls: what was counted is lost when the Proxy is killed, and a report that may have arrived is told
again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Final

import grpc

from cordboard.catalog.v1.governance_service_pb2 import ReportUsageRequest
from cordboard.catalog.v1.governance_service_pb2_grpc import GovernanceServiceStub
from cordboard.core.channel import Channels, failure

logger = logging.getLogger(__name__)

REPORT_EVERY: Final = 15.0
REPORT_SECONDS: Final = 10.0
# As many as a report may have. Others are counted once these were told.
MAX_COUNTED: Final = 10_000

Used = tuple[str, str, str, str]


class Usage:
    """Counts calls by workspace, environment, integration and version."""

    def __init__(self, channels: Channels) -> None:
        """Takes the way to the Catalog; `run` has to run."""
        self._channels = channels
        self._counts: dict[Used, tuple[int, float]] = {}

    def count(self, workspace: str, environment: str, integration: str, version: str) -> None:
        """Counts one call."""
        used = (workspace, environment, integration, version)
        calls, _ = self._counts.get(used, (0, 0.0))
        if calls or len(self._counts) < MAX_COUNTED:
            self._counts[used] = calls + 1, time.time()

    async def run(self) -> None:
        """Tells the Catalog what was counted, for ever."""
        while True:
            await asyncio.sleep(REPORT_EVERY)
            await self.report()

    async def report(self) -> None:
        """Tells the Catalog what was counted since the last report; keeps it for the next one where that fails."""
        if not self._counts:
            return
        counts, self._counts = self._counts, {}
        try:
            stub = GovernanceServiceStub(self._channels.to("catalog"))
            await stub.ReportUsage(_request(counts), timeout=REPORT_SECONDS)
        except (grpc.aio.AioRpcError, KeyError) as error:
            logger.warning("usage was not reported", extra={"code": failure(error)})
            self._keep(counts)

    def _keep(self, counts: Mapping[Used, tuple[int, float]]) -> None:
        for used, (calls, last) in counts.items():
            more, newer = self._counts.get(used, (0, 0.0))
            if more or len(self._counts) < MAX_COUNTED:
                self._counts[used] = calls + more, max(last, newer)


def _request(counts: Mapping[Used, tuple[int, float]]) -> ReportUsageRequest:
    request = ReportUsageRequest()
    for (workspace, environment, integration, version), (calls, last) in counts.items():
        one = request.counts.add(
            workspace=workspace, environment=environment, integration=integration, version=version, calls=calls
        )
        one.last_call_time.FromNanoseconds(int(last * 1e9))
    return request
