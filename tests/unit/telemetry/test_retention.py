from __future__ import annotations

import pytest

from cordboard.telemetry.by_day import Day
from cordboard.telemetry.retention import expired

TODAY = 20_000
MB = 1024 * 1024


@pytest.mark.parametrize(
    ("days", "sizes", "dropped"),
    [
        (7, {TODAY - 8: 1, TODAY - 7: 1, TODAY: 1}, [TODAY - 8]),
        (1, {TODAY - 3: 1, TODAY - 2: 1, TODAY - 1: 1, TODAY: 1, TODAY + 1: 0}, [TODAY - 3, TODAY - 2]),
        (7, {TODAY - 1: 1, TODAY: 1}, []),
        (7, {TODAY - 2: 60, TODAY - 1: 60, TODAY: 30}, [TODAY - 2]),
        (7, {TODAY - 2: 60, TODAY - 1: 60, TODAY: 90}, [TODAY - 2, TODAY - 1]),
        (7, {TODAY: 500, TODAY + 1: 1}, []),
        (7, {}, []),
    ],
    ids=["old", "shorter", "nothing", "too much", "much too much", "today stays", "empty"],
)
def test_old_days_go_and_then_the_oldest_while_there_is_too_much(
    days: int, sizes: dict[int, int], dropped: list[int]
) -> None:
    present = [Day(number, size * MB) for number, size in sizes.items()]
    doomed = expired(present, today=TODAY, days=days, max_bytes=100 * MB)
    assert [day.number for day in doomed] == dropped
