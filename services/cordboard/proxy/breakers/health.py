"""What is seen of a vendor's host: answers and failures of the last seconds, and whom they speak against."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from cordboard.proxy.breakers.standing import BreakerPolicy, Cause

# So many calls say that an action is well while others of its host are not.
_TELLING_CALLS: Final = 3
_MOST_ACTIONS: Final = 1_000


class Window:
    """The calls of the last seconds."""

    __slots__ = ("_calls", "_seconds", "failures")

    def __init__(self, seconds: float) -> None:
        """Takes how long a call is remembered."""
        self._seconds = seconds
        # (when, failed), oldest first.
        self._calls: deque[tuple[float, bool]] = deque()
        self.failures = 0

    def __len__(self) -> int:
        """Returns how many calls it holds."""
        return len(self._calls)

    def count(self, now: float, *, failed: bool) -> None:
        """Counts one call."""
        self._calls.append((now, failed))
        self.failures += failed
        self.forget(now)

    def forget(self, now: float) -> None:
        """Drops what is too old."""
        while self._calls and self._calls[0][0] <= now - self._seconds:
            self.failures -= self._calls.popleft()[1]

    def clear(self) -> None:
        """Forgets everything."""
        self._calls.clear()
        self.failures = 0


class Health:
    """One host of an integration, as this process sees it."""

    def __init__(self, policy: BreakerPolicy, monotonic: Callable[[], float]) -> None:
        """Takes when a breaker opens, and a clock in seconds that never goes back."""
        self._policy = policy
        self._monotonic = monotonic
        self.whole = Window(policy.window)
        self._actions: dict[str, Window] = {}
        # Who called it: a host can name a tenant, so others are not shown it.
        self.workspaces: set[str] = set()

    def count(self, action: str, *, failed: bool) -> Cause | None:
        """Counts a call; returns what is down, where this call showed it."""
        now = self._monotonic()
        self.whole.count(now, failed=failed)
        if action not in self._actions and len(self._actions) >= _MOST_ACTIONS:
            self._actions.clear()
        one = self._actions.setdefault(action, Window(self._policy.window))
        one.count(now, failed=failed)
        return self._judged(one, now) if failed else None

    def of(self, action: str) -> Window:
        """Returns what is known of an action; of the whole host for the empty one."""
        found = self._actions.get(action) if action else self.whole
        return Window(self._policy.window) if found is None else found

    def clear(self, action: str = "") -> None:
        """Begins anew: with an action, or with the whole host."""
        if action:
            self._actions.pop(action, None)
        else:
            self.whole.clear()
            self._actions.clear()

    def forget(self) -> None:
        """Drops what is too old."""
        self.whole.forget(self._monotonic())

    def _judged(self, one: Window, now: float) -> Cause | None:
        if self._sick(self.whole) and not self._others_are_well(one, now):
            return Cause.VENDOR
        return Cause.ENDPOINT if self._sick(one) and self._others_are_well(one, now) else None

    def _sick(self, window: Window) -> bool:
        return len(window) >= self._policy.min_calls and self._fails(window)

    def _fails(self, window: Window) -> bool:
        return window.failures >= self._policy.failure_ratio * len(window)

    def _others_are_well(self, one: Window, now: float) -> bool:
        for other in self._actions.values():
            if other is not one:
                other.forget(now)
                if len(other) >= _TELLING_CALLS and not self._fails(other):
                    return True
        return False
