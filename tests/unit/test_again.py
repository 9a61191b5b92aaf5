"""What failed gets one more run where that is asked for, and no more than that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import again

FAILS = "def test_it():\n    assert False, 'always'\n"
# Fails in the first run of a folder, and passes in the second.
STUMBLES = """
import pathlib
def test_it():
    been = pathlib.Path(__file__).with_suffix(".been")
    seen, _ = been.exists(), been.touch()
    assert seen
"""
PASSES = "def test_it():\n    pass\n"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(again.TWICE, "1")
    # Ours, whatever the run that we are in was asked for.
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


def the_tests(**files: str) -> None:
    for name, text in files.items():
        Path(f"test_{name}.py").write_text(text)


def test_a_failure_that_does_not_come_again_is_named_and_does_not_count(capfd: pytest.CaptureFixture[str]) -> None:
    the_tests(one=STUMBLES, two=PASSES)
    assert again.run(["-q", "-n", "2"]) == 0
    printed = capfd.readouterr().out
    assert "assert seen" in printed
    assert "UNSTEADY" in printed
    assert printed.rstrip().endswith("test_one.py::test_it")
    assert "1 failed, 1 passed" in printed
    assert "\n1 passed" in printed


def test_a_failure_that_comes_again_counts(capfd: pytest.CaptureFixture[str]) -> None:
    the_tests(one=STUMBLES, two=FAILS)
    assert again.run(["-q"]) == 1
    assert "UNSTEADY" not in capfd.readouterr().out


def test_nothing_runs_again_where_nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(again.TWICE)
    the_tests(one=STUMBLES)
    assert again.run(["-q"]) == 1


def test_many_failures_are_no_accident(capfd: pytest.CaptureFixture[str]) -> None:
    the_tests(**dict.fromkeys(("one", "two", "three", "four"), STUMBLES))
    assert again.run(["-q"]) == 1
    assert "4 files failed" in capfd.readouterr().out


def test_a_run_that_could_not_begin_is_not_tried_again() -> None:
    the_tests(one=PASSES)
    assert again.run(["--no-such-option"]) == 4
