"""When a failed attempt is followed by another: one policy, in one layer, within the caller's deadline."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.times import to_seconds

# Statuses that say "not now": the vendor did nothing, or doing it again changes nothing for a repeatable request.
_PASSING: Final = frozenset({408, 425, 500, 502, 503, 504})
_FIRST_WAIT: Final = 0.2
_LONGEST_WAIT: Final = 10.0


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
    limited: bool = False
    """The vendor's limit is reached: nothing was done."""
    again: bool | None = None
    """Whether a rule of the definition wants another attempt; None: the status decides."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Full jitter: a wait is drawn evenly between nothing and a ceiling that doubles. Times are seconds."""

    attempts: int = 3
    first_ceiling: float = 0.05
    limited_ceiling: float = 1.0
    """The first ceiling where a limit is reached and no time is named."""
    ceiling: float = 20.0
    longest_wait: float = 30.0
    """A vendor that asks for more than this is not waited for."""
    growth: int = 2
    statuses: frozenset[int] = _PASSING
    """Those that are worth another attempt of a repeatable request."""

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
            first = self.limited_ceiling if failure.limited else self.first_ceiling
            wait = draw * min(self.ceiling, first * self.growth ** (attempt - 1))
        return wait if wait < remaining else None

    def _may_repeat(self, failure: Failure, repeatable: bool) -> bool:
        if failure.fate is Fate.NOT_SENT:
            return True
        if failure.fate is Fate.LOST:
            return repeatable
        if failure.limited:
            # A refusal before any work (RFC 6585 section 4): even a request that must not run twice may go again.
            return True
        if failure.again is not None:
            # What a rule knows of an answer is definite. Only of a server error nobody knows what it left behind.
            return failure.again and (repeatable or failure.status < 500)
        return repeatable and failure.status in self.statuses


def policy_of(declared: pb.RetryPolicy | None, standard: RetryPolicy) -> RetryPolicy:
    """Returns the policy that a definition declares; `standard` for what it says nothing about."""
    if declared is None:
        return standard
    first = to_seconds(declared.base_delay) if declared.HasField("base_delay") else _FIRST_WAIT
    ceiling = max(first, to_seconds(declared.max_delay) if declared.HasField("max_delay") else _LONGEST_WAIT)
    return RetryPolicy(
        attempts=declared.max_attempts or standard.attempts,
        first_ceiling=first,
        limited_ceiling=first if declared.HasField("base_delay") else standard.limited_ceiling,
        ceiling=ceiling,
        longest_wait=max(ceiling, standard.longest_wait),
        growth=1 if declared.backoff == pb.BACKOFF_CONSTANT else standard.growth,
        statuses=standard.statuses | set(declared.retry_statuses),
    )
