"""The budget of second attempts: what an outage is answered with."""

from __future__ import annotations

import random

import pytest

from cordboard.proxy.retry_budget import MOST_HOSTS, BudgetPolicy, RetryBudget

HOST = "api.example"


class Time:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(budget: RetryBudget, times: int, host: str = HOST) -> int:
    return sum(budget.take(host) for _ in range(times))


def sent_in_an_outage(policy: BudgetPolicy, calls: int, per_second: float) -> int:
    """Returns what reaches a vendor that refuses everything, where every call would be made three times."""
    time, draw = Time(), random.Random(7)
    budget, sent = RetryBudget(policy, time), 0
    for _ in range(calls):
        time.now += draw.expovariate(per_second)
        budget.called(HOST)
        sent += 1
        for _ in range(2):
            if not budget.take(HOST):
                break
            sent += 1
    return sent


@pytest.mark.parametrize("per_second", [20.0, 50.0, 500.0])
def test_a_total_outage_is_answered_with_a_tenth_more_and_no_more(per_second: float) -> None:
    calls = 5_000
    assert sent_in_an_outage(BudgetPolicy(), calls, per_second) <= 1.1 * calls + 1
    # Without a budget it would be three times as many.
    assert sent_in_an_outage(BudgetPolicy(ratio=9.0), calls, per_second) == 3 * calls


def test_few_calls_have_a_few_second_attempts() -> None:
    budget = RetryBudget(BudgetPolicy(), Time())
    budget.called(HOST)
    assert taken(budget, 30) == 10


def test_what_was_used_comes_back_with_the_window() -> None:
    time = Time()
    budget = RetryBudget(BudgetPolicy(), time)
    assert taken(budget, 30) == 10
    time.now = 8.9
    assert taken(budget, 1) == 0
    time.now = 10.0
    assert taken(budget, 30) == 10


def test_a_host_in_an_outage_takes_nothing_from_another() -> None:
    budget = RetryBudget(BudgetPolicy(), Time())
    assert taken(budget, 30) == 10
    assert taken(budget, 30, "other.example") == 10


def test_without_a_floor_only_the_share_counts() -> None:
    budget = RetryBudget(BudgetPolicy(floor=0), Time())
    assert taken(budget, 5) == 0
    for _ in range(30):
        budget.called(HOST)
    assert taken(budget, 5) == 3


def test_hosts_that_nobody_calls_any_more_are_forgotten() -> None:
    budget = RetryBudget(BudgetPolicy(), Time())
    for number in range(MOST_HOSTS + 10):
        budget.called(f"h{number}.example")
    assert len(budget._hosts) == MOST_HOSTS
