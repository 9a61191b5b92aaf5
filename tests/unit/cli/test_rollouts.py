"""How the command reads the stages of a rollout."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from cordboard.cli.__main__ import application
from cordboard.cli.rollouts import _exclusion, _moment, _stage


def test_a_stage_is_environments_with_percentages_and_how_long_it_holds() -> None:
    stage = _stage("staging=100,*=0.5/2d")
    assert [(reach.environment, reach.percent) for reach in stage.reaches] == [("staging", 100), ("", 0.5)]
    assert stage.soak_duration.seconds == 2 * 86_400
    assert not _stage("staging=100").HasField("soak_duration")


def test_a_slice_is_a_group_with_two_percentages_and_a_time_without_a_zone_is_utc() -> None:
    part = _exclusion("checkout=0-12.5")
    assert (part.group, part.begin_percent, part.end_percent) == ("checkout", 0, 12.5)
    assert _moment("2026-12-01T08:00:00").isoformat() == "2026-12-01T08:00:00+00:00"
    assert _moment("2026-12-01T08:00:00+02:00").isoformat() == "2026-12-01T06:00:00+00:00"


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("--stage", "production"),
        ("--stage", "production=many"),
        ("--stage", "production=1/soon"),
        ("--exclusive", "checkout"),
        ("--start", "tomorrow"),
    ],
)
def test_what_cannot_be_read_is_refused_before_anything_is_called(option: str, given: str) -> None:
    others = [] if option == "--stage" else ["--stage", "*=100"]
    done = CliRunner().invoke(application(), ["rollout", "put", "desk", *others, option, given])
    assert done.exit_code == 2
    assert option in done.output
