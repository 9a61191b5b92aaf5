"""Limits how many requests each caller makes in a window of time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left to a caller after a request; `reset_seconds` is when the next window begins."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int
    reset_at: int

    def headers(self) -> dict[str, str]:
        """Returns the headers that tell so: the IETF draft's, with seconds, and the older ones, with a Unix time."""
        limit, remaining = str(self.limit), str(self.remaining)
        return {
            "RateLimit-Limit": limit,
            "RateLimit-Remaining": remaining,
            "RateLimit-Reset": str(self.reset_seconds),
            "X-RateLimit-Limit": limit,
            "X-RateLimit-Remaining": remaining,
            "X-RateLimit-Reset": str(self.reset_at),
        }


class RateLimit:
    """Counts the requests of each caller in fixed windows; a window begins with the first request."""

    def __init__(self, clock: Callable[[], float], *, limit: int, window_seconds: int) -> None:
        self._clock = clock
        self._limit = limit
        self._window_seconds = window_seconds
        self._windows: dict[str, tuple[float, int]] = {}

    def take(self, caller_id: str) -> Allowance:
        """Counts a request of the caller, and returns whether it is allowed and what is left."""
        now = self._clock()
        ends_at, count = self._windows.get(caller_id, (0.0, 0))
        if ends_at <= now:
            ends_at, count = now + self._window_seconds, 0
        allowed = count < self._limit
        if allowed:
            count += 1
        self._windows[caller_id] = (ends_at, count)
        seconds = max(1, math.ceil(ends_at - now))
        return Allowance(allowed, self._limit, self._limit - count, seconds, math.ceil(ends_at))
