"""How often somebody may call, counted over all replicas: a little goes uncounted, and is paid for together.

Each process counts for itself too, in memory and first: see `cordboard.proxy.limits.Pace`. Without the database that
count is what stands.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from cordboard.core.errors import DependencyUnavailable, LimitExceeded
from cordboard.proxy.quotas.bucket import WORKSPACE, Bucket, Limit

if TYPE_CHECKING:
    from cordboard.proxy.quotas.store import QuotaStore

logger = logging.getLogger(__name__)

WINDOW: Final = 1.0
# Such a part of a window's calls goes before it is counted: two replicas let a twentieth more through at most.
_PARTS: Final = 40
# What is paid for ahead is such a part of a window's calls at most, and good for such a part of the window.
_AHEAD: Final = 20
# A database that does not answer holds no call up longer than this, and is then not asked for a while.
_STORE_SECONDS: Final = 1.0
_AWAY_SECONDS: Final = 5.0
_MOST_KEYS: Final = 20_000


class _Account:
    """What one of those who call owes to the bucket of all replicas."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.lock = asyncio.Lock()
        self.owed = 0
        self.used = 0.0
        self.ahead = 0
        """What was paid for and not used yet."""
        self.ahead_until = 0.0
        self.closed_until = 0.0


class SharedPace:
    """Counts calls in a second over all replicas, by key."""

    def __init__(
        self,
        name: str,
        calls: int,
        store: QuotaStore,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        window: float = WINDOW,
    ) -> None:
        """Takes what to call the limit in errors, how many calls a window each key has, and where they are counted."""
        self.name = name
        self._limit = Limit(calls, window, WORKSPACE)
        self._uncounted = calls // _PARTS
        self._store = store
        self._monotonic = monotonic
        self._accounts: OrderedDict[tuple[str, str], _Account] = OrderedDict()
        self._away_until = 0.0

    async def take(self, workspace: str, whose: str, scope: str) -> None:
        """Counts a call of `whose` in a workspace; raises LimitExceeded naming `scope` when all replicas had too many.

        When the database cannot be asked the call goes: the process counts for itself.
        """
        account = self._account(workspace, whose)
        now = self._monotonic()
        if self._goes(account, now, scope):
            return
        async with account.lock:
            # Whoever was before has paid, or was refused.
            now = self._monotonic()
            if not self._goes(account, now, scope):
                await self._pay(account, scope)

    def _goes(self, account: _Account, now: float, scope: str) -> bool:
        if now < account.closed_until:
            raise LimitExceeded(self.name, scope, retry_after=account.closed_until - now)
        if account.ahead and now < account.ahead_until:
            account.ahead -= 1
            return True
        if now - account.used >= self._limit.window:
            # That was in another window, of which nobody counts any more.
            account.owed = 0
        if account.owed >= self._uncounted and now >= self._away_until:
            return False
        account.owed = min(account.owed + 1, self._uncounted)
        account.used = now
        return True

    async def _pay(self, account: _Account, scope: str) -> None:
        # A little more than is owed, for those who come while the database is asked: of a slow one less would come.
        weight, ahead = account.owed + 1, self._limit.calls // _AHEAD
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                grant = await self._store.take(account.bucket, want=weight + ahead, least=weight, yielding=False)
        except (DependencyUnavailable, TimeoutError):
            self._away_until = self._monotonic() + _AWAY_SECONDS
            logger.warning("calls are not counted over all replicas", extra={"limit": self.name})
            return
        now = self._monotonic()
        if not grant.granted:
            account.closed_until = now + grant.wait
            raise LimitExceeded(self.name, scope, retry_after=grant.wait)
        account.owed, account.used = 0, now
        account.ahead, account.ahead_until = grant.granted - weight, now + self._limit.window / _AHEAD

    def _account(self, workspace: str, whose: str) -> _Account:
        key = (workspace, whose)
        found = self._accounts.get(key)
        if found is None:
            # No vendor's limit is called like this, and no list of them shows it.
            named = f"~inbound {self.name} {workspace}/{quote(whose)} * {self._limit.calls} {self._limit.window:g}"
            found = self._accounts[key] = _Account(Bucket(named, self._limit, whose or workspace, workspace))
            if len(self._accounts) > _MOST_KEYS:
                self._accounts.popitem(last=False)
        else:
            self._accounts.move_to_end(key)
        return found
