"""Whether a new variant is worse than the old one: a sequential test that may be looked at after every call.

Outcomes come in strata: calls of one action, through one Proxy, of about one second. Given how many calls each variant
had in a stratum and how many of all of them were bad, the bad ones among the new variant's are hypergeometric if the
variants are alike, whatever the vendor's state at that moment. The likelihood ratio of an alternative with odds ratio w
(Fisher's noncentral distribution) has expectation 1 then, so that the product over strata is a martingale: it reaches
1/a with a probability of at most a, however often somebody looks (Ville's inequality). A mixture of several w is one
too. This is the safe logrank test of ter Schure, Perez-Ortiz, Ly and Grunwald with strata for times. An outage that
hits both variants alike makes all calls of a stratum bad, where the ratio is 1: it is evidence of nothing.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# How many times higher the odds of a bad call are with the new variant, by the alternatives that are tested at once.
ODDS: Final = (1.5, 2.5, 4.0, 5.0, 10.0, 30.0)
# What each of them weighs. Most of it lies where one or two in a hundred calls are bad, and five more of them.
WEIGHTS: Final = (0.03, 0.08, 0.42, 0.42, 0.04, 0.01)
# By how much evidence may exceed what is asked for, so that rounding does not keep it below.
ABOVE: Final = 1 + 1e-9
# The share of the old variant's calls that are not slow, and how many of them have to be known for that.
QUICK: Final = 0.9
CALLS_TO_KNOW: Final = 50


class Bars(NamedTuple):
    """How strong the evidence has to be, by what is compared."""

    failures: float
    slowness: float


@dataclass(frozen=True)
class Tally:
    """How many calls there were, and how many of them were bad."""

    calls: int = 0
    bad: int = 0

    @property
    def rate(self) -> float:
        """Returns the share of bad ones."""
        return self.bad / self.calls if self.calls else 0.0

    def __add__(self, other: Tally) -> Tally:
        """Returns both together."""
        return Tally(self.calls + other.calls, self.bad + other.bad)


@dataclass(frozen=True)
class Contrast:
    """What is known of one kind of bad calls, of the new variant and of the old one."""

    new: Tally = Tally()
    old: Tally = Tally()
    logs: tuple[float, ...] = (0.0,) * len(ODDS)
    """The logarithms of the likelihood ratios, by alternative."""

    @property
    def evidence(self) -> float:
        """Returns how strong the evidence is that the new variant is worse: 1 is none, and it is never certain."""
        # What is beyond a float is beyond any doubt that somebody may have.
        return math.exp(min(_log_sum(self._weighted()), 700.0))

    def taking(self, new: Tally, old: Tally, bar: float) -> Contrast:
        """Returns the contrast with one more stratum. Evidence that has come to the bar stays there."""
        counted = replace(self, new=self.new + new, old=self.old + old)
        bad = new.bad + old.bad
        weighted = self._weighted()
        # By logarithms: what was found to be better for a long time has hardly a float's worth of evidence.
        room = math.exp(min(math.log(bar * ABOVE) - _log_sum(weighted), 700.0))
        if not new.calls or not old.calls or not 0 < bad < new.calls + old.calls or room <= ABOVE:
            return counted
        possible = possibilities(new.calls, old.calls, bad)
        found = new.bad - possible.least
        highest = max(weighted)
        shares = [math.exp(each - highest) for each in weighted]
        whole = math.fsum(shares)
        ratios = [
            math.fsum(share * ratio for share, ratio in zip(shares, each, strict=True)) / whole
            for each in possible.ratios
        ]
        gain = math.log(boosted(possible.chances, ratios, room)[found]) - math.log(ratios[found])
        logs = (log + math.log(each) + gain for log, each in zip(self.logs, possible.ratios[found], strict=True))
        return replace(counted, logs=tuple(logs))

    def _weighted(self) -> list[float]:
        return [math.log(weight) + each for weight, each in zip(WEIGHTS, self.logs, strict=True)]


@dataclass(frozen=True)
class Arm:
    """What became of the calls of one variant in a stratum."""

    calls: int = 0
    causes: Mapping[str, int] = field(default_factory=dict)
    """How many failed, by the reason."""
    buckets: tuple[int, ...] = ()
    """How many took how long: up to each border of the buckets, and longer."""

    @property
    def failures(self) -> Tally:
        """Returns how many failed."""
        return Tally(self.calls, sum(self.causes.values()))

    def slow(self, above: int) -> Tally:
        """Returns how many were slow: beyond bucket `above`."""
        return Tally(sum(self.buckets), sum(self.buckets[above + 1 :]))


@dataclass(frozen=True)
class Comparison:
    """What is known of two variants: their failures, and how many of their calls were slow."""

    failures: Contrast = Contrast()
    slowness: Contrast = Contrast()
    old_buckets: tuple[int, ...] = ()
    new_causes: Mapping[str, int] = field(default_factory=dict)
    old_causes: Mapping[str, int] = field(default_factory=dict)

    def taking(self, new: Arm, old: Arm, bars: Bars) -> Comparison:
        """Returns the comparison with one more stratum; `bars` is what will be asked of the evidence."""
        slowness, border = self.slowness, self._border()
        if border is not None:
            slowness = slowness.taking(new.slow(border), old.slow(border), bars.slowness)
        return Comparison(
            self.failures.taking(new.failures, old.failures, bars.failures),
            slowness,
            _added(self.old_buckets, old.buckets),
            _merged(self.new_causes, new.causes),
            _merged(self.old_causes, old.causes),
        )

    def to_json(self) -> dict[str, Any]:
        """Returns it as JSON, for keeping."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Comparison:
        """Returns the comparison that `to_json` wrote."""
        return cls(
            _contrast(document["failures"]),
            _contrast(document["slowness"]),
            tuple(document["old_buckets"]),
            document["new_causes"],
            document["old_causes"],
        )

    def _border(self) -> int | None:
        # From earlier strata alone: what is slow is settled before the calls that are judged by it.
        total = sum(self.old_buckets)
        if total < CALLS_TO_KNOW:
            return None
        below = 0
        for index, count in enumerate(self.old_buckets):
            below += count
            if below >= QUICK * total:
                return index
        return None


