"""How many second attempts a vendor's host gets: a share of its calls, so that an outage is not made worse by us."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

# More than a mesh calls at once; the one that was used longest ago gives way.
MOST_HOSTS: Final = 5_000


@dataclass(frozen=True, slots=True)
class BudgetPolicy:
    """What is allowed in any window of so many seconds: a share of the calls, or a few where there are few calls."""

    window: float = 10.0
    ratio: float = 0.1
    floor: int = 10


class _Host:
    """The calls and the second attempts of one host in the window, by slots of a tenth of it."""

    __slots__ = ("calls", "retries", "slots")

    def __init__(self) -> None:
        # [slot, calls, retries], oldest first.
        self.slots: deque[list[int]] = deque()
        self.calls = 0
        self.retries = 0

    def at(self, slot: int, slots: int) -> list[int]:
        """Returns the counts of a slot, after those that are too old were dropped."""
        while self.slots and self.slots[0][0] <= slot - slots:
            _, calls, retries = self.slots.popleft()
            self.calls -= calls
            self.retries -= retries
        if not self.slots or self.slots[-1][0] != slot:
            self.slots.append([slot, 0, 0])
        return self.slots[-1]


class RetryBudget:
    """Counts first and second attempts by host. Each replica counts its own: the share of the sum is the same."""

    SLOTS: Final = 10

    def __init__(self, policy: BudgetPolicy, monotonic: Callable[[], float]) -> None:
        """Takes what is allowed, and a clock in seconds that never goes back."""
        self._policy = policy
        self._monotonic = monotonic
        self._hosts: dict[str, _Host] = {}

    def called(self, host: str) -> None:
        """Counts the first attempt of a request."""
        found = self._hosts.pop(host, None) or _Host()
        # Put in last again: the first of the dictionary is the one that was used longest ago.
        self._hosts[host] = found
        if len(self._hosts) > MOST_HOSTS:
            del self._hosts[next(iter(self._hosts))]
        found.at(self._slot(), self.SLOTS)[1] += 1
        found.calls += 1

    def take(self, host: str) -> bool:
        """Tells whether a request may be sent to the host once more, and counts it when it may."""
        found = self._hosts.setdefault(host, _Host())
        counts = found.at(self._slot(), self.SLOTS)
        if found.retries + 1 > max(float(self._policy.floor), self._policy.ratio * found.calls):
            return False
        counts[2] += 1
        found.retries += 1
        return True

    def _slot(self) -> int:
        return int(self._monotonic() * self.SLOTS / self._policy.window)
