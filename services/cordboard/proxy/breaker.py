"""Circuit breakers: keep calls from a vendor that is down, so that callers fail fast and the vendor can recover.

A breaker belongs to one integration and one host. It counts what shows the vendor's health: server errors, timeouts and
failed connections against everything else that was answered. What a tenant brings upon itself (4xx, 429) is an answer.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cordboard.core.errors import BreakerOpen


class State(enum.Enum):
    """What a breaker lets through: everything, nothing, or one call to try."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When breakers open, and for how long. Times are seconds."""

    window: float = 10.0
    min_calls: int = 20
    failure_ratio: float = 0.5
    open_time: float = 5.0
    longest_open_time: float = 60.0


@dataclass(frozen=True, slots=True)
class Reading:
    """A breaker as it stands."""

    integration: str
    host: str
    state: State
    retry_after: float
    """Seconds until it tries again; 0 unless it is open."""
    calls: int
    failures: int


class Breaker:
    """One integration's host. Every `enter` that returns is followed by one of `succeeded`, `failed` and `left`."""

    def __init__(self, integration: str, host: str, policy: BreakerPolicy, monotonic: Callable[[], float]) -> None:
        """Takes whose it is, when it opens, and a clock in seconds that never goes back."""
        self.integration = integration
        self.host = host
        # Who called it: a host can name a tenant, so others are not shown it.
        self.workspaces: set[str] = set()
        self._policy = policy
        self._monotonic = monotonic
        # (when, failed), oldest first: the calls of the window.
        self._calls: deque[tuple[float, bool]] = deque()
        self._failures = 0
        self._open_time = policy.open_time
        self._opened: float | None = None
        self._probing = False

    def check(self) -> None:
        """Raises BreakerOpen while nothing may go, and takes no place."""
        if self._opened is not None:
            left = self._opened + self._open_time - self._monotonic()
            if left > 0:
                raise BreakerOpen(self.integration, self.host, State.OPEN.value, left)

    def enter(self) -> bool:
        """Returns when a call may go, and whether it is the one that tries; raises BreakerOpen.

        What it returns goes to the method that ends the call: a call from before the breaker opened must not close it.
        """
        if self._opened is None:
            return False
        left = self._opened + self._open_time - self._monotonic()
        if left > 0:
            raise BreakerOpen(self.integration, self.host, State.OPEN.value, left)
        if self._probing:
            raise BreakerOpen(self.integration, self.host, State.HALF_OPEN.value, min(1.0, self._policy.open_time))
        self._probing = True
        return True

    def succeeded(self, probe: bool) -> None:
        """Says that the vendor answered; the call that tried closes the breaker."""
        if probe:
            self._close()
        elif self._opened is None:
            self._count(failed=False)

    def failed(self, probe: bool) -> None:
        """Says that the vendor is not well; the call that tried opens the breaker again, for twice as long."""
        if probe:
            self._probing = False
            self._opened = self._monotonic()
            self._open_time = min(self._open_time * 2, self._policy.longest_open_time)
        elif self._opened is None:
            self._count(failed=True)
            enough = len(self._calls) >= self._policy.min_calls
            if enough and self._failures >= self._policy.failure_ratio * len(self._calls):
                self._opened = self._monotonic()

    def left(self, probe: bool) -> None:
        """Says that a call ended without showing anything, for its caller went away; another may try."""
        if probe:
            self._probing = False

    def reading(self) -> Reading:
        """Returns how it stands now."""
        now = self._monotonic()
        self._forget(now)
        state, wait = State.CLOSED, 0.0
        if self._opened is not None:
            wait = max(0.0, self._opened + self._open_time - now)
            state = State.OPEN if wait > 0 else State.HALF_OPEN
        return Reading(self.integration, self.host, state, wait, len(self._calls), self._failures)

    def _count(self, *, failed: bool) -> None:
        now = self._monotonic()
        self._calls.append((now, failed))
        self._failures += failed
        self._forget(now)

    def _forget(self, now: float) -> None:
        oldest = now - self._policy.window
        while self._calls and self._calls[0][0] <= oldest:
            self._failures -= self._calls.popleft()[1]

    def _close(self) -> None:
        self._calls.clear()
        self._failures = 0
        self._opened = None
        self._probing = False
        self._open_time = self._policy.open_time


class Breakers:
    """The breakers of this process."""

    def __init__(self, policy: BreakerPolicy, monotonic: Callable[[], float]) -> None:
        """Takes what every breaker goes by."""
        self._policy = policy
        self._monotonic = monotonic
        self._breakers: dict[tuple[str, str], Breaker] = {}

    def of(self, integration: str, host: str, workspace: str) -> Breaker:
        """Returns the breaker of an integration's host, for a call of this workspace."""
        found = self._breakers.get((integration, host))
        if found is None:
            found = Breaker(integration, host, self._policy, self._monotonic)
            self._breakers[integration, host] = found
        found.workspaces.add(workspace)
        return found

    def readings(
        self, *, workspace: str | None, integration: str = "", after: tuple[str, str] = ("", "")
    ) -> Iterator[Reading]:
        """Yields how breakers stand that the workspace has called (None: all), those behind `after`, in order."""
        for key in sorted(self._breakers):
            breaker = self._breakers[key]
            if key > after and integration in ("", key[0]) and (workspace is None or workspace in breaker.workspaces):
                yield breaker.reading()
