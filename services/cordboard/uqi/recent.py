"""What was asked for last, kept up to a bound."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

KeyType = TypeVar("KeyType", bound=Hashable)
ValueType = TypeVar("ValueType")


def _one(_: object) -> int:
    return 1


class Recent(Generic[KeyType, ValueType]):
    """Keeps values until they weigh more than `most` together; those asked for longest ago go first."""

    def __init__(self, most: int, weigh: Callable[[ValueType], int] = _one) -> None:
        """Takes the bound, and what tells how much a value weighs: each is one unless it says otherwise."""
        self._most = most
        self._weigh = weigh
        self._held: OrderedDict[KeyType, tuple[ValueType, int]] = OrderedDict()
        self._weight = 0

    def get(self, key: KeyType) -> ValueType | None:
        """Returns a value, or None."""
        found = self._held.get(key)
        if found is None:
            return None
        self._held.move_to_end(key)
        return found[0]

    def put(self, key: KeyType, value: ValueType) -> ValueType:
        """Keeps a value, and returns it."""
        self.drop(key)
        weight = self._weigh(value)
        self._held[key] = (value, weight)
        self._weight += weight
        while self._weight > self._most and self._held:
            self.drop(next(iter(self._held)))
        return value

    def drop(self, key: KeyType) -> None:
        """Lets go of a value, if it is there."""
        found = self._held.pop(key, None)
        if found is not None:
            self._weight -= found[1]

    def drop_where(self, holds: Callable[[KeyType], bool]) -> None:
        """Lets go of all values whose key is such."""
        for key in [key for key in self._held if holds(key)]:
            self.drop(key)
