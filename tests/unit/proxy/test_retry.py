"""When an attempt is followed by another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cordboard.catalog.v1 import definition_pb2 as pb
from cordboard.core.times import to_duration
from cordboard.proxy.retry import Failure, Fate, RetryPolicy, policy_of

POLICY = RetryPolicy()
NOT_SENT, LOST = Failure(Fate.NOT_SENT), Failure(Fate.LOST)


def answered(status: int, retry_after: float | None = None) -> Failure:
    return Failure(Fate.ANSWERED, status, retry_after, limited=status == 429)


def wait(
    failure: Failure, *, attempt: int = 1, repeatable: bool, remaining: float = 60, draw: float = 0.5
) -> float | None:
    return POLICY.wait(failure, attempt=attempt, repeatable=repeatable, remaining=remaining, draw=draw)


@pytest.mark.parametrize(
    ("failure", "when_repeatable", "when_not"),
    [
        (NOT_SENT, True, True),
        (LOST, True, False),
        (answered(429), True, True),
        (answered(500), True, False),
        (answered(502), True, False),
        (answered(503), True, False),
        (answered(503, 1), True, False),
        (answered(504), True, False),
        (answered(408), True, False),
        (answered(400), False, False),
        (answered(401), False, False),
        (answered(403), False, False),
        (answered(404), False, False),
        (answered(409), False, False),
        (answered(422), False, False),
        (answered(501), False, False),
        (answered(302), False, False),
    ],
)
def test_what_is_tried_again(failure: Failure, when_repeatable: bool, when_not: bool) -> None:
    assert (wait(failure, repeatable=True) is not None) is when_repeatable
    assert (wait(failure, repeatable=False) is not None) is when_not


def test_there_are_three_attempts_and_no_more() -> None:
    assert wait(NOT_SENT, attempt=2, repeatable=True) is not None
    assert wait(NOT_SENT, attempt=3, repeatable=True) is None


@pytest.mark.parametrize(
    ("failure", "attempt", "draw", "expected"),
    [
        (LOST, 1, 0.0, 0.0),
        (LOST, 1, 0.5, 0.025),
        (LOST, 2, 0.5, 0.05),
        (answered(429), 1, 0.5, 0.5),
        (answered(429), 2, 0.5, 1.0),
        (answered(429, 7), 1, 0.5, 7),
        (answered(503, 2), 1, 0.9, 2),
        (answered(503, 0), 1, 0.9, 0),
    ],
)
def test_how_long_is_waited(failure: Failure, attempt: int, draw: float, expected: float) -> None:
    assert wait(failure, attempt=attempt, repeatable=True, draw=draw) == expected


def test_a_wait_that_the_deadline_does_not_hold_is_not_begun() -> None:
    assert wait(answered(429, 7), repeatable=True, remaining=7) is None
    assert wait(answered(429, 7), repeatable=True, remaining=7.1) == 7


def test_a_vendor_that_asks_for_very_long_is_not_waited_for() -> None:
    assert wait(answered(429, 31), repeatable=True, remaining=1000) is None


@given(st.integers(1, 2), st.floats(0, 1, exclude_max=True), st.floats(0, 100))
def test_a_wait_never_passes_its_ceiling_or_the_deadline(attempt: int, draw: float, remaining: float) -> None:
    found = wait(answered(500), attempt=attempt, repeatable=True, remaining=remaining, draw=draw)
    assert found is None or 0 <= found <= min(0.05 * 2 ** (attempt - 1), remaining)


def ruled(status: int, *, again: bool) -> Failure:
    return Failure(Fate.ANSWERED, status, again=again)


@pytest.mark.parametrize(
    ("failure", "when_repeatable", "when_not"),
    [
        (ruled(200, again=True), True, True),
        (ruled(409, again=True), True, True),
        (ruled(503, again=True), True, False),
        (ruled(503, again=False), False, False),
        (Failure(Fate.ANSWERED, 200, limited=True), True, True),
    ],
)
def test_a_rule_knows_more_than_a_status(failure: Failure, when_repeatable: bool, when_not: bool) -> None:
    assert (wait(failure, repeatable=True) is not None) is when_repeatable
    assert (wait(failure, repeatable=False) is not None) is when_not


def waits(declared: pb.RetryPolicy, failure: Failure, attempts: int) -> list[float | None]:
    policy = policy_of(declared, POLICY)
    return [
        policy.wait(failure, attempt=attempt, repeatable=True, remaining=1000, draw=0.5)
        for attempt in range(1, attempts + 1)
    ]


def test_a_definition_says_how_often_and_how_long() -> None:
    declared = pb.RetryPolicy(max_attempts=5, base_delay=to_duration(1), max_delay=to_duration(3))
    assert waits(declared, answered(503), 5) == [0.5, 1, 1.5, 1.5, None]
    assert waits(declared, answered(429), 2) == [0.5, 1]
    declared.backoff = pb.BACKOFF_CONSTANT
    assert waits(declared, answered(503), 5) == [0.5, 0.5, 0.5, 0.5, None]


def test_what_a_definition_does_not_say_about_retries_stays_as_it_is() -> None:
    assert policy_of(None, POLICY) is POLICY
    assert waits(pb.RetryPolicy(), answered(503), 3) == [0.1, 0.2, None]
    assert waits(pb.RetryPolicy(max_attempts=1), answered(503), 1) == [None]


def test_more_statuses_can_be_worth_another_attempt() -> None:
    assert waits(pb.RetryPolicy(), answered(409), 1) == [None]
    assert waits(pb.RetryPolicy(retry_statuses=[409]), answered(409), 1) == [0.1]
    assert waits(pb.RetryPolicy(retry_statuses=[409]), answered(503), 1) == [0.1]


def test_a_definition_can_have_a_vendor_waited_for_longer() -> None:
    assert waits(pb.RetryPolicy(), answered(429, 60), 1) == [None]
    assert waits(pb.RetryPolicy(max_delay=to_duration(60)), answered(429, 60), 1) == [60]
