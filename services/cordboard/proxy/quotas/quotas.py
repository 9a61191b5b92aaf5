"""Spends what vendors let be called: slices of the buckets that all replicas share are leased, and spent here.

A slice is as large as its last one was used: one that was spent before its time is followed by one twice as large, up
to a twentieth of the bucket. So a busy bucket costs a few statements a window, and a quiet one gives nothing away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cordboard.core.errors import DependencyUnavailable, LimitExceeded
from cordboard.planning.dialect import Quota

if TYPE_CHECKING:
    from cordboard.planning.answers import Answer
    from cordboard.proxy.quotas.bucket import Bucket, Draw
    from cordboard.proxy.quotas.store import QuotaStore

logger = logging.getLogger(__name__)

LIMIT: Final = "quota"
# Longer than this nobody is kept waiting, in seconds.
LONGEST_WAIT: Final = 30.0
# A slice is good for so many of the window's parts, and for no longer than so many seconds.
_SLICES: Final = 20
_LONGEST_SLICE: Final = 1.0
# A database that does not answer holds no call up longer than this.
_STORE_SECONDS: Final = 1.0
_MOST_SLICES: Final = 20_000


class _Slice:
    """What is leased of one bucket and not spent."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.lock = asyncio.Lock()
        self.tokens = 0
        self.size = 1
        self.good_until = 0.0
        self.closed_until = 0.0
        self.closed_weight = 0
        self.free: int | None = None
        """What was left in the whole bucket when it was asked last."""
        self.reset = 0.0
        self.corrected = 0.0

    def spend(self, weight: int, now: float) -> bool:
        """Takes from what is leased; tells whether there was enough."""
        if now >= self.good_until or self.tokens < weight:
            return False
        self.tokens -= weight
        return True


