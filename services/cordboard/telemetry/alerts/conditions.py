"""What breaks a rule: each condition asks the figures, and says of which label's values it holds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cordboard.telemetry.alerts.figures import Figures

HOUR, DAY, WEEK = 60, 24 * 60, 7 * 24 * 60


class Condition(Protocol):
    """Says what breaks a rule now."""

    @property
    def label(self) -> str:
        """What breaches are told apart by."""
        ...

    async def breaches(self, figures: Figures, end: int) -> dict[str, float]:
        """Returns the values of the label that break the rule, each with what was found, before the minute `end`."""
        ...


@dataclass(frozen=True)
class FailedShare:
    """More than a share of what was counted failed, over each of the windows; the first one's share is the value."""

    measure: str
    label: str
    above: float
    windows: tuple[int, ...]

    async def breaches(self, figures: Figures, end: int) -> dict[str, float]:
        """Returns the shares. A longer window is looked at only for what broke the shorter one."""
        found: dict[str, float] = {}
        suspects: Collection[str] | None = None
        for window in self.windows:
            sums = await figures.sums(self.measure, self.label, first=end - window, end=end, only=suspects)
            shares = {key: one.failed / one.count for key, one in sums.items() if one.count}
            suspects = {key for key, share in shares.items() if share > self.above}
            found = found or {key: shares[key] for key in suspects}
            if not suspects:
                return {}
        return {key: share for key, share in found.items() if key in (suspects or ())}


@dataclass(frozen=True)
class Failed:
    """So many failed within the window."""

    measure: str
    label: str
    at_least: int
    window: int

    async def breaches(self, figures: Figures, end: int) -> dict[str, float]:
        """Returns how many failed."""
        sums = await figures.sums(self.measure, self.label, first=end - self.window, end=end)
        return {key: float(one.failed) for key, one in sums.items() if one.failed >= self.at_least}


@dataclass(frozen=True)
class Above:
    """A gauge stands above a value, or at it."""

    measure: str
    label: str
    value: float
    or_equal: bool = False

    async def breaches(self, figures: Figures, end: int) -> dict[str, float]:
        """Returns the highest readings."""
        states = await figures.states(self.measure, self.label, end=end)
        return {
            key: one.high
            for key, one in states.items()
            if one.high > self.value or (self.or_equal and one.high == self.value)
        }


@dataclass(frozen=True)
class Below:
    """A gauge stands below a value."""

    measure: str
    label: str
    value: float

    async def breaches(self, figures: Figures, end: int) -> dict[str, float]:
        """Returns the lowest readings."""
        states = await figures.states(self.measure, self.label, end=end)
        return {key: one.low for key, one in states.items() if one.low < self.value}


@dataclass(frozen=True)
class Grown:
    """A gauge that only grows has grown, from the reading before the window on."""

    measure: str
    label: str
    window: int
    only: frozenset[str]

    async def breaches(self, figures: Figures, end: int) -> dict[str, float]:
        """Returns by how much."""
        grown = await figures.growth(self.measure, self.label, first=end - self.window - 1, end=end)
        return {key: growth for key, growth in grown.items() if key in self.only and growth > 0}


@dataclass(frozen=True)
class Accumulated:
    """A gauge is higher than it was some time ago; what was not there then was nought."""

    measure: str
    label: str
    window: int

    async def breaches(self, figures: Figures, end: int) -> dict[str, float]:
        """Returns by how much."""
        now = await figures.states(self.measure, self.label, end=end)
        before = await figures.states(self.measure, self.label, end=end - self.window)
        grown = {key: one.high - (before[key].high if key in before else 0.0) for key, one in now.items()}
        return {key: growth for key, growth in grown.items() if growth > 0}


@dataclass(frozen=True)
class Slower:
    """The mean of a week is so many times that of the week before, which had enough to be compared with."""

    measure: str
    label: str
    times: float
    at_least: int

    async def breaches(self, figures: Figures, end: int) -> dict[str, float]:
        """Returns the means of this week."""
        now = await figures.sums(self.measure, self.label, first=end - WEEK, end=end)
        before = await figures.sums(self.measure, self.label, first=end - 2 * WEEK, end=end - WEEK)
        found = {}
        for key, one in now.items():
            then = before.get(key)
            if then is None or then.count < self.at_least or not one.count:
                continue
            mean = one.total / one.count
            if mean > self.times * (then.total / then.count):
                found[key] = mean
        return found
