"""The drills there are, and what they are told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cordboard.cli.__main__ import application
from cordboard.cli.demo.narrator import StepFailed
from cordboard.cli.drills import command, scene
from cordboard.cli.drills.command import DRILLS
from cordboard.cli.drills.scene import Calls

RUNBOOK = Path(__file__).parents[3] / "docs" / "runbook.md"


def drill(*words: str) -> Any:
    return CliRunner().invoke(application(), ["drill", *words])


def test_they_are_listed_with_their_parts_of_the_runbook() -> None:
    listed = json.loads(drill("-o", "json").output)
    assert [each["drill"] for each in listed] == list(DRILLS)
    headings = set(re.findall(r"^## (.+)$", RUNBOOK.read_text(encoding="utf-8"), re.M))
    assert {each["runbook"] for each in listed} <= headings
    assert all(name in drill().output for name in DRILLS)


def test_one_that_there_is_none_of_is_named() -> None:
    done = drill("vendor-down", "flood")
    assert done.exit_code == 2
    assert "no such drill: flood" in " ".join(done.output.replace("│", " ").split())


async def test_calls_that_never_go_well_again_fail_a_drill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene, "REPAIRED_SECONDS", 0.05)
    calls = Calls(well=1.0, reasons={"BREAKER_OPEN": 3})
    assert await calls.go_well(0.5) == 0.5
    with pytest.raises(StepFailed, match="BREAKER_OPEN"):
        await calls.go_well(1.5)


def test_a_drill_that_fails_is_named_and_ends_with_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def well(_folder: Path, name: str, *, look: bool) -> bool:
        assert not look
        return name != "key-leak"

    monkeypatch.setattr(command, "_well", well)
    done = CliRunner().invoke(application(), ["--state-dir", str(tmp_path), "drill", "all"])
    assert done.exit_code == 1
    assert "failed: key-leak" in done.output
    assert CliRunner().invoke(application(), ["--state-dir", str(tmp_path), "drill", "bad-rollout"]).exit_code == 0
