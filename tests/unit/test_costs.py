"""What tests cost is told by file and by fixture, and what their child processes did is counted."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Until it has used this much of a processor, however long that takes.
BURNS = 0.4
TESTS = f"""
import subprocess, sys
import pytest

BURN = "import time\\nwhile time.process_time() < {BURNS}: pass"

@pytest.fixture
def dear():
    subprocess.run([sys.executable, "-c", BURN], check=True)

@pytest.fixture
def asks_for_it(dear):
    pass

def test_with_it(asks_for_it):
    pass

def test_that_leaves_a_process_running(request):
    process = subprocess.Popen([sys.executable, "-uc", BURN + "\\nprint()\\ninput()"], stdin=-1, stdout=-1)
    process.stdout.readline()
    request.addfinalizer(lambda: process.communicate(b"\\n"))
"""


@pytest.mark.parametrize("processes", ["0", "1"])
def test_what_tests_cost_is_told(processes: str, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_dear.py").write_text(TESTS)
    (tmp_path / "test_cheap.py").write_text("def test_it():\n    pass\n")
    raw = tmp_path / "raw"
    # What the run that this is part of says to its own processes is not meant for this one.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.costs", "-p", "no:cacheprovider", "-n", processes],
        cwd=tmp_path,
        env={**outside, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "", "CORDBOARD_TEST_COSTS": str(raw)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    files = re.findall(r"^ *(\d+\.\d) +\d+\.\d +\d+ (\S+\.py)$", done.stdout, re.M)
    told = {name: float(cost) for cost, name in files}
    assert told["test_dear.py"] >= 2 * BURNS - 0.1 > told["test_cheap.py"]
    fixtures = done.stdout.partition("by fixture")[2]
    [dear] = re.findall(r"([\d.]+) +1 dear \(function\)", fixtures)
    [asks] = re.findall(r"([\d.]+) +1 asks_for_it \(function\)", fixtures)
    assert float(dear) >= BURNS - 0.1 > float(asks)
    steps = [json.loads(line) for line in raw.read_text().splitlines()]
    left = [step["cost"] for step in steps if "leaves_a_process" in step["test"] and step["when"] == "call"]
    assert len(steps) == 9
    assert sum(left) >= BURNS - 0.1
