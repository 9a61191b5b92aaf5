"""Copies that a service answers from: each knows whether its source answers, and how old it is since it does not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable


# The most that a source which is asked every second may take.
ANSWERS_WITHIN: Final = 5.0
# A hub says every ten seconds that nothing is new, thirty at most. Whoever has not heard it for longer is cut off.
HUB_ANSWERS_WITHIN: Final = 45.0


class Copy:
    """What a service has in memory of something that is kept elsewhere."""

    def __init__(self, name: str, *, within: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Takes the name of its source and, where that is asked again and again, within how many seconds it answers:
        a source that hangs says nothing of it.
        """
        self.name = name
        self._within = within
        self._clock = clock
        self._seen = clock()
        self._lost = False

    def current(self, at: float | None = None) -> None:
        """Notes that the source has answered, now or at a time of the copy's clock: there was nothing newer."""
        self._seen = self._clock() if at is None else at
        self._lost = False

    def lost(self) -> None:
        """Notes that the source does not answer; what there is stays as it is and ages."""
        self._lost = True

    def age(self) -> float:
        """Returns the seconds since the source answered last; 0 while it answers."""
        age = self._clock() - self._seen
        return age if self._lost or (self._within is not None and age > self._within) else 0.0


class Copies:
    """The copies of one process."""

    def __init__(self) -> None:
        """Begins without any."""
        self._copies: list[Copy] = []

    def add(self, copy: Copy) -> None:
        """Takes one more copy."""
        self._copies.append(copy)

    def stale(self) -> str:
        """Returns the sources that do not answer, with the copies' ages in seconds, as a list of RFC 9651 such as
        `catalog;age=12, flags;age=3`; empty when all answer.
        """
        lost = ((copy.name, copy.age()) for copy in self._copies)
        return ", ".join(f"{name};age={int(age)}" for name, age in lost if age > 0)
