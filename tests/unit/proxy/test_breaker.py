"""Circuit breakers: the rules one by one, and any sequence of calls against a model that remembers everything."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cordboard.core.errors import BreakerOpen
from cordboard.proxy.breaker import Breaker, BreakerPolicy, Breakers, State

POLICY = BreakerPolicy(window=10, min_calls=4, failure_ratio=0.5, open_time=5, longest_open_time=20)


class Time:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def a_breaker(time: Time) -> Breaker:
    return Breaker("acme", "api.example", POLICY, time)


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.failed(breaker.enter())


def opened(time: Time) -> Breaker:
    breaker = a_breaker(time)
    fail(breaker, 4)
    return breaker


def test_it_opens_when_half_of_enough_calls_failed() -> None:
    breaker = a_breaker(Time())
    breaker.succeeded(breaker.enter())
    breaker.succeeded(breaker.enter())
    fail(breaker)
    assert breaker.reading().state is State.CLOSED
    fail(breaker)
    assert breaker.reading().state is State.OPEN
    with pytest.raises(BreakerOpen) as refused:
        breaker.enter()
    assert refused.value.retry_after == 5
    assert refused.value.metadata == {"integration": "acme", "host": "api.example", "state": "open"}


def test_too_few_calls_open_nothing() -> None:
    breaker = a_breaker(Time())
    fail(breaker, 3)
    breaker.enter()
    assert breaker.reading().state is State.CLOSED


def test_failures_are_forgotten_after_the_window() -> None:
    time = Time()
    breaker = a_breaker(time)
    fail(breaker, 3)
    time.now += 10
    fail(breaker, 1)
    assert (breaker.reading().state, breaker.reading().calls) == (State.CLOSED, 1)


def test_after_its_time_it_lets_exactly_one_call_try() -> None:
    time = Time()
    breaker = opened(time)
    time.now += 5
    assert breaker.reading().state is State.HALF_OPEN
    assert breaker.enter() is True
    for _ in range(3):
        with pytest.raises(BreakerOpen) as refused:
            breaker.enter()
        assert refused.value.metadata["state"] == "half_open"


def test_the_call_that_tries_closes_it() -> None:
    time = Time()
    breaker = opened(time)
    time.now += 5
    breaker.succeeded(breaker.enter())
    assert (breaker.reading().state, breaker.reading().calls) == (State.CLOSED, 0)
    assert breaker.enter() is False


def test_the_call_that_tries_opens_it_again_for_twice_as_long_up_to_a_limit() -> None:
    time = Time()
    breaker = opened(time)
    for expected in (10, 20, 20):
        time.now += breaker.reading().retry_after
        fail(breaker)
        assert breaker.reading().retry_after == expected


def test_another_may_try_when_the_one_that_tried_went_away() -> None:
    time = Time()
    breaker = opened(time)
    time.now += 5
    breaker.left(breaker.enter())
    assert breaker.enter() is True


def test_calls_from_before_it_opened_change_nothing_any_more() -> None:
    time = Time()
    breaker = a_breaker(time)
    early = [breaker.enter() for _ in range(3)]
    fail(breaker, 4)
    time.now += 5
    trying = breaker.enter()
    breaker.succeeded(early[0])
    breaker.failed(early[1])
    breaker.left(early[2])
    with pytest.raises(BreakerOpen):
        breaker.enter()
    breaker.succeeded(trying)
    assert breaker.reading().state is State.CLOSED


def test_breakers_of_other_hosts_and_integrations_stand_apart_and_are_listed_in_order() -> None:
    breakers = Breakers(POLICY, Time())
    fail(breakers.of("b", "two.example", "acme"), 4)
    breakers.of("b", "one.example", "acme").enter()
    breakers.of("a", "two.example", "globex").enter()
    readings = list(breakers.readings(workspace=None))
    assert [(one.integration, one.host) for one in readings] == [
        ("a", "two.example"), ("b", "one.example"), ("b", "two.example"),
    ]  # fmt: skip
    assert [one.state for one in readings] == [State.CLOSED, State.CLOSED, State.OPEN]
    behind = breakers.readings(workspace=None, integration="b", after=("b", "one.example"))
    assert [one.host for one in behind] == ["two.example"]


def test_a_workspace_is_shown_the_hosts_that_it_called_and_no_others() -> None:
    breakers = Breakers(POLICY, Time())
    breakers.of("desk", "acme.desk.example", "acme")
    for workspace in ("acme", "globex"):
        breakers.of("desk", "api.desk.example", workspace)
    assert [one.host for one in breakers.readings(workspace="globex")] == ["api.desk.example"]
    assert len(list(breakers.readings(workspace="acme"))) == 2


class AgreesWithItsModel(RuleBasedStateMachine):
    """The model keeps every call with its time and works everything out from that."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self.breaker = a_breaker(self.time)
        self.running: list[bool] = []
        self.history: list[tuple[float, bool]] = []
        self.opened: float | None = None
        self.times_opened = 0
        self.trying = False

    def open_time(self) -> float:
        return min(5.0 * float(2 ** (self.times_opened - 1)), 20.0)

    def window(self) -> list[bool]:
        return [failed for when, failed in self.history if when > self.time.now - 10]

    @rule()
    def enter(self) -> None:
        may = self.opened is None or (self.time.now >= self.opened + self.open_time() and not self.trying)
        try:
            probe = self.breaker.enter()
        except BreakerOpen as refused:
            assert not may
            assert refused.retry_after is not None
            assert refused.retry_after > 0
            return
        assert may
        assert probe == (self.opened is not None)
        self.trying = self.trying or probe
        self.running.append(probe)

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 50), how=st.sampled_from(["succeeded", "failed", "left"]))
    def end(self, which: int, how: str) -> None:
        probe = self.running.pop(which % len(self.running))
        getattr(self.breaker, how)(probe)
        if probe:
            self.trying = False
            if how == "succeeded":
                self.opened, self.times_opened, self.history = None, 0, []
            elif how == "failed":
                self.opened, self.times_opened = self.time.now, self.times_opened + 1
        elif self.opened is None and how != "left":
            self.history.append((self.time.now, how == "failed"))
            window = self.window()
            if how == "failed" and len(window) >= 4 and sum(window) * 2 >= len(window):
                self.opened, self.times_opened = self.time.now, 1

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0, 5.0, 10.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.time.now += seconds

    @invariant()
    def reads_the_same(self) -> None:
        reading = self.breaker.reading()
        if self.opened is None:
            assert reading.state is State.CLOSED
            assert (reading.calls, reading.failures) == (len(self.window()), sum(self.window()))
        else:
            left = max(0.0, self.opened + self.open_time() - self.time.now)
            assert reading.retry_after == left
            assert reading.state is (State.OPEN if left else State.HALF_OPEN)

    @invariant()
    def at_most_one_tries(self) -> None:
        assert sum(self.running) <= 1


TestAgreesWithItsModel = AgreesWithItsModel.TestCase
TestAgreesWithItsModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
