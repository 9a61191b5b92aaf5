"""Places and paces: who finds room when others take all they can."""

from __future__ import annotations

import contextlib

import pytest

from cordboard.core.errors import LimitExceeded
from cordboard.proxy.limits import Bulkhead, Pace


def taken(stack: contextlib.ExitStack, bulkhead: Bulkhead, times: int, key: str = "acme", **fields: bool) -> int:
    count = 0
    for _ in range(times):
        with contextlib.suppress(LimitExceeded):
            stack.enter_context(bulkhead.place(key, f"workspaces/{key}", **fields))
            count += 1
    return count


def test_background_work_leaves_half_of_the_places_to_callers() -> None:
    bulkhead = Bulkhead("workspace_calls", 8)
    with contextlib.ExitStack() as stack:
        assert taken(stack, bulkhead, 100, background=True) == 4
        assert taken(stack, bulkhead, 100) == 4
    with contextlib.ExitStack() as stack:
        # Callers may have all of them.
        assert taken(stack, bulkhead, 100) == 8
        assert taken(stack, bulkhead, 1, background=True) == 0


def test_places_come_back_and_nothing_is_kept_of_those_who_left() -> None:
    bulkhead = Bulkhead("workspace_calls", 1)
    for background in (True, False, True):
        with contextlib.ExitStack() as stack:
            assert taken(stack, bulkhead, 2, background=background) == 1
    assert not bulkhead._running
    assert not bulkhead._background


def test_one_takes_no_place_of_another() -> None:
    bulkhead = Bulkhead("workspace_calls", 2)
    with contextlib.ExitStack() as stack:
        assert taken(stack, bulkhead, 5, "acme") == 2
        assert taken(stack, bulkhead, 5, "globex") == 2


def test_a_pace_lets_a_seconds_worth_through_at_once_and_then_evenly() -> None:
    now = [0.0]
    pace = Pace("caller_rate", 10, lambda: now[0])
    for _ in range(10):
        pace.take("a", "a")
    with pytest.raises(LimitExceeded) as refused:
        pace.take("a", "a")
    assert refused.value.metadata == {"limit": "caller_rate", "scope": "a"}
    assert refused.value.retry_after == pytest.approx(0.1)
    pace.take("b", "b")
    for _ in range(20):
        now[0] += 0.1
        pace.take("a", "a")
        with pytest.raises(LimitExceeded):
            pace.take("a", "a")
