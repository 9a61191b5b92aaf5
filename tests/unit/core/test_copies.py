"""A copy is stale from when its source was last heard, and only while it is not."""

from __future__ import annotations

from cordboard.core.copies import Copies, Copy


class Hand:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_copy_ages_from_the_last_answer_of_its_source() -> None:
    clock = Hand()
    copy = Copy("catalog", clock=clock)
    clock.now += 10
    copy.current()
    clock.now += 7
    assert copy.age() == 0, "a source that has nothing new is no source that is away"
    copy.lost()
    assert copy.age() == 7
    clock.now += 1
    copy.lost()
    assert copy.age() == 8
    copy.current()
    assert copy.age() == 0


def test_a_source_that_is_asked_again_and_again_is_away_once_it_takes_too_long() -> None:
    clock = Hand()
    copy = Copy("database", within=5.0, clock=clock)
    clock.now += 5
    assert copy.age() == 0
    clock.now += 1
    assert copy.age() == 6
    copy.current()
    assert copy.age() == 0


def test_all_that_is_stale_is_told_at_once() -> None:
    clock, copies = Hand(), Copies()
    catalog, flags = Copy("catalog", clock=clock), Copy("flags", clock=clock)
    for copy in (catalog, flags):
        copies.add(copy)
    assert copies.stale() == ""
    clock.now += 12.9
    catalog.lost()
    assert copies.stale() == "catalog;age=12"
    flags.lost()
    assert copies.stale() == "catalog;age=12, flags;age=12"
