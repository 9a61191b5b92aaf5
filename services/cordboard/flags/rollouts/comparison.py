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
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# How many times higher the odds of a bad call are with the new variant, by the alternatives that are tested at once.
ODDS: Final = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
# What each of them weighs: most of it lies where a version is bad enough for somebody to be woken.
WEIGHTS: Final = (0.05, 0.1, 0.25, 0.35, 0.2, 0.05)
# The share of the old variant's calls that are not slow, and how many of them have to be known for that.
QUICK: Final = 0.9
CALLS_TO_KNOW: Final = 50


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
        highest = max(self.logs)
        total = sum(weight * math.exp(each - highest) for weight, each in zip(WEIGHTS, self.logs, strict=True))
        # What is beyond a float is beyond any doubt that somebody may have.
        return math.exp(min(highest + math.log(total), 700.0))

    def taking(self, new: Tally, old: Tally) -> Contrast:
        """Returns the contrast with one more stratum."""
        counted = replace(self, new=self.new + new, old=self.old + old)
        if not new.calls or not old.calls or not 0 < new.bad + old.bad < new.calls + old.calls:
            return counted
        ratios = log_ratios(new.calls, old.calls, new.bad, old.bad)
        return replace(counted, logs=tuple(map(sum, zip(self.logs, ratios, strict=True))))


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

    def taking(self, new: Arm, old: Arm) -> Comparison:
        """Returns the comparison with one more stratum."""
        slowness, border = self.slowness, self._border()
        if border is not None:
            slowness = slowness.taking(new.slow(border), old.slow(border))
        return Comparison(
            self.failures.taking(new.failures, old.failures),
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


@lru_cache(maxsize=4096)
def log_ratios(new_calls: int, old_calls: int, new_bad: int, old_bad: int) -> tuple[float, ...]:
    """Returns, by alternative, the logarithm of how much likelier it makes these bad calls than no difference does."""
    bad = new_bad + old_bad
    support = range(max(0, bad - old_calls), min(bad, new_calls) + 1)
    weights = [_choices(new_calls, each) + _choices(old_calls, bad - each) for each in support]
    equal = _log_sum(weights)
    found = []
    for odds in ODDS:
        tilt = math.log(odds)
        shifted = _log_sum([weight + each * tilt for weight, each in zip(weights, support, strict=True)])
        found.append(new_bad * tilt - shifted + equal)
    return tuple(found)


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
