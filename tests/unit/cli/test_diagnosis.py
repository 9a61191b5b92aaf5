"""The doctor reads a clock from a token that was issued a moment ago."""

from __future__ import annotations

import jwt
import pytest

from cordboard.cli.diagnosis import REPORTING, clock_skew, guarded, sampling
from cordboard.flags.v1 import rollout_service_pb2 as rollouts
from cordboard.telemetry.v1 import metrics_service_pb2 as metrics

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


def test_services_that_keep_traces_by_another_rule_show_and_so_does_a_lack_of_room() -> None:
    def readings(*states: tuple[str, str, float, float]) -> list[metrics.Reading]:
        return [
            metrics.Reading(service=service, attributes={"cordboard.state": state}, lowest=low, highest=high)
            for service, state, low, high in states
        ]

    every = [(service, "waiting", 0.0, 9.0) for service in REPORTING]
    assert sampling(readings(*every)).well
    some = sampling(readings(*every[:-2]))
    assert (some.well, "telemetry, uqi" in some.text) == (False, True)
    assert "TRACE_SAMPLE_RATE" in some.remedy
    crowded = sampling(readings(*every, ("proxy", "crowded_out", 3.0, 8.0), ("auth", "crowded_out", 3.0, 3.0)))
    assert (crowded.well, crowded.text) == (False, "spans at proxy had no room to wait for a failure")
