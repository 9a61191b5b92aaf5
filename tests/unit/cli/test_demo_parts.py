"""The demo's processes: none outlives the command that started it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.fixtures.mesh import until

COMMAND = """
import asyncio, json, sys
from pathlib import Path
from cordboard.cli.demo.parts import vendor

async def main():
    async with vendor(Path(sys.argv[1])) as one:
        print(json.dumps(one.process.pid), flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
async def test_the_vendor_ends_with_its_command_however_that_ends(tmp_path: Path, number: signal.Signals) -> None:
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-c", COMMAND, str(tmp_path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert command.stdout is not None
    vendor = psutil.Process(json.loads(await asyncio.wait_for(command.stdout.readline(), 60)))
    assert vendor.is_running()
    command.send_signal(number)
    await command.wait()

    async def gone() -> bool:
        return not vendor.is_running() or vendor.status() == psutil.STATUS_ZOMBIE

    await until(gone, "the vendor to end")
