"""The doctor reads a clock from a token that was issued a moment ago."""

from __future__ import annotations

import jwt
import pytest

from cordboard.cli.diagnosis import clock_skew, guarded
from cordboard.flags.v1 import rollout_service_pb2 as rollouts

NOW = 1_800_000_000.0


def issued(at: float) -> str:
    return jwt.encode({"iat": int(at)}, "x" * 32, algorithm="HS256")


@pytest.mark.parametrize(("at", "well"), [(NOW, True), (NOW - 2, True), (NOW + 30, False), (NOW - 20, False)])
def test_a_clock_that_is_off_shows(at: float, well: bool) -> None:
    found = clock_skew(issued(at), NOW)
    assert found is not None
    assert found.well is well


def test_an_old_token_or_none_at_all_says_nothing_of_clocks() -> None:
    assert clock_skew(issued(NOW - 3600), NOW) is None
    assert clock_skew("cbk_not-a-token", NOW) is None


def test_a_rollout_that_was_taken_back_shows_until_it_is_unlocked() -> None:
    quiet = rollouts.Rollout(name="rollouts/version.desk", freeze_reason="sale")
    locked = rollouts.Rollout(name="rollouts/version.mail", lock=rollouts.Lock(reason="failures"))
    found = guarded([quiet, locked])
    assert (found.well, found.text) == (False, "taken back by a guard: version.mail for its failures")
    assert guarded([quiet]).well
