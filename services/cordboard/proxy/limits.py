"""How much may run at once, and how often, so that nobody takes everything: in this process.

What nobody waits for, batches and jobs, gets half of the places at most: however much of it there is, callers find
room.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Final

from cordboard.core.errors import LimitExceeded

# When a place may be free again, in seconds: calls are short.
_SOON: Final = 0.1
_MOST_KEYS: Final = 20_000


class Bulkhead:
    """Counts what runs, by key."""

    def __init__(self, name: str, most: int) -> None:
        """Takes what to call the limit in errors, and how many may run at once for each key."""
        self.name = name
        self._most = most
        self._running: Counter[Hashable] = Counter()
        self._background: Counter[Hashable] = Counter()

    @contextlib.contextmanager
    def place(self, key: Hashable, scope: str, *, background: bool = False) -> Iterator[None]:
        """Takes a place for as long as the block runs; raises LimitExceeded naming `scope` when there is none."""
        if self._running[key] >= self._most or (background and self._background[key] >= (self._most + 1) // 2):
            raise LimitExceeded(self.name, scope, retry_after=_SOON)
        self._running[key] += 1
        self._background[key] += background
        try:
            yield
        finally:
            self._running[key] -= 1
            self._background[key] -= background
            if not self._running[key]:
                del self._running[key], self._background[key]


class Pace:
    """Counts calls in a second, by key: a bucket that holds a second's worth of them, and fills evenly."""

    def __init__(self, name: str, per_second: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Takes what to call the limit in errors, how many calls a second each key has, and a clock in seconds."""
        self.name = name
        self._per_second = per_second
        self._monotonic = monotonic
        # When each bucket will be full again; the one that was used longest ago comes first.
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def take(self, key: Hashable, scope: str) -> None:
        """Counts a call; raises LimitExceeded naming `scope` when there were too many."""
        now = self._monotonic()
        full_at = max(self._full_at.get(key, now), now) + 1 / self._per_second
        if full_at > now + 1.0 + 1e-9:
            raise LimitExceeded(self.name, scope, retry_after=full_at - now - 1.0)
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > _MOST_KEYS:
            self._full_at.popitem(last=False)
