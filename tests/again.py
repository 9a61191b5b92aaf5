"""Runs pytest; where it is asked for, what failed runs once more, alone, and is named loudly: `python -m tests.again`.

Takes pytest's own arguments. See decision 38.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

# Set where a failure that does not come again is reported and does not count.
TWICE: Final = "CORDBOARD_FAILED_TESTS_TWICE"
# Failures in more files than these are a fault of the code and no accident.
MOST_FILES: Final = 3
LAST_FAILED: Final = Path(".pytest_cache/v/cache/lastfailed")


def run(arguments: Sequence[str]) -> int:
    """Returns pytest's exit status: that of the second run where there was one."""
    LAST_FAILED.unlink(missing_ok=True)
    status = _pytest(arguments)
    if status != 1 or not os.environ.get(TWICE):
        return status
    failed = sorted(json.loads(LAST_FAILED.read_text()))
    files = {name.partition("::")[0] for name in failed}
    if len(files) > MOST_FILES:
        _say(f"tests of {len(files)} files failed: that is no accident, and nothing runs again", failed)
        return status
    _say("these failed, and run once more by themselves", failed)
    status = _pytest([*arguments, "--last-failed", "--last-failed-no-failures=none", "-n", "0"])
    if status == 0:
        _say("UNSTEADY: these failed and then passed; what they failed for stands above, and wants mending", failed)
    return status


def _pytest(arguments: Sequence[str]) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode


def _say(what: str, names: Sequence[str]) -> None:
    print(f"######## {what} ########", *names, sep="\n  ", flush=True)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
