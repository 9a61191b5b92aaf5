"""How many calls may run at once, so that one workspace or one slow vendor does not take everything."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Hashable, Iterator

from cordboard.core.errors import LimitExceeded


class Bulkhead:
    """Counts what runs, by key."""

    def __init__(self, name: str, most: int) -> None:
        """Takes what to call the limit in errors, and how many may run at once for each key."""
        self._name = name
        self._most = most
        self._running: Counter[Hashable] = Counter()

    @contextlib.contextmanager
    def place(self, key: Hashable, scope: str) -> Iterator[None]:
        """Takes a place for as long as the block runs; raises LimitExceeded naming `scope` when there is none."""
        if self._running[key] >= self._most:
            raise LimitExceeded(self._name, scope, retry_after=0.1)
        self._running[key] += 1
        try:
            yield
        finally:
            self._running[key] -= 1
            if not self._running[key]:
                del self._running[key]
