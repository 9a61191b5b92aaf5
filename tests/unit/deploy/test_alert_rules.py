"""Alert rules mean what they say, name metrics that there are, and lead to the runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
RULES = ROOT / "deploy/prometheus/rules.yaml"
TESTS = ("rules_test.yaml", "weeks_test.yaml")
# What Prometheus adds to a metric's name: its unit, and the parts of a histogram.
_UNITS = {"s": "_seconds", "By": "_bytes"}


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def documented() -> set[str]:
    """Returns the names that docs/telemetry.md promises, as Prometheus has them."""
    names = re.findall(r"^\| `([a-z._]+)`(?: \((s|By)\))? \|", (ROOT / "docs/telemetry.md").read_text(), re.M)
    return {name.replace(".", "_") + _UNITS.get(unit, "") for name, unit in names}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_a_rule_asks_for_metrics_that_the_mesh_sends(rule: dict[str, Any]) -> None:
    asked = set(re.findall(r"\b((?:cordboard|rpc)_\w+?)(?:_count|_sum|_bucket)?(?=[\[{)]|\s*[<>])", rule["expr"]))
    labels = {"cordboard_integration", "cordboard_edge", "cordboard_state"}
    assert asked - labels
    assert asked - labels <= documented()


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_a_rule_has_a_part_in_the_runbook(rule: dict[str, Any]) -> None:
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
    part = (ROOT / "docs/runbook.md").read_text().partition(f"\n## {rule['alert']}\n")[2].partition("\n## ")[0]
    assert all(f"**{word}" in part for word in ("Means", "Look", "Do", "Prevent"))
    assert rule["labels"]["severity"] in {"page", "ticket"}


def test_a_metric_that_nobody_sends_would_show() -> None:
    assert "cordboard_call_duration_seconds" in documented()
    assert "cordboard_nothing" not in documented()


def test_promtool_finds_that_the_rules_fire_when_they_should() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("NOT TESTED: promtool is missing; install Debian's package prometheus")
    done = subprocess.run(
        [promtool, "test", "rules", *TESTS], cwd=RULES.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_case_in_which_it_fires() -> None:
    cases = [case for name in TESTS for case in yaml.safe_load((RULES.parent / name).read_text())["tests"]]
    fired = {each["alertname"] for case in cases for each in case["alert_rule_test"] if each["exp_alerts"]}
    assert fired == {rule["alert"] for rule in rules()}
