"""Circuit breakers: the rules one by one, and any sequence of calls against a model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cordboard.core.errors import BreakerOpen, InvalidFields, LimitExceeded, ReconnectRequired
from cordboard.proxy.breakers.breaker import Breaker, Ticket
from cordboard.proxy.breakers.health import Health
from cordboard.proxy.breakers.messages import to_key
from cordboard.proxy.breakers.standing import BreakerPolicy, Cause, Key, Override, Standing, State
from cordboard.proxy.v1 import breaker_service_pb2 as pb
from cordboard.proxy.v1 import proxy_service_pb2 as proxy_pb

POLICY = BreakerPolicy(window=10, min_calls=4, failure_ratio=0.5, open_time=5, longest_open_time=20)
VENDOR = Key("acme", "api.example:443", Cause.VENDOR)
CONNECTION = "workspaces/acme/connections/main"


class Time:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def granted(_: Key) -> bool:
    return True


async def denied(_: Key) -> bool:
    return False


def a_breaker(time: Time, key: Key = VENDOR, told: Callable[[Breaker], None] = lambda _: None) -> Breaker:
    return Breaker(key, POLICY, time, told)


def opened(time: Time, key: Key = VENDOR) -> Breaker:
    breaker = a_breaker(time, key)
    breaker.trip()
    return breaker


async def entered(breaker: Breaker, claim: Callable[[Key], Awaitable[bool]] = granted) -> Ticket:
    ticket = await breaker.enter(claim)
    assert ticket is not None
    return ticket


async def test_an_open_one_holds_back_and_says_until_when() -> None:
    breaker = opened(Time())
    with pytest.raises(BreakerOpen) as refused:
        breaker.check()
    assert refused.value.retry_after == 5
    assert refused.value.metadata == {
        "integration": "acme",
        "host": "api.example:443",
        "state": "open",
        "cause": "vendor",
    }


async def test_one_call_tries_then_two_at_once_then_everything_goes() -> None:
    time = Time()
    breaker = opened(time)
    time.now += 5
    first = await entered(breaker)
    with pytest.raises(BreakerOpen):
        await breaker.enter(granted)
    breaker.succeeded(first)
    assert breaker.reading().state is State.HALF_OPEN
    second, third = await entered(breaker), await entered(breaker)
    with pytest.raises(BreakerOpen):
        await breaker.enter(granted)
    breaker.succeeded(second)
    breaker.succeeded(third)
    assert breaker.reading().state is State.CLOSED
    assert await breaker.enter(denied) is None


async def test_another_process_that_tries_is_waited_for() -> None:
    time = Time()
    breaker = opened(time)
    time.now += 5
    asked = []

    async def claim(key: Key) -> bool:
        asked.append(key)
        return False

    for _ in range(3):
        with pytest.raises(BreakerOpen) as refused:
            await breaker.enter(claim)
        assert refused.value.metadata["state"] == "half_open"
    # Calls in between do not ask again.
    assert asked == [VENDOR]
    time.now += 0.3
    await entered(breaker)


async def test_a_failed_try_opens_it_for_twice_as_long_up_to_the_longest() -> None:
    time = Time()
    breaker = opened(time)
    for expected in (10, 20, 20):
        time.now += breaker.reading().retry_after
        breaker.failed(await entered(breaker))
        assert breaker.reading().retry_after == expected


async def test_a_failure_among_the_few_that_try_opens_it_again() -> None:
    time = Time()
    breaker = opened(time)
    time.now += 5
    breaker.succeeded(await entered(breaker))
    late, bad = await entered(breaker), await entered(breaker)
    breaker.failed(bad)
    assert breaker.reading().retry_after == 10
    # One of the opening before says nothing about this one.
    breaker.succeeded(late)
    assert breaker.reading().state is State.OPEN


async def test_a_try_that_shows_nothing_lets_another_try() -> None:
    time = Time()
    breaker = opened(time)
    time.now += 5
    breaker.left(await entered(breaker))
    await entered(breaker)


async def test_what_a_vendor_wants_for_its_quota_ends_by_itself() -> None:
    time = Time()
    breaker = a_breaker(time, Key("acme", "", Cause.QUOTA, "list", CONNECTION))
    breaker.trip(seconds=7)
    with pytest.raises(LimitExceeded) as refused:
        breaker.check()
    assert (refused.value.retry_after, refused.value.metadata["limit"]) == (7, "vendor")
    time.now += 7
    assert await breaker.enter(denied) is None
    assert breaker.reading().state is State.CLOSED


async def test_a_refused_credential_reads_as_one() -> None:
    with pytest.raises(ReconnectRequired) as refused:
        opened(Time(), Key("acme", "", Cause.CREDENTIAL, connection=CONNECTION)).check()
    assert refused.value.metadata["connection"] == CONNECTION


async def test_an_operator_has_the_last_word() -> None:
    time = Time()
    breaker = opened(time)
    breaker.set(Override.CLOSED)
    assert await breaker.enter(denied) is None
    breaker.set(Override.OPEN)
    time.now += 1000
    with pytest.raises(BreakerOpen):
        await breaker.enter(granted)
    assert breaker.reading().state is State.OPEN
    breaker.set(Override.AUTO)
    await entered(breaker)


async def test_it_stands_as_another_process_said() -> None:
    time = Time()
    breaker = a_breaker(time)
    breaker.adopt(Standing(VENDOR, State.OPEN, 3.0, 5.0, calls=20, failures=20, revision=7))
    reading = breaker.reading()
    assert (reading.state, reading.retry_after, reading.calls) == (State.OPEN, 3.0, 20)
    breaker.adopt(Standing(VENDOR, State.HALF_OPEN, -1.0, 5.0, revision=8))
    # Somebody's try went well: here two may go at once, without asking.
    await entered(breaker, denied)
    await entered(breaker, denied)
    with pytest.raises(BreakerOpen):
        await breaker.enter(denied)
    breaker.adopt(Standing(VENDOR, State.CLOSED, -2.0, 5.0, revision=9))
    assert await breaker.enter(denied) is None
    assert breaker.revision == 9


# Whose fault it is.


def counted(health: Health, action: str, *outcomes: bool) -> Cause | None:
    verdict = None
    for well in outcomes:
        verdict = health.count(action, failed=not well) or verdict
    return verdict


def test_a_host_where_nothing_goes_well_is_down() -> None:
    assert counted(Health(POLICY, Time()), "a", False, False, False, False) is Cause.VENDOR
    health = Health(POLICY, Time())
    assert counted(health, "a", False, False) is None
    assert counted(health, "b", False, False) is Cause.VENDOR


def test_an_action_that_fails_while_others_go_well_is_down_alone() -> None:
    health = Health(POLICY, Time())
    counted(health, "b", True, True, True)
    assert counted(health, "a", False, False, False) is None
    assert counted(health, "a", False) is Cause.ENDPOINT


def test_few_calls_of_another_action_say_nothing() -> None:
    health = Health(POLICY, Time())
    counted(health, "b", True, True)
    assert counted(health, "a", False, False, False, False) is Cause.VENDOR


def test_half_of_the_calls_are_enough_and_fewer_are_not() -> None:
    assert counted(Health(POLICY, Time()), "a", True, True, False, False) is Cause.VENDOR
    assert counted(Health(POLICY, Time()), "a", True, True, True, False, False) is None


def test_failures_are_forgotten_after_the_window() -> None:
    time = Time()
    health = Health(POLICY, time)
    counted(health, "a", False, False, False)
    time.now += 10
    assert counted(health, "a", False) is None
    assert (len(health.whole), health.whole.failures) == (1, 1)


class AgreesWithItsModel(RuleBasedStateMachine):
    """The model knows when it opened, how often, and how many tries of this opening went well or are on their way."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self.breaker = a_breaker(self.time)
        self.running: list[tuple[Ticket | None, int]] = []
        self.opening = 0
        self.until: float | None = None
        self.pause = 5.0
        self.well = 0

    def trying(self) -> int:
        return sum(ticket is not None and opening == self.opening for ticket, opening in self.running)

    def open(self, pause: float) -> None:
        self.pause, self.until = pause, self.time.now + pause
        self.opening += 1
        self.well = 0

    @rule()
    def trip(self) -> None:
        self.breaker.trip()
        if self.until is None:
            self.open(5.0)

    @rule()
    def enter(self) -> None:
        may = self.until is None or (self.time.now >= self.until and self.trying() < 2**self.well)
        try:
            ticket = asyncio.run(self.breaker.enter(granted))
        except BreakerOpen:
            assert not may
            return
        assert may
        assert (ticket is None) == (self.until is None)
        self.running.append((ticket, self.opening))

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 50), how=st.sampled_from(["succeeded", "failed", "left"]))
    def end(self, which: int, how: str) -> None:
        ticket, opening = self.running.pop(which % len(self.running))
        if ticket is None:
            return
        getattr(self.breaker, how)(ticket)
        if opening != self.opening:
            return
        if how == "failed":
            self.open(min(self.pause * 2, 20.0))
        elif how == "succeeded":
            self.well += 1
            if self.well == 3:
                self.until = None
                self.opening += 1
                self.well = 0

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0, 5.0, 10.0, 20.0]))
    def wait(self, seconds: float) -> None:
        self.time.now += seconds

    @invariant()
    def reads_the_same(self) -> None:
        reading = self.breaker.reading()
        if self.until is None:
            assert reading.state is State.CLOSED
        else:
            assert reading.retry_after == max(0.0, self.until - self.time.now)
            assert reading.state is (State.OPEN if reading.retry_after else State.HALF_OPEN)


TestAgreesWithItsModel = AgreesWithItsModel.TestCase
TestAgreesWithItsModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("host", ["api.example", "api.example:8443", "127.0.0.1:80", "[::1]:8080"])
def test_an_operator_names_a_host_as_breakers_have_it(host: str) -> None:
    asked = pb.OverrideBreakerRequest(
        integration="integrations/acme", host=host, override=proxy_pb.Breaker.OVERRIDE_OPEN
    )
    key, override = to_key(asked)
    assert (key, override) == (Key("acme", host, Cause.VENDOR), Override.OPEN)
    asked.action = "search"
    assert to_key(asked)[0] == Key("acme", host, Cause.ENDPOINT, "search")


@pytest.mark.parametrize("host", ["", "https://api.example", "api.example/x", "API.example", "a b"])
def test_what_is_no_host_is_refused(host: str) -> None:
    asked = pb.OverrideBreakerRequest(
        integration="integrations/acme", host=host, override=proxy_pb.Breaker.OVERRIDE_OPEN
    )
    with pytest.raises(InvalidFields):
        to_key(asked)
