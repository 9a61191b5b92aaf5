"""Looks up calls. A call that has ended never changes, so one that was read is kept in memory for the next reader."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from cordboard.core.errors import NotFound
from cordboard.proxy.calls import CallRecord
from cordboard.proxy.store import ProxyStore
from cordboard.proxy.v1 import proxy_service_pb2 as pb

KEPT: Final = 4096


class Archive:
    """The calls that were made."""

    def __init__(self, store: ProxyStore, *, kept: int = KEPT) -> None:
        """Takes where calls are, and how many to keep in memory."""
        self._store = store
        self._kept = kept
        # By workspace first: a call is only ever found under its own.
        self._ended: OrderedDict[tuple[str, str], CallRecord] = OrderedDict()

    async def call(self, workspace: str, call_id: str) -> CallRecord:
        """Returns a call; raises NotFound."""
        key = (workspace, call_id)
        found = self._ended.get(key)
        if found is not None:
            self._ended.move_to_end(key)
            return found
        found = await self._store.call(workspace, call_id)
        if found is None:
            raise NotFound(f"workspaces/{workspace}/calls/{call_id}")
        if found.outcome != pb.Call.OUTCOME_UNSPECIFIED:
            self._ended[key] = found
            if len(self._ended) > self._kept:
                self._ended.popitem(last=False)
        return found

    async def calls(self, workspace: str, *, before: str, limit: int) -> list[CallRecord]:
        """Returns up to `limit` calls with an id below `before` (empty: any), newest first."""
        return await self._store.calls(workspace, before=before, limit=limit)
