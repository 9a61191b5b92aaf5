"""Means of variants, how far they lie apart, and whether the shares are those that chance should give.

The unit is the workspace. A mean over calls is a ratio of two means over workspaces, whose variance is that of the
delta method (Deng, Knoblich, Lu: "Applying the Delta Method in Metric Analytics", KDD 2018), because calls of one
workspace are not independent of each other. Two intervals are given for a difference. The always valid one is an
asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas: "Time-uniform central limit theory and
asymptotic confidence sequences", arXiv 2103.06476, theorem 2.2): it holds at all numbers of subjects at once, so that
anybody may look at any time and stop for any reason. The other one is normal, and holds for one look that was settled
before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

from cordboard.flags.content import WHOLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cordboard.flags.experiments.plan import Metric

# Below this many workspaces of a variant nothing is said of it: both intervals rest on a normal limit.
LEAST_SUBJECTS: Final = 30
# As many are expected of each variant before the shares are judged (Cochran's rule).
LEAST_EXPECTED: Final = 5.0
MISMATCH: Final = 0.001


class Verdict(StrEnum):
    """What can be said of a variant against the control."""

    CONTROL = "control"
    OPEN = "open"
    BETTER = "better"
    WORSE = "worse"


@dataclass(frozen=True)
class Sums:
    """Sums over the workspaces of one variant, of what is measured (x) and of how often (y)."""

    subjects: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0

    @property
    def mean(self) -> float:
        """Returns the mean of x for each y."""
        return self.x / self.y if self.y else 0.0

    @property
    def variance(self) -> float:
        """Returns the variance of `mean`; infinite where too little is known to tell."""
        count, ratio = self.subjects, self.mean
        if count < 2 or not self.y:
            return math.inf
        # Residuals x - ratio * y add up to nothing, so that their squares are their variance.
        squares = self.xx - 2 * ratio * self.xy + ratio * ratio * self.yy
        return max(squares, 0.0) / (count - 1) * count / (self.y * self.y)


@dataclass(frozen=True)
class Effect:
    """One variant's mean, and how it lies to the control's; no intervals where too little is known."""

    subjects: int
    mean: float
    difference: float = 0.0
    always: tuple[float, float] | None = None
    fixed: tuple[float, float] | None = None
    verdict: Verdict = Verdict.CONTROL


def effects(sums: Sequence[Sums], control: int, metric: Metric, *, expected: int, false_alarms: int) -> list[Effect]:
    """Returns what came of each arm. `false_alarms`, in hundredths of a percent, is shared by the arms (Bonferroni)."""
    alpha = false_alarms / WHOLE / (len(sums) - 1)
    base = sums[control]
    return [
        Effect(own.subjects, own.mean)
        if index == control
        else _effect(own, base, decrease=metric.decrease, alpha=alpha, expected=expected)
        for index, own in enumerate(sums)
    ]


def always_valid(variance: float, subjects: int, *, alpha: float, expected: int) -> float:
    """Returns the half width of the confidence sequence after `subjects`, narrowest at about `expected`."""
    narrow = -2 * math.log(alpha)
    rho = (narrow + math.log(narrow + 1)) / expected
    grown = subjects * rho + 1
    return math.sqrt(variance * 2 * grown / (subjects * rho) * math.log(math.sqrt(grown) / alpha))


def ratio_p_value(counts: Sequence[int], weights: Sequence[int]) -> float:
    """Returns how likely counts as far from these weights are by chance; 1 while there are too few to tell."""
    total, whole = sum(counts), sum(weights)
    wanted = [total * weight / whole for weight in weights]
    if min(wanted) < LEAST_EXPECTED:
        return 1.0
    statistic = math.fsum((count - want) ** 2 / want for count, want in zip(counts, wanted, strict=True))
    return chi_square_tail(statistic, len(counts) - 1)


def chi_square_tail(statistic: float, freedom: int) -> float:
    """Returns the chance of a larger statistic (DLMF 8.4.6 and 8.8.2, up from one or two degrees of freedom)."""
    half = statistic / 2
    tail, degrees = (math.erfc(math.sqrt(half)), 1) if freedom % 2 else (math.exp(-half), 2)
    while degrees < freedom:
        if half:
            tail += math.exp(degrees / 2 * math.log(half) - half - math.lgamma(degrees / 2 + 1))
        degrees += 2
    return min(tail, 1.0)


def _effect(own: Sums, base: Sums, *, decrease: bool, alpha: float, expected: int) -> Effect:
    variance = own.variance + base.variance
    if min(own.subjects, base.subjects) < LEAST_SUBJECTS or not 0 < variance < math.inf:
        return Effect(own.subjects, own.mean, verdict=Verdict.OPEN)
    difference = own.mean - base.mean
    always = always_valid(variance, own.subjects + base.subjects, alpha=alpha, expected=expected)
    fixed = NormalDist().inv_cdf(1 - alpha / 2) * math.sqrt(variance)
    verdict = Verdict.OPEN
    if abs(difference) > always:
        verdict = Verdict.BETTER if (difference < 0) == decrease else Verdict.WORSE
    return Effect(
        own.subjects,
        own.mean,
        difference,
        (difference - always, difference + always),
        (difference - fixed, difference + fixed),
        verdict,
    )
