"""When a failed attempt is followed by another: one policy, in one layer, within the caller's deadline."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

# Statuses that say "not now": the vendor did nothing, or doing it again changes nothing for a repeatable request.
_PASSING: Final = frozenset({408, 425, 500, 502, 503, 504})


class Fate(enum.Enum):
    """What is known of a request that got no usable answer."""

    NOT_SENT = "not_sent"
    """It never left: the name, the address or the handshake failed."""
    LOST = "lost"
    """It left, wholly or in part, and nobody knows what came of it."""
    ANSWERED = "answered"
    """The vendor answered with a status."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How an attempt failed."""

    fate: Fate
    status: int = 0
    retry_after: float | None = None
    """Seconds that the vendor asked for."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Full jitter: a wait is drawn evenly between nothing and a ceiling that doubles. Times are seconds."""

    attempts: int = 3
    first_ceiling: float = 0.05
    limited_ceiling: float = 1.0
    """The first ceiling after a 429 that names no time."""
    ceiling: float = 20.0
    longest_wait: float = 30.0
    """A vendor that asks for more than this is not waited for."""

    def wait(self, failure: Failure, *, attempt: int, repeatable: bool, remaining: float, draw: float) -> float | None:
        """Returns the seconds to wait before the next attempt, or None when there is to be none.

        `attempt` counts from 1; `repeatable` tells whether the request may reach the vendor twice; `remaining` is what
        the deadline leaves; `draw` is a random number in [0, 1).
        """
        if attempt >= self.attempts or not self._may_repeat(failure, repeatable):
            return None
        if failure.retry_after is not None:
            wait = failure.retry_after
            if wait > self.longest_wait:
                return None
        else:
            first = self.limited_ceiling if failure.status == 429 else self.first_ceiling
            wait = draw * min(self.ceiling, first * 2 ** (attempt - 1))
        return wait if wait < remaining else None

    @staticmethod
    def _may_repeat(failure: Failure, repeatable: bool) -> bool:
        if failure.fate is Fate.NOT_SENT:
            return True
        if failure.fate is Fate.LOST:
            return repeatable
        # 429 is a refusal before any work (RFC 6585 section 4), so even a request that must not run twice may go again.
        return failure.status == 429 or (repeatable and failure.status in _PASSING)
