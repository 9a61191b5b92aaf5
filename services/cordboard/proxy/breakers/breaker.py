"""One breaker: closed, open for a while, then one call that tries, then a few more at once with each that goes well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from cordboard.core.errors import BreakerOpen, CordboardError, LimitExceeded, ReconnectRequired
from cordboard.proxy.breakers.standing import BreakerPolicy, Cause, Key, Override, Reading, Standing, State

# When somebody else tries: after this many seconds at most the next one may ask.
_ASK_AGAIN: Final = 0.25

Claim = Callable[[Key], Awaitable[bool]]


class Ticket(NamedTuple):
    """The leave of a call to try."""

    breaker: Breaker
    epoch: int
    """Which opening it tries to end."""


class Breaker:
    """Holds calls back. Every ticket that `enter` gave is followed by one of `succeeded`, `failed` and `left`."""

    def __init__(
        self, key: Key, policy: BreakerPolicy, monotonic: Callable[[], float], changed: Callable[[Breaker], None]
    ) -> None:
        """Takes what it is about, a clock in seconds that never goes back, and whom to tell of each change."""
        self.key = key
        self.override = Override.AUTO
        self.revision = 0
        self.generation = 0
        self._policy = policy
        self._monotonic = monotonic
        self._changed = changed
        self._until: float | None = None
        self._open_time = policy.open_time
        self._seen = (0, 0)
        # Of this opening: which one it is, how many calls went well, how many are on their way.
        self._epoch = 0
        self._successes = 0
        self._trying = 0
        self._asked = float("-inf")

    @property
    def closed(self) -> bool:
        """Tells whether everything goes."""
        if self.override is not Override.AUTO:
            return self.override is Override.CLOSED
        if self._until is not None and self.key.cause is Cause.QUOTA and self._monotonic() >= self._until:
            # The vendor said when: nothing has to be tried.
            self._until = None
        return self._until is None

    def check(self) -> None:
        """Raises the error of a call that is held back, while nothing may go; asks nobody."""
        if self.closed:
            return
        if self.override is Override.OPEN:
            raise self._error(State.OPEN, self._policy.longest_open_time)
        left = (self._until or 0.0) - self._monotonic()
        if left > 0:
            raise self._error(State.OPEN, left)
        if self._full() or self._monotonic() < self._asked + _ASK_AGAIN:
            raise self._error(State.HALF_OPEN, _ASK_AGAIN)

    async def enter(self, claim: Claim) -> Ticket | None:
        """Returns when a call may go: with a ticket where it is one that tries; raises as `check` does.

        `claim` tells whether this process may be the one that tries first.
        """
        self.check()
        if self.closed:
            return None
        epoch = self._epoch
        self._trying += 1
        if not self._successes:
            self._asked = self._monotonic()
            try:
                claimed = await claim(self.key)
            except BaseException:
                self._released(epoch)
                raise
            if not claimed or epoch != self._epoch:
                self._released(epoch)
                raise self._error(State.HALF_OPEN, _ASK_AGAIN)
            self._asked = float("-inf")
        return Ticket(self, epoch)

    def trip(self, *, calls: int = 0, failures: int = 0, seconds: float | None = None, generation: int = 0) -> None:
        """Opens it, unless it is open: for as long as its policy says, or for so many seconds."""
        if not self.closed or self.override is not Override.AUTO:
            return
        self._seen = (calls, failures)
        self.generation = generation
        self._open(self._policy.open_time if seconds is None else seconds)

    def succeeded(self, ticket: Ticket) -> None:
        """Says that a call that tried went well: twice as many may try, or everything goes."""
        if self._released(ticket.epoch):
            self._successes += 1
            if self._successes >= self._policy.successes:
                self.close()
            elif self._successes == 1:
                self._changed(self)

    def failed(self, ticket: Ticket) -> None:
        """Says that a call that tried showed that nothing is better: it opens again, for twice as long."""
        if self._released(ticket.epoch):
            self._open(min(self._open_time * 2, self._policy.longest_open_time))

    def left(self, ticket: Ticket) -> None:
        """Says that a call that tried ended without showing anything; another may try, be it elsewhere."""
        if self._released(ticket.epoch) and not self._successes:
            self._changed(self)

    def close(self) -> None:
        """Lets everything through."""
        if self._until is not None:
            self._begin(None)
            self._open_time = self._policy.open_time
            self._changed(self)

    def set(self, override: Override) -> None:
        """Obeys an operator."""
        self.override = override

    def adopt(self, standing: Standing) -> None:
        """Stands as another process said; tells nobody."""
        self.revision = standing.revision
        self.override = standing.override
        self.generation = standing.generation
        self._seen = (standing.calls, standing.failures)
        until = None if standing.state is State.CLOSED else self._monotonic() + max(0.0, standing.left)
        ramping = standing.state is State.HALF_OPEN
        if self._until is None or until is None or ramping != bool(self._successes) or standing.left > 0:
            self._begin(until)
            self._successes = int(ramping)
        self._open_time = self._policy.open_time if until is None else standing.open_time

    def standing(self) -> Standing:
        """Returns how it stands, for other processes."""
        calls, failures = self._seen
        state = State.CLOSED
        if self._until is not None:
            state = State.HALF_OPEN if self._successes else State.OPEN
        left = 0.0 if self._until is None else self._until - self._monotonic()
        return Standing(
            self.key, state, left, self._open_time, self.override, self.generation, calls, failures, self.revision
        )

    def reading(self, calls: int = 0, failures: int = 0) -> Reading:
        """Returns how it stands now, with what was counted since; of an open one, what was seen when it opened."""
        state, wait = State.CLOSED, 0.0
        if not self.closed:
            wait = 0.0 if self._until is None else max(0.0, self._until - self._monotonic())
            state = State.OPEN if wait > 0 or self.override is Override.OPEN else State.HALF_OPEN
            if self._until is not None:
                calls, failures = self._seen
        return Reading(self.key, state, wait, calls, failures, self.override)

    def _open(self, seconds: float) -> None:
        self._open_time = seconds
        self._begin(self._monotonic() + seconds)
        self._changed(self)

    def _begin(self, until: float | None) -> None:
        self._until = until
        self._epoch += 1
        self._successes = self._trying = 0
        self._asked = float("-inf")

    def _full(self) -> bool:
        # One, two, four: each that goes well lets twice as many try at once.
        return self._trying >= 1 << self._successes

    def _released(self, epoch: int) -> bool:
        if epoch != self._epoch:
            # From before it opened or closed again: it says nothing about now.
            return False
        self._trying -= 1
        return True

    def _error(self, state: State, wait: float) -> CordboardError:
        key = self.key
        if key.cause is Cause.CREDENTIAL:
            return ReconnectRequired(key.connection, "rejected")
        if key.cause is Cause.QUOTA:
            text = f"integrations/{key.integration} allows no more calls of {key.action} now"
            return LimitExceeded("vendor", f"integrations/{key.integration}", wait, text)
        return BreakerOpen(key.integration, key.host, state.value, wait, cause=key.cause.value, action=key.action)
