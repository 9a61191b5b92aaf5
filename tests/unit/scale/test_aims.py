"""A measurement that misses what is promised fails, and says what it missed."""

from __future__ import annotations

import pytest

from tests.scale._aims import Aims
from tests.scale.walk import STEPS, Walk, judged


def test_an_aim_that_is_held_is_said_and_one_that_is_missed_ends_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    aims = Aims({})
    aims.at_most("the wait", 0.5, 1.0, "s")
    aims.exactly("the count", 20, 20)
    aims.settle()
    aims.at_most("the memory", 600.0, 500.0, "MB")
    aims.exactly("the rest", 19, 20)
    with pytest.raises(SystemExit) as ended:
        aims.settle()
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert said.out.splitlines() == [
        "held   the wait: 0.5 s, at most 1", "held   the count: 20",
        "MISSED the memory: 600 MB, at most 500", "MISSED the rest: 19, not 20",
    ]  # fmt: skip
    assert said.err.startswith("missed: the memory, 600 MB, at most 500; the rest, 19, not 20 (load of this machine")


@pytest.mark.parametrize(("factor", "missed"), [("0", 1), ("0.1", 1), ("1", 0), ("3", 0)])
def test_every_bound_can_be_moved_so_that_a_run_has_to_fail(factor: str, missed: int) -> None:
    aims = Aims({"CORDBOARD_SCALE_AIMS": factor})
    aims.at_most("the wait", 0.5, 1.0, "s")
    assert len(aims.missed) == missed


def test_a_walk_that_does_not_come_to_the_end_is_a_miss_unless_nobody_can_read_its_description() -> None:
    done = Walk("a.json", seconds=dict.fromkeys(STEPS, 1.0))
    refused = Walk("b.json", problem="refused: line 1")
    assert judged([done, refused]).missed == []
    for problem in ("WRONG it hangs", ""):
        assert judged([done, Walk("c.json", problem=problem)]).missed == ["descriptions that came to the end, 1, not 2"]
