"""Every drill: a failure on a mesh of its own is noticed, and mended as the runbook says."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from cordboard.cli.drills.command import DRILLS

BOUND = 600


@pytest.mark.parametrize("name", DRILLS)
async def test_a_failure_is_noticed_and_mended(name: str, tmp_path: Path) -> None:
    await asyncio.to_thread(tmp_path.chmod, 0o711)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cordboard.cli", "--state-dir", str(tmp_path / "state"), "drill", name,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(BOUND):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    print(output.decode())
    assert process.returncode == 0
    assert "Everything worked" in output.decode()
