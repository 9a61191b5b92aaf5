"""`cordboard check` as a person or CI runs it: no mesh."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

SHIPPED = Path(__file__).resolve().parents[2] / "integrations"


def check(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cordboard.cli", "check", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, timeout=60)


def test_the_shipped_folder_is_well_and_ci_reads_the_result(tmp_path: Path) -> None:
    done = check(SHIPPED, "--output", "json", "--junit", tmp_path / "check.xml")

    assert (done.returncode, done.stderr) == (0, "")
    reports = json.loads(done.stdout)
    suites = ElementTree.parse(tmp_path / "check.xml").getroot()  # our own file
    assert len(reports) == len(suites) == len(list(SHIPPED.glob("*.yaml")))
    assert suites.findall(".//failure") == []


def test_what_is_wrong_is_told_with_its_place_and_fails_the_build(tmp_path: Path) -> None:
    text = (SHIPPED / "openweather.yaml").read_text(encoding="utf-8")
    (tmp_path / "openweather.yaml").write_text(text.replace("criticality: low\n", ""), encoding="utf-8")
    (tmp_path / "broken.yaml").write_text("slug: broken\nslug: twice\n", encoding="utf-8")
    done = check(tmp_path, "--junit", tmp_path / "check.xml")

    assert done.returncode == 1
    assert "broken.yaml:2:1:" in done.stdout
    assert "criticality" in done.stdout
    failures = ElementTree.parse(tmp_path / "check.xml").getroot().findall(".//failure")
    assert sorted(str(failure.get("type")) for failure in failures) == ["ownership", "readable"]


def test_a_change_is_held_against_a_commit_and_against_a_folder(tmp_path: Path) -> None:
    text = (SHIPPED / "openweather.yaml").read_text(encoding="utf-8")
    file = tmp_path / "openweather.yaml"
    file.write_text(text, encoding="utf-8")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "Begin")
    assert check(file, "--against", "HEAD").returncode == 0

    file.write_text(text.replace("id: find_places", "id: find_cities"), encoding="utf-8")
    for against in ("HEAD", SHIPPED):
        done = check(file, "--against", against)
        assert done.returncode == 1
        assert "ACTION_REMOVED" in done.stdout


def test_nothing_to_check_is_wrong_usage(tmp_path: Path) -> None:
    assert check(tmp_path).returncode == 2
    assert check(tmp_path / "absent").returncode == 2
    assert check(SHIPPED, "--against", "no-such-revision").returncode == 2
