"""The sequential comparison of two variants: what it finds, and what it never takes for a difference."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest

from cordboard.flags.rollouts.comparison import (
    ODDS,
    WEIGHTS,
    Arm,
    Comparison,
    Contrast,
    Tally,
    boosted,
    possibilities,
)
from cordboard.flags.rollouts.guards import FAILURES, SLOWNESS, bars, verdict
from cordboard.flags.rollouts.plan import Guard

GUARD = Guard()
BARS = bars(GUARD)
STRATUM = 20


def arm(calls: int, bad: int, *, slow: int = 0) -> Arm:
    return Arm(calls, {"VENDOR_ERROR": bad} if bad else {}, (calls - slow, 0, slow))


def play(
    draw: random.Random, calls: int, share: float, rates: Callable[[int], tuple[float, float]]
) -> tuple[str, int, Comparison]:
    """Plays calls of both variants until one is found to be worse; returns what, after how many, and what is known."""
    comparison, done = Comparison(), 0
    while done < calls:
        new, old = rates(done)
        counts = [[0, 0], [0, 0]]
        for _ in range(STRATUM):
            reached = draw.random() < share
            counts[reached][0] += 1
            counts[reached][1] += draw.random() < (new if reached else old)
        done += STRATUM
        comparison = comparison.taking(arm(*counts[1]), arm(*counts[0]), BARS)
        worse = verdict(comparison, GUARD)
        if worse:
            return worse, done, comparison
    return "", done, comparison


def mean(chances: Sequence[float], values: Sequence[float]) -> float:
    return math.fsum(chance * value for chance, value in zip(chances, values, strict=True))


def outage(rate: float) -> Callable[[int], tuple[float, float]]:
    """Returns the rates of calls while a vendor is down for everybody from the 500th to the 2500th."""
    return lambda done: (rate, rate) if 500 < done < 2_500 else (0.01, 0.01)


MARGINS = [(1, 1, 1), (3, 7, 2), (10, 90, 5), (50, 2, 40), (6, 6, 6)]


@pytest.mark.parametrize(("new", "old", "bad"), MARGINS)
def test_a_ratio_has_expectation_one_where_the_variants_are_alike(new: int, old: int, bad: int) -> None:
    support = range(max(0, bad - old), min(bad, new) + 1)
    chances = [math.comb(new, each) * math.comb(old, bad - each) / math.comb(new + old, bad) for each in support]
    possible = possibilities(new, old, bad)
    assert possible.least == support.start
    assert all(map(math.isclose, possible.chances, chances))
    for ratios in zip(*possible.ratios, strict=True):
        assert math.isclose(mean(chances, ratios), 1, rel_tol=1e-9)


@pytest.mark.parametrize(("new", "old", "bad"), MARGINS)
@pytest.mark.parametrize("room", [1.001, 1.5, 3.0, 1e6])
def test_what_is_cut_off_at_the_bar_is_given_back_below_it(new: int, old: int, bad: int, room: float) -> None:
    possible = possibilities(new, old, bad)
    for ratios in zip(*possible.ratios, strict=True):
        lifted = boosted(possible.chances, ratios, room)
        assert math.isclose(mean(possible.chances, lifted), 1, rel_tol=1e-6)
        assert all(each <= room for each in lifted)
        assert all(each >= min(ratio, room) for each, ratio in zip(lifted, ratios, strict=True))
        # The control: cut off and not given back, the mean is less.
        if max(ratios) > room:
            assert mean(possible.chances, [min(each, room) for each in ratios]) < 1 - 1e-9


@pytest.mark.parametrize(("new", "old", "bad"), MARGINS)
@pytest.mark.parametrize("bar", [1.5, 20.0, 1e4])
def test_evidence_is_a_martingale_and_stays_at_the_bar(new: int, old: int, bad: int, bar: float) -> None:
    possible = possibilities(new, old, bad)
    known = Contrast()
    for _ in range(30):
        before = known.evidence
        after = [
            known.taking(Tally(new, each), Tally(old, bad - each), bar)
            for each in range(possible.least, possible.least + len(possible.chances))
        ]
        assert math.isclose(mean(possible.chances, [each.evidence for each in after]), before, rel_tol=1e-6)
        # The worst that can be, again and again.
        known = after[-1]
        assert known.evidence <= bar * 1.001
    assert known.evidence >= bar or len(possible.chances) == 1
    stayed = known.taking(Tally(20, 0), Tally(20, 10), bar)
    assert known.evidence < bar or stayed.logs == known.logs


def test_a_variant_that_was_better_for_a_very_long_time_is_no_trouble() -> None:
    known = Contrast(logs=(-2_000.0,) * len(ODDS))
    worse = known.taking(Tally(500, 500), Tally(500, 0), BARS.failures)
    assert known.evidence == 0 == worse.evidence
    assert worse.logs > known.logs


def test_the_alternatives_share_one_chance_of_a_false_alarm() -> None:
    assert math.isclose(sum(WEIGHTS), 1)
    assert math.isclose(Contrast().evidence, 1)
    # What one of them is sure of counts by its weight.
    sure = tuple(100.0 if odds == 5.0 else 0.0 for odds in ODDS)
    assert math.isclose(Contrast(logs=sure).evidence, math.exp(100) * WEIGHTS[ODDS.index(5.0)], rel_tol=1e-9)


def test_a_variant_that_fails_more_often_is_found() -> None:
    draw = random.Random(1)
    found = [play(draw, 2_000, 0.5, lambda _: (0.06, 0.01)) for _ in range(40)]
    assert sum(worse == FAILURES for worse, *_ in found) >= 38
    # The control: as many calls of variants that are alike.
    assert not any(play(draw, 2_000, 0.5, lambda _: (0.01, 0.01))[0] for _ in range(20))


def test_an_outage_that_hits_both_variants_alike_is_no_evidence() -> None:
    draw = random.Random(2)
    for rate in (0.5, 0.95, 1.0):
        worse, _, known = play(draw, 3_000, 0.1, outage(rate))
        assert worse == "", rate
        assert known.failures.old.rate > 0.3
    # The control: the same outage for the new variant alone.
    assert play(draw, 3_000, 0.1, lambda done: (1.0 if done > 500 else 0.01, 0.01))[0] == FAILURES


def test_a_share_that_grows_while_the_vendor_gets_worse_is_no_evidence() -> None:
    # Added up, the new variant has most of the bad hours' calls: 30 % of its calls failed, and 10 % of the old one's.
    comparison = Comparison()
    draw = random.Random(3)
    for hour, (new, old) in enumerate([(2, 98)] * 40 + [(98, 2)] * 40):
        rate = 0.01 if hour < 40 else 0.3
        bad = [sum(draw.random() < rate for _ in range(count)) for count in (new, old)]
        comparison = comparison.taking(arm(new, bad[0]), arm(old, bad[1]), BARS)
    assert comparison.failures.new.rate > comparison.failures.old.rate + 0.15
    assert verdict(comparison, GUARD) == ""


def test_a_variant_that_is_slower_is_found_once_it_is_known_what_slow_is() -> None:
    comparison = Comparison()
    for _ in range(3):
        comparison = comparison.taking(arm(10, 0, slow=10), arm(20, 0), BARS)
    # Nothing to judge by before fifty calls of the old variant.
    assert comparison.slowness.evidence == 1
    for _ in range(10):
        comparison = comparison.taking(arm(10, 0, slow=6), arm(20, 0, slow=1), BARS)
    assert verdict(comparison, GUARD) == SLOWNESS
    assert comparison.slowness.new == Tally(100, 60)


def test_a_difference_that_is_certain_and_too_small_to_matter_is_let_be() -> None:
    comparison = Comparison(failures=Contrast(Tally(100_000, 1_900), Tally(100_000, 1_000), (50.0,) * len(ODDS)))
    assert verdict(comparison, GUARD) == ""
    assert verdict(comparison, Guard(failures=50)) == FAILURES


def test_what_is_known_is_kept_to_the_last_digit() -> None:
    comparison = Comparison().taking(arm(10, 3, slow=1), arm(80, 2), BARS).taking(arm(5, 5), arm(5, 0), BARS)
    assert Comparison.from_json(comparison.to_json()) == comparison