@dataclass(frozen=True)
class Possibilities:
    """How many of the bad calls of a stratum may be the new variant's."""

    least: int
    """How few. The lists begin with that, and go on by one."""
    chances: list[float]
    """How likely each number is, if the variants are alike."""
    ratios: list[list[float]]
    """How much likelier each alternative makes it."""


# Few, for those of large strata are long.
@lru_cache(maxsize=128)
def possibilities(new_calls: int, old_calls: int, bad: int) -> Possibilities:
    """Returns what may become of so many calls of either variant of which so many are bad."""
    support = range(max(0, bad - old_calls), min(bad, new_calls) + 1)
    weights = [_choices(new_calls, each) + _choices(old_calls, bad - each) for each in support]
    equal = _log_sum(weights)
    tilts = [math.log(odds) for odds in ODDS]
    shifts = [
        equal - _log_sum([weight + each * tilt for weight, each in zip(weights, support, strict=True)])
        for tilt in tilts
    ]
    ratios = [
        # As for evidence; and nothing is so unlikely that its logarithm is not to be had.
        [math.exp(max(-700.0, min(each * tilt + shift, 700.0))) for tilt, shift in zip(tilts, shifts, strict=True)]
        for each in support
    ]
    return Possibilities(support.start, [math.exp(weight - equal) for weight in weights], ratios)


def boosted(chances: Sequence[float], ratios: Sequence[float], room: float) -> list[float]:
    """Returns ratios that rise, with nothing above `room`, and larger by one factor below it: the mean stays 1.

    `room` has to be more than 1.
    """
    below = list(accumulate((chance * ratio for chance, ratio in zip(chances, ratios, strict=True)), initial=0.0))
    above, factor = 0.0, 1.0
    for index in range(len(ratios) - 1, -1, -1):
        if factor * ratios[index] <= room:
            break
        above += chances[index]
        if below[index] > 0.0:
            factor = max(factor, (1.0 - room * above) / below[index])
    return [min(factor * ratio, room) for ratio in ratios]


def _choices(of: int, chosen: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(chosen + 1) - math.lgamma(of - chosen + 1)


def _log_sum(values: Sequence[float]) -> float:
    highest = max(values)
    return highest + math.log(math.fsum(math.exp(each - highest) for each in values))


def _added(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    size = max(len(first), len(second))
    padded = ((*each, *(0,) * (size - len(each))) for each in (first, second))
    return tuple(map(sum, zip(*padded, strict=True)))


def _merged(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    return {cause: first.get(cause, 0) + second.get(cause, 0) for cause in {**first, **second}}


def _contrast(document: Mapping[str, Any]) -> Contrast:
    return Contrast(Tally(**document["new"]), Tally(**document["old"]), tuple(document["logs"]))