class Quotas:
    """The limits that vendors set, as this process spends them."""

    def __init__(
        self,
        store: QuotaStore,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = random.random,
    ) -> None:
        """Takes where buckets are kept; `random` gives numbers in [0, 1)."""
        self._store = store
        self._monotonic = monotonic
        self._random = random
        self._slices: OrderedDict[tuple[str, str, bool], _Slice] = OrderedDict()
        self._corrections: set[asyncio.Task[None]] = set()

    async def take(self, draw: Draw, left: Callable[[], float], *, yielding: bool = False) -> None:
        """Takes what a call needs, and waits for it where the deadline has room; raises LimitExceeded.

        `left` gives the seconds until the deadline; `yielding` work leaves a part of each bucket to others. When the
        database cannot be asked the call goes: the vendor's own limit still stands.
        """
        while draw.buckets:
            found = await self._lacking(draw, yielding)
            if found is None:
                return
            bucket, wait = found
            if wait > LONGEST_WAIT or wait >= left():
                raise LimitExceeded(
                    LIMIT, bucket.owner, wait, f"{bucket.owner} may make {_told(bucket)}, and they are used"
                )
            # Not all at the same moment: who wakes first finds what there is.
            await asyncio.sleep(wait + self._random() * min(0.05, wait / 10))

    def give_back(self, draw: Draw, *, yielding: bool = False) -> None:
        """Takes back what a call did not need, for nothing went to the vendor."""
        for bucket in draw.buckets:
            self._slice(bucket, yielding).tokens += min(draw.weight, bucket.limit.calls)

    def learn(self, draw: Draw, answer: Answer, hold: float | None = None) -> None:
        """Corrects the bucket that an answer's headers are about; `hold`: nothing goes for so many seconds."""
        said = answer.quota
        if said.remaining is None and hold is None:
            return
        for bucket in self._meant(draw, said.limit):
            for one in self._slices_of(bucket):
                self._correct(one, 0 if hold is not None else said.remaining or 0, hold or 0.0)

    def told(self, draw: Draw) -> Quota | None:
        """Returns what is left of the bucket that has the least, or None where none is declared."""
        known = [one for bucket in draw.buckets for one in self._slices_of(bucket) if one.free is not None]
        if not known:
            return None
        least = min(known, key=lambda one: (one.free or 0) + one.tokens)
        reset = datetime.now(UTC) + timedelta(seconds=max(0.0, least.reset - self._monotonic()))
        return Quota(least.bucket.limit.calls, max(0, (least.free or 0) + least.tokens), reset, declared=True)

    async def close(self) -> None:
        """Ends what is being corrected."""
        for task in self._corrections:
            task.cancel()
        await asyncio.gather(*self._corrections, return_exceptions=True)

    async def _lacking(self, draw: Draw, yielding: bool) -> tuple[Bucket, float] | None:
        """Takes from every bucket, or from none; returns the one that lacks, and for how long."""
        for number, bucket in enumerate(draw.buckets):
            one, weight = self._slice(bucket, yielding), min(draw.weight, bucket.limit.calls)
            wait = 0.0 if one.spend(weight, self._monotonic()) else await self._lease(one, weight, yielding)
            if wait > 0:
                for taken in draw.buckets[:number]:
                    self._slice(taken, yielding).tokens += min(draw.weight, taken.limit.calls)
                return bucket, wait
        return None

    async def _lease(self, one: _Slice, weight: int, yielding: bool) -> float:
        """Leases another slice and takes from it; returns how long to wait where there is none."""
        async with one.lock:
            now = self._monotonic()
            if one.spend(weight, now):
                return 0.0
            if now < one.closed_until and weight >= one.closed_weight:
                return one.closed_until - now
            alive = now < one.good_until
            kept = one.tokens if alive else 0
            most = max(1, one.bucket.limit.calls // _SLICES)
            one.size = min(most, one.size * 2 if alive else max(1, one.size // 2))
            least = weight - kept
            try:
                async with asyncio.timeout(_STORE_SECONDS):
                    grant = await self._store.take(
                        one.bucket, want=max(least, one.size), least=least, yielding=yielding
                    )
            except (DependencyUnavailable, TimeoutError):
                logger.warning("a quota was not counted", extra={"bucket": one.bucket.key})
                return 0.0
            now = self._monotonic()
            one.free, one.reset = grant.free, now + grant.reset
            if not grant.granted:
                one.closed_until, one.closed_weight = now + grant.wait, weight
                return grant.wait
            one.closed_until = 0.0
            one.tokens = max(0, kept + grant.granted - weight)
            one.good_until = now + min(one.bucket.limit.window / _SLICES, _LONGEST_SLICE)
            return 0.0

    def _correct(self, one: _Slice, left: int, hold: float) -> None:
        now, limit = self._monotonic(), one.bucket.limit
        known = limit.calls if one.free is None else one.free + one.tokens
        if hold:
            one.closed_until, one.closed_weight = max(one.closed_until, now + hold), 1
        elif left >= known - limit.calls // 20 or now - one.corrected < min(limit.window / _SLICES, _LONGEST_SLICE):
            # As good as what is known, or said a moment ago.
            return
        one.tokens, one.free, one.corrected = min(one.tokens, left), left, now
        task = asyncio.create_task(self._tell(one.bucket, left, hold))
        self._corrections.add(task)
        task.add_done_callback(self._corrections.discard)

    async def _tell(self, bucket: Bucket, left: int, hold: float) -> None:
        # Where it does not work the next answer says it again.
        with contextlib.suppress(DependencyUnavailable, TimeoutError):
            async with asyncio.timeout(_STORE_SECONDS):
                await self._store.correct(bucket, left=left, hold=hold)

    @staticmethod
    def _meant(draw: Draw, limit: int | None) -> tuple[Bucket, ...]:
        """Returns the buckets that a vendor speaks of: those of its limit's size, or the only one that there is."""
        named = tuple(bucket for bucket in draw.buckets if bucket.limit.calls == limit)
        return named or (draw.buckets if len(draw.buckets) == 1 else ())

    def _slice(self, bucket: Bucket, yielding: bool) -> _Slice:
        key = (bucket.key, bucket.workspace, yielding)
        found = self._slices.get(key)
        if found is None:
            found = self._slices[key] = _Slice(bucket)
            if len(self._slices) > _MOST_SLICES:
                self._slices.popitem(last=False)
        else:
            self._slices.move_to_end(key)
        return found

    def _slices_of(self, bucket: Bucket) -> Iterator[_Slice]:
        for yielding in (False, True):
            found = self._slices.get((bucket.key, bucket.workspace, yielding))
            if found is not None:
                yield found


def _told(bucket: Bucket) -> str:
    limit = bucket.limit
    what = f" of {limit.action}" if limit.action else ""
    return f"{limit.calls} calls{what} in {limit.window:g} s"
