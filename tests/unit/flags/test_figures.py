"""What experiments are reckoned by: intervals that hold whenever somebody looks, and shares that chance can give."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest

from cordboard.flags.experiments.figures import (
    LEAST_SUBJECTS,
    Effect,
    Sums,
    Verdict,
    always_valid,
    chi_square_tail,
    effects,
    ratio_p_value,
)
from cordboard.flags.experiments.plan import Kind, Metric

CONVERSION = Metric(Kind.CONVERSION, "order")
EXPECTED, ALARMS = 1_000, 500


def added(sums: Sums, x: float, y: float = 1.0) -> Sums:
    return Sums(sums.subjects + 1, sums.x + x, sums.y + y, sums.xx + x * x, sums.yy + y * y, sums.xy + x * y)


def sums_of(pairs: Sequence[tuple[float, float]]) -> Sums:
    found = Sums()
    for x, y in pairs:
        found = added(found, x, y)
    return found


def judged(old: Sums, new: Sums, metric: Metric = CONVERSION) -> Effect:
    return effects([old, new], 0, metric, expected=EXPECTED, false_alarms=ALARMS)[1]


def play(draw: random.Random, subjects: int, value: Callable[[bool], float]) -> tuple[Verdict, bool]:
    """Plays an experiment with a look after every tenth subject; returns what is found first, and by one last look."""
    arms, found = {False: Sums(), True: Sums()}, Verdict.OPEN
    last = Effect(0, 0.0)
    for number in range(1, subjects + 1):
        new = draw.random() < 0.5
        arms[new] = added(arms[new], value(new))
        if number % 10 == 0:
            last = judged(arms[False], arms[True])
            if found is Verdict.OPEN:
                found = last.verdict
    assert last.fixed is not None
    return found, not last.fixed[0] <= 0 <= last.fixed[1]


def test_variants_that_are_alike_are_seldom_told_apart_however_often_somebody_looks() -> None:
    draw = random.Random(7)
    runs = [play(draw, 600, lambda _: float(draw.random() < 0.2)) for _ in range(200)]
    assert sum(found is not Verdict.OPEN for found, _ in runs) <= 10
    # The control: the interval for one look, looked at each time, is wrong far more often.
    peeks = 0
    for _ in range(100):
        arms, wrong = {False: Sums(), True: Sums()}, False
        for number in range(1, 601):
            new = draw.random() < 0.5
            arms[new] = added(arms[new], float(draw.random() < 0.2))
            if number % 10 == 0:
                fixed = judged(arms[False], arms[True]).fixed
                wrong = wrong or (fixed is not None and not fixed[0] <= 0 <= fixed[1])
        peeks += wrong
    assert peeks > 15


def test_a_difference_is_found_and_has_its_direction() -> None:
    draw = random.Random(3)
    runs = [play(draw, 1_000, lambda new: float(draw.random() < (0.4 if new else 0.2))) for _ in range(20)]
    assert {found for found, _ in runs} == {Verdict.BETTER}
    worse = judged(sums_of([(1, 1)] * 60 + [(0, 1)] * 40), sums_of([(1, 1)] * 20 + [(0, 1)] * 80))
    assert worse.verdict is Verdict.WORSE
    assert worse.difference == pytest.approx(-0.4)
    less = Metric(Kind.CONVERSION, "complaint", decrease=True)
    assert judged(sums_of([(1, 1)] * 60 + [(0, 1)] * 40), sums_of([(0, 1)] * 100), less).verdict is Verdict.BETTER


def test_an_interval_for_one_look_is_that_of_the_textbook() -> None:
    # 30 of 100 and 45 of 100: 0.15 with 1.96 standard errors of about 0.0676.
    found = judged(sums_of([(1, 1)] * 30 + [(0, 1)] * 70), sums_of([(1, 1)] * 45 + [(0, 1)] * 55))
    assert found.fixed is not None
    assert found.fixed == pytest.approx((0.15 - 0.1333, 0.15 + 0.1333), abs=2e-3)
    assert found.always is not None
    assert found.always[0] < found.fixed[0] < found.fixed[1] < found.always[1]


def test_the_always_valid_interval_is_narrowest_against_the_other_where_it_was_expected() -> None:
    def wide(subjects: int) -> float:
        return always_valid(1.0, subjects, alpha=0.05, expected=EXPECTED)

    assert min(range(50, 20_000, 50), key=wide) == pytest.approx(EXPECTED, rel=0.15)
    assert 2.7 < wide(EXPECTED) < 3.1


def test_calls_of_one_workspace_are_not_taken_for_many() -> None:
    # Each workspace has 100 calls, and all of them fail or none does: 20 subjects are known, not 2000.
    mixed = sums_of([(100.0, 100.0)] * 10 + [(0.0, 100.0)] * 30)
    assert mixed.mean == pytest.approx(0.25)
    assert math.sqrt(mixed.variance) == pytest.approx(math.sqrt(0.25 * 0.75 / 39), rel=1e-6)
    # The control: as many calls, spread evenly, say nothing of a spread between workspaces.
    assert sums_of([(25.0, 100.0)] * 40).variance == pytest.approx(0)


def test_of_few_workspaces_nothing_is_said() -> None:
    few = sums_of([(0, 1)] * (LEAST_SUBJECTS - 1))
    many = sums_of([(1, 1)] * 500 + [(0, 1)] * 500)
    found = judged(few, many)
    assert (found.verdict, found.always, found.fixed) == (Verdict.OPEN, None, None)
    enough = sums_of([(0, 1)] * LEAST_SUBJECTS)
    assert judged(enough, many).always is not None
    # Nothing varies: there is no interval to give, and nothing to divide by.
    assert judged(enough, enough).verdict is Verdict.OPEN
    assert judged(Sums(), Sums()).mean == 0


def test_several_variants_share_the_chance_of_a_false_finding() -> None:
    old, new = sums_of([(1, 1)] * 30 + [(0, 1)] * 70), sums_of([(1, 1)] * 45 + [(0, 1)] * 55)
    two = effects([old, new], 0, CONVERSION, expected=EXPECTED, false_alarms=ALARMS)[1].always
    three = effects([old, new, new], 0, CONVERSION, expected=EXPECTED, false_alarms=ALARMS)[1].always
    assert two is not None
    assert three is not None
    assert three[0] < two[0] < two[1] < three[1]


@pytest.mark.parametrize(
    ("statistic", "freedom", "tail"),
    [(3.841, 1, 0.05), (10.828, 1, 0.001), (5.991, 2, 0.05), (7.815, 3, 0.05), (9.488, 4, 0.05), (18.307, 10, 0.05)],
)
def test_the_tail_of_chi_square_is_that_of_the_tables(statistic: float, freedom: int, tail: float) -> None:
    assert chi_square_tail(statistic, freedom) == pytest.approx(tail, rel=2e-3)
    assert chi_square_tail(0.0, freedom) == 1


def test_shares_that_chance_does_not_give_are_noticed() -> None:
    assert ratio_p_value([500, 500], [1, 1]) == 1
    assert ratio_p_value([520, 480], [50, 50]) == pytest.approx(0.2059, rel=1e-3)
    assert ratio_p_value([600, 400], [1, 1]) < 1e-9
    assert ratio_p_value([600, 400], [6, 4]) == 1
    # Too few to tell.
    assert ratio_p_value([9, 0], [1, 1]) == 1
    assert ratio_p_value([0, 0], [1, 1]) == 1
